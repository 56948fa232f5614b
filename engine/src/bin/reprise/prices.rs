//! The last price of each market: of the last trade that stands.

use std::collections::BTreeMap;

use engine::{
    event::Event,
    recovery::{Timeline, TimelineError},
    types::{MarketId, Price, Sequence, Timestamp},
};

use crate::{
    failure::Failure,
    orders::{FillKey, Recoveries, recoveries},
    progress::Progress,
};

/// A trade that a price was had from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastPrice {
    /// The price.
    pub price: Price,
    /// The command that caused the trade.
    pub sequence: Sequence,
    /// Its time.
    pub time: Timestamp,
}

/// The last prices of the markets that are `wanted`, up to and including `last`. Goes back from one snapshot to the one
/// before it, until each has one or history begins; where no trade was found there is none.
pub fn last_prices(
    timeline: &Timeline,
    last: Sequence,
    wanted: &[MarketId],
) -> Result<BTreeMap<MarketId, LastPrice>, Failure> {
    let recoveries = recoveries(timeline)?;
    let (mut found, mut end) = (BTreeMap::new(), last);
    while end.0 > 0 && wanted.iter().any(|market| !found.contains_key(market)) {
        let mut replay = match timeline.replay_from(Sequence(end.0 - 1)) {
            Ok(replay) => replay,
            // What was pruned cannot be asked, and nothing else depends on it.
            Err(TimelineError::Journal(engine::journal::OpenError::Pruned { .. })) => break,
            Err(error) => return Err(error.into()),
        };
        let begin = replay.exchange().last_sequence();
        let mut piece = BTreeMap::new();
        let mut progress = Progress::start("looking for prices", Some(end.0 - begin.0));
        while replay.exchange().last_sequence() < end {
            let Some(step) = replay.next()? else { break };
            let (sequence, time) = (step.command.sequence, step.command.time);
            for event in step.events {
                if let Event::Filled { taker, maker, market, price, .. } = *event
                    && stands(&recoveries, (sequence, taker, maker))
                {
                    piece.insert(market, LastPrice { price, sequence, time });
                }
            }
            progress.step();
        }
        for (market, price) in piece {
            found.entry(market).or_insert(price);
        }
        end = begin;
    }
    found.retain(|market, _| wanted.contains(market));
    Ok(found)
}

fn stands(recoveries: &Recoveries, fill: FillKey) -> bool {
    !recoveries.busted.contains_key(&fill)
}

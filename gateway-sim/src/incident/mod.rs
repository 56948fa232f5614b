//! Incidents, played from the first trade to the reopening on a running exchange under load.

pub mod actors;
pub mod board;
pub mod crowd;
pub mod live;
pub mod report;
pub mod scenario;
pub mod world;

use std::{sync::Arc, time::Instant};
use anyhow::Result;
use engine::pipeline::Config;
use crate::session::Session;
use self::{actors::*, board::Board, crowd::Crowd, live::Live, scenario::Scenario, world::World};

/// Trial.
///
/// # Errors
/// Fails.
pub fn trial(scenario: &Scenario) -> Result<()> {
    let world = Arc::new(World::new(scenario.world));
    let cast = Cast::new(scenario, &world)?;
    let t = Instant::now();
    let session = Session::start(None, Config{snapshot_every: Some(250_000), ..Config::default()})?;
    let before = [engine::command::Command::SetControls { controls: engine::types::Controls::NONE },
       engine::command::Command::RegisterOperator { operator: CLERK, key: engine::types::Digest([1;32]), first: engine::types::OperatorId(0), second: engine::types::OperatorId(0) }];
    let board = Arc::new(Board::new(&world));
    let _ = Crowd::start(&world, &board);
    let ((), crowded) = Live::run(&session, &world, scenario.rate, &before, |live| {
        eprintln!("setup {:?} {:?}", t.elapsed(), live.session.pipeline.counters());
        live.wait(scenario.calm)?;
        let payout = pay(live, &cast.wrong)?;
        eprintln!("paid {:?} {:?}", payout.before, payout.credited);
        let t = Instant::now();
        let mut sale = sell(live, scenario, &cast)?;
        eprintln!("sold in {:?} {sale:?}", t.elapsed());
        live.wait(scenario.unnoticed)?;
        withdraw_late(live, scenario, &cast, &mut sale)?;
        for m in &cast.wrong { eprintln!("{} {:?} last {}", world.symbol(m.asset), fall(live, m.asset), world.price(world.krw_market(m.asset).unwrap().spec.market, live.board.last(world.krw_market(m.asset).unwrap().spec.market))); }
        eprintln!("{:?} {:?}", live.session.pipeline.counters(), live.session.pipeline.snapshots());
        Ok(())
    })?;
    eprintln!("{} {}", crowded.sent.commands, crowded.released);
    let stopped = session.pipeline.shutdown()?;
    stopped.exchange.check_invariants().map_err(|e| anyhow::anyhow!("{e}"))?;
    Ok(())
}

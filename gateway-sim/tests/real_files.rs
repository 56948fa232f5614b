//! The real files, where they are at hand: real order flow through the whole durable pipeline, held against the file
//! itself and against a bare exchange that is given the same commands.

use std::path::{Path, PathBuf};

use engine::pipeline::Config;
use gateway_sim::{
    market_data::{self, Format},
    replay::{Replay, ReplayFigures, bitstamp, lobster, orders::Orders, run, venue::DirectVenue},
    report::Report,
};

/// The file in the directory of market data, if it is there.
fn file(name: &str) -> Option<PathBuf> {
    let directory = std::env::var_os("MARKET_DATA_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let file = directory.join(name);
    if !file.exists() {
        println!("skipped: {} is not there (MARKET_DATA_DIR says where to look)", file.display());
        return None;
    }
    Some(file)
}

fn replayed(format: Format, file: &Path) -> Report {
    let replay = Replay { format, file: file.to_owned(), data: None, config: Config::default() };
    let report = run(&replay).expect("the replay succeeds");
    assert!(report.reopened_to_the_same_state());
    report
}

fn state_of(venue: &DirectVenue) -> String {
    venue.exchange.check_invariants().expect("the invariants hold");
    venue.exchange.state_hash().to_string()
}

#[test]
fn executions_of_nasdaq_fill_the_orders_they_name() {
    let Some(file) = file("lobster-aapl-2012-06-21-0930-1030-message-50.csv.xz") else { return };
    let messages = market_data::lobster::read(&file).expect("the file is well-formed");
    assert_eq!(messages.len(), 91_997);
    let mut venue = DirectVenue::default();
    let mut orders = Orders::new(&mut venue);
    lobster::set_up(&mut orders).expect("the setup is accepted");
    let direct = lobster::replay(&messages, &mut orders, &mut |_| {}).expect("the exchange does not stop");
    assert!(orders.rejected.is_empty(), "{:?}", orders.rejected);

    let report = replayed(Format::Lobster, &file);
    let oracle = report.oracle.expect("a LOBSTER replay has an oracle");
    assert_eq!(oracle.named_executions, 4_055);
    assert!(oracle.exact_fills >= 4_020, "{report}");
    assert_eq!(oracle.exact_fills, direct.exact_fills);
    assert_eq!(direct.departures.len() as u64, oracle.named_executions - oracle.exact_fills);
    assert_eq!(report.rejected.as_ref().map(|rejected| rejected.len()), Some(0), "{report}");
    assert_eq!(report.state_hash, state_of(&venue), "the pipeline and the bare exchange agree");
}

#[test]
fn trades_of_bitstamp_agree_with_the_file() {
    let Some(file) = file("bitstamp-btcusd-2015-05-01.csv.xz") else { return };
    let events = market_data::bitstamp::read(&file).expect("the file is well-formed");
    assert_eq!(events.len(), 50_414);
    let mut venue = DirectVenue::default();
    let mut orders = Orders::new(&mut venue);
    bitstamp::set_up(&mut orders).expect("the setup is accepted");
    bitstamp::replay(&events, &mut orders, &mut |_| {}).expect("the exchange does not stop");

    let report = replayed(Format::Bitstamp, &file);
    let Some(ReplayFigures::Bitstamp(figures)) = &report.replay else { panic!("a Bitstamp replay: {report}") };
    assert!(figures.file_trades > 450, "{report}");
    assert!(figures.agreeing_trades * 10 >= figures.file_trades * 9, "{report}");
    assert_eq!(report.state_hash, state_of(&venue), "the pipeline and the bare exchange agree");
}

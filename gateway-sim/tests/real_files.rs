use gateway_sim::{
    market_data,
    replay::{self, orders::Orders, venue::DirectVenue},
};
use std::path::PathBuf;
#[test]
fn tmp() {
    let d = PathBuf::from("/work/shared/data");
    let m = market_data::lobster::read(&d.join("lobster-aapl-2012-06-21-0930-1030-message-50.csv.xz")).unwrap();
    let mut venue = DirectVenue::default();
    let mut orders = Orders::new(&mut venue);
    replay::lobster::set_up(&mut orders).unwrap();
    let r = replay::lobster::replay(&m, &mut orders, &mut |_| {}).unwrap();
    println!("{r:#?} {:?}", orders.rejected);
    let m = market_data::bitstamp::read(&d.join("bitstamp-btcusd-2015-05-01.csv.xz")).unwrap();
    let mut venue = DirectVenue::default();
    let mut orders = Orders::new(&mut venue);
    replay::bitstamp::set_up(&mut orders).unwrap();
    let r = replay::bitstamp::replay(&m, &mut orders, &mut |_| {}).unwrap();
    println!("{r:#?} {:?}", orders.rejected);
}

//! After start the stages do not allocate.

use engine::{
    command::Command,
    journal::Durability,
    pipeline::{Config, Pipeline, StageName, Subscription},
    types::{AccountId, ClientOrderId},
};

use super::{ACCOUNTS, gateway, order, setup, submit};

/// As many orders placed as cancelled, each 200 orders later if it is still there.
fn steady(number: u64) -> Command {
    let place = |number: u64| order(3 * number);
    if number.is_multiple_of(2) || number < 400 {
        return place(number);
    }
    let earlier = 3 * (number - 401);
    let account = AccountId(1 + (earlier % u64::from(ACCOUNTS)) as u32);
    Command::CancelByClientOrderId { account, client_order_id: ClientOrderId(earlier) }
}

/// All stages on this thread, the journal in a file: nothing is allocated for 50,000 commands that find room where earlier
/// ones have been.
#[test]
fn the_stages_do_not_allocate_after_warm_up() {
    for topology in ["fused", "full"] {
        let directory = tempfile::tempdir().unwrap();
        let config = Config { topology: topology.parse().unwrap(), durability: Durability::None, ..Config::default() };
        let (handle, mut stages) = Pipeline::open_unstarted(directory.path(), &config).unwrap();
        let mut subscriber = handle.subscribe(Subscription::default()).unwrap();
        let mut gateway = gateway(&handle);
        let mut events = 0;
        let mut run = |commands: &mut dyn Iterator<Item = engine::command::Command>| {
            let mut more = true;
            while more {
                for _ in 0..64 {
                    match commands.next() {
                        Some(command) => drop(submit(&mut gateway, command)),
                        None => more = false,
                    }
                }
                for _ in 0..4 {
                    for stage in StageName::ALL {
                        stages.poll(stage, 64);
                    }
                }
                events += subscriber.drain(usize::MAX, |_| {}).unwrap();
            }
        };
        run(&mut setup().into_iter().chain((0..50_000).map(steady)));
        let counted = allocation_counter::measure(|| run(&mut (50_000..100_000).map(steady)));
        assert_eq!((counted.count_total, counted.bytes_total), (0, 0), "{topology}");
        assert!(events > 100_000, "the commands went all the way");
    }
}

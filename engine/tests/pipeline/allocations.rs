//! After start the stages do not allocate.

use engine::{
    journal::Durability,
    pipeline::{Config, Pipeline, StageName, Subscription},
};

use super::{gateway, order, setup, submit};

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
                    StageName::ALL.map(|stage| stages.poll(stage, 64));
                }
                events += subscriber.drain(usize::MAX, |_| {}).unwrap();
            }
        };
        run(&mut setup().into_iter().chain((0..50_000).map(order)));
        let counted = allocation_counter::measure(|| run(&mut (50_000..100_000).map(order)));
        assert_eq!((counted.count_total, counted.bytes_total), (0, 0), "{topology}");
        assert!(events > 100_000, "the commands went all the way");
    }
}

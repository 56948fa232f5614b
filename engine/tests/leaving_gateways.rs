//! Gateways that close while others stay: the sequencer goes on with those that are left, whoever's turn it was.

use engine::{
    command::Command,
    pipeline::{Config, Gateway, Pipeline, StageName},
    types::{AccountId, Cause},
};

#[test]
fn the_turn_survives_gateways_that_leave() {
    const GATEWAYS: usize = 4;
    for polls in 0..GATEWAYS {
        let (handle, mut stages) = Pipeline::unstarted(&Config::default()).unwrap();
        let mut gateways: Vec<Gateway> =
            (0..GATEWAYS).map(|number| handle.gateway(Cause::session(number as u32)).unwrap()).collect();
        for _ in 0..=polls {
            stages.poll(StageName::Sequencer, 8);
        }
        gateways.truncate(1);
        stages.poll(StageName::Sequencer, 8);
        gateways[0].submit(Command::CreateAccount { account: AccountId(7) }).unwrap();
        handle.stop();
        while stages.running().next().is_some() {
            for stage in StageName::ALL {
                stages.poll(stage, 8);
            }
        }
        let stopped = handle.collect([stages]).unwrap();
        assert!(stopped.exchange.account(AccountId(7)).is_some(), "after {polls} polls");
    }
}

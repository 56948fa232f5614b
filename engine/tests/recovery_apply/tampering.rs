//! Whoever alters a plan, a signature, a snapshot, an epoch file or what was journaled is found out, and what he altered
//! is named. The forger here is a good one: what he writes has all the right checksums.

use engine::{
    command::{Command, SequencedCommand},
    journal::{Journal, JournalReader, MemoryStorage, Options, journal_id, snapshot::list_snapshots},
    pipeline::Inline,
    recovery::{
        Approval, ApprovalError, Moment, Plan, Strategy, Timeline, VerifyError, VerifyFault, apply_to, epoch_files,
        save_snapshot, verify_epochs, verify_last_epoch,
    },
    types::{Amount, Cause, Digest, OperatorId, Sequence, Timestamp},
};

use super::world::{BAD, NEVER, approved, key, late_deposit, play, strategies};

fn options() -> Options {
    Options { segment_bytes: 2 << 20, ..Options::default() }
}

/// A journal with a deposit behind the halt and an applied plan, and the commands in it.
struct Recovered {
    storage: MemoryStorage,
    plan: Plan,
    record: Sequence,
    commands: Vec<SequencedCommand>,
}

fn recovered() -> Recovered {
    let storage = MemoryStorage::default();
    let mut inline = Inline::open_memory_storage(&storage, &options()).unwrap();
    play(&mut inline);
    inline.submit(Cause::operator(1), late_deposit(3)).unwrap();
    inline.close().unwrap();
    let timeline = Timeline::of(storage.clone());
    let strategy = strategies(&timeline, BAD).swap_remove(1);
    let (plan, _, approvals) = approved(&timeline, &strategy);
    let applied = apply_to(&storage, &options(), &plan, &approvals, Timestamp(1), &|_| ()).unwrap();
    let commands = JournalReader::open(storage.clone()).unwrap().map(Result::unwrap).collect();
    Recovered { storage, plan, record: applied.sequence, commands }
}

impl Recovered {
    /// The journal written anew with other commands, as its own: same identity, same epochs. With or without the epoch file.
    fn forged(&self, commands: &[SequencedCommand], keep_file: bool) -> MemoryStorage {
        let storage = MemoryStorage::default();
        let options = Options { journal_id: Some(journal_id(&self.storage).unwrap()), ..options() };
        let mut journal = Journal::open(storage.clone(), options).unwrap().into_journal().unwrap();
        for command in commands {
            if matches!(command.command, Command::StartEpoch { .. }) {
                journal.commit().unwrap();
                journal.begin_epoch().unwrap();
            }
            journal.append(command).unwrap();
        }
        journal.commit().unwrap();
        journal.close().unwrap();
        if keep_file {
            let [name] = epoch_files(&self.storage).unwrap()[..] else { panic!("one epoch file") };
            let name = name.to_string();
            storage.replace_file(&name, self.storage.file(&name).unwrap());
        }
        storage
    }

    /// What verification finds when one command was altered; both ways to verify must find it.
    fn fault(&self, keep_file: bool, alter: impl Fn(&mut SequencedCommand)) -> VerifyFault {
        let mut commands = self.commands.clone();
        commands.iter_mut().for_each(alter);
        assert_ne!(commands, self.commands);
        let timeline = Timeline::of(self.forged(&commands, keep_file));
        let last = verify_last_epoch(&timeline, &|_| ()).unwrap_err().to_string();
        let error = verify_epochs(&timeline, &|_| ()).unwrap_err();
        assert_eq!(error.to_string(), last);
        match error {
            VerifyError::Epoch { epoch, sequence, fault } => {
                assert_eq!((epoch.0, sequence), (2, self.record));
                *fault
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_forged_journal_is_found_out_whatever_was_altered_in_it() {
    let recovered = recovered();
    let whole = Timeline::of(recovered.forged(&recovered.commands, true));
    assert_eq!(
        verify_epochs(&whole, &|_| ()).unwrap(),
        verify_epochs(&Timeline::of(recovered.storage.clone()), &|_| ()).unwrap()
    );
    let last_part = Sequence(recovered.record.0 - 1);
    let halt = recovered.plan.halt;

    for keep_file in [true, false] {
        // The signature, at the very end of the parts.
        let fault = recovered.fault(keep_file, |command| {
            if let Command::AddPlanPart { length, bytes, .. } = &mut command.command
                && command.sequence == last_part
            {
                bytes.0[usize::from(*length) - 1] ^= 1;
            }
        });
        if keep_file {
            assert!(matches!(fault, VerifyFault::OtherApprovals { .. }), "{fault}");
        } else {
            assert!(
                matches!(fault, VerifyFault::Approval(ApprovalError::Signature { operator }) if operator.0 == 3),
                "{fault}"
            );
        }

        // Every bit of the plan's parts, one in each byte; what is left may be no plan at all.
        for part in recovered.commands.iter().filter(|command| matches!(command.command, Command::AddPlanPart { .. })) {
            for byte in (0..32).step_by(if keep_file { 16 } else { 5 }) {
                let Command::AddPlanPart { length, .. } = part.command else { unreachable!() };
                if byte >= length {
                    continue;
                }
                recovered.fault(keep_file, |command| {
                    if let Command::AddPlanPart { bytes, .. } = &mut command.command
                        && command.sequence == part.sequence
                    {
                        bytes.0[usize::from(byte)] ^= 4;
                    }
                });
            }
        }

        // The record.
        let fault = recovered.fault(keep_file, |command| {
            if let Command::StartEpoch { digest, .. } = &mut command.command {
                digest.0[0] ^= 1;
            }
        });
        assert!(matches!(fault, VerifyFault::Record { .. }), "{fault}");

        // What came between the halt and the record.
        let fault = recovered.fault(keep_file, |command| {
            if let Command::Deposit { amount, .. } = &mut command.command
                && command.sequence > halt
            {
                *amount = Amount(amount.0 + 1);
            }
        });
        if keep_file {
            assert!(matches!(fault, VerifyFault::OtherFile { what: "state", .. }), "{fault}");
        } else {
            assert!(matches!(fault, VerifyFault::Record { .. }), "{fault}");
        }

        // History before the halt.
        let fault = recovered.fault(keep_file, |command| {
            if let Command::Deposit { amount, .. } = &mut command.command
                && command.sequence.0 < 20
            {
                *amount = Amount(amount.0 + 1);
            }
        });
        assert!(matches!(fault, VerifyFault::OtherState { which: "parent", .. }), "{fault}");

        // The halt itself.
        let fault = recovered.fault(keep_file, |command| {
            if command.sequence == halt {
                command.command = super::world::status(engine::types::TradingStatus::CancelOnly);
            }
        });
        assert!(matches!(fault, VerifyFault::Place { .. }), "{fault}");
    }
}

/// The journal of someone who has the program, and writes on it: these commands in place of the parts and the record, then
/// the plan with these approvals, and a record. Gives what verification finds.
fn begun_with(recovered: &Recovered, before: &[Command], approvals: &[Approval]) -> VerifyFault {
    let mut commands = recovered.commands.clone();
    let record = *commands.iter().find(|command| command.sequence == recovered.record).unwrap();
    commands.retain(|command| {
        command.sequence < recovered.record && !matches!(command.command, Command::AddPlanPart { .. })
    });
    let mut add = |command: Command| {
        let sequence = commands.last().unwrap().sequence.next();
        commands.push(SequencedCommand { sequence, command, ..record });
        sequence
    };
    for command in before {
        add(*command);
    }
    let document = recovered.plan.encode();
    let mut bytes = (document.len() as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(&document);
    bytes.push(approvals.len() as u8);
    for approval in approvals {
        bytes.extend_from_slice(&approval.operator.0.to_le_bytes());
        bytes.extend_from_slice(&approval.expires.0.to_le_bytes());
        bytes.extend_from_slice(&approval.signature);
    }
    for (index, chunk) in (0..).zip(bytes.chunks(32)) {
        let mut part = [0; 32];
        part[..chunk.len()].copy_from_slice(chunk);
        add(Command::AddPlanPart { index, length: chunk.len() as u8, bytes: Digest(part) });
    }
    let Command::StartEpoch { digest, .. } = record.command else { panic!("the record") };
    let at = commands.last().unwrap().sequence.next();
    commands.push(SequencedCommand { sequence: at, command: Command::StartEpoch { at, digest }, ..record });
    let error = verify_epochs(&Timeline::of(recovered.forged(&commands, false)), &|_| ()).unwrap_err();
    let VerifyError::Epoch { fault, .. } = error else { panic!("{error}") };
    *fault
}

#[test]
fn an_epoch_begun_by_one_person_is_found_out() {
    let recovered = recovered();
    let plan = &recovered.plan;
    let sign = |operator: u16| Approval::sign(plan, OperatorId(operator), &key(operator), NEVER).unwrap();
    // With two good approvals it is the record that is wrong, for other parts stand before it.
    let fault = begun_with(&recovered, &[late_deposit(8)], &[sign(1), sign(3)]);
    assert!(matches!(fault, VerifyFault::Record { .. }), "{fault}");
    let fault = begun_with(&recovered, &[], &[sign(1)]);
    assert!(matches!(fault, VerifyFault::Approval(ApprovalError::TooFew { found: 1 })), "{fault}");
    let fault = begun_with(&recovered, &[], &[sign(1), sign(1)]);
    assert!(matches!(fault, VerifyFault::Approval(ApprovalError::Twice { .. })), "{fault}");
    // Two who were made for it.
    let register = |operator: u16| Command::RegisterOperator {
        operator: OperatorId(operator),
        key: key(operator).public(),
        first: OperatorId(1),
        second: OperatorId(3),
    };
    let fault = begun_with(&recovered, &[register(5), register(6)], &[sign(5), sign(6)]);
    let VerifyFault::Approval(ApprovalError::RegisteredLate { operator, halt }) = fault else { panic!("{fault}") };
    assert_eq!((operator, halt), (OperatorId(5), plan.halt));
}

#[test]
fn an_altered_epoch_file_is_named() {
    let recovered = recovered();
    let [name] = epoch_files(&recovered.storage).unwrap()[..] else { panic!("one epoch file") };
    let name = name.to_string();
    let bytes = recovered.storage.file(&name).unwrap();
    let state = Timeline::of(recovered.storage.clone()).at_moment(Moment::Now).unwrap().state_hash();
    for place in (0..bytes.len()).step_by(bytes.len() / 60).chain([bytes.len() - 1]) {
        let storage = recovered.storage.crash(|_| true);
        let mut altered = bytes.clone();
        altered[place] ^= 1;
        storage.replace_file(&name, altered);
        let timeline = Timeline::of(storage);
        let error = verify_epochs(&timeline, &|_| ()).unwrap_err().to_string();
        assert!(error.contains(&name), "byte {place}: {error}");
        // It is no more than a short cut: the state is computed without it.
        assert_eq!(timeline.at_moment(Moment::Now).unwrap().state_hash(), state, "byte {place}");
    }
}

#[test]
fn an_altered_snapshot_is_named() {
    let recovered = recovered();
    let timeline = Timeline::of(recovered.storage.clone());
    let mut replay = timeline.replay().unwrap();
    while replay.skip().unwrap().is_some() {}
    save_snapshot(&recovered.storage, replay.exchange(), replay.head(), replay.time(), replay.journal_id()).unwrap();
    let [name] = list_snapshots(&recovered.storage).unwrap()[..] else { panic!("one snapshot") };
    let name = name.to_string();
    verify_epochs(&timeline, &|_| ()).unwrap();
    let bytes = recovered.storage.file(&name).unwrap();
    for place in (0..bytes.len()).step_by(bytes.len() / 60).chain([bytes.len() - 1]) {
        let mut altered = bytes.clone();
        altered[place] ^= 1;
        recovered.storage.replace_file(&name, altered);
        let error = verify_epochs(&timeline, &|_| ()).unwrap_err();
        assert!(matches!(error, VerifyError::Snapshot(_)), "byte {place}: {error}");
        assert!(error.to_string().contains(&name), "byte {place}: {error}");
    }
}

#[test]
fn an_altered_plan_or_approval_file_is_named() {
    let recovered = recovered();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("the.plan");
    recovered.plan.write_file(&file).unwrap();
    assert_eq!(Plan::read_file(&file).unwrap(), recovered.plan);
    let approval = super::world::approve(&recovered.plan)[0];
    let beside = Approval::file_beside(&file, approval.operator);
    approval.write_file(&beside, &recovered.plan).unwrap();
    assert_eq!(Approval::read_file(&beside, &recovered.plan).unwrap(), approval);
    for path in [&file, &beside] {
        let bytes = std::fs::read(path).unwrap();
        for place in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[place] ^= 1;
            std::fs::write(path, altered).unwrap();
            let error = if *path == file {
                Plan::read_file(path).unwrap_err().to_string()
            } else {
                Approval::read_file(path, &recovered.plan).unwrap_err().to_string()
            };
            assert!(error.contains(path.to_str().unwrap()), "byte {place}: {error}");
        }
        for length in 0..bytes.len() {
            std::fs::write(path, &bytes[..length]).unwrap();
            assert!(if *path == file {
                Plan::read_file(path).is_err()
            } else {
                Approval::read_file(path, &recovered.plan).is_err()
            });
        }
        std::fs::write(path, &bytes).unwrap();
    }
    // Another plan with the check made right is another plan.
    let other = Plan { strategy: Strategy::Rewind { cut: Sequence(3) }, ..recovered.plan };
    assert!(Approval::read_file(&beside, &other).unwrap_err().to_string().contains("approves the plan"));
}

//! The journal as its users see it: what is committed comes back, and nothing else does.

mod crash;
mod damage;
mod directory;
mod files;
mod format;
mod losses;
mod middle;
mod pruning;
mod round_trip;
mod snapshots;
mod space;

use engine::{
    command::{Command, SequencedCommand},
    journal::{Journal, JournalId, MemoryStorage, OpenError, Options, Storage, TornTail},
    types::{
        AccountId, Amount, AssetId, Cause, ClientOrderId, ExternalId, LimitType, MarketId, Price, Quantity, Sequence,
        Side, Timestamp,
    },
};

/// Blocks of up to three sectors, segments of seven sectors behind the header, no thread.
fn small() -> Options {
    Options {
        segment_bytes: 8 * 512,
        block_bytes: 3 * 508 - 64,
        segments_ahead: 0,
        journal_id: Some(JournalId(*b"a small journal!")),
        ..Options::default()
    }
}

/// A generator of numbers, the same on every run (Marsaglia, "Xorshift RNGs", 2003).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// The command with this sequence: always the same, of several kinds and lengths.
fn command(sequence: u64) -> SequencedCommand {
    let account = AccountId(sequence as u32 % 1000 + 1);
    let (command, cause) = match sequence % 4 {
        0 => (Command::CreateAccount { account }, Cause::operator(3)),
        1 => {
            let deposit = Command::Deposit {
                account,
                asset: AssetId(1),
                amount: Amount(sequence * 1_000),
                external_id: ExternalId::from_u128(u128::from(sequence)),
            };
            (deposit, Cause::batch(9))
        }
        2 => {
            let place = Command::PlaceLimit {
                account,
                market: MarketId(2),
                side: Side::Sell,
                limit_type: LimitType::PostOnly,
                price: Price(50_000 + sequence),
                quantity: Quantity(sequence),
                client_order_id: ClientOrderId(sequence),
            };
            (place, Cause::session(77))
        }
        _ => (Command::CancelAllOfAccount { account }, Cause::exchange()),
    };
    SequencedCommand {
        sequence: Sequence(sequence),
        time: Timestamp(1_700_000_000_000_000_000 + sequence),
        cause,
        command,
    }
}

/// Appends commands up to `last` in blocks of up to 20, and commits each block.
fn fill<S: Storage>(journal: &mut Journal<S>, last: u64, numbers: &mut Numbers) {
    while journal.head().sequence.0 < last {
        let first = journal.appended().0 + 1;
        for sequence in first..=(first + numbers.below(20)).min(last) {
            journal.append(&command(sequence)).expect("the block has room");
        }
        assert_eq!(journal.commit().expect("storage works"), journal.appended());
    }
}

/// A journal in memory that holds the commands up to `last`.
fn filled(options: &Options, last: u64) -> MemoryStorage {
    let storage = MemoryStorage::default();
    let mut journal = Journal::open(storage.clone(), options.clone()).unwrap().into_journal().unwrap();
    fill(&mut journal, last, &mut Numbers(42));
    journal.close().unwrap();
    storage
}

/// Opens a journal, checks that it holds exactly the commands from 1 on, and returns how many there are.
fn check<S: Storage>(storage: &S, options: &Options) -> Result<(u64, Option<TornTail>), OpenError> {
    let mut opening = Journal::open(storage.clone(), options.clone())?;
    let mut count = 0;
    for found in &mut opening {
        count += 1;
        assert_eq!(found?, command(count));
    }
    assert_eq!(opening.head().sequence, Sequence(count));
    Ok((count, opening.torn().cloned()))
}

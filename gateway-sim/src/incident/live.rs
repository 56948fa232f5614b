//! The exchange while an incident runs: the crowd at its gateways, the drop copy that everybody reads the board from, and
//! the cashier who pays withdrawals out. Each on a thread of its own, from the first command to the last.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, bail};
use engine::{
    command::Command,
    event::{Event, SequencedEvent},
    pipeline::{
        Events, Gateway, Handle, Latency, PipelineError, ReceiveError, SubmitError, Subscriber, Subscription, WhenFull,
    },
    types::{AccountId, Amount, AssetId, Cause, ExternalId, Timestamp, WithdrawalId},
};

use super::{
    board::Board,
    crowd::Crowd,
    world::{KRW, WON, World},
};
use crate::{
    arrivals::{ArrivalProcess, Timetable},
    load::{Generator, LEAD, NAP, Sent, await_published, set_up},
    machine,
    session::Session,
};

/// How often the drop copy and the cashier look whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_micros(500);
/// From a release until the bank says that the money was sent.
const SENDING: Duration = Duration::from_millis(40);
/// What is more than this, in won, is looked at by a person before it is released.
const REVIEWED_KRW: u64 = 1_000_000;
/// How long that takes.
const REVIEW: Duration = Duration::from_millis(400);
/// The crowd goes on until it is told to stop; this is longer than any incident.
const CROWD_SECONDS_MAX: u64 = 86_400;
/// Causes of those who are no part of the crowd.
const CASHIER: u32 = 90;

/// A running exchange with its crowd.
pub struct Live<'a> {
    /// The exchange.
    pub session: &'a Session,
    /// Its assets, markets and accounts.
    pub world: &'a Arc<World>,
    /// What everybody can see.
    pub board: &'a Arc<Board>,
    /// When the first command was due.
    pub begun: Instant,
}

/// What the crowd and the staff did.
#[derive(Debug, Default)]
pub struct Crowded {
    /// What the crowd sent.
    pub sent: Sent,
    /// Withdrawals that were released.
    pub released: u64,
}

impl Live<'_> {
    /// Sets an empty exchange up and lets the crowd trade on it for as long as `script` takes.
    ///
    /// # Errors
    /// When the exchange stops, or the script fails.
    pub fn run<T>(
        session: &Session,
        world: &Arc<World>,
        rate: u64,
        before: &[Command],
        script: impl FnOnce(&Live<'_>) -> Result<T>,
    ) -> Result<(T, Crowded)> {
        let board = Arc::new(Board::new(world));
        let (orders, crowds) = Crowd::start(world, &board);
        let setup: Vec<Command> = world.setup().into_iter().chain(before.iter().copied()).chain(orders).collect();
        set_up(session, session.pipeline.gateway(Cause::session(0))?, &setup)?;
        let refusals = session.pipeline.counters().refusals;
        if refusals > 0 {
            bail!("the exchange refused {refusals} of the setup's commands; this is a defect");
        }
        session.pipeline.latency()?;
        Self::go_on(session, world, &board, rate, crowds, script)
    }

    /// As [`run`](Self::run), on an exchange that is set up already.
    ///
    /// # Errors
    /// As `run`.
    pub fn go_on<T>(
        session: &Session,
        world: &Arc<World>,
        board: &Arc<Board>,
        rate: u64,
        crowds: Vec<Crowd>,
        script: impl FnOnce(&Live<'_>) -> Result<T>,
    ) -> Result<(T, Crowded)> {
        let WorldSeed { seed, gateways } = WorldSeed::of(world);
        let timetable =
            Timetable { process: ArrivalProcess::Poisson, rate, seconds: CROWD_SECONDS_MAX, gateways, seed };
        let stop = AtomicBool::new(false);
        let clock = session.pipeline.clock();
        let start = Timestamp(clock.now().0 + LEAD.as_nanos() as u64);
        // Workers, generator, drop copy, cashier and whoever runs the script.
        let busy = session.pipeline.topology().workers() + 4;
        let mut generator = Generator::new(clock, start, busy.max(machine::cores())).until(&stop);
        for (number, crowd) in crowds.into_iter().enumerate() {
            let gateway = session.pipeline.gateway(Cause::session(number as u32 + 1))?;
            generator.add(gateway, crowd, timetable.arrivals(number as u32));
        }
        let drop_copy = session.pipeline.subscribe(Subscription::default())?;
        let (requests, asked) = mpsc::channel();
        let cashier = Cashier::new(&session.pipeline, asked)?;
        thread::scope(|scope| {
            let reading = scope.spawn(|| read(drop_copy, board, &requests, &stop));
            let paying = scope.spawn(|| cashier.run(&stop));
            let sending = scope.spawn(|| generator.run());
            let live = Live { session, world, board, begun: Instant::now() };
            let outcome = script(&live);
            stop.store(true, Ordering::Relaxed);
            let join = |panicked| -> ! { std::panic::resume_unwind(panicked) };
            let sent = sending.join().unwrap_or_else(|panic| join(panic));
            let released = paying.join().unwrap_or_else(|panic| join(panic));
            reading.join().unwrap_or_else(|panic| join(panic));
            let outcome = outcome?;
            let sent = sent.map_err(|_| session.failure())?;
            Ok((outcome, Crowded { sent, released: released? }))
        })
    }

    /// Lets the crowd trade, and tells now and then how it goes.
    ///
    /// # Errors
    /// When the exchange has stopped.
    pub fn wait(&self, duration: Duration) -> Result<()> {
        let until = Instant::now() + duration;
        while Instant::now() < until {
            if self.session.pipeline.failure().is_some() {
                return Err(self.session.failure());
            }
            thread::sleep((until - Instant::now()).min(Duration::from_millis(20)));
        }
        Ok(())
    }

    /// Waits until everything that was sequenced so far is published.
    ///
    /// # Errors
    /// When the exchange has stopped.
    pub fn settle(&self) -> Result<()> {
        await_published(self.session, self.session.pipeline.durable().0.saturating_sub(1))
    }

    /// The latency since it was asked last.
    ///
    /// # Errors
    /// When the exchange has stopped.
    pub fn latency(&self) -> Result<Latency> {
        Ok(self.session.pipeline.latency()?)
    }
}

struct WorldSeed {
    seed: u64,
    gateways: u32,
}

impl WorldSeed {
    fn of(world: &World) -> Self {
        Self { seed: world.specification.seed, gateways: world.specification.gateways }
    }
}

/// What the cashier is told.
enum Request {
    Asked { withdrawal: WithdrawalId, account: AccountId, asset: AssetId, amount: Amount },
    Released { withdrawal: WithdrawalId },
}

/// Reads every event: the board and the cashier live on it.
fn read(mut events: Subscriber, board: &Board, requests: &mpsc::Sender<Request>, stop: &AtomicBool) {
    loop {
        let ending = stop.load(Ordering::Relaxed);
        let drained = events.drain(4_096, |published| {
            board.notice(&published.event);
            let request = match published.event.event {
                Event::WithdrawalRequested { withdrawal, account, asset, amount } => {
                    Request::Asked { withdrawal, account, asset, amount }
                }
                Event::WithdrawalReleased { withdrawal, .. } => Request::Released { withdrawal },
                _ => return,
            };
            // A cashier who has gone home pays nobody.
            let _ = requests.send(request);
        });
        match drained {
            Ok(0) if ending => return,
            Ok(0) => thread::sleep(LOOK_EVERY),
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// Releases what is asked for, and says when it was sent.
struct Cashier {
    releases: Gateway,
    bank: engine::pipeline::Operator,
    asked: mpsc::Receiver<Request>,
    /// What is to be done when.
    later: Vec<(Instant, Command)>,
}

impl Cashier {
    fn new(handle: &Handle, asked: mpsc::Receiver<Request>) -> Result<Self> {
        let cause = Cause::operator(CASHIER);
        Ok(Self { releases: handle.gateway(cause)?, bank: handle.operator(cause)?, asked, later: Vec::new() })
    }

    fn run(mut self, stop: &AtomicBool) -> Result<u64> {
        let mut released = 0;
        while !stop.load(Ordering::Relaxed) {
            match self.asked.recv_timeout(LOOK_EVERY * 4) {
                Ok(Request::Asked { withdrawal, account, asset, amount }) => {
                    let wait = if asset != KRW || amount.0 > REVIEWED_KRW * WON { REVIEW } else { Duration::ZERO };
                    let release = Command::ReleaseWithdrawal { withdrawal, account, asset, amount };
                    self.later.push((Instant::now() + wait, release));
                }
                Ok(Request::Released { withdrawal }) => {
                    let external_id = ExternalId::from_u128(u128::from(withdrawal.0) | 1 << 120);
                    let sent = Command::ConfirmWithdrawalSent { withdrawal, external_id };
                    self.later.push((Instant::now() + SENDING, sent));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            let now = Instant::now();
            let due: Vec<Command> =
                self.later.extract_if(.., |(due, _)| *due <= now).map(|(_, command)| command).collect();
            for command in due {
                match command {
                    Command::ReleaseWithdrawal { .. } => match self.releases.submit(command) {
                        Ok(_) => released += 1,
                        // Whoever is halted pays nothing out; what was asked for stays so.
                        Err(SubmitError::Halted) => {}
                        Err(SubmitError::Busy | SubmitError::LowSpace) => self.later.push((now, command)),
                        Err(_) => return Ok(released),
                    },
                    // What has left is a fact, and reported also while everything else stands still.
                    _ => match self.bank.execute(command) {
                        Ok(_) => {}
                        Err(PipelineError::Closed) => return Ok(released),
                        Err(error) => return Err(error.into()),
                    },
                }
            }
        }
        Ok(released)
    }
}

/// Somebody who sends a few commands and waits for what comes of them.
pub struct Party {
    gateway: Gateway,
    outcomes: Subscriber,
}

impl Party {
    /// Opens a gateway for them.
    ///
    /// # Errors
    /// When the exchange has ended.
    pub fn new(handle: &Handle, cause: Cause) -> Result<Self> {
        let gateway = handle.gateway(cause)?;
        let events = Events::OfGateway(gateway.id());
        let outcomes = handle.subscribe(Subscription { events, ring: 1 << 14, when_full: WhenFull::HoldBack })?;
        Ok(Self { gateway, outcomes })
    }

    /// Sends commands and waits for the events of all of them, which are durable.
    ///
    /// # Errors
    /// When the exchange takes no commands.
    pub fn execute(&mut self, commands: &[Command]) -> Result<Vec<SequencedEvent>> {
        let mut events = Vec::new();
        let mut last = 0;
        let mut done = 0;
        for &command in commands {
            last = loop {
                match self.gateway.submit(command) {
                    Ok(submission) => break submission,
                    Err(SubmitError::Busy) => {
                        done = self.receive(&mut events)?.max(done);
                        thread::sleep(NAP);
                    }
                    Err(error) => return Err(anyhow!("the exchange does not take {command:?}: {error}")),
                }
            };
        }
        while done < last {
            self.outcomes.wait();
            done = self.receive(&mut events)?.max(done);
        }
        Ok(events)
    }

    /// Takes what is there; gives the last submission of which everything is.
    fn receive(&mut self, events: &mut Vec<SequencedEvent>) -> Result<u64> {
        let mut done = 0;
        match self.outcomes.drain(usize::MAX, |published| {
            events.push(published.event);
            if published.last {
                done = published.submission;
            }
        }) {
            Ok(_) => Ok(done),
            Err(ReceiveError::Lagged | ReceiveError::Closed) => Err(PipelineError::Closed.into()),
            Err(other) => Err(other.into()),
        }
    }
}

/// The refusals among events.
pub fn refusals(events: &[SequencedEvent]) -> impl Iterator<Item = engine::event::RejectReason> {
    events.iter().filter_map(|event| match event.event {
        Event::Refused { reason, .. } => Some(reason),
        _ => None,
    })
}

/// As they are, unless one of them is a refusal.
///
/// # Errors
/// Names the first refusal.
pub fn accepted(events: Vec<SequencedEvent>, what: &str) -> Result<Vec<SequencedEvent>> {
    let refused = refusals(&events).next();
    match refused {
        Some(reason) => bail!("{what} was refused: {reason}"),
        None => Ok(events),
    }
}

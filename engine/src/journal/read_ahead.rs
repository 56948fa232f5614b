//! Reads, checks and decodes on a thread of its own, so that it hides behind what is done with the commands.
//!
//! Commands are decoded in place into batches, which go round: from the reader to who applies them, and back when they
//! are dropped, so that nothing is copied or allocated for a command or for a batch.

use std::{
    io,
    ops::Deref,
    sync::mpsc::{SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use super::{
    OpenError,
    handover::{Giver, Taker, handover},
};
use crate::command::SequencedCommand;

/// Commands handed over at once, and how many such batches may wait.
const BATCH_COMMANDS: usize = 2_048;
const BATCHES_WAITING: usize = 16;

/// What gives the commands of a journal in order, many at once.
pub trait ReadCommands {
    /// Adds the next commands to `batch`, until it holds `most` of them or there are no more.
    ///
    /// # Errors
    /// What was come upon, behind all commands that were added before it. After an error nothing more is added.
    fn read_commands(&mut self, batch: &mut Vec<SequencedCommand>, most: usize) -> Result<(), OpenError>;
}

/// Commands in order. Dropping it gives its memory back to the reader.
#[derive(Debug, Default)]
pub struct CommandBatch {
    commands: Vec<SequencedCommand>,
    /// How many at the front are not wanted any more.
    passed: usize,
    home: Option<SyncSender<Vec<SequencedCommand>>>,
}

impl Deref for CommandBatch {
    type Target = [SequencedCommand];

    fn deref(&self) -> &[SequencedCommand] {
        &self.commands[self.passed..]
    }
}

impl CommandBatch {
    /// Lets the first `count` go.
    ///
    /// # Panics
    /// When there are fewer.
    #[must_use]
    pub fn behind(mut self, count: usize) -> Self {
        assert!(count <= self.len(), "no more can be passed than there are");
        self.passed += count;
        self
    }
}

impl From<Vec<SequencedCommand>> for CommandBatch {
    fn from(commands: Vec<SequencedCommand>) -> Self {
        Self { commands, passed: 0, home: None }
    }
}

impl Drop for CommandBatch {
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            let mut commands = std::mem::take(&mut self.commands);
            commands.clear();
            // A reader that has enough of them, or is gone, wants no more.
            drop(home.try_send(commands));
        }
    }
}

/// A reader of a journal that runs ahead of who takes its commands. Dropping it ends the thread.
#[derive(Debug)]
pub struct ReadAhead<R> {
    batches: Option<Taker<Result<CommandBatch, OpenError>>>,
    thread: Option<JoinHandle<R>>,
}

impl<R: ReadCommands + Send + 'static> ReadAhead<R> {
    /// Starts to read.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(reader: R) -> io::Result<Self> {
        let (giver, batches) = handover(BATCHES_WAITING);
        let thread = thread::Builder::new().name("read-ahead".to_owned()).spawn(move || read(reader, giver))?;
        Ok(Self { batches: Some(batches), thread: Some(thread) })
    }

    /// The next commands in order, at least one; `None` at the end.
    ///
    /// # Errors
    /// What the reader came upon, behind all commands before it.
    pub fn next_batch(&mut self) -> Result<Option<CommandBatch>, OpenError> {
        self.batches.as_mut().and_then(Taker::take).transpose()
    }

    /// The reader back, which stands where the last batch ended if all were taken.
    ///
    /// # Panics
    /// When the reader has panicked.
    #[must_use]
    pub fn into_reader(mut self) -> R {
        let thread = self.thread.take().expect("it is there until now");
        // Nobody takes any more: a reader that is not at its end stops.
        self.batches = None;
        thread.join().expect("a reader of a journal does not panic")
    }
}

impl<R> Drop for ReadAhead<R> {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // Whoever drops it wants no commands, and so not to know why there are none.
            drop(thread.join());
        }
    }
}

fn read<R: ReadCommands>(mut reader: R, mut batches: Giver<Result<CommandBatch, OpenError>>) -> R {
    let (home, empties) = sync_channel(BATCHES_WAITING + 4);
    loop {
        let mut commands = empties.try_recv().unwrap_or_else(|_| Vec::with_capacity(BATCH_COMMANDS));
        let result = reader.read_commands(&mut commands, BATCH_COMMANDS);
        let is_last = commands.len() < BATCH_COMMANDS;
        let batch = CommandBatch { commands, passed: 0, home: Some(home.clone()) };
        let gone = !batch.is_empty() && batches.give(Ok(batch)).is_err();
        if let Err(error) = result {
            // If nobody takes it, nobody wants to know.
            let _ = batches.give(Err(error));
            return reader;
        }
        if gone || is_last {
            return reader;
        }
    }
}

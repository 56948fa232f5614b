//! Reads and checks on a thread of its own, so that it hides behind what is done with the commands.

use std::{
    io,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use super::OpenError;
use crate::command::SequencedCommand;

/// Commands handed over at once, and how many such handfuls may wait.
const BATCH_COMMANDS: usize = 4_096;
const BATCHES_WAITING: usize = 8;

/// A reader of a journal that runs ahead of who takes its commands.
#[derive(Debug)]
pub struct ReadAhead<R> {
    batches: Receiver<Result<Vec<SequencedCommand>, OpenError>>,
    thread: JoinHandle<R>,
}

impl<R: Iterator<Item = Result<SequencedCommand, OpenError>> + Send + 'static> ReadAhead<R> {
    /// Starts to read.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(reader: R) -> io::Result<Self> {
        let (sender, batches) = sync_channel(BATCHES_WAITING);
        let thread = thread::Builder::new().name("read-ahead".to_owned()).spawn(move || read(reader, &sender))?;
        Ok(Self { batches, thread })
    }

    /// The next commands in order; `None` at the end.
    ///
    /// # Errors
    /// What the reader came upon, behind all commands before it.
    pub fn next_batch(&mut self) -> Result<Option<Vec<SequencedCommand>>, OpenError> {
        self.batches.recv().ok().transpose()
    }

    /// The reader back, which stands where the last batch ended if all were taken.
    ///
    /// # Panics
    /// When the reader has panicked.
    #[must_use]
    pub fn into_reader(self) -> R {
        // Nobody takes any more: a reader that is not at its end stops.
        drop(self.batches);
        self.thread.join().expect("a reader of a journal does not panic")
    }
}

fn read<R>(mut reader: R, batches: &SyncSender<Result<Vec<SequencedCommand>, OpenError>>) -> R
where
    R: Iterator<Item = Result<SequencedCommand, OpenError>>,
{
    loop {
        let mut batch = Vec::with_capacity(BATCH_COMMANDS);
        let mut failure = None;
        while batch.len() < BATCH_COMMANDS && failure.is_none() {
            match reader.next() {
                Some(Ok(command)) => batch.push(command),
                Some(Err(error)) => failure = Some(error),
                None => break,
            }
        }
        let is_last = batch.len() < BATCH_COMMANDS;
        let gone = !batch.is_empty() && batches.send(Ok(batch)).is_err();
        if let Some(error) = failure {
            // If nobody takes it, nobody wants to know.
            drop(batches.send(Err(error)));
        }
        if gone || is_last {
            return reader;
        }
    }
}

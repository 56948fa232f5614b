//! How a run is going: a bar on a terminal, a plain line per second elsewhere. Goes to standard error.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::report::text::grouped;

const LINE_EVERY: Duration = Duration::from_secs(1);

/// Shows how far a run has come.
pub struct Progress {
    bar: Option<ProgressBar>,
    what: &'static str,
    total: u64,
    begun: Instant,
    last_line: Instant,
    last_done: u64,
}

impl Progress {
    /// Starts to show a run of about `total` of `what`.
    #[must_use]
    pub fn start(what: &'static str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{elapsed:>4} {bar:40} {percent:>3} %  {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total).with_style(style)
        });
        let now = Instant::now();
        Self { bar, what, total, begun: now, last_line: now, last_done: 0 }
    }

    /// Tells that `done` are done; cheap enough to be called often.
    pub fn update(&mut self, done: u64, note: impl FnOnce() -> String) {
        let since = self.last_line.elapsed();
        let due = if self.bar.is_some() { LINE_EVERY / 10 } else { LINE_EVERY };
        if since < due {
            return;
        }
        let rate = ((done - self.last_done) as f64 / since.as_secs_f64()) as u64;
        let text = format!("{} {}, {} per second{}", grouped(done), self.what, grouped(rate), note());
        match &self.bar {
            Some(bar) => {
                bar.set_position(done.min(self.total));
                bar.set_message(text);
            }
            None => eprintln!("{:>3} s  {text}", self.begun.elapsed().as_secs()),
        }
        (self.last_line, self.last_done) = (Instant::now(), done);
    }

    /// Takes the bar away.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

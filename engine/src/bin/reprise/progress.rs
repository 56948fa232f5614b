//! How far a replay has come, told on standard error when it takes longer than a second: a bar on a terminal, plain
//! lines elsewhere.

use std::{
    fs::File,
    io::{IsTerminal, Read},
    path::Path,
    sync::Mutex,
    time::{Duration, Instant},
};

use engine::types::Sequence;
use indicatif::{ProgressBar, ProgressStyle};

use crate::output::count;

/// The clock is looked at once in so many commands.
const LOOK_EVERY: u64 = 1 << 14;
const FIRST_AFTER: Duration = Duration::from_secs(1);
const LINE_EVERY: Duration = Duration::from_secs(5);
const BAR_EVERY: Duration = Duration::from_millis(100);

/// Shows a replay's progress.
pub struct Progress {
    what: &'static str,
    total: Option<u64>,
    done: u64,
    begun: Instant,
    told: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Begins; `total` is how many commands there will be, if that is known.
    pub fn start(what: &'static str, total: Option<u64>) -> Self {
        let now = Instant::now();
        Self { what, total, done: 0, begun: now, told: now, bar: None }
    }

    /// One more command is done.
    #[inline]
    pub fn step(&mut self) {
        self.done += 1;
        if self.done.is_multiple_of(LOOK_EVERY) {
            self.tell();
        }
    }

    /// So many commands are done.
    pub fn reach(&mut self, done: u64) {
        self.done = self.done.max(done);
        self.tell();
    }

    #[cold]
    fn tell(&mut self) {
        let terminal = std::io::stderr().is_terminal();
        let pause = match (self.told == self.begun, terminal) {
            (true, _) => FIRST_AFTER,
            (false, true) => BAR_EVERY,
            (false, false) => LINE_EVERY,
        };
        if self.told.elapsed() < pause {
            return;
        }
        self.told = Instant::now();
        let rate = count((self.done as f64 / self.begun.elapsed().as_secs_f64()) as u64);
        let text = format!("{} commands, {rate} per second", count(self.done));
        if !terminal {
            let of = self.total.map_or_else(String::new, |total| format!(" of about {}", count(total)));
            eprintln!("{:>4} s  {}: {text}{of}", self.begun.elapsed().as_secs(), self.what);
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let (bar, template) = match self.total {
                Some(total) => (ProgressBar::new(total), "{elapsed:>4} {prefix} {bar:30} {percent:>3} %  {wide_msg}"),
                None => (ProgressBar::no_length(), "{elapsed:>4} {prefix} {spinner}  {wide_msg}"),
            };
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.with_style(style).with_prefix(self.what)
        });
        bar.set_position(self.total.map_or(self.done, |total| self.done.min(total)));
        bar.set_message(text);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What a computation of the library tells how far it has come.
pub fn telling(progress: Progress) -> impl Fn(u64) + Sync {
    let progress = Mutex::new(progress);
    move |done| {
        // Whoever comes while another is told has nothing newer to tell.
        if let Ok(mut progress) = progress.try_lock() {
            progress.reach(done);
        }
    }
}

/// About how many commands there are, from the first sequences in the segments' headers (byte 24): all segments but
/// the last are full. For progress only, so whatever cannot be read is not there.
pub fn estimate(directory: &Path) -> Option<u64> {
    let mut firsts: Vec<Sequence> = Vec::new();
    for index in 0.. {
        let mut header = [0; 32];
        let path = directory.join(format!("{index:08}.segment"));
        let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
        let (magic, first) = (&header[..8], &header[24..]);
        if read.is_err() || magic != b"REPRISEJ" {
            break;
        }
        firsts.push(Sequence(u64::from_le_bytes(first.try_into().unwrap_or_default())));
    }
    let last = firsts.last()?.0;
    let per_segment = last / (firsts.len() as u64 - 1).max(1);
    (firsts.len() > 1).then_some(last + per_segment / 2)
}

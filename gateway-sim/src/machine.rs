//! What the figures were measured on: without it they say nothing.

use std::{fs, path::Path};

use serde::Serialize;

/// The git commit this was built from; `unknown` outside a repository, with `-dirty` when the sources had changes.
pub const COMMIT: &str = env!("GIT_COMMIT");

/// The machine.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Machine {
    /// The processor's model.
    pub processor: String,
    /// How many cores this process may use.
    pub cores: usize,
    /// The operating system and its version.
    pub kernel: String,
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn current() -> Self {
        Self {
            processor: processor().unwrap_or_else(|| "unknown processor".to_owned()),
            cores: cores(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| std::env::consts::OS.to_owned(), |release| format!("Linux {}", release.trim())),
        }
    }
}

/// How many cores this process may use.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The largest resident memory that this process has had, in KiB, where the system tells it.
#[must_use]
pub fn memory_peak_kib() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_owned())
}

/// The type and the device of the file system that holds `path`: `ext4 on /dev/sda1`.
#[must_use]
pub fn file_system_of(path: &Path) -> String {
    let find = || {
        let path = path.canonicalize().ok()?;
        let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
        let holding = mounts.lines().filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let (device, point, kind) = (fields.next()?, fields.next()?, fields.next()?);
            path.starts_with(point).then_some((point.len(), format!("{kind} on {device}")))
        });
        // Of mounts at one point the last one hides the others.
        holding.max_by_key(|&(length, _)| length).map(|(_, text)| text)
    };
    find().unwrap_or_else(|| "unknown file system".to_owned())
}

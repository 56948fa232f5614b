//! The rings between this process and the Linux kernel, for one use only: a write that is awaited.
//!
//! `io_uring` takes raw pointers, which the kernel follows whenever it likes. Here a call does not return before the
//! kernel is done with the bytes it was given, so a borrow is enough, and callers need no `unsafe`.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use io_uring::{IoUring, opcode, types::Fd};

/// A pair of rings for writes, one at a time.
///
/// ```no_run
/// use std::fs::File;
///
/// let file = File::create("numbers")?;
/// ringbuf::Uring::new()?.write_all_durably_at(&file, &[1, 2, 3], 0)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Uring {
    ring: IoUring,
    /// A write may still lie in the ring whose bytes are borrowed no longer: the kernel is never entered again.
    poisoned: bool,
}

impl Uring {
    /// Creates the rings.
    ///
    /// # Errors
    ///
    /// What the operating system says: there may be none, or it may be forbidden.
    pub fn new() -> io::Result<Self> {
        Ok(Self { ring: IoUring::new(2)?, poisoned: false })
    }

    /// Writes all of `bytes` at `offset` of a file, and returns when they are on the device, as after `fdatasync`.
    ///
    /// # Errors
    ///
    /// What the operating system says; then any part may have been written. After an error of the rings themselves,
    /// every later write fails too.
    pub fn write_all_durably_at(&mut self, file: &impl AsFd, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(file, bytes, offset)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => {
                    bytes = &bytes[written..];
                    offset += written as u64;
                }
            }
        }
        Ok(())
    }

    /// Writes some of `bytes`, and returns how many.
    fn write_at(&mut self, file: &impl AsFd, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if self.poisoned {
            return Err(io::Error::other("the ring of the kernel has failed before"));
        }
        let length = u32::try_from(bytes.len()).unwrap_or(1 << 30);
        let file = Fd(file.as_fd().as_raw_fd());
        let write = opcode::Write::new(file, bytes.as_ptr(), length).offset(offset).rw_flags(libc::RWF_DSYNC).build();
        // SAFETY: the file and the bytes are borrowed until this function returns. It returns a result of the write only
        // with its completion, after which the kernel does not use them. Otherwise the write was never taken from the
        // ring, and never will be: the ring is poisoned, and this is the only place that enters the kernel.
        unsafe { self.ring.submission().push(&write) }.map_err(io::Error::other)?;
        loop {
            let entered = self.ring.submit_and_wait(1);
            if let Some(completed) = self.ring.completion().next() {
                let result = completed.result();
                return if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result as usize) };
            }
            if let Err(error) = entered
                && !matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ResourceBusy)
            {
                let untaken = !self.ring.submission().is_empty();
                if untaken {
                    self.poisoned = true;
                    return Err(error);
                }
                // The kernel has it, and will complete it: there is nothing to do but to wait.
                std::thread::yield_now();
            }
        }
    }
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Uring").field("poisoned", &self.poisoned).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, process};

    use super::*;

    #[test]
    fn what_is_written_is_there() {
        let Ok(mut ring) = Uring::new() else {
            eprintln!("there is no io_uring here");
            return;
        };
        let path = std::env::temp_dir().join(format!("ringbuf-uring-{}", process::id()));
        let file = fs::OpenOptions::new().write(true).create_new(true).open(&path).unwrap();
        ring.write_all_durably_at(&file, b"world", 6).unwrap();
        ring.write_all_durably_at(&file, b"hello ", 0).unwrap();
        ring.write_all_durably_at(&file, b"", 99).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"hello world");
        let read_only = fs::File::open(&path).unwrap();
        assert!(ring.write_all_durably_at(&read_only, b"x", 0).is_err());
        ring.write_all_durably_at(&file, b"W", 6).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"hello World");
        fs::remove_file(path).unwrap();
    }
}

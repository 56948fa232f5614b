//! Segments, and what is kept beside them, as files of one directory, guarded by a lock file.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};
#[cfg(target_os = "linux")]
use std::{
    os::unix::fs::OpenOptionsExt,
    sync::{Mutex, PoisonError},
};

use super::{Access, NewFile, PageBuffer, Segment, Storage, WriteMethod};
#[cfg(target_os = "linux")]
use crate::journal::layout::SECTOR_BYTES;
use crate::{journal::OpenError, types::Sequence};

const SUFFIX: &str = ".segment";
const SUFFIX_PREPARING: &str = ".preparing";
const SUFFIX_WRITING: &str = ".writing";
const LOCK: &str = "LOCK";
/// Zeros are written and synced in pieces of this many bytes, so that a commit never waits behind a whole segment.
const PIECE_BYTES: usize = 1 << 20;

/// Segments as files of one directory.
#[derive(Clone, Debug)]
pub struct FileStorage {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    /// Locked while the file is open; `None` for reading.
    lock: Option<File>,
}

impl FileStorage {
    /// Takes the directory for writing, and makes it if there is none. The lock is held until the last handle is
    /// dropped.
    ///
    /// # Errors
    /// [`OpenError::Locked`] with the holder's process id when someone else has it, [`OpenError::Io`] otherwise.
    pub fn lock(directory: impl AsRef<Path>) -> Result<Self, OpenError> {
        let directory = directory.as_ref().to_owned();
        let path = directory.join(LOCK);
        let failed = |source| OpenError::Io { file: path.display().to_string(), offset: 0, after: Sequence(0), source };
        make_directory(&directory).map_err(failed)?;
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let process_id = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(OpenError::Locked { directory, process_id });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        let storage = Self { inner: Arc::new(Inner { directory, lock: Some(file) }) };
        storage.remove_unfinished().map_err(failed)?;
        Ok(storage)
    }

    /// Looks at a directory without taking it: for reading, also while another process writes.
    #[must_use]
    pub fn read_only(directory: impl AsRef<Path>) -> Self {
        Self { inner: Arc::new(Inner { directory: directory.as_ref().to_owned(), lock: None }) }
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.inner.directory
    }

    fn path(&self, index: u32, suffix: &str) -> PathBuf {
        self.inner.directory.join(format!("{index:08}{suffix}"))
    }

    /// Removes what an earlier process had begun to prepare or to write.
    fn remove_unfinished(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.inner.directory)? {
            let entry = entry?;
            let unfinished = |name: &str| index_of(name, SUFFIX_PREPARING).is_some() || name.ends_with(SUFFIX_WRITING);
            if entry.file_name().to_str().is_some_and(unfinished) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Refuses to change a directory that was not taken.
    fn expect_locked(&self) -> io::Result<()> {
        match self.inner.lock {
            Some(_) => Ok(()),
            None => Err(io::Error::new(io::ErrorKind::PermissionDenied, "the directory was opened for reading only")),
        }
    }

    /// Where a file is, whose name must be no segment's and no temporary one.
    fn file_path(&self, name: &str) -> io::Result<PathBuf> {
        if is_file_name(name) && !name.contains(['/', '\\']) {
            Ok(self.inner.directory.join(name))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} cannot be the name of a file")))
        }
    }
}

/// The index in a file's name: at least eight digits and the suffix.
fn index_of(name: &str, suffix: &str) -> Option<u32> {
    let index = name.strip_suffix(suffix)?.parse().ok()?;
    (format!("{index:08}{suffix}") == name).then_some(index)
}

fn is_file_name(name: &str) -> bool {
    let of_journal = [SUFFIX, SUFFIX_PREPARING, SUFFIX_WRITING].iter().any(|suffix| name.ends_with(suffix));
    !of_journal && name != LOCK && !name.is_empty() && !name.starts_with('.')
}

fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(directory)?;
    match directory.parent() {
        Some(parent) if parent != Path::new("") => sync_directory(parent),
        _ => sync_directory(Path::new(".")),
    }
}

/// Makes a durable file of zeros.
fn make_zeros(path: &Path, bytes: u64, access: Access) -> io::Result<()> {
    let mut file = create_for(path, access)?;
    write_zeros(&mut file, bytes)?;
    file.sync_all()
}

/// Makes an empty file, to be filled past the page cache if it will be written so: copying zeros there took a quarter of
/// two cores under full load, and only to be thrown away.
#[cfg(target_os = "linux")]
fn create_for(path: &Path, access: Access) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    if matches!(access, Access::WriteDurable(WriteMethod::Direct | WriteMethod::Uring)) {
        options.custom_flags(libc::O_DIRECT);
    }
    options.open(path)
}

/// Makes an empty file.
#[cfg(not(target_os = "linux"))]
fn create_for(path: &Path, _access: Access) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).open(path)
}

/// Writes zeros and makes them durable piece by piece.
fn write_zeros(file: &mut File, mut bytes: u64) -> io::Result<()> {
    // Not a vector, from whose place in its page the copy into the page cache would collapse.
    let zeros = PageBuffer::new(PIECE_BYTES);
    while bytes > 0 {
        let piece = bytes.min(PIECE_BYTES as u64);
        file.write_all(&zeros[..piece as usize])?;
        file.sync_data()?;
        bytes -= piece;
    }
    Ok(())
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

impl Storage for FileStorage {
    type Segment = FileSegment;
    type NewFile = FileBeingWritten;

    fn segments(&self) -> io::Result<Vec<u32>> {
        let mut indexes = Vec::new();
        for entry in fs::read_dir(&self.inner.directory)? {
            if let Some(index) = entry?.file_name().to_str().and_then(|name| index_of(name, SUFFIX)) {
                indexes.push(index);
            }
        }
        indexes.sort_unstable();
        Ok(indexes)
    }

    fn create(&self, index: u32, bytes: u64, access: Access) -> io::Result<()> {
        self.expect_locked()?;
        let preparing = self.path(index, SUFFIX_PREPARING);
        let made = make_zeros(&preparing, bytes, access);
        if let Err(error) = made {
            // On a full disk, what was made of it would be in the way.
            drop(fs::remove_file(&preparing));
            return Err(error);
        }
        fs::rename(preparing, self.path(index, SUFFIX))?;
        sync_directory(&self.inner.directory)
    }

    #[cfg(target_os = "linux")]
    fn best_write_method(&self, index: u32) -> WriteMethod {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(self.path(index, SUFFIX));
        let least = file.ok().and_then(|file| direct_bytes_min(&file));
        // Where the kernel does not tell, the device may want more than a sector at once.
        let can = least.is_some_and(|least| (1..=SECTOR_BYTES as u64).contains(&least));
        if can { WriteMethod::Direct } else { WriteMethod::Dsync }
    }

    fn remove(&self, index: u32) -> io::Result<()> {
        self.expect_locked()?;
        fs::remove_file(self.path(index, SUFFIX))?;
        sync_directory(&self.inner.directory)
    }

    fn set_aside(&self, index: u32, keep: u64) -> io::Result<String> {
        self.expect_locked()?;
        let path = self.path(index, SUFFIX);
        let taken = self.files()?;
        let names = (1_u32..).map(|number| super::aside_name(index, number));
        let aside = names.into_iter().find(|name| !taken.contains(name)).ok_or(io::ErrorKind::AlreadyExists)?;
        let aside_path = self.file_path(&aside)?;
        if keep == 0 {
            fs::rename(path, aside_path)?;
        } else {
            let preparing = self.path(index, SUFFIX_PREPARING);
            let mut whole = File::open(&path)?;
            let bytes = whole.metadata()?.len();
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&preparing)?;
            let kept = io::copy(&mut Read::by_ref(&mut whole).take(keep), &mut file)?;
            write_zeros(&mut file, bytes.saturating_sub(kept))?;
            file.sync_all()?;
            // The name exists twice for a moment, so that it never is missing.
            fs::hard_link(&path, aside_path)?;
            sync_directory(&self.inner.directory)?;
            fs::rename(preparing, path)?;
        }
        sync_directory(&self.inner.directory)?;
        Ok(aside)
    }

    fn open(&self, index: u32, access: Access) -> io::Result<FileSegment> {
        let path = self.path(index, SUFFIX);
        match access {
            Access::Read => Ok(FileSegment { file: File::open(path)?, durable: Durable::No }),
            Access::Write => {
                Ok(FileSegment { file: OpenOptions::new().read(true).write(true).open(path)?, durable: Durable::No })
            }
            Access::WriteDurable(method) => open_durable(&path, method),
        }
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let found = rustix::fs::statvfs(&self.inner.directory)?;
        // What only a privileged user could take does not count.
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn name(&self, index: u32) -> String {
        self.path(index, SUFFIX).display().to_string()
    }

    fn files(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.inner.directory)? {
            let entry = entry?;
            if let Some(name) = entry.file_name().to_str()
                && is_file_name(name)
                && entry.file_type()?.is_file()
            {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_file(&self, name: &str) -> io::Result<FileBeingWritten> {
        self.expect_locked()?;
        let path = self.file_path(name)?;
        let temporary = self.inner.directory.join(format!("{name}{SUFFIX_WRITING}"));
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary)?;
        Ok(FileBeingWritten { file, temporary, path, published: false, _storage: self.clone() })
    }

    fn open_file(&self, name: &str) -> io::Result<FileSegment> {
        Ok(FileSegment { file: File::open(self.file_path(name)?)?, durable: Durable::No })
    }

    fn remove_file(&self, name: &str) -> io::Result<()> {
        self.expect_locked()?;
        fs::remove_file(self.file_path(name)?)?;
        sync_directory(&self.inner.directory)
    }

    fn file_name(&self, name: &str) -> String {
        self.inner.directory.join(name).display().to_string()
    }
}

/// A file under its temporary name.
#[derive(Debug)]
pub struct FileBeingWritten {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    published: bool,
    /// Keeps the directory locked.
    _storage: FileStorage,
}

impl Write for FileBeingWritten {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl NewFile for FileBeingWritten {
    fn publish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.path)?;
        self.published = true;
        self.path.parent().map_or(Ok(()), sync_directory)
    }
}

impl Drop for FileBeingWritten {
    fn drop(&mut self) {
        if !self.published {
            // What stays is removed when the directory is taken the next time.
            drop(fs::remove_file(&self.temporary));
        }
    }
}

/// One file, open.
#[derive(Debug)]
pub struct FileSegment {
    file: File,
    durable: Durable,
}

/// What makes a write durable.
#[derive(Debug)]
enum Durable {
    /// Nothing: it takes a sync, which others see to.
    No,
    /// The way in which the file was opened.
    Opened,
    /// A sync after each write.
    Synced,
    /// The kernel's ring, in which one write at a time is awaited.
    #[cfg(target_os = "linux")]
    Ring(Box<Mutex<ringbuf::Uring>>),
}

impl Segment for FileSegment {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match &self.durable {
            Durable::No | Durable::Opened => self.file.write_all_at(bytes, offset),
            Durable::Synced => {
                self.file.write_all_at(bytes, offset)?;
                self.file.sync_data()
            }
            #[cfg(target_os = "linux")]
            Durable::Ring(ring) => {
                let mut ring = ring.lock().unwrap_or_else(PoisonError::into_inner);
                ring.write_all_durably_at(&self.file, bytes, offset)
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Opens a file so that each write is durable when it returns.
#[cfg(target_os = "linux")]
fn open_durable(path: &Path, method: WriteMethod) -> io::Result<FileSegment> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let durable = match method {
        WriteMethod::Dsync => {
            options.custom_flags(libc::O_DSYNC);
            Durable::Opened
        }
        WriteMethod::Fdatasync => Durable::Synced,
        WriteMethod::Direct => {
            options.custom_flags(libc::O_DIRECT | libc::O_DSYNC);
            Durable::Opened
        }
        WriteMethod::Uring => {
            options.custom_flags(libc::O_DIRECT | libc::O_DSYNC);
            let refused = |error: io::Error| {
                let text = format!("this kernel gives no io_uring ({error}): choose another way to write, as dsync");
                io::Error::new(io::ErrorKind::Unsupported, text)
            };
            Durable::Ring(Box::new(Mutex::new(ringbuf::Uring::new().map_err(refused)?)))
        }
    };
    let file = options.open(path);
    if matches!(method, WriteMethod::Direct | WriteMethod::Uring) {
        let refused = |reason: &str| {
            let text = format!("no direct writes here ({reason}): choose another way to write than {method}, as dsync");
            io::Error::new(io::ErrorKind::Unsupported, text)
        };
        let file = file.map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => refused("the file system refuses O_DIRECT"),
            _ => error,
        })?;
        match direct_bytes_min(&file) {
            Some(0) => return Err(refused("the file system refuses them for this file")),
            Some(least) if least > SECTOR_BYTES as u64 => {
                return Err(refused(&format!("the device takes no less than {least} bytes at once")));
            }
            _ => {}
        }
        return Ok(FileSegment { file, durable });
    }
    Ok(FileSegment { file: file?, durable })
}

/// Opens a file so that each write is durable when it returns: elsewhere a sync after each is all there is.
#[cfg(not(target_os = "linux"))]
fn open_durable(path: &Path, method: WriteMethod) -> io::Result<FileSegment> {
    if matches!(method, WriteMethod::Direct | WriteMethod::Uring) {
        let text = format!("{method} is a way to write on Linux only: choose another, as fdatasync");
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    Ok(FileSegment { file, durable: Durable::Synced })
}

/// The least that can be written directly, if the kernel tells; 0 where nothing can.
#[cfg(target_os = "linux")]
fn direct_bytes_min(file: &File) -> Option<u64> {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    let found = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok()?;
    let told = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::DIOALIGN);
    told.then_some(found.stx_dio_offset_align.into())
}

//! Where segments and the files beside them live: [files](FileStorage), or [memory with faults](MemoryStorage) for
//! tests and simulations.
//!
//! The only place in the journal that names the file system. Knows bytes, sizes and places, and nothing of what
//! the bytes mean. Called by the journal's writer, reader and background threads, and by what keeps snapshots.

mod file;
mod memory;
mod method;

use std::{fmt, io};

pub use file::{FileBeingWritten, FileSegment, FileStorage};
pub use memory::{MemoryNewFile, MemorySegment, MemoryStorage, UnsyncedSector};
pub use method::{PageBuffer, WriteMethod, WriteMethodError};

/// What an opened segment is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing; a write is durable after the next sync.
    Write,
    /// Reading and writing; a write is durable when it returns. Bytes to be written must begin at the beginning of a
    /// page in memory, and be whole sectors in their places.
    WriteDurable(WriteMethod),
}

/// A place for segments, and for files beside them, which are written once and whole. Clones are handles to the same
/// place.
pub trait Storage: Clone + fmt::Debug + Send + Sync + 'static {
    /// An opened segment, or an opened file.
    type Segment: Segment;
    /// A file being written.
    type NewFile: NewFile;

    /// Returns the indexes of all segments, ascending.
    ///
    /// # Errors
    /// What the operating system says.
    fn segments(&self) -> io::Result<Vec<u32>>;

    /// Makes a segment of `bytes` zeros, itself and its name durable; after a crash there is all of it or none. `access`
    /// is how it will be used.
    ///
    /// # Errors
    /// What the operating system says; without space [`io::ErrorKind::StorageFull`] or
    /// [`io::ErrorKind::QuotaExceeded`], and then nothing is left of it.
    fn create(&self, index: u32, bytes: u64, access: Access) -> io::Result<()>;

    /// The fastest way in which blocks of the segment at `index`, which is there, can be made durable.
    fn best_write_method(&self, _index: u32) -> WriteMethod {
        WriteMethod::Dsync
    }

    /// Removes a segment.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove(&self, index: u32) -> io::Result<()>;

    /// Takes a segment out of the journal and keeps it, under a name that is no segment's and that no file has. Of its
    /// first `keep` bytes a segment of the same length is made, with zeros behind them, in its place; with 0 there is none.
    /// Returns the name. After a crash, the segment is in its place, changed or not.
    ///
    /// # Errors
    /// What the operating system says.
    fn set_aside(&self, index: u32, keep: u64) -> io::Result<String>;

    /// Opens an existing segment.
    ///
    /// # Errors
    /// What the operating system says.
    fn open(&self, index: u32, access: Access) -> io::Result<Self::Segment>;

    /// Returns how many bytes more can be stored.
    ///
    /// # Errors
    /// What the operating system says.
    fn free_bytes(&self) -> io::Result<u64>;

    /// The name of a segment, for messages.
    fn name(&self, index: u32) -> String;

    /// Returns the names of all files that are whole and no segments, ascending.
    ///
    /// # Errors
    /// What the operating system says.
    fn files(&self) -> io::Result<Vec<String>>;

    /// Begins a file under a temporary name.
    ///
    /// # Errors
    /// What the operating system says.
    fn create_file(&self, name: &str) -> io::Result<Self::NewFile>;

    /// Opens an existing file for reading.
    ///
    /// # Errors
    /// What the operating system says.
    fn open_file(&self, name: &str) -> io::Result<Self::Segment>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove_file(&self, name: &str) -> io::Result<()>;

    /// The name of a file, for messages.
    fn file_name(&self, name: &str) -> String;
}

/// A file under a temporary name. If it is dropped without being published, it never was.
pub trait NewFile: io::Write + fmt::Debug + Send {
    /// Makes what was written durable, then gives the file its name, in place of the one that has it, and makes the
    /// name durable. After a crash there is the whole file, or the one it replaces.
    ///
    /// # Errors
    /// What the operating system says; then it may have its name or not.
    fn publish(self) -> io::Result<()>;
}

/// One segment or file, open. Offsets are bytes from its beginning.
pub trait Segment: fmt::Debug + Send + Sync + 'static {
    /// Returns the length.
    ///
    /// # Errors
    /// What the operating system says.
    fn bytes(&self) -> io::Result<u64>;

    /// Reads into `buffer` from `offset` and returns how many bytes, which can be fewer than asked for, and is 0
    /// only at the end.
    ///
    /// # Errors
    /// What the operating system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// What the operating system says; then any of the sectors may have been written.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes everything written durable.
    ///
    /// # Errors
    /// What the operating system says; then nothing is known of what was written since the last sync.
    fn sync(&self) -> io::Result<()>;

    /// Reads all of `buffer` from `offset`.
    ///
    /// # Errors
    /// What the operating system says, and [`io::ErrorKind::UnexpectedEof`] when the segment ends early.
    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => {
                    buffer = &mut buffer[bytes..];
                    offset += bytes as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The name of a segment that was set aside.
fn aside_name(index: u32, number: u32) -> String {
    format!("{index:08}.{number}.lost")
}

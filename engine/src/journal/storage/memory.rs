//! Segments in memory, which fail and crash on demand.
//!
//! What has been written and not synced is remembered with what it replaced, so that a crash can keep any part of it.
//! So are the files whose names a crash can take back.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Access, NewFile, Segment, Storage};
use crate::journal::layout::SECTOR_BYTES;

/// Segments in memory. Clones are handles to the same memory.
///
/// Writes and syncs of segments are counted, and one of each can be made to fail, once. Creating and removing segments
/// does not count, and is durable at once; creating fails only when the memory is [full](Self::set_capacity).
///
/// Files are written in steps, which are counted, and of which one can be made to fail: to create one, each write, to
/// sync it, to rename it, to sync the directory, to remove one.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    memory: Arc<Mutex<Memory>>,
}

#[derive(Debug, Default)]
struct Memory {
    segments: BTreeMap<u32, Vec<u8>>,
    /// Every sector written since the last sync of its segment, oldest first.
    unsynced: Vec<(UnsyncedSector, Vec<u8>)>,
    writes: u64,
    syncs: u64,
    fail_at_write: Option<u64>,
    fail_at_sync: Option<u64>,
    read_bytes_max: Option<usize>,
    files: BTreeMap<String, MemoryFile>,
    /// What files were, before changes that are not durable yet; the oldest first.
    renamed: Vec<(String, Option<MemoryFile>)>,
    file_steps: u64,
    fail_at_file_step: Option<u64>,
    capacity: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct MemoryFile {
    bytes: Vec<u8>,
    /// How many of them are durable.
    synced: usize,
}

/// A sector that was written and not synced, or whose write failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsyncedSector {
    /// Its segment.
    pub segment: u32,
    /// Its number in the segment.
    pub sector: u64,
    /// The number of its write, from 1.
    pub write: u64,
}

impl MemoryStorage {
    /// How many writes there have been, failed ones included.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.memory().writes
    }

    /// How many syncs there have been, failed ones included; a durable write counts as a write and a sync.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.memory().syncs
    }

    /// Makes the `count`-th write from now fail, 1 being the next; what it wrote counts as unsynced.
    pub fn fail_at_write(&self, count: u64) {
        let mut memory = self.memory();
        memory.fail_at_write = Some(memory.writes + count);
    }

    /// Makes the `count`-th sync from now fail, 1 being the next.
    pub fn fail_at_sync(&self, count: u64) {
        let mut memory = self.memory();
        memory.fail_at_sync = Some(memory.syncs + count);
    }

    /// Makes every read return at most `bytes`, which must not be 0.
    pub fn limit_reads(&self, bytes: usize) {
        assert!(bytes > 0, "a read of nothing says that the segment ends");
        self.memory().read_bytes_max = Some(bytes);
    }

    /// The sectors that a crash may lose, oldest first.
    #[must_use]
    pub fn unsynced(&self) -> Vec<UnsyncedSector> {
        self.memory().unsynced.iter().map(|(sector, _)| *sector).collect()
    }

    /// What a crash now would leave: what is synced, and of the rest the sectors that `keep` chooses. The image has
    /// no faults, and shares nothing with this one.
    #[must_use]
    pub fn crash(&self, mut keep: impl FnMut(UnsyncedSector) -> bool) -> Self {
        let memory = self.memory();
        let mut segments = memory.segments.clone();
        let kept: Vec<bool> = memory.unsynced.iter().map(|(sector, _)| keep(*sector)).collect();
        for ((place, replaced), kept) in memory.unsynced.iter().zip(kept).rev() {
            if !kept && let Some(segment) = segments.get_mut(&place.segment) {
                let start = place.sector as usize * SECTOR_BYTES;
                segment[start..start + replaced.len()].copy_from_slice(replaced);
            }
        }
        let files = memory.files.iter().map(|(name, file)| (name.clone(), file.after_crash())).collect();
        Self { memory: Arc::new(Mutex::new(Memory { segments, files, ..Memory::default() })) }
    }

    /// What a crash now would leave if the names of files that were not made durable are taken back: as
    /// [`crash`](Self::crash) that keeps everything else.
    #[must_use]
    pub fn crash_before_directory_sync(&self) -> Self {
        let image = self.crash(|_| true);
        let mut memory = image.memory();
        for (name, before) in self.memory().renamed.iter().rev() {
            match before {
                Some(file) => drop(memory.files.insert(name.clone(), file.after_crash())),
                None => drop(memory.files.remove(name)),
            }
        }
        drop(memory);
        image
    }

    /// How many steps there have been in writing and removing files, failed ones included.
    #[must_use]
    pub fn file_steps(&self) -> u64 {
        self.memory().file_steps
    }

    /// Makes the `count`-th step from now fail, 1 being the next. It then has no effect, except that half of a write
    /// is done.
    pub fn fail_at_file_step(&self, count: u64) {
        let mut memory = self.memory();
        memory.fail_at_file_step = Some(memory.file_steps + count);
    }

    /// Makes room for `bytes` in segments and files together, or for as much as there is memory. What is stored already
    /// stays.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.memory().capacity = bytes;
    }

    /// Bytes in segments and files together.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.memory().used_bytes()
    }

    /// A copy of a file's bytes, if there is one.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<Vec<u8>> {
        self.memory().files.get(name).map(|file| file.bytes.clone())
    }

    /// Puts bytes in place of a file, as a fault or a fixture would.
    pub fn replace_file(&self, name: &str, bytes: Vec<u8>) {
        let synced = bytes.len();
        self.memory().files.insert(name.to_owned(), MemoryFile { bytes, synced });
    }

    /// A copy of a segment's bytes, if there is one.
    #[must_use]
    pub fn contents(&self, segment: u32) -> Option<Vec<u8>> {
        self.memory().segments.get(&segment).cloned()
    }

    /// Puts bytes in place of a segment, as a fault or a fixture would.
    pub fn replace(&self, segment: u32, bytes: Vec<u8>) {
        self.memory().segments.insert(segment, bytes);
    }

    /// Flips one bit of a segment.
    ///
    /// # Panics
    /// When there is no such bit.
    pub fn flip_bit(&self, segment: u32, bit: usize) {
        let mut memory = self.memory();
        let segment = memory.segments.get_mut(&segment).expect("the segment to damage exists");
        segment[bit / 8] ^= 1 << (bit % 8);
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryFile {
    fn after_crash(&self) -> Self {
        Self { bytes: self.bytes[..self.synced].to_vec(), synced: self.synced }
    }
}

impl Memory {
    fn used_bytes(&self) -> u64 {
        let files = self.files.values().map(|file| file.bytes.len());
        self.segments.values().map(Vec::len).chain(files).sum::<usize>() as u64
    }

    fn free_bytes(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used_bytes()))
    }

    fn file_step(&mut self) -> io::Result<()> {
        self.file_steps += 1;
        if self.fail_at_file_step == Some(self.file_steps) {
            return Err(io::Error::other("a step fails on demand"));
        }
        Ok(())
    }

    /// Puts a file in place of another, or removes it; not durable yet.
    fn put_file(&mut self, name: &str, file: Option<MemoryFile>) {
        let before = match file {
            Some(file) => self.files.insert(name.to_owned(), file),
            None => self.files.remove(name),
        };
        self.renamed.push((name.to_owned(), before));
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.file_step()?;
        self.renamed.clear();
        Ok(())
    }

    fn bytes_of(&self, place: &Place) -> io::Result<&[u8]> {
        let found = match place {
            Place::Segment(index) => self.segments.get(index).map(Vec::as_slice),
            Place::File(name) => self.files.get(name).map(|file| file.bytes.as_slice()),
        };
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write(&mut self, index: u32, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.writes += 1;
        let write = self.writes;
        let offset = offset as usize;
        let segment = self.segments.get_mut(&index).ok_or(io::ErrorKind::NotFound)?;
        let target = segment.get_mut(offset..offset + bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        let first = offset / SECTOR_BYTES;
        self.unsynced.extend(target.chunks(SECTOR_BYTES).enumerate().map(|(number, replaced)| {
            (UnsyncedSector { segment: index, sector: (first + number) as u64, write }, replaced.to_vec())
        }));
        target.copy_from_slice(bytes);
        if self.fail_at_write == Some(write) { Err(io::Error::other("a write fails on demand")) } else { Ok(()) }
    }

    fn sync(&mut self, index: u32) -> io::Result<()> {
        self.syncs += 1;
        if self.fail_at_sync == Some(self.syncs) {
            return Err(io::Error::other("a sync fails on demand"));
        }
        self.unsynced.retain(|(sector, _)| sector.segment != index);
        Ok(())
    }
}

impl Storage for MemoryStorage {
    type Segment = MemorySegment;
    type NewFile = MemoryNewFile;

    fn segments(&self) -> io::Result<Vec<u32>> {
        Ok(self.memory().segments.keys().copied().collect())
    }

    fn create(&self, index: u32, bytes: u64, _access: Access) -> io::Result<()> {
        let mut memory = self.memory();
        if memory.free_bytes() < bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        memory.segments.insert(index, vec![0; bytes as usize]);
        Ok(())
    }

    fn remove(&self, index: u32) -> io::Result<()> {
        self.memory().segments.remove(&index).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn set_aside(&self, index: u32, keep: u64) -> io::Result<String> {
        let mut memory = self.memory();
        let whole = memory.segments.get(&index).cloned().ok_or(io::ErrorKind::NotFound)?;
        memory.file_step()?;
        let mut names = (1_u32..).map(|number| super::aside_name(index, number));
        let aside = names.find(|name| !memory.files.contains_key(name)).ok_or(io::ErrorKind::AlreadyExists)?;
        if keep == 0 {
            memory.segments.remove(&index);
        } else {
            let mut kept = whole.clone();
            kept.get_mut(keep as usize..).unwrap_or_default().fill(0);
            memory.segments.insert(index, kept);
        }
        memory.unsynced.retain(|(sector, _)| sector.segment != index);
        let synced = whole.len();
        memory.files.insert(aside.clone(), MemoryFile { bytes: whole, synced });
        Ok(aside)
    }

    fn open(&self, index: u32, access: Access) -> io::Result<MemorySegment> {
        if !self.memory().segments.contains_key(&index) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(MemorySegment { storage: self.clone(), place: Place::Segment(index), access })
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.memory().free_bytes())
    }

    fn name(&self, index: u32) -> String {
        format!("memory/{index:08}.segment")
    }

    fn files(&self) -> io::Result<Vec<String>> {
        Ok(self.memory().files.keys().cloned().collect())
    }

    fn create_file(&self, name: &str) -> io::Result<MemoryNewFile> {
        self.memory().file_step()?;
        Ok(MemoryNewFile { storage: self.clone(), name: name.to_owned(), file: MemoryFile::default() })
    }

    fn open_file(&self, name: &str) -> io::Result<MemorySegment> {
        if !self.memory().files.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(MemorySegment { storage: self.clone(), place: Place::File(name.to_owned()), access: Access::Read })
    }

    fn remove_file(&self, name: &str) -> io::Result<()> {
        let mut memory = self.memory();
        if !memory.files.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        memory.file_step()?;
        memory.put_file(name, None);
        memory.sync_directory()
    }

    fn file_name(&self, name: &str) -> String {
        format!("memory/{name}")
    }
}

/// A file in memory that has no name yet.
#[derive(Debug)]
pub struct MemoryNewFile {
    storage: MemoryStorage,
    name: String,
    file: MemoryFile,
}

impl io::Write for MemoryNewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut memory = self.storage.memory();
        if let Err(error) = memory.file_step() {
            self.file.bytes.extend_from_slice(&bytes[..bytes.len() / 2]);
            return Err(error);
        }
        if memory.free_bytes() < (self.file.bytes.len() + bytes.len()) as u64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl NewFile for MemoryNewFile {
    fn publish(mut self) -> io::Result<()> {
        let mut memory = self.storage.memory();
        memory.file_step()?;
        self.file.synced = self.file.bytes.len();
        memory.file_step()?;
        memory.put_file(&self.name, Some(self.file));
        memory.sync_directory()
    }
}

/// Where the bytes of something opened are.
#[derive(Debug)]
enum Place {
    Segment(u32),
    File(String),
}

/// One segment or file in memory, open.
#[derive(Debug)]
pub struct MemorySegment {
    storage: MemoryStorage,
    place: Place,
    access: Access,
}

impl MemorySegment {
    /// The index of a segment that is open for writing.
    fn writable(&self) -> io::Result<u32> {
        match self.place {
            Place::Segment(index) if self.access != Access::Read => Ok(index),
            _ => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }
}

impl Segment for MemorySegment {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.storage.memory().bytes_of(&self.place)?.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let memory = self.storage.memory();
        let bytes_max = memory.read_bytes_max.unwrap_or(usize::MAX);
        let rest = memory.bytes_of(&self.place)?.get(offset as usize..).unwrap_or_default();
        let bytes = rest.len().min(buffer.len()).min(bytes_max);
        buffer[..bytes].copy_from_slice(&rest[..bytes]);
        Ok(bytes)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let index = self.writable()?;
        let mut memory = self.storage.memory();
        memory.write(index, bytes, offset)?;
        if matches!(self.access, Access::WriteDurable(_)) { memory.sync(index) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        self.storage.memory().sync(self.writable()?)
    }
}

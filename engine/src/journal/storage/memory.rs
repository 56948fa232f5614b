//! Segments in memory, which fail and crash on demand.
//!
//! What has been written and not synced is remembered with what it replaced, so that a crash can keep any part of it.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Access, Segment, Storage};
use crate::journal::layout::SECTOR_BYTES;

/// Segments in memory. Clones are handles to the same memory.
///
/// Writes and syncs are counted, and one of each can be made to fail, once. Creating and removing segments neither
/// counts nor fails, and is durable at once.
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
        Self { memory: Arc::new(Mutex::new(Memory { segments, ..Memory::default() })) }
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

impl Memory {
    fn segment(&mut self, index: u32) -> io::Result<&mut Vec<u8>> {
        self.segments.get_mut(&index).ok_or_else(|| io::ErrorKind::NotFound.into())
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

    fn segments(&self) -> io::Result<Vec<u32>> {
        Ok(self.memory().segments.keys().copied().collect())
    }

    fn create(&self, index: u32, bytes: u64) -> io::Result<()> {
        self.memory().segments.insert(index, vec![0; bytes as usize]);
        Ok(())
    }

    fn remove(&self, index: u32) -> io::Result<()> {
        self.memory().segments.remove(&index).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn open(&self, index: u32, access: Access) -> io::Result<MemorySegment> {
        self.memory().segment(index)?;
        Ok(MemorySegment { storage: self.clone(), index, access })
    }

    fn name(&self, index: u32) -> String {
        format!("memory/{index:08}.segment")
    }
}

/// One segment in memory, open.
#[derive(Debug)]
pub struct MemorySegment {
    storage: MemoryStorage,
    index: u32,
    access: Access,
}

impl Segment for MemorySegment {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.storage.memory().segment(self.index)?.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut memory = self.storage.memory();
        let bytes_max = memory.read_bytes_max.unwrap_or(usize::MAX);
        let segment = memory.segment(self.index)?;
        let rest = segment.get(offset as usize..).unwrap_or_default();
        let bytes = rest.len().min(buffer.len()).min(bytes_max);
        buffer[..bytes].copy_from_slice(&rest[..bytes]);
        Ok(bytes)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut memory = self.storage.memory();
        match self.access {
            Access::Read => Err(io::ErrorKind::PermissionDenied.into()),
            Access::Write => memory.write(self.index, bytes, offset),
            Access::WriteDurable => {
                memory.write(self.index, bytes, offset)?;
                memory.sync(self.index)
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.storage.memory().sync(self.index)
    }
}

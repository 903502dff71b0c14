//! Owns the disk that exists only in memory: what a store in tests is kept on, and what a power cut leaves of it.
//!
//! It must not know what is written to it. Invariant: what was synced is never lost by a cut; of what was not synced,
//! any 512-byte sector may be there or not.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Disks write whole sectors, so a torn write is one of which some sectors arrived.
const SECTOR: usize = 512;

/// A disk in memory that survives the store that uses it, as a file would.
///
/// Clones are the same disk. One store may have it open at a time.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    platter: Arc<Mutex<Platter>>,
}

#[derive(Default)]
struct Platter {
    bytes: Vec<u8>,
    unsynced: Vec<Unsynced>,
    open: bool,
    full: bool,
    key: Option<[u8; 32]>,
    cuts: Option<Cuts>,
}

/// What a write replaced, so that a cut can take it back.
struct Unsynced {
    offset: usize,
    before: Vec<u8>,
    length_before: usize,
    written: Vec<u8>,
}

struct Cuts {
    seed: u64,
    taken: Vec<MemoryDisk>,
}

impl std::fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let platter = self.lock();
        f.debug_struct("MemoryDisk")
            .field("bytes", &platter.bytes.len())
            .field("open", &platter.open)
            .finish()
    }
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a power cut at this moment would leave, as a disk of its own: all that was synced, and of the rest a
    /// selection of sectors that depends on `seed` alone.
    pub fn cut(&self, seed: u64) -> MemoryDisk {
        let platter = self.lock();
        platter.cut(seed)
    }

    /// From now on keeps, for every sync, what a power cut just before it would have left. For crash tests only: each
    /// is a copy of the whole disk.
    pub fn record_cuts(&self, seed: u64) {
        self.lock().cuts = Some(Cuts {
            seed,
            taken: Vec::new(),
        });
    }

    /// The disks kept since [`MemoryDisk::record_cuts`] or the last call, oldest first.
    pub fn take_cuts(&self) -> Vec<MemoryDisk> {
        self.lock()
            .cuts
            .as_mut()
            .map(|cuts| std::mem::take(&mut cuts.taken))
            .unwrap_or_default()
    }

    /// From now on every write and sync fails, as on a full disk, or no longer does.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// Whether these bytes are anywhere on the disk, for tests that look for secrets.
    pub fn contains(&self, part: &[u8]) -> bool {
        let platter = self.lock();
        !part.is_empty()
            && platter
                .bytes
                .windows(part.len())
                .any(|window| window == part)
    }

    /// The at-rest key of this disk, made on first use: a disk in memory has no directory for key files.
    pub(super) fn at_rest_key(&self, make: impl FnOnce() -> [u8; 32]) -> [u8; 32] {
        *self.lock().key.get_or_insert_with(make)
    }

    /// Opens the disk; `None` when a store has it open already.
    pub(super) fn open(&self) -> Option<OpenDisk> {
        let mut platter = self.lock();
        if platter.open {
            return None;
        }
        platter.open = true;
        drop(platter);
        Some(OpenDisk { disk: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Platter> {
        // A panic elsewhere cannot leave the bytes half changed: every method finishes its change in one go.
        self.platter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Platter {
    fn check_space(&self) -> io::Result<()> {
        if self.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn cut(&self, seed: u64) -> MemoryDisk {
        let mut bytes = self.bytes.clone();
        for change in self.unsynced.iter().rev() {
            let end = change.offset + change.before.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[change.offset..end].copy_from_slice(&change.before);
            bytes.resize(change.length_before, 0);
        }
        let mut random = seed | 1;
        for change in &self.unsynced {
            for (index, sector) in change.written.chunks(SECTOR).enumerate() {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                if random >> 63 == 0 {
                    continue;
                }
                let start = change.offset + index * SECTOR;
                let end = start + sector.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[start..end].copy_from_slice(sector);
            }
        }
        MemoryDisk {
            platter: Arc::new(Mutex::new(Platter {
                bytes,
                key: self.key,
                ..Platter::default()
            })),
        }
    }

    fn note(&mut self, offset: usize, before: Vec<u8>, length_before: usize, written: &[u8]) {
        self.unsynced.push(Unsynced {
            offset,
            before,
            length_before,
            written: written.to_vec(),
        });
    }
}

/// An open [`MemoryDisk`]: what the database reads and writes.
#[derive(Debug)]
pub(super) struct OpenDisk {
    disk: MemoryDisk,
}

impl Drop for OpenDisk {
    fn drop(&mut self) {
        self.disk.lock().open = false;
    }
}

impl redb::StorageBackend for OpenDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.disk.lock();
        let start = offset as usize;
        let part = platter
            .bytes
            .get(start..start + out.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(part);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platter = self.disk.lock();
        platter.check_space()?;
        let (old, new) = (platter.bytes.len(), len as usize);
        let cut_off = platter.bytes.get(new..).unwrap_or_default().to_vec();
        platter.note(new.min(old), cut_off, old, &[]);
        platter.bytes.resize(new, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.disk.lock();
        platter.check_space()?;
        if let Some(seed) = platter.cuts.as_ref().map(|cuts| cuts.seed) {
            let nth = platter.cuts.as_ref().map_or(0, |cuts| cuts.taken.len());
            let left = platter.cut(seed.wrapping_add(nth as u64).wrapping_mul(0x9E37_79B9));
            if let Some(cuts) = platter.cuts.as_mut() {
                cuts.taken.push(left);
            }
        }
        platter.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.disk.lock();
        platter.check_space()?;
        let start = offset as usize;
        let end = start + data.len();
        let length_before = platter.bytes.len();
        if end > length_before {
            platter.bytes.resize(end, 0);
        }
        let before = platter.bytes[start..end].to_vec();
        platter.note(start, before, length_before, data);
        platter.bytes[start..end].copy_from_slice(data);
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.disk.lock().open = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use redb::StorageBackend;

    use super::*;

    #[test]
    fn a_cut_keeps_what_was_synced_and_tears_the_rest() {
        let disk = MemoryDisk::new();
        let open = disk.open().expect("nobody has it open");
        open.set_len(4096).expect("memory");
        open.write(0, &[1; 2048]).expect("memory");
        open.sync_data().expect("memory");
        open.write(0, &[2; 2048]).expect("memory");
        open.set_len(1024).expect("memory");
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..64u64 {
            let left = disk.cut(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let platter = left.lock();
            assert_eq!(platter.bytes.len(), 4096);
            assert!(platter.bytes[2048..].iter().all(|byte| *byte == 0));
            let sectors: Vec<u8> = platter.bytes[..2048].chunks(SECTOR).map(|s| s[0]).collect();
            assert!(sectors.iter().all(|byte| *byte == 1 || *byte == 2));
            seen.insert(sectors);
        }
        assert!(seen.len() > 4, "cuts with other seeds tear other sectors");
    }

    #[test]
    fn only_one_store_has_it_open() {
        let disk = MemoryDisk::new();
        let open = disk.open();
        assert!(open.is_some());
        assert!(disk.open().is_none());
        drop(open);
        assert!(disk.open().is_some());
    }
}

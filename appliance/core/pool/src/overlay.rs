//! redb over a catalog that stays as it is on the drive: what is written is kept in memory, above it.
//!
//! On a full drive, or one that must not be changed, not even a catalog that is only to be read can be opened in place,
//! because redb writes when it opens. Above its file, or above nothing, it can, and what the segments have beyond it finds
//! room as well. What goes beyond the bound of memory is kept in a scratch file elsewhere, if there is one; without one
//! there is no room for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use medium::File;

use crate::backend::{BLOCK_LENGTH, CatalogFile, Part, io_error, parts};
use crate::reader::lock;

/// Blocks that are kept in memory at most: 256 MiB.
const BLOCKS_MAX: usize = 64 << 10;

/// The catalog as redb wants it.
pub(crate) struct Overlay {
    base: Option<CatalogFile>,
    scratch: Option<Arc<dyn File>>,
    blocks_max: usize,
    above: Mutex<Above>,
}

/// What differs from the base.
struct Above {
    length: u64,
    /// Bytes of the base that have never been cut off.
    of_base: u64,
    blocks: BTreeMap<u64, Box<[u8; BLOCK_LENGTH]>>,
    /// Blocks that are in the scratch file, each where it would be in the catalog.
    in_scratch: BTreeSet<u64>,
}

impl Overlay {
    /// Above a file, or above nothing; with an empty file for what finds no room in memory.
    pub(crate) fn new(base: Option<CatalogFile>, scratch: Option<Arc<dyn File>>) -> Result<Self, io::Error> {
        Self::with(base, scratch, BLOCKS_MAX)
    }

    fn with(
        base: Option<CatalogFile>,
        scratch: Option<Arc<dyn File>>,
        blocks_max: usize,
    ) -> Result<Self, io::Error> {
        let length = base.as_ref().map_or(Ok(0), redb::StorageBackend::len)?;
        let (blocks, in_scratch) = (BTreeMap::new(), BTreeSet::new());
        let above = Mutex::new(Above { length, of_base: length, blocks, in_scratch });
        Ok(Self { base, scratch, blocks_max, above })
    }

    fn scratch(&self) -> Result<&dyn File, io::Error> {
        self.scratch.as_deref().ok_or_else(|| io::ErrorKind::StorageFull.into())
    }

    fn read_base(&self, above: &Above, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let there =
            usize::try_from(above.of_base.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        let (there, beyond) = out.split_at_mut(there);
        beyond.fill(0);
        match &self.base {
            Some(base) if !there.is_empty() => redb::StorageBackend::read(base, offset, there),
            _ => Ok(()),
        }
    }
}

/// The offset of a byte of a block.
const fn place(block: u64, byte: usize) -> u64 {
    block * BLOCK_LENGTH as u64 + byte as u64
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Overlay")
    }
}

impl redb::StorageBackend for Overlay {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(lock(&self.above).length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let above = lock(&self.above);
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > above.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_base(&above, offset, out)?;
        for part in parts(offset, out.len()) {
            if let Some(block) = above.blocks.get(&part.number) {
                out[part.of_range].copy_from_slice(&block[part.of_block]);
            } else if above.in_scratch.contains(&part.number) {
                let out = &mut out[part.of_range];
                self.scratch()?.read_at(place(part.number, part.of_block.start), out).map_err(io_error)?;
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), io::Error> {
        let mut above = lock(&self.above);
        above.length = length;
        above.of_base = above.of_base.min(length);
        let _cut_off = above.blocks.split_off(&length.div_ceil(BLOCK_LENGTH as u64));
        let _cut_off = above.in_scratch.split_off(&length.div_ceil(BLOCK_LENGTH as u64));
        let last = length / BLOCK_LENGTH as u64;
        let kept = usize::try_from(length % BLOCK_LENGTH as u64).unwrap_or(BLOCK_LENGTH);
        if let Some(last) = above.blocks.get_mut(&last) {
            last[kept..].fill(0);
        } else if above.in_scratch.contains(&last) {
            let zeros = [0; BLOCK_LENGTH];
            self.scratch()?.write_at(place(last, kept), &zeros[kept..]).map_err(io_error)?;
        }
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut above = lock(&self.above);
        for Part { number, of_block, of_range } in parts(offset, data.len()) {
            if !above.blocks.contains_key(&number) && !above.in_scratch.contains(&number) {
                let mut block = Box::new([0; BLOCK_LENGTH]);
                self.read_base(&above, place(number, 0), &mut *block)?;
                if above.blocks.len() < self.blocks_max {
                    above.blocks.insert(number, block);
                } else {
                    self.scratch()?.write_at(place(number, 0), &*block).map_err(io_error)?;
                    above.in_scratch.insert(number);
                }
            }
            let data = &data[of_range];
            match above.blocks.get_mut(&number) {
                Some(block) => block[of_block].copy_from_slice(data),
                None => self.scratch()?.write_at(place(number, of_block.start), data).map_err(io_error)?,
            }
        }
        above.length = above.length.max(offset + data.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use medium::Disk;
    use medium::sim::{Random, SimDisk};
    use redb::StorageBackend;

    use super::*;

    #[test]
    fn it_reads_like_a_file_and_leaves_the_one_below_alone() {
        let disk = SimDisk::new(1);
        let mut random = Random::new(2);
        let mut plain = vec![0; 10_000];
        random.fill(&mut plain);
        let file = disk.create("file").unwrap();
        file.write_at(0, &plain).unwrap();
        let below = plain.clone();
        let scratch = disk.create("scratch").unwrap();
        let cases = [(Some(CatalogFile::new(file)), None, 100), (None, None, 100), (None, Some(scratch), 2)];
        for (base, scratch, blocks_max) in cases {
            let overlay = Overlay::with(base, scratch, blocks_max).unwrap();
            let mut plain = if overlay.base.is_some() { plain.clone() } else { Vec::new() };
            for _ in 0..2000 {
                if random.chance(10) {
                    let length = random.index(20_000);
                    plain.resize(length, 0);
                    overlay.set_len(length as u64).unwrap();
                } else {
                    let mut bytes = vec![0; random.index(6000)];
                    random.fill(&mut bytes);
                    let offset = random.index(plain.len() + 1);
                    plain.resize(plain.len().max(offset + bytes.len()), 0);
                    plain[offset..offset + bytes.len()].copy_from_slice(&bytes);
                    overlay.write(offset as u64, &bytes).unwrap();
                }
                let offset = random.index(plain.len() + 1);
                let mut read = vec![1; random.index(plain.len() - offset + 1)];
                overlay.read(offset as u64, &mut read).unwrap();
                assert_eq!(read, plain[offset..offset + read.len()]);
                assert_eq!(overlay.len().unwrap(), plain.len() as u64);
            }
            assert!(overlay.read(plain.len() as u64, &mut [0]).is_err());
            assert!(lock(&overlay.above).blocks.len() <= blocks_max);
        }
        assert_eq!(disk.files()["file"], below);
        assert!(disk.files()["scratch"].len() > 2 * BLOCK_LENGTH);
    }

    #[test]
    fn beyond_its_memory_it_has_no_room_without_a_scratch_file() {
        let disk = SimDisk::new(1);
        for scratch in [None, Some(disk.create("scratch").unwrap())] {
            let has_scratch = scratch.is_some();
            let overlay = Overlay::with(None, scratch, 2).unwrap();
            overlay.write(0, &[1; 2 * BLOCK_LENGTH]).unwrap();
            let further = overlay.write(2 * BLOCK_LENGTH as u64, &[2]);
            let full = further.err().map(|error| error.kind());
            assert_eq!(full, (!has_scratch).then_some(io::ErrorKind::StorageFull));
        }
    }

    #[test]
    fn a_database_lives_in_a_scratch_file_when_memory_is_short() {
        const TABLE: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("table");
        let disk = SimDisk::new(1);
        let overlay = Overlay::with(None, disk.create("scratch").ok(), 8).unwrap();
        let mut database = redb::Builder::new().set_cache_size(1 << 16).create_with_backend(overlay).unwrap();
        for round in 0..5u64 {
            let write = database.begin_write().unwrap();
            let mut table = write.open_table(TABLE).unwrap();
            for key in (0..5000).filter(|key| key % 5 >= round) {
                table.insert(key, &[u8::try_from(round).unwrap(); 40][..]).unwrap();
            }
            drop(table);
            write.commit().unwrap();
        }
        assert!(database.check_integrity().unwrap());
        let read = redb::ReadableDatabase::begin_read(&database).unwrap().open_table(TABLE).unwrap();
        for key in 0..5000u64 {
            assert_eq!(read.get(key).unwrap().unwrap().value(), [u8::try_from(key % 5).unwrap(); 40]);
        }
    }
}

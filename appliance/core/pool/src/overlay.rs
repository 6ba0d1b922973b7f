//! redb over a catalog that stays as it is on the drive: what is written is kept in memory, above it.
//!
//! On a full drive not even a catalog that is only to be read can be opened in place, because redb writes when it
//! opens. Above its file, or above nothing, it can, and what the segments have beyond it finds room as well.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Mutex;

use crate::backend::{BLOCK_LENGTH, CatalogFile, Part, parts};
use crate::reader::lock;

/// Blocks that are kept at most: 256 MiB.
const BLOCKS_MAX: usize = 64 << 10;

/// The catalog as redb wants it.
pub(crate) struct Overlay {
    base: Option<CatalogFile>,
    above: Mutex<Above>,
}

/// What differs from the base.
struct Above {
    length: u64,
    /// Bytes of the base that have never been cut off.
    of_base: u64,
    blocks: BTreeMap<u64, Box<[u8; BLOCK_LENGTH]>>,
}

impl Overlay {
    /// Above a file, or above nothing.
    pub(crate) fn new(base: Option<CatalogFile>) -> Result<Self, io::Error> {
        let length = base.as_ref().map_or(Ok(0), redb::StorageBackend::len)?;
        Ok(Self { base, above: Mutex::new(Above { length, of_base: length, blocks: BTreeMap::new() }) })
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
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), io::Error> {
        let mut above = lock(&self.above);
        above.length = length;
        above.of_base = above.of_base.min(length);
        let _cut_off = above.blocks.split_off(&length.div_ceil(BLOCK_LENGTH as u64));
        if let Some(last) = above.blocks.get_mut(&(length / BLOCK_LENGTH as u64)) {
            let kept = usize::try_from(length % BLOCK_LENGTH as u64).unwrap_or(BLOCK_LENGTH);
            last[kept..].fill(0);
        }
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut above = lock(&self.above);
        for Part { number, of_block, of_range } in parts(offset, data.len()) {
            if !above.blocks.contains_key(&number) {
                if above.blocks.len() >= BLOCKS_MAX {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                let mut block = Box::new([0; BLOCK_LENGTH]);
                self.read_base(&above, number * BLOCK_LENGTH as u64, &mut *block)?;
                above.blocks.insert(number, block);
            }
            if let Some(block) = above.blocks.get_mut(&number) {
                block[of_block].copy_from_slice(&data[of_range]);
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
        for base in [Some(CatalogFile::new(file)), None] {
            let overlay = Overlay::new(base).unwrap();
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
        }
        assert_eq!(disk.files()["file"], below);
    }
}

//! Sums of the catalog's blocks, in a file beside it, so that an opening need not read all of a large one.
//!
//! redb has checksums and looks at them only when it is told to check everything, which takes as long as reading all of its
//! file does. With a sum of every block each is checked when it is read, and never later.
//!
//! Before a sync of the catalog the sums of the blocks that were written since are made durable. So what a commit made
//! valid has its sums. A block that was written and not committed is free for redb: it does not read it before it writes it
//! again, whatever its sum is. A sum that is wrong can only make a sound block look damaged; then the sums are thrown away,
//! the catalog is read whole at the next opening, and has new ones from then on.

use std::collections::BTreeMap;
use std::sync::Arc;

use medium::{Access, Disk, DiskError, File};
use model::ErrorKind;

use crate::header::ignore_missing;
use crate::layout::CATALOG_SUMS;

/// Begins the file. Without it nothing in it counts.
const MAGIC: [u8; 16] = *b"keepfast sums 1\n";
/// Where the first sum is.
const HEADER_LENGTH: u64 = 4096;
const SUM_LENGTH: u64 = 8;
/// Sums that are written at once at most.
const RUN_MAX: usize = 1 << 16;

/// The file of the sums.
pub(crate) struct Sums(Arc<dyn File>);

impl Sums {
    /// Opens the file, if there is one that can be read, with the sums of the first `blocks` blocks; 0 where there is none.
    pub(crate) fn open(disk: &dyn Disk, blocks: usize) -> Option<(Self, Vec<u64>)> {
        let file = disk.open(CATALOG_SUMS, Access::ReadWrite).ok()?;
        file.forget_cached().ok()?;
        let mut magic = [0; MAGIC.len()];
        file.read_at(0, &mut magic).ok()?;
        let stored = file.length().ok()?.saturating_sub(HEADER_LENGTH);
        if magic != MAGIC {
            return None;
        }
        let end = place(blocks);
        let mut bytes = vec![0; usize::try_from(stored.min(end - HEADER_LENGTH)).ok()?];
        file.read_at(HEADER_LENGTH, &mut bytes).ok()?;
        if stored > end - HEADER_LENGTH {
            // Of blocks that were cut off, and are others when there are any again.
            file.set_length(end).ok()?;
        }
        let mut sums: Vec<u64> = bytes.chunks_exact(8).map(sum).collect();
        sums.resize(blocks, 0);
        Some((Self(file), sums))
    }

    /// Makes the file anew, with these sums.
    pub(crate) fn create(disk: &dyn Disk, sums: &[u64]) -> Result<Self, DiskError> {
        Self::remove(disk)?;
        let created = Self(disk.create(CATALOG_SUMS)?);
        created.write(0, sums)?;
        created.0.sync_data()?;
        created.0.write_at(0, &MAGIC)?;
        created.0.sync_data()?;
        disk.sync_directory("")?;
        Ok(created)
    }

    /// Removes the file, if there is one: before another catalog takes the place of the one that it is of, or changes without
    /// it.
    pub(crate) fn remove(disk: &dyn Disk) -> Result<(), DiskError> {
        match disk.open(CATALOG_SUMS, Access::Read) {
            Err(error) if error.kind() == ErrorKind::Missing => Ok(()),
            _ => {
                ignore_missing(disk.remove(CATALOG_SUMS))?;
                disk.sync_directory("")
            }
        }
    }

    /// Makes the sums of some blocks durable.
    pub(crate) fn keep(&self, changed: &BTreeMap<usize, u64>) -> Result<(), DiskError> {
        let mut changed = changed.iter().peekable();
        while let Some((first, sum)) = changed.next() {
            let mut run = vec![*sum];
            while let Some((_, sum)) = changed.next_if(|(number, _)| **number == first + run.len()) {
                run.push(*sum);
            }
            self.write(*first, &run)?;
        }
        self.0.sync_data()
    }

    fn write(&self, first: usize, sums: &[u64]) -> Result<(), DiskError> {
        for (number, run) in sums.chunks(RUN_MAX).enumerate() {
            let bytes: Vec<u8> = run.iter().flat_map(|sum| sum.to_le_bytes()).collect();
            self.0.write_at(place(first + number * RUN_MAX), &bytes)?;
        }
        Ok(())
    }

    /// Forgets the sums of all blocks from a number on.
    pub(crate) fn cut(&self, blocks: usize) -> Result<(), DiskError> {
        if self.0.length()? > place(blocks) { self.0.set_length(place(blocks)) } else { Ok(()) }
    }

    /// Throws the sums away. If that fails they only cost time.
    pub(crate) fn end(&self) {
        let _ = self.0.write_at(0, &[0; MAGIC.len()]).and_then(|()| self.0.sync_data());
    }
}

/// Where the sum of a block is.
const fn place(block: usize) -> u64 {
    HEADER_LENGTH + block as u64 * SUM_LENGTH
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use medium::sim::SimDisk;

    use super::*;

    #[test]
    fn sums_are_there_again_and_gone_once_they_are_thrown_away() {
        let disk = SimDisk::new(1);
        assert!(Sums::open(&disk, 3).is_none());
        let sums = Sums::create(&disk, &[7, 8, 9]).unwrap();
        sums.keep(&BTreeMap::from([(1, 1), (4, 2), (5, 3)])).unwrap();
        assert_eq!(Sums::open(&disk, 6).unwrap().1, [7, 1, 9, 0, 2, 3]);
        assert_eq!(Sums::open(&disk, 8).unwrap().1, [7, 1, 9, 0, 2, 3, 0, 0]);
        assert_eq!(Sums::open(&disk, 2).unwrap().1, [7, 1], "the catalog is shorter");
        assert_eq!(Sums::open(&disk, 4).unwrap().1, [7, 1, 0, 0], "what was cut off is not there again");
        sums.cut(1).unwrap();
        assert_eq!(Sums::open(&disk, 2).unwrap().1, [7, 0]);
        sums.end();
        assert!(Sums::open(&disk, 1).is_none());
        Sums::create(&disk, &[5]).unwrap();
        Sums::remove(&disk).unwrap();
        assert!(Sums::open(&disk, 1).is_none());
    }
}

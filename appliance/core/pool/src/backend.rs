//! redb over a file of the medium, so that the catalog lives through the simulated world as well.
//!
//! redb looks at its checksums only when it is told to. What changes on the drive while the catalog is open makes it
//! panic, and panic once more while it cleans up, which ends the program. So blocks are compared here with what was
//! read or written before, of a large catalog also by whoever had it open before: a changed one comes out as an error.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use medium::{Disk, DiskError, File};
use model::ErrorKind;
use xxhash_rust::xxh3::xxh3_64;

use crate::reader::lock;
use crate::sums::Sums;

/// What redb reads and writes in multiples of, its header apart.
pub(crate) const BLOCK_LENGTH: usize = 4096;

/// The file of the catalog as redb wants it. The pool's own lock keeps others away.
pub(crate) struct CatalogFile {
    file: Arc<dyn File>,
    known: Mutex<Known>,
}

/// What is known of blocks.
#[derive(Default)]
struct Known {
    /// The hash of each block that was read or written whole; 0 for others.
    blocks: Vec<u64>,
    /// Where the hashes are kept, if they are.
    sums: Option<Arc<Sums>>,
    /// Hashes that were not kept yet.
    changed: BTreeMap<usize, u64>,
    /// A sum was wrong, or they could not be kept.
    gave_up: bool,
}

impl Known {
    fn set(&mut self, number: usize, hash: u64) {
        if self.blocks.len() <= number {
            self.blocks.resize(number + 1, 0);
        }
        self.blocks[number] = hash;
        if self.sums.is_some() {
            self.changed.insert(number, hash);
        }
    }

    /// Goes on without sums: the next opening reads everything.
    fn give_up(&mut self) {
        self.gave_up = true;
        if let Some(sums) = self.sums.take() {
            sums.end();
        }
    }
}

impl CatalogFile {
    /// Nothing of the file is known yet.
    pub(crate) fn new(file: Arc<dyn File>) -> Self {
        Self { file, known: Mutex::default() }
    }

    /// Sums of its blocks are kept, if there are any.
    pub(crate) fn with_sums(disk: &dyn Disk, file: Arc<dyn File>) -> Result<Option<Self>, DiskError> {
        let blocks = usize::try_from(file.length()? / BLOCK_LENGTH as u64).unwrap_or(0);
        Ok(Sums::open(disk, blocks).map(|(sums, blocks)| {
            let known = Known { blocks, sums: Some(Arc::new(sums)), ..Known::default() };
            Self { file, known: Mutex::new(known) }
        }))
    }

    /// Keeps sums from here on, if the file has at least so many bytes. All of it was read or written.
    pub(crate) fn keep_sums(&self, disk: &dyn Disk, least_bytes: u64) {
        let mut known = lock(&self.known);
        let is_large = self.file.length().is_ok_and(|length| length >= least_bytes);
        if known.sums.is_some() || known.gave_up || !is_large {
            return;
        }
        match Sums::create(disk, &known.blocks) {
            Ok(sums) => known.sums = Some(Arc::new(sums)),
            // Without room for them it goes on without.
            Err(_) => known.gave_up = true,
        }
    }

    /// Makes durable what is known of blocks that were written. Who finds no room for it, or a drive that takes it no more,
    /// goes on without.
    fn keep_known(&self) {
        let (sums, changed) = {
            let mut known = lock(&self.known);
            (known.sums.clone(), std::mem::take(&mut known.changed))
        };
        // Others read meanwhile.
        if sums.is_some_and(|sums| !changed.is_empty() && sums.keep(&changed).is_err()) {
            lock(&self.known).give_up();
        }
    }

    /// Remembers blocks that were written; those that were written in part are not known any longer.
    fn written(&self, offset: u64, bytes: &[u8]) {
        let mut known = lock(&self.known);
        for (number, hash) in hashes(offset, bytes) {
            known.set(number, hash.unwrap_or(0));
        }
    }

    /// Compares blocks that were read with what is known of them.
    fn compare(&self, offset: u64, bytes: &[u8]) -> Result<(), io::Error> {
        let mut known = lock(&self.known);
        for (number, hash) in hashes(offset, bytes) {
            let Some(hash) = hash else { continue };
            match known.blocks.get(number) {
                None | Some(0) => known.set(number, hash),
                Some(sum) if *sum != hash => {
                    known.give_up();
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "it has changed on the drive"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// The blocks that bytes touch, with the hashes of those that they cover whole.
fn hashes(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (usize, Option<u64>)> {
    parts(offset, bytes.len()).filter_map(move |part| {
        let number = usize::try_from(part.number).ok()?;
        let whole = bytes.get(part.of_range).filter(|bytes| bytes.len() == BLOCK_LENGTH);
        Some((number, whole.map(xxh3_64)))
    })
}

/// Where a range and a block overlap.
pub(crate) struct Part {
    /// Which block of the file.
    pub(crate) number: u64,
    /// Bytes of the block.
    pub(crate) of_block: Range<usize>,
    /// The same bytes, as those of the range.
    pub(crate) of_range: Range<usize>,
}

/// Cuts a range into its parts of blocks.
pub(crate) fn parts(offset: u64, length: usize) -> impl Iterator<Item = Part> {
    let (size, end) = (BLOCK_LENGTH as u64, offset + length as u64);
    (offset / size..end.div_ceil(size)).map(move |number| {
        let (start, end) = ((number * size).max(offset), ((number + 1) * size).min(end));
        let within = |from: u64| {
            let at = |place: u64| usize::try_from(place - from).unwrap_or(usize::MAX);
            at(start)..at(end)
        };
        Part { number, of_block: within(number * size), of_range: within(offset) }
    })
}

impl fmt::Debug for CatalogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CatalogFile")
    }
}

/// Keeps the kind of an error where redb carries `io::Error` only.
pub(crate) fn io_error(error: DiskError) -> io::Error {
    let kind = match error.kind() {
        ErrorKind::Full => io::ErrorKind::StorageFull,
        ErrorKind::Missing => io::ErrorKind::UnexpectedEof,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

/// A file of which its owner keeps a hold.
#[derive(Debug)]
pub(crate) struct HeldFile(pub(crate) Arc<CatalogFile>);

impl redb::StorageBackend for HeldFile {
    fn len(&self) -> Result<u64, io::Error> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.0.read(offset, out)
    }

    fn set_len(&self, length: u64) -> Result<(), io::Error> {
        self.0.set_len(length)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.0.write(offset, data)
    }
}

impl redb::StorageBackend for CatalogFile {
    fn len(&self) -> Result<u64, io::Error> {
        self.file.length().map_err(io_error)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.file.read_at(offset, out).map_err(io_error)?;
        self.compare(offset, out)
    }

    fn set_len(&self, length: u64) -> Result<(), io::Error> {
        let whole = usize::try_from(length / BLOCK_LENGTH as u64).unwrap_or(usize::MAX);
        let mut known = lock(&self.known);
        if known.blocks.len() > whole {
            known.blocks.truncate(whole);
            known.changed.split_off(&whole);
            if known.sums.as_ref().is_some_and(|sums| sums.cut(whole).is_err()) {
                known.give_up();
            }
        }
        drop(known);
        self.file.set_length(length).map_err(io_error)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.keep_known();
        self.file.sync_data().map_err(io_error)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.file.write_at(offset, data).map_err(io_error)?;
        self.written(offset, data);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(offset: u64, length: usize, expected: &[(u64, Range<usize>, Range<usize>)]) {
        let found: Vec<_> = parts(offset, length).map(|p| (p.number, p.of_block, p.of_range)).collect();
        assert_eq!(found, expected, "{length} from {offset}");
    }

    #[test]
    fn ranges_are_cut_at_the_bounds_of_blocks() {
        check(4096, 0, &[]);
        check(5000, 1, &[(1, 904..905, 0..1)]);
        check(4096, 4096, &[(1, 0..4096, 0..4096)]);
        check(8190, 4100, &[(1, 4094..4096, 0..2), (2, 0..4096, 2..4098), (3, 0..2, 4098..4100)]);
    }
}

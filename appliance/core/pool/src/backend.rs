//! redb over a file of the medium, so that the catalog lives through the simulated world as well.
//!
//! redb looks at its checksums only when it is told to. What changes on the drive while the catalog is open makes it
//! panic, and panic once more while it cleans up, which ends the program. So blocks are compared here with what was
//! read or written before: a changed one comes out as an error.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use medium::{DiskError, File};
use model::ErrorKind;
use xxhash_rust::xxh3::xxh3_64;

use crate::reader::lock;

/// What redb reads and writes in multiples of, its header apart.
const BLOCK_LENGTH: usize = 4096;

/// The file of the catalog as redb wants it. The pool's own lock keeps others away.
pub(crate) struct CatalogFile {
    file: Arc<dyn File>,
    /// The hash of each block that was read or written whole; 0 for others.
    blocks: Mutex<Vec<u64>>,
}

impl CatalogFile {
    /// Nothing of the file is known yet.
    pub(crate) fn new(file: Arc<dyn File>) -> Self {
        Self { file, blocks: Mutex::default() }
    }

    /// Remembers blocks that were written; those that were written in part are not known any longer.
    fn written(&self, offset: u64, bytes: &[u8]) {
        let mut blocks = lock(&self.blocks);
        for (number, block) in parts(offset, bytes) {
            if blocks.len() <= number {
                blocks.resize(number + 1, 0);
            }
            blocks[number] = block.map_or(0, xxh3_64);
        }
    }

    /// Compares blocks that were read with what is known of them.
    fn compare(&self, offset: u64, bytes: &[u8]) -> Result<(), io::Error> {
        let mut blocks = lock(&self.blocks);
        for (number, block) in parts(offset, bytes) {
            let Some(hash) = block.map(xxh3_64) else { continue };
            if blocks.len() <= number {
                blocks.resize(number + 1, 0);
            }
            if blocks[number] == 0 {
                blocks[number] = hash;
            } else if blocks[number] != hash {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it has changed on the drive"));
            }
        }
        Ok(())
    }
}

/// The blocks that a range touches, with their bytes if it covers them whole.
fn parts(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (usize, Option<&[u8]>)> {
    let length = BLOCK_LENGTH as u64;
    let end = offset + bytes.len() as u64;
    (offset / length..end.div_ceil(length)).filter_map(move |block| {
        let number = usize::try_from(block).ok()?;
        let from = (block * length).checked_sub(offset).and_then(|from| usize::try_from(from).ok());
        Some((number, from.and_then(|from| bytes.get(from..from + BLOCK_LENGTH))))
    })
}

impl fmt::Debug for CatalogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CatalogFile")
    }
}

/// Keeps the kind of an error where redb carries `io::Error` only.
fn io_error(error: DiskError) -> io::Error {
    let kind = match error.kind() {
        ErrorKind::Full => io::ErrorKind::StorageFull,
        ErrorKind::Missing => io::ErrorKind::UnexpectedEof,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
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
        lock(&self.blocks).truncate(whole);
        self.file.set_length(length).map_err(io_error)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.file.sync_data().map_err(io_error)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.file.write_at(offset, data).map_err(io_error)?;
        self.written(offset, data);
        Ok(())
    }
}

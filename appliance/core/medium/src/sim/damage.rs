//! Looking at a simulated disk from outside, and damaging what is on its platter.
//!
//! Nothing here is counted, logged or subject to faults, and it works on a crashed disk too.

use std::collections::BTreeMap;
use std::io;

use super::disk::SimDisk;
use super::file::FileState;
use crate::{DiskError, DiskPath, Operation};

impl SimDisk {
    /// Every file with its bytes, as the program sees them.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let world = self.world();
        let named = world.names.files().into_iter();
        named.filter_map(|(path, node)| Some((path, world.files.get(&node)?.live().to_vec()))).collect()
    }

    /// An independent copy with all that is pending, without handles, locks, faults and log: a place to
    /// go on from several times.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        Self::of(self.world().copied())
    }

    /// The platter lies about one bit. Bits count from the least significant one of the first byte.
    pub fn flip(&self, path: &str, bit: u64) -> Result<(), DiskError> {
        self.damage(path, |file| {
            let mut byte = [0];
            let found = file.live().read(bit / 8, &mut byte);
            file.damage(bit / 8, &[byte[0] ^ (1 << (bit % 8))]);
            found
        })
    }

    /// The platter holds other bytes; the length stays.
    pub fn overwrite(&self, path: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.damage(path, |file| {
            file.damage(offset, bytes);
            offset.checked_add(bytes.len() as u64).is_some_and(|end| end <= file.live().length())
        })
    }

    fn damage(&self, path: &str, act: impl FnOnce(&mut FileState) -> bool) -> Result<(), DiskError> {
        let failed = |source: io::Error| DiskError::failed(Operation::Write, path, source);
        let mut world = self.world();
        let node = world.names.file(DiskPath::parse_entry(path)?).map_err(failed)?;
        let file = world.files.get_mut(&node).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        if act(file) { Ok(()) } else { Err(failed(io::ErrorKind::UnexpectedEof.into())) }
    }
}

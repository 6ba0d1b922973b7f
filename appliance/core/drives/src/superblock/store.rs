//! Reading and writing the copies of a superblock.

use medium::{Access, Disk, DiskError};
use model::ErrorKind;

use super::{COPY_LENGTH, Epoch, Superblock};
use crate::DrivesError;
use crate::layout::SUPERBLOCKS;

/// What a member says, and how sure it is of it.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// The newest sound copy.
    pub(crate) superblock: Superblock,
    /// Copies that say the same.
    pub(crate) copies: usize,
    /// The newest epoch that two copies have reached: all members that served had their first copy of it.
    pub(crate) confirmed: u64,
}

impl Loaded {
    /// The epoch of what it says.
    pub(crate) fn number(&self) -> u64 {
        self.superblock.set.epoch().number
    }

    /// Whether two copies have reached that.
    pub(crate) fn is_reached(&self) -> bool {
        self.confirmed == self.number()
    }

    /// The last epoch that led to what it says and that two copies have reached.
    pub(crate) fn reached(&self) -> Option<Epoch> {
        self.superblock.set.lineage.iter().rev().find(|epoch| epoch.number <= self.confirmed).copied()
    }
}

/// Reads the newest sound copy.
pub(crate) fn load(disk: &dyn Disk) -> Result<Loaded, DrivesError> {
    let mut newest: Option<Loaded> = None;
    let (mut worst, mut epochs) = (None, Vec::new());
    for path in SUPERBLOCKS {
        match read_copy(disk, path).or_else(|_| read_copy(disk, path)) {
            Ok(superblock) => {
                epochs.push(superblock.set.epoch().number);
                match &mut newest {
                    Some(known) if known.superblock == superblock => known.copies += 1,
                    Some(known) if known.superblock.set.epoch().number >= superblock.set.epoch().number => {}
                    _ => newest = Some(Loaded { superblock, copies: 1, confirmed: 0 }),
                }
            }
            Err(DrivesError::Disk(error)) if error.kind() == ErrorKind::Missing => {}
            Err(error @ DrivesError::Version { .. }) => worst = Some(error),
            Err(error) => worst = worst.or(Some(error)),
        }
    }
    epochs.sort_unstable();
    if let Some(loaded) = &mut newest {
        loaded.confirmed = epochs.iter().rev().nth(1).copied().unwrap_or(0);
    }
    match (newest, worst) {
        (_, Some(error @ DrivesError::Version { .. })) => Err(error),
        (Some(loaded), _) => Ok(loaded),
        (None, Some(error)) => Err(error),
        (None, None) => Err(DrivesError::NotMember),
    }
}

fn read_copy(disk: &dyn Disk, path: &str) -> Result<Superblock, DrivesError> {
    let file = disk.open(path, Access::Read)?;
    let length = file.length()?.min(COPY_LENGTH as u64);
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| DrivesError::Damaged)?];
    file.read_at(0, &mut bytes)?;
    Superblock::decode(&bytes)
}

/// Writes one copy over what was there, durably; it needs no room that it does not have.
pub(crate) fn write_copy(disk: &dyn Disk, copy: usize, bytes: &[u8]) -> Result<(), DiskError> {
    let Some(path) = SUPERBLOCKS.get(copy) else { return Ok(()) };
    let (file, made) = match disk.open(path, Access::ReadWrite) {
        Err(error) if error.kind() == ErrorKind::Missing => (disk.create(path)?, true),
        file => (file?, false),
    };
    file.write_at(0, bytes)?;
    file.sync_data()?;
    if made { disk.sync_directory("") } else { Ok(()) }
}

/// A file that is to go may be gone already.
pub(crate) fn remove_if_there(disk: &dyn Disk, path: &str) -> Result<(), DiskError> {
    match disk.remove(path) {
        Err(error) if error.kind() == ErrorKind::Missing => Ok(()),
        result => result,
    }
}

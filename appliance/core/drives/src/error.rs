//! Why a set of drives does not open, or does not do what was asked.

use medium::DiskError;
use model::ErrorKind;

use crate::{DriveUuid, PoolUuid};

/// What is wrong with a drive, a set, or a request to it.
#[derive(Debug, thiserror::Error)]
pub enum DrivesError {
    /// There is no superblock.
    #[error("the drive belongs to no pool: it is left alone; add it to use it")]
    NotMember,
    /// There are superblocks, and none can be read.
    #[error(
        "all superblocks of the drive are damaged: nothing is read from it; let go of it and rebuild it from the others"
    )]
    Damaged,
    /// A superblock of a later version.
    #[error(
        "the superblock has version {found}, this program knows up to {known}: nothing is read from the drive; update the program"
    )]
    Version {
        /// Its version.
        found: u16,
        /// The newest version known.
        known: u16,
    },
    /// It belongs to another pool.
    #[error(
        "drive {drive} belongs to pool {found}, not to {expected}: it is left alone; take it out, or open its own pool"
    )]
    Foreign {
        /// The drive.
        drive: DriveUuid,
        /// Its pool.
        found: PoolUuid,
        /// The pool that is being opened.
        expected: PoolUuid,
    },
    /// Two drives say that they are the same one.
    #[error("drive {drive} is there twice, one is a copy of the other: neither is used; take the copy out")]
    Cloned {
        /// The drive.
        drive: DriveUuid,
    },
    /// It was out of the set while the others went on.
    #[error(
        "drive {drive} is at epoch {found}, the pool at {current}: it misses what was written meanwhile; rejoin it to bring it up to date"
    )]
    Stale {
        /// The drive.
        drive: DriveUuid,
        /// Its newest epoch.
        found: u64,
        /// The newest epoch of the set.
        current: u64,
    },
    /// It went on without the others, or its epoch is forgotten.
    #[error(
        "drive {drive} went on without the others after they parted at or before epoch {found}: it is not merged; keep it for what is only there, or wipe it and add it"
    )]
    Diverged {
        /// The drive.
        drive: DriveUuid,
        /// Its newest epoch.
        found: u64,
    },
    /// It was taken out of the pool for good.
    #[error("drive {drive} is retired: nothing of the pool is on it; wipe it to use it again")]
    Retired {
        /// The drive.
        drive: DriveUuid,
    },
    /// Drives of several pools, and nobody said which one is meant.
    #[error(
        "the drives belong to several pools, {first} and {second} among them: none is opened; name the pool"
    )]
    Ambiguous {
        /// One pool.
        first: PoolUuid,
        /// Another one.
        second: PoolUuid,
    },
    /// Two parts of the set went on without each other, equally far.
    #[error(
        "drives {first} and {second} went on without each other after epoch {epoch}: none is opened; leave out the part that is not to count"
    )]
    Split {
        /// A drive of one part.
        first: DriveUuid,
        /// A drive of the other.
        second: DriveUuid,
        /// The last epoch that they may share.
        epoch: u64,
    },
    /// None of the drives can be used.
    #[error("no drive of the pool can be used: it cannot be opened; connect its drives")]
    NoMember,
    /// A drive that is to be added holds something of a pool.
    #[error("the drive holds '{name}' of a pool: it is not added, that would lose it; wipe it first")]
    NotEmpty {
        /// What was found.
        name: String,
    },
    /// No such drive in the set.
    #[error("drive {drive} is not one of this pool's: nothing is changed; look at the list of drives")]
    Unknown {
        /// The drive.
        drive: DriveUuid,
    },
    /// Somebody else has the set open.
    #[error("drive {drive} is in use by another process: it is not opened; stop that one first")]
    InUse {
        /// The drive.
        drive: DriveUuid,
    },
    /// The set would be left without a drive.
    #[error("drive {drive} is the last one in service: it stays; add another one first")]
    LastMember {
        /// The drive.
        drive: DriveUuid,
    },
    /// What is kept how often makes no sense, or not with these drives.
    #[error("{what}: nothing is changed; choose another way of keeping copies")]
    Policy {
        /// What is wrong with it.
        what: &'static str,
    },
    /// A drive failed where the set cannot go on without it.
    #[error("a drive failed")]
    Disk(#[from] DiskError),
}

impl DrivesError {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotMember | Self::NoMember | Self::Unknown { .. } => ErrorKind::Missing,
            Self::Damaged => ErrorKind::Corrupt,
            Self::Version { .. } => ErrorKind::Unsupported,
            Self::InUse { .. } => ErrorKind::Busy,
            Self::Disk(source) => source.kind(),
            _ => ErrorKind::Refused,
        }
    }
}

//! What can go wrong between the core and a drive.

use std::fmt;
use std::io;

use model::ErrorKind;

/// A call of [`Disk`](crate::Disk) or [`File`](crate::File), for messages, logs and fault plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// `Disk::create`
    Create,
    /// `Disk::open`
    Open,
    /// `Disk::rename`
    Rename,
    /// `Disk::remove`
    Remove,
    /// `Disk::make_directory`
    MakeDirectory,
    /// `Disk::list`
    List,
    /// `Disk::sync_directory`
    SyncDirectory,
    /// `Disk::lock`
    Lock,
    /// `Disk::space`
    Space,
    /// `File::read_at`
    Read,
    /// `File::write_at`
    Write,
    /// `File::sync_data`
    Sync,
    /// `File::length`
    Length,
    /// `File::forget_cached`
    Forget,
    /// `File::set_length`
    SetLength,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Open => "open",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::MakeDirectory => "make directory",
            Self::List => "list",
            Self::SyncDirectory => "sync directory",
            Self::Lock => "lock",
            Self::Space => "measure space",
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Length => "measure length",
            Self::Forget => "forget cached bytes",
            Self::SetLength => "set length",
        })
    }
}

/// A failed call, with what was done to which path.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The kernel or the device refused or failed.
    #[error("{operation} '{path}'")]
    Failed {
        /// The call.
        operation: Operation,
        /// The path, `from -> to` for a rename.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A read beyond the end of the file.
    #[error("read '{path}': bytes {start}..{end} are beyond its length of {length}")]
    UnexpectedEnd {
        /// The file.
        path: String,
        /// First byte asked for.
        start: u64,
        /// The byte after the last one asked for.
        end: u64,
        /// The length of the file.
        length: u64,
    },
    /// The lock is held by another program, or by another part of this one.
    #[error("lock '{path}': somebody else holds it")]
    Held {
        /// The lock's file.
        path: String,
    },
    /// The text is not a path that a drive takes.
    #[error("path {path:?} {reason}")]
    Path {
        /// The text.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An earlier sync of this file or directory failed, so nothing more is written to it.
    #[error("{operation} '{path}': an earlier sync failed")]
    Poisoned {
        /// The call.
        operation: Operation,
        /// The file or directory.
        path: String,
    },
    /// The simulated machine has lost power; only [`sim`](crate::sim) returns this.
    #[error("{operation} '{path}': the simulated machine has crashed")]
    Crashed {
        /// The call.
        operation: Operation,
        /// The path.
        path: String,
    },
}

impl DiskError {
    /// An error of the system, with its place.
    pub fn failed(operation: Operation, path: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Failed { operation, path: path.into(), source: source.into() }
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Failed { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
                io::ErrorKind::NotFound => ErrorKind::Missing,
                io::ErrorKind::AlreadyExists => ErrorKind::Refused,
                _ => ErrorKind::Io,
            },
            Self::UnexpectedEnd { .. } => ErrorKind::Missing,
            Self::Held { .. } => ErrorKind::Busy,
            Self::Path { .. } => ErrorKind::Refused,
            Self::Poisoned { .. } | Self::Crashed { .. } => ErrorKind::Io,
        }
    }
}

impl From<DiskError> for io::Error {
    /// For libraries that speak `io::Error` (redb); the kind stays, the whole error is the source.
    fn from(error: DiskError) -> Self {
        let kind = match &error {
            DiskError::Failed { source, .. } => source.kind(),
            DiskError::UnexpectedEnd { .. } => io::ErrorKind::UnexpectedEof,
            DiskError::Held { .. } => io::ErrorKind::ResourceBusy,
            DiskError::Path { .. } => io::ErrorKind::InvalidInput,
            DiskError::Poisoned { .. } | DiskError::Crashed { .. } => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn kinds_follow_what_the_system_said() {
        let cases = [
            (28, ErrorKind::Full),
            (122, ErrorKind::Full),
            (2, ErrorKind::Missing),
            (17, ErrorKind::Refused),
            (5, ErrorKind::Io),
            (30, ErrorKind::Io),
        ];
        for (errno, kind) in cases {
            let error = DiskError::failed(Operation::Write, "a", io::Error::from_raw_os_error(errno));
            assert_eq!(error.kind(), kind, "errno {errno}");
        }
    }

    #[test]
    fn an_io_error_keeps_the_chain() {
        let error = DiskError::failed(Operation::Sync, "a/b", io::Error::from_raw_os_error(28));
        let io = io::Error::from(error);
        assert_eq!(io.kind(), io::ErrorKind::StorageFull);
        assert_eq!(io.to_string(), "sync 'a/b'");
        let inner = io.get_ref().and_then(|e| e.downcast_ref::<DiskError>()).expect("the disk error");
        assert_eq!(inner.kind(), ErrorKind::Full);
        assert!(inner.source().is_some());
    }
}

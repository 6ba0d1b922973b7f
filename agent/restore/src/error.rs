//! Why a restore stopped as a whole. What concerns one path only is a [`Problem`](crate::Problem).

use std::io;

use model::archive::ArchiveError;
use model::{ErrorKind, Escaped};
use rustix::io::Errno;
use thiserror::Error;

/// A restore that did not come to its end.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The archive did not answer; asking the same again goes on where it stopped.
    #[error("cannot read {what} of the point")]
    Archive {
        /// What was asked for.
        what: &'static str,
        /// Its answer.
        source: ArchiveError,
    },
    /// The filesystem of the target refused something that everything else depends on.
    #[error("cannot {doing} {path}")]
    Target {
        /// What was tried.
        doing: &'static str,
        /// Where.
        path: String,
        /// The words of the system.
        source: io::Error,
    },
    /// Entries of the target are in the way; nothing was written.
    #[error(
        "{count} entries of the target are in the way, and nothing was written: {first}; \
         restore to another directory, or replace what differs with --overwrite"
    )]
    Conflicts {
        /// How many.
        count: u64,
        /// The first few, with reasons.
        first: String,
    },
    /// Entries of the target stand where directories on the way to what is wanted should be; nothing was written.
    #[error(
        "{count} entries of the target stand where directories that lead to what is wanted should be, links are not \
         followed, and nothing was written: {first}; move them away, or restore to another directory"
    )]
    Obstacles {
        /// How many.
        count: u64,
        /// The first few, with reasons.
        first: String,
    },
    /// A path that was asked for is not in the point; nothing was written.
    #[error("{path} is not in the point")]
    NotInPoint {
        /// The path.
        path: String,
    },
    /// The target holds another restore that was broken off; nothing was written.
    #[error(
        "{target} holds another restore that was broken off; repeat that one, or remove .keepfast-restore there, \
         or replace what differs with --overwrite"
    )]
    Unfinished {
        /// The target.
        target: String,
    },
    /// Another restore writes to the target.
    #[error("another restore is writing to {target}")]
    Busy {
        /// The target.
        target: String,
    },
    /// Everything below the root directory would be removed; nothing was written.
    #[error("entries are not removed from all of /; name the directories that are to be restored")]
    RemovesFromRoot,
    /// The caller said stop; asking the same again goes on.
    #[error("stopped")]
    Stopped,
}

impl RestoreError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Archive { source, .. } => source.kind,
            Self::Target { source, .. } => kind_of(source),
            Self::Conflicts { .. }
            | Self::Obstacles { .. }
            | Self::Unfinished { .. }
            | Self::RemovesFromRoot => ErrorKind::Refused,
            Self::NotInPoint { .. } => ErrorKind::Missing,
            Self::Busy { .. } | Self::Stopped => ErrorKind::Busy,
        }
    }

    /// A failure of the target at a path of it.
    pub(crate) fn target(doing: &'static str, path: &[u8], source: impl Into<io::Error>) -> Self {
        Self::Target { doing, path: Escaped(path).to_string(), source: source.into() }
    }
}

fn kind_of(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Refused,
        io::ErrorKind::NotADirectory => ErrorKind::Refused,
        io::ErrorKind::NotFound => ErrorKind::Missing,
        io::ErrorKind::Unsupported => ErrorKind::Unsupported,
        _ => ErrorKind::Io,
    }
}

/// Whether a failure at one path says that no other path will fare better.
pub(crate) fn stops_everything(error: Errno) -> bool {
    matches!(
        error,
        Errno::NOSPC
            | Errno::DQUOT
            | Errno::ROFS
            | Errno::IO
            | Errno::NOMEM
            | Errno::MFILE
            | Errno::NFILE
            | Errno::NODEV
            | Errno::STALE
            | Errno::NOTCONN
            | Errno::NOSYS
    )
}

/// Whether only what was asked for is lost, so that the rest can still be restored.
pub(crate) fn is_damage(error: &ArchiveError) -> bool {
    matches!(error.kind, ErrorKind::Corrupt | ErrorKind::Missing)
}

/// Damage that is found here: what the archive says contradicts itself.
pub(crate) fn corrupt(message: &str) -> ArchiveError {
    ArchiveError { kind: ErrorKind::Corrupt, message: message.to_owned() }
}

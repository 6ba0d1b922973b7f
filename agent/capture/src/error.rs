//! Why a backup as a whole did not come to its end. One file never is the reason: it becomes an exception.

use std::path::PathBuf;

use chunk::ChunkError;
use model::ErrorKind;
use model::archive::ArchiveError;
use thiserror::Error;

/// A backup that made no point.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The caller asked it to stop.
    #[error("the backup was stopped")]
    Stopped,
    /// A protected path does not start at the root.
    #[error("path {path:?} is relative: give it from the root on")]
    RelativePath {
        /// The path.
        path: PathBuf,
    },
    /// A protected path that cannot be one.
    #[error("path {path:?} cannot be protected: {reason}")]
    Path {
        /// The path.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// No protected path exists.
    #[error("none of the protected paths can be read; {first}")]
    NothingToRead {
        /// The first of them and what is wrong with it.
        first: String,
    },
    /// An exclude or image pattern that cannot be understood.
    #[error("pattern {pattern:?}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Why not.
        source: ignore::Error,
    },
    /// The appliance refused, or the connection to it broke.
    #[error("{during}")]
    Appliance {
        /// What was asked.
        during: &'static str,
        /// What came back.
        source: ArchiveError,
    },
    /// The appliance lacks chunks that it was just sent or said to have.
    #[error("the appliance lacks {count} chunks although everything was sent to it")]
    Lacking {
        /// How many it named.
        count: usize,
    },
    /// The cache could not be used.
    #[error("cache {path:?}")]
    Cache {
        /// Its file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: CacheError,
    },
    /// Cutting or compressing failed.
    #[error("chunks of this backup")]
    Chunk(#[from] ChunkError),
    /// A thread of the backup ended by a fault of the program.
    #[error("the {thread} of the backup failed; this is a fault of the program")]
    Thread {
        /// Which one.
        thread: &'static str,
    },
}

impl BackupError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Stopped => ErrorKind::Busy,
            Self::RelativePath { .. } | Self::Path { .. } | Self::Pattern { .. } => ErrorKind::Refused,
            Self::NothingToRead { .. } => ErrorKind::Missing,
            Self::Appliance { source, .. } => source.kind,
            Self::Lacking { .. } | Self::Thread { .. } => ErrorKind::Corrupt,
            Self::Cache { source, .. } => source.kind(),
            Self::Chunk(error) => error.kind(),
        }
    }

    /// Whether a second try without what the cache says could succeed. What the appliance finds damaged may be the newest
    /// point, which a scan that begins with nothing does not need.
    pub(crate) fn is_of_the_cache(&self) -> bool {
        matches!(self, Self::Lacking { .. } | Self::Thread { .. })
            || matches!(self, Self::Cache { source, .. } if !matches!(source, CacheError::Busy))
            || matches!(self, Self::Appliance { source, .. } if source.kind == ErrorKind::Corrupt)
    }
}

/// What is wrong with a cache.
#[derive(Debug, Error)]
pub enum CacheError {
    /// Another backup of the same source holds it.
    #[error("another backup of this source uses it")]
    Busy,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] redb::Error),
    /// A file beside the database failed.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// Something in it is not what was written.
    #[error("{0} is damaged")]
    Damaged(&'static str),
}

impl CacheError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Busy => ErrorKind::Busy,
            Self::File(error) if error.kind() == std::io::ErrorKind::StorageFull => ErrorKind::Full,
            Self::File(_) | Self::Database(redb::Error::Io(_)) => ErrorKind::Io,
            Self::Database(_) | Self::Damaged(_) => ErrorKind::Corrupt,
        }
    }
}

impl From<model::codec::CodecError> for CacheError {
    fn from(_: model::codec::CodecError) -> Self {
        Self::Damaged("an entry")
    }
}

/// Lets every error of the database pass through `?`.
macro_rules! from_redb {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for CacheError {
            fn from(error: redb::$error) -> Self {
                Self::Database(error.into())
            }
        }
    )*};
}

from_redb!(TableError, StorageError, TransactionError, CommitError);

impl From<redb::DatabaseError> for CacheError {
    fn from(error: redb::DatabaseError) -> Self {
        match error {
            redb::DatabaseError::DatabaseAlreadyOpen => Self::Busy,
            other => Self::Database(other.into()),
        }
    }
}

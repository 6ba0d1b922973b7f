//! What can go wrong in a pool.

use chunk::{ChunkError, FrameKind};
use medium::DiskError;
use model::codec::CodecError;
use model::{CommitNumber, ErrorKind, Name, SegmentNumber, SourceId};
use thiserror::Error;

use crate::layout::CATALOG;

/// A failed operation of the pool.
#[derive(Debug, Error)]
pub enum PoolError {
    /// The drive failed, or is full.
    #[error("the drive of the pool failed")]
    Disk(#[from] DiskError),
    /// Somebody else has the pool open.
    #[error("the pool is in use by another process; stop it first, or ask it through its socket")]
    InUse(#[source] DiskError),
    /// There is no pool where one was expected.
    #[error("there is no pool here: no readable copy of its header was found")]
    NoPool,
    /// There is a pool where a new one was to be made.
    #[error("there is a pool here already; nothing was changed")]
    Exists,
    /// No copy of the header can be read, although there are some.
    #[error(
        "all copies of the pool's header are damaged; the recovery of one of them is needed, nothing was changed"
    )]
    HeaderDamaged,
    /// The key, passphrase or recovery key opens no slot.
    #[error("the {0} does not open this pool; nothing was changed")]
    WrongKey(&'static str),
    /// A passphrase cannot be turned into a key.
    #[error("derive a key from the passphrase: {0}")]
    Derive(String),
    /// A format that this program does not know.
    #[error("{what} has version {found}, this program knows {known}; use a newer keepfast")]
    Version {
        /// What it is.
        what: &'static str,
        /// Its version.
        found: u16,
        /// The newest version known.
        known: u16,
    },
    /// A frame cannot be read as it was written.
    #[error("frame at {offset} of segment {segment}")]
    Frame {
        /// In which segment.
        segment: SegmentNumber,
        /// At which byte.
        offset: u64,
        /// What is wrong with it.
        #[source]
        source: ChunkError,
    },
    /// A place of a segment cannot be read, although the drive delivers others.
    #[error("segment {segment} cannot be read at {offset}")]
    Unreadable {
        /// Which segment.
        segment: SegmentNumber,
        /// From which byte on.
        offset: u64,
        /// What the drive said.
        #[source]
        source: DiskError,
    },
    /// A frame is not of the kind that its reference says.
    #[error("frame at {offset} of segment {segment} is {found:?}")]
    FrameKind {
        /// In which segment.
        segment: SegmentNumber,
        /// At which byte.
        offset: u64,
        /// What it is.
        found: FrameKind,
    },
    /// A frame is sound in itself and not the one that should be there.
    #[error("frame at {offset} of segment {segment} {what}")]
    Misplaced {
        /// In which segment.
        segment: SegmentNumber,
        /// At which byte.
        offset: u64,
        /// Which one it is instead.
        what: &'static str,
    },
    /// A chunk or page lies where a check found damage.
    #[error("{what} {name} is in the frame at {offset} of segment {segment}, which is damaged")]
    Lost {
        /// Chunk or page.
        what: &'static str,
        /// Its name.
        name: Name,
        /// In which segment.
        segment: SegmentNumber,
        /// The offset of its frame.
        offset: u64,
    },
    /// The header of a segment is not sound.
    #[error("header of segment {segment}: {what}")]
    SegmentHeader {
        /// Which segment.
        segment: SegmentNumber,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Sealing or compressing failed.
    #[error("seal a frame")]
    Seal(#[from] ChunkError),
    /// A chunk or page does not have the name by which it is referenced.
    #[error("{what} {name} at {offset} of segment {segment} does not have its name")]
    Name {
        /// Chunk or page.
        what: &'static str,
        /// Its name.
        name: Name,
        /// In which segment.
        segment: SegmentNumber,
        /// The offset of its frame.
        offset: u64,
    },
    /// A chunk or page that something refers to is not in the pool.
    #[error("{what} {name} is not in the pool")]
    Absent {
        /// Chunk or page.
        what: &'static str,
        /// Its name.
        name: Name,
    },
    /// A record is not an encoding of one.
    #[error("record of commit {commit}: {message}")]
    Record {
        /// In which commit, or the one after the last sound one.
        commit: CommitNumber,
        /// What is wrong.
        message: String,
    },
    /// Stored item bytes are not what they should be.
    #[error("item of a tree")]
    Item(#[from] CodecError),
    /// A tree cannot be read.
    #[error("tree: {0}")]
    Tree(String, ErrorKind),
    /// redb failed.
    #[error("catalog: {operation}")]
    Catalog {
        /// What was to be done.
        operation: &'static str,
        /// What it said.
        #[source]
        source: Box<redb::Error>,
    },
    /// A value in the catalog is not what was written.
    #[error("catalog: {0} is damaged")]
    CatalogValue(&'static str),
    /// There was no room for the catalog when the pool was opened.
    #[error(
        "the drive of the pool is full: all that it holds can be read, nothing more is taken until there is room"
    )]
    DriveFull,
    /// The pool takes what it may take.
    #[error(
        "the pool has reached its capacity of {capacity_bytes} bytes: nothing more is taken until points have gone"
    )]
    CapacityReached {
        /// Bytes of segments.
        capacity_bytes: u64,
    },
    /// An earlier write failed; what it left is unknown until the pool is opened again.
    #[error("an earlier write to the pool failed, so it takes nothing more until it has been opened again")]
    Failed,
    /// A point cannot be dropped before it is known what goes with it.
    #[error("point {number} of source {source_id} is not counted yet; ask again in a moment")]
    Uncounted {
        /// Of which source.
        source_id: SourceId,
        /// Its number.
        number: u64,
    },
    /// A machine, source or point does not exist.
    #[error("{0} does not exist")]
    Missing(String),
    /// The request cannot be done as asked.
    #[error("{0}")]
    Refused(String),
}

impl PoolError {
    /// Wraps an error of redb with what was to be done.
    pub(crate) fn catalog(operation: &'static str) -> impl FnOnce(redb::Error) -> Self {
        move |source| Self::Catalog { operation, source: Box::new(source) }
    }

    /// Whether it says that the catalog is damaged, which can be made anew.
    pub(crate) fn is_damaged_catalog(&self) -> bool {
        matches!(self, Self::Catalog { .. } | Self::CatalogValue(_)) && self.kind() == ErrorKind::Corrupt
    }

    /// Whether the medium refuses to give back or to take what is in the file of the catalog.
    pub(crate) fn is_unreadable_catalog(&self) -> bool {
        let error = match self {
            Self::Disk(error) => Some(error),
            Self::Catalog { source, .. } => match &**source {
                redb::Error::Io(error) => error.get_ref().and_then(|error| error.downcast_ref()),
                _ => None,
            },
            _ => None,
        };
        let of_catalog =
            |error: &DiskError| matches!(error, DiskError::Failed { path, .. } if path == CATALOG);
        error.is_some_and(|error| is_unreadable(error) && of_catalog(error))
    }

    /// Whether it says that something in the segments is lost, and not that it cannot be told at the moment.
    pub(crate) fn is_damage(&self) -> bool {
        let of_content =
            matches!(self.kind(), ErrorKind::Corrupt | ErrorKind::Missing | ErrorKind::Unsupported);
        of_content && !matches!(self, Self::Catalog { .. } | Self::CatalogValue(_))
    }

    /// Whether something in a segment is not to be had from where it is: it is lost, or the drive refuses to read it.
    pub(crate) fn is_of_place(&self) -> bool {
        self.is_damage() || matches!(self, Self::Disk(error) if is_unreadable(error))
    }

    /// It and its causes, in one line.
    pub(crate) fn in_words(&self) -> String {
        model::archive::ArchiveError::new(self.kind(), self).message
    }

    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Disk(error) => error.kind(),
            Self::InUse(_) | Self::Uncounted { .. } => ErrorKind::Busy,
            Self::NoPool | Self::Absent { .. } | Self::Missing(_) => ErrorKind::Missing,
            Self::Exists | Self::WrongKey(_) | Self::Refused(_) | Self::Derive(_) => ErrorKind::Refused,
            Self::Version { .. } => ErrorKind::Unsupported,
            Self::Frame { source, .. } | Self::Seal(source) => source.kind(),
            Self::Tree(_, kind) => *kind,
            Self::Catalog { source, .. } => match **source {
                redb::Error::Io(ref error) if error.kind() == std::io::ErrorKind::StorageFull => {
                    ErrorKind::Full
                }
                redb::Error::Io(ref error) if is_of_content(error) => ErrorKind::Corrupt,
                redb::Error::Io(_) | redb::Error::PreviousIo => ErrorKind::Io,
                redb::Error::DatabaseAlreadyOpen => ErrorKind::Busy,
                _ => ErrorKind::Corrupt,
            },
            Self::DriveFull | Self::CapacityReached { .. } => ErrorKind::Full,
            Self::Failed => ErrorKind::Io,
            Self::HeaderDamaged
            | Self::Unreadable { .. }
            | Self::FrameKind { .. }
            | Self::Misplaced { .. }
            | Self::Lost { .. }
            | Self::SegmentHeader { .. }
            | Self::Name { .. }
            | Self::Record { .. }
            | Self::Item(_)
            | Self::CatalogValue(_) => ErrorKind::Corrupt,
        }
    }
}

/// Whether the medium lost what was asked for. Other failures, such as too many open files, say nothing about it.
pub(crate) fn is_unreadable(error: &DiskError) -> bool {
    const EIO: i32 = 5;
    const ENODATA: i32 = 61;
    const EBADMSG: i32 = 74;
    const EUCLEAN: i32 = 117;
    let DiskError::Failed { source, .. } = error else { return false };
    matches!(source.raw_os_error(), Some(EIO | ENODATA | EBADMSG | EUCLEAN))
}

/// Whether the file of the catalog is no catalog, or ends too early.
fn is_of_content(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
}

impl From<PoolError> for model::archive::ArchiveError {
    fn from(error: PoolError) -> Self {
        Self::new(error.kind(), &error)
    }
}

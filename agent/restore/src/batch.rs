//! A stretch of work that goes from the walk to the writer, with the content that belongs to it.

use std::ops::Range;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use model::archive::{ArchiveError, SharedBytes};
use model::item::{Attributes, FileKind};
use model::{EntryName, ObjectId};

use crate::attributes::Wanted;
use crate::directories::DirectoryId;
use crate::xattrs::Xattr;

/// A fetched range of a chunk, or why it cannot be had.
pub(crate) type Fetched = Result<SharedBytes, Arc<str>>;
/// The ranges that one call brought, by their numbers in the batch.
pub(crate) type Reply = Result<Vec<(usize, Fetched)>, ArchiveError>;

/// Steps in the order in which they are taken.
pub(crate) struct Batch {
    pub(crate) steps: Vec<Step>,
    pub(crate) pieces: Vec<Piece>,
    /// How many ranges are fetched.
    pub(crate) wants: usize,
    pub(crate) replies: Receiver<Reply>,
}

/// Something that the writer does.
pub(crate) enum Step {
    /// Makes or enters a directory; it gets the next number.
    Directory(Box<DirectoryStep>),
    /// Says the extended attributes of a directory.
    DirectoryXattrs { directory: DirectoryId, xattrs: Deferred<Vec<Xattr>> },
    /// Writes a file or a part of it.
    File(FilePart),
    /// Takes note of a file that is there as it is stored.
    Done(Box<FileHead>),
    /// Takes note of what is made after all files.
    Other(Box<Other>),
    /// Removes an unfinished file of a restore that was broken off.
    Stale { directory: DirectoryId, name: EntryName },
    /// Says what cannot be restored.
    Problem { path: Vec<u8>, message: String },
}

/// A directory that is made or entered.
pub(crate) struct DirectoryStep {
    pub(crate) parent: DirectoryId,
    /// None for the target itself.
    pub(crate) name: Option<EntryName>,
    pub(crate) object: ObjectId,
    /// Wanted itself, not only to hold wanted entries.
    pub(crate) is_wanted: bool,
    pub(crate) wanted: Wanted,
}

/// A file.
pub(crate) struct FileHead {
    pub(crate) directory: DirectoryId,
    pub(crate) name: EntryName,
    pub(crate) object: ObjectId,
    /// It has more names.
    pub(crate) is_linked: bool,
    pub(crate) size: u64,
    pub(crate) wanted: Wanted,
    pub(crate) action: Action,
}

/// How a file comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It is not there.
    Create,
    /// It is there; only what differs is written.
    Compare,
    /// An unfinished file of a restore that was broken off is there; it is gone on with.
    Continue,
}

/// A run of pieces of one file.
pub(crate) struct FilePart {
    /// In the first part.
    pub(crate) head: Option<Box<FileHead>>,
    /// Of the batch.
    pub(crate) pieces: Range<usize>,
    pub(crate) end: PartEnd,
}

/// What follows a part.
pub(crate) enum PartEnd {
    /// Another part of the same file, in the next batch.
    More,
    /// Nothing: the file is complete.
    Last,
    /// Nothing: the rest cannot be had.
    Broken(String),
}

/// A range of a file.
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) source: PieceSource,
}

/// Where the bytes of a range are.
pub(crate) enum PieceSource {
    /// Among what is fetched for the batch.
    Fetched(usize),
    /// In the file that is there, or in the unfinished one.
    Local,
    /// Nowhere: they are zeros that were never written.
    Hole,
}

/// A link, device, pipe or socket, or a further name of a file.
pub(crate) struct Other {
    pub(crate) directory: DirectoryId,
    pub(crate) name: EntryName,
    pub(crate) object: ObjectId,
    /// It has more names.
    pub(crate) is_linked: bool,
    pub(crate) what: Deferred<OtherKind>,
    pub(crate) wanted: Wanted,
}

/// Something that waits for the end of a restore: held if it is small, read again if it is not.
pub(crate) enum Deferred<T> {
    /// It is small.
    Held(T),
    /// The archive says it again, extended attributes among it.
    Stored,
}

/// What is made after all files.
pub(crate) enum OtherKind {
    /// A symbolic link to a target.
    Symlink(Vec<u8>),
    /// A device, pipe or socket.
    Special { kind: FileKind, rdev: u64 },
    /// A further name of a file.
    Link,
}

impl OtherKind {
    /// What the attributes say; a kind that is none of these cannot be made.
    pub(crate) fn of(attributes: Attributes) -> Self {
        match attributes.kind {
            FileKind::Symlink => Self::Symlink(attributes.target),
            kind => Self::Special { kind, rdev: attributes.rdev },
        }
    }
}

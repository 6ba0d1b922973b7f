//! What passes between the threads of a backup: tasks from the walker to the readers, parts from the readers to
//! the sender. Both are in the order of the walk, by ticket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use model::operation::Operation;
use model::path::EntryName;
use model::record::{Exception, ExceptionCause, Totals};
use model::{Name, ObjectId};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use crate::filter::Filesystem;
use crate::log::Updates;
use crate::record::Record;
use crate::stat::Seen;

/// A directory that is open.
pub(crate) struct Directory {
    pub(crate) fd: OwnedFd,
    /// Its absolute path; of the root, nothing.
    pub(crate) path: Vec<u8>,
    pub(crate) object: ObjectId,
    pub(crate) filesystem: Filesystem,
}

impl Directory {
    /// The path of an entry.
    pub(crate) fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let mut path = Vec::with_capacity(self.path.len() + 1 + name.len());
        path.extend_from_slice(&self.path);
        path.push(b'/');
        path.extend_from_slice(name);
        path
    }
}

/// What stands under the name of a file in the last point.
pub(crate) enum Before {
    /// Nothing.
    Nothing,
    /// Another object, which the file replaces when it has been read.
    Other {
        /// Whether the object stays if the file cannot be read.
        stays: bool,
    },
    /// The same object; it is brought up to date.
    Same(Box<Record>),
}

/// A file to read.
pub(crate) struct FileJob {
    pub(crate) directory: Arc<Directory>,
    pub(crate) name: EntryName,
    pub(crate) object: ObjectId,
    pub(crate) seen: Seen,
    pub(crate) before: Before,
    pub(crate) image: bool,
}

/// A further name of a file that an earlier step reads.
pub(crate) struct Link {
    pub(crate) object: ObjectId,
    /// Takes away what has the name, if the link is sent.
    pub(crate) removal: Option<Operation>,
    pub(crate) operation: Operation,
    /// For the cache, if the link is sent.
    pub(crate) sent: Updates,
    pub(crate) path: Vec<u8>,
}

/// One step of a walk.
pub(crate) enum Step {
    /// An operation that is certain.
    Operation(Operation),
    /// A file to read.
    File(Box<FileJob>),
    /// A further name.
    Link(Box<Link>),
    /// Something that is not as it should be.
    Problem(Exception),
}

/// A run of steps that one reader takes.
#[derive(Default)]
pub(crate) struct Task {
    pub(crate) ticket: u64,
    pub(crate) steps: Vec<Step>,
    /// For the cache, of the steps that are certain.
    pub(crate) updates: Updates,
}

/// A chunk in the bytes of a part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) name: Name,
    pub(crate) start: usize,
    pub(crate) length: usize,
    /// Whether the appliance is known to have it.
    pub(crate) known: bool,
}

/// What has become of a task, or of a first part of it.
#[derive(Default)]
pub(crate) struct Part {
    pub(crate) ticket: u64,
    /// Whether it is the last part of its task.
    pub(crate) last: bool,
    pub(crate) operations: Vec<Operation>,
    /// Further names, each in front of the operation with that index.
    pub(crate) links: Vec<(usize, Link)>,
    pub(crate) updates: Updates,
    /// New objects that did not come to be.
    pub(crate) failed: Vec<ObjectId>,
    pub(crate) problems: Vec<Exception>,
    pub(crate) pieces: Vec<Piece>,
    pub(crate) bytes: Vec<u8>,
    /// Bytes of the window that it holds.
    pub(crate) held: usize,
}

/// Figures that all threads add to.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) files: AtomicU64,
    pub(crate) directories: AtomicU64,
    pub(crate) others: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) files_read: AtomicU64,
    pub(crate) bytes_read: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            files: read(&self.files),
            directories: read(&self.directories),
            others: read(&self.others),
            bytes: read(&self.bytes),
            files_read: read(&self.files_read),
            bytes_read: read(&self.bytes_read),
            bytes_sent: read(&self.bytes_sent),
        }
    }
}

/// Tells all threads to end: the caller asked, or one of them failed.
pub(crate) struct Halt<'a> {
    stop: &'a AtomicBool,
    failed: AtomicBool,
}

impl<'a> Halt<'a> {
    pub(crate) const fn new(stop: &'a AtomicBool) -> Self {
        Self { stop, failed: AtomicBool::new(false) }
    }

    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.is_stopped() || self.failed.load(Ordering::Relaxed)
    }

    /// Whether the caller asked.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// An exception in the words of the operating system.
pub(crate) fn exception(path: Vec<u8>, cause: ExceptionCause, error: Errno) -> Exception {
    Exception { path, cause, detail: std::io::Error::from(error).to_string() }
}

/// What an error on the way to a path means.
pub(crate) const fn cause_of(error: Errno) -> ExceptionCause {
    match error {
        // Links and other kinds in place of what was listed: it is not there any more.
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE => ExceptionCause::Vanished,
        _ => ExceptionCause::Unreadable,
    }
}

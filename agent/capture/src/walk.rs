//! The walk: every directory once, its entries compared with the cache, what differs handed on in order.
//!
//! All entries of a directory come before anything below it: their objects have neighbouring numbers, and their
//! contents land in the same bundles. Directories are reached by descriptors alone, never by paths, so that a
//! rename or a link that is put in the way leads nowhere else. Of a long way down only the first and the last
//! [`OPEN_MAX`] / 2 stay open; the others are opened again through `..` and must be the same directory.
//!
//! Operations come out in an order in which each makes sense: a directory before its entries, an object before
//! its further names, a directory that moved before anything below it (see [`moves`]).

mod directory;
mod entry;
mod leaf;
mod links;
mod merge;
mod moves;
mod sink;

use std::sync::Arc;

use model::item::Attributes;
use model::operation::Operation;
use model::record::{Exception, ExceptionCause};
use model::{ObjectId, Time};

pub(crate) use sink::Sink;

use crate::cache::{ROOT_PARENT, Snapshot};
use crate::filter::{Filesystem, Filter};
use crate::record::{Record, entry_key};
use crate::source::Selection;
use crate::stat::{Seen, Stamp};
use crate::task::{Counters, Directory, Halt, Step};
use crate::xattr::XattrReader;
use crate::{BackupError, CacheError};
use links::Links;
use moves::Moves;

/// Most directories above the current one that are held open.
const OPEN_MAX: usize = 128;

/// What a walk ends with.
pub(crate) struct Walked {
    /// The number of the next new object.
    pub(crate) next: ObjectId,
    /// How many tasks were handed on.
    pub(crate) tickets: u64,
}

/// Why a walk ends early.
#[derive(Debug)]
pub(crate) enum WalkError {
    /// It was told to.
    Halted,
    /// The cache failed.
    Cache(CacheError),
    /// Something else.
    Backup(BackupError),
}

impl From<CacheError> for WalkError {
    fn from(error: CacheError) -> Self {
        Self::Cache(error)
    }
}

/// What the last point has of a directory that is about to be entered.
enum Was {
    /// Nothing; it was just made with these attributes, or is the root.
    New(Option<Attributes>),
    /// The same in every way.
    Unchanged,
    /// The same object with something different, or under another name.
    Changed(Box<Record>),
}

/// A directory that is about to be entered.
struct Child {
    parent: ObjectId,
    name: Box<[u8]>,
    object: ObjectId,
    seen: Seen,
    was: Was,
    selection: Selection,
    /// Whether it is a protected path, or on the way to one.
    is_chosen: bool,
}

/// A directory on the way down.
struct Frame {
    /// None while too many deeper ones are open.
    directory: Option<Arc<Directory>>,
    place: (u64, u64),
    object: ObjectId,
    path_length: usize,
    filesystem: Filesystem,
    /// The device of the protected path that it lies under.
    device: u64,
    children: std::vec::IntoIter<Child>,
}

/// Walks a source.
pub(crate) struct Walker<'a> {
    snapshot: &'a Snapshot,
    filter: &'a Filter,
    counters: &'a Counters,
    halt: &'a Halt<'a>,
    sink: Sink<'a>,
    /// When this scan began.
    scan: Time,
    next: ObjectId,
    links: Links,
    moves: Moves,
    xattrs: XattrReader,
    /// Whether any protected path exists.
    found: bool,
}

impl<'a> Walker<'a> {
    pub(crate) fn new(
        snapshot: &'a Snapshot,
        filter: &'a Filter,
        counters: &'a Counters,
        halt: &'a Halt<'a>,
        sink: Sink<'a>,
        scan: Time,
    ) -> Self {
        let next = snapshot.header.next;
        let (links, moves, xattrs) = (Links::default(), Moves::default(), XattrReader::new());
        Self { snapshot, filter, counters, halt, sink, scan, next, links, moves, xattrs, found: false }
    }

    /// Walks what is selected of the tree.
    pub(crate) fn walk(mut self, selection: Selection) -> Result<Walked, WalkError> {
        self.found = selection == Selection::All;
        let root = self.root(selection)?;
        let mut stack = Vec::new();
        if let Some(frame) = self.enter(root, None)? {
            stack.push(frame);
        }
        // Ends: every round takes a child off the stack, or a frame without children.
        while let Some(frame) = stack.last_mut() {
            if self.halt.is_set() {
                return Err(WalkError::Halted);
            }
            let Some(child) = frame.children.next() else {
                self.leave(&mut stack);
                continue;
            };
            let Some(parent) = frame.directory.clone() else {
                self.remember_unread(&child);
                continue;
            };
            let around = Around { device: frame.device, place_device: frame.place.0, parent };
            if let Some(deeper) = self.enter(child, Some(&around))? {
                stack.push(deeper);
                let far = stack.len().checked_sub(OPEN_MAX / 2).filter(|index| *index >= OPEN_MAX / 2);
                if let Some(frame) = far.and_then(|index| stack.get_mut(index)) {
                    frame.directory = None;
                }
            }
        }
        self.remove_parked()?;
        if !self.found {
            return Err(WalkError::Backup(self.nothing_found()));
        }
        let tickets = self.sink.finish();
        Ok(Walked { next: self.next, tickets })
    }

    fn root(&self, selection: Selection) -> Result<Child, WalkError> {
        let stat = rustix::fs::stat("/").ok().and_then(|stat| Seen::new(&stat));
        let Some(seen) = stat else { return Err(WalkError::Backup(self.nothing_found())) };
        let record = self.snapshot.entry(ROOT_PARENT, b"")?;
        let was = match record {
            Some(record) if self.is_unchanged(&record, &seen.stamp) => Was::Unchanged,
            Some(record) => Was::Changed(Box::new(record)),
            None => Was::New(None),
        };
        Ok(Child {
            parent: ROOT_PARENT,
            name: Box::default(),
            object: ObjectId::ROOT,
            seen,
            was,
            selection,
            is_chosen: true,
        })
    }

    /// Goes up from a directory that is done, opening its parent again if that was closed.
    ///
    /// If the way up is lost, because directories were moved meanwhile, the walk goes on where one is still open.
    fn leave(&mut self, stack: &mut Vec<Frame>) {
        let done = stack.pop().and_then(|frame| frame.directory);
        let (Some(frame), Some(below)) = (stack.last_mut(), done) else { return };
        if frame.directory.is_some() {
            return;
        }
        match directory::reopen(frame, &below) {
            Ok(directory) => frame.directory = Some(Arc::new(directory)),
            Err(error) => {
                let path = below.path.get(..frame.path_length).unwrap_or_default().to_vec();
                self.problem(path, ExceptionCause::Vanished, error);
                while let Some(lost) = stack.pop_if(|frame| frame.directory.is_none()) {
                    lost.children.for_each(|child| self.remember_unread(&child));
                }
            }
        }
    }

    /// Whether nothing of an inode can have changed since its record was made.
    fn is_unchanged(&self, record: &Record, stamp: &Stamp) -> bool {
        record.settled && !record.alias && record.stamp() == *stamp
    }

    /// Whether a record that is made now can prove later that nothing changed.
    fn is_settled(&self, stamp: &Stamp, filesystem: Filesystem) -> bool {
        stamp.is_settled(self.scan, filesystem)
    }

    fn draw_object(&mut self) -> ObjectId {
        let object = self.next;
        self.next = object.next();
        object
    }

    fn operation(&mut self, operation: Operation) {
        self.sink.push(Step::Operation(operation));
    }

    fn problem(&mut self, path: Vec<u8>, cause: ExceptionCause, error: rustix::io::Errno) {
        self.sink.push(Step::Problem(crate::task::exception(path, cause, error)));
    }

    fn remark(&mut self, path: Vec<u8>, cause: ExceptionCause, detail: &str) {
        self.sink.push(Step::Problem(Exception { path, cause, detail: detail.to_owned() }));
    }

    fn put(&mut self, directory: ObjectId, name: &[u8], record: &Record) {
        let key = entry_key(directory, name);
        let value = record.encode(&key);
        self.sink.updates().put(&key, &value);
    }

    fn nothing_found(&self) -> BackupError {
        let first = self.sink.first_problem.as_ref().map_or_else(
            || "the root cannot be read".to_owned(),
            |problem| format!("{}: {}", model::Escaped(&problem.path), problem.detail),
        );
        BackupError::NothingToRead { first }
    }
}

/// Where a child lies.
struct Around {
    parent: Arc<Directory>,
    /// The device of the parent itself.
    place_device: u64,
    /// The device of the protected path above.
    device: u64,
}

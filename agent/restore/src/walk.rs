//! Going through the wanted part of a point, directory by directory.
//!
//! The order is that of a depth-first walk; within a directory files come in the order of their object numbers, which
//! is the order in which the agent found them. A walk ends whatever the point says: a directory is entered once, and
//! none is entered beyond a depth. What is held is bounded: a few names of each directory above, and one number for
//! each directory that was entered.

use std::collections::{HashSet, VecDeque};

use model::archive::ArchiveError;
use model::item::{FileKind, Inode};
use model::{EntryName, Escaped, ObjectId};

use crate::error::{RestoreError, corrupt, is_damage};
use crate::items::Items;
use crate::job::Job;
use crate::marker::MARKER;
use crate::selection::Selection;

/// Deepest directory: the longest path of the shortest names that one system call takes.
const DEPTH_MAX: usize = 2048;

/// A directory that a walk comes to.
pub(crate) struct DirectoryFound<'w> {
    /// None for the root.
    pub(crate) name: Option<&'w EntryName>,
    pub(crate) object: ObjectId,
    pub(crate) inode: &'w Inode,
    /// Wanted itself, not only to hold wanted entries.
    pub(crate) is_wanted: bool,
}

/// Anything but a directory that a walk comes to.
pub(crate) struct ObjectFound {
    pub(crate) name: EntryName,
    pub(crate) object: ObjectId,
    pub(crate) inode: Inode,
}

/// Where a walk is, and what it reads with.
pub(crate) struct Place<'w, 'a> {
    pub(crate) items: &'w mut Items<'a>,
    trail: &'w [EntryName],
}

impl Place<'_, '_> {
    /// The path of an entry of the current directory, or of the directory itself.
    pub(crate) fn path(&self, name: Option<&EntryName>) -> Vec<u8> {
        self.trail.iter().chain(name).map(EntryName::as_bytes).collect::<Vec<_>>().join(&b'/')
    }
}

/// Hears what a walk comes to.
pub(crate) trait Visitor {
    /// A directory, while the place is still the one above it; answers whether to go in. What goes in is left.
    fn enter(&mut self, place: &mut Place<'_, '_>, found: &DirectoryFound<'_>) -> Result<bool, RestoreError>;

    /// The end of a directory; the place is still that directory.
    fn leave(&mut self, place: &mut Place<'_, '_>, object: ObjectId) -> Result<(), RestoreError>;

    /// Anything else in the current directory.
    fn object(&mut self, place: &mut Place<'_, '_>, found: ObjectFound) -> Result<(), RestoreError>;

    /// Something that cannot be restored.
    fn problem(&mut self, path: Vec<u8>, message: String) -> Result<(), RestoreError>;
}

struct Frame<'s> {
    object: ObjectId,
    selection: &'s Selection,
    /// The last name that was read.
    after: Option<EntryName>,
    has_more: bool,
    /// Directories that were read and not entered.
    pending: VecDeque<(EntryName, ObjectId)>,
}

/// Names that are read at a time, so that all frames together stay small.
const fn window(depth: usize) -> usize {
    match depth {
        0..16 => 4096,
        16..128 => 256,
        _ => 32,
    }
}

/// A walk.
pub(crate) struct Walk<'j, 'a> {
    job: &'j Job<'a>,
    items: Items<'a>,
    entered: HashSet<ObjectId>,
    trail: Vec<EntryName>,
    frames: Vec<Frame<'j>>,
}

impl<'j, 'a> Walk<'j, 'a> {
    pub(crate) fn new(job: &'j Job<'a>) -> Self {
        Self { job, items: job.items(), entered: HashSet::new(), trail: Vec::new(), frames: Vec::new() }
    }

    /// Goes through everything that is wanted.
    pub(crate) fn run(mut self, visitor: &mut dyn Visitor) -> Result<(), RestoreError> {
        self.enter(visitor, None, ObjectId::ROOT, &self.job.selection)?;
        while let Some(frame) = self.frames.last_mut() {
            self.job.check_stop()?;
            let selection = frame.selection;
            if let Some((name, object)) = frame.pending.pop_front() {
                if let Some(selection) = selection.below(&name) {
                    self.enter(visitor, Some(name), object, selection)?;
                }
            } else if frame.has_more {
                self.list(visitor)?;
            } else {
                let object = frame.object;
                visitor.leave(&mut Place { items: &mut self.items, trail: &self.trail }, object)?;
                self.frames.pop();
                self.trail.pop();
            }
        }
        Ok(())
    }

    fn enter(
        &mut self,
        visitor: &mut dyn Visitor,
        name: Option<EntryName>,
        object: ObjectId,
        selection: &'j Selection,
    ) -> Result<(), RestoreError> {
        let mut place = Place { items: &mut self.items, trail: &self.trail };
        let path = |place: &Place<'_, '_>| place.path(name.as_ref());
        if self.frames.len() >= DEPTH_MAX {
            return visitor.problem(path(&place), "it lies too deep".to_owned());
        }
        if !self.entered.insert(object) {
            let message = "the directory has a second name, which no directory can have".to_owned();
            return visitor.problem(path(&place), message);
        }
        let inode = place.items.inode(object).and_then(|inode| kind_checked(inode, FileKind::Directory));
        let inode = match readable(inode)? {
            Ok(inode) => inode,
            Err(message) => return visitor.problem(path(&place), message),
        };
        let is_wanted = matches!(selection, Selection::Whole);
        let found = DirectoryFound { name: name.as_ref(), object, inode: &inode, is_wanted };
        if visitor.enter(&mut place, &found)? {
            self.trail.extend(name);
            let pending = VecDeque::new();
            self.frames.push(Frame { object, selection, after: None, has_more: true, pending });
        }
        Ok(())
    }

    /// Reads on in the current directory.
    fn list(&mut self, visitor: &mut dyn Visitor) -> Result<(), RestoreError> {
        let depth = self.frames.len();
        let Some(frame) = self.frames.last_mut() else { return Ok(()) };
        let entries = match frame.selection {
            Selection::Whole => {
                let entries = self.items.entries(frame.object, frame.after.as_ref(), window(depth));
                entries.map(|entries| {
                    frame.has_more = entries.has_more;
                    frame.after = entries.list.last().map(|(name, ..)| name.clone());
                    entries.list
                })
            }
            Selection::Only(wanted) => {
                frame.has_more = false;
                let mut list = Vec::new();
                for name in wanted.keys() {
                    match self.items.entry(frame.object, name) {
                        Ok(Some((object, kind))) => list.push((name.clone(), object, kind)),
                        Ok(None) => {
                            let place = Place { items: &mut self.items, trail: &self.trail };
                            let path = Escaped(&place.path(Some(name))).to_string();
                            return Err(RestoreError::NotInPoint { path });
                        }
                        Err(source) => return Err(RestoreError::Archive { what: "a directory", source }),
                    }
                }
                Ok(list)
            }
        };
        match readable(entries)? {
            Ok(entries) => self.visit(visitor, entries),
            Err(message) => {
                frame.has_more = false;
                let place = Place { items: &mut self.items, trail: &self.trail };
                visitor.problem(place.path(None), format!("not all of it can be read: {message}"))
            }
        }
    }

    fn visit(
        &mut self,
        visitor: &mut dyn Visitor,
        mut entries: Vec<(EntryName, ObjectId, FileKind)>,
    ) -> Result<(), RestoreError> {
        entries.sort_by_key(|(_, object, _)| *object);
        let is_root = self.frames.len() == 1;
        for (name, object, kind) in entries {
            self.job.check_stop()?;
            let Some(frame) = self.frames.last_mut() else { return Ok(()) };
            let mut place = Place { items: &mut self.items, trail: &self.trail };
            if is_root && name.as_bytes() == MARKER {
                let message = "the name is that of the marker of a restore".to_owned();
                visitor.problem(place.path(Some(&name)), message)?;
                continue;
            }
            if kind == FileKind::Directory {
                frame.pending.push_back((name, object));
                continue;
            }
            if let Some(Selection::Only(_)) = frame.selection.below(&name) {
                let path = Escaped(&place.path(Some(&name))).to_string();
                return Err(RestoreError::NotInPoint { path: format!("anything below {path}") });
            }
            let inode = place.items.inode(object).and_then(|inode| kind_checked(inode, kind));
            match readable(inode)? {
                Ok(inode) => visitor.object(&mut place, ObjectFound { name, object, inode })?,
                Err(message) => visitor.problem(place.path(Some(&name)), message)?,
            }
        }
        Ok(())
    }
}

fn kind_checked(inode: Option<Inode>, kind: FileKind) -> Result<Inode, ArchiveError> {
    match inode {
        Some(inode) if inode.attributes.kind == kind => Ok(inode),
        Some(_) => Err(corrupt("the directory says that it is of another kind")),
        None => Err(corrupt("the directory names something that is not in the point")),
    }
}

/// Tells damage, which costs one path, from an archive that does not answer.
pub(crate) fn readable<T>(answer: Result<T, ArchiveError>) -> Result<Result<T, String>, RestoreError> {
    match answer {
        Ok(value) => Ok(Ok(value)),
        Err(error) if is_damage(&error) => Ok(Err(error.message)),
        Err(source) => Err(RestoreError::Archive { what: "items", source }),
    }
}

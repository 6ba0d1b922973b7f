//! The walk of a restore: turns what it comes to into batches, and has their content fetched.
//!
//! A batch is handed to the workers as soon as it is full, and to the writer at the same time; the writer waits for
//! its content. A file larger than what is left of a batch begins the next one; a file larger than a batch is cut
//! into parts. Whether a file is there is looked up here, because what is there may need no content.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::fd::AsFd;

use crossbeam_channel::Sender;
use model::item::{Attributes, Extent, FileKind};
use model::{EntryName, ObjectId};

use crate::attributes::Wanted;
use crate::batch::{
    Action, Batch, Deferred, DirectoryStep, FileHead, FilePart, Other, OtherKind, PartEnd, Piece,
    PieceSource, Step,
};
use crate::beneath::{self, temporary_name};
use crate::compare::Comparer;
use crate::content::Content;
use crate::directories::DirectoryId;
use crate::error::RestoreError;
use crate::fetch::{self, CALL_BYTES_MAX, Group, Want};
use crate::job::Job;
use crate::local::Local;
use crate::plan::is_length;
use crate::walk::{DirectoryFound, ObjectFound, Place, Visitor, readable};
use crate::xattrs::{self, Comparison, Handle, Xattr};

/// Most steps and most pieces of a batch.
const STEPS_MAX: usize = 4096;
const PIECES_MAX: usize = 16_384;
/// Fewest bytes of a batch, so that a chunk fits, and of a call.
const BATCH_BYTES_MIN: usize = 2 << 20;
const CALL_BYTES_MIN: usize = 1 << 20;
/// Bytes of attributes and of the target of a link that are held until the end of a restore.
const HELD_BYTES_MAX: usize = 512;
/// Batches that are held at a time: filled, waiting, waiting, written.
pub(crate) const BATCHES_MAX: usize = 4;

/// Makes batches.
pub(crate) struct Batcher<'j, 'a> {
    job: &'j Job<'a>,
    local: Local,
    comparer: Comparer<'a>,
    /// The numbers of the directories that the walk is in.
    stack: Vec<DirectoryId>,
    directories: DirectoryId,
    /// Objects with more than one name that were seen.
    linked: HashSet<ObjectId>,
    steps: Vec<Step>,
    pieces: Vec<Piece>,
    wants: Vec<Want>,
    numbers: HashMap<Want, usize>,
    bytes: usize,
    bytes_max: usize,
    batches: Sender<Batch>,
    groups: Sender<Group>,
}

impl<'j, 'a> Batcher<'j, 'a> {
    pub(crate) fn new(job: &'j Job<'a>, local: Local, batches: Sender<Batch>, groups: Sender<Group>) -> Self {
        Self {
            job,
            local,
            comparer: job.comparer(),
            stack: Vec::new(),
            directories: 0,
            linked: HashSet::new(),
            steps: Vec::new(),
            pieces: Vec::new(),
            wants: Vec::new(),
            numbers: HashMap::new(),
            bytes: 0,
            bytes_max: (job.request.memory_bytes / BATCHES_MAX).max(BATCH_BYTES_MIN),
            batches,
            groups,
        }
    }

    /// Hands over what is left.
    pub(crate) fn finish(mut self) -> Result<(), RestoreError> {
        self.flush()
    }

    fn flush(&mut self) -> Result<(), RestoreError> {
        if self.steps.is_empty() && self.wants.is_empty() {
            return Ok(());
        }
        let workers = self.job.request.workers.max(1);
        let share = (self.bytes_max / (2 * workers)).clamp(CALL_BYTES_MIN, CALL_BYTES_MAX);
        let (reply, replies) = crossbeam_channel::unbounded();
        let groups = fetch::group(self.job, &self.wants, share, &reply)
            .map_err(|source| RestoreError::Archive { what: "the places of content", source })?;
        for group in groups {
            // The other side is gone only if the restore has ended, which the next call says.
            let _ = self.groups.send(group);
        }
        let batch = Batch {
            steps: std::mem::take(&mut self.steps),
            pieces: std::mem::take(&mut self.pieces),
            wants: self.wants.len(),
            replies,
        };
        self.wants.clear();
        self.numbers.clear();
        self.bytes = 0;
        self.batches.send(batch).map_err(|_| RestoreError::Stopped)
    }

    fn push(&mut self, step: Step) -> Result<(), RestoreError> {
        self.steps.push(step);
        if self.steps.len() >= STEPS_MAX || self.bytes >= self.bytes_max { self.flush() } else { Ok(()) }
    }

    fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max || self.pieces.len() >= PIECES_MAX
    }

    fn here(&self) -> DirectoryId {
        self.stack.last().copied().unwrap_or(0)
    }

    fn want(&mut self, want: Want) -> usize {
        let next = self.wants.len();
        let number = *self.numbers.entry(want).or_insert(next);
        if number == next {
            self.wants.push(want);
            self.bytes += want.length as usize;
        }
        number
    }

    /// What happens with a file; none if nothing does because `path` was said to be a problem.
    fn decide(
        &mut self,
        place: &Place<'_, '_>,
        found: &ObjectFound,
        wanted: &Wanted,
    ) -> Result<Option<FileState>, RestoreError> {
        let path = || place.path(Some(&found.name));
        let stat = match self.local.stat(&found.name) {
            Ok(None) => return Ok(Some(FileState::Absent)),
            Ok(Some(stat)) => stat,
            Err(error) => {
                self.push(Step::Problem {
                    path: path(),
                    message: format!("it cannot be looked at: {error}"),
                })?;
                return Ok(None);
            }
        };
        if let Some(reason) = self.job.unknown.get(&found.object) {
            let message = format!("a file is there, and what is stored cannot be read: {reason}");
            self.push(Step::Problem { path: path(), message })?;
            return Ok(None);
        }
        let is_file = beneath::file_type(&stat) == rustix::fs::FileType::RegularFile;
        if self.job.replaces() {
            return Ok(Some(if is_file { FileState::There } else { FileState::Absent }));
        }
        if is_file && is_length(&stat, found.inode.size) && wanted.is_met(&stat) {
            // The plan compared the content. What cannot be opened is complete, and shuts us out by its mode.
            let file = self.open_local(found.name.as_bytes());
            match file.map(|file| wanted.compare_xattrs(Handle::Open(file.as_fd()))) {
                Some(Ok(Comparison::Unattainable(messages))) => {
                    for message in messages {
                        self.push(Step::Problem { path: path(), message })?;
                    }
                    return Ok(Some(FileState::Done));
                }
                Some(Ok(Comparison::Same)) | None => return Ok(Some(FileState::Done)),
                Some(Ok(Comparison::Different) | Err(_)) => {}
            }
        }
        if is_file && self.job.resumes {
            return Ok(Some(FileState::There));
        }
        let message = "it appeared in the target during the restore".to_owned();
        self.push(Step::Problem { path: path(), message })?;
        Ok(None)
    }

    fn file(&mut self, place: &mut Place<'_, '_>, found: ObjectFound) -> Result<(), RestoreError> {
        let is_linked = found.inode.links > 1;
        let wanted = match self.wanted(place, &found.name, found.object, &found.inode.attributes)? {
            Some(wanted) => wanted,
            None => return Ok(()),
        };
        if is_linked && !self.linked.insert(found.object) {
            return self.other(found.name, found.object, is_linked, OtherKind::Link, wanted);
        }
        let Some(state) = self.decide(place, &found, &wanted)? else { return Ok(()) };
        let action = match state {
            FileState::There => Action::Compare,
            FileState::Absent if self.is_unfinished(found.object) => Action::Continue,
            FileState::Absent | FileState::Done => Action::Create,
        };
        let ObjectFound { name, object, ref inode } = found;
        let size = inode.size;
        let directory = self.here();
        let content = Content::new(object, inode);
        let head = Box::new(FileHead { directory, name, object, is_linked, size, wanted, action });
        if state == FileState::Done {
            return self.push(Step::Done(head));
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size <= self.bytes_max && size > self.bytes_max.saturating_sub(self.bytes) {
            self.flush()?;
        }
        self.content(place, content, head)
    }

    /// Says the content of a file, in as many parts as it takes.
    fn content(
        &mut self,
        place: &mut Place<'_, '_>,
        mut content: Content,
        head: Box<FileHead>,
    ) -> Result<(), RestoreError> {
        let local = match head.action {
            Action::Create => None,
            _ if self.job.request.naming.is_none() => None,
            Action::Compare => self.open_local(head.name.as_bytes()),
            Action::Continue => self.open_local(&temporary_name(head.object, 0)),
        };
        let path = place.path(Some(&head.name));
        let mut head = Some(head);
        let mut start = self.pieces.len();
        loop {
            let extents = match readable(content.next(place.items))? {
                Ok(extents) => extents,
                Err(message) if head.is_some() => {
                    self.pieces.truncate(start);
                    return self.push(Step::Problem { path, message });
                }
                Err(message) => {
                    let end = PartEnd::Broken(message);
                    return self.push_part(None, start, end);
                }
            };
            if extents.is_empty() {
                return self.push_part(head, start, PartEnd::Last);
            }
            for (offset, extent) in extents {
                self.job.check_stop()?;
                if self.is_full() {
                    self.push_part(head.take(), start, PartEnd::More)?;
                    self.flush()?;
                    start = 0;
                }
                self.piece(local.as_ref(), offset, extent);
            }
        }
    }

    fn push_part(
        &mut self,
        head: Option<Box<FileHead>>,
        start: usize,
        end: PartEnd,
    ) -> Result<(), RestoreError> {
        self.push(Step::File(FilePart { head, pieces: start..self.pieces.len(), end }))
    }

    fn piece(&mut self, local: Option<&File>, offset: u64, extent: Extent) {
        let length = extent.length();
        let is_local = local.is_some_and(|file| {
            // What cannot be read is fetched.
            self.comparer.is_named(file, offset, length, &extent).unwrap_or(false)
        });
        let source = match extent {
            Extent::Hole { .. } => PieceSource::Hole,
            Extent::Chunk { .. } if is_local => PieceSource::Local,
            Extent::Chunk { name, skip, length } => {
                PieceSource::Fetched(self.want(Want { name, skip, length }))
            }
        };
        self.pieces.push(Piece { offset, length, source });
    }

    /// Whether a restore that was broken off left a part of the file.
    fn is_unfinished(&mut self, object: ObjectId) -> bool {
        self.job.recovers && self.open_local(&temporary_name(object, 0)).is_some()
    }

    /// A file that is there, to see which ranges of it need no content.
    fn open_local(&mut self, name: &[u8]) -> Option<File> {
        let here = self.local.here().ok()??;
        beneath::open_file(&here, name).ok().map(|(file, _)| file.into())
    }

    fn wanted(
        &mut self,
        place: &mut Place<'_, '_>,
        name: &EntryName,
        object: ObjectId,
        attributes: &Attributes,
    ) -> Result<Option<Wanted>, RestoreError> {
        match readable(place.items.xattrs(object))? {
            Ok(xattrs) => {
                self.bytes += xattr_bytes(&xattrs);
                Ok(Some(Wanted::new(attributes, xattrs, self.job.owners)))
            }
            Err(message) => {
                let path = place.path(Some(name));
                let message = format!("its extended attributes cannot be read: {message}");
                self.push(Step::Problem { path, message })?;
                Ok(None)
            }
        }
    }

    fn other(
        &mut self,
        name: EntryName,
        object: ObjectId,
        is_linked: bool,
        what: OtherKind,
        mut wanted: Wanted,
    ) -> Result<(), RestoreError> {
        let target = if let OtherKind::Symlink(target) = &what { target.len() } else { 0 };
        let is_large = target + xattr_bytes(&wanted.xattrs) > HELD_BYTES_MAX;
        // A further name is only a name.
        let what = match what {
            OtherKind::Link => Deferred::Held(what),
            _ if is_large => Deferred::Stored,
            _ => Deferred::Held(what),
        };
        if is_large {
            wanted.xattrs = Vec::new();
        }
        let directory = self.here();
        self.push(Step::Other(Box::new(Other { directory, name, object, is_linked, what, wanted })))
    }

    /// Finds unfinished files of a restore that was broken off; those that are gone on with have their own names by
    /// the time that the writer comes to this.
    fn find_stale(&mut self, place: &Place<'_, '_>, object: ObjectId) -> Result<(), RestoreError> {
        let Ok(Some(here)) = self.local.here() else { return Ok(()) };
        let names = beneath::names(&here).unwrap_or_default();
        for name in names.into_iter().filter(|name| beneath::is_temporary(name.as_bytes())) {
            // A backup of a restore that was broken off has such names too.
            if let Ok(None) = place.items.entry(object, &name) {
                let directory = self.here();
                self.push(Step::Stale { directory, name })?;
            }
        }
        Ok(())
    }
}

fn xattr_bytes(xattrs: &[Xattr]) -> usize {
    xattrs.iter().map(|xattr| xattr.name.len() + xattr.value.len()).sum()
}

/// What the target has of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FileState {
    /// No file.
    Absent,
    /// A file that may differ and may be replaced.
    There,
    /// The file as it is stored.
    Done,
}

impl Visitor for Batcher<'_, '_> {
    fn enter(&mut self, _: &mut Place<'_, '_>, found: &DirectoryFound<'_>) -> Result<bool, RestoreError> {
        let is_ours = self.job.made(found.object);
        // What cannot be looked into is taken for absent; the writer will say why it cannot be made.
        let _ = self.local.enter(found.name, is_ours);
        let wanted = Wanted::new(&found.inode.attributes, Vec::new(), self.job.owners);
        let step = DirectoryStep {
            parent: self.here(),
            name: found.name.cloned(),
            object: found.object,
            is_wanted: found.is_wanted,
            wanted,
        };
        self.push(Step::Directory(Box::new(step)))?;
        self.stack.push(self.directories);
        self.directories += 1;
        Ok(true)
    }

    fn leave(&mut self, place: &mut Place<'_, '_>, object: ObjectId) -> Result<(), RestoreError> {
        match readable(place.items.xattrs(object))? {
            Ok(stored) => {
                let xattrs = xattrs::permitted(stored, self.job.owners);
                if !xattrs.is_empty() {
                    let directory = self.here();
                    let is_large = xattr_bytes(&xattrs) > HELD_BYTES_MAX;
                    let xattrs = if is_large { Deferred::Stored } else { Deferred::Held(xattrs) };
                    self.push(Step::DirectoryXattrs { directory, xattrs })?;
                }
            }
            Err(message) => {
                let message = format!("its extended attributes cannot be read: {message}");
                self.push(Step::Problem { path: place.path(None), message })?;
            }
        }
        if self.job.recovers {
            self.find_stale(place, object)?;
        }
        self.local.leave();
        self.stack.pop();
        Ok(())
    }

    fn object(&mut self, place: &mut Place<'_, '_>, found: ObjectFound) -> Result<(), RestoreError> {
        if found.inode.attributes.kind == FileKind::File {
            return self.file(place, found);
        }
        let ObjectFound { name, object, inode } = found;
        let Some(wanted) = self.wanted(place, &name, object, &inode.attributes)? else { return Ok(()) };
        let kind = inode.attributes.kind;
        let is_device = matches!(kind, FileKind::CharacterDevice | FileKind::BlockDevice);
        if is_device && !self.job.owners {
            let message = "a device is only made by root and with owners".to_owned();
            return self.push(Step::Problem { path: place.path(Some(&name)), message });
        }
        let is_linked = inode.links > 1;
        let is_known = is_linked && !self.linked.insert(object);
        let what = if is_known { OtherKind::Link } else { OtherKind::of(inode.attributes) };
        self.other(name, object, is_linked, what, wanted)
    }

    fn problem(&mut self, path: Vec<u8>, message: String) -> Result<(), RestoreError> {
        self.push(Step::Problem { path, message })
    }
}

//! The writer: one thread that makes directories and files in the order in which the walk came to them.
//!
//! A directory that this run made is nobody else's: its mode is 0700 until the end, and small files get their own
//! names at once, in four system calls, three of which other threads make. Everywhere else files grow under temporary
//! names. A failure at one path is
//! noted and the rest goes on; a failure that every other path would meet ends the restore.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use model::{EntryName, ObjectId};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, mkdirat, unlinkat};
use rustix::io::Errno;

use crate::attributes::{Now, Surplus, Wanted};
use crate::batch::{
    Action, Batch, Deferred, DirectoryStep, Fetched, FileHead, FilePart, Other, PartEnd, Step,
};
use crate::beneath::{self, file_type};
use crate::directories::{Directories, DirectoryId};
use crate::error::RestoreError;
use crate::failure::Failure;
use crate::fill::{BatchContent, Bundle, EmptyFile, Filled};
use crate::job::Job;
use crate::remove;
use crate::request::{Outcome, PROBLEM_BYTES_MAX, PROBLEMS_MAX, Problem, Progress};
use crate::stream::{Stream, bytes_of};
use crate::write_out::WriteOut;
use crate::xattrs;

/// Filesystems below the target that are synced at the end.
const FILESYSTEMS_MAX: usize = 64;

/// A directory that was made or entered.
pub(crate) struct Record {
    pub(crate) object: ObjectId,
    /// This run made it.
    pub(crate) is_fresh: bool,
    /// It is not there, and nothing below it is.
    pub(crate) is_lost: bool,
    /// Its attributes are set at the end.
    pub(crate) is_set: bool,
    /// Wanted itself, not only to hold wanted entries.
    pub(crate) is_wanted: bool,
    /// New entries get an access control list from it.
    pub(crate) inherits: bool,
    /// Its extended attributes are many and read again.
    pub(crate) has_stored_xattrs: bool,
    /// Whose a new file in it is; learnt from the first one.
    owner: Option<(u32, u32)>,
    pub(crate) wanted: Wanted,
}

/// Writes batches.
pub(crate) struct Writer<'r, 'a> {
    pub(crate) job: &'r Job<'a>,
    progress: &'r dyn Progress,
    pub(crate) directories: Directories,
    pub(crate) records: Vec<Record>,
    pub(crate) others: VecDeque<Other>,
    /// Where an object with more names has its first one.
    pub(crate) first_names: HashMap<ObjectId, (DirectoryId, EntryName)>,
    stream: Option<Stream>,
    /// Until everything is written.
    write_out: Option<WriteOut>,
    /// Files of the current batch that were made and are to be filled.
    bundle: Bundle,
    pub(crate) outcome: Outcome,
    problem_bytes: usize,
    /// Descriptors on other filesystems, by device.
    pub(crate) filesystems: HashMap<u64, Arc<OwnedFd>>,
    is_target_fresh: bool,
    umask: u32,
}

impl<'r, 'a> Writer<'r, 'a> {
    pub(crate) fn new(
        job: &'r Job<'a>,
        progress: &'r dyn Progress,
        root: Arc<OwnedFd>,
        is_target_fresh: bool,
    ) -> Self {
        Self {
            job,
            progress,
            directories: Directories::new(root),
            records: Vec::new(),
            others: VecDeque::new(),
            first_names: HashMap::new(),
            stream: None,
            write_out: None,
            bundle: Bundle::new(Arc::new(BatchContent { pieces: Vec::new(), data: Vec::new() })),
            outcome: Outcome::default(),
            problem_bytes: 0,
            filesystems: HashMap::new(),
            is_target_fresh,
            umask: read_umask(),
        }
    }

    /// Writes everything that the walk says.
    pub(crate) fn write(
        &mut self,
        batches: Receiver<Batch>,
        bundles: Sender<Bundle>,
        filled: Receiver<Vec<Filled>>,
        write_out: WriteOut,
    ) -> Result<(), RestoreError> {
        self.write_out = Some(write_out);
        let written = self.write_batches(batches, bundles, filled);
        // Whoever brings files to the drive listens until this one is gone.
        self.write_out = None;
        written
    }

    fn write_batches(
        &mut self,
        batches: Receiver<Batch>,
        bundles: Sender<Bundle>,
        filled: Receiver<Vec<Filled>>,
    ) -> Result<(), RestoreError> {
        for batch in batches {
            let data = receive(&batch)?;
            let content = Arc::new(BatchContent { pieces: batch.pieces, data });
            self.bundle = Bundle::new(content);
            for step in batch.steps {
                self.job.check_stop()?;
                self.take(step)?;
                if self.bundle.is_full() {
                    self.hand_over(&bundles)?;
                    for done in filled.try_iter() {
                        self.settle(done)?;
                    }
                }
            }
            self.hand_over(&bundles)?;
        }
        drop(bundles);
        for done in filled {
            self.settle(done)?;
        }
        self.job.check_stop()
    }

    /// Has the files that were made filled.
    fn hand_over(&mut self, bundles: &Sender<Bundle>) -> Result<(), RestoreError> {
        if self.bundle.is_empty() {
            return Ok(());
        }
        let next = Bundle::new(Arc::clone(&self.bundle.content));
        let bundle = std::mem::replace(&mut self.bundle, next);
        // The other side listens until this one is gone.
        bundles.send(bundle).map_err(|_| RestoreError::Stopped)
    }

    /// Takes note of files that were filled.
    fn settle(&mut self, done: Vec<Filled>) -> Result<(), RestoreError> {
        for Filled { head, result } in done {
            let messages = match result {
                Ok((written, problems)) => {
                    let place = (!problems.is_empty()).then(|| (head.directory, head.name.clone()));
                    self.outcome.bytes_written += written;
                    if let Some(write_out) = &mut self.write_out {
                        write_out.filled(written);
                    }
                    self.progress.advance(0, head.size);
                    self.file_is_there(head);
                    place.map(|place| (place, problems))
                }
                Err(failure) => {
                    let message = failure.at(&self.directories.path(head.directory, Some(&head.name)))?;
                    Some(((head.directory, head.name), vec![message]))
                }
            };
            if let Some(((directory, name), messages)) = messages {
                for message in messages {
                    self.problem(self.directories.path(directory, Some(&name)), message);
                }
            }
        }
        if let Some(write_out) = self.write_out.as_mut().filter(|write_out| write_out.is_due())
            && let Ok(root) = self.directories.open(0)
        {
            write_out.sync(root);
        }
        Ok(())
    }

    fn take(&mut self, step: Step) -> Result<(), RestoreError> {
        match step {
            Step::Directory(step) => self.directory(*step),
            Step::DirectoryXattrs { directory, xattrs } => {
                if let Some(record) = self.records.get_mut(directory) {
                    match xattrs {
                        Deferred::Held(xattrs) => record.wanted.xattrs = xattrs,
                        Deferred::Stored => record.has_stored_xattrs = true,
                    }
                }
                Ok(())
            }
            Step::File(part) => self.part(part),
            Step::Done(head) => {
                self.outcome.bytes_unchanged += head.size;
                self.progress.advance(0, head.size);
                self.file_is_there(*head);
                Ok(())
            }
            Step::Other(other) => {
                if !self.is_lost(other.directory) {
                    self.others.push_back(*other);
                }
                Ok(())
            }
            Step::Stale { directory, name } => self.remove_stale(directory, &name),
            Step::Problem { path, message } => {
                self.problem(path, message);
                Ok(())
            }
        }
    }

    pub(crate) fn problem(&mut self, path: Vec<u8>, message: String) {
        self.progress.problem(&path, &message);
        self.outcome.problems_count += 1;
        self.problem_bytes += path.len() + message.len();
        if self.outcome.problems.len() < PROBLEMS_MAX && self.problem_bytes <= PROBLEM_BYTES_MAX {
            self.outcome.problems.push(Problem { path, message });
        }
    }

    pub(crate) fn is_lost(&self, directory: DirectoryId) -> bool {
        self.records.get(directory).is_none_or(|record| record.is_lost)
    }

    fn file_is_there(&mut self, head: FileHead) {
        self.outcome.files += 1;
        self.progress.advance(1, 0);
        if head.is_linked {
            self.first_names.insert(head.object, (head.directory, head.name));
        }
    }

    pub(crate) fn link_is_there(&mut self) {
        self.outcome.files += 1;
        self.progress.advance(1, 0);
    }

    fn directory(&mut self, step: DirectoryStep) -> Result<(), RestoreError> {
        let DirectoryStep { parent, name, object, is_wanted, wanted } = step;
        let is_root = name.is_none();
        let id = match name {
            Some(name) => self.directories.add(parent, name),
            None => 0,
        };
        let made = if is_root || !self.is_lost(parent) {
            self.make_directory(id, parent, is_wanted).map(Some).or_else(|failure| {
                let path = self.directories.path(id, None);
                let message = failure.at(&path)?;
                self.problem(path, format!("neither it nor anything below it was restored: {message}"));
                Ok::<_, RestoreError>(None)
            })?
        } else {
            None
        };
        let (is_fresh, inherits) = made.unwrap_or_default();
        let is_ours = is_fresh || self.job.made(object);
        let record = Record {
            object,
            is_fresh,
            is_lost: made.is_none(),
            is_set: is_ours || (self.job.replaces() && is_wanted && !is_root),
            is_wanted,
            inherits,
            has_stored_xattrs: false,
            owner: None,
            wanted,
        };
        self.records.push(record);
        self.outcome.directories += u64::from(made.is_some());
        Ok(())
    }

    /// Makes or enters a directory; answers whether it is new and whether it hands an access control list on.
    ///
    /// What is wanted may replace what is in its way; a directory that only leads there may not.
    fn make_directory(
        &mut self,
        id: DirectoryId,
        parent: DirectoryId,
        is_wanted: bool,
    ) -> Result<(bool, bool), Failure> {
        if id == 0 {
            let root = self.directories.open(0)?;
            return Ok((self.is_target_fresh, xattrs::has_default_acl(&root)));
        }
        let above = self.directories.open(parent)?;
        let name = self.directories.name(id);
        let mut made = mkdirat(&above, name, Mode::RWXU);
        if made == Err(Errno::EXIST)
            && let Some(there) = beneath::stat(&above, name)?
            && file_type(&there) != FileType::Directory
        {
            if !self.job.replaces() || !is_wanted {
                return Err(Failure::appeared());
            }
            remove::clear_obstacle(&above, name)?;
            made = mkdirat(&above, name, Mode::RWXU);
        }
        let is_made = match made {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error.into()),
        };
        let descriptor = Arc::new(beneath::open_directory(&above, name)?);
        let stat = fstat(&descriptor)?;
        // Whoever may write above could have put another directory there since.
        let is_fresh = is_made && stat.st_uid == rustix::process::geteuid().as_raw();
        let inherits = match self.records.get(parent) {
            Some(parent) if is_fresh => parent.inherits,
            _ => xattrs::has_default_acl(&descriptor),
        };
        if !is_fresh && self.filesystems.len() < FILESYSTEMS_MAX {
            self.filesystems.entry(stat.st_dev).or_insert_with(|| Arc::clone(&descriptor));
        }
        self.directories.keep(id, descriptor);
        Ok((is_fresh, inherits))
    }

    /// Removes an unfinished file of a restore that was broken off.
    fn remove_stale(&mut self, directory: DirectoryId, name: &EntryName) -> Result<(), RestoreError> {
        if self.is_lost(directory) {
            return Ok(());
        }
        let removed = self.directories.open(directory).and_then(|directory| {
            match beneath::stat(&directory, name.as_bytes())? {
                Some(stat) if file_type(&stat) != FileType::Directory => {
                    unlinkat(&directory, name.as_bytes(), AtFlags::empty())
                }
                _ => Ok(()),
            }
        });
        if let Err(error) = removed {
            let path = self.directories.path(directory, Some(name));
            let message = Failure::from(error).at(&path)?;
            self.problem(path, format!("an unfinished file was not removed: {message}"));
        }
        Ok(())
    }

    fn part(&mut self, part: FilePart) -> Result<(), RestoreError> {
        let FilePart { head, pieces, end } = part;
        let place = head.as_ref().or(self.stream.as_ref().map(|stream| &stream.head));
        let Some((directory, name)) = place.map(|head| (head.directory, head.name.clone())) else {
            // An earlier part failed, which was said.
            return Ok(());
        };
        let done = match head {
            Some(_) if self.is_lost(directory) => return Ok(()),
            Some(head) if self.is_simple(&head, &end) => self.create(*head, pieces).map(|()| Vec::new()),
            Some(head) => self.begin(head).and_then(|()| self.go_on(pieces, end)),
            None => self.go_on(pieces, end),
        };
        match done {
            Ok(problems) => {
                for message in problems {
                    self.problem(self.directories.path(directory, Some(&name)), message);
                }
            }
            Err(failure) => {
                let path = self.directories.path(directory, Some(&name));
                // What ends the restore leaves the unfinished file for the next one to go on with.
                let message = failure.at(&path)?;
                if let Some(stream) = self.stream.take() {
                    stream.discard();
                }
                self.problem(path, message);
            }
        }
        Ok(())
    }

    /// Whether a file can have its own name from the beginning.
    fn is_simple(&self, head: &FileHead, end: &PartEnd) -> bool {
        let is_fresh = self.records.get(head.directory).is_some_and(|record| record.is_fresh);
        is_fresh && head.action == Action::Create && matches!(end, PartEnd::Last)
    }

    fn begin(&mut self, head: Box<FileHead>) -> Result<(), Failure> {
        let directory = self.directories.open(head.directory)?;
        self.stream = Some(Stream::begin(self.job, head, directory)?);
        Ok(())
    }

    fn go_on(&mut self, pieces: Range<usize>, end: PartEnd) -> Result<Vec<String>, Failure> {
        let Some(stream) = &mut self.stream else { return Ok(Vec::new()) };
        let content = &self.bundle.content;
        for piece in content.pieces(pieces) {
            self.job.check_stop()?;
            stream.put(self.job, piece, &content.data)?;
            if let (Some(write_out), Some(file)) = (&mut self.write_out, stream.new_file()) {
                write_out.written(file, piece.length);
            }
            self.progress.advance(0, piece.length);
        }
        match end {
            PartEnd::More => return Ok(Vec::new()),
            PartEnd::Broken(message) => return Err(Failure::Path(message)),
            PartEnd::Last => {}
        }
        let inherits = self.records.get(stream.head.directory).is_some_and(|record| record.inherits);
        let surplus = if inherits { Surplus::Remove } else { Surplus::Keep };
        let problems = stream.finish(self.job, surplus)?;
        if let Some(stream) = self.stream.take() {
            self.outcome.bytes_written += stream.bytes_written;
            self.outcome.bytes_unchanged += stream.bytes_unchanged;
            self.file_is_there(*stream.head);
        }
        Ok(problems)
    }

    /// Makes a file whose content is at hand, in a directory of our own, to be filled by another thread.
    fn create(&mut self, head: FileHead, pieces: Range<usize>) -> Result<(), Failure> {
        let content = &self.bundle.content;
        for piece in content.pieces(pieces.clone()) {
            bytes_of(piece, &content.data)?;
        }
        let directory = self.directories.open(head.directory)?;
        let bits = Mode::from_raw_mode(head.wanted.mode & 0o777);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let file = File::from(beneath::open(&directory, head.name.as_bytes(), flags, bits)?);
        let (now, surplus) = self.look_at(&file, &head, bits.as_raw_mode())?;
        self.bundle.push(EmptyFile { file, directory, head, pieces, now, surplus });
        Ok(())
    }

    /// What a new file looks like; known without looking from the second file of a directory on.
    fn look_at(&mut self, file: &File, head: &FileHead, bits: u32) -> Result<(Now, Surplus), Failure> {
        let Some(record) = self.records.get_mut(head.directory) else {
            return Ok((Now::from(&fstat(file)?), Surplus::Keep));
        };
        if record.inherits {
            return Ok((Now::from(&fstat(file)?), Surplus::Remove));
        }
        let now = match record.owner {
            Some((uid, gid)) => Now { mode: bits & !self.umask, uid, gid },
            None => Now::from(&fstat(file)?),
        };
        record.owner = Some((now.uid, now.gid));
        Ok((now, Surplus::Keep))
    }
}

/// Waits for the content of a batch.
fn receive(batch: &Batch) -> Result<Vec<Option<Fetched>>, RestoreError> {
    let mut data: Vec<Option<Fetched>> = Vec::new();
    data.resize_with(batch.wants, || None);
    let mut missing = batch.wants;
    while missing > 0 {
        // Workers go away without an answer only when the restore is stopped.
        let reply = batch.replies.recv().map_err(|_| RestoreError::Stopped)?;
        let fetched = reply.map_err(|source| RestoreError::Archive { what: "content", source })?;
        missing = missing.saturating_sub(fetched.len());
        for (number, bytes) in fetched {
            if let Some(slot) = data.get_mut(number) {
                *slot = Some(bytes);
            }
        }
    }
    Ok(data)
}

/// The mode bits that the process never gives to new files; all of them if it is not known, so that modes are set.
fn read_umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok()).unwrap_or(0o777)
}

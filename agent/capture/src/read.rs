//! Reading files: what the walk found new or different becomes operations, chunks and updates of the cache.
//!
//! A reader takes tasks, and answers each with parts of about a bundle. A file is taken as read only if `stat`
//! says the same before and after; if not it is read again, up to [`READS_MAX`] times, and then stands in the
//! point as it was read last, with an exception. A file that cannot be read leaves what the last point has.

mod feed;
mod large;
mod output;
mod small;

use chunk::{CutBuffer, CutPlan, Cutter, NamingKey};
use crossbeam_channel::{Receiver, Sender};
use model::operation::Operation;
use model::record::ExceptionCause;
use model::{Name, Time};
use rustix::fd::OwnedFd;
use rustix::fs::fstat;
use rustix::io::Errno;

use crate::appliance::HAVE_MAX;
use crate::cache::{Paths, Snapshot};
use crate::open::open_file;
use crate::pipeline::Event;
use crate::stat::Seen;
use crate::task::{Before, Counters, FileJob, Halt, Part, Piece, Step, Task, cause_of, exception};
use crate::window::Window;
use crate::xattr::XattrReader;
use crate::{Appliance, BackupError, CacheError};

/// How often a file is read before it counts as always changing.
const READS_MAX: usize = 3;
/// Longest file that is read again: what is longer and changes is open all the time, and would change again.
const READ_AGAIN_LENGTH_MAX: u64 = 256 << 20;
/// Bytes at which a part is sent.
pub(crate) const PART_LENGTH: usize = 1 << 20;
/// Operations at which a part is sent although it has few bytes.
const PART_OPERATIONS: usize = 4096;
/// Longest file that is read in one piece.
const SMALL_LENGTH_MAX: u64 = PART_LENGTH as u64;
/// What a part with files holds of the window.
pub(crate) const PART_HELD: usize = 2 * PART_LENGTH;
/// What a step without a file holds of the window, about.
const STEP_HELD: usize = 512;

/// What all readers share.
pub(crate) struct Shared<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) paths: &'a Paths,
    pub(crate) appliance: &'a dyn Appliance,
    pub(crate) session: u64,
    /// Whether it is worth asking which chunks the appliance has.
    pub(crate) ask: bool,
    pub(crate) naming: &'a NamingKey,
    pub(crate) cutter: &'a Cutter,
    pub(crate) counters: &'a Counters,
    pub(crate) halt: &'a Halt<'a>,
    pub(crate) window: &'a Window,
    /// When this scan began.
    pub(crate) scan: Time,
}

/// Why a file, or the whole backup, does not go on.
enum ReadError {
    /// Only this file.
    File(Errno),
    /// Everything.
    Backup(BackupError),
}

impl From<Errno> for ReadError {
    fn from(error: Errno) -> Self {
        Self::File(error)
    }
}

impl From<BackupError> for ReadError {
    fn from(error: BackupError) -> Self {
        Self::Backup(error)
    }
}

impl From<chunk::ChunkError> for ReadError {
    fn from(error: chunk::ChunkError) -> Self {
        match error {
            chunk::ChunkError::Read { source, .. } => {
                Self::File(source.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error))
            }
            other => Self::Backup(other.into()),
        }
    }
}

/// Reads the files of tasks.
pub(crate) struct Reader<'a> {
    shared: &'a Shared<'a>,
    events: &'a Sender<Event>,
    spare: &'a Receiver<Vec<u8>>,
    buffer: Option<CutBuffer>,
    xattrs: XattrReader,
    part: Part,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        shared: &'a Shared<'a>,
        events: &'a Sender<Event>,
        spare: &'a Receiver<Vec<u8>>,
    ) -> Self {
        let (xattrs, part) = (XattrReader::new(), Part::default());
        Self { shared, events, spare, buffer: None, xattrs, part }
    }

    /// Turns a task into parts.
    pub(crate) fn run(&mut self, task: Task) -> Result<(), BackupError> {
        let has_files = task.steps.iter().any(|step| matches!(step, Step::File(_)));
        let held = if has_files { PART_HELD } else { task.steps.len() * STEP_HELD };
        self.begin_part(task.ticket, held)?;
        self.part.updates = task.updates;
        for step in task.steps {
            if self.shared.halt.is_set() {
                return Err(BackupError::Stopped);
            }
            match step {
                Step::Operation(operation) => self.part.operations.push(operation),
                Step::File(job) => self.file(&job)?,
                Step::Link(link) => self.part.links.push((self.part.operations.len(), *link)),
                Step::Problem(problem) => self.part.problems.push(problem),
            }
        }
        self.send_part(true)
    }

    fn begin_part(&mut self, ticket: u64, held: usize) -> Result<(), BackupError> {
        if !self.shared.window.acquire(ticket, held) {
            return Err(BackupError::Stopped);
        }
        let mut bytes = self.spare.try_recv().unwrap_or_default();
        bytes.clear();
        self.part = Part { ticket, held, bytes, ..Part::default() };
        Ok(())
    }

    /// Sends what there is of the part, and begins another one of the same task.
    fn next_part(&mut self) -> Result<(), BackupError> {
        let ticket = self.part.ticket;
        self.send_part(false)?;
        self.begin_part(ticket, PART_HELD)
    }

    fn send_part(&mut self, last: bool) -> Result<(), BackupError> {
        if self.shared.ask {
            self.ask()?;
        }
        let part = Part { last, ..std::mem::take(&mut self.part) };
        // Nobody takes it only when the backup has ended.
        self.events.send(Event::Part(part)).map_err(|_| BackupError::Stopped)
    }

    /// Asks which chunks of the part the appliance has.
    fn ask(&mut self) -> Result<(), BackupError> {
        let unknown: Vec<usize> =
            self.part.pieces.iter().enumerate().filter(|(_, piece)| !piece.known).map(|(i, _)| i).collect();
        for indices in unknown.chunks(HAVE_MAX) {
            let pieces = &mut self.part.pieces;
            let names: Vec<Name> =
                indices.iter().filter_map(|&index| pieces.get(index)).map(|piece| piece.name).collect();
            let failed = |source| BackupError::Appliance { during: "asking which chunks are there", source };
            let had = self.shared.appliance.have(self.shared.session, &names).map_err(failed)?;
            for (&index, has) in indices.iter().zip(had) {
                if let Some(piece) = pieces.get_mut(index) {
                    piece.known = has;
                }
            }
        }
        Ok(())
    }

    fn cache_problem(&self, error: CacheError) -> BackupError {
        self.shared.paths.problem(error)
    }

    /// Reads a file, whatever becomes of it.
    fn file(&mut self, job: &FileJob) -> Result<(), BackupError> {
        let result = match open_file(&job.directory.fd, job.name.as_bytes()) {
            Ok(file) => self.read(job, &file, job.seen),
            Err(error) => Err(self.not_read(job, error).into()),
        };
        match result {
            Ok(()) | Err(ReadError::File(_)) => Ok(()),
            Err(ReadError::Backup(error)) => Err(error),
        }
    }

    fn read(&mut self, job: &FileJob, file: &OwnedFd, seen: Seen) -> Result<(), ReadError> {
        let cached = |error| self.shared.paths.problem(error);
        let resumed = self.shared.snapshot.resumed(&seen.stamp, job.image).map_err(cached)?;
        if let Some(content) = resumed {
            return self.read_resumed(job, file, seen, &content);
        }
        if seen.stamp.size <= SMALL_LENGTH_MAX && !seen.is_sparse() {
            self.read_small(job, file, seen)
        } else {
            self.read_large(job, file, seen)
        }
    }

    /// What `stat` says of an open file; an error if it is not the file that the job is about.
    fn look_again(job: &FileJob, file: &OwnedFd) -> Result<Seen, Errno> {
        let seen = Seen::new(&fstat(file)?).ok_or(Errno::NOENT)?;
        let is_same = seen.stamp.inode == job.seen.stamp.inode && seen.stamp.device == job.seen.stamp.device;
        // A file with further names stands for all of them: another one in its place must not.
        if seen.kind != job.seen.kind || (!is_same && job.seen.links > 1) {
            return Err(Errno::NOENT);
        }
        Ok(seen)
    }

    /// Notes that a file could not be read, and lets the point have what the last one had, or nothing.
    fn not_read(&mut self, job: &FileJob, error: Errno) -> Errno {
        let cause = cause_of(error);
        let path = job.directory.path_of(job.name.as_bytes());
        self.part.problems.push(exception(path, cause, error));
        let is_gone = cause == ExceptionCause::Vanished;
        let goes = match job.before {
            Before::Nothing => false,
            Before::Other { stays } => is_gone || !stays,
            Before::Same(_) => is_gone,
        };
        if goes {
            self.remove(job);
        }
        if goes || !matches!(job.before, Before::Same(_)) {
            self.part.failed.push(job.object);
        }
        error
    }

    fn remove(&mut self, job: &FileJob) {
        let (directory, name) = (job.directory.object, job.name.clone());
        self.part.updates.delete(directory, name.as_bytes());
        self.part.operations.push(Operation::Remove { directory, name });
    }

    fn plan(job: &FileJob) -> CutPlan {
        if job.image { CutPlan::Fixed(chunk::BlockSize::default()) } else { CutPlan::Content }
    }

    /// Adds the chunk that the bytes of the part from `start` on are.
    fn add_piece(&mut self, name: Name, start: usize, length: usize) {
        self.part.pieces.push(Piece { name, start, length, known: false });
    }
}

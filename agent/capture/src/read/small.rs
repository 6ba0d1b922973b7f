//! Files that are read in one piece, and files that need not be read because a broken backup has sent them.

use model::item::Attributes;
use model::operation::Operation;
use model::path::EntryName;
use model::record::{Exception, ExceptionCause};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use super::output::{OldRuns, Output};
use super::{PART_LENGTH, PART_OPERATIONS, READS_MAX, ReadError, Reader, SMALL_LENGTH_MAX};
use crate::record::{Content, Record, Run, entry_key};
use crate::stat::Seen;
use crate::task::{Before, Counters, FileJob};
use crate::xattr::{Xattr, XattrDigest, difference};

impl Reader<'_> {
    pub(super) fn read_small(
        &mut self,
        job: &FileJob,
        file: &OwnedFd,
        mut seen: Seen,
    ) -> Result<(), ReadError> {
        let size = usize::try_from(seen.stamp.size).unwrap_or(usize::MAX);
        if !self.part.bytes.is_empty() && self.part.bytes.len().saturating_add(size) > PART_LENGTH {
            self.next_part()?;
        }
        let start = self.part.bytes.len();
        for read in 1..=READS_MAX {
            let result = self.read_once(job, file, &seen, start);
            let (now, xattrs) = match result {
                Ok(found) => found,
                Err(error) => {
                    self.part.bytes.truncate(start);
                    // Another kind of file in its place is the better reason.
                    let error = Self::look_again(job, file).err().unwrap_or(error);
                    return Err(self.not_read(job, error).into());
                }
            };
            let length = (self.part.bytes.len() - start) as u64;
            Counters::add(&self.shared.counters.bytes_read, length);
            let is_steady = now.stamp == seen.stamp && length == seen.stamp.size;
            seen = now;
            if is_steady || read == READS_MAX {
                Counters::add(&self.shared.counters.files_read, 1);
                return self.take_small(job, &seen, xattrs, start, is_steady);
            }
            self.part.bytes.truncate(start);
            if seen.stamp.size > SMALL_LENGTH_MAX {
                return self.read_large(job, file, seen);
            }
        }
        Ok(())
    }

    /// Reads extended attributes and content behind `start`, and looks at the file afterwards.
    fn read_once(
        &mut self,
        job: &FileJob,
        file: &OwnedFd,
        seen: &Seen,
        start: usize,
    ) -> Result<(Seen, Vec<Xattr>), Errno> {
        let xattrs = self.xattrs.of_open(file)?;
        let size = usize::try_from(seen.stamp.size).unwrap_or(usize::MAX);
        let bytes = &mut self.part.bytes;
        bytes.reserve(size.saturating_add(1));
        // A read that meets the end early is the last one; more than was expected shows that the file has grown.
        while bytes.len() - start < size {
            let offset = (bytes.len() - start) as u64;
            match rustix::io::pread(file, rustix::buffer::spare_capacity(bytes), offset) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((Self::look_again(job, file)?, xattrs))
    }

    fn take_small(
        &mut self,
        job: &FileJob,
        seen: &Seen,
        xattrs: Vec<Xattr>,
        start: usize,
        is_steady: bool,
    ) -> Result<(), ReadError> {
        let shared = self.shared;
        let before = before(job);
        let known = self.make(job, seen, job.name.clone());
        let old = OldRuns::new(shared.snapshot, before);
        let mut output = self.output(job, seen, old);
        let bytes = std::mem::take(&mut self.part.bytes);
        let mut position = start;
        for chunk in shared.cutter.cut_bytes(bytes.get(start..).unwrap_or_default(), Self::plan(job)) {
            let name = shared.naming.name(chunk);
            let run = Run { length: chunk.len() as u64, name: Some(name) };
            let is_old = output.run(&mut self.part, run).map_err(|error| self.cache_problem(error))?;
            if !is_old {
                self.add_piece(name, position, chunk.len());
            }
            position += chunk.len();
        }
        self.part.bytes = bytes;
        let length = (position - start) as u64;
        self.finish_file(job, seen, known, xattrs, output, length, is_steady)?;
        if self.part.bytes.len() >= PART_LENGTH || self.part.operations.len() >= PART_OPERATIONS {
            self.next_part()?;
        }
        Ok(())
    }

    /// Takes the content of a file from what a broken backup has left.
    pub(super) fn read_resumed(
        &mut self,
        job: &FileJob,
        file: &OwnedFd,
        seen: Seen,
        content: &Content,
    ) -> Result<(), ReadError> {
        let look = |reader: &mut Self| Ok((reader.xattrs.of_open(file)?, Self::look_again(job, file)?));
        let (xattrs, now) = look(self).map_err(|error| self.not_read(job, error))?;
        if now.stamp != seen.stamp {
            return self.read_large(job, file, now);
        }
        let shared = self.shared;
        let known = self.make(job, &seen, job.name.clone());
        let mut output = self.output(job, &seen, OldRuns::new(shared.snapshot, before(job)));
        let pieces = match content {
            Content::Inline(_) => 1,
            Content::Apart { pieces } => *pieces,
        };
        for number in 0..pieces {
            let runs = match content {
                Content::Inline(runs) => runs.clone(),
                Content::Apart { .. } => {
                    let piece = shared.snapshot.resumed_piece(&seen.stamp, number);
                    piece.map_err(|error| self.cache_problem(error))?
                }
            };
            for run in runs {
                output.run(&mut self.part, run).map_err(|error| self.cache_problem(error))?;
            }
            if self.part.operations.len() >= PART_OPERATIONS {
                self.next_part()?;
            }
        }
        let length = output.offset();
        self.finish_file(job, &seen, known, xattrs, output, length, true)
    }

    pub(super) fn output<'s>(&self, job: &FileJob, seen: &Seen, old: OldRuns<'s>) -> Output<'s> {
        let place = (seen.stamp.device, seen.stamp.inode);
        Output::new(job.object, place, seen.links > 1 || job.seen.links > 1, old)
    }

    /// Makes the object under a name if it is new; what is said of it in the point so far.
    pub(super) fn make(&mut self, job: &FileJob, seen: &Seen, name: EntryName) -> Attributes {
        if let Before::Same(record) = &job.before {
            return record.attributes.clone();
        }
        let attributes = seen.attributes(Vec::new(), job.image);
        let (directory, object) = (job.directory.object, job.object);
        let made = attributes.clone();
        self.part.operations.push(Operation::Make { directory, name, object, attributes });
        made
    }

    /// What follows the content of a file: its length, attributes, extended attributes, and the cache.
    #[expect(clippy::too_many_arguments, reason = "everything that was learned of one file")]
    pub(super) fn finish_file(
        &mut self,
        job: &FileJob,
        seen: &Seen,
        known: Attributes,
        xattrs: Vec<Xattr>,
        output: Output<'_>,
        length: u64,
        is_steady: bool,
    ) -> Result<(), ReadError> {
        let shared = self.shared;
        let object = job.object;
        let content = output.finish(&mut self.part).map_err(|error| self.cache_problem(error))?;
        let before = before(job);
        if before.is_some_and(|old| old.size > length) {
            self.part.operations.push(Operation::Truncate { object, size: length });
        }
        let attributes = seen.attributes(Vec::new(), job.image);
        if known != attributes {
            self.part.operations.push(Operation::SetAttributes { object, attributes: attributes.clone() });
        }
        let old: &[XattrDigest] = before.map_or(&[], |record| &record.xattrs);
        let kept = difference(object, old, xattrs, &mut self.part.operations);
        let mut record = Record::new(object, seen, attributes, kept);
        record.content = content;
        record.size = length;
        record.settled = is_steady && seen.stamp.is_settled(shared.scan, job.directory.filesystem);
        let key = entry_key(job.directory.object, job.name.as_bytes());
        if matches!(job.before, Before::Other { .. }) {
            self.part.updates.delete(job.directory.object, job.name.as_bytes());
        }
        self.part.updates.put(&key, &record.encode(&key));
        Counters::add(&shared.counters.files, 1);
        Counters::add(&shared.counters.bytes, length);
        if !is_steady {
            let path = job.directory.path_of(job.name.as_bytes());
            let detail = "it changed each time it was read".to_owned();
            self.part.problems.push(Exception { path, cause: ExceptionCause::Changed, detail });
        }
        Ok(())
    }
}

pub(super) fn before(job: &FileJob) -> Option<&Record> {
    match &job.before {
        Before::Same(record) => Some(record),
        Before::Nothing | Before::Other { .. } => None,
    }
}

//! Files that are read and cut as they stream, and files with holes.

use model::operation::Operation;
use model::path::EntryName;
use rustix::fd::OwnedFd;
use rustix::fs::{Advice, fadvise};
use rustix::io::Errno;

use super::feed::{Feed, HOLE_LENGTH_MIN, Range, Ranges, is_zero};
use super::output::{OldRuns, Output};
use super::small::before;
use super::{PART_HELD, PART_LENGTH, PART_OPERATIONS, READ_AGAIN_LENGTH_MAX, READS_MAX, ReadError, Reader};
use crate::record::{Record, Run, entry_key};
use crate::stat::Seen;
use crate::task::{Before, Counters, FileJob};
use crate::xattr::Xattr;

impl Reader<'_> {
    pub(super) fn read_large(
        &mut self,
        job: &FileJob,
        file: &OwnedFd,
        mut seen: Seen,
    ) -> Result<(), ReadError> {
        // Advice only: a filesystem that does not take it reads all the same.
        let _ = fadvise(file, 0, None, Advice::Sequential);
        let name = self.first_name(job);
        let known = self.make(job, &seen, name.clone());
        // The content of the last point is the base of the first read only: after that, of none.
        let mut base = before(job);
        let mut longest = 0;
        for read in 1..=READS_MAX {
            let mut output = self.output(job, &seen, OldRuns::new(self.shared.snapshot, base));
            let result = self.stream(job, file, &seen, &mut output);
            longest = longest.max(output.offset());
            let (now, xattrs) = match result {
                Ok(found) => found,
                Err(ReadError::File(error)) => return self.undo(job, error),
                Err(other) => return Err(other),
            };
            let length = output.offset();
            let is_steady = now.stamp == seen.stamp && length == seen.stamp.size;
            seen = now;
            if is_steady || read == READS_MAX || seen.stamp.size > READ_AGAIN_LENGTH_MAX {
                Counters::add(&self.shared.counters.files_read, 1);
                if longest > length {
                    let object = job.object;
                    self.part.operations.push(Operation::Truncate { object, size: length });
                }
                self.finish_file(job, &seen, known, xattrs, output, length, is_steady)?;
                if name != job.name {
                    let (directory, to_name) = (job.directory.object, job.name.clone());
                    let to_directory = directory;
                    self.part.operations.push(Operation::Rename { directory, name, to_directory, to_name });
                }
                return Ok(());
            }
            base = None;
        }
        Ok(())
    }

    /// The name under which a file is made: its own, unless that is still another object's, which stays there until
    /// the file has been read to its end.
    fn first_name(&self, job: &FileJob) -> EntryName {
        if !matches!(job.before, Before::Other { .. }) {
            return job.name.clone();
        }
        let name = format!(".keepfast-unfinished-{:016x}-{}", self.shared.scan.0, job.object);
        EntryName::new(name.as_bytes()).expect("digits and letters are a name")
    }

    /// Reads a file once from end to end, and looks at it afterwards.
    fn stream(
        &mut self,
        job: &FileJob,
        file: &OwnedFd,
        seen: &Seen,
        output: &mut Output<'_>,
    ) -> Result<(Seen, Vec<Xattr>), ReadError> {
        let xattrs = self.xattrs.of_open(file)?;
        let is_sparse = seen.is_sparse();
        for range in Ranges::new(file, seen.stamp.size, is_sparse) {
            let (start, end) = match range? {
                Range::Hole { start, end } => {
                    output.hole(end - start);
                    continue;
                }
                Range::Data { start, end } => (start, end),
            };
            let mut feed = Feed { file, position: start, end };
            let shared = self.shared;
            let mut buffer = self.buffer.take().unwrap_or_default();
            let result =
                shared.cutter.cut(&mut feed, Self::plan(job), &mut buffer, &mut |_, chunk: &[u8]| {
                    self.take_chunk(chunk, is_sparse, output)
                });
            self.buffer = Some(buffer);
            let length = result?;
            Counters::add(&shared.counters.bytes_read, length);
            if length < end - start {
                break;
            }
        }
        Ok((Self::look_again(job, file)?, xattrs))
    }

    fn take_chunk(
        &mut self,
        chunk: &[u8],
        is_sparse: bool,
        output: &mut Output<'_>,
    ) -> Result<(), ReadError> {
        if self.shared.halt.is_set() {
            return Err(crate::BackupError::Stopped.into());
        }
        let length = chunk.len() as u64;
        if is_sparse && length >= HOLE_LENGTH_MIN && is_zero(chunk) {
            output.hole(length);
            return Ok(());
        }
        let name = self.shared.naming.name(chunk);
        let run = Run { length, name: Some(name) };
        let is_old = output.run(&mut self.part, run).map_err(|error| self.cache_problem(error))?;
        if !is_old {
            let start = self.part.bytes.len();
            if start == 0 {
                self.part.bytes.reserve(PART_HELD);
            }
            self.part.bytes.extend_from_slice(chunk);
            self.add_piece(name, start, chunk.len());
        }
        let is_full = self.part.bytes.len() >= PART_LENGTH || self.part.operations.len() >= PART_OPERATIONS;
        if is_full {
            self.next_part()?;
        }
        Ok(())
    }

    /// Takes back what was sent of a file that cannot be read to its end.
    fn undo(&mut self, job: &FileJob, error: Errno) -> Result<(), ReadError> {
        let Before::Same(record) = &job.before else {
            // It was made, and goes again.
            let (directory, name) = (job.directory.object, self.first_name(job));
            self.part.operations.push(Operation::Remove { directory, name });
            return Err(self.not_read(job, error).into());
        };
        if crate::task::cause_of(error) != model::record::ExceptionCause::Vanished {
            let snapshot = self.shared.snapshot;
            let mut output = self.output(job, &job.seen, OldRuns::new(snapshot, None));
            let written = output
                .write_old(&mut self.part, OldRuns::new(snapshot, Some(record)))
                .and_then(|()| output.finish(&mut self.part));
            let content = written.map_err(|error| self.cache_problem(error))?;
            let (object, size) = (job.object, record.size);
            self.part.operations.push(Operation::Truncate { object, size });
            let key = entry_key(job.directory.object, job.name.as_bytes());
            let record = Record { settled: false, content, ..(**record).clone() };
            self.part.updates.put(&key, &record.encode(&key));
        }
        Err(self.not_read(job, error).into())
    }
}

//! Writing a file that is large, or in a directory that others see, or in place of another one.
//!
//! The file grows under a temporary name and gets its own when it is complete. Where a file is there, nothing is
//! written as long as nothing differs; from the first difference on a new file takes shape, equal ranges copied from
//! the old one inside the kernel. Without leave to replace, the old file must be a beginning of the new one.
//!
//! What cannot be read of the old file differs, and is written anew from the point: a disk that loses a file is what
//! restores are for.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, Stat, fstat, unlinkat};
use rustix::io::Errno;

use crate::attributes::{self, Now, Surplus};
use crate::batch::{Action, Fetched, FileHead, Piece, PieceSource};
use crate::beneath;
use crate::error::stops_everything;
use crate::failure::Failure;
use crate::job::Job;
use crate::ranges;
use crate::remove;

/// A file that is being written.
pub(crate) struct Stream {
    pub(crate) head: Box<FileHead>,
    directory: Arc<OwnedFd>,
    old: Option<Old>,
    new: Option<New>,
    /// What lies before it is done.
    position: u64,
    pub(crate) bytes_written: u64,
    pub(crate) bytes_unchanged: u64,
}

/// The file that has the name.
struct Old {
    file: File,
    stat: Stat,
    length: u64,
}

/// The file that will have the name.
struct New {
    file: File,
    name: Vec<u8>,
    /// It held something when we opened it.
    is_continued: bool,
}

/// How a range compares with the file that is there.
enum Match {
    Same,
    /// Equal as far as the file goes.
    Beginning,
    Different,
    /// The file cannot be read there.
    Unreadable(io::Error),
}

impl Stream {
    pub(crate) fn begin(
        job: &Job<'_>,
        head: Box<FileHead>,
        directory: Arc<OwnedFd>,
    ) -> Result<Self, Failure> {
        let mut stream =
            Self { head, directory, old: None, new: None, position: 0, bytes_written: 0, bytes_unchanged: 0 };
        match stream.head.action {
            Action::Create => stream.open_new()?,
            Action::Continue => stream.open_unfinished()?,
            Action::Compare => match beneath::open_file(&stream.directory, stream.head.name.as_bytes()) {
                Ok((file, stat)) => {
                    let length = u64::try_from(stat.st_size).unwrap_or(0);
                    stream.old = Some(Old { file: file.into(), stat, length });
                }
                Err(Errno::NOENT) => stream.open_new()?,
                // An input error is of that file alone; what else stops everything would stop the new file too.
                Err(error) if error != Errno::IO && stops_everything(error) => return Err(error.into()),
                Err(_) if job.replaces() => stream.open_new()?,
                Err(error) => return Err(Failure::unreadable(&error.into())),
            },
        }
        Ok(stream)
    }

    fn open_new(&mut self) -> Result<(), Failure> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let (file, name) = beneath::make_temporary(self.head.object, |name| {
            beneath::open(&self.directory, name, flags, Mode::RUSR | Mode::WUSR)
        })?;
        self.new = Some(New { file: file.into(), name, is_continued: false });
        Ok(())
    }

    /// Opens what a restore that was broken off left, if it can only be ours.
    fn open_unfinished(&mut self) -> Result<(), Failure> {
        let name = beneath::temporary_name(self.head.object, 0);
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY;
        if let Ok(file) = beneath::open(&self.directory, &name, flags, Mode::empty()) {
            let stat = fstat(&file)?;
            let is_file = beneath::file_type(&stat) == rustix::fs::FileType::RegularFile;
            if is_file && stat.st_nlink == 1 && stat.st_uid == rustix::process::geteuid().as_raw() {
                self.new = Some(New { file: file.into(), name, is_continued: true });
                return Ok(());
            }
        }
        self.open_new()
    }

    /// The file that is taking shape, if there is one.
    pub(crate) fn new_file(&self) -> Option<&File> {
        self.new.as_ref().map(|new| &new.file)
    }

    /// Takes the next range.
    pub(crate) fn put(
        &mut self,
        job: &Job<'_>,
        piece: &Piece,
        data: &[Option<Fetched>],
    ) -> Result<(), Failure> {
        let bytes = bytes_of(piece, data)?;
        let end = piece.offset.saturating_add(piece.length);
        let matched = self.compare(piece, bytes);
        if self.new.is_none() {
            match &matched {
                Match::Same => {
                    self.position = end;
                    self.bytes_unchanged += content_length(piece);
                    return Ok(());
                }
                Match::Different if !job.replaces() => return Err(Failure::appeared()),
                Match::Unreadable(error) if !job.replaces() => return Err(Failure::unreadable(error)),
                Match::Beginning | Match::Different | Match::Unreadable(_) => self.begin_new()?,
            }
        }
        self.write(piece, bytes, &matched)?;
        self.position = end;
        Ok(())
    }

    /// Begins the new file with all that was equal.
    fn begin_new(&mut self) -> Result<(), Failure> {
        self.open_new()?;
        if let (Some(old), Some(new)) = (&self.old, &self.new) {
            ranges::copy(&old.file, &new.file, 0..self.position.min(old.length))?;
        }
        Ok(())
    }

    fn compare(&self, piece: &Piece, bytes: Option<&[u8]>) -> Match {
        let (file, length) = match (&self.old, &self.new) {
            (Some(old), _) => (&old.file, old.length),
            (None, Some(New { file, is_continued: true, .. })) => (file, u64::MAX),
            (None, _) => return Match::Different,
        };
        let there = piece.length.min(length.saturating_sub(piece.offset));
        let is_equal = match (&piece.source, bytes) {
            (PieceSource::Local, _) => Ok(true),
            (PieceSource::Hole, _) => ranges::is_zero(file, piece.offset..piece.offset.saturating_add(there)),
            (PieceSource::Fetched(_), Some(bytes)) => {
                let there = usize::try_from(there).unwrap_or(usize::MAX);
                ranges::equals(file, piece.offset, bytes.get(..there).unwrap_or(bytes))
            }
            (PieceSource::Fetched(_), None) => Ok(false),
        };
        match is_equal {
            Ok(true) if there == piece.length => Match::Same,
            Ok(true) => Match::Beginning,
            Ok(false) => Match::Different,
            Err(error) => Match::Unreadable(error),
        }
    }

    fn write(&mut self, piece: &Piece, bytes: Option<&[u8]>, matched: &Match) -> Result<(), Failure> {
        let Some(new) = &self.new else { return Ok(()) };
        let range = piece.offset..piece.offset.saturating_add(piece.length);
        if matches!(matched, Match::Same) {
            if let Some(old) = &self.old {
                ranges::copy(&old.file, &new.file, range)?;
            }
            self.bytes_unchanged += content_length(piece);
            return Ok(());
        }
        match (&piece.source, bytes) {
            (PieceSource::Hole, _) if new.is_continued => write_zeros(&new.file, range)?,
            (PieceSource::Hole, _) => {}
            (_, Some(bytes)) => {
                new.file.write_all_at(bytes, piece.offset)?;
                self.bytes_written += piece.length;
            }
            (_, None) => return Err(Failure::Path("the file that was there has changed".to_owned())),
        }
        Ok(())
    }

    /// Completes the file; answers what could not be set.
    pub(crate) fn finish(&mut self, job: &Job<'_>, surplus: Surplus) -> Result<Vec<String>, Failure> {
        let size = self.head.size;
        if self.new.is_none() {
            if let Some(old) = &self.old
                && old.length == size
            {
                let surplus = if job.replaces() { Surplus::Remove } else { surplus };
                let now = Now::from(&old.stat);
                return Ok(attributes::apply(&old.file, now, &self.head.wanted, surplus));
            }
            if !job.replaces() {
                return Err(Failure::appeared());
            }
            self.begin_new()?;
        }
        let Some(new) = &self.new else { return Ok(Vec::new()) };
        let stat = fstat(&new.file)?;
        if u64::try_from(stat.st_size) != Ok(size) {
            new.file.set_len(size)?;
        }
        let problems = attributes::apply(&new.file, Now::from(&stat), &self.head.wanted, surplus);
        self.publish(job)?;
        Ok(problems)
    }

    fn publish(&self, job: &Job<'_>) -> Result<(), Failure> {
        let (Some(new), name) = (&self.new, self.head.name.as_bytes()) else { return Ok(()) };
        if self.old.is_none() && !job.replaces() {
            return Ok(beneath::publish_new(&self.directory, &new.name, name)?);
        }
        // What takes the place of a file must be durable before that one is gone.
        new.file.sync_data()?;
        if let Some(old) = &self.old
            && !job.replaces()
        {
            let there = beneath::stat(&self.directory, name)?;
            if there.is_none_or(|there| (there.st_dev, there.st_ino) != (old.stat.st_dev, old.stat.st_ino)) {
                return Err(Failure::appeared());
            }
        }
        match beneath::publish_over(&self.directory, &new.name, name) {
            Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => {
                remove::clear_directory(job, &self.directory, name)?;
                Ok(beneath::publish_over(&self.directory, &new.name, name)?)
            }
            answer => Ok(answer?),
        }
    }

    /// Gives the file up.
    pub(crate) fn discard(self) {
        if let Some(new) = self.new {
            // The failure that led here is what is said; what stays behind has a temporary name.
            let _ = unlinkat(&self.directory, &new.name[..], AtFlags::empty());
        }
    }
}

/// The fetched bytes of a range, if it has any.
pub(crate) fn bytes_of<'d>(piece: &Piece, data: &'d [Option<Fetched>]) -> Result<Option<&'d [u8]>, Failure> {
    let PieceSource::Fetched(number) = piece.source else { return Ok(None) };
    match data.get(number) {
        Some(Some(Ok(bytes))) => Ok(Some(bytes)),
        Some(Some(Err(message))) => Err(Failure::Path(format!("its content cannot be read: {message}"))),
        Some(None) | None => Err(Failure::Path("its content was not fetched".to_owned())),
    }
}

fn content_length(piece: &Piece) -> u64 {
    if matches!(piece.source, PieceSource::Hole) { 0 } else { piece.length }
}

fn write_zeros(file: &File, range: Range<u64>) -> Result<(), Failure> {
    let zeros = vec![0; 1 << 18];
    let mut at = range.start;
    while at < range.end {
        let length = usize::try_from(range.end - at).unwrap_or(zeros.len()).min(zeros.len());
        file.write_all_at(zeros.get(..length).unwrap_or_default(), at)?;
        at += length as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

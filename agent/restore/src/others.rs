//! Links, devices, pipes and sockets, and further names of files: what is made after all files.
//!
//! Nothing is opened and nothing is followed. What is there and the same stays; what differs is replaced only with
//! leave, by a rename.

use std::os::fd::{AsFd, OwnedFd};

use model::ObjectId;
use model::item::{Attributes, FileKind};
use rustix::fs::{
    AtFlags, Dev, FileType, Mode, Stat, fstat, linkat, mknodat, readlinkat, symlinkat, unlinkat,
};
use rustix::io::{Errno, Result};

use crate::attributes::{self, Now, Surplus, Wanted};
use crate::batch::OtherKind;
use crate::beneath::{self, file_type};
use crate::failure::Failure;
use crate::job::Job;
use crate::remove;
use crate::xattrs::{Comparison, Handle};

/// What an entry is, for people.
pub(crate) fn word_of(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "a directory",
        FileType::RegularFile => "a file",
        FileType::Symlink => "a link",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        _ => "a device",
    }
}

/// Whether an entry is the same link, device, pipe or socket.
pub(crate) fn is_same(
    directory: impl AsFd,
    name: &[u8],
    stat: &Stat,
    attributes: &Attributes,
) -> Result<bool> {
    match attributes.kind {
        FileKind::Symlink => is_link_to(directory, name, stat, &attributes.target),
        kind => Ok(is_special(stat, kind, attributes.rdev)),
    }
}

fn is_link_to(directory: impl AsFd, name: &[u8], stat: &Stat, target: &[u8]) -> Result<bool> {
    Ok(file_type(stat) == FileType::Symlink && readlinkat(directory, name, Vec::new())?.as_bytes() == target)
}

fn is_special(stat: &Stat, kind: FileKind, rdev: u64) -> bool {
    let has_number = matches!(kind, FileKind::CharacterDevice | FileKind::BlockDevice);
    special_type(kind) == Some(file_type(stat)) && (!has_number || stat.st_rdev == rdev)
}

fn special_type(kind: FileKind) -> Option<FileType> {
    match kind {
        FileKind::CharacterDevice => Some(FileType::CharacterDevice),
        FileKind::BlockDevice => Some(FileType::BlockDevice),
        FileKind::Fifo => Some(FileType::Fifo),
        FileKind::Socket => Some(FileType::Socket),
        FileKind::File | FileKind::Directory | FileKind::Symlink => None,
    }
}

/// The first name of an object.
pub(crate) struct FirstName<'n> {
    pub(crate) directory: &'n OwnedFd,
    pub(crate) name: &'n [u8],
}

/// Something that is to be made in a directory.
pub(crate) struct Making<'m> {
    pub(crate) directory: &'m OwnedFd,
    pub(crate) name: &'m [u8],
    pub(crate) object: ObjectId,
    pub(crate) what: &'m OtherKind,
    pub(crate) wanted: &'m Wanted,
    /// Of a further name.
    pub(crate) first: Option<FirstName<'m>>,
}

impl Making<'_> {
    /// Makes it, or sees that it is there; answers what could not be set.
    pub(crate) fn make(&self, job: &Job<'_>) -> std::result::Result<Vec<String>, Failure> {
        match self.create(self.name) {
            Ok(()) => return self.set_attributes(self.name, self.inherited()).map_err(Failure::from),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let there = beneath::stat(self.directory, self.name)?;
        let is_same = match &there {
            Some(stat) => self.is_there(stat)?,
            None => false,
        };
        if is_same {
            return match job.replaces() {
                true => Ok(self.set_attributes(self.name, Surplus::Remove)?),
                false if job.resumes => Ok(self.set_attributes(self.name, Surplus::Keep)?),
                false => Ok(self.unattainable()?),
            };
        }
        let is_vetted = matches!(self.what, OtherKind::Link)
            && there.is_some_and(|stat| file_type(&stat) == FileType::RegularFile);
        if !job.replaces() {
            // The plan found a further name to be a file of the same content.
            return if is_vetted { Ok(Vec::new()) } else { Err(Failure::appeared()) };
        }
        self.replace(job)
    }

    fn replace(&self, job: &Job<'_>) -> std::result::Result<Vec<String>, Failure> {
        let ((), temporary) = beneath::make_temporary(self.object, |name| self.create(name))?;
        let problems =
            self.set_attributes(&temporary, self.inherited()).and_then(
                |problems| match beneath::publish_over(self.directory, &temporary, self.name) {
                    Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => Ok(Err(problems)),
                    answer => answer.map(|()| Ok(problems)),
                },
            );
        let published = match problems {
            Ok(Ok(problems)) => return Ok(problems),
            Ok(Err(problems)) => remove::clear_directory(job, self.directory, self.name).and_then(|()| {
                beneath::publish_over(self.directory, &temporary, self.name)?;
                Ok(problems)
            }),
            Err(error) => Err(error.into()),
        };
        if published.is_err() {
            // It is ours and unfinished; the failure itself is what is said.
            let _ = unlinkat(self.directory, &temporary, AtFlags::empty());
        }
        published
    }

    fn create(&self, name: &[u8]) -> Result<()> {
        match (self.what, &self.first) {
            (OtherKind::Symlink(target), _) => symlinkat(&target[..], self.directory, name),
            (OtherKind::Special { kind, rdev }, _) => {
                let kind = special_type(*kind).ok_or(Errno::INVAL)?;
                mknodat(self.directory, name, kind, Mode::RUSR | Mode::WUSR, device(kind, *rdev))
            }
            (OtherKind::Link, Some(first)) => {
                linkat(first.directory, first.name, self.directory, name, AtFlags::empty())
            }
            (OtherKind::Link, None) => Err(Errno::NOENT),
        }
    }

    fn is_there(&self, stat: &Stat) -> Result<bool> {
        match (self.what, &self.first) {
            (OtherKind::Symlink(target), _) => is_link_to(self.directory, self.name, stat, target),
            (OtherKind::Special { kind, rdev }, _) => Ok(is_special(stat, *kind, *rdev)),
            (OtherKind::Link, Some(first)) => Ok(beneath::stat(first.directory, first.name)?
                .is_some_and(|first| (first.st_dev, first.st_ino) == (stat.st_dev, stat.st_ino))),
            (OtherKind::Link, None) => Ok(false),
        }
    }

    /// What becomes of attributes that it got from its directory: a link gets none.
    fn inherited(&self) -> Surplus {
        if matches!(self.what, OtherKind::Special { .. }) { Surplus::Remove } else { Surplus::Keep }
    }

    /// What an entry that is as it is stored lacks because it cannot be had here.
    fn unattainable(&self) -> Result<Vec<String>> {
        if matches!(self.what, OtherKind::Link) || self.wanted.xattrs.is_empty() {
            return Ok(Vec::new());
        }
        let entry = beneath::refer(self.directory, self.name)?;
        Ok(match self.wanted.compare_xattrs(Handle::Reference(entry.as_fd()))? {
            Comparison::Unattainable(messages) => messages,
            Comparison::Same | Comparison::Different => Vec::new(),
        })
    }

    fn set_attributes(&self, name: &[u8], surplus: Surplus) -> Result<Vec<String>> {
        match self.what {
            OtherKind::Link => Ok(Vec::new()),
            OtherKind::Symlink(_) => Ok(attributes::apply_link(self.directory, name, self.wanted, surplus)),
            OtherKind::Special { kind, .. } => {
                let reference = beneath::refer(self.directory, name)?;
                let stat = fstat(&reference)?;
                if special_type(*kind) != Some(file_type(&stat)) {
                    return Err(Errno::EXIST);
                }
                Ok(attributes::apply_special(&reference, Now::from(&stat), self.wanted, surplus))
            }
        }
    }
}

fn device(kind: FileType, rdev: u64) -> Dev {
    if matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) { rdev } else { 0 }
}

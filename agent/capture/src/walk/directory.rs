//! Entering a directory: opening it, comparing it, deciding what of it is taken.

use std::sync::Arc;

use model::operation::Operation;
use model::record::ExceptionCause;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use super::merge::Taken;
use super::{Around, Child, Frame, WalkError, Walker, Was};
use crate::filter::{CACHE_TAG, CACHE_TAG_SIGNATURE, Filesystem};
use crate::list::Listing;
use crate::open::{open_file, open_quietly};
use crate::record::Record;
use crate::source::Selection;
use crate::stat::Seen;
use crate::task::{Directory, cause_of};
use crate::xattr::difference;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn open(child: &Child, around: Option<&Around>) -> Result<(OwnedFd, Seen), Errno> {
    let (at, name) = match around {
        Some(around) => (around.parent.fd.as_fd(), &child.name[..]),
        None => (CWD, &b"/"[..]),
    };
    // Of a directory on the way to a protected path nothing is listed, so that search permission is enough.
    let fd = match child.selection {
        Selection::All => open_quietly(at, name, DIRECTORY | OFlags::RDONLY)?,
        Selection::Some(_) => openat(at, name, DIRECTORY | OFlags::PATH, Mode::empty())?,
    };
    let seen = Seen::new(&fstat(&fd)?).ok_or(Errno::NOTDIR)?;
    Ok((fd, seen))
}

/// Opens the directory of a frame again, from a directory that was entered from it.
pub(super) fn reopen(frame: &Frame, below: &Directory) -> Result<Directory, Errno> {
    let fd = openat(&below.fd, "..", DIRECTORY | OFlags::PATH, Mode::empty())?;
    let seen = Seen::new(&fstat(&fd)?).ok_or(Errno::NOTDIR)?;
    if (seen.stamp.device, seen.stamp.inode) != frame.place {
        return Err(Errno::NOENT);
    }
    let path = below.path.get(..frame.path_length).unwrap_or_default().to_vec();
    Ok(Directory { fd, path, object: frame.object, filesystem: frame.filesystem })
}

impl Walker<'_> {
    /// Enters a directory; none if it cannot be opened.
    pub(super) fn enter(
        &mut self,
        child: Child,
        around: Option<&Around>,
    ) -> Result<Option<Frame>, WalkError> {
        let path = around.map_or_else(Vec::new, |around| around.parent.path_of(&child.name));
        let (fd, now) = match open(&child, around) {
            Ok(opened) => opened,
            Err(error) => {
                self.problem(path, cause_of(error), error);
                self.remember_unread(&child);
                return Ok(None);
            }
        };
        let device = now.stamp.device;
        let filesystem = match around {
            Some(around) if around.place_device == device => around.parent.filesystem,
            _ => Filesystem::of(&fd, device),
        };
        let directory = Arc::new(Directory { fd, path, object: child.object, filesystem });
        self.compare(&child, &directory, &now)?;
        let is_known = !matches!(child.was, Was::New(_));
        let taken = self.take(&child, &directory, &now, around);
        let children = self.merge(&directory, &taken, is_known)?.into_iter();
        let device = around.filter(|_| !child.is_chosen).map_or(device, |around| around.device);
        Ok(Some(Frame {
            place: (now.stamp.device, now.stamp.inode),
            object: child.object,
            path_length: directory.path.len(),
            filesystem,
            directory: Some(directory),
            device,
            children,
        }))
    }

    /// Sends what differs of the directory itself.
    fn compare(&mut self, child: &Child, directory: &Directory, now: &Seen) -> Result<(), WalkError> {
        let looked_up;
        let before = match &child.was {
            Was::Unchanged if now.stamp == child.seen.stamp => return Ok(()),
            Was::Unchanged => {
                looked_up = self.snapshot.entry(child.parent, &child.name)?;
                looked_up.as_ref()
            }
            Was::Changed(record) => Some(&**record),
            Was::New(_) => None,
        };
        let stands = match &child.was {
            Was::New(made) => made.as_ref(),
            _ => before.map(|record| &record.attributes),
        };
        let object = child.object;
        let attributes = now.attributes(Vec::new(), false);
        if stands != Some(&attributes) {
            self.operation(Operation::SetAttributes { object, attributes: attributes.clone() });
        }
        let known = before.map_or(&[][..], |record| &record.xattrs);
        let read = match child.selection {
            Selection::All => self.xattrs.of_open(&directory.fd),
            Selection::Some(_) => self.xattrs.of_place(&directory.fd),
        };
        let (kept, is_whole) = match read {
            Ok(xattrs) => {
                let mut operations = Vec::new();
                let kept = difference(object, known, xattrs, &mut operations);
                operations.into_iter().for_each(|operation| self.operation(operation));
                (kept, true)
            }
            Err(error) => {
                self.problem(directory.path.clone(), ExceptionCause::Unreadable, error);
                (known.to_vec(), false)
            }
        };
        let mut record = Record::new(object, now, attributes, kept);
        record.settled = is_whole && self.is_settled(&now.stamp, directory.filesystem);
        self.put(child.parent, &child.name, &record);
        Ok(())
    }

    /// What of the directory belongs to the source.
    fn take(&mut self, child: &Child, directory: &Directory, now: &Seen, around: Option<&Around>) -> Taken {
        let nothing = Listing::default();
        let selection = child.selection.clone();
        let (device, inode) = (now.stamp.device, now.stamp.inode);
        if let Selection::Some(names) = &child.selection {
            let listing = Listing::of(names.keys().map(Vec::as_slice));
            return Taken { listing, complete: true, selection };
        }
        let is_left_out = around.filter(|_| !child.is_chosen).is_some_and(|around| {
            let is_pseudo = directory.filesystem == Filesystem::Pseudo && device != around.place_device;
            is_pseudo || (self.filter.one_filesystem && device != around.device)
        });
        if is_left_out || self.filter.skips(device, inode) {
            return Taken { listing: nothing, complete: true, selection };
        }
        let (mut listing, problem) = Listing::read(&directory.fd);
        if let Some(error) = problem {
            self.problem(directory.path.clone(), cause_of(error), error);
        }
        if !child.is_chosen && listing.has(CACHE_TAG) && is_cache(directory) {
            listing.keep_only(CACHE_TAG);
        }
        Taken { listing, complete: problem.is_none(), selection }
    }

    /// Notes a directory that was not entered: the next scan must look at it again, whatever its times say.
    pub(super) fn remember_unread(&mut self, child: &Child) {
        let record = match &child.was {
            Was::Changed(record) => Record { settled: false, ..(**record).clone() },
            Was::New(Some(attributes)) => {
                let record = Record::new(child.object, &child.seen, attributes.clone(), Vec::new());
                Record { settled: false, ..record }
            }
            Was::Unchanged | Was::New(None) => return,
        };
        self.put(child.parent, &child.name, &record);
    }
}

/// Whether the directory's tag is that of a cache.
fn is_cache(directory: &Directory) -> bool {
    let mut start = [0; CACHE_TAG_SIGNATURE.len()];
    open_file(&directory.fd, CACHE_TAG)
        .and_then(|file| rustix::io::pread(&file, &mut start, 0))
        .is_ok_and(|length| length == start.len() && start == *CACHE_TAG_SIGNATURE)
}

//! Removing entries of the target: what is in the way, and what the point does not have.
//!
//! Only with leave, never across the edge of a filesystem, and never through a link.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use model::{EntryName, ObjectId};
use rustix::fs::{AtFlags, FileType, fstat, unlinkat};
use rustix::io::Errno;

use crate::beneath::{self, file_type};
use crate::directories::Directories;
use crate::failure::Failure;
use crate::job::Job;
use crate::marker::MARKER;

/// Entries that are read of the point at a time.
const ENTRIES_MAX: usize = 4096;
/// Deepest directory that is removed.
const DEPTH_MAX: usize = 4096;

/// Makes way for something that is not a directory: removes an empty directory, or any with leave.
pub(crate) fn clear_directory(job: &Job<'_>, directory: &OwnedFd, name: &[u8]) -> Result<(), Failure> {
    match unlinkat(directory, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) if job.request.delete_extra => {
            remove(job, directory, name).map(|_| ())
        }
        Err(Errno::NOTEMPTY | Errno::EXIST) => {
            Err(Failure::Path("a directory that is not empty is in its place".to_owned()))
        }
        answer => Ok(answer?),
    }
}

/// Makes way for a directory: removes what is not one.
pub(crate) fn clear_obstacle(directory: &OwnedFd, name: &[u8]) -> Result<(), Failure> {
    Ok(unlinkat(directory, name, AtFlags::empty())?)
}

/// What was removed of a directory, and what could not be.
#[derive(Default)]
pub(crate) struct Swept {
    pub(crate) removed: u64,
    pub(crate) problems: Vec<(EntryName, String)>,
}

/// Removes the entries of a directory that the point does not have.
pub(crate) fn sweep(
    job: &Job<'_>,
    directory: &OwnedFd,
    object: ObjectId,
    is_root: bool,
) -> Result<Swept, Failure> {
    let mut stored = HashSet::new();
    let mut items = job.items();
    let mut after = None;
    loop {
        let entries = items
            .entries(object, after.as_ref(), ENTRIES_MAX)
            .map_err(|error| Failure::Path(format!("nothing was removed from it: {error}")))?;
        after = entries.list.last().map(|(name, ..)| name.clone());
        stored.extend(entries.list.into_iter().map(|(name, ..)| name));
        if !entries.has_more {
            break;
        }
    }
    let mut swept = Swept::default();
    for name in beneath::names(directory)? {
        job.check_stop()?;
        if stored.contains(&name) || (is_root && name.as_bytes() == MARKER) {
            continue;
        }
        match remove(job, directory, name.as_bytes()) {
            Ok(removed) => swept.removed += removed,
            Err(failure) => {
                let message = failure.at(name.as_bytes())?;
                swept.problems.push((name, format!("it was not removed: {message}")));
            }
        }
    }
    Ok(swept)
}

/// Removes an entry with all below it; answers how many entries that were.
pub(crate) fn remove(job: &Job<'_>, directory: impl AsFd, name: &[u8]) -> Result<u64, Failure> {
    match unlinkat(&directory, name, AtFlags::empty()) {
        Ok(()) => return Ok(1),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let device = fstat(&directory)?.st_dev;
    let root = Arc::new(beneath::open_directory(&directory, name)?);
    if fstat(&root)?.st_dev != device {
        return Err(Failure::Path("another filesystem is mounted there".to_owned()));
    }
    let removed = remove_content(job, root, device)?;
    unlinkat(&directory, name, AtFlags::REMOVEDIR)?;
    Ok(removed + 1)
}

/// Empties a directory, deepest first.
fn remove_content(job: &Job<'_>, root: Arc<OwnedFd>, device: u64) -> Result<u64, Failure> {
    let mut removed = 0;
    let mut directories = Directories::new(Arc::clone(&root));
    // The directories from the first one down, each with the names in it that are directories.
    let mut stack: Vec<(usize, EntryName, Vec<EntryName>)> = Vec::new();
    let (count, mut below) = remove_flat(job, &root, device)?;
    removed += count;
    loop {
        let next = match stack.last_mut() {
            Some((_, _, names)) => names.pop(),
            None => below.pop(),
        };
        let parent = stack.last().map_or(0, |(id, ..)| *id);
        if let Some(name) = next {
            if stack.len() >= DEPTH_MAX {
                return Err(Failure::Path("it is too deep".to_owned()));
            }
            let id = directories.add(parent, name.clone());
            let descriptor = directories.open(id)?;
            let (count, names) = remove_flat(job, &descriptor, device)?;
            removed += count;
            stack.push((id, name, names));
        } else if let Some((_, name, _)) = stack.pop() {
            directories.pop();
            let parent = stack.last().map_or(0, |(id, ..)| *id);
            let above = directories.open(parent)?;
            unlinkat(&above, name.as_bytes(), AtFlags::REMOVEDIR)?;
            removed += 1;
        } else {
            return Ok(removed);
        }
    }
}

/// Removes everything but directories from a directory; answers how many entries and which directories are left.
fn remove_flat(job: &Job<'_>, directory: &OwnedFd, device: u64) -> Result<(u64, Vec<EntryName>), Failure> {
    let mut removed = 0;
    let mut below = Vec::new();
    for name in beneath::names(directory)? {
        job.check_stop()?;
        let Some(stat) = beneath::stat(directory, name.as_bytes())? else { continue };
        if stat.st_dev != device {
            return Err(Failure::Path("another filesystem is mounted below it".to_owned()));
        }
        if file_type(&stat) == FileType::Directory {
            below.push(name);
        } else {
            unlinkat(directory, name.as_bytes(), AtFlags::empty())?;
            removed += 1;
        }
    }
    Ok((removed, below))
}

//! Reading copies, comparing them, and making further ones of files that nobody writes.
//!
//! A copy has another name until it is whole, durable and read back.

use std::sync::Arc;

use medium::{DiskError, File};
use model::{ErrorKind, SegmentNumber};

use crate::layout::{MAKING, segment_number};
use crate::member::Member;
use crate::superblock::remove_if_there;

/// Bytes that are compared and copied at a time.
pub(crate) const BLOCK_LENGTH: usize = 1 << 20;

/// A copy that is open.
pub(crate) type OpenCopy = (Arc<Member>, Arc<dyn File>);

/// As much of a buffer as there is left to read.
pub(crate) fn part(buffer: &mut [u8], left: u64) -> &mut [u8] {
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
    &mut buffer[..length]
}

/// A buffer for the parts of a file of this length.
pub(crate) fn buffer(length: u64) -> Vec<u8> {
    vec![0; usize::try_from(length).unwrap_or(usize::MAX).min(BLOCK_LENGTH)]
}

/// Fills a buffer from the first copy that delivers.
pub(crate) fn read_any(copies: &[OpenCopy], offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
    let mut failure = None;
    for (member, file) in copies {
        match file.read_at(offset, buffer) {
            Ok(()) => return Ok(()),
            Err(error) => {
                if error.kind() == ErrorKind::Io {
                    member.count_read_error();
                }
                failure = failure.or(Some(error));
            }
        }
    }
    Err(failure.unwrap_or_else(|| crate::set::no_copy(medium::Operation::Read, "")))
}

/// Whether two files hold the same.
pub(crate) fn same(one: &dyn File, other: &dyn File) -> Result<bool, DiskError> {
    let length = one.length()?;
    if other.length()? != length {
        return Ok(false);
    }
    let (mut left, mut right) = (buffer(length), buffer(length));
    for offset in (0..length).step_by(BLOCK_LENGTH) {
        let (left, right) = (part(&mut left, length - offset), part(&mut right, length - offset));
        one.read_at(offset, left)?;
        other.read_at(offset, right)?;
        if left != right {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes a copy under another name, reads it back, and puts it in its place.
pub(crate) fn copy_whole(copies: &[OpenCopy], target: &Member, path: &str) -> Result<(), DiskError> {
    let temporary = making_path(path);
    remove_if_there(&*target.disk, &temporary)?;
    let file = target.disk.create(&temporary)?;
    let result = fill_copy(copies, &*file);
    if result.is_err() {
        // What stays is removed at the next opening.
        let _ = target.disk.remove(&temporary);
        return result;
    }
    publish(target, &temporary, path)
}

fn fill_copy(copies: &[OpenCopy], file: &dyn File) -> Result<(), DiskError> {
    let Some((_, lead)) = copies.first() else { return Ok(()) };
    let length = lead.length()?;
    let (mut bytes, mut found) = (buffer(length), buffer(length));
    for offset in (0..length).step_by(BLOCK_LENGTH) {
        let part = part(&mut bytes, length - offset);
        read_any(copies, offset, part)?;
        file.write_at(offset, part)?;
    }
    file.set_length(length)?;
    file.sync_data()?;
    file.forget_cached()?;
    for offset in (0..length).step_by(BLOCK_LENGTH) {
        let (part, found) = (part(&mut bytes, length - offset), self::part(&mut found, length - offset));
        read_any(copies, offset, part)?;
        file.read_at(offset, found)?;
        if part != found {
            let source = std::io::Error::other("what was written reads back differently");
            return Err(DiskError::failed(medium::Operation::Write, MAKING, source));
        }
    }
    Ok(())
}

/// Gives a finished file its name, durably.
pub(crate) fn publish(target: &Member, temporary: &str, path: &str) -> Result<(), DiskError> {
    target.disk.rename(temporary, path)?;
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    target.disk.sync_directory(parent)?;
    target.disk.sync_directory(MAKING)
}

/// The name of a file while it is being made.
pub(crate) fn making_path(path: &str) -> String {
    format!("{MAKING}/{}", path.replace('/', "."))
}

/// Numbers of the segments that are in a directory.
pub(crate) fn segments_in(member: &Member, directory: &str) -> Result<Vec<SegmentNumber>, DiskError> {
    match member.disk.list(directory) {
        Err(error) if error.kind() == ErrorKind::Missing => Ok(Vec::new()),
        names => Ok(names?.iter().filter_map(|name| segment_number(name)).collect()),
    }
}

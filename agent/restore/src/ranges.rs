//! Ranges of local files: comparing them, and copying them with their holes.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, copy_file_range, seek};
use rustix::io::Errno;

/// Bytes that are read at a time.
const BUFFER_BYTES: usize = 1 << 18;

/// Which side of a copy failed.
#[derive(Debug)]
pub(crate) enum CopyError {
    /// What is copied from cannot be read, which says nothing of what is written.
    Read(io::Error),
    /// What is copied to cannot be written.
    Write(io::Error),
}

/// Reads a range into a buffer of its length; false if the file ends before.
pub(crate) fn read(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact_at(buffer, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a file holds these bytes at an offset.
pub(crate) fn equals(file: &File, offset: u64, bytes: &[u8]) -> io::Result<bool> {
    let mut buffer = vec![0; bytes.len().min(BUFFER_BYTES)];
    let mut at = offset;
    for expected in bytes.chunks(BUFFER_BYTES) {
        let found = buffer.get_mut(..expected.len()).unwrap_or_default();
        if !read(file, at, found)? || found != expected {
            return Ok(false);
        }
        at += expected.len() as u64;
    }
    Ok(true)
}

/// Whether a range reads as zeros; holes are not read.
pub(crate) fn is_zero(file: &File, range: Range<u64>) -> io::Result<bool> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut at = range.start;
    while let Some(data) = next_data(file, at..range.end) {
        at = data.start;
        while at < data.end {
            let length = usize::try_from(data.end - at).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
            let found = buffer.get_mut(..length).unwrap_or_default();
            if !read(file, at, found)? || found.iter().any(|b| *b != 0) {
                return Ok(false);
            }
            at += length as u64;
        }
    }
    Ok(true)
}

/// Copies a range to the same place of another file, inside the kernel where it can, and without its holes.
pub(crate) fn copy(from: &File, to: &File, range: Range<u64>) -> Result<(), CopyError> {
    let mut at = range.start;
    while let Some(data) = next_data(from, at..range.end) {
        copy_data(from, to, data.clone())?;
        at = data.end;
    }
    Ok(())
}

fn copy_data(from: &File, to: &File, range: Range<u64>) -> Result<(), CopyError> {
    let (mut read_at, mut write_at) = (range.start, range.start);
    while read_at < range.end {
        let length = usize::try_from(range.end - read_at).unwrap_or(1 << 30).min(1 << 30);
        match copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), length) {
            Ok(0) => return Err(CopyError::Read(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) | Err(Errno::INTR) => {}
            // Not every filesystem can, and no error says which of the files it is about.
            Err(_) => return copy_by_hand(from, to, read_at..range.end),
        }
    }
    Ok(())
}

fn copy_by_hand(from: &File, to: &File, range: Range<u64>) -> Result<(), CopyError> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut at = range.start;
    while at < range.end {
        let length = usize::try_from(range.end - at).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
        let bytes = buffer.get_mut(..length).unwrap_or_default();
        from.read_exact_at(bytes, at).map_err(CopyError::Read)?;
        to.write_all_at(bytes, at).map_err(CopyError::Write)?;
        at += length as u64;
    }
    Ok(())
}

/// The first part of a range that is not a hole.
///
/// Where a filesystem does not know holes, or cannot say because it is damaged further on, all of it is data.
fn next_data(file: &File, range: Range<u64>) -> Option<Range<u64>> {
    if range.is_empty() {
        return None;
    }
    let start = match seek(file, SeekFrom::Data(range.start)) {
        Ok(start) if start < range.end => start,
        Ok(_) | Err(Errno::NXIO) => return None,
        Err(_) => return Some(range),
    };
    let end = seek(file, SeekFrom::Hole(start)).unwrap_or(range.end);
    Some(start..end.min(range.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_zero_and_stay_holes() {
        let from = tempfile::tempfile().unwrap();
        from.set_len(64 << 20).unwrap();
        from.write_all_at(b"data", 32 << 20).unwrap();
        assert!(is_zero(&from, 0..32 << 20).unwrap());
        assert!(!is_zero(&from, 0..(32 << 20) + 1).unwrap());
        assert!(is_zero(&from, (32 << 20) + 4..64 << 20).unwrap());

        let to = tempfile::tempfile().unwrap();
        copy(&from, &to, 0..64 << 20).unwrap();
        assert!(equals(&to, 32 << 20, b"data").unwrap());
        assert!(rustix::fs::fstat(&to).unwrap().st_blocks * 512 < 1 << 20);
    }

    #[test]
    fn what_ends_early_is_not_equal() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"abc", 0).unwrap();
        for (bytes, expected) in [(&b"abc"[..], true), (b"abd", false), (b"abcd", false), (b"", true)] {
            assert_eq!(equals(&file, 0, bytes).unwrap(), expected);
        }
    }
}

//! The bytes of a file, range by range: data is read, holes are believed only where the file has fewer blocks than
//! bytes.

use std::io::Read;

use rustix::fd::OwnedFd;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// Data is read in whole blocks of this size; shorter holes are read as zeros.
pub(super) const HOLE_LENGTH_MIN: u64 = 64 << 10;

/// A range of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Range {
    /// Bytes to read.
    Data { start: u64, end: u64 },
    /// Bytes that were never written.
    Hole { start: u64, end: u64 },
}

/// The ranges of a file up to `size`, in order.
pub(super) struct Ranges<'a> {
    file: &'a OwnedFd,
    size: u64,
    position: u64,
    is_sparse: bool,
    waiting: Option<Range>,
}

impl<'a> Ranges<'a> {
    pub(super) const fn new(file: &'a OwnedFd, size: u64, is_sparse: bool) -> Self {
        Self { file, size, position: 0, is_sparse, waiting: None }
    }

    /// The next data from `from` on, in whole blocks; the end of the file twice if there is none.
    fn data(&self, from: u64) -> Result<(u64, u64), Errno> {
        let start = match seek(self.file, SeekFrom::Data(from)) {
            Ok(start) => start.max(from),
            Err(Errno::NXIO) => return Ok((self.size, self.size)),
            Err(error) => return Err(error),
        };
        if start >= self.size {
            return Ok((self.size, self.size));
        }
        let mut end = seek(self.file, SeekFrom::Hole(start))?;
        // Ends: every round moves `end` up to the next data or to the end of the file.
        loop {
            end = end.max(start + 1).next_multiple_of(HOLE_LENGTH_MIN).min(self.size);
            let more = match seek(self.file, SeekFrom::Data(end)) {
                Ok(more) => more,
                Err(Errno::NXIO) => break,
                Err(error) => return Err(error),
            };
            if end >= self.size || more - more % HOLE_LENGTH_MIN > end {
                break;
            }
            end = seek(self.file, SeekFrom::Hole(more))?;
        }
        Ok((start - start % HOLE_LENGTH_MIN, end))
    }
}

impl Iterator for Ranges<'_> {
    type Item = Result<Range, Errno>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(range) = self.waiting.take() {
            return Some(Ok(range));
        }
        let start = self.position;
        if start >= self.size {
            return None;
        }
        let (data, end) = if self.is_sparse {
            match self.data(start) {
                Ok(found) => found,
                // A filesystem that cannot say has no holes to tell.
                Err(Errno::INVAL | Errno::OPNOTSUPP) => (start, self.size),
                Err(error) => return Some(Err(error)),
            }
        } else {
            (start, self.size)
        };
        let data = data.max(start);
        self.position = end.max(data);
        let range = (data < end).then_some(Range::Data { start: data, end });
        if start < data {
            self.waiting = range;
            return Some(Ok(Range::Hole { start, end: data }));
        }
        range.map(Ok)
    }
}

/// Reads a range of a file, and no further, however the file grows.
pub(super) struct Feed<'a> {
    pub(super) file: &'a OwnedFd,
    pub(super) position: u64,
    pub(super) end: u64,
}

impl Read for Feed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let Some(buffer) = buffer.get_mut(..length).filter(|buffer| !buffer.is_empty()) else { return Ok(0) };
        let length = rustix::io::pread(self.file, buffer, self.position)?;
        self.position += length as u64;
        Ok(length)
    }
}

/// Whether all bytes are zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<64>();
    blocks.iter().all(|block| block.iter().fold(0, |all, byte| all | byte) == 0)
        && rest.iter().all(|b| *b == 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn ranges(size: u64, writes: &[(u64, usize)], is_sparse: bool) -> Vec<Range> {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        for &(offset, length) in writes {
            file.write_all_at(&vec![1; length], offset).unwrap();
        }
        let file = OwnedFd::from(file);
        Ranges::new(&file, size, is_sparse).map(Result::unwrap).collect()
    }

    #[test]
    fn ranges_cover_a_file_without_gaps() {
        const MIB: u64 = 1 << 20;
        for (size, writes) in [
            (10 * MIB, vec![]),
            (10 * MIB, vec![(3 * MIB + 5000, 10_000)]),
            (10 * MIB + 77, vec![(0, 1), (5 * MIB, 100), (5 * MIB + 70_000, 100), (10 * MIB, 77)]),
            (200_000, vec![(100_000, 1)]),
        ] {
            let found = ranges(size, &writes, true);
            let mut end = 0;
            for range in &found {
                let (Range::Data { start, end: next } | Range::Hole { start, end: next }) = *range;
                assert!(start == end && next > start, "{found:?}");
                end = next;
            }
            assert_eq!(end, size, "{found:?}");
            for (offset, length) in writes {
                let is_in = |range: &Range| {
                    matches!(*range, Range::Data { start, end }
                        if start <= offset && offset + length as u64 <= end)
                };
                assert!(found.iter().any(is_in), "{offset} in {found:?}");
            }
        }
        assert_eq!(ranges(100, &[], false), [Range::Data { start: 0, end: 100 }]);
    }

    #[test]
    fn zeros_are_told_from_others() {
        let mut bytes = vec![0; 1000];
        assert!(is_zero(&bytes) && is_zero(&[]));
        for index in [0, 63, 64, 959, 960, 999] {
            bytes[index] = 1;
            assert!(!is_zero(&bytes), "{index}");
            bytes[index] = 0;
        }
    }
}

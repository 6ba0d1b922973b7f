//! Walking the bytes of a segment from one sound frame header to the next, over what is damaged or cannot be read.
//!
//! A read that the medium refuses is tried once more; then its sectors are read one by one, and those that stay
//! unreadable are left out, more at once the more there are: a dying drive takes its time over each. Any other failure
//! of a read, such as too many open files, ends the walk: it says nothing about the drive.
//!
//! Where a header should be and is not, further copies of the file are asked for it before anything is left out.

use chunk::{FRAME_HEADER_LENGTH, FrameHeader};
use medium::{DiskError, File};

use crate::PoolError;
use crate::error::is_unreadable;

/// Most bytes that are looked through at once.
const WINDOW_MAX: u64 = 1 << 20;
/// What a medium loses at once.
const SECTOR: u64 = 4096;

/// Finds frames.
pub(crate) struct Scan<'a> {
    file: &'a dyn File,
    offset: u64,
    length: u64,
    /// Why bytes could not be read on the way, if there were any.
    pub(crate) unreadable: Option<DiskError>,
}

impl<'a> Scan<'a> {
    /// Looks at a file from `offset`, a place where a frame may start, to `length`.
    pub(crate) const fn new(file: &'a dyn File, offset: u64, length: u64) -> Self {
        Self { file, offset, length, unreadable: None }
    }

    /// The next sound header and its place.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, FrameHeader)>, PoolError> {
        let start = self.offset;
        let (mut window, mut skip) = (FRAME_HEADER_LENGTH as u64, SECTOR);
        while self.offset + FRAME_HEADER_LENGTH as u64 <= self.length {
            let size = usize::try_from(window.min(self.length - self.offset)).unwrap_or(FRAME_HEADER_LENGTH);
            let mut bytes = vec![0; size];
            match again(|| Ok(self.file.read_at(self.offset, &mut bytes)?))? {
                Ok(()) => {
                    if let Some((found, header)) = FrameHeader::find(&bytes, 0) {
                        let at = self.offset + found as u64;
                        self.offset = at + header.padded_length() as u64;
                        return Ok(Some((at, header)));
                    }
                    if let Some(found) = self.copied(start) {
                        return Ok(Some(found));
                    }
                    self.offset += (size - size % FRAME_HEADER_LENGTH) as u64;
                    window = (window * 4).clamp(SECTOR, WINDOW_MAX);
                    skip = SECTOR;
                }
                Err(error) => {
                    if let Some(found) = self.copied(start) {
                        return Ok(Some(found));
                    }
                    self.unreadable = Some(error);
                    if window <= SECTOR {
                        self.offset = (self.offset / SECTOR) * SECTOR + skip;
                        skip = (skip * 2).min(WINDOW_MAX);
                    }
                    window = window.min(SECTOR);
                }
            }
        }
        Ok(None)
    }

    /// The header that another copy has at the place where one should be.
    fn copied(&mut self, start: u64) -> Option<(u64, FrameHeader)> {
        let copies = if self.offset == start && self.file.copies() > 1 { self.file.copies() } else { 0 };
        let mut bytes = [0; FRAME_HEADER_LENGTH];
        let header = (0..copies).find_map(|copy| {
            self.file.read_copy(copy, start, &mut bytes).ok()?;
            FrameHeader::parse(&bytes).ok()
        })?;
        self.offset = start + header.padded_length() as u64;
        Some((start, header))
    }
}

/// Does a read, twice if the medium refuses it; what it says if it refuses again.
pub(crate) fn again<T>(
    mut read: impl FnMut() -> Result<T, PoolError>,
) -> Result<Result<T, DiskError>, PoolError> {
    let refused = |result| match result {
        Ok(value) => Ok(Ok(value)),
        Err(PoolError::Disk(error)) if is_unreadable(&error) => Ok(Err(error)),
        Err(error) => Err(error),
    };
    match refused(read())? {
        Ok(value) => Ok(Ok(value)),
        Err(_) => refused(read()),
    }
}

#[cfg(test)]
mod tests {
    use medium::Disk;
    use medium::sim::{Fault, FaultPlan, SimDisk};

    use super::*;

    #[test]
    fn a_read_that_fails_once_is_done_again_and_one_that_keeps_failing_is_left_out() {
        let disk = SimDisk::new(1);
        let file = disk.create("file").unwrap();
        file.write_at(0, &[7; 9000]).unwrap();
        disk.fail(FaultPlan::once(Fault::Error, disk.reads() + 1).on_reads());
        let mut scan = Scan::new(&*file, 0, 9000);
        assert!(scan.next().unwrap().is_none() && scan.unreadable.is_none());
        disk.fail(FaultPlan::lasting(Fault::Error, 0).on_reads());
        let mut scan = Scan::new(&*file, 0, 9000);
        assert!(scan.next().unwrap().is_none() && scan.unreadable.is_some());
    }

    #[test]
    fn a_crash_is_no_bad_sector() {
        let disk = SimDisk::new(1);
        let file = disk.create("file").unwrap();
        file.write_at(0, &[7; 9000]).unwrap();
        disk.fail(FaultPlan::lasting(Fault::Crash, disk.operations() + 1));
        assert!(file.write_at(0, &[7]).is_err());
        assert!(Scan::new(&*file, 0, 9000).next().is_err());
    }
}

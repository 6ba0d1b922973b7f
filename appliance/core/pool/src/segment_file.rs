//! The file of a segment, read without any key.
//!
//! A segment whose header cannot be read is read by the copy in its footer. Who trusts the drive only takes nothing
//! from the kernel's memory, and tells a place that cannot be read from a drive that does not answer: the one is
//! damage, the other may pass.

use std::sync::Arc;

use chunk::{FRAME_HEADER_LENGTH, FrameHeader, padded_length};
use medium::{Access, Disk, File};
use model::{ErrorKind, SegmentNumber};

use crate::PoolError;
use crate::layout::{SEGMENT_HEADER_LENGTH, SegmentHeader, segment_path};
use crate::segment::{FOOTER_TAIL_LENGTH, Footer, FramePlace};

/// What reads go by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// What the kernel holds is as good as the drive.
    Kernel,
    /// The drive only.
    Drive,
}

/// The file of a segment.
pub(crate) struct SegmentFile {
    /// Its header.
    pub(crate) header: SegmentHeader,
    /// Why the header is that of the footer and not the one at the start, if it is.
    pub(crate) header_lost: Option<PoolError>,
    /// What is read.
    pub(crate) file: Arc<dyn File>,
    trust: Trust,
}

impl SegmentFile {
    /// Opens the file of a segment and reads its header.
    pub(crate) fn open(
        disk: &dyn Disk,
        pool: &[u8; 16],
        number: SegmentNumber,
        trust: Trust,
    ) -> Result<Self, PoolError> {
        let file = disk.open(&segment_path(number), Access::Read)?;
        if trust == Trust::Drive {
            file.forget_cached()?;
        }
        let (header, header_lost) = match read_header(&*file, number, trust) {
            Ok(header) => (header, None),
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Io) => {
                match Footer::read_header(&*file, number) {
                    Ok(Some(copy)) => (copy, Some(error)),
                    _ => return Err(error),
                }
            }
            Err(error) => return Err(error),
        };
        if &header.pool != pool {
            return Err(PoolError::SegmentHeader { segment: number, what: "it is that of another pool" });
        }
        Ok(Self { header, header_lost, file, trust })
    }

    /// Reads the bytes of the frame at a place.
    pub(crate) fn bytes(&self, place: FramePlace) -> Result<Vec<u8>, PoolError> {
        let mut bytes = vec![0; padded_length(place.sealed_length as usize)];
        self.fill(place.offset, &mut bytes)?;
        Ok(bytes)
    }

    /// The same of one copy of the segment.
    pub(crate) fn bytes_in(&self, copy: u32, place: FramePlace) -> Result<Vec<u8>, PoolError> {
        let mut bytes = vec![0; padded_length(place.sealed_length as usize)];
        self.file.read_copy(copy, place.offset, &mut bytes)?;
        Ok(bytes)
    }

    /// The header of the frame at `offset`, from whichever copy of the segment gives it.
    pub(crate) fn frame_header(&self, offset: u64) -> Result<FrameHeader, PoolError> {
        let first = self.header_in(None, offset);
        first.or_else(|error| of_copies(&*self.file, error, |copy| self.header_in(Some(copy), offset)))
    }

    /// The header of the frame at `offset` in one copy, or as it is read first.
    pub(crate) fn header_in(&self, copy: Option<u32>, offset: u64) -> Result<FrameHeader, PoolError> {
        let mut bytes = [0; FRAME_HEADER_LENGTH];
        match copy {
            Some(copy) => self.file.read_copy(copy, offset, &mut bytes)?,
            None => self.fill(offset, &mut bytes)?,
        }
        let segment = self.header.number;
        FrameHeader::parse(&bytes).map_err(|source| PoolError::Frame { segment, offset, source })
    }

    /// Its footer, if it has a sound one in any copy.
    pub(crate) fn footer(&self) -> Result<Option<Footer>, PoolError> {
        let first = self.first_footer();
        if matches!(first, Ok(Some(_))) || self.file.copies() < 2 {
            return first;
        }
        let length = self.file.length()?;
        let by_copy = |copy| {
            let read = |offset, buffer: &mut [u8]| self.file.read_copy(copy, offset, buffer);
            Footer::read_by(length, read).ok().flatten()
        };
        (0..self.file.copies()).find_map(by_copy).map_or(first, |footer| Ok(Some(footer)))
    }

    fn first_footer(&self) -> Result<Option<Footer>, PoolError> {
        match Footer::read(&*self.file) {
            Err(error) if error.kind() == ErrorKind::Io && self.trust == Trust::Drive => {}
            result => return result,
        }
        match Footer::read(&*self.file) {
            Err(PoolError::Disk(source)) if source.kind() == ErrorKind::Io && answers(&*self.file) => {
                let offset = self.file.length()?.saturating_sub(FOOTER_TAIL_LENGTH as u64);
                Err(PoolError::Unreadable { segment: self.header.number, offset, source })
            }
            result => result,
        }
    }

    /// Whether what follows the valid bytes was a footer and is none any more. `entries` are those that it should have.
    pub(crate) fn has_lost_footer(&self, entries: Vec<u8>, length: u64) -> Result<bool, PoolError> {
        let expected = Footer::of_entries(entries, &self.header.encode(), length);
        if self.file.length()?.saturating_sub(length) != expected.len() as u64 {
            return Ok(false);
        }
        let mut found = vec![0; expected.len()];
        self.fill(length, &mut found)?;
        Ok(Footer::is_rotten(&expected, &found, length))
    }

    /// Whether the drive delivers anything of it.
    pub(crate) fn answers(&self) -> bool {
        answers(&*self.file)
    }

    /// Fills a buffer from `offset`.
    pub(crate) fn fill(&self, offset: u64, buffer: &mut [u8]) -> Result<(), PoolError> {
        fill(&*self.file, self.header.number, offset, buffer, self.trust)
    }
}

/// Reads the header at the start of a segment.
fn read_header(file: &dyn File, number: SegmentNumber, trust: Trust) -> Result<SegmentHeader, PoolError> {
    let mut bytes = [0; SEGMENT_HEADER_LENGTH];
    if file.length()? < bytes.len() as u64 {
        return Err(PoolError::SegmentHeader { segment: number, what: "it is cut off" });
    }
    let read = fill(file, number, 0, &mut bytes, trust);
    read.and_then(|()| SegmentHeader::decode(&bytes, number)).or_else(|error| {
        of_copies(file, error, |copy| {
            file.read_copy(copy, 0, &mut bytes)?;
            SegmentHeader::decode(&bytes, number)
        })
    })
}

/// What the first copy of a file gives that gives it, after the one that was read did not for `error`.
pub(crate) fn of_copies<T>(
    file: &dyn File,
    error: PoolError,
    mut read: impl FnMut(u32) -> Result<T, PoolError>,
) -> Result<T, PoolError> {
    if file.copies() < 2 || !error.is_of_place() {
        return Err(error);
    }
    (0..file.copies()).find_map(|copy| read(copy).ok()).ok_or(error)
}

/// Fills a buffer from the file of a segment. If only the drive counts, a read that fails twice although the drive
/// delivers another place of the file is damage of that place.
fn fill(
    file: &dyn File,
    segment: SegmentNumber,
    offset: u64,
    buffer: &mut [u8],
    trust: Trust,
) -> Result<(), PoolError> {
    match file.read_at(offset, buffer) {
        Err(error) if error.kind() == ErrorKind::Io && trust == Trust::Drive => {}
        result => return Ok(result?),
    }
    match file.read_at(offset, buffer) {
        Err(source) if source.kind() == ErrorKind::Io && answers(file) => {
            Err(PoolError::Unreadable { segment, offset, source })
        }
        result => Ok(result?),
    }
}

/// Whether the first or the last bytes of a file can be read, from the drive and not from what the kernel holds of them.
fn answers(file: &dyn File) -> bool {
    let mut bytes = [0; FOOTER_TAIL_LENGTH];
    if file.forget_cached().is_err() {
        return false;
    }
    let last = file.length().ok().and_then(|length| length.checked_sub(bytes.len() as u64));
    [Some(0), last].into_iter().flatten().any(|at| file.read_at(at, &mut bytes).is_ok())
}

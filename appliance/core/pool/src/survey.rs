//! The first look at the segments behind the catalog's mark: which there are, and which commit marks in them count.
//!
//! What a killed process left in the kernel's memory is made durable before it is believed, and read back from the
//! drive: what a failed sync lost stays readable in the kernel's memory. Segments that the catalog's mark covers are
//! neither read nor synced, unless a later mark says that they grew.

use chunk::{Decompressor, FrameHeader, FrameKind};
use medium::{Access, Disk};
use model::{CommitNumber, ErrorKind, SegmentNumber};

use crate::PoolError;
use crate::catalog::Mark;
use crate::chain::{Seen, choose};
use crate::error::is_unreadable;
use crate::layout::{SEGMENT_HEADER_LENGTH, SEGMENTS, SegmentKind, segment_number, segment_path};
use crate::reader::{FrameReader, OpenedFrame, SegmentReader};
use crate::record::RecordsBody;
use crate::scan::{Scan, again};
use crate::segment::FramePlace;

/// A segment that cannot be used, and why.
pub(crate) struct Lost {
    /// Which one.
    pub(crate) segment: SegmentNumber,
    /// Why.
    pub(crate) cause: String,
    /// The medium refuses to read it; otherwise it is only that its header is not sound.
    pub(crate) unreadable: bool,
}

/// What the first look found.
#[derive(Default)]
pub(crate) struct Survey {
    /// Meta segments from the mark on, ascending, each with the last commit before it was made.
    pub(crate) metas: Vec<(SegmentNumber, CommitNumber)>,
    /// The marks that count, oldest first.
    pub(crate) chain: Vec<Seen>,
    /// The commit that the walk begins behind, if that is not the one of the mark.
    pub(crate) base: CommitNumber,
    /// A commit that was made before a data segment behind the last meta segment.
    pub(crate) proven: CommitNumber,
    /// Segments behind the mark without a header that can be used.
    pub(crate) lost: Vec<Lost>,
    /// The largest number of a segment that exists.
    pub(crate) last_segment: SegmentNumber,
}

/// Numbers of all segments on the drive, ascending.
pub(crate) fn segments(disk: &dyn Disk) -> Result<Vec<SegmentNumber>, PoolError> {
    let mut numbers: Vec<_> = disk.list(SEGMENTS)?.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Looks at everything that may have grown since `mark`.
pub(crate) fn survey(disk: &dyn Disk, frames: &FrameReader, mark: &Mark) -> Result<Survey, PoolError> {
    let numbers = segments(disk)?;
    let covered = |number: &SegmentNumber| mark.length_of(*number).is_some();
    let grown =
        |number: &SegmentNumber| *number == mark.segment || (*number > mark.segment && !covered(number));
    let mut survey =
        Survey { last_segment: numbers.last().copied().unwrap_or_default(), ..Survey::default() };
    let grown: Vec<_> = numbers.into_iter().filter(grown).collect();
    for number in &grown {
        survey.settle(disk, *number, mark)?;
    }
    disk.sync_directory(SEGMENTS)?;
    let mut marks = Vec::new();
    let mut named = Vec::new();
    for number in grown {
        survey.look(frames, number, mark, &mut marks, &mut named)?;
    }
    named.sort_unstable();
    named.dedup();
    for number in named.into_iter().filter(|number| *number < mark.segment || covered(number)) {
        survey.settle(disk, number, mark)?;
    }
    if survey.metas.iter().any(|(number, after)| *number > mark.segment && *after < mark.commit) {
        // A later segment was made when fewer commits could be read, and others took their numbers.
        return Err(PoolError::CatalogValue("its mark"));
    }
    survey.chain = choose(&marks, &survey.metas, mark.commit);
    survey.begin_at_base(mark)?;
    if mark.commit.0 > 0
        && mark.hash != [0; 32]
        && let Some(first) = survey.chain.first()
        && first.number == mark.commit.next()
        && first.previous != [0; 32]
        && first.previous != mark.hash
    {
        return Err(PoolError::CatalogValue("its mark"));
    }
    Ok(survey)
}

impl Survey {
    /// Leaves out what was stated again since: segments that are gone and whose files are there still.
    fn begin_at_base(&mut self, mark: &Mark) -> Result<(), PoolError> {
        let Some(base) = self.chain.last().and_then(|newest| newest.base) else { return Ok(()) };
        if base <= mark.commit {
            return Ok(());
        }
        if mark.commit.0 > 0 {
            // What became of what it knows was not stated again.
            return Err(PoolError::CatalogValue("its mark"));
        }
        self.base = base;
        self.chain.retain(|seen| seen.number > base);
        self.metas.retain(|(_, after)| *after >= base);
        Ok(())
    }

    /// Makes durable what a segment has beyond the mark, and forgets what only looks so.
    fn settle(&mut self, disk: &dyn Disk, segment: SegmentNumber, mark: &Mark) -> Result<(), PoolError> {
        let file = match again(|| Ok(disk.open(&segment_path(segment), Access::ReadWrite)?)) {
            Ok(Ok(file)) => file,
            // It is said when it is looked at.
            Ok(Err(_)) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Missing => return Ok(()),
            Err(error) => return Err(error),
        };
        if mark.length_of(segment) != Some(file.length()?) {
            file.sync_data()?;
            file.forget_cached()?;
        }
        Ok(())
    }

    /// Reads the header of a segment, and of a meta segment the marks.
    fn look(
        &mut self,
        frames: &FrameReader,
        number: SegmentNumber,
        mark: &Mark,
        marks: &mut Vec<Seen>,
        named: &mut Vec<SegmentNumber>,
    ) -> Result<(), PoolError> {
        let segment = match again(|| frames.segment(number)) {
            Ok(Ok(segment)) => segment,
            Ok(Err(error)) => {
                let cause = PoolError::Disk(error).in_words();
                self.lost.push(Lost { segment: number, cause, unreadable: true });
                return Ok(());
            }
            // A header that never became durable, of a segment made just before a crash; or damage, if a commit
            // covers it: that is said at the end.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.lost.push(Lost { segment: number, cause: error.in_words(), unreadable: false });
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let after = segment.header.after;
        if segment.header.kind == SegmentKind::Data {
            self.proven = self.proven.max(after);
            return Ok(());
        }
        self.metas.push((number, after));
        self.proven = CommitNumber(0);
        let mut decompressor = Decompressor::default();
        let mut scan = Scan::new(&*segment.file, start(number, mark), segment.file.length()?);
        while let Some((offset, header)) = scan.next()? {
            if header.kind() != FrameKind::Records {
                continue;
            }
            let Ok(frame) = open_frame(&segment, offset, &header, &mut decompressor)? else { continue };
            let body = decode_records(&frame.plaintext, mark.commit)?;
            if let Some(found) = body.mark {
                let hash = *blake3::hash(&frame.plaintext).as_bytes();
                let (number, previous, base) = (found.number, found.previous, found.base);
                marks.push(Seen { segment: segment.header.number, offset, number, hash, previous, base });
                named.extend(found.lengths.iter().map(|length| length.segment));
            }
        }
        Ok(())
    }
}

/// Where the frames of a segment start that the mark does not cover.
pub(crate) fn start(segment: SegmentNumber, mark: &Mark) -> u64 {
    let start = if segment == mark.segment { mark.offset } else { 0 };
    start.max(SEGMENT_HEADER_LENGTH as u64)
}

/// A frame that cannot be used.
pub(crate) struct BadFrame {
    /// The medium refuses to read it.
    pub(crate) unreadable: bool,
}

/// Opens the frame under a sound header.
pub(crate) fn open_frame(
    segment: &SegmentReader,
    offset: u64,
    header: &FrameHeader,
    decompressor: &mut Decompressor,
) -> Result<Result<OpenedFrame, BadFrame>, PoolError> {
    let place = FramePlace { segment: segment.header.number, offset, sealed_length: header.sealed_length() };
    match again(|| segment.read(place, decompressor)) {
        Ok(Ok(frame)) => Ok(Ok(frame)),
        Ok(Err(_)) => Ok(Err(BadFrame { unreadable: true })),
        // Missing: the end of the file cuts it off.
        Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Missing) => {
            Ok(Err(BadFrame { unreadable: false }))
        }
        Err(error) => Err(error),
    }
}

/// Reads the body of a records frame found behind a commit.
pub(crate) fn decode_records(bytes: &[u8], last: CommitNumber) -> Result<RecordsBody, PoolError> {
    minicbor::decode(bytes)
        .map_err(|error| PoolError::Record { commit: last.next(), message: error.to_string() })
}

/// The length of a segment's file; nothing if the medium does not tell.
pub(crate) fn file_length(disk: &dyn Disk, segment: SegmentNumber) -> Result<Option<u64>, PoolError> {
    match disk.open(&segment_path(segment), Access::Read).and_then(|file| file.length()) {
        Ok(length) => Ok(Some(length)),
        Err(error) if is_unreadable(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

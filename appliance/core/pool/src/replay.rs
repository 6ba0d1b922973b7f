//! Reading the truth: walking the meta segments from the catalog's mark to their end.
//!
//! Start-up and rebuild are this same walk; a rebuild only starts from an empty mark. Frames count when a commit mark
//! behind them names a length of their segment that covers them. What lies behind the last sound mark was never
//! acknowledged and is left where it is. A commit that is missing between two sound ones is damage and is said.
//!
//! What a killed process left in the kernel's memory is made durable before it is believed, and read back from the
//! drive: what a failed sync lost stays readable in the kernel's memory.

use chunk::{Decompressor, FRAME_HEADER_LENGTH, FrameHeader, FrameKind};
use medium::{Access, Disk, File};
use model::{MachineId, SegmentNumber};

use crate::PoolError;
use crate::catalog::{Mark, Place};
use crate::layout::{SEGMENT_HEADER_LENGTH, SEGMENTS, SegmentKind, segment_number, segment_path};
use crate::reader::{FrameReader, OpenedFrame, SegmentReader};
use crate::record::{CommitMark, FrameIndex, Record, RecordsBody, decode_frame_indexes};
use crate::segment::FramePlace;

/// What the walk hands over, one commit at a time.
#[derive(Default)]
pub(crate) struct Replayed {
    /// Data frames that the commit made valid.
    pub(crate) indexes: Vec<FrameIndex>,
    /// Pages that it made valid.
    pub(crate) pages: Vec<(model::Name, Place)>,
    /// Its records.
    pub(crate) records: Vec<Record>,
}

/// What was found besides commits.
#[derive(Default)]
pub(crate) struct Findings {
    /// Damage, in words.
    pub(crate) damage: Vec<String>,
    /// The largest number of a segment that exists.
    pub(crate) last_segment: SegmentNumber,
}

/// Something read from a meta segment that no mark has covered yet.
struct Pending<T> {
    segment: SegmentNumber,
    offset: u64,
    value: T,
}

struct Walk<'a> {
    mark: &'a mut Mark,
    findings: Findings,
    indexes: Vec<Pending<FrameIndex>>,
    pages: Vec<Pending<(model::Name, Place)>>,
    records: Vec<Pending<Record>>,
    decompressor: Decompressor,
    commit: &'a mut dyn FnMut(Replayed, &Mark) -> Result<(), PoolError>,
}

/// Numbers of all segments on the drive, ascending.
pub(crate) fn segments(disk: &dyn Disk) -> Result<Vec<SegmentNumber>, PoolError> {
    let mut numbers: Vec<_> = disk.list(SEGMENTS)?.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Walks from `mark` to the end, moving it; calls `commit` for every commit.
pub(crate) fn replay(
    disk: &dyn Disk,
    frames: &FrameReader,
    mark: &mut Mark,
    commit: &mut dyn FnMut(Replayed, &Mark) -> Result<(), PoolError>,
) -> Result<Findings, PoolError> {
    let numbers = segments(disk)?;
    settle(disk, &numbers, mark)?;
    let mut walk = Walk {
        mark,
        findings: Findings { damage: Vec::new(), last_segment: numbers.last().copied().unwrap_or_default() },
        indexes: Vec::new(),
        pages: Vec::new(),
        records: Vec::new(),
        decompressor: Decompressor::default(),
        commit,
    };
    let first = walk.mark.segment;
    for number in numbers.iter().copied().filter(|n| *n >= first) {
        match frames.segment(number) {
            Ok(segment) if segment.header.kind == SegmentKind::Meta => walk.segment(&segment)?,
            Ok(_) => {}
            // A header that never became durable, of a segment made just before a crash; or damage, if a commit
            // covers it: that is said at the end.
            Err(error) if error.kind() == model::ErrorKind::Corrupt => {}
            Err(error) => return Err(error),
        }
    }
    walk.finish(disk, frames)
}

/// Makes durable whatever grew since the mark, and forgets what only looks so.
fn settle(disk: &dyn Disk, numbers: &[SegmentNumber], mark: &Mark) -> Result<(), PoolError> {
    for number in numbers {
        let file = disk.open(&segment_path(*number), Access::ReadWrite)?;
        let known = mark.lengths.binary_search_by_key(number, |(n, _)| *n).ok();
        let known = known.and_then(|at| mark.lengths.get(at)).map(|(_, length)| *length);
        if known != Some(file.length()?) {
            file.sync_data()?;
            file.forget_cached()?;
        }
    }
    Ok(disk.sync_directory(SEGMENTS)?)
}

impl Walk<'_> {
    fn segment(&mut self, segment: &SegmentReader) -> Result<(), PoolError> {
        let number = segment.header.number;
        let start = if number == self.mark.segment { self.mark.offset } else { 0 };
        let mut offset = start.max(SEGMENT_HEADER_LENGTH as u64);
        let length = segment.file.length()?;
        while let Some((at, header)) = next_frame(&*segment.file, offset, length)? {
            let place = FramePlace { segment: number, offset: at, sealed_length: header.sealed_length() };
            match segment.read(place, &mut self.decompressor) {
                Ok(frame) => {
                    offset = at + header.padded_length() as u64;
                    self.frame(place, offset, &frame)?;
                }
                Err(error) if error.kind() == model::ErrorKind::Corrupt => {
                    offset = at + FRAME_HEADER_LENGTH as u64;
                }
                // A frame that the end of the file cuts off.
                Err(error) if error.kind() == model::ErrorKind::Missing => {
                    offset = at + FRAME_HEADER_LENGTH as u64;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn frame(&mut self, place: FramePlace, end: u64, frame: &OpenedFrame) -> Result<(), PoolError> {
        let (segment, offset) = (place.segment, place.offset);
        let pending = |value| Pending { segment, offset, value };
        match frame.kind {
            FrameKind::Index => {
                let indexes = decode_frame_indexes(&frame.plaintext)?;
                self.indexes.extend(indexes.into_iter().map(|value| Pending { segment, offset, value }));
            }
            FrameKind::Pages => {
                for (entry, range) in frame.table.iter().flat_map(chunk::Table::ranges) {
                    let start = u32::try_from(range.start).unwrap_or(u32::MAX);
                    let place = Place { frame: place, start, length: entry.length, owner: MachineId(0) };
                    self.pages.push(pending((entry.name, place)));
                }
            }
            FrameKind::Records => {
                let body: RecordsBody = minicbor::decode(&frame.plaintext).map_err(|error| {
                    PoolError::Record { commit: self.mark.commit.next(), message: error.to_string() }
                })?;
                let records = body.records.into_iter();
                self.records.extend(records.map(|value| Pending { segment, offset, value }));
                if let Some(commit) = body.mark {
                    self.commit(&commit, *blake3::hash(&frame.plaintext).as_bytes(), segment, end)?;
                }
            }
            FrameKind::Data | FrameKind::Journal => {}
        }
        Ok(())
    }

    fn commit(
        &mut self,
        commit: &CommitMark,
        hash: [u8; 32],
        segment: SegmentNumber,
        end: u64,
    ) -> Result<(), PoolError> {
        let expected = self.mark.commit.next();
        if commit.number < expected {
            self.findings
                .damage
                .push(format!("commit {} comes a second time in segment {segment}", commit.number));
            return Ok(());
        }
        if commit.number > expected {
            let last = commit.number.0 - 1;
            self.findings
                .damage
                .push(format!("commits {expected} to {last} cannot be read; their points are lost"));
        } else if commit.previous != self.mark.hash {
            self.findings.damage.push(format!("commit {expected} does not follow from the one before it"));
        }
        let covered = |segment_of: SegmentNumber, at: u64| {
            (segment_of == segment && at < end)
                || commit.lengths.iter().any(|l| l.segment == segment_of && at < l.length)
        };
        let mut out = Replayed::default();
        for pending in self.indexes.drain(..) {
            let index = pending.value;
            if covered(pending.segment, pending.offset) && covered(index.segment, index.offset) {
                out.indexes.push(index);
            }
        }
        let valid = |p: &Pending<(model::Name, Place)>| covered(p.segment, p.offset);
        out.pages = self.pages.drain(..).filter(valid).map(|p| p.value).collect();
        let valid = |p: &Pending<Record>| covered(p.segment, p.offset);
        out.records = self.records.drain(..).filter(valid).map(|p| p.value).collect();
        advance(self.mark, commit, hash, segment, end);
        (self.commit)(out, self.mark)
    }

    /// What the mark says must be there, is there.
    fn finish(mut self, disk: &dyn Disk, frames: &FrameReader) -> Result<Findings, PoolError> {
        for (segment, length) in &self.mark.lengths {
            if let Err(error) = frames.segment(*segment)
                && error.kind() == model::ErrorKind::Corrupt
            {
                self.findings.damage.push(format!("segment {segment} cannot be read: {error}"));
            }
            match disk.open(&segment_path(*segment), Access::Read).and_then(|file| file.length()) {
                Ok(found) if found >= *length => {}
                Ok(found) => self
                    .findings
                    .damage
                    .push(format!("segment {segment} has {found} bytes, the last commit says {length}")),
                Err(error) if error.kind() == model::ErrorKind::Missing => {
                    self.findings.damage.push(format!("segment {segment} is missing"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        let known = self.mark.lengths.last().map_or(SegmentNumber(0), |(segment, _)| *segment);
        self.findings.last_segment = self.findings.last_segment.max(known);
        Ok(self.findings)
    }
}

/// Moves a mark over a commit whose frame ends at `end` of `segment`.
pub(crate) fn advance(
    mark: &mut Mark,
    commit: &CommitMark,
    hash: [u8; 32],
    segment: SegmentNumber,
    end: u64,
) {
    mark.commit = commit.number;
    mark.hash = hash;
    mark.segment = segment;
    mark.offset = end;
    let own = (segment, end);
    for (segment, length) in commit.lengths.iter().map(|l| (l.segment, l.length)).chain([own]) {
        match mark.lengths.binary_search_by_key(&segment, |(n, _)| *n) {
            Ok(at) => {
                if let Some(known) = mark.lengths.get_mut(at) {
                    known.1 = known.1.max(length);
                }
            }
            Err(at) => mark.lengths.insert(at, (segment, length)),
        }
    }
}

/// The next sound frame header at or behind `offset`.
pub(crate) fn next_frame(
    file: &dyn File,
    offset: u64,
    length: u64,
) -> Result<Option<(u64, FrameHeader)>, PoolError> {
    const STEP: u64 = 1 << 20;
    let mut at = offset;
    let mut window = FRAME_HEADER_LENGTH as u64;
    while at + FRAME_HEADER_LENGTH as u64 <= length {
        let size = usize::try_from(window.min(length - at)).unwrap_or(FRAME_HEADER_LENGTH);
        let mut bytes = vec![0; size];
        file.read_at(at, &mut bytes)?;
        if let Some((found, header)) = FrameHeader::find(&bytes, 0) {
            return Ok(Some((at + found as u64, header)));
        }
        at += (size - size % FRAME_HEADER_LENGTH) as u64;
        window = STEP;
    }
    Ok(None)
}

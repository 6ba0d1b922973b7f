//! Cleaning the log: meta segments go as well, the oldest first.
//!
//! Meta segments hold pages, indexes and records in the order in which they were made. What counts of the oldest ones is
//! stated again at the end, in one commit with the record that removes them; its mark names the last commit whose mark
//! goes with them, so a rebuild begins there. As always the oldest go, a record that takes something back never goes
//! before what it takes back.
//!
//! A round goes over everything that was there when it began, and leaves the log as long as what counts in it. The next
//! one begins when it has grown by as much again: so what is written twice is in proportion to what was written.
//!
//! A segment with damage stays, and with it all that are newer, until it is healed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chunk::FrameKind;
use model::{CommitNumber, Name, SegmentNumber};

use super::{Effort, Reclaimed, Thrift};
use crate::PoolError;
use crate::catalog::Kind;
use crate::layout::{SEGMENT_HEADER_LENGTH, SegmentKind};
use crate::planted::Bug;
use crate::pool::Pool;
use crate::reader::OpenedFrame;
use crate::record::{Record, decode_frame_indexes};
use crate::registry::Registry;
use crate::scan::Scan;
use crate::segment::FramePlace;
use crate::state::{Shared, State};
use crate::survey::decode_records;

/// Most segments that go in one commit.
const SEGMENTS_MAX: usize = 4;
/// The setting that says how long the log was after the last round, in bytes.
const LOG_BYTES: &str = "pool/log-bytes";

/// Bytes of the index of a chunk: its name and its length.
const INDEX_BYTES: u64 = Name::LENGTH as u64 + 3;

/// What of segments of the log is stated again.
#[derive(Default)]
struct Restated {
    records: Vec<Record>,
    /// Segments of which something is said.
    named: BTreeSet<SegmentNumber>,
    /// Pages that nothing refers to.
    gone: Vec<Name>,
    /// Bytes that are written again.
    bytes: u64,
}

impl Restated {
    /// Takes what was stated again of one more segment.
    fn add(&mut self, of_segment: Self) {
        self.records.extend(of_segment.records);
        self.named.extend(of_segment.named);
        self.gone.extend(of_segment.gone);
        self.bytes += of_segment.bytes;
    }
}

impl Shared {
    /// Segments of the log with their lengths, oldest first.
    pub(crate) fn log(&self) -> Result<Vec<(SegmentNumber, u64)>, PoolError> {
        let (mut all, uses) = {
            let state = self.state();
            (state.mark.lengths.clone(), state.catalog()?.segments()?)
        };
        let kinds: BTreeMap<SegmentNumber, Kind> =
            uses.iter().map(|(segment, used)| (*segment, used.kind)).collect();
        all.retain(|(segment, _)| match kinds.get(segment) {
            Some(kind) => *kind == Kind::Pages,
            // It has neither chunks nor pages; one that cannot be read counts as of the log, where it holds up the others.
            None => {
                self.frames.segment(*segment).map_or(true, |found| found.header.kind == SegmentKind::Meta)
            }
        });
        Ok(all)
    }

    /// Whether segments, which are all of one kind, are of the log.
    pub(super) fn is_of_log(&self, segments: &[SegmentNumber]) -> Result<bool, PoolError> {
        Ok(self.log()?.iter().any(|(segment, _)| segments.contains(segment)))
    }

    /// Bytes that the log surely has: those of pages and indexes that count, or as many as it had after the last round of
    /// cleaning it.
    fn log_floor(&self) -> Result<u64, PoolError> {
        let stored = |registry: &Registry| {
            let bytes = registry.settings.get(LOG_BYTES)?;
            Some(u64::from_le_bytes(bytes.as_slice().try_into().ok()?))
        };
        let after_round = self.registry(stored).unwrap_or(0);
        let state = self.state();
        let catalog = state.catalog()?;
        let pages = catalog.segments()?.into_iter().filter(|(_, used)| used.kind == Kind::Pages);
        let pages: u64 = pages.map(|(_, used)| used.live).sum();
        Ok(after_round.max(pages + catalog.chunk_count()? * INDEX_BYTES))
    }
}

impl Pool {
    /// Condemns the oldest segments of the log, of `room` bytes at most, if it is worth it.
    pub(super) fn condemn_log(&mut self, thrift: Thrift, room: u64) -> Result<(), PoolError> {
        let shared = Arc::clone(self.shared());
        let log = shared.log()?;
        if self.log_round.is_none() {
            let bytes: u64 = log.iter().map(|(_, length)| length).sum();
            let grown = bytes.saturating_sub(shared.log_floor()?);
            if grown >= 2 * self.meta_bytes() && thrift.wants_share(grown, bytes) {
                self.log_round = log.last().map(|(segment, _)| *segment);
            }
        }
        let Some(last) = self.log_round else { return Ok(()) };
        let open = self.open_segments();
        let mut state = shared.state_mut();
        let goes = |segment: &SegmentNumber| {
            *segment <= last && !open.contains(segment) && !state.stuck.contains(segment)
        };
        let mut bytes = 0;
        let fits = |(_, length): &&(SegmentNumber, u64)| {
            bytes += length;
            bytes <= room
        };
        // The newest one stays: what comes after a segment says where the log begins without it.
        let oldest = log.iter().take(SEGMENTS_MAX.min(log.len().saturating_sub(1))).take_while(fits);
        let condemned: Vec<SegmentNumber> = oldest.map(|(segment, _)| *segment).take_while(goes).collect();
        if condemned.is_empty() {
            self.log_round = None;
        }
        state.condemned = condemned.into_iter().collect();
        Ok(())
    }

    /// States again what counts of the oldest segments of the log, takes them out of the pool, and removes their files.
    pub(super) fn remove_log(
        &mut self,
        ready: &[SegmentNumber],
        effort: Effort,
    ) -> Result<Reclaimed, PoolError> {
        let shared = Arc::clone(self.shared());
        let log = shared.log()?;
        let (mut restated, mut removed, mut freed) = (Restated::default(), Vec::new(), 0);
        for (segment, length) in log.iter().take_while(|(segment, _)| ready.contains(segment)) {
            match self.restate(*segment, *length) {
                Ok(of_segment) => {
                    restated.add(of_segment);
                    removed.push(*segment);
                    freed += length;
                }
                Err(error) if error.is_of_place() => {
                    self.keep_stuck(*segment, &error);
                    break;
                }
                Err(error) => return Err(error),
            }
            if freed + restated.bytes >= effort.bytes {
                break;
            }
        }
        let Some(next) = log.get(removed.len()).map(|(segment, _)| *segment).filter(|_| !removed.is_empty())
        else {
            shared.state_mut().condemned.clear();
            self.log_round = None;
            return Ok(Reclaimed::Bytes { freed: 0, copied: restated.bytes });
        };
        let base = shared.frames.segment(next)?.header.after;
        let Restated { mut records, named, gone, bytes } = restated;
        records.push(Record::Removed { segments: removed.clone() });
        if self.log_round.is_some_and(|last| next > last) {
            self.log_round = None;
            let rest: u64 = log.iter().skip(removed.len()).map(|(_, length)| length).sum();
            let value = Some((rest + bytes).to_le_bytes().to_vec());
            records.push(Record::Setting { key: LOG_BYTES.into(), value });
        }
        let openings = shared.openings();
        self.commit_restated(records, named, Some(base))?;
        if shared.openings() == openings {
            let mut state = shared.state_mut();
            state.forget_log(&gone, &removed);
        }
        self.flush_catalog()?;
        self.remove_files(&removed)?;
        Ok(Reclaimed::Bytes { freed, copied: bytes })
    }

    /// States again what counts of a segment of the log, of which `length` bytes are valid.
    ///
    /// # Errors
    /// Also if not all of it can be read: then it has to stay, and nothing that is in it is forgotten.
    fn restate(&mut self, number: SegmentNumber, length: u64) -> Result<Restated, PoolError> {
        let mut restated = Restated::default();
        let lost =
            PoolError::SegmentHeader { segment: number, what: "not all that is needed is found in it" };
        let shared = Arc::clone(self.shared());
        let segment = shared.frames.segment(number)?;
        if segment.header.kind != SegmentKind::Meta {
            return Err(PoolError::SegmentHeader { segment: number, what: "it is not one of the log" });
        }
        let live = {
            let uses = shared.state().catalog()?.segments()?;
            uses.iter().find(|(of, _)| *of == number).map_or(0, |(_, used)| used.live)
        };
        let mut scan = Scan::new(&*segment.file, SEGMENT_HEADER_LENGTH as u64, length);
        let (mut expected, mut found) = (SEGMENT_HEADER_LENGTH as u64, 0);
        while let Some((offset, header)) = scan.next()? {
            if offset != expected {
                return Err(lost);
            }
            expected = offset + header.padded_length() as u64;
            let place = FramePlace { segment: number, offset, sealed_length: header.sealed_length() };
            let frame = shared.frames.read(place)?;
            match frame.kind {
                FrameKind::Index | FrameKind::Records if self.planted().has(Bug::ForgetLog) => {}
                FrameKind::Pages => found += self.restate_pages(place, &frame, &mut restated)?,
                FrameKind::Index => self.restate_indexes(&frame, &mut restated)?,
                FrameKind::Records => restate_records(&shared, &frame, &mut restated)?,
                FrameKind::Data | FrameKind::Journal => {}
            }
        }
        if expected == length && found == live { Ok(restated) } else { Err(lost) }
    }

    /// Writes pages again that something refers to; how many bytes of them there are.
    fn restate_pages(
        &mut self,
        place: FramePlace,
        frame: &OpenedFrame,
        restated: &mut Restated,
    ) -> Result<u64, PoolError> {
        let shared = Arc::clone(self.shared());
        let mut found = 0;
        for (entry, range) in frame.table.iter().flat_map(chunk::Table::ranges) {
            let (known, references) = {
                let state = shared.state();
                (state.page(&entry.name)?, state.page_references(&entry.name)?)
            };
            if known.is_none_or(|known| known.frame != place || known.start as usize != range.start) {
                continue;
            }
            found += if references == 0 { 0 } else { u64::from(entry.length) };
            let is_promised = references == 0 && self.is_promised(&entry.name);
            if (references == 0 && !is_promised) || self.planted().has(Bug::RestateNothing) {
                restated.gone.push(entry.name);
                continue;
            }
            let bytes = frame.plaintext.get(range).unwrap_or_default();
            if shared.keys.page().name(bytes) != entry.name {
                let (segment, offset) = (place.segment, place.offset);
                return Err(PoolError::Name { what: "page", name: entry.name, segment, offset });
            }
            self.store_page(bytes.to_vec())?;
            restated.bytes += u64::from(entry.length);
        }
        Ok(found)
    }

    /// Notes indexes again of data that is there still. What a rebuild makes of them holds from here on: chunks that
    /// another segment had as well, which took them along when it went, are found in this one.
    fn restate_indexes(&mut self, frame: &OpenedFrame, restated: &mut Restated) -> Result<(), PoolError> {
        let all = decode_frame_indexes(&frame.plaintext)?;
        let shared = Arc::clone(self.shared());
        let is_there = |index: &crate::record::FrameIndex| {
            shared.state().mark.length_of(index.segment).is_some_and(|length| index.offset < length)
        };
        for index in all.into_iter().filter(is_there) {
            restated.bytes += index.entries.len() as u64 * Name::LENGTH as u64;
            restated.named.insert(index.segment);
            shared.state_mut().take_index(&index, &BTreeSet::new())?;
            self.note_index(index);
        }
        Ok(())
    }
}

/// Notes records again that say how things are.
fn restate_records(shared: &Shared, frame: &OpenedFrame, restated: &mut Restated) -> Result<(), PoolError> {
    let state = shared.state();
    let body = decode_records(&frame.plaintext, CommitNumber(0))?;
    let lengths = body.mark.into_iter().flat_map(|mark| mark.lengths);
    restated.named.extend(lengths.map(|length| length.segment));
    for record in body.records {
        for record in state.still_so(record)? {
            restated.bytes += minicbor::to_vec(&record).map_or(0, |bytes| bytes.len() as u64);
            restated.records.push(record);
        }
    }
    Ok(())
}

impl State {
    /// Of a record, as much as says how things are.
    fn still_so(&self, record: Record) -> Result<Vec<Record>, PoolError> {
        let registry = &self.registry;
        let is_so = match &record {
            Record::Machine(machine) => registry.machines.get(&machine.id) == Some(machine),
            Record::Source(source) => registry.sources.get(&source.id) == Some(source),
            Record::Point(point) => {
                let (source, number) = (point.source, point.number);
                if registry.dropped.contains_key(&(source, number)) {
                    // Somebody reads it. That it was dropped may have been said before this is stated again.
                    return Ok(vec![record, Record::Dropped { source, number }]);
                }
                registry.points.contains_key(&(source, number))
            }
            Record::Setting { key, value } => value.is_some() && registry.settings.get(key) == value.as_ref(),
            // Its number is not given again while there is a newer one.
            Record::Dropped { source, number } => {
                registry.points_of(*source).next_back().is_none_or(|newest| newest.number < *number)
            }
            // What it takes back goes with it.
            Record::Disowned { .. } => false,
            Record::Removed { segments } => segments.iter().any(|segment| self.leaving.contains(segment)),
            Record::Adopted { machine, names } => {
                let known = self.catalog()?.adopted(names, *machine)?;
                let names: Vec<Name> = names
                    .iter()
                    .zip(known)
                    .filter(|(_, is_known)| *is_known)
                    .map(|(name, _)| *name)
                    .collect();
                let machine = *machine;
                let adopted = (!names.is_empty()).then_some(Record::Adopted { machine, names });
                return Ok(adopted.into_iter().collect());
            }
        };
        Ok(is_so.then_some(record).into_iter().collect())
    }

    /// Takes out of the tables what was only in segments of the log that are gone.
    fn forget_log(&mut self, gone: &[Name], removed: &[SegmentNumber]) {
        gone.iter().for_each(|name| self.recent.forget_page(name));
        for segment in removed {
            self.condemned.remove(segment);
            self.unswept.remove(segment);
        }
    }
}

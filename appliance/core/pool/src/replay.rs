//! Reading the truth: walking the meta segments from the catalog's mark to their end.
//!
//! Start-up and rebuild are this same walk; a rebuild only starts from an empty mark. Frames count when a commit mark
//! behind them names a length of their segment that covers them. What lies behind the last sound mark was never
//! acknowledged and is left where it is.
//!
//! A mark that cannot be read takes nothing with it where something else proves its commit: a later mark in the same
//! segment, or a segment that was made after the commit. Frames then count as far as they surely came before the
//! mark; of those that may have come behind it, only pages and chunks that can be read, which nobody sees who does
//! not name them. Data frames that no index names are indexed anew from their own tables. All of it is damage and is said.

mod holes;

use std::collections::{BTreeSet, HashSet};

use chunk::{Decompressor, FrameKind, padded_length};
use medium::Disk;
use model::{CommitNumber, ErrorKind, MachineId, Name, SegmentNumber};

use crate::PoolError;
use crate::catalog::{Mark, Place};
use crate::chain::Seen;
use crate::layout::{SEGMENT_HEADER_LENGTH, SegmentKind};
use crate::reader::{FrameReader, OpenedFrame, SegmentReader};
use crate::record::{CommitMark, FrameIndex, Record, SegmentLength, decode_frame_indexes};
use crate::scan::{Scan, again};
use crate::segment::{Footer, FramePlace};
use holes::Named;

use crate::survey::{Survey, decode_records, file_length, open_frame, start, survey};

/// What the walk hands over, one commit at a time.
#[derive(Default)]
pub(crate) struct Replayed {
    /// Data frames that the commit made valid.
    pub(crate) indexes: Vec<FrameIndex>,
    /// The places among them of those that another index before has named, or that were in the catalog. A commit may state
    /// one twice, from two segments of the log that both stated it.
    pub(crate) restated: BTreeSet<usize>,
    /// Pages that it made valid.
    pub(crate) pages: Vec<(Name, Place)>,
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
    /// Chunks whose index was lost, and with it who sent them.
    pub(crate) unowned: HashSet<Name>,
    /// The medium refuses to read what may hold commits behind the last one.
    pub(crate) is_hiding: bool,
}

/// Something in a meta segment that no mark has covered yet.
struct Pending {
    segment: SegmentNumber,
    offset: u64,
    end: u64,
    /// Frames before it in its segment, and behind the last mark, that cannot be used.
    hidden: u64,
    what: What,
}

enum What {
    Indexes(Vec<FrameIndex>),
    Pages(Vec<(Name, Place)>),
    Records(Vec<Record>),
    /// Bytes that cannot be used.
    Bad {
        unreadable: bool,
    },
}

/// What proves that pending frames count.
enum Proof<'a> {
    /// A mark, and whether those of commits before it are missing.
    Mark { segment: SegmentNumber, end: u64, lengths: &'a [SegmentLength], is_gap: bool },
    /// Something that was made after commits whose marks, as many as this, cannot be read; all of them were in this
    /// segment, if it is known.
    Later { missing: u64, segment: Option<SegmentNumber> },
}

struct Walk<'a> {
    frames: &'a FrameReader,
    mark: &'a mut Mark,
    /// The mark from which the walk began.
    known: Mark,
    survey: Survey,
    /// What indexes named on the way.
    named: Named,
    /// Marks of the chain that were reached.
    reached: usize,
    findings: Findings,
    pending: Vec<Pending>,
    hidden: u64,
    /// Where the walk is.
    place: (SegmentNumber, u64),
    decompressor: Decompressor,
    commit: &'a mut dyn FnMut(Replayed, &Mark) -> Result<(), PoolError>,
}

/// Walks from `mark` to the end, moving it; calls `commit` for every commit. Commits up to `known` are known to have
/// been durable.
pub(crate) fn replay(
    disk: &dyn Disk,
    frames: &FrameReader,
    mark: &mut Mark,
    known: CommitNumber,
    commit: &mut dyn FnMut(Replayed, &Mark) -> Result<(), PoolError>,
) -> Result<Findings, PoolError> {
    let survey = survey(disk, frames, mark)?;
    let findings = Findings { last_segment: survey.last_segment, ..Findings::default() };
    let (metas, proven) = (survey.metas.clone(), survey.proven.max(known));
    let place = (mark.segment, mark.offset);
    let begun = mark.clone();
    if survey.base > mark.commit {
        (mark.commit, mark.base) = (survey.base, Some(survey.base));
    }
    let mut walk = Walk {
        frames,
        mark,
        known: begun,
        survey,
        named: Named::default(),
        reached: 0,
        findings,
        pending: Vec::new(),
        hidden: 0,
        place,
        decompressor: Decompressor::default(),
        commit,
    };
    for (number, after) in metas {
        if after > walk.mark.commit {
            walk.prove(after, (number, SEGMENT_HEADER_LENGTH as u64))?;
        }
        match again(|| frames.segment(number)) {
            Ok(Ok(segment)) => walk.segment(&segment)?,
            Ok(Err(_)) => walk.findings.damage.push(format!("segment {number} cannot be read")),
            Err(error) => return Err(error),
        }
    }
    if proven > walk.mark.commit {
        walk.prove(proven, walk.place)?;
    }
    walk.index_anew()?;
    walk.finish(disk)
}

impl Walk<'_> {
    fn segment(&mut self, segment: &SegmentReader) -> Result<(), PoolError> {
        let number = segment.header.number;
        let length = segment.file.length()?;
        let start = start(number, self.mark);
        let mut scan = Scan::new(&*segment.file, start, length);
        // Where a sound frame should start, where bytes began that cannot be used, and the number of the next frame.
        let (mut expected, mut bad) = (start, None::<(u64, bool)>);
        let mut next_number = (start == SEGMENT_HEADER_LENGTH as u64).then_some(0);
        self.hidden = 0;
        while let Some((at, header)) = scan.next()? {
            let opened = open_frame(segment, at, &header, &mut self.decompressor)?;
            let unreadable = scan.unreadable.take().is_some();
            if at > expected {
                bad = Some(bad.map_or((expected, unreadable), |(from, before)| (from, before || unreadable)));
            }
            expected = at + header.padded_length() as u64;
            match opened {
                Ok(frame) => {
                    if let Some((from, unreadable)) = bad.take() {
                        let skipped =
                            next_number.and_then(|n: u64| u64::from(header.number().0).checked_sub(n));
                        self.bad(number, from, at, skipped.unwrap_or(1).max(1), unreadable);
                    }
                    next_number = Some(u64::from(header.number().0) + 1);
                    let place =
                        FramePlace { segment: number, offset: at, sealed_length: header.sealed_length() };
                    self.frame(place, expected, &frame)?;
                }
                Err(frame) => {
                    bad = Some(bad.map_or((at, frame.unreadable), |(from, b)| (from, b || frame.unreadable)));
                }
            }
        }
        let end = footer_start(segment, length)?.unwrap_or(length);
        if bad.is_some() || expected < end {
            let (from, unreadable) = bad.unwrap_or((expected, false));
            self.bad(number, from, end, 1, unreadable || scan.unreadable.is_some());
        }
        self.place = (number, length);
        Ok(())
    }

    fn bad(&mut self, segment: SegmentNumber, offset: u64, end: u64, frames: u64, unreadable: bool) {
        self.pending.push(Pending {
            segment,
            offset,
            end,
            hidden: self.hidden,
            what: What::Bad { unreadable },
        });
        self.hidden += frames;
    }

    fn frame(&mut self, place: FramePlace, end: u64, frame: &OpenedFrame) -> Result<(), PoolError> {
        let (segment, offset) = (place.segment, place.offset);
        let what = match frame.kind {
            FrameKind::Index => What::Indexes(decode_frame_indexes(&frame.plaintext)?),
            FrameKind::Pages => {
                let page = |(entry, range): (&chunk::Entry, std::ops::Range<usize>)| {
                    let start = u32::try_from(range.start).unwrap_or(u32::MAX);
                    (entry.name, Place { frame: place, start, length: entry.length, owner: MachineId(0) })
                };
                What::Pages(frame.table.iter().flat_map(chunk::Table::ranges).map(page).collect())
            }
            FrameKind::Records => {
                let body = decode_records(&frame.plaintext, self.mark.commit)?;
                let Some(commit) = body.mark else {
                    let what = What::Records(body.records);
                    self.pending.push(Pending { segment, offset, end, hidden: self.hidden, what });
                    return Ok(());
                };
                if self
                    .survey
                    .chain
                    .get(self.reached)
                    .is_none_or(|c| (c.segment, c.offset) != (segment, offset))
                {
                    self.stale(&commit, segment);
                    return Ok(());
                }
                self.reached += 1;
                let what = What::Records(body.records);
                self.pending.push(Pending { segment, offset, end, hidden: self.hidden, what });
                return self.commit(&commit, *blake3::hash(&frame.plaintext).as_bytes(), segment, end);
            }
            FrameKind::Data | FrameKind::Journal => return Ok(()),
        };
        self.pending.push(Pending { segment, offset, end, hidden: self.hidden, what });
        Ok(())
    }

    /// A mark that is not of the chain: nothing of its commit counts.
    fn stale(&mut self, commit: &CommitMark, segment: SegmentNumber) {
        self.pending.clear();
        self.hidden = 0;
        self.findings.damage.push(format!(
            "commit {} in segment {segment} does not count: the pool was opened without it and went on with another",
            commit.number
        ));
    }

    fn commit(
        &mut self,
        commit: &CommitMark,
        hash: [u8; 32],
        segment: SegmentNumber,
        end: u64,
    ) -> Result<(), PoolError> {
        let expected = self.mark.commit.next();
        let is_gap = commit.number > expected;
        if is_gap {
            self.missing(expected, CommitNumber(commit.number.0 - 1));
        } else if commit.previous != self.mark.hash && commit.previous != [0; 32] && self.mark.hash != [0; 32]
        {
            self.findings.damage.push(format!("commit {expected} does not follow from the one before it"));
        }
        let lengths = &commit.lengths;
        let out = self.counted(&Proof::Mark { segment, end, lengths, is_gap })?;
        advance(self.mark, commit, hash, segment, end);
        self.forget_removed(&out);
        self.hidden = 0;
        (self.commit)(out, self.mark)
    }

    /// Takes what is left of commits up to `commit`, whose marks cannot be read. The walk goes on at `place`.
    fn prove(&mut self, commit: CommitNumber, place: (SegmentNumber, u64)) -> Result<(), PoolError> {
        let expected = self.mark.commit.next();
        let missing = commit.0 - self.mark.commit.0;
        self.missing(expected, commit);
        // Segments without a header may have held some of the marks, and frames of the last one may be of a commit
        // that was never finished: then nothing tells them apart.
        let (last, _) = self.place;
        let between =
            |lost: &crate::survey::Lost| last < lost.segment && (place.0 == last || lost.segment < place.0);
        let known = self.hidden >= missing && !self.survey.lost.iter().any(between);
        let out = self.counted(&Proof::Later { missing, segment: known.then_some(last) })?;
        let next = self.survey.chain.get(self.reached).filter(|next| next.number == commit.next());
        self.mark.commit = commit;
        self.mark.hash = next.map_or([0; 32], |next: &Seen| next.previous);
        (self.mark.segment, self.mark.offset) = place;
        self.forget_removed(&out);
        self.hidden = 0;
        (self.commit)(out, self.mark)
    }

    fn forget_removed(&mut self, out: &Replayed) {
        removed(&out.records).for_each(|segment| self.mark.forget(segment));
    }

    fn missing(&mut self, first: CommitNumber, last: CommitNumber) {
        let which =
            if first == last { format!("commit {first}") } else { format!("commits {first} to {last}") };
        self.findings
            .damage
            .push(format!("the mark of {which} cannot be read; what else of it can be, counts"));
    }

    /// Takes what counts out of what is pending, and drops the rest.
    fn counted(&mut self, proof: &Proof<'_>) -> Result<Replayed, PoolError> {
        let within = |of: SegmentNumber, at: u64| match proof {
            Proof::Mark { segment, end, lengths, .. } => {
                (of == *segment && at < *end) || lengths.iter().any(|l| l.segment == of && at < l.length)
            }
            Proof::Later { .. } => false,
        };
        // Without some of the marks their lengths are unknown: what proves them was written after all that they covered.
        let is_gap = !matches!(proof, Proof::Mark { is_gap: false, .. });
        let mut out = Replayed::default();
        for Pending { segment, offset, end, hidden, what } in std::mem::take(&mut self.pending) {
            let surely = within(segment, offset)
                || matches!(proof, Proof::Later { missing, segment: Some(of) } if segment == *of && hidden < *missing);
            match what {
                What::Bad { unreadable } if surely || is_gap => {
                    self.findings.damage.push(bad_bytes(segment, offset, end, unreadable));
                }
                What::Records(records) if surely => out.records.extend(records),
                What::Pages(pages) if surely || is_gap => out.pages.extend(pages),
                What::Indexes(indexes) if surely && !is_gap => {
                    out.indexes.extend(indexes.into_iter().filter(|i| within(i.segment, i.offset)));
                }
                What::Indexes(indexes) if is_gap => {
                    for index in indexes {
                        if surely || self.is_sound(&index)? {
                            let end = index.offset + padded_length(index.sealed_length as usize) as u64;
                            self.mark.cover(index.segment, end);
                            out.indexes.push(index);
                        }
                    }
                }
                _ => continue,
            }
            if is_gap {
                self.mark.cover(segment, end);
            }
        }
        for (at, index) in out.indexes.iter().enumerate() {
            let (segment, from) = (index.segment, index.offset);
            let to = from + padded_length(index.sealed_length as usize) as u64;
            let is_known = self.known.length_of(segment).is_some_and(|length| from < length);
            if is_known || self.named.holes(segment, from, to).is_empty() {
                out.restated.insert(at);
            }
            self.named.add(segment, from, to);
        }
        Ok(out)
    }

    /// Whether a data frame is there as its index says.
    fn is_sound(&self, index: &FrameIndex) -> Result<bool, PoolError> {
        let FrameIndex { segment, offset, sealed_length, .. } = *index;
        match again(|| self.frames.read(FramePlace { segment, offset, sealed_length })) {
            Ok(frame) => {
                Ok(frame.is_ok_and(|frame| frame.table.is_some_and(|table| table.entries() == index.entries)))
            }
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Missing) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Indexes from their own tables the data frames that commits made valid and no index names.
    fn index_anew(&mut self) -> Result<(), PoolError> {
        let mut out = Replayed::default();
        for (segment, length) in self.mark.lengths.clone() {
            let is_meta = self.survey.metas.binary_search_by_key(&segment, |(number, _)| *number).is_ok();
            if is_meta
                || segment == self.mark.segment
                || self.survey.lost.iter().any(|l| l.segment == segment)
            {
                continue;
            }
            let from = self.known.length_of(segment).unwrap_or(0).max(SEGMENT_HEADER_LENGTH as u64);
            for (from, to) in self.named.holes(segment, from, length) {
                self.index_hole(segment, from, to, &mut out)?;
            }
        }
        if out.indexes.is_empty() { Ok(()) } else { (self.commit)(out, self.mark) }
    }

    fn index_hole(
        &mut self,
        number: SegmentNumber,
        from: u64,
        to: u64,
        out: &mut Replayed,
    ) -> Result<(), PoolError> {
        let segment = match again(|| self.frames.segment(number)) {
            Ok(Ok(segment)) if segment.header.kind == SegmentKind::Data => segment,
            // What is missing or has no header is said at the end.
            Ok(_) => return Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Missing) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut scan = Scan::new(&*segment.file, from, to.min(segment.file.length()?));
        let (mut expected, mut count) = (from, 0u64);
        let mut damage = Vec::new();
        while let Some((offset, header)) = scan.next()? {
            if offset > expected {
                damage.push(bad_bytes(number, expected, offset, scan.unreadable.take().is_some()));
            }
            expected = offset + header.padded_length() as u64;
            match open_frame(&segment, offset, &header, &mut self.decompressor)? {
                Ok(OpenedFrame { kind: FrameKind::Data, table: Some(table), .. }) => {
                    count += 1;
                    let (sealed_length, entries) = (header.sealed_length(), table.entries().to_vec());
                    self.findings.unowned.extend(entries.iter().map(|entry| entry.name));
                    let owner = MachineId(0);
                    out.indexes.push(FrameIndex { segment: number, offset, sealed_length, owner, entries });
                }
                Ok(_) => {}
                Err(frame) => damage.push(bad_bytes(number, offset, expected, frame.unreadable)),
            }
        }
        if expected < to {
            damage.push(bad_bytes(number, expected, to, scan.unreadable.is_some()));
        }
        self.findings.damage.append(&mut damage);
        if count > 0 {
            let text = format!(
                "segment {number}: {count} frames from {from} on were in no index; their own tables serve"
            );
            self.findings.damage.push(text);
        }
        Ok(())
    }

    /// What the mark says must be there, is there.
    fn finish(mut self, disk: &dyn Disk) -> Result<Findings, PoolError> {
        let last = self.mark.commit;
        let damage = &mut self.findings.damage;
        for lost in &self.survey.lost {
            let (segment, cause) = (lost.segment, &lost.cause);
            if self.mark.length_of(segment).is_some() {
                self.frames.bad().add_segment(segment, 0);
                damage.push(format!("segment {segment} cannot be read: {cause}"));
            } else if lost.unreadable && segment > self.mark.segment {
                self.findings.is_hiding = true;
                let hidden = format!("commits after {last} that it may hold are not in the pool");
                damage.push(format!("segment {segment} cannot be read: {cause}; {hidden}"));
            }
        }
        for rest in &self.pending {
            if let Pending { segment, offset, end, what: What::Bad { unreadable: true }, .. } = *rest {
                self.findings.is_hiding = true;
                let bytes = bad_bytes(segment, offset, end, true);
                damage.push(format!("{bytes}; commits after {last} that they may hold are not in the pool"));
            }
        }
        for (segment, length) in &self.mark.lengths {
            match file_length(disk, *segment) {
                Ok(Some(found)) if found >= *length => {}
                Ok(Some(found)) => {
                    self.frames.bad().add_segment(*segment, found);
                    damage
                        .push(format!("segment {segment} has {found} bytes, the last commit says {length}"));
                }
                Ok(None) => {
                    self.frames.bad().add_segment(*segment, 0);
                    damage.push(format!("segment {segment} cannot be opened"));
                }
                Err(error) if error.kind() == ErrorKind::Missing => {
                    self.frames.bad().add_segment(*segment, 0);
                    damage.push(format!("segment {segment} is missing"));
                }
                Err(error) => return Err(error),
            }
        }
        self.findings.last_segment = self.findings.last_segment.max(self.mark.last_segment);
        Ok(self.findings)
    }
}

/// Segments that records take out of the pool.
pub(crate) fn removed(records: &[Record]) -> impl Iterator<Item = SegmentNumber> {
    let segments = |record: &Record| match record {
        Record::Removed { segments } => segments.clone(),
        _ => Vec::new(),
    };
    records.iter().flat_map(segments)
}

fn bad_bytes(segment: SegmentNumber, from: u64, to: u64, unreadable: bool) -> String {
    let what = if unreadable { "cannot be read" } else { "are damaged" };
    format!("segment {segment}: bytes {from} to {to} {what}")
}

/// Where the footer of a segment starts, if it is sealed.
fn footer_start(segment: &SegmentReader, length: u64) -> Result<Option<u64>, PoolError> {
    let footer = again(|| segment.footer())?.ok().flatten();
    Ok(footer.map(|footer| length - Footer::length(footer.entries.len() as u64)))
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
    mark.base = mark.base.max(commit.base);
    for SegmentLength { segment, length } in &commit.lengths {
        mark.cover(*segment, *length);
    }
    mark.cover(segment, end);
}

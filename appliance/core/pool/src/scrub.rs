//! The scrub: everything on the drive is read and checked, round after round.
//!
//! A round goes through the segments one by one, those first that were checked longest ago, and a step of it reads no
//! more than its effort says, but for the frame, the footer, the names or the point that it has begun. Segments are
//! checked without any key. The state of the pool is not locked while the drive is read; a segment that goes
//! meanwhile is no damage. After a restart a round goes on with the segment in which it was.
//!
//! A drive that does not answer, and any other failure but that of a single place, ends a step with an error, and nothing
//! is judged. Damage is a verdict only after two reads. Where there are copies of a segment, all of them are read, and one that
//! is bad is mended from one that is sound: that is no damage. What no copy gives is never repaired in place and nothing
//! is removed for it: it is taken once more from the next backup that has it, and the points that it belongs to are
//! traced and noted ([`crate::notes`]).

mod copies;
mod rounds;
mod segment;
mod trace;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Mutex;

use medium::Access;
use model::archive::PointKey;
use model::{SegmentNumber, Time};

pub(crate) use rounds::Rounds;
pub use rounds::{Checked, Proof};
use segment::{Check, Finding, Part};
use trace::Trace;

use crate::PoolError;
use crate::bad::{BadSegment, Holds};
use crate::error::is_unreadable;
use crate::layout::{HEADERS, segment_path};
use crate::notes::Findings;
use crate::reader::lock;
use crate::state::{Shared, State};
use crate::verify::DAMAGE_MAX;

/// Times in a round that points are traced as soon as a segment was found damaged; further ones wait for its end.
const TRACES_MAX: u32 = 8;
/// Other segments that are asked whether the drive answers.
const WITNESSES_MAX: usize = 8;

/// How much is done in one step.
#[derive(Clone, Copy, Debug)]
pub struct ScrubEffort {
    /// Bytes of segments that are read.
    pub bytes: u64,
    /// Names of the catalog, or items of points, that are looked at when damage is traced.
    pub entries: usize,
}

impl Default for ScrubEffort {
    fn default() -> Self {
        Self { bytes: 32 << 20, entries: 50_000 }
    }
}

/// What a step of the scrub came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubStep {
    /// Bytes of segments that were read.
    pub bytes: u64,
    /// Damage that was found, in words; a place is said once in a round.
    pub damage: Vec<String>,
    /// Copies that were bad and were mended from another copy of the segment.
    pub mended: u64,
    /// Places of which a copy is bad and could not be mended; another copy gives what was in it.
    pub unmended: u64,
    /// The round is at its end; the next step begins another one.
    pub is_done: bool,
    /// What was urgent is checked, and no round is under way; the next step begins one.
    pub is_extra_done: bool,
}

/// How far the scrub is, and what it found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubStatus {
    /// The round that is under way, or the last one; 0 if there was none.
    pub round: u64,
    /// It is under way.
    pub is_under_way: bool,
    /// Segments of the pool.
    pub segments: u64,
    /// Segments that were checked in this round, or that it leaves out because they came after its beginning.
    pub segments_checked: u64,
    /// Valid bytes of all segments.
    pub bytes: u64,
    /// Bytes of them that the round has behind it.
    pub bytes_checked: u64,
    /// Segments whose last check compared them with the hashes in their footers; that of others went by checksums.
    pub segments_hashed: u64,
    /// Segments that were never checked.
    pub segments_unchecked: u64,
    /// The oldest of the last checks of all segments that were ever checked.
    pub oldest_check: Option<Time>,
    /// Places that are known to be damaged.
    pub damaged: u64,
    /// Points that are known to be damaged.
    pub damaged_points: u64,
    /// Places that read well only the second time, since the pool was opened.
    pub repeated: u64,
    /// Copies that were bad and were mended from another copy, since the pool was opened.
    pub mended: u64,
}

impl ScrubStatus {
    /// How much of the round is done, in thousandths of its bytes.
    #[must_use]
    pub fn share(&self) -> u64 {
        let thousandths = u128::from(self.bytes_checked) * 1000 / u128::from(self.bytes.max(1));
        u64::try_from(thousandths).unwrap_or(1000).min(1000)
    }
}

/// The scrub under way: what a restart forgets.
#[derive(Default)]
struct Scrub {
    check: Option<Check>,
    /// Something was found of which no trace was begun, or something urgent was checked.
    is_untraced: bool,
    /// What is urgent is checked although no round is under way.
    is_extra: bool,
    trace: Option<Trace>,
    /// Bytes without a frame, whose chunks and pages are not known yet.
    gaps: Vec<(SegmentNumber, Range<u64>)>,
    /// How often points were traced in this round.
    traces: u32,
    /// The last trace of the round is done.
    is_traced: bool,
    /// The opening of the pool that it belongs to.
    opening: u64,
    repeated: u64,
    mended: u64,
}

/// Checks under way, and what they found.
#[derive(Default)]
pub(crate) struct Checks {
    scrub: Mutex<Scrub>,
    /// What was found of points, as long as the pool does not note it.
    pub(crate) findings: Mutex<Findings>,
}

impl Shared {
    /// One step: goes on with the round, or begins the next one. Steps do not run beside each other.
    ///
    /// What was found is noted in the pool by [`crate::Pool::note_damage`].
    ///
    /// # Errors
    /// What says that nothing can be told at the moment. The next step goes on.
    pub fn scrub(&self, effort: ScrubEffort) -> Result<ScrubStep, PoolError> {
        let mut scrub = lock(&self.checks.scrub);
        let mut step = ScrubStep::default();
        self.begin_step(&mut scrub);
        let result = self.scrub_on(&mut scrub, effort, &mut step);
        let mut state = self.state_mut();
        let report = &mut state.rounds.report;
        report.progress = scrub.check.as_ref().map_or(0, |check| check.offset);
        (report.repeated, report.mended) = (scrub.repeated, scrub.mended);
        let lines = &mut report.damage;
        lines.extend(step.damage.iter().take(DAMAGE_MAX.saturating_sub(lines.len())).cloned());
        drop(state);
        // What was found before a failure is not lost.
        result
            .or_else(|error| if step.damage.is_empty() && step.mended == 0 { Err(error) } else { Ok(()) })?;
        Ok(step)
    }

    /// Drops what belongs to an earlier opening or to a segment that is gone, and begins a round if none is under way.
    fn begin_step(&self, scrub: &mut Scrub) {
        let mut state = self.state_mut();
        if scrub.opening != state.openings {
            (scrub.check, scrub.opening) = (None, state.openings);
            if let Some(trace) = scrub.trace.take() {
                scrub.gaps.extend(trace.into_gaps());
                scrub.is_traced = false;
            }
        }
        let is_gone = |check: &mut Check| state.mark.length_of(check.number).is_none();
        drop(scrub.check.take_if(is_gone));
        if state.rounds.end.is_none() && scrub.trace.is_none() && !scrub.is_extra {
            let State { rounds, mark, .. } = &mut *state;
            scrub.is_extra = !rounds.urgent.is_empty();
            if !scrub.is_extra {
                rounds.begin(mark);
            }
            (scrub.traces, scrub.is_traced) = (0, false);
        }
    }

    fn scrub_on(
        &self,
        scrub: &mut Scrub,
        effort: ScrubEffort,
        step: &mut ScrubStep,
    ) -> Result<(), PoolError> {
        while step.bytes < effort.bytes.max(1) {
            if let Some(trace) = &mut scrub.trace {
                if trace.go_on(self, effort.entries.max(1), &mut step.damage)? {
                    scrub.trace = None;
                }
                return Ok(());
            }
            if scrub.check.is_some() {
                self.check_on(scrub, step)?;
                continue;
            }
            let next = {
                let state = self.state();
                state.rounds.next(&state.mark)
            };
            if let Some((number, length)) = next {
                self.begin_check(scrub, number, length, step)?;
            } else if !scrub.is_traced {
                // What was healed since is found out here, too.
                scrub.is_traced = true;
                self.begin_trace(scrub);
            } else if std::mem::take(&mut scrub.is_extra) {
                step.is_extra_done = true;
                return Ok(());
            } else {
                self.state_mut().rounds.finish();
                step.is_done = true;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Begins with a segment.
    fn begin_check(
        &self,
        scrub: &mut Scrub,
        number: SegmentNumber,
        length: u64,
        step: &mut ScrubStep,
    ) -> Result<(), PoolError> {
        scrub.is_untraced |= self.state().rounds.urgent.contains(&number);
        #[cfg(feature = "planted-bugs")]
        let length = if self.planted.has(crate::planted::Bug::CheckBeyondMark) {
            crate::planted::length_of(self, number)?
        } else {
            length
        };
        match Check::begin(&*self.world.disk, &self.header.pool, number, length) {
            Ok((check, part)) => {
                // What is bad in it is found again, frame by frame.
                self.frames.bad().remove_segment(number);
                self.take(scrub, number, part, step);
                scrub.check = Some(check);
                Ok(())
            }
            Err(_) if self.is_gone(number) => Ok(()),
            Err(error) if error.is_damage() || self.is_lost(number, &error) => {
                let cause = error.in_words();
                let findings = vec![Finding::Rest { from: 0, cause }];
                self.take(scrub, number, Part { findings, ..Part::default() }, step);
                self.end_check(scrub, number, Proof::Nothing);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Goes on with the segment under way.
    fn check_on(&self, scrub: &mut Scrub, step: &mut ScrubStep) -> Result<(), PoolError> {
        let Some(mut check) = scrub.check.take() else { return Ok(()) };
        let number = check.number;
        match check.go_on() {
            Ok(part) => {
                let (is_last, proof) = (part.is_last, check.proof());
                self.take(scrub, number, part, step);
                if is_last {
                    self.end_check(scrub, number, proof);
                } else {
                    scrub.check = Some(check);
                }
                Ok(())
            }
            Err(_) if self.is_gone(number) => Ok(()),
            Err(error) if self.is_lost(number, &error) => {
                let findings = vec![Finding::Rest { from: check.offset, cause: error.in_words() }];
                self.take(scrub, number, Part { findings, ..Part::default() }, step);
                self.end_check(scrub, number, Proof::Nothing);
                Ok(())
            }
            Err(error) => {
                scrub.check = Some(check);
                Err(error)
            }
        }
    }

    fn end_check(&self, scrub: &mut Scrub, number: SegmentNumber, proof: Proof) {
        let at = self.world.clock.now();
        let mut state = self.state_mut();
        if state.mark.length_of(number).is_some() {
            state.rounds.check(number, at, proof);
        }
        // Whatever is urgent is traced together.
        let is_over = state.rounds.urgent.is_empty();
        drop(state);
        if is_over && scrub.is_untraced && scrub.traces < TRACES_MAX {
            scrub.traces += 1;
            self.begin_trace(scrub);
        }
    }

    fn begin_trace(&self, scrub: &mut Scrub) {
        scrub.is_untraced = false;
        scrub.trace = Trace::begin(self, std::mem::take(&mut scrub.gaps));
    }

    /// Has segments checked before all others from the next step on, round or not, and what is found in them traced to
    /// points: they are lost, or they are back.
    pub fn scrub_first(&self, segments: impl IntoIterator<Item = SegmentNumber>) {
        let mut state = self.state_mut();
        let State { rounds, mark, .. } = &mut *state;
        rounds.urgent.extend(segments.into_iter().filter(|segment| mark.length_of(*segment).is_some()));
    }

    /// Whether segments wait that [`Self::scrub_first`] named.
    #[must_use]
    pub fn is_scrub_urgent(&self) -> bool {
        !self.state().rounds.urgent.is_empty()
    }

    /// Finds out of which points something lies in places that are known to be bad; [`Self::damaged_points`] tells. Reads
    /// trees as far as it must, and no chunk.
    pub fn trace_damage(&self) -> Result<(), PoolError> {
        let entries = ScrubEffort::default().entries;
        let mut lines = Vec::new();
        if let Some(mut trace) = Trace::begin(self, Vec::new()) {
            while !trace.go_on(self, entries, &mut lines)? {
                lines.clear();
            }
        }
        Ok(())
    }

    /// Whether a segment was taken out of the pool.
    fn is_gone(&self, number: SegmentNumber) -> bool {
        self.state().mark.length_of(number).is_none()
    }

    /// Whether a segment is lost that the drive refuses to read: it delivers others.
    fn is_lost(&self, number: SegmentNumber, error: &PoolError) -> bool {
        let PoolError::Disk(error) = error else { return false };
        if !is_unreadable(error) {
            return false;
        }
        let others: Vec<SegmentNumber> = {
            let state = self.state();
            let others = state.mark.lengths.iter().map(|(other, _)| *other).filter(|other| *other != number);
            others.take(WITNESSES_MAX).collect()
        };
        let answers = |path: &str| {
            let mut bytes = [0; 64];
            let file = self.world.disk.open(path, Access::Read);
            file.is_ok_and(|file| file.forget_cached().is_ok() && file.read_at(0, &mut bytes).is_ok())
        };
        if others.is_empty() {
            return HEADERS.iter().any(|path| answers(path));
        }
        others.into_iter().any(|other| answers(&segment_path(other)))
    }

    /// Judges what was found in a part of a segment, if that still is one of the pool.
    fn take(&self, scrub: &mut Scrub, segment: SegmentNumber, part: Part, step: &mut ScrubStep) {
        step.bytes += part.bytes;
        (step.mended, step.unmended) = (step.mended + part.mended, step.unmended + part.unmended);
        scrub.mended += part.mended;
        scrub.repeated += u64::from(part.was_repeated);
        // Who takes it out waits, so that no verdict comes behind that.
        let state = self.state();
        if state.mark.length_of(segment).is_none() {
            return;
        }
        let bad = &state.bad;
        for finding in part.findings {
            let line = match finding {
                Finding::Sound(offset) => {
                    bad.remove(segment, offset);
                    continue;
                }
                Finding::Frame { offset, holds, cause } => {
                    bad.add_frame(segment, offset, holds);
                    with_use(cause.in_words(), holds)
                }
                Finding::Gap { bytes, holds, cause } => {
                    bad.add_frame(segment, bytes.start, holds);
                    let (from, to) = (bytes.start, bytes.end);
                    scrub.gaps.push((segment, bytes));
                    let cause = cause.in_words();
                    with_use(format!("segment {segment}: no sound frame in {from}..{to}: {cause}"), holds)
                }
                Finding::Rest { from: 0, cause } => {
                    bad.add_segment(segment, 0);
                    format!("segment {segment} cannot be read: {cause}")
                }
                Finding::Rest { from, cause } => {
                    bad.add_segment(segment, from);
                    format!("segment {segment} cannot be read from {from} on: {cause}")
                }
                Finding::Copy(line) => {
                    step.damage.push(line);
                    continue;
                }
            };
            scrub.is_untraced = true;
            step.damage.push(line);
        }
    }

    /// How far the scrub is, and what it found.
    #[must_use]
    pub fn scrub_status(&self) -> ScrubStatus {
        let damaged_points = self.damaged_points().len() as u64;
        let state = self.state();
        let State { rounds, mark, .. } = &*state;
        let segments = mark.lengths.len() as u64;
        let bytes: u64 = mark.lengths.iter().map(|(_, length)| length).sum();
        let (left, bytes_left) = if rounds.round == 0 { (segments, bytes) } else { rounds.rest(mark) };
        let checked = || mark.lengths.iter().filter_map(|(segment, _)| rounds.checked.get(segment));
        ScrubStatus {
            round: rounds.round,
            is_under_way: rounds.end.is_some(),
            segments,
            segments_checked: segments - left,
            bytes,
            bytes_checked: bytes.saturating_sub(bytes_left.saturating_sub(rounds.report.progress)),
            segments_hashed: checked().filter(|checked| checked.proof == Proof::Hashes).count() as u64,
            segments_unchecked: segments - checked().count() as u64,
            oldest_check: checked().map(|checked| checked.at).min(),
            damaged: state.damaged().values().map(BadSegment::count).sum(),
            damaged_points,
            repeated: rounds.report.repeated,
            mended: rounds.report.mended,
        }
    }

    /// The last check of each segment, ascending by number; none of those that were never checked.
    #[must_use]
    pub fn scrub_checks(&self) -> Vec<(SegmentNumber, Option<Checked>)> {
        let state = self.state();
        let checked = |segment| state.rounds.checked.get(&segment).copied();
        state.mark.lengths.iter().map(|(segment, _)| (*segment, checked(*segment))).collect()
    }

    /// Damage that the round under way found in segments, or the last one since the pool was opened, in words; what it
    /// means for points, [`Self::damaged_points`] says.
    #[must_use]
    pub fn scrub_damage(&self) -> Vec<String> {
        self.state().rounds.report.damage.clone()
    }

    /// Points of all sources, oldest first.
    fn all_points(&self) -> BTreeSet<PointKey> {
        self.registry(|registry| registry.points.values().map(|point| point.key()).collect())
    }
}

/// With what the loss of a frame means.
fn with_use(cause: String, holds: Holds) -> String {
    match holds {
        Holds::Names => cause,
        Holds::Log => format!("{cause}; what it says is in the catalog only"),
    }
}

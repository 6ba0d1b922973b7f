//! Reading everything and saying what is damaged; and the pool in figures.
//!
//! What counts is the drive: files are opened anew, what the kernel holds of them is forgotten, and nothing comes from
//! the caches of readers. Headers, footers and frames of all segments are checked and every chunk and page in them is
//! named anew; then the tree of every point is walked, its items must fit each other, and each chunk that they refer to
//! must be one that was found sound. Damage is said as machine, source, point and path.
//!
//! Memory does not grow with the pool, apart from 4 bytes for each sound frame. What cannot be told at the moment,
//! because the drive does not answer or the catalog cannot be read, is no damage: then the verification fails.

mod points;
mod segments;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::archive::PointKey;
use model::record::Point;
use model::{MachineId, Name, SegmentNumber};

use crate::PoolError;
use crate::catalog::Kind;
use crate::notes::PointDamage;
use crate::reader::FrameReader;
use crate::segment::FramePlace;
use crate::state::Shared;
pub(crate) use points::page_error;

/// Most lines of damage that a report lists; the rest is counted.
pub const DAMAGE_MAX: usize = 10_000;
/// Most sound frames that are remembered; the chunks of others are read once more.
const SOUND_MAX: usize = 16 << 20;

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Frames that were read and opened.
    pub frames: u64,
    /// Chunks that were named anew.
    pub chunks: u64,
    /// Points whose items were walked.
    pub points: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Damage, in words.
    pub damage: Vec<String>,
    /// How much damage there was.
    pub damage_count: u64,
}

/// The pool in figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Its UUID.
    pub pool: [u8; 16],
    /// The number of the last commit.
    pub commit: u64,
    /// Machines.
    pub machines: u64,
    /// Sources.
    pub sources: u64,
    /// Points.
    pub points: u64,
    /// Chunks that the catalog knows.
    pub chunks: u64,
    /// Bytes of all chunks.
    pub chunk_bytes: u64,
    /// Segments.
    pub segments: u64,
    /// Valid bytes of all segments.
    pub segment_bytes: u64,
    /// Bytes that the drive can hold.
    pub capacity_bytes: u64,
    /// Bytes that are free on it.
    pub available_bytes: u64,
    /// What is wrong, in words.
    pub damage: Vec<String>,
}

impl Verification {
    fn damaged(&mut self, what: String) {
        self.damage_count += 1;
        if self.damage.len() < DAMAGE_MAX {
            self.damage.push(what);
        }
    }
}

/// What a pool takes on its drive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Valid bytes of all segments.
    pub segment_bytes: u64,
    /// About how many of them could be given back.
    pub reclaimable_bytes: u64,
    /// Bytes that are free on the drive.
    pub available_bytes: u64,
    /// Bytes of the segments that hold chunks.
    pub data_bytes: u64,
    /// Bytes of the chunks in them, before compression.
    pub stored_bytes: u64,
}

impl Shared {
    /// What the pool takes on its drive.
    pub fn usage(&self) -> Result<Usage, PoolError> {
        let available_bytes = self.room_for_data()?;
        let state = self.state();
        let mut usage = Usage { available_bytes, ..Usage::default() };
        let held = self.sessions.held_bytes();
        usage.segment_bytes = state.mark.lengths.iter().map(|(_, length)| length).sum();
        for (segment, used) in
            state.catalog()?.segments()?.into_iter().filter(|(_, u)| u.kind == Kind::Chunks)
        {
            let length = u128::from(state.mark.length_of(segment).unwrap_or(0));
            usage.data_bytes += state.mark.length_of(segment).unwrap_or(0);
            usage.stored_bytes += used.stored;
            let held = held.get(&segment).copied().unwrap_or(0);
            let dead = u128::from(used.stored.saturating_sub(used.live).saturating_sub(held));
            let share = (length * dead).checked_div(u128::from(used.stored)).unwrap_or(0);
            usage.reclaimable_bytes += u64::try_from(share).unwrap_or(u64::MAX);
        }
        Ok(usage)
    }

    /// The pool in figures.
    pub fn status(&self) -> Result<Status, PoolError> {
        let space = self.world.disk.space()?;
        let state = self.state();
        let recent = state.recent.chunks.len() as u64;
        Ok(Status {
            pool: self.header.pool,
            commit: state.mark.commit.0,
            machines: state.registry.machines.len() as u64,
            sources: state.registry.sources.len() as u64,
            points: state.registry.points.len() as u64,
            chunks: state.catalog()?.chunk_count()? + recent,
            chunk_bytes: state.mark.chunk_bytes,
            segments: state.mark.lengths.len() as u64,
            segment_bytes: state.mark.lengths.iter().map(|(_, length)| length).sum(),
            capacity_bytes: space.capacity_bytes,
            available_bytes: space.available_bytes,
            damage: state.damage.clone(),
        })
    }

    /// Reads and checks the whole pool, or what one point needs.
    pub fn verify(&self, point: Option<PointKey>) -> Result<Verification, PoolError> {
        let points: Vec<Arc<Point>> = match point {
            Some(key) => vec![self.point(key)?],
            None => self.registry(|r| r.points.values().cloned().collect()),
        };
        let mut examination = Examination::new(self, Judging::ByReading);
        if point.is_none() {
            examination.segments()?;
        }
        for point in points {
            // What goes while it is looked at is no damage, and of what has gone nothing is to be said.
            let _lease = self.lease(point.key()).ok();
            if self.point(point.key()).is_ok() {
                let damage = examination.judge(&point)?;
                self.found(point.key(), damage);
            }
        }
        let mut report = examination.report;
        let known = self.damage();
        report.damage_count += known.len() as u64;
        report.damage.extend(known);
        Ok(report)
    }
}

/// How a chunk is judged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Judging {
    /// It is read.
    ByReading,
    /// It is sound unless it is known that its place is not.
    ByPlace,
}

/// A verification under way.
pub(crate) struct Examination<'a> {
    shared: &'a Shared,
    judging: Judging,
    frames: FrameReader,
    sound: SoundFrames,
    verdicts: Verdicts,
    report: Verification,
}

impl<'a> Examination<'a> {
    fn new(shared: &'a Shared, judging: Judging) -> Self {
        Self {
            shared,
            judging,
            frames: shared.frames.fresh(),
            sound: SoundFrames::default(),
            verdicts: Verdicts::default(),
            report: Verification::default(),
        }
    }

    /// One that reads no chunks and goes by what is known of their places.
    pub(crate) fn by_place(shared: &'a Shared) -> Self {
        Self::new(shared, Judging::ByPlace)
    }

    /// Looks at all of a point; what of it is damaged.
    pub(crate) fn judge(&mut self, point: &Point) -> Result<Option<PointDamage>, PoolError> {
        let (count, lines) = (self.report.damage_count, self.report.damage.len());
        self.point(point)?;
        let count = self.report.damage_count - count;
        let lines = self.report.damage.get(lines..).unwrap_or_default();
        Ok((count > 0).then(|| PointDamage::new(count, lines)))
    }

    /// Notes an error as damage of `what`, unless it only says that nothing can be told.
    fn note(&mut self, what: &str, error: PoolError) -> Result<(), PoolError> {
        if !error.is_damage() {
            return Err(error);
        }
        let cause = error.in_words();
        self.report.damaged(if what.is_empty() { cause } else { format!("{what}: {cause}") });
        Ok(())
    }
}

/// Data frames of which everything was found sound.
#[derive(Default)]
struct SoundFrames {
    /// Offsets in steps of frame alignment, ascending.
    offsets: BTreeMap<SegmentNumber, Vec<u32>>,
    count: usize,
}

impl SoundFrames {
    /// Frames must come in order.
    fn add(&mut self, frame: FramePlace) {
        if self.count < SOUND_MAX
            && let Some(step) = Self::step(frame.offset)
        {
            self.count += 1;
            self.offsets.entry(frame.segment).or_default().push(step);
        }
    }

    fn has(&self, frame: FramePlace) -> bool {
        let of_segment = self.offsets.get(&frame.segment);
        let found = |steps: &Vec<u32>| Some(steps.binary_search(&Self::step(frame.offset)?).is_ok());
        of_segment.and_then(found).unwrap_or(false)
    }

    fn step(offset: u64) -> Option<u32> {
        let alignment = chunk::FRAME_ALIGNMENT as u64;
        offset.is_multiple_of(alignment).then(|| u32::try_from(offset / alignment).ok())?
    }
}

/// What was found of the chunks that were looked at last.
#[derive(Default)]
struct Verdicts {
    /// For whom: chunks of others are not there.
    machine: MachineId,
    /// The length of a chunk, or why it cannot be read.
    chunks: HashMap<Name, Result<u32, String>>,
}

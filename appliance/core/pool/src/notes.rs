//! What the pool notes of damage, so that a restart does not forget it: places that are bad, and points that have lost something.
//!
//! Notes are settings under keys that nobody else may use. They follow what checks found: a note goes when its place is
//! found sound, or when nothing is read from it any more, or with its segment; that of a point goes when a later check
//! finds the point whole, and with the point. Nothing is removed for a note; who reads goes by the drive, not by notes.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use model::archive::PointKey;
use model::{SegmentNumber, SourceId};

use crate::PoolError;
use crate::bad::{BadPlaces, BadSegment, Holds};
use crate::pool::Pool;
use crate::reader::lock;
use crate::record::Record;
use crate::registry::Registry;
use crate::state::{Shared, State};

/// What all keys of notes begin with.
pub(crate) const RESERVED: &str = "damage/";
const FRAMES: &str = "damage/frames/";
const POINTS: &str = "damage/point/";

/// Most frames of a segment that are noted; if there are more, the whole segment is.
const FRAMES_MAX: usize = 10_000;
/// Most lines that are noted of a point.
const LINES_MAX: usize = 20;
/// Longest line, in bytes.
const LINE_LENGTH_MAX: usize = 500;

/// What is damaged of a point.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct PointDamage {
    /// How much is.
    #[n(0)]
    pub count: u64,
    /// The first of it: machine, source, point and path, and what is wrong.
    #[n(1)]
    pub lines: Vec<String>,
}

impl PointDamage {
    /// As much of it as is noted.
    pub(crate) fn new(count: u64, lines: &[String]) -> Self {
        let cut = |line: &String| line[..line.floor_char_boundary(LINE_LENGTH_MAX)].to_owned();
        Self { count, lines: lines.iter().take(LINES_MAX).map(cut).collect() }
    }
}

/// What was found of points: damage, or that they are whole.
pub(crate) type Findings = BTreeMap<PointKey, Option<PointDamage>>;

/// The note of a segment.
#[derive(Encode, Decode)]
struct FramesNote {
    /// From where on nothing of it can be read.
    #[n(0)]
    from: Option<u64>,
    /// Offsets of damaged frames, and whether they are of the log.
    #[n(1)]
    frames: Vec<(u64, bool)>,
}

impl FramesNote {
    fn new(bad: &BadSegment) -> Self {
        if bad.frames.len() > FRAMES_MAX {
            return Self { from: Some(0), frames: Vec::new() };
        }
        let frames = bad.frames.iter().map(|(offset, holds)| (*offset, *holds == Holds::Log));
        Self { from: bad.from, frames: frames.collect() }
    }

    fn recall(self, segment: SegmentNumber, bad: &BadPlaces) {
        if let Some(from) = self.from {
            bad.add_segment(segment, from);
        }
        for (offset, is_log) in self.frames {
            bad.add_frame(segment, offset, if is_log { Holds::Log } else { Holds::Names });
        }
    }
}

fn frames_key(segment: SegmentNumber) -> String {
    format!("{FRAMES}{:016x}", segment.0)
}

fn point_key(key: PointKey) -> String {
    format!("{POINTS}{}/{}", key.source.0, key.number)
}

fn point_of(key: &str) -> Option<PointKey> {
    let (source, number) = key.strip_prefix(POINTS)?.split_once('/')?;
    Some(PointKey { source: SourceId(source.parse().ok()?), number: number.parse().ok()? })
}

/// The settings below a prefix.
fn below<'a>(registry: &'a Registry, prefix: &'a str) -> impl Iterator<Item = (&'a String, &'a Vec<u8>)> {
    registry.settings.range(prefix.to_owned()..).take_while(move |(key, _)| key.starts_with(prefix))
}

/// Takes over what is noted of places. A note that says nothing is left out, and replaced when there is one.
pub(crate) fn recall(state: &State) {
    for (key, value) in below(&state.registry, FRAMES) {
        let segment = u64::from_str_radix(&key[FRAMES.len()..], 16).map(SegmentNumber);
        if let (Ok(segment), Ok(note)) = (segment, minicbor::decode::<FramesNote>(value))
            && state.mark.length_of(segment).is_some()
        {
            note.recall(segment, &state.bad);
        }
    }
}

/// The record that takes the note of a point away, if there is one.
pub(crate) fn without_note(registry: &Registry, key: PointKey) -> Option<Record> {
    let key = point_key(key);
    registry.settings.contains_key(&key).then_some(Record::Setting { key, value: None })
}

impl State {
    /// What is bad of segments of the pool. Who reads of one while it goes finds it bad as well.
    pub(crate) fn damaged(&self) -> BTreeMap<SegmentNumber, BadSegment> {
        let mut bad = self.bad.list();
        bad.retain(|segment, _| self.mark.length_of(*segment).is_some());
        bad
    }
}

impl Shared {
    /// What is damaged of a point, as far as checks have found it and it was not found whole since.
    #[must_use]
    pub fn point_damage(&self, key: PointKey) -> Option<PointDamage> {
        let found = lock(&self.checks.findings).get(&key).cloned();
        let state = self.state();
        if !state.registry.points.contains_key(&(key.source, key.number)) {
            return None;
        }
        let noted = || state.registry.settings.get(&point_key(key));
        found.unwrap_or_else(|| noted().map(|value| minicbor::decode(value).unwrap_or_default()))
    }

    /// All points of which something is damaged.
    #[must_use]
    pub fn damaged_points(&self) -> BTreeMap<PointKey, PointDamage> {
        let findings = lock(&self.checks.findings).clone();
        self.registry(|registry| {
            let noted = below(registry, POINTS).filter_map(|(key, value)| {
                Some((point_of(key)?, minicbor::decode::<PointDamage>(value).unwrap_or_default()))
            });
            let mut all: BTreeMap<_, _> = noted.collect();
            for (key, found) in findings {
                match found {
                    Some(damage) => drop(all.insert(key, damage)),
                    None => drop(all.remove(&key)),
                }
            }
            all.retain(|key, _| registry.points.contains_key(&(key.source, key.number)));
            all
        })
    }

    /// Takes what a check found of a point.
    pub(crate) fn found(&self, key: PointKey, found: Option<PointDamage>) {
        let mut findings = lock(&self.checks.findings);
        if found.is_none() && !self.registry(|registry| registry.settings.contains_key(&point_key(key))) {
            findings.remove(&key);
        } else {
            findings.insert(key, found);
        }
    }

    /// Whether something was found that the pool does not note yet.
    #[must_use]
    pub fn has_damage_to_note(&self) -> bool {
        !self.notes().is_empty()
    }

    /// The records that bring the notes up to what is known.
    fn notes(&self) -> Vec<Record> {
        let mut findings = lock(&self.checks.findings);
        let state = self.state();
        let registry = &state.registry;
        let mut wanted = BTreeMap::<String, Option<Vec<u8>>>::new();
        for (key, _) in below(registry, FRAMES) {
            wanted.insert(key.clone(), None);
        }
        for (segment, bad) in state.damaged() {
            wanted.insert(frames_key(segment), minicbor::to_vec(FramesNote::new(&bad)).ok());
        }
        let is_there = |key: PointKey| registry.points.contains_key(&(key.source, key.number));
        for (key, _) in below(registry, POINTS).filter(|(key, _)| !point_of(key).is_some_and(is_there)) {
            wanted.insert(key.clone(), None);
        }
        findings.retain(|key, found| {
            let noted = registry.settings.get(&point_key(*key));
            let value = found.as_ref().and_then(|damage| minicbor::to_vec(damage).ok());
            if !is_there(*key) || noted == value.as_ref() {
                return false;
            }
            wanted.insert(point_key(*key), value);
            true
        });
        wanted.retain(|key, value| registry.settings.get(key) != value.as_ref());
        wanted.into_iter().map(|(key, value)| Record::Setting { key, value }).collect()
    }
}

impl Pool {
    /// Notes in the pool what checks and reads have found to be damaged, and what they found whole again; durable when
    /// this returns. Whether there was anything to note.
    pub fn note_damage(&mut self) -> Result<bool, PoolError> {
        let records = self.shared().notes();
        if records.is_empty() {
            return Ok(false);
        }
        self.commit(records)?;
        Ok(true)
    }
}

//! What there is to plan over: every source with its points and bytes, and the pool as a whole.
//!
//! Points are in the order of their numbers, which is the pool's own; nothing here is ordered by a clock.

use std::collections::BTreeMap;

use model::{SourceId, Time};

use crate::witness::Witnessed;

/// A pool, as far as retention looks at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Every source.
    pub sources: BTreeMap<SourceId, SourceState>,
    /// Bytes that the pool takes on its drives, including what is on its way to be given back.
    pub used_bytes: u64,
    /// Bytes that reclaim is already giving back.
    pub reclaimable_bytes: u64,
    /// Bytes that the drives can hold.
    pub drives_bytes: u64,
}

impl State {
    /// Bytes that will be taken when reclaim is done.
    #[must_use]
    pub const fn expected_bytes(&self) -> u64 {
        self.used_bytes.saturating_sub(self.reclaimable_bytes)
    }

    /// How many points there are.
    #[must_use]
    pub fn points(&self) -> u64 {
        self.sources.values().map(|source| source.points.len() as u64).sum()
    }
}

/// A source and its points.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceState {
    /// Bytes that it takes; what it shares with other sources counts for one of them.
    pub used_bytes: u64,
    points: Vec<PointState>,
}

impl SourceState {
    /// Puts points into the order of their numbers; of two with the same number the first counts.
    #[must_use]
    pub fn new(used_bytes: u64, mut points: Vec<PointState>) -> Self {
        points.sort_by_key(|point| point.number);
        points.dedup_by_key(|point| point.number);
        Self { used_bytes, points }
    }

    /// Its points, oldest first.
    #[must_use]
    pub fn points(&self) -> &[PointState] {
        &self.points
    }
}

/// A point, as far as retention looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointState {
    /// Its number among the points of its source.
    pub number: u64,
    /// When it was received, by the appliance's wall clock; used for rungs and for nothing else.
    pub received: Time,
    /// When it was received, in witnessed time.
    pub witnessed: Witnessed,
    /// Whether it holds all that it should.
    pub completeness: Completeness,
    /// What keeps it besides its age and its place.
    pub holds: Holds,
    /// What dropping it alone would give back, as last measured.
    pub own_bytes: Option<u64>,
}

/// Whether a point holds all that it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// Everything of the source is in it.
    Complete,
    /// Something is missing or damaged.
    Partial,
}

/// What keeps a point besides its age and its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// An operator wants it.
    pub pinned: bool,
    /// It must not go for reasons of law; only who set it may lift it.
    pub legal_hold: bool,
    /// Somebody reads it.
    pub leased: bool,
}

//! What would go and what stays, with all reasons: decided here, shown to an operator, carried out by others.
//!
//! A plan is a function of state, policies, bounds and time and of nothing else. Points go in this order:
//!
//! 1. what no count of a policy asks for, oldest first;
//! 2. what a source holds above its quota;
//! 3. points above the most that the pool may hold;
//! 4. when the pool is above its high-water mark, cheapest first ([`crate::thinning`]), down to the low-water mark.
//!
//! Never folded, by none of these: what [`Keep::protects`]. While the clock cannot be believed nothing is folded.
//!
//! What folds give back is counted by what each point holds alone as it was last measured. Together they give back at
//! least that, and often more, because what two of them share goes as well. Whoever carries a plan out therefore
//! measures between folds and stops as soon as [`Pressure::target_bytes`] is reached.

use std::collections::BTreeMap;
use std::ops::Range;

use model::SourceId;

use crate::bounds::{Marks, PoolBounds};
use crate::judge::{Keep, judge};
use crate::policy::{Policies, Policy};
use crate::shortfall::{Shortfall, shortfalls};
use crate::state::{PointState, State};
use crate::thinning::{Slot, Thinning, Wanted};
use crate::witness::{Freeze, Now};

/// What would go and what stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What goes, in the order in which it is to be carried out.
    pub folds: Vec<Fold>,
    /// What stays, by source and number.
    pub keeps: Vec<Kept>,
    /// Where there is not room enough, because of what is never folded.
    pub shortfalls: Vec<Shortfall>,
    /// That the pool is above its high-water mark.
    pub pressure: Option<Pressure>,
    /// Why nothing goes although something should.
    pub frozen: Option<Freeze>,
}

/// A point that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fold {
    /// Of which source.
    pub source: SourceId,
    /// Its number.
    pub number: u64,
    /// Why.
    pub reason: FoldReason,
    /// What it gives back at least, if that was measured.
    pub own_bytes: Option<u64>,
}

/// Why a point goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FoldReason {
    /// No count of its policy asks for it.
    Counts,
    /// Its source holds more than its quota.
    Quota {
        /// The quota.
        bytes: u64,
    },
    /// The pool has too many points.
    Points {
        /// How many it may have.
        points: u64,
    },
    /// The pool is above its high-water mark.
    Pressure,
}

/// A point that stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Of which source.
    pub source: SourceId,
    /// Its number.
    pub number: u64,
    /// Why; never empty.
    pub reasons: Vec<Keep>,
}

/// That the pool is above its high-water mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// What is taken once reclaim, counts and quotas have given back what they can.
    pub expected_bytes: u64,
    /// The high-water mark.
    pub high_bytes: u64,
    /// Folding stops as soon as this is reached: the low-water mark.
    pub target_bytes: u64,
}

/// A point while it is decided about.
pub(crate) struct Candidate {
    pub(crate) source: SourceId,
    pub(crate) point: PointState,
    pub(crate) keeps: Vec<Keep>,
    pub(crate) folded: bool,
}

impl Candidate {
    pub(crate) fn is_protected(&self) -> bool {
        self.keeps.iter().any(|keep| keep.protects())
    }
}

/// What is decided so far.
pub(crate) struct Draft<'a> {
    pub(crate) policies: &'a Policies,
    pub(crate) bounds: &'a PoolBounds,
    pub(crate) marks: Marks,
    pub(crate) now: &'a Now,
    /// How many points there are.
    points: u64,
    /// By source and number.
    pub(crate) candidates: Vec<Candidate>,
    /// What each source takes after the folds so far.
    pub(crate) source_bytes: BTreeMap<SourceId, u64>,
    /// What the pool takes after the folds so far and after reclaim.
    pub(crate) pool_bytes: u64,
    folds: Vec<Fold>,
    /// Whether something that may go is left, although its bound is not met: it must be measured first.
    pub(crate) unfinished: bool,
}

/// Decides what goes and what stays.
#[must_use]
pub fn plan(state: &State, policies: &Policies, bounds: &PoolBounds, now: &Now) -> Plan {
    let mut draft = Draft::new(state, policies, bounds, now);
    let mut pressure = None;
    if now.frozen.is_none() {
        draft.fold_by_counts();
        draft.fold_by_quotas();
        draft.fold_by_points();
        pressure = draft.fold_by_pressure();
    }
    let shortfalls = shortfalls(&draft);
    let keeps = draft
        .candidates
        .into_iter()
        .filter(|candidate| !candidate.folded)
        .map(|candidate| {
            let Candidate { source, point, mut keeps, .. } = candidate;
            if keeps.is_empty() {
                keeps.push(Keep::Frozen);
            }
            Kept { source, number: point.number, reasons: keeps }
        })
        .collect();
    Plan { folds: draft.folds, keeps, shortfalls, pressure, frozen: now.frozen }
}

impl Plan {
    /// Why new data of a source is refused until something changes, if it is.
    #[must_use]
    pub fn refusal(&self, source: SourceId) -> Option<&Shortfall> {
        self.shortfalls.iter().find(|shortfall| shortfall.refuses(source))
    }
}

impl<'a> Draft<'a> {
    fn new(state: &'a State, policies: &'a Policies, bounds: &'a PoolBounds, now: &'a Now) -> Self {
        let mut candidates = Vec::new();
        for (source, its) in &state.sources {
            let policy = policies.get(source).copied().unwrap_or_default();
            let keeps = judge(its.points(), &policy, now.witnessed);
            candidates.extend(its.points().iter().zip(keeps).map(|(point, keeps)| Candidate {
                source: *source,
                point: *point,
                keeps,
                folded: false,
            }));
        }
        Self {
            policies,
            bounds,
            marks: bounds.marks(state.drives_bytes),
            now,
            points: candidates.len() as u64,
            candidates,
            source_bytes: state.sources.iter().map(|(source, its)| (*source, its.used_bytes)).collect(),
            pool_bytes: state.expected_bytes(),
            folds: Vec::new(),
            unfinished: false,
        }
    }

    /// The policy of a source.
    pub(crate) fn policy(&self, source: SourceId) -> Policy {
        self.policies.get(&source).copied().unwrap_or_default()
    }

    /// How many points stay.
    pub(crate) fn points_left(&self) -> u64 {
        self.points.saturating_sub(self.folds.len() as u64)
    }

    /// Where the candidates of one source are, or of all.
    pub(crate) fn range(&self, only: Option<SourceId>) -> Range<usize> {
        only.map_or(0..self.candidates.len(), |source| {
            let start = self.candidates.partition_point(|candidate| candidate.source < source);
            start..self.candidates.partition_point(|candidate| candidate.source <= source)
        })
    }

    fn fold_by_counts(&mut self) {
        for place in 0..self.candidates.len() {
            if self.candidates.get(place).is_some_and(|candidate| candidate.keeps.is_empty()) {
                self.fold(place, FoldReason::Counts);
            }
        }
    }

    fn fold_by_quotas(&mut self) {
        let quotas: Vec<(SourceId, u64)> = self
            .source_bytes
            .iter()
            .filter_map(|(source, used)| {
                Some((*source, self.policy(*source).quota_bytes.filter(|q| used > q)?))
            })
            .collect();
        for (source, bytes) in quotas {
            let mut thinning = self.thinning(Wanted::Room, Some(source));
            while self.source_bytes.get(&source).is_some_and(|used| *used > bytes) {
                let Some(slot) = thinning.next() else {
                    self.unfinished |= !thinning.is_exhausted();
                    break;
                };
                self.fold(slot.place, FoldReason::Quota { bytes });
            }
        }
    }

    fn fold_by_points(&mut self) {
        let Some(points) = self.bounds.points_max.filter(|most| self.points_left() > *most) else { return };
        let mut thinning = self.thinning(Wanted::FewerPoints, None);
        while self.points_left() > points
            && let Some(slot) = thinning.next()
        {
            self.fold(slot.place, FoldReason::Points { points });
        }
    }

    fn fold_by_pressure(&mut self) -> Option<Pressure> {
        let Marks { high_bytes, low_bytes, .. } = self.marks;
        if self.pool_bytes <= high_bytes {
            return None;
        }
        let pressure = Pressure { expected_bytes: self.pool_bytes, high_bytes, target_bytes: low_bytes };
        let mut thinning = self.thinning(Wanted::Room, None);
        while self.pool_bytes > low_bytes {
            let Some(slot) = thinning.next() else {
                self.unfinished |= !thinning.is_exhausted();
                break;
            };
            self.fold(slot.place, FoldReason::Pressure);
        }
        Some(pressure)
    }

    /// What is left of one source, or of all.
    fn thinning(&self, wanted: Wanted, only: Option<SourceId>) -> Thinning {
        let range = self.range(only);
        let candidates = self.candidates.get(range.clone()).unwrap_or_default();
        let left = range.zip(candidates).filter(|(_, candidate)| !candidate.folded);
        let slots = left.map(|(place, candidate)| Slot {
            place,
            run: candidate.source.0,
            witnessed: candidate.point.witnessed,
            own_bytes: candidate.point.own_bytes,
            foldable: !candidate.is_protected(),
        });
        Thinning::new(slots, self.now.witnessed, wanted)
    }

    fn fold(&mut self, place: usize, reason: FoldReason) {
        let Some(candidate) = self.candidates.get_mut(place) else { return };
        let (source, number) = (candidate.source, candidate.point.number);
        let own_bytes = candidate.point.own_bytes;
        candidate.folded = true;
        let given = own_bytes.unwrap_or(0);
        if let Some(bytes) = self.source_bytes.get_mut(&source) {
            *bytes = bytes.saturating_sub(given);
        }
        self.pool_bytes = self.pool_bytes.saturating_sub(given);
        self.folds.push(Fold { source, number, reason, own_bytes });
    }
}

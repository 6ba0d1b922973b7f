//! A plan while it is made: every point with what keeps it, and what is taken after the folds so far.
//!
//! Each step folds for one reason, and only what no step before it has folded. Nothing here touches a point that
//! [`Keep::protects`].

use std::collections::BTreeMap;
use std::ops::Range;

use model::SourceId;

use crate::bounds::{Marks, PoolBounds};
use crate::judge::{Keep, judge};
use crate::plan::{Fold, FoldReason, Pressure};
use crate::policy::{Policies, Policy};
use crate::state::{PointState, State};
use crate::thinning::{Slot, Thinning, Wanted};
use crate::witness::Now;

/// A point while it is decided about.
pub(crate) struct Candidate {
    pub(crate) source: SourceId,
    pub(crate) point: PointState,
    pub(crate) keeps: Vec<Keep>,
    pub(crate) folded: bool,
}

impl Candidate {
    fn is_protected(&self) -> bool {
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
    pub(crate) folds: Vec<Fold>,
    /// Whether something that may go is left, although its bound is not met: it must be measured first.
    pub(crate) unfinished: bool,
}

impl<'a> Draft<'a> {
    /// Nothing is folded yet.
    pub(crate) fn new(
        state: &'a State,
        policies: &'a Policies,
        bounds: &'a PoolBounds,
        now: &'a Now,
    ) -> Self {
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

    /// What no count asks for.
    pub(crate) fn fold_by_counts(&mut self) {
        for place in 0..self.candidates.len() {
            if self.candidates.get(place).is_some_and(|candidate| candidate.keeps.is_empty()) {
                self.fold(place, FoldReason::Counts);
            }
        }
    }

    /// What sources hold above their quotas.
    pub(crate) fn fold_by_quotas(&mut self) {
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

    /// Points above the most that the pool may hold.
    pub(crate) fn fold_by_points(&mut self) {
        let Some(points) = self.bounds.points_max.filter(|most| self.points_left() > *most) else { return };
        let mut thinning = self.thinning(Wanted::FewerPoints, None);
        while self.points_left() > points
            && let Some(slot) = thinning.next()
        {
            self.fold(slot.place, FoldReason::Points { points });
        }
    }

    /// What the pool holds above its low-water mark, once it is above the high one.
    pub(crate) fn fold_by_pressure(&mut self) -> Option<Pressure> {
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

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

use model::SourceId;

use crate::bounds::PoolBounds;
use crate::draft::{Candidate, Draft};
use crate::judge::Keep;
use crate::policy::Policies;
use crate::shortfall::{Shortfall, shortfalls};
use crate::state::State;
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

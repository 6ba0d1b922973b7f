//! Why a point is kept: what nobody may fold, and what the counts of a policy ask for.
//!
//! Protection looks at numbers, witnessed time and holds; it never looks at a wall clock. Counts look at the wall
//! time of receipt as well, because a rung is a thing of the calendar.
//!
//! A point that is kept here is still kept when all those that are not have gone: what keeps it only looks at points
//! that are newer, and fewer of them never take it out of a count. So a plan that was carried out leaves nothing for
//! counts to fold.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::period::{Period, Rung};
use crate::policy::Policy;
use crate::state::{Completeness, PointState};
use crate::witness::Witnessed;

/// A reason for which a point is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keep {
    /// Only who set the legal hold may lift it.
    LegalHold,
    /// An operator pinned it.
    Pinned,
    /// Somebody reads it.
    Leased,
    /// It is younger than the floor's age.
    FloorAge {
        /// How much more time must be witnessed until it is not.
        left: Duration,
    },
    /// It is one of the newest complete points that the floor names.
    FloorPoints,
    /// It is the newest complete point of its source.
    NewestComplete,
    /// It is the newest point of its source, which the next backup goes on from.
    Newest,
    /// It is one of the last points.
    Last,
    /// It is the newest point of a period.
    Rung(Period),
    /// The policy has no counts, so every point is wanted while there is room.
    NoCounts,
    /// It would go if the clock could be believed.
    Frozen,
}

impl Keep {
    /// Whether this outranks counts, quota and the pool's marks.
    #[must_use]
    pub const fn protects(self) -> bool {
        !matches!(self, Self::Last | Self::Rung(_) | Self::NoCounts | Self::Frozen)
    }
}

/// The reasons for each point of a source, in the order of the points.
pub(crate) fn judge(points: &[PointState], policy: &Policy, now: Witnessed) -> Vec<Vec<Keep>> {
    let mut keeps = vec![Vec::new(); points.len()];
    protect(points, policy, now, &mut keeps);
    if policy.counts.is_empty() {
        keeps.iter_mut().for_each(|reasons| reasons.push(Keep::NoCounts));
    } else {
        count_last(points, policy.counts.last, &mut keeps);
        for rung in Rung::ALL {
            count_rung(points, rung, policy.counts.of(rung), &mut keeps);
        }
    }
    keeps
}

fn protect(points: &[PointState], policy: &Policy, now: Witnessed, keeps: &mut [Vec<Keep>]) {
    let floor_points = usize::try_from(policy.floor.points).unwrap_or(usize::MAX);
    let mut complete_seen = 0_usize;
    for (place, (point, reasons)) in points.iter().zip(keeps).rev().enumerate() {
        let held = [
            (point.holds.legal_hold, Keep::LegalHold),
            (point.holds.pinned, Keep::Pinned),
            (point.holds.leased, Keep::Leased),
        ];
        reasons.extend(held.into_iter().filter_map(|(set, keep)| set.then_some(keep)));
        let left = policy.floor.age.saturating_sub(now.since(point.witnessed));
        if left > Duration::ZERO {
            reasons.push(Keep::FloorAge { left });
        }
        if point.completeness == Completeness::Complete {
            if complete_seen < floor_points {
                reasons.push(Keep::FloorPoints);
            }
            if complete_seen == 0 {
                reasons.push(Keep::NewestComplete);
            }
            complete_seen += 1;
        }
        if place == 0 {
            reasons.push(Keep::Newest);
        }
    }
}

/// The last `count` complete points, and partial ones that are among the last `count` of all: a run of partial
/// points pushes no complete one out.
fn count_last(points: &[PointState], count: u32, keeps: &mut [Vec<Keep>]) {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut complete_seen = 0_usize;
    for (place, (point, reasons)) in points.iter().zip(keeps).rev().enumerate() {
        let complete = point.completeness == Completeness::Complete;
        if (complete && complete_seen < count) || place < count {
            reasons.push(Keep::Last);
        }
        complete_seen += usize::from(complete);
    }
}

/// The newest point of each of the last `count` periods that have points, once among complete points and once among
/// all: so neither does a partial point stand in for a complete one, nor is it forgotten that there was one.
fn count_rung(points: &[PointState], rung: Rung, count: u32, keeps: &mut [Vec<Keep>]) {
    if count == 0 {
        return;
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let (mut all, mut complete) = (BTreeSet::new(), BTreeSet::new());
    for (point, reasons) in points.iter().zip(keeps).rev() {
        let period = Period::of(rung, point.received);
        // Periods are taken in the order of their points, so that a clock that went ahead once holds no place for ever.
        let is_newest = |seen: &mut BTreeSet<Period>| seen.len() < count && seen.insert(period);
        let newest_complete = point.completeness == Completeness::Complete && is_newest(&mut complete);
        if is_newest(&mut all) || newest_complete {
            reasons.push(Keep::Rung(period));
        }
    }
}

//! Where floors and holds leave no room: what is kept and why, how much is lacking, and what would help, as data.
//!
//! A plan that meets a bound has no shortfall for it, and neither has one that must measure first. Above the
//! high-water mark a shortfall warns; at the capacity, the quota or the number of points it refuses new data.

use std::collections::BTreeMap;
use std::time::Duration;

use model::SourceId;

use crate::draft::{Candidate, Draft};
use crate::judge::Keep;

/// A bound that cannot be met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// Which bound.
    pub bound: Bound,
    /// What it is: bytes, or points.
    pub limit: u64,
    /// What there is although everything went that may go.
    pub found: u64,
    /// Whether new data is taken.
    pub consequence: Consequence,
    /// What is kept, and why.
    pub kept: Vec<KeptBy>,
    /// What would help, most first.
    pub helps: Vec<Help>,
}

/// What cannot be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The quota of a source.
    Quota(SourceId),
    /// The most points that the pool may hold.
    Points,
    /// The high-water mark, or the capacity if that is reached.
    Room,
}

/// What a shortfall leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// Above the high-water mark, below the capacity: data is still taken.
    Warns,
    /// No new data is taken.
    Refuses,
}

/// Points of a source that are kept for the same reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptBy {
    /// Which source.
    pub source: SourceId,
    /// The strongest reason.
    pub cause: Cause,
    /// How many points.
    pub points: u64,
    /// What they hold alone, as far as it is measured.
    pub own_bytes: u64,
}

/// The strongest reason for which a point is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// A legal hold.
    LegalHold,
    /// A pin.
    Pinned,
    /// A reader.
    Leased,
    /// The floor of its source.
    Floor,
    /// It is the newest, complete or at all.
    Newest,
    /// The clock cannot be believed.
    Frozen,
}

/// Something that an operator can do, or wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Help {
    /// Confirm the clock: points could go that are only kept because nothing goes.
    ConfirmClock {
        /// How many.
        points: u64,
        /// What they hold alone.
        own_bytes: u64,
    },
    /// Add or enlarge drives, or raise the capacity, by at least so much.
    AddRoom {
        /// Bytes.
        bytes: u64,
    },
    /// Raise the quota to at least so much.
    RaiseQuota {
        /// Bytes.
        bytes: u64,
    },
    /// Allow at least so many points.
    AllowPoints {
        /// How many.
        points: u64,
    },
    /// Give up what one reason keeps: lower the floor, lift the pin or the hold, end the reading.
    GiveUp(KeptBy),
    /// Wait until the floor's age has passed for the first points of a source.
    Wait {
        /// Which source.
        source: SourceId,
        /// For how long.
        span: Duration,
    },
}

/// Most ways to help that are named.
const HELPS_MAX: usize = 6;

impl Shortfall {
    /// How much is lacking: bytes, or points.
    #[must_use]
    pub const fn lacking(&self) -> u64 {
        self.found.saturating_sub(self.limit)
    }

    /// Whether new data of a source is refused for it.
    #[must_use]
    pub fn refuses(&self, source: SourceId) -> bool {
        let concerned = match self.bound {
            Bound::Quota(of) => of == source,
            Bound::Points | Bound::Room => true,
        };
        concerned && self.consequence == Consequence::Refuses
    }
}

/// Every bound that the draft leaves unmet.
pub(crate) fn shortfalls(draft: &Draft<'_>) -> Vec<Shortfall> {
    let mut found = Vec::new();
    if draft.unfinished {
        return found;
    }
    for (source, used) in &draft.source_bytes {
        if let Some(quota) = draft.policy(*source).quota_bytes.filter(|quota| used > quota) {
            let bound = Bound::Quota(*source);
            found.push(shortfall(draft, bound, quota, *used, Consequence::Refuses));
        }
    }
    if let Some(most) = draft.bounds.points_max.filter(|most| draft.points_left() > *most) {
        found.push(shortfall(draft, Bound::Points, most, draft.points_left(), Consequence::Refuses));
    }
    let (marks, used) = (draft.marks, draft.pool_bytes);
    if used > marks.high_bytes {
        let consequence =
            if used >= marks.capacity_bytes { Consequence::Refuses } else { Consequence::Warns };
        found.push(shortfall(draft, Bound::Room, marks.high_bytes, used, consequence));
    }
    found
}

fn shortfall(draft: &Draft<'_>, bound: Bound, limit: u64, found: u64, consequence: Consequence) -> Shortfall {
    let only = match bound {
        Bound::Quota(source) => Some(source),
        Bound::Points | Bound::Room => None,
    };
    let concerned: &[Candidate] = draft.candidates.get(draft.range(only)).unwrap_or_default();
    let mut groups: BTreeMap<(SourceId, Cause), KeptBy> = BTreeMap::new();
    let mut waits: BTreeMap<SourceId, Duration> = BTreeMap::new();
    for candidate in concerned.iter().filter(|candidate| !candidate.folded) {
        let source = candidate.source;
        let cause = cause(&candidate.keeps);
        let group =
            groups.entry((source, cause)).or_insert(KeptBy { source, cause, points: 0, own_bytes: 0 });
        group.points += 1;
        group.own_bytes = group.own_bytes.saturating_add(candidate.point.own_bytes.unwrap_or(0));
        let protecting: Vec<Keep> = candidate.keeps.iter().copied().filter(|keep| keep.protects()).collect();
        if let [Keep::FloorAge { left }] = protecting.as_slice() {
            let wait = waits.entry(source).or_insert(*left);
            *wait = (*wait).min(*left);
        }
    }
    let kept: Vec<KeptBy> = groups.into_values().collect();
    let helps = helps(bound, limit, found, &kept, waits);
    Shortfall { bound, limit, found, consequence, kept, helps }
}

fn helps(
    bound: Bound,
    limit: u64,
    found: u64,
    kept: &[KeptBy],
    waits: BTreeMap<SourceId, Duration>,
) -> Vec<Help> {
    let frozen = kept.iter().filter(|group| group.cause == Cause::Frozen);
    let (points, own_bytes) = frozen.fold((0_u64, 0_u64), |(points, bytes), group| {
        (points + group.points, bytes.saturating_add(group.own_bytes))
    });
    let clock = (points > 0).then_some(Help::ConfirmClock { points, own_bytes });
    let more = match bound {
        Bound::Quota(_) => Help::RaiseQuota { bytes: found },
        Bound::Points => Help::AllowPoints { points: found },
        Bound::Room => Help::AddRoom { bytes: found.saturating_sub(limit) },
    };
    let mut groups: Vec<KeptBy> = kept
        .iter()
        .copied()
        .filter(|group| !matches!(group.cause, Cause::Newest | Cause::Frozen))
        .filter(|group| bound == Bound::Points || group.own_bytes > 0)
        .collect();
    groups.sort_by_key(|group| match bound {
        Bound::Points => std::cmp::Reverse(group.points),
        _ => std::cmp::Reverse(group.own_bytes),
    });
    let wait =
        waits.into_iter().min_by_key(|(_, span)| *span).map(|(source, span)| Help::Wait { source, span });
    let given_up = groups.into_iter().map(Help::GiveUp);
    clock.into_iter().chain([more]).chain(wait).chain(given_up).take(HELPS_MAX).collect()
}

fn cause(keeps: &[Keep]) -> Cause {
    let of = |keep: &Keep| match keep {
        Keep::LegalHold => Cause::LegalHold,
        Keep::Pinned => Cause::Pinned,
        Keep::Leased => Cause::Leased,
        Keep::FloorAge { .. } | Keep::FloorPoints => Cause::Floor,
        Keep::NewestComplete | Keep::Newest => Cause::Newest,
        Keep::Last | Keep::Rung(_) | Keep::NoCounts | Keep::Frozen => Cause::Frozen,
    };
    // The newest point is under the floor as a rule, but giving up the floor would not let it go.
    let newest = keeps.iter().any(|keep| matches!(keep, Keep::NewestComplete | Keep::Newest));
    let strongest = keeps.iter().map(of).min().unwrap_or(Cause::Frozen);
    if newest && strongest == Cause::Floor { Cause::Newest } else { strongest }
}

//! Which point goes first when room is needed: the one that holds most for the least history lost.
//!
//! **History lost.** Folding a point opens a gap between its neighbours: whoever wants a moment of that gap gets an
//! older state. How much that matters depends on how long ago it was: an hour without a point is much today and
//! nothing next year. The loss is therefore the length of the gap divided by the age of the point, both in witnessed
//! time. Of many close neighbours each loses little; a lone old point loses much; points of equal value lie ever
//! farther apart the older they are. The oldest point has nothing before it: without it nothing reaches that far back.
//! Its gap counts as if it went on for half of its age, so that reach shrinks only when history is thin already, or
//! when the oldest point holds very much.
//!
//! **What it holds** are the bytes that dropping it alone would give back. The point with most bytes for its loss goes
//! first; then its neighbours are judged anew, because their gaps have grown.
//!
//! A point of which nothing is measured, or that holds nothing alone, is folded *blindly*: what that gives back shows
//! only when its neighbours are measured again. A plan does so only if nothing else may go, and takes at most
//! [`BLIND_FOLDS_MAX`]; if others have gone before, what is left must be measured first, because it may hold more alone
//! by then.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::witness::Witnessed;

/// Most folds of one plan and bound of which nobody knows what they give back.
pub const BLIND_FOLDS_MAX: usize = 8;

/// What every point takes besides what it holds alone: its record and its root.
const POINT_BYTES: u64 = 4096;

/// So that the youngest points are not infinitely dear.
const AGE_LEAST: Duration = Duration::from_secs(3_600);

/// Losses and scores are whole numbers of this fraction, so that they are the same everywhere.
const ONE: u128 = 1 << 20;

/// A point that may be thinned out, or that stands beside one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// Where it is in the list of the plan.
    pub(crate) place: usize,
    /// Which run of neighbours it belongs to.
    pub(crate) run: u64,
    /// When it was received.
    pub(crate) witnessed: Witnessed,
    /// What folding it gives back, if it is known.
    pub(crate) own_bytes: Option<u64>,
    /// Whether it may go.
    pub(crate) foldable: bool,
}

/// What is to be had from folding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Bytes.
    Room,
    /// Fewer points, whatever they hold.
    FewerPoints,
}

/// Blind ones last, best score first, then the order of the plan.
type Rank = (bool, Reverse<u128>, usize);

#[derive(Clone, Copy)]
struct Link {
    slot: Slot,
    older: Option<usize>,
    newer: Option<usize>,
    rank: Option<Rank>,
}

/// Points in the order in which they would go.
pub(crate) struct Thinning {
    links: Vec<Link>,
    order: BTreeSet<Rank>,
    now: Witnessed,
    wanted: Wanted,
    blind_left: usize,
    any_measured: bool,
}

impl Thinning {
    /// Over points in the order of sources and numbers.
    pub(crate) fn new(slots: impl Iterator<Item = Slot>, now: Witnessed, wanted: Wanted) -> Self {
        let mut links: Vec<Link> =
            slots.map(|slot| Link { slot, older: None, newer: None, rank: None }).collect();
        for index in 1..links.len() {
            if let Some([older, newer]) = links.get_mut(index - 1..=index)
                && older.slot.run == newer.slot.run
            {
                older.newer = Some(index);
                newer.older = Some(index - 1);
            }
        }
        let (order, blind_left) = (BTreeSet::new(), BLIND_FOLDS_MAX);
        let mut thinning = Self { links, order, now, wanted, blind_left, any_measured: false };
        for index in 0..thinning.links.len() {
            thinning.rank(index);
        }
        thinning
    }

    /// The next point to go; its neighbours become neighbours of each other.
    pub(crate) fn next(&mut self) -> Option<Slot> {
        let rank @ (blind, _, index) = *self.order.first()?;
        if blind && self.any_measured {
            return None;
        } else if blind {
            self.blind_left = self.blind_left.checked_sub(1)?;
        }
        self.any_measured |= !blind;
        self.order.remove(&rank);
        let link = *self.links.get(index)?;
        if let Some(older) = link.older.and_then(|older| self.links.get_mut(older)) {
            older.newer = link.newer;
        }
        if let Some(newer) = link.newer.and_then(|newer| self.links.get_mut(newer)) {
            newer.older = link.older;
        }
        for neighbour in [link.older, link.newer].into_iter().flatten() {
            self.rank(neighbour);
        }
        Some(link.slot)
    }

    /// Whether nothing that may go is left.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.order.is_empty()
    }

    fn rank(&mut self, index: usize) {
        let Some(link) = self.links.get(index).copied() else { return };
        if !link.slot.foldable {
            return;
        }
        let rank = self.rank_of(&link, index);
        if let Some(old) = link.rank {
            self.order.remove(&old);
        }
        self.order.insert(rank);
        if let Some(link) = self.links.get_mut(index) {
            link.rank = Some(rank);
        }
    }

    fn rank_of(&self, link: &Link, index: usize) -> Rank {
        let loss = self.loss(link);
        match (self.wanted, link.slot.own_bytes) {
            (Wanted::FewerPoints, _) => (false, Reverse(ONE * ONE / loss), index),
            (Wanted::Room, own) => {
                let holds = u128::from(own.unwrap_or(0).saturating_add(POINT_BYTES));
                (own.unwrap_or(0) == 0, Reverse(holds * ONE / loss), index)
            }
        }
    }

    /// The history that would be lost, in parts of [`ONE`]; never zero.
    fn loss(&self, link: &Link) -> u128 {
        let at = |neighbour: Option<usize>| {
            neighbour.and_then(|index| self.links.get(index)).map(|link| link.slot.witnessed)
        };
        let own = link.slot.witnessed;
        let gap = match (at(link.older), at(link.newer)) {
            (Some(older), Some(newer)) => newer.since(older),
            (None, Some(newer)) => newer.since(own).saturating_add(self.now.since(own) / 2),
            (Some(older), None) => own.since(older).saturating_mul(2),
            (None, None) => Duration::MAX,
        };
        let age = self.now.since(own).saturating_add(AGE_LEAST);
        (gap.as_millis() * ONE / age.as_millis()).max(1)
    }
}

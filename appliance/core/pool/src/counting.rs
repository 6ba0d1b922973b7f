//! Counting what refers to chunks and pages, after the fact and in steps.
//!
//! The points of a source are a row. A chunk or page gets a reference for every point of the row that has it while the
//! point before has it not, an extent of a tree counting for itself: so the count is that of the runs of points that
//! hold it, over all sources. What a new point adds are its births ([`tree::Births`]) over the point before, and what
//! a point takes with it that goes follows from its neighbours in the same way: the trees themselves are the lists of
//! what died in an interval, and nothing is kept twice. Every step costs what differs between two points.
//!
//! Invariants: the catalog notes which points are counted, in the transaction that brings their references. A point
//! that was dropped stays in the row until it is counted out, and its pages stay readable that long. Nothing is given
//! back before everything is counted. References that fall below zero are damage of the catalog.
//!
//! A point that was dropped and has a page which cannot be read is not counted out: what was counted of that is taken
//! back, and it stays in the row until it is tried again at the next opening. So what it holds is not given back,
//! what others held is, and no reference is ever too low.

use std::sync::Arc;

use medium::Demand;
use minicbor::{Decode, Encode};
use model::SourceId;
use model::archive::PointKey;
use model::item::{Extent, Item};
use tree::{Birth, BirthOf, Births, ItemTree, Items, Root};

use crate::PoolError;
use crate::archive::{tree_error, tree_root};
use crate::catalog::Step;
use crate::placing::demand_of;
use crate::planted::{Bug, Planted};
use crate::pool::Pool;
use crate::registry::point_key;
use crate::state::{Shared, State};

/// What is being counted, and how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Progress {
    /// Whose row.
    #[n(0)]
    source: SourceId,
    /// Which point comes into the row or leaves it.
    #[n(1)]
    point: u64,
    /// It leaves.
    #[n(2)]
    is_leaving: bool,
    /// The counted point before it.
    #[n(3)]
    before: Option<u64>,
    /// The counted point behind it.
    #[n(4)]
    after: Option<u64>,
    /// Walks that are done.
    #[n(5)]
    walks: u32,
    /// Births of the next walk that are counted.
    #[n(6)]
    births: u64,
    /// Bytes of files that the point has and the point before it has not.
    #[n(7)]
    written_bytes: u64,
    /// Bytes of files that the point before it has and the point has not.
    #[n(8)]
    removed_bytes: u64,
    /// The walks are taken back, the last one first; births of this one that are.
    #[n(9)]
    undone: Option<u64>,
}

/// How far a count has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// More is to be counted.
    More,
    /// Everything is counted.
    All,
}

/// Births of the second point over the first, each of which adds so many references; none if they are only measured.
type Walk = (Option<u64>, Option<u64>, i64);

/// A walk under way.
pub(crate) struct Counting {
    progress: Progress,
    births: Births<Items, Arc<Shared>>,
}

/// What comes next.
enum Next {
    /// Everything is counted.
    Nothing,
    /// A point was noted that has nothing to count.
    Noted,
    /// A walk goes on.
    Walk(Box<Counting>),
}

impl Progress {
    /// The walks that bring a point into the row, or out of it. What is added comes first, so nothing that stays is
    /// at zero in between.
    fn walks(&self, planted: Planted) -> Vec<Walk> {
        let point = Some(self.point);
        match (self.is_leaving, self.before, self.after) {
            (false, None, _) => vec![(None, point, 1)],
            // What the point before had besides is what was removed.
            (false, before, _) => vec![(before, point, 1), (point, before, 0)],
            // What only the first point of a row has are the births over the second.
            (true, None, Some(after)) => vec![(Some(after), point, -1)],
            (true, before, None) => vec![(before, point, -1)],
            (true, before, after) if planted.has(Bug::MiscountLeaving) => {
                vec![(before, point, -1), (point, after, -1)]
            }
            (true, before, after) => vec![(before, after, 1), (before, point, -1), (point, after, -1)],
        }
    }
}

impl State {
    /// The next point to bring into its row, or out of it; none of those that `is_held` says.
    fn next_to_count(&self, is_held: impl Fn(PointKey) -> bool) -> Option<Progress> {
        let begin = |key: PointKey, is_leaving| {
            let row = |numbers: std::ops::Range<u64>| {
                let at = |number| PointKey { source: key.source, number };
                self.counted.range(at(numbers.start)..at(numbers.end)).map(|point| point.number)
            };
            let (before, after) = (row(0..key.number).next_back(), row(key.number + 1..u64::MAX).next());
            Progress {
                source: key.source,
                point: key.number,
                is_leaving,
                before,
                after,
                walks: 0,
                births: 0,
                written_bytes: 0,
                removed_bytes: 0,
                undone: None,
            }
        };
        let mut held = Vec::new();
        for point in self.registry.dropped.values() {
            if !is_held(point.key()) && !self.given_up.contains(&point.key()) {
                return Some(begin(point.key(), true));
            }
            held.push(point.key());
        }
        // Points come into a row in their order; those that were dropped and are read until they are not.
        let held = held.iter().filter(|key| !self.counted.contains(key));
        self.uncounted.first().into_iter().chain(held).min().map(|key| begin(*key, false))
    }

    /// The tree of a point of a row; the empty one without a point.
    pub(crate) fn root_in_row(&self, source: SourceId, number: Option<u64>) -> Result<Root, PoolError> {
        let Some(number) = number else { return Ok(Root::EMPTY) };
        let point = self.registry.readable(source, number);
        tree_root(point.ok_or(PoolError::CatalogValue("its counted points"))?)
    }

    /// Gives a point up that cannot be counted out; nothing of it has been.
    fn give_up_count(&mut self, progress: &Progress) {
        let Progress { source, point: number, .. } = *progress;
        self.progress = None;
        self.given_up.insert(PointKey { source, number });
        self.damage.push(format!(
            "what only point {number} of source {source} held is not given back: a page of it cannot be read"
        ));
    }

    /// Notes that a point is in its row, or out of it.
    fn finish_count(&mut self, progress: &Progress) {
        let key = PointKey { source: progress.source, number: progress.point };
        self.progress = None;
        if progress.is_leaving {
            self.registry.dropped.remove(&(key.source, key.number));
            self.recent.records.push((point_key(key.source, key.number), None));
            self.forget_dropped(key);
        }
        if !progress.is_leaving {
            let point = self.registry.readable(key.source, key.number);
            self.recent.steps.push(Step {
                source: key.source,
                witnessed: point.and_then(|point| point.witnessed).unwrap_or(0),
                written_bytes: progress.written_bytes,
                removed_bytes: progress.removed_bytes,
            });
        }
        let was_counted =
            if progress.is_leaving { self.counted.remove(&key) } else { self.counted.insert(key) };
        self.uncounted.remove(&key);
        if was_counted {
            self.recent.counted.insert(key, !progress.is_leaving);
        }
    }
}

impl Pool {
    /// Counts on, no more than so many births.
    ///
    /// # Errors
    /// Also when a page of a point that is not counted cannot be read: then nothing is given back, and the pool goes on.
    pub fn count(&mut self, births_max: usize) -> Result<Counted, PoolError> {
        if self.is_failed() {
            return Err(PoolError::Failed);
        }
        let shared = Arc::clone(self.shared());
        let mut left = births_max;
        while left > 0 {
            match self.count_some(&shared, &mut left) {
                Ok(Counted::All) => return Ok(Counted::All),
                Ok(Counted::More) => {}
                Err(error) => self.undo_count(&shared, error)?,
            }
            // Where nothing is born there is something to do all the same.
            left = left.saturating_sub(1);
            if shared.state().recent.len() >= self.batch_limit() {
                self.flush_catalog()?;
            }
        }
        Ok(Counted::More)
    }

    fn count_some(&mut self, shared: &Arc<Shared>, left: &mut usize) -> Result<Counted, PoolError> {
        match self.resume_count(shared)? {
            Next::Nothing => return Ok(Counted::All),
            Next::Noted => {}
            Next::Walk(mut counting) => {
                if !count_births(shared, &mut counting, left)? {
                    self.counting = Some(counting);
                }
            }
        }
        Ok(Counted::More)
    }

    /// Begins to take back what was counted of a point that leaves, if the reason is that its tree, or that of a point
    /// beside it, cannot be read.
    fn undo_count(&mut self, shared: &Shared, error: PoolError) -> Result<(), PoolError> {
        let mut state = shared.state_mut();
        match &mut state.progress {
            Some(progress)
                if progress.is_leaving
                    && progress.undone.is_none()
                    && matches!(error, PoolError::Tree(..)) =>
            {
                progress.undone = Some(0);
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// The walk that is to go on, from where it is.
    fn resume_count(&mut self, shared: &Arc<Shared>) -> Result<Next, PoolError> {
        if let Some(counting) = self.counting.take() {
            return Ok(Next::Walk(counting));
        }
        let mut state = shared.state_mut();
        let ignores = self.planted().has(Bug::IgnoreLeases);
        let held = |key| !ignores && shared.leases.is_held(key);
        let Some(progress) = state.progress.or_else(|| state.next_to_count(held)) else {
            return Ok(Next::Nothing);
        };
        let key = PointKey { source: progress.source, number: progress.point };
        let is_new = progress.is_leaving && !state.counted.contains(&key);
        let walk =
            progress.walks(shared.planted).into_iter().nth(progress.walks as usize).filter(|_| !is_new);
        let Some((before, after, _)) = walk else {
            // A point that was dropped before it was counted has nothing to take along.
            state.finish_count(&progress);
            return Ok(Next::Noted);
        };
        state.progress = Some(progress);
        let before = state.root_in_row(progress.source, before)?;
        let after = state.root_in_row(progress.source, after)?;
        drop(state);
        let mut births = ItemTree::default().births(Arc::clone(shared), &before, &after);
        // What was counted before the pool was opened again is passed over.
        for _ in 0..progress.undone.unwrap_or(progress.births) {
            births.next().transpose().map_err(tree_error)?;
        }
        Ok(Next::Walk(Box::new(Counting { progress, births })))
    }
}

/// Counts births of a walk, `left` at most, or takes them back; whether the walk is at its end.
fn count_births(shared: &Shared, counting: &mut Counting, left: &mut usize) -> Result<bool, PoolError> {
    let Counting { progress, births } = counting;
    let walks = progress.walks(shared.planted);
    let (_, after, sign) = *walks.get(progress.walks as usize).ok_or(PoolError::CatalogValue("its count"))?;
    let counted = progress.undone.map(|undone| progress.births - undone);
    let most = counted.map_or(*left, |counted| usize::try_from(counted).unwrap_or(*left).min(*left));
    let found: Vec<_> = births.take(most).collect::<Result<_, _>>().map_err(tree_error)?;
    let (count, is_at_end) = (found.len() as u64, found.len() < most);
    *left -= found.len();
    let mut state = shared.state_mut();
    if !progress.is_leaving {
        progress.measure(&found, after);
    }
    state.refer(progress.source, found, if counted.is_some() { -sign } else { sign });
    let is_done = match &mut progress.undone {
        Some(undone) => {
            *undone += count;
            is_at_end || *undone == progress.births
        }
        None => {
            progress.births += count;
            is_at_end
        }
    };
    state.progress = Some(*progress);
    if is_done {
        progress.end_walk();
        state.progress = Some(*progress);
        if progress.is_given_up() {
            state.give_up_count(progress);
        } else if progress.walks as usize == walks.len() {
            state.finish_count(progress);
        }
    }
    Ok(is_done)
}

impl Progress {
    /// Adds up the bytes of files among births of the point, or of the one before it, over the other.
    fn measure(&mut self, found: &[BirthOf<Items>], after: Option<u64>) {
        let is_written = after == Some(self.point);
        let sum = if is_written { &mut self.written_bytes } else { &mut self.removed_bytes };
        for birth in found {
            if let Birth::Item(_, Item::Extent(Extent::Chunk { length, .. })) = birth {
                *sum = sum.saturating_add(u64::from(*length));
            }
        }
    }

    /// Goes on to the next walk; to the one before while they are taken back.
    fn end_walk(&mut self) {
        match self.undone {
            Some(_) if self.walks == 0 => self.births = 0,
            Some(_) => (self.walks, self.births) = (self.walks - 1, u64::MAX),
            None => (self.walks, self.births) = (self.walks + 1, 0),
        }
        self.undone = self.undone.map(|_| 0);
    }

    /// Whether the point leaves its row.
    pub(crate) const fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// Whether everything is taken back.
    fn is_given_up(&self) -> bool {
        self.undone.is_some() && (self.walks, self.births) == (0, 0)
    }
}

impl State {
    /// Adds references to what is born.
    fn refer(&mut self, source: SourceId, births: Vec<BirthOf<Items>>, sign: i64) {
        if sign == 0 {
            return;
        }
        // Who gets something takes part in how it is kept.
        let demand = if sign > 0 { demand_of(&self.registry, source) } else { Demand::default() };
        let demand = if self.planted.has(Bug::IgnoreDemands) { Demand::default() } else { demand };
        for birth in births {
            match birth {
                Birth::Page(name) => self.recent.pages.entry(name).or_default().references += sign,
                Birth::Item(_, Item::Extent(Extent::Chunk { name, .. })) => {
                    let change = self.recent.chunks.entry(name).or_default();
                    change.references += sign;
                    change.holders.add(source, sign);
                    change.demand.join(demand);
                }
                Birth::Item(..) => {}
            }
        }
    }
}

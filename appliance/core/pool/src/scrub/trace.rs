//! What damage means: which chunks and pages are lost, and of which points.
//!
//! First the catalog is gone through for names whose place is damaged. A damaged frame that nothing is read from any more,
//! because all of it was stored again, is no damage from there on. Then come the points: pages that they share are
//! looked at once, so whole points cost little, and only those that hold something lost, or were noted earlier,
//! are walked item by item.
//!
//! Neither reads a chunk. What was found of a point waits until the pool notes it.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::{ControlFlow, Range};

use model::archive::PointKey;
use model::item::{Extent, Item};
use model::{Name, SegmentNumber};
use tree::{ItemTree, Root, Step};

use crate::PoolError;
use crate::archive::tree_root;
use crate::bad::{BadSegment, Holds};
use crate::catalog::{Entry, Kind, Place};
use crate::state::{Shared, State};
use crate::verify::{Examination, page_error};

/// Most lost names that are remembered; if there are more, every point is walked.
const LOST_MAX: usize = 1 << 20;
/// Most leaves that are remembered.
const LEAVES_MAX: usize = 2 << 20;

/// A search under way for what is lost.
pub(super) struct Trace {
    /// What was known to be bad when it began.
    bad: Vec<(SegmentNumber, BadSegment)>,
    /// Frames that something is read from, of those that are bad.
    held: BTreeSet<(SegmentNumber, u64)>,
    /// Bytes without a frame.
    gaps: Vec<(SegmentNumber, Range<u64>)>,
    lost: HashSet<Name>,
    /// More is lost than is remembered.
    is_too_much: bool,
    at: At,
    points: VecDeque<PointKey>,
    /// Whether a leaf names something lost.
    leaves: HashMap<Name, bool>,
}

/// Where it has come to.
#[derive(Clone, Copy)]
enum At {
    /// What the catalog does not have yet.
    Recent,
    Chunks(Name),
    Pages(Name),
    Points,
}

/// How the state tells the place of a chunk, or of a page.
type PlaceOf = fn(&State, &Name) -> Result<Option<Place>, PoolError>;

impl Trace {
    /// Begins, if there is anything to look for.
    pub(super) fn begin(shared: &Shared, gaps: Vec<(SegmentNumber, Range<u64>)>) -> Option<Self> {
        let bad: Vec<_> = shared.state().damaged().into_iter().collect();
        if bad.is_empty() && gaps.is_empty() && shared.damaged_points().is_empty() {
            return None;
        }
        Some(Self {
            bad,
            held: BTreeSet::new(),
            gaps,
            lost: HashSet::new(),
            is_too_much: false,
            at: At::Recent,
            points: VecDeque::new(),
            leaves: HashMap::new(),
        })
    }

    /// The gaps, for another search.
    pub(super) fn into_gaps(self) -> Vec<(SegmentNumber, Range<u64>)> {
        self.gaps
    }

    /// Looks at some names, or at items of some points; whether that was all.
    pub(super) fn go_on(
        &mut self,
        shared: &Shared,
        entries_max: usize,
        damage: &mut Vec<String>,
    ) -> Result<bool, PoolError> {
        let first = Name([0; Name::LENGTH]);
        let state = shared.state();
        self.at = match self.at {
            At::Recent => {
                self.recent(&state)?;
                At::Chunks(first)
            }
            At::Chunks(from) => {
                let each = |look: &mut Look<'_>| state.catalog()?.each_chunk(from, look);
                self.names(&state, entries_max, State::chunk, each)?.map_or(At::Pages(first), At::Chunks)
            }
            At::Pages(from) => {
                let each = |look: &mut Look<'_>| state.catalog()?.each_page(from, look);
                match self.names(&state, entries_max, State::page, each)? {
                    Some(next) => At::Pages(next),
                    None => {
                        self.settle(&state)?;
                        drop(state);
                        let noted = || shared.damaged_points().into_keys();
                        let is_whole = self.lost.is_empty() && !self.is_too_much;
                        self.points = if is_whole {
                            noted().collect()
                        } else {
                            shared.all_points().into_iter().collect()
                        };
                        At::Points
                    }
                }
            }
            At::Points => {
                drop(state);
                let mut looked_at = 0;
                while looked_at < entries_max as u64 {
                    let Some(key) = self.points.front().copied() else { return Ok(true) };
                    looked_at += self.point(shared, key, damage)?;
                    self.points.pop_front();
                }
                At::Points
            }
        };
        Ok(false)
    }

    /// Names that the catalog does not have yet. What comes later is written to places that are new.
    fn recent(&mut self, state: &State) -> Result<(), PoolError> {
        let of = |changes: &HashMap<Name, crate::catalog::EntryChange>| {
            let placed = changes.iter().filter_map(|(name, change)| Some((*name, change.place?)));
            placed.filter(|(_, place)| self.is_suspect(state, place)).map(|(name, _)| name).collect()
        };
        let (chunks, pages): (Vec<Name>, Vec<Name>) = (of(&state.recent.chunks), of(&state.recent.pages));
        chunks.iter().try_for_each(|name| self.name(state, name, State::chunk))?;
        pages.iter().try_for_each(|name| self.name(state, name, State::page))
    }

    /// Looks at names of the catalog; where to go on, if there are more.
    fn names(
        &mut self,
        state: &State,
        entries_max: usize,
        place_of: PlaceOf,
        each: impl FnOnce(&mut Look<'_>) -> Result<(), PoolError>,
    ) -> Result<Option<Name>, PoolError> {
        let (mut count, mut last, mut found) = (0, None, Vec::new());
        each(&mut |name, entry| {
            if entry.place.is_none_or(|place| self.is_suspect(state, &place)) {
                found.push(name);
            }
            (count, last) = (count + 1, Some(name));
            if count < entries_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        found.iter().try_for_each(|name| self.name(state, name, place_of))?;
        Ok(last.filter(|_| count >= entries_max).and_then(next_name))
    }

    fn is_suspect(&self, state: &State, place: &Place) -> bool {
        let segment = place.frame.segment;
        state.bad.has(place.frame) || self.is_in_gap(place) || state.unswept.contains(&segment)
    }

    fn is_in_gap(&self, place: &Place) -> bool {
        let is_in = |(segment, bytes): &(SegmentNumber, Range<u64>)| {
            *segment == place.frame.segment && bytes.contains(&place.frame.offset)
        };
        self.gaps.iter().any(is_in)
    }

    /// Notes a name as lost if it is.
    fn name(&mut self, state: &State, name: &Name, place_of: PlaceOf) -> Result<(), PoolError> {
        if let Some(place) = place_of(state, name)? {
            let (segment, offset) = (place.frame.segment, place.frame.offset);
            if self.is_in_gap(&place) {
                state.bad.add(segment, offset);
            }
            if !state.bad.has(place.frame) {
                return Ok(());
            }
            self.held.insert((segment, offset));
        }
        if self.lost.len() < LOST_MAX {
            self.lost.insert(*name);
        } else {
            self.is_too_much = true;
        }
        Ok(())
    }

    /// Forgets damage from which nothing is read.
    fn settle(&mut self, state: &State) -> Result<(), PoolError> {
        let kinds: HashMap<_, _> = state.catalog()?.segments()?.into_iter().collect();
        for (segment, bad) in std::mem::take(&mut self.bad) {
            for (offset, holds) in bad.frames {
                if holds == Holds::Names && !self.held.contains(&(segment, offset)) {
                    state.bad.remove(segment, offset);
                }
            }
            let is_held = self.held.range((segment, 0)..=(segment, u64::MAX)).next().is_some();
            if bad.from.is_some()
                && !is_held
                && kinds.get(&segment).is_some_and(|used| used.kind == Kind::Chunks)
            {
                state.bad.remove_segment(segment);
            }
        }
        Ok(())
    }

    /// Judges a point, if something of it may be lost; how many items were looked at.
    fn point(&mut self, shared: &Shared, key: PointKey, damage: &mut Vec<String>) -> Result<u64, PoolError> {
        // A point that goes meanwhile stays whole until it has been looked at.
        let Ok(_lease) = shared.lease(key) else { return Ok(1) };
        let (point, known) = (shared.point(key)?, shared.point_damage(key));
        let (cost, is_touched) = match tree_root(&point) {
            Ok(root) => self.is_touched(shared, &root)?,
            Err(_) => (1, true),
        };
        if !is_touched && known.is_none() {
            return Ok(cost);
        }
        let found = Examination::by_place(shared).judge(&point)?;
        if let Some(found) = found.as_ref().filter(|found| known.as_ref() != Some(*found)) {
            damage.extend(found.lines.iter().cloned());
        }
        shared.found(key, found);
        Ok(cost + point.root.items)
    }

    /// Whether a tree has something lost, or cannot be read; and how many pages and items that cost.
    fn is_touched(&mut self, shared: &Shared, root: &Root) -> Result<(u64, bool), PoolError> {
        if self.is_too_much {
            return Ok((1, true));
        }
        let (tree, lost) = (ItemTree::default(), &self.lost);
        let (mut cost, mut is_touched, mut leaves) = (1, false, Vec::new());
        let walked = tree.walk_pages(shared, root, |page| {
            cost += 1;
            is_touched |= lost.contains(&page.name);
            if page.level == 0 {
                leaves.push(page.name);
            }
            if is_touched { Step::Over } else { Step::Into }
        });
        match walked.map_err(page_error) {
            Err(error) if !error.is_damage() => return Err(error),
            Ok(()) if !is_touched => {}
            _ => return Ok((cost, true)),
        }
        for leaf in leaves {
            let known = self.leaves.get(&leaf).copied();
            let touches = match known {
                Some(touches) => touches,
                None => self.look_at_leaf(shared, leaf, &mut cost)?,
            };
            if touches {
                return Ok((cost, true));
            }
        }
        Ok((cost, false))
    }

    fn look_at_leaf(&mut self, shared: &Shared, leaf: Name, cost: &mut u64) -> Result<bool, PoolError> {
        let items = match ItemTree::default().leaf(shared, leaf) {
            Ok(items) => items.collect::<Result<Vec<_>, _>>(),
            Err(error) => Err(error),
        };
        let touches = match items.map_err(page_error) {
            Ok(items) => {
                *cost += items.len() as u64;
                let is_lost = |item: &Item| match item {
                    Item::Extent(Extent::Chunk { name, .. }) => self.lost.contains(name),
                    _ => false,
                };
                items.iter().any(|(_, item)| is_lost(item))
            }
            Err(error) if error.is_damage() => true,
            Err(error) => return Err(error),
        };
        if self.leaves.len() >= LEAVES_MAX {
            self.leaves.clear();
        }
        self.leaves.insert(leaf, touches);
        Ok(touches)
    }
}

/// What is shown the entries of the catalog.
type Look<'a> = dyn FnMut(Name, Entry) -> ControlFlow<()> + 'a;

/// The name behind one, if there is any.
fn next_name(name: Name) -> Option<Name> {
    let mut bytes = name.0;
    for byte in bytes.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(Name(bytes));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_followed_by_others() {
        let mut name = [0; Name::LENGTH];
        assert_eq!(next_name(Name(name)).unwrap().0[31], 1);
        name[31] = 0xff;
        assert_eq!(next_name(Name(name)).unwrap().0[30..], [1, 0]);
        assert_eq!(next_name(Name([0xff; Name::LENGTH])), None);
    }
}

//! How segments are wanted kept: what sources ask for, and which segments they have something in.
//!
//! Who puts something into a segment wants it kept in its way, and so does whoever refers to what is there already: that
//! is known when its points are counted. So what is wanted of a segment only gets more, and what a source that goes or
//! changes its mind wanted stays. When any source asks for something else, all are looked for anew: the trees of all
//! points say who has something where. What is found counts at once where it is more, and where it is less only when all
//! are found, and never of segments that were written to since the search began, nor before backups have ended that were
//! under way then: what they wrote, no point refers to yet.
//!
//! The disk is told, and keeps segments accordingly; see [`medium::Disk::ask`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use medium::{Demand, Redundancy};
use model::archive::PointKey;
use model::item::{Extent, Item};
use model::{SegmentNumber, SourceId};
use tree::{Birth, BirthOf, Births, ItemTree, Items};

use crate::PoolError;
use crate::archive::tree_error;
use crate::catalog::Settled;
use crate::counting::Counted;
use crate::layout::segment_path;
use crate::leases::Lease;
use crate::pool::Pool;
use crate::record::Record;
use crate::registry::Registry;
use crate::state::{Shared, State};

/// What the keys of settings begin with that say what sources ask for.
pub(crate) const RESERVED: &str = "placement/";
/// The setting that counts their changes.
const CHANGES: &str = "placement/changes";

/// What a source asks for; nothing if it takes what all get.
#[must_use]
pub fn placement_of(registry: &Registry, source: SourceId) -> Option<Redundancy> {
    decode(registry.settings.get(&key_of(source))?)
}

/// The settings that say it.
fn settings(registry: &Registry) -> impl Iterator<Item = (&String, &Vec<u8>)> {
    registry.settings.range(RESERVED.to_owned()..).take_while(|(key, _)| key.starts_with(RESERVED))
}

fn key_of(source: SourceId) -> String {
    format!("{RESERVED}{}", source.0)
}

fn encode<T: minicbor::Encode<()>>(value: T) -> Result<Vec<u8>, PoolError> {
    minicbor::to_vec(value).map_err(|error| PoolError::Refused(error.to_string()))
}

fn decode(value: &[u8]) -> Option<Redundancy> {
    let (data, parity) = minicbor::decode(value).ok()?;
    Redundancy::new(data, parity)
}

/// Whether any source asks for something.
fn asks(registry: &Registry) -> bool {
    settings(registry).any(|(_, value)| decode(value).is_some())
}

/// How a source wants kept what it has.
pub(crate) fn demand_of(registry: &Registry, source: SourceId) -> Demand {
    Demand::of(placement_of(registry, source))
}

/// What satisfies every source, which is how the log is wanted kept: without it nothing can be read.
pub(crate) fn demand_of_all(registry: &Registry) -> Demand {
    let asked = settings(registry).filter_map(|(_, value)| decode(value));
    asked.fold(Demand::of(None), |all, asked| all.and(Demand::of(Some(asked))))
}

/// A name for what all sources ask for, another one after each change.
fn digest(registry: &Registry) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for (key, value) in settings(registry) {
        hasher.update(key.as_bytes()).update(&[0]).update(value).update(&[0]);
    }
    *hasher.finalize().as_bytes()
}

/// A search under way for all who have something in segments.
pub(crate) struct Placing {
    /// What it goes by.
    by: [u8; 32],
    /// The last point that was begun with, in their order.
    at: Option<PointKey>,
    /// All were begun with.
    is_through: bool,
    /// Points that could not be read, and those of them that are tried again.
    failed: BTreeSet<PointKey>,
    again: Vec<PointKey>,
    walk: Option<Walk>,
    /// The segments that were written to when it began, the first one that was made since, and the backup that was the next.
    open: BTreeSet<SegmentNumber>,
    end: SegmentNumber,
    next: u64,
}

/// What a point has that the one before it has not.
struct Walk {
    point: PointKey,
    births: Births<Items, Arc<Shared>>,
    _leases: Vec<Lease>,
}

impl Pool {
    /// Has what a source has kept in another way from here on, or as all are that nobody asks for. Durable when this
    /// returns; what is there already is kept so when all of it was found, by [`Self::place`], and the disk got to it.
    pub fn set_placement(&mut self, source: SourceId, asked: Option<Redundancy>) -> Result<(), PoolError> {
        let (before, is_there, changes) = self.shared().registry(|registry| {
            let changes =
                registry.settings.get(CHANGES).and_then(|value| minicbor::decode::<u64>(value).ok());
            (placement_of(registry, source), registry.sources.contains_key(&source), changes.unwrap_or(0))
        });
        if !is_there {
            return Err(PoolError::Missing(format!("source {source}")));
        }
        if before == asked {
            return Ok(());
        }
        // What it puts from here on goes elsewhere, and what nobody wants any more does not stay open.
        self.commit(Vec::new())?;
        self.seal_data(|demand, _| demand == Demand::of(before))?;
        let asked = asked.map(|asked| encode((asked.data(), asked.parity()))).transpose()?;
        let changes = Some(encode(changes.wrapping_add(1))?);
        self.commit(vec![
            Record::Setting { key: key_of(source), value: asked },
            // Who changes its mind twice was counted otherwise in between.
            Record::Setting { key: CHANGES.to_owned(), value: changes },
        ])?;
        self.guard(|pool| pool.ask_for_log())
    }

    /// Tells the disk of everything, after an opening.
    pub(crate) fn ask_all(&mut self) -> Result<(), PoolError> {
        let shared = Arc::clone(self.shared());
        let demands = shared.state().catalog()?.demands()?;
        let disk = &shared.world.disk;
        disk.asked_all(false)?;
        self.is_all_asked = false;
        for (segment, demand) in demands {
            disk.ask(&segment_path(segment), demand)?;
        }
        // Where nobody ever asked for anything there is nothing to be told, and the files of the log need not be opened.
        if shared.registry(|registry| settings(registry).next().is_some()) {
            self.ask_for_log()?;
        }
        shared.state_mut().untold.clear();
        if shared.registry(asks) {
            // Segments that the catalog on the drive knows nothing of may be wanted kept better than it says.
            return Ok(());
        }
        self.is_all_asked = true;
        Ok(disk.asked_all(true)?)
    }

    /// Tells the disk that everything was asked for that is wanted, once that is so: all is counted, and all who have
    /// something in segments were found.
    fn say_all_is_asked(&mut self) -> Result<(), PoolError> {
        if self.is_all_asked || !self.shared().is_placed()? {
            return Ok(());
        }
        self.commit(Vec::new())?;
        self.flush_catalog()?;
        self.shared().world.disk.asked_all(true)?;
        self.is_all_asked = true;
        Ok(())
    }

    /// Tells the disk how the log is wanted kept.
    fn ask_for_log(&mut self) -> Result<(), PoolError> {
        let shared = self.shared();
        let demand = shared.registry(demand_of_all);
        let of_log = shared.log()?.into_iter().map(|(number, _)| number);
        for segment in of_log.chain(self.open_log()) {
            shared.world.disk.ask(&segment_path(segment), demand)?;
        }
        Ok(())
    }

    /// Tells the disk of what has changed.
    pub(crate) fn tell_demands(&mut self) -> Result<(), PoolError> {
        let shared = self.shared();
        let untold = std::mem::take(&mut shared.state_mut().untold);
        for (segment, demand) in untold {
            shared.world.disk.ask(&segment_path(segment), demand)?;
        }
        Ok(())
    }

    /// Looks for those who have something in segments, over no more than so many births, if somebody asks for something
    /// else than when that was done. To be called when everything is counted; [`Self::reclaim`] does so when there is
    /// nothing to give back.
    ///
    /// # Errors
    /// Those of the catalog. A point that cannot be read is tried again by later calls; until it was read nothing is wanted
    /// less than before.
    pub fn place(&mut self, births_max: usize) -> Result<Counted, PoolError> {
        let shared = Arc::clone(self.shared());
        let by = shared.registry(digest);
        let mut placing = match self.placing.take() {
            Some(placing) if placing.by == by => placing,
            _ if !shared.is_unplaced()? => {
                shared.state_mut().found = None;
                self.say_all_is_asked()?;
                return Ok(Counted::All);
            }
            _ => self.begin_placing(by)?,
        };
        let mut left = births_max;
        while left > 0 {
            let Some(walk) = placing.walk(&shared)? else {
                if placing.failed.is_empty() {
                    return self.finish_placing(placing);
                }
                placing.again = std::mem::take(&mut placing.failed).into_iter().collect();
                self.placing = Some(placing);
                return Ok(Counted::All);
            };
            let point = walk.point;
            if !find_some(&shared, walk, &mut left) {
                placing.failed.insert(point);
                placing.walk = None;
            } else if left > 0 {
                placing.walk = None;
            }
            left = left.saturating_sub(1);
            if shared.state().recent.len() >= self.batch_limit() {
                self.commit(Vec::new())?;
                self.flush_catalog()?;
            }
        }
        self.placing = Some(placing);
        Ok(Counted::More)
    }

    fn begin_placing(&mut self, by: [u8; 32]) -> Result<Box<Placing>, PoolError> {
        // What was wanted until now is not found by it.
        self.commit(Vec::new())?;
        self.flush_catalog()?;
        let (open, end, shared) = (self.open_segments(), self.next_segment(), self.shared());
        shared.state_mut().found = Some(BTreeMap::new());
        let next = shared.sessions.next();
        let (failed, again) = (BTreeSet::new(), Vec::new());
        Ok(Box::new(Placing { by, at: None, is_through: false, failed, again, walk: None, open, end, next }))
    }

    /// What nobody was found to want is not wanted any more.
    fn finish_placing(&mut self, placing: Box<Placing>) -> Result<Counted, PoolError> {
        let shared = Arc::clone(self.shared());
        if shared.sessions.any_before(placing.next) {
            self.placing = Some(placing);
            return Ok(Counted::All);
        }
        self.commit(Vec::new())?;
        self.flush_catalog()?;
        let mut state = shared.state_mut();
        let Some(found) = state.found.take() else { return Ok(Counted::More) };
        let mut demands = BTreeMap::new();
        for (segment, known) in state.catalog()?.demands()? {
            let wanted = found.get(&segment).copied().unwrap_or_default();
            if wanted != known && segment < placing.end && !placing.open.contains(&segment) {
                demands.insert(segment, wanted);
            }
        }
        state.recent.settled = Some(Settled { demands, by: placing.by });
        drop(state);
        self.flush_catalog()?;
        Ok(Counted::More)
    }
}

impl Shared {
    /// Whether all who have something in segments are to be looked for.
    fn is_unplaced(&self) -> Result<bool, PoolError> {
        let state = self.state();
        let by = digest(&state.registry);
        let known = state.catalog()?.demanded()?;
        Ok(known.unwrap_or_else(|| digest(&Registry::default())) != by)
    }

    /// Whether it is known of every segment how it is wanted kept, as far as any source asks for something.
    pub fn is_placed(&self) -> Result<bool, PoolError> {
        Ok(!self.is_unplaced()? && (!self.registry(asks) || !self.state().has_to_count()))
    }

    /// How a segment is wanted kept: as all are if nobody is known to have something in it.
    pub(crate) fn demand_of(&self, segment: SegmentNumber) -> Result<Demand, PoolError> {
        let state = self.state();
        let recent = state.recent.demands.get(&segment).copied().unwrap_or_default();
        let known = state.catalog()?.demand(segment)?.and(recent);
        Ok(if known == Demand::default() { Demand::of(None) } else { known })
    }
}

impl Placing {
    /// The walk to go on with; none behind the last point.
    fn walk(&mut self, shared: &Arc<Shared>) -> Result<Option<&mut Walk>, PoolError> {
        if self.walk.is_none() {
            let Some((key, before)) = self.next_point(&shared.state()) else { return Ok(None) };
            // Also those that are no part of history any more and that somebody reads.
            let leases =
                [before, Some(key)].into_iter().flatten().map(|point| shared.leases.hold(point)).collect();
            let state = shared.state();
            let root = |key: Option<PointKey>| {
                state.root_in_row(key.map_or(SourceId(0), |key| key.source), key.map(|key| key.number))
            };
            let (before, after) = (root(before)?, root(Some(key))?);
            drop(state);
            let births = ItemTree::default().births(Arc::clone(shared), &before, &after);
            self.walk = Some(Walk { point: key, births, _leases: leases });
        }
        Ok(self.walk.as_mut())
    }

    /// The next point to go over, and the one before it: first all, then those that could not be read.
    fn next_point(&mut self, state: &State) -> Option<(PointKey, Option<PointKey>)> {
        if !self.is_through {
            self.at = state.counted_behind(self.at).or_else(|| {
                self.is_through = true;
                None
            });
        }
        let mut next = if self.is_through { None } else { self.at };
        while next.is_none() {
            next = Some(self.again.pop()?).filter(|key| state.counted.contains(key));
        }
        next.map(|key| (key, state.counted_before(key)))
    }
}

impl State {
    /// Whether a point is not counted that refers to something.
    fn has_to_count(&self) -> bool {
        !self.uncounted.is_empty() || self.progress.is_some_and(|progress| !progress.is_leaving())
    }

    /// The next counted point behind one.
    fn counted_behind(&self, at: Option<PointKey>) -> Option<PointKey> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.counted.range((at.map_or(Unbounded, Excluded), Unbounded)).next().copied()
    }

    /// The counted point before one, of the same source.
    fn counted_before(&self, key: PointKey) -> Option<PointKey> {
        self.counted.range(..key).next_back().copied().filter(|before| before.source == key.source)
    }

    /// Notes what a source has.
    fn want_all(&mut self, source: SourceId, births: Vec<BirthOf<Items>>) {
        let demand = demand_of(&self.registry, source);
        for birth in births {
            if let Birth::Item(_, Item::Extent(Extent::Chunk { name, .. })) = birth {
                let change = self.recent.chunks.entry(name).or_default();
                change.demand.join(demand);
            }
        }
    }
}

/// Notes what a walk finds; false if something cannot be read.
fn find_some(shared: &Shared, walk: &mut Walk, left: &mut usize) -> bool {
    let found: Result<Vec<_>, _> =
        walk.births.by_ref().take(*left).map(|birth| birth.map_err(tree_error)).collect();
    let Ok(found) = found else { return false };
    *left -= found.len();
    shared.state_mut().want_all(walk.point.source, found);
    true
}

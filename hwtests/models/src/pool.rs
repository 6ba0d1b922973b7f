//! The pool in memory: one lock, and behind it everything that dies with the process, above a drive.

use std::collections::{BTreeMap, BTreeSet};

use shuttle::sync::{Arc, Mutex};

use crate::check::Seen;
use crate::drive::Copy;
use crate::session::Writer;
use crate::{Catalog, Drive, Guards, Name, Place, PointId, Record, SegmentNumber, Session, SessionId};

/// A few actors over one pool; runs once for each schedule.
pub type Model = fn(&Arc<Pool>);

/// The pool, as its actors share it.
pub struct Pool {
    state: Mutex<State>,
}

/// What the lock of the pool guards.
pub struct State {
    /// What is on.
    pub guards: Guards,
    pub(crate) drive: Drive,
    pub(crate) catalog: Catalog,
    /// Places that no commit covers yet, and who stored them.
    pub(crate) recent: BTreeMap<Name, (Place, Writer)>,
    /// The segment that copies are appended to; made when the first one comes.
    pub(crate) open: Option<SegmentNumber>,
    /// Grows with every condemnation and session; never goes back.
    pub(crate) epoch: u32,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    pub(crate) leases: BTreeMap<PointId, u32>,
    pub(crate) condemned: BTreeMap<SegmentNumber, u32>,
    /// What sessions were told "known" of, and what they stored.
    pub(crate) promised: BTreeMap<Name, BTreeSet<SessionId>>,
    /// What it is decided to let go.
    pub(crate) going: BTreeMap<Name, SegmentNumber>,
    pub(crate) bad: BTreeSet<Place>,
    /// Names that were known, to answer faster.
    pub(crate) cached: BTreeSet<Name>,
    /// How often the pool was opened.
    pub(crate) openings: u32,
    seen: Seen,
}

/// Why an actor goes no further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// The process died.
    Crashed,
    /// The session was fenced, or the point is not in history.
    Refused,
}

/// Somebody who uses a pool, for as long as the process lives.
pub struct Actor {
    pool: Arc<Pool>,
    /// The opening that it belongs to; none if it outlives the reopening of the pool in the same process.
    opening: Option<u32>,
}

impl Pool {
    pub(crate) fn new(guards: Guards, seen: Seen) -> Self {
        let state = State {
            guards,
            drive: Drive::default(),
            catalog: Catalog::default(),
            recent: BTreeMap::new(),
            open: None,
            epoch: 0,
            sessions: BTreeMap::new(),
            leases: BTreeMap::new(),
            condemned: BTreeMap::new(),
            promised: BTreeMap::new(),
            going: BTreeMap::new(),
            bad: BTreeSet::new(),
            cached: BTreeSet::new(),
            openings: 0,
            seen,
        };
        Self { state: Mutex::new(state) }
    }

    /// One critical section.
    pub fn step<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().expect("a schedule ends at its first panic"))
    }

    /// An actor that dies with the process.
    #[must_use]
    pub fn actor(self: &Arc<Self>) -> Actor {
        Actor { pool: Arc::clone(self), opening: Some(self.step(|state| state.openings)) }
    }

    /// An actor that goes on when the pool is reopened in the same process.
    #[must_use]
    pub fn survivor(self: &Arc<Self>) -> Actor {
        Actor { pool: Arc::clone(self), opening: None }
    }
}

impl Actor {
    /// One critical section, unless the process died.
    pub fn step<T>(&self, act: impl FnOnce(&mut State) -> T) -> Result<T, Stopped> {
        self.pool.step(|state| match self.opening {
            Some(opening) if opening != state.openings => Err(Stopped::Crashed),
            _ => Ok(act(state)),
        })
    }

    /// Counts until nothing is left, in one or two steps for each change.
    pub fn count(&self) -> Result<(), Stopped> {
        loop {
            if self.step(|state| state.guards.step_moves_cursor)? {
                if !self.step(State::count_one)? {
                    return Ok(());
                }
            } else {
                self.step(State::count_change)?;
                if !self.step(State::move_cursor)? {
                    return Ok(());
                }
            }
        }
    }

    /// Drops a point from history.
    pub fn drop_point(&self, point: PointId) -> Result<(), Stopped> {
        self.step(|state| state.drop_point(point))
    }

    /// Writes the catalog to the drive.
    pub fn flush(&self) -> Result<(), Stopped> {
        self.step(State::flush)
    }
}

impl State {
    /// Notes that something happened, so that a test can tell whether its model gets there at all.
    pub fn saw(&self, what: &'static str) {
        self.seen.note(what);
    }

    /// Where a name is.
    pub(crate) fn place(&self, name: Name) -> Option<Place> {
        self.recent.get(&name).map(|(place, _)| *place).or_else(|| self.catalog.places.get(&name).copied())
    }

    /// Stores a copy; durable with the next commit.
    pub(crate) fn append(&mut self, name: Name, refers: &[Name], is_sound: bool, writer: Writer) {
        let segment = *self.open.get_or_insert_with(|| {
            let of_files = self.drive.segments.keys().next_back().map_or(0, |segment| segment.0);
            let named = if self.guards.numbers_stay_used { self.catalog.highest } else { 0 };
            SegmentNumber(of_files.max(named) + 1)
        });
        let copy = Copy { name, refers: refers.to_vec(), is_sound, is_durable: false };
        let place = self.drive.append(segment, copy);
        self.recent.insert(name, (place, writer));
    }

    /// Makes everything durable that was stored.
    pub fn commit_all(&mut self) {
        self.commit(Writer::Pool, &[]);
    }

    /// Seals the open segment.
    pub fn seal(&mut self) {
        self.open = None;
    }

    /// Makes what was stored durable, with these records.
    pub(crate) fn commit(&mut self, writer: Writer, records: &[Record]) {
        let whole = self.guards.commits_whole_batch;
        let covered: BTreeMap<Name, Place> = self
            .recent
            .iter()
            .filter(|(_, (_, other))| whole || *other == writer)
            .map(|(name, (place, _))| (*name, *place))
            .collect();
        let index = covered.iter().map(|(&name, &place)| Record::Index(name, place));
        let commit: Vec<Record> = index.chain(records.iter().copied()).collect();
        if self.guards.syncs_before_mark {
            self.drive.sync();
        }
        self.catalog.apply(&commit);
        self.drive.log.push(commit);
        self.recent.retain(|name, _| !covered.contains_key(name));
    }

    /// The newest point of a source.
    pub(crate) fn newest(&self, source: u8) -> Option<PointId> {
        self.catalog.points.keys().rfind(|point| point.source == source).copied()
    }

    /// Drops a point from history, if it is there.
    pub fn drop_point(&mut self, point: PointId) {
        let is_refused = self.guards.builds_on_newest && self.newest(point.source) == Some(point)
            || self.guards.drops_only_counted && !self.catalog.ledger.counted.contains_key(&point);
        if self.catalog.points.contains_key(&point) && !is_refused {
            self.commit(Writer::Pool, &[Record::Drop(point)]);
            self.saw("dropped");
        }
    }

    /// Writes the catalog, and the cache with the generation to which it belongs.
    pub fn flush(&mut self) {
        self.drive.catalog = self.catalog.clone();
        let mut names = self.cached.clone();
        if self.guards.cache_holds_committed {
            names.retain(|name| self.catalog.places.contains_key(name));
        }
        self.drive.cache = (self.catalog.removed.len(), names);
    }

    /// Whether somebody has a point open.
    pub(crate) fn is_leased(&self, point: PointId) -> bool {
        self.leases.contains_key(&point)
    }

    /// Takes a lease.
    pub(crate) fn lease(&mut self, point: PointId) {
        *self.leases.entry(point).or_default() += 1;
    }

    /// Gives a lease back. If it was the last one of a dropped point, the drop waits to be counted again.
    pub(crate) fn release(&mut self, point: PointId) {
        if let Some(count) = self.leases.get_mut(&point) {
            *count -= 1;
            if *count == 0 {
                self.leases.remove(&point);
                if self.catalog.ledger.parked.remove(&point) {
                    self.catalog.ledger.queue.push_back(crate::Event::Remove(point));
                }
            }
        }
    }

    /// Lets some reads fail from here on, for no lasting reason.
    pub fn fail_reads(&mut self, failures: u8) {
        self.drive.failures = failures;
    }

    /// One of two, by the seed of the schedule.
    #[must_use]
    pub fn chance(&self) -> bool {
        crate::check::chance()
    }

    /// Whether the place of a name is marked bad.
    #[must_use]
    pub fn is_bad(&self, name: Name) -> bool {
        self.place(name).is_some_and(|place| self.bad.contains(&place))
    }

    /// Rots the copy of a name where it is.
    pub fn rot(&mut self, name: Name) {
        let place = self.place(name).expect("what rots was stored");
        let copies = self.drive.segments.get_mut(&place.segment);
        copies.and_then(|copies| copies.get_mut(place.index)).expect("a place has a copy").is_sound = false;
        self.drive.rotted.insert(place);
    }
}

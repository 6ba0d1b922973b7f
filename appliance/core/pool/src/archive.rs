//! The pool as an archive: what a reader may see, item by item and chunk by chunk.
//!
//! Every chunk is named anew from its plaintext before it is handed out, and handed out only to those who may read a
//! machine that owns it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use chunk::{FrameKind, NamingKey};
use model::archive::{Archive, ArchiveError, Change, PointKey, SharedBytes};
use model::item::{Item, ItemKey};
use model::record::{Machine, Point, Source};
use model::{ErrorKind, LruCache, MachineId, Name, SourceId};
use tree::{ItemTree, Root};

use crate::PoolError;
use crate::catalog::Place;
use crate::leases::Lease;
use crate::reader::{FrameReader, lock};
use crate::record::Record;
use crate::registry::{open_record, point_key};
use crate::sessions::Session;
use crate::state::Shared;

/// Points that stay open for one reader.
const READINGS_MAX: usize = 8;

/// Whose points a reader may see.
#[derive(Clone, Debug)]
pub enum Scope {
    /// Everybody's.
    All,
    /// Those of these machines.
    Machines(BTreeSet<MachineId>),
}

/// A pool, read within a scope.
#[derive(Clone)]
pub struct PoolArchive {
    shared: Arc<Shared>,
    scope: Scope,
    readings: Arc<Readings>,
}

/// Points that somebody has opened: those that were used last stay readable, also if they are dropped from history.
pub struct Readings {
    leases: Mutex<LruCache<PointKey, Lease>>,
}

impl Default for Readings {
    fn default() -> Self {
        Self { leases: Mutex::new(LruCache::new(READINGS_MAX)) }
    }
}

impl Readings {
    /// Holds a point that is part of history.
    fn hold(&self, shared: &Shared, key: PointKey) {
        let mut leases = lock(&self.leases);
        if leases.get(&key).is_none()
            && let Ok(lease) = shared.lease(key)
        {
            leases.insert(key, lease, 1);
        }
    }
}

/// The root of a point as the tree takes it.
pub fn tree_root(point: &Point) -> Result<Root, PoolError> {
    Root::from_parts(point.root.page, point.root.height, point.root.items).map_err(tree_error)
}

/// An error of the tree with its kind.
#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
pub fn tree_error(error: tree::Error) -> PoolError {
    let archive = ArchiveError::new(error.kind(), &error);
    PoolError::Tree(archive.message, archive.kind)
}

impl Shared {
    /// A point with its exceptions left out.
    pub fn point(&self, key: PointKey) -> Result<Arc<Point>, PoolError> {
        let state = self.state();
        let place = (key.source, key.number);
        let dropped = || state.registry.dropped.get(&place).filter(|_| self.leases.is_held(key));
        let point = state.registry.points.get(&place).or_else(dropped).cloned();
        point.ok_or_else(|| PoolError::Missing(format!("point {} of source {}", key.number, key.source)))
    }

    /// Keeps a point readable until the lease is dropped, also if the point is dropped from history meanwhile.
    pub fn lease(&self, key: PointKey) -> Result<Lease, PoolError> {
        // Held first: whoever counts the point out looks at the leases under the lock of the state.
        let lease = self.leases.hold(key);
        let PointKey { source, number } = key;
        let is_there = self.registry(|registry| registry.points.contains_key(&(source, number)));
        let missing = || PoolError::Missing(format!("point {number} of source {source}"));
        is_there.then_some(lease).ok_or_else(missing)
    }

    /// Whether somebody reads a point.
    #[must_use]
    pub fn is_read(&self, key: PointKey) -> bool {
        self.leases.is_held(key)
    }

    /// Begins a backup: what it is told of and what it stores stays until it ends.
    #[must_use]
    pub fn begin_session(&self) -> Session {
        self.sessions.begin()
    }

    /// The machine of a source.
    pub fn machine_of(&self, source: SourceId) -> Result<Machine, PoolError> {
        let state = self.state();
        let source = state.registry.sources.get(&source);
        let machine = source.and_then(|s| state.registry.machines.get(&s.machine)).cloned();
        machine.ok_or_else(|| PoolError::Missing("the source".into()))
    }

    /// Which chunks are in the pool and known to a machine. What is known to be unreadable is wanted once more, and so is
    /// what lies in a segment that is to go.
    pub fn known(&self, machine: MachineId, names: &[Name]) -> Result<Vec<bool>, PoolError> {
        Ok(self.lengths(machine, names, None)?.iter().map(Option::is_some).collect())
    }

    /// The lengths of those chunks that are in the pool and known to a machine. All of them stay until its backup has ended.
    pub fn known_lengths(
        &self,
        machine: MachineId,
        names: &[Name],
        session: &Session,
    ) -> Result<Vec<Option<u32>>, PoolError> {
        self.lengths(machine, names, Some(session))
    }

    fn lengths(
        &self,
        machine: MachineId,
        names: &[Name],
        session: Option<&Session>,
    ) -> Result<Vec<Option<u32>>, PoolError> {
        let owned = self.state().owned(machine, names, session)?;
        Ok(owned.into_iter().map(|place| place.map(|(place, _)| place.length)).collect())
    }

    /// Whether a machine may own chunks: it has a point, or somebody's chunks wait for their first point.
    pub fn has_chunks(&self, machine: MachineId) -> Result<bool, PoolError> {
        let state = self.state();
        let registry = &state.registry;
        let of_machine = |id: &SourceId| registry.sources.get(id).is_some_and(|s| s.machine == machine);
        if registry.points.keys().any(|(source, _)| of_machine(source)) {
            return Ok(true);
        }
        // Chunks of backups that never finished cannot be told by machine without a walk, so any chunk counts.
        Ok(!state.recent.chunks.is_empty() || state.catalog()?.chunk_count()? > 0)
    }

    /// Where the bytes of a chunk are that a machine owns.
    fn place_for(&self, machine: MachineId, name: &Name) -> Result<Place, PoolError> {
        let found = self.state().places_of(machine, &[*name])?.pop().flatten();
        found.ok_or(PoolError::Absent { what: "chunk", name: *name })
    }

    /// The same of some chunks; what cannot be looked up is said of each.
    fn places_for(&self, machine: MachineId, names: &[Name]) -> Vec<Result<Place, PoolError>> {
        let found = self.state().places_of(machine, names);
        let absent = |(name, place): (&Name, Option<Place>)| {
            place.ok_or(PoolError::Absent { what: "chunk", name: *name })
        };
        match found {
            Ok(found) => names.iter().zip(found).map(absent).collect(),
            Err(_) => names.iter().map(|name| self.place_for(machine, name)).collect(),
        }
    }

    /// The bytes of a chunk that a machine owns, where it was found or is by now: its segment may go while it is being
    /// read.
    fn chunk_of(
        &self,
        machine: MachineId,
        key: &NamingKey,
        name: &Name,
        found: Result<Place, PoolError>,
    ) -> Result<SharedBytes, PoolError> {
        let mut place = found?;
        loop {
            let read = self.chunk_at(&self.frames, key, name, &place);
            let Err(error) = read else { return read };
            let known = self.place_for(machine, name)?;
            if known == place {
                return Err(error);
            }
            place = known;
        }
    }

    /// The bytes of a chunk at its place, named anew.
    pub(crate) fn chunk_at(
        &self,
        frames: &FrameReader,
        key: &NamingKey,
        name: &Name,
        place: &Place,
    ) -> Result<SharedBytes, PoolError> {
        let plaintext = frames.plaintext(place.frame, FrameKind::Data)?;
        let start = place.start as usize;
        if let Some(bytes) = plaintext.part(start..start + place.length as usize)
            && key.name(&bytes) == *name
        {
            return Ok(bytes);
        }
        let (segment, offset) = (place.frame.segment, place.frame.offset);
        frames.bad().add(segment, offset);
        Err(PoolError::Name { what: "chunk", name: *name, segment, offset })
    }
}

impl PoolArchive {
    /// A view of the pool within a scope.
    #[must_use]
    pub const fn new(shared: Arc<Shared>, scope: Scope, readings: Arc<Readings>) -> Self {
        Self { shared, scope, readings }
    }

    fn sees(&self, machine: MachineId) -> bool {
        match &self.scope {
            Scope::All => true,
            Scope::Machines(machines) => machines.contains(&machine),
        }
    }

    /// A point that may be read, and its machine.
    fn reach(&self, key: PointKey) -> Result<(Arc<Point>, Machine), PoolError> {
        let point = self.shared.point(key)?;
        let machine = self.shared.machine_of(key.source)?;
        if self.sees(machine.id) {
            Ok((point, machine))
        } else {
            Err(PoolError::Missing(format!("point {} of source {}", key.number, key.source)))
        }
    }

    /// A point that may be read, which stays readable from here on.
    fn open(&self, key: PointKey) -> Result<(Arc<Point>, Machine), PoolError> {
        let found = self.reach(key)?;
        self.readings.hold(&self.shared, key);
        Ok(found)
    }

    fn root(&self, key: PointKey) -> Result<Root, PoolError> {
        tree_root(&self.open(key)?.0)
    }
}

fn tree_failed(error: tree::Error) -> ArchiveError {
    tree_error(error).into()
}

impl Archive for PoolArchive {
    fn machines(&self) -> Result<Vec<Machine>, ArchiveError> {
        let state = self.shared.state();
        Ok(state.registry.machines.values().filter(|m| self.sees(m.id)).cloned().collect())
    }

    fn sources(&self) -> Result<Vec<Source>, ArchiveError> {
        let state = self.shared.state();
        Ok(state.registry.sources.values().filter(|s| self.sees(s.machine)).cloned().collect())
    }

    fn points(&self, source: SourceId) -> Result<Vec<Point>, ArchiveError> {
        let machine = self.shared.machine_of(source)?;
        if !self.sees(machine.id) {
            return Err(ArchiveError::missing("the source"));
        }
        let state = self.shared.state();
        Ok(state.registry.points_of(source).map(|point| (**point).clone()).collect())
    }

    fn damaged(&self, source: SourceId) -> Result<BTreeMap<u64, u64>, ArchiveError> {
        let machine = self.shared.machine_of(source)?;
        if !self.sees(machine.id) {
            return Err(ArchiveError::missing("the source"));
        }
        let damaged = self.shared.damaged_points().into_iter();
        let of_source = damaged.filter(|(key, _)| key.source == source);
        Ok(of_source.map(|(key, damage)| (key.number, damage.count.max(1))).collect())
    }

    fn point(&self, key: PointKey) -> Result<Point, ArchiveError> {
        self.reach(key)?;
        let record_key = point_key(key.source, key.number);
        let sealed = {
            let state = self.shared.state();
            let recent = state.recent.records.iter().rev().find(|(k, _)| *k == record_key);
            match recent {
                Some((_, value)) => value.clone(),
                None => state.catalog()?.record(&record_key)?,
            }
        };
        let sealed = sealed.ok_or_else(|| ArchiveError::missing("the record of the point"))?;
        match open_record(&self.shared.keys, &record_key, &sealed)? {
            Record::Point(point) => Ok(*point),
            _ => {
                Err(ArchiveError { kind: ErrorKind::Corrupt, message: "the record is not of a point".into() })
            }
        }
    }

    fn item(&self, point: PointKey, key: &ItemKey) -> Result<Option<Item>, ArchiveError> {
        ItemTree::default().get(&*self.shared, &self.root(point)?, key).map_err(tree_failed)
    }

    fn items(
        &self,
        point: PointKey,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(ItemKey, Item)>, ArchiveError> {
        let root = self.root(point)?;
        let range = ItemTree::default().range_bytes(&*self.shared, &root, from, Some(to));
        range.take(limit).collect::<Result<_, _>>().map_err(tree_failed)
    }

    fn item_at_or_before(
        &self,
        point: PointKey,
        from: &[u8],
        at: &[u8],
    ) -> Result<Option<(ItemKey, Item)>, ArchiveError> {
        let root = self.root(point)?;
        let at = ItemKey::decode(at).map_err(PoolError::from)?;
        let found = ItemTree::default().floor(&*self.shared, &root, &at).map_err(tree_failed)?;
        Ok(found.filter(|(key, _)| key.encode().as_slice() >= from))
    }

    fn changes(
        &self,
        before: PointKey,
        after: PointKey,
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<Change>, ArchiveError> {
        let (before, after) = (self.root(before)?, self.root(after)?);
        let diff = ItemTree::default().diff(&*self.shared, &before, &after);
        let behind = |change: &Result<tree::Change<ItemKey, Item>, tree::Error>| {
            change.as_ref().map_or(true, |change| change.key.encode().as_slice() >= from)
        };
        let plain = |c: tree::Change<ItemKey, Item>| Change { key: c.key, before: c.before, after: c.after };
        diff.filter(behind).take(limit).map(|c| c.map(plain).map_err(tree_failed)).collect()
    }

    fn chunks(
        &self,
        point: PointKey,
        names: &[Name],
    ) -> Result<Vec<Result<SharedBytes, ArchiveError>>, ArchiveError> {
        let (_, machine) = self.open(point)?;
        let key = self.shared.keys.naming(machine.domain);
        let places = self.shared.places_for(machine.id, names);
        let read = |(name, place)| Ok(self.shared.chunk_of(machine.id, &key, name, place)?);
        Ok(names.iter().zip(places).map(read).collect())
    }

    fn places(&self, point: PointKey, names: &[Name]) -> Result<Vec<u64>, ArchiveError> {
        let (_, machine) = self.open(point)?;
        // Offsets are multiples of 64 and segments are far below 2^38 bytes.
        let number = |place: Place| (place.frame.segment.0 << 32) | ((place.frame.offset >> 6) & 0xffff_ffff);
        let places = self.shared.state().places_of(machine.id, names)?;
        Ok(places.into_iter().map(|place| place.map_or(u64::MAX, number)).collect())
    }
}

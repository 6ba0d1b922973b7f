//! What readers and the writer of a pool share, and what changes with commits.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use medium::{Clock, Demand, Disk, Entropy};
use model::archive::PointKey;
use model::{MachineId, Name, SegmentNumber, SourceId};

use crate::PoolError;
use crate::bad::BadPlaces;
use crate::catalog::{Batch, Catalog, Check, Entry, EntryChange, Kind, Mark, Place, SourceUse, names_in};
use crate::counting::Progress;
use crate::header::PoolHeader;
use crate::keys::{PoolKeys, Secret};
use crate::leases::Leases;
use crate::placing::demand_of_all;
use crate::planted::{Bug, Planted};
use crate::pool::{Options, Stream};
use crate::reader::{FrameReader, lock};
use crate::recent::Recent;
use crate::record::{FrameIndex, Record};
use crate::registry::{Registry, dropped_key, sealed_record};
use crate::replay::{Replayed, removed};
use crate::scrub::{Checks, Rounds};
use crate::segment::FramePlace;
use crate::sessions::{Promised, Session, Sessions};

/// What a pool is opened with.
#[derive(Clone)]
pub struct World {
    /// The drive.
    pub disk: Arc<dyn Disk>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// What readers and the writer share.
pub struct Shared {
    pub(crate) world: World,
    pub(crate) keys: Arc<PoolKeys>,
    pub(crate) header: PoolHeader,
    pub(crate) frames: FrameReader,
    pub(crate) state: RwLock<State>,
    /// The segment of each stream that was opened last for writing.
    pub(crate) written: Mutex<BTreeMap<Stream, SegmentNumber>>,
    /// How long the appliance has run in all, in nanoseconds; 0 while nobody says.
    pub(crate) witnessed: AtomicU64,
    /// Faults on purpose.
    pub(crate) planted: Planted,
    /// How the catalog is checked.
    pub(crate) check: Check,
    /// Bytes that are kept free for giving room back.
    pub(crate) reserve_bytes: u64,
    /// Room is short: no data is taken, everything else is; see [`crate::reserve`].
    pub(crate) is_tight: AtomicBool,
    /// Most bytes that segments may take.
    pub(crate) capacity: AtomicU64,
    pub(crate) leases: Arc<Leases>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) checks: Checks,
}

/// What changes with commits.
pub(crate) struct State {
    pub(crate) catalog: Option<Catalog>,
    pub(crate) registry: Registry,
    pub(crate) recent: Recent,
    pub(crate) mark: Mark,
    /// Points whose chunks and pages are counted; see [`crate::counting`].
    pub(crate) counted: BTreeSet<PointKey>,
    /// Points of history that are not counted yet.
    pub(crate) uncounted: BTreeSet<PointKey>,
    /// Dropped points of which there is no other record.
    pub(crate) gone: BTreeSet<PointKey>,
    /// Dropped points that stay in their rows because not all of them can be read.
    pub(crate) given_up: BTreeSet<PointKey>,
    /// What is being counted.
    pub(crate) progress: Option<Progress>,
    /// Segments that are gone, whose chunks and pages the catalog may have still.
    pub(crate) unswept: BTreeSet<SegmentNumber>,
    /// Segments that are gone, whose files may be there still.
    pub(crate) leaving: BTreeSet<SegmentNumber>,
    /// Segments that are to go; see [`crate::reclaim`].
    pub(crate) condemned: BTreeSet<SegmentNumber>,
    /// Chunks of these that it was decided to let go.
    pub(crate) going: HashSet<Name>,
    /// Faults on purpose.
    pub(crate) planted: Planted,
    /// Segments that cannot go because something in them cannot be read.
    pub(crate) stuck: BTreeSet<SegmentNumber>,
    /// Segments that cannot go before backups have ended to which something in them may be promised that cannot be read,
    /// each with the number of the backup that was the next then.
    pub(crate) put_off: BTreeMap<SegmentNumber, u64>,
    pub(crate) damage: Vec<String>,
    /// Places that do not give what the catalog says.
    pub(crate) bad: Arc<BadPlaces>,
    /// Which segments were checked when.
    pub(crate) rounds: Rounds,
    /// How segments are wanted kept, as far as it has changed and the disk was not told.
    pub(crate) untold: BTreeMap<SegmentNumber, Demand>,
    /// How segments are wanted kept by those of whom it was found since somebody began to look; see [`crate::placing`].
    pub(crate) found: Option<BTreeMap<SegmentNumber, Demand>>,
    /// The drive had no room for the catalog, which is in memory: nothing is taken until the pool is opened again.
    pub(crate) is_full: bool,
    /// How often the drive was read since the process began.
    pub(crate) openings: u64,
}

impl Shared {
    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the appliance has run in all, in nanoseconds, if anybody said so.
    #[must_use]
    pub fn witnessed(&self) -> Option<u64> {
        Some(self.witnessed.load(Ordering::Relaxed)).filter(|witnessed| *witnessed > 0)
    }

    /// Says how long the appliance has run in all, in nanoseconds; new points say so from here on.
    pub fn set_witnessed(&self, nanoseconds: u64) {
        self.witnessed.store(nanoseconds, Ordering::Relaxed);
    }

    /// Whether nobody writes a segment any more.
    #[must_use]
    pub fn is_sealed(&self, segment: SegmentNumber) -> bool {
        lock(&self.written).values().all(|written| *written != segment)
    }

    /// The identity of the pool.
    #[must_use]
    pub const fn pool(&self) -> &[u8; 16] {
        &self.header.pool
    }

    /// The keys of the pool.
    #[must_use]
    pub fn keys(&self) -> &PoolKeys {
        &self.keys
    }

    /// That of a pool whose drive was not read yet.
    pub(crate) fn closed(world: World, header: PoolHeader, master: &Secret, options: &Options) -> Self {
        let (planted, reserve_bytes) = (options.planted, options.reserve_bytes);
        let keys = PoolKeys::new(master);
        let frames = FrameReader::new(Arc::clone(&world.disk), Arc::clone(&keys), header.pool);
        let state = RwLock::new(State::closed(planted, Arc::clone(frames.bad())));
        let (witnessed, leases, sessions) = (AtomicU64::new(0), Arc::default(), Arc::default());
        let (checks, is_tight, written) = (Checks::default(), AtomicBool::new(false), Default::default());
        Self {
            world,
            keys,
            header,
            written,
            frames,
            state,
            witnessed,
            planted,
            check: options.check(),
            reserve_bytes,
            is_tight,
            capacity: AtomicU64::new(u64::MAX),
            leases,
            sessions,
            checks,
        }
    }

    /// The drive that the pool lies on.
    #[must_use]
    pub fn disk(&self) -> &dyn Disk {
        &*self.world.disk
    }

    /// The clock that the pool goes by.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.world.clock
    }

    /// Where the pool gets its randomness.
    #[must_use]
    pub fn entropy(&self) -> &dyn Entropy {
        &*self.world.entropy
    }

    /// Everything that the catalog holds, to compare two of them.
    pub fn dump(&self) -> Result<crate::catalog::Dump, PoolError> {
        self.state().catalog()?.dump()
    }

    /// Whether every point is counted, and every one that was dropped is counted out.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        let state = self.state();
        state.uncounted.is_empty() && state.progress.is_none() && state.registry.dropped.is_empty()
    }

    /// What every source holds alone and how it grew, as far as it is in the catalog and counted.
    pub fn sources_in_use(&self) -> Result<BTreeMap<SourceId, SourceUse>, PoolError> {
        self.state().catalog()?.sources()
    }

    /// Damage that was found when the pool was opened, in words.
    #[must_use]
    pub fn damage(&self) -> Vec<String> {
        self.state().damage.clone()
    }

    /// Whether the drive was so full when the pool was opened that it can only be read.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.state().is_full
    }

    /// How often the pool was opened in this process. Each time everything that no commit covers is forgotten, so
    /// what was put before an opening is not there after it.
    #[must_use]
    pub fn openings(&self) -> u64 {
        self.state().openings
    }

    /// Looks at what the records say; the pool waits meanwhile.
    pub fn registry<T>(&self, look: impl FnOnce(&Registry) -> T) -> T {
        look(&self.state().registry)
    }
}

impl State {
    /// That of a pool whose drive was not read yet.
    pub(crate) fn closed(planted: Planted, bad: Arc<BadPlaces>) -> Self {
        Self {
            catalog: None,
            registry: Registry::default(),
            recent: Recent::default(),
            mark: Mark::default(),
            counted: BTreeSet::new(),
            uncounted: BTreeSet::new(),
            gone: BTreeSet::new(),
            given_up: BTreeSet::new(),
            progress: None,
            unswept: BTreeSet::new(),
            leaving: BTreeSet::new(),
            condemned: BTreeSet::new(),
            going: HashSet::new(),
            planted,
            stuck: BTreeSet::new(),
            put_off: BTreeMap::new(),
            damage: Vec::new(),
            bad,
            rounds: Rounds::default(),
            untold: BTreeMap::new(),
            found: None,
            is_full: false,
            openings: 0,
        }
    }

    pub(crate) fn catalog(&self) -> Result<&Catalog, PoolError> {
        self.catalog.as_ref().ok_or(PoolError::Failed)
    }

    pub(crate) fn chunk(&self, name: &Name) -> Result<Option<Place>, PoolError> {
        Ok(self.listed_chunk(name)?.filter(|place| self.is_present(place)))
    }

    /// The place that is listed of a chunk, also if its segment is gone.
    fn listed_chunk(&self, name: &Name) -> Result<Option<Place>, PoolError> {
        match self.recent.chunks.get(name).and_then(known_place) {
            Some(place) => Ok(place),
            None => Ok(self.catalog()?.chunk(name)?.place),
        }
    }

    pub(crate) fn page(&self, name: &Name) -> Result<Option<Place>, PoolError> {
        match self.recent.pages.get(name).and_then(known_place) {
            Some(place) => Ok(place),
            None => Ok(self.catalog()?.page(name)?.place),
        }
    }

    /// Whether the segment of a place is not gone.
    fn is_present(&self, place: &Place) -> bool {
        !self.unswept.contains(&place.frame.segment)
    }

    /// Notes a chunk that is not known: its bytes, and if it is listed still, that it was gone in between, and with it
    /// who owned it.
    pub(crate) fn note_new(&mut self, name: &Name, length: u32) -> Result<(), PoolError> {
        if !self.unswept.is_empty() && self.listed_chunk(name)?.is_some() {
            self.recent.forget_owners(name);
        } else {
            self.mark.chunk_bytes += u64::from(length);
        }
        Ok(())
    }

    /// How many runs of points hold a chunk, as far as they are counted.
    pub(crate) fn references(&self, name: &Name) -> Result<i64, PoolError> {
        let recent = self.recent.chunks.get(name).map_or(0, |change| change.references);
        Ok(i64::from(self.catalog()?.chunk(name)?.references) + recent)
    }

    /// The same of a page.
    pub(crate) fn page_references(&self, name: &Name) -> Result<i64, PoolError> {
        let recent = self.recent.pages.get(name).map_or(0, |change| change.references);
        Ok(i64::from(self.catalog()?.page(name)?.references) + recent)
    }

    /// Whether the segment of a place is to go.
    pub(crate) fn is_condemned(&self, place: &Place) -> bool {
        self.condemned.contains(&place.frame.segment)
    }

    /// Whether a backup may count on what is at a place: its segment is not to go, or it was promised to it before that was
    /// decided.
    fn is_kept_for(&self, name: &Name, place: &Place, session: Option<&Session>) -> bool {
        !self.is_condemned(place)
            || session.is_some_and(|session| session.has(name) && !self.going.contains(name))
    }

    /// Whether a machine may know that a chunk is here.
    pub(crate) fn owns(&self, machine: MachineId, name: &Name, place: &Place) -> Result<bool, PoolError> {
        Ok(place.owner == machine
            || self.recent.adopted.contains(&(*name, machine))
            || self.catalog()?.is_adopted(name, machine)?)
    }

    /// The places of those chunks that are here and that a machine may read; however many chunks, in two queries.
    pub(crate) fn places_of(
        &self,
        machine: MachineId,
        names: &[Name],
    ) -> Result<Vec<Option<Place>>, PoolError> {
        let recent = |name: &Name| self.recent.chunks.get(name).and_then(known_place);
        let unknown: Vec<Name> = names.iter().filter(|name| recent(name).is_none()).copied().collect();
        let found = if unknown.is_empty() { Vec::new() } else { self.catalog()?.chunks(&unknown)? };
        let mut found = found.into_iter();
        let mut place = |name: &Name| {
            let place = recent(name).unwrap_or_else(|| found.next().and_then(|entry| entry.place));
            place.filter(|place| self.is_present(place))
        };
        let mut places: Vec<Option<Place>> = names.iter().map(&mut place).collect();
        self.leave_out_foreign(machine, names, &mut places, |place| place)?;
        Ok(places)
    }

    /// Takes out what belongs to others, of which the machine has sent no copy.
    fn leave_out_foreign<T: Copy>(
        &self,
        machine: MachineId,
        names: &[Name],
        found: &mut [Option<T>],
        place: impl Fn(T) -> Place,
    ) -> Result<(), PoolError> {
        let is_foreign = |name: &Name, found: &Option<T>| {
            found.is_some_and(|found| place(found).owner != machine)
                && !self.recent.adopted.contains(&(*name, machine))
        };
        let foreign = names.iter().zip(&*found).filter(|(name, found)| is_foreign(name, found));
        let foreign: Vec<Name> = foreign.map(|(name, _)| *name).collect();
        if foreign.is_empty() {
            return Ok(());
        }
        let mut adopted = self.catalog()?.adopted(&foreign, machine)?.into_iter();
        for (name, found) in names.iter().zip(found) {
            if is_foreign(name, found) && adopted.next() != Some(true) {
                *found = None;
            }
        }
        Ok(())
    }

    /// The places of those chunks that are here, that a machine may know of and that a backup may count on, and how many
    /// references are known of each; however many chunks, in two queries.
    pub(crate) fn owned(
        &self,
        machine: MachineId,
        names: &[Name],
        session: Option<&Session>,
    ) -> Result<Vec<Option<(Place, i64)>>, PoolError> {
        // What the catalog says counts only of names that nothing recent is said of, not even that they are gone.
        let recent = |name: &Name| self.recent.chunks.get(name).and_then(known_place);
        let unknown: Vec<Name> = names.iter().filter(|name| recent(name).is_none()).copied().collect();
        let found = if unknown.is_empty() { Vec::new() } else { self.catalog()?.chunks(&unknown)? };
        let mut found = found.into_iter();
        let mut place = |name: &Name| {
            let change = self.recent.chunks.get(name).map_or(0, |change| change.references);
            let (place, references) = match recent(name) {
                // Where it is may be new, and what refers to it old.
                Some(place) => (place, i64::from(self.catalog().ok()?.chunk(name).ok()?.references)),
                None => found.next().map_or((None, 0), |entry| (entry.place, i64::from(entry.references))),
            };
            let is_kept = |place: &Place| self.is_present(place) && self.is_kept_for(name, place, session);
            place.filter(is_kept).map(|place| (place, references + change))
        };
        let mut places: Vec<Option<(Place, i64)>> = names.iter().map(&mut place).collect();
        self.leave_out_foreign(machine, names, &mut places, |(place, _)| place)?;
        for (name, place) in names.iter().zip(&mut places) {
            *place = place.filter(|(place, _)| !self.bad.has(place.frame));
            if let (Some((place, references)), Some(session)) = (place, session) {
                session.promise([Promised::chunk(name, place, *references)]);
            }
        }
        Ok(places)
    }

    /// Whether a chunk is to be read from a place and not from the one that is known. It is stored a second time only
    /// when the first place was bad, so the place behind counts unless that is known to be bad itself.
    fn is_better(&self, place: &Place, known: &Place) -> bool {
        let position = |place: &Place| (place.frame.segment, place.frame.offset);
        match (self.bad.has(place.frame), self.bad.has(known.frame)) {
            (false, true) => true,
            (true, false) => false,
            _ => position(place) > position(known),
        }
    }

    /// Puts chunks where an index says they are, as far as no better place is known. A segment that is `leaving` is read
    /// no more, whatever is known of the places behind it.
    pub(crate) fn take_index(
        &mut self,
        index: &FrameIndex,
        leaving: &BTreeSet<SegmentNumber>,
    ) -> Result<(), PoolError> {
        for (name, place) in places(index) {
            let known = self.chunk(&name)?;
            if known.is_none() {
                self.note_new(&name, place.length)?;
            }
            let is_better =
                |known: Place| leaving.contains(&known.frame.segment) || self.is_better(&place, &known);
            if known.is_none_or(is_better) {
                self.recent.put_chunk(name, place);
            }
        }
        Ok(())
    }

    pub(crate) fn take(&mut self, keys: &PoolKeys, replayed: &Replayed) -> Result<(), PoolError> {
        let leaving: BTreeSet<SegmentNumber> = removed(&replayed.records).collect();
        for (at, index) in replayed.indexes.iter().enumerate() {
            if !replayed.restated.contains(&at) {
                let recent = &mut self.recent;
                places(index).for_each(|(_, place)| recent.note_stored(Kind::Chunks, place));
            }
            self.take_index(index, &leaving)?;
        }
        replayed.pages.iter().for_each(|(name, place)| self.recent.put_page(*name, *place));
        for record in &replayed.records {
            if let Record::Dropped { source, number } = record
                && self.registry.readable(*source, *number).is_none()
            {
                self.gone.insert(PointKey { source: *source, number: *number });
            }
            self.registry.apply(record);
            self.recent.records.extend(sealed_record(keys, record)?);
            match record {
                Record::Point(point) if !self.counted.contains(&point.key()) => {
                    self.uncounted.insert(point.key());
                }
                Record::Dropped { source, number } => {
                    self.uncounted.remove(&PointKey { source: *source, number: *number });
                }
                Record::Adopted { machine, names } => {
                    self.recent.adopted.extend(names.iter().map(|name| (*name, *machine)));
                }
                Record::Disowned { names } => names.iter().for_each(|name| self.recent.forget_owners(name)),
                Record::Removed { segments } => {
                    self.unswept.extend(segments);
                    self.leaving.extend(segments);
                    self.recent.removed.extend(segments);
                    segments.iter().for_each(|segment| self.rounds.forget(*segment));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Forgets that points were dropped which nothing else tells of.
    pub(crate) fn forget_gone(&mut self) {
        let mut gone = std::mem::take(&mut self.gone);
        gone.retain(|key| self.registry.readable(key.source, key.number).is_none());
        gone.into_iter().for_each(|key| self.forget_dropped(key));
    }

    /// Forgets that a point was dropped, unless its record is all that keeps its number from being given again, because
    /// newer points are lost to damage.
    pub(crate) fn forget_dropped(&mut self, key: PointKey) {
        let newest = self.registry.points_of(key.source).next_back().map(|point| point.number);
        if newest.is_some_and(|newest| newest > key.number) {
            self.recent.records.push((dropped_key(key.source, key.number), None));
        }
    }

    /// Takes out of the catalog what was in segments that are gone, as far as it does not know it.
    pub(crate) fn sweep(&mut self, batch_limit: usize) -> Result<(), PoolError> {
        if self.unswept.is_empty() {
            return Ok(());
        }
        if self.planted.has(Bug::ForgetSweep) {
            self.unswept.clear();
            return self.flush();
        }
        let first = Some(Name([0; 32]));
        let next = |found: &[(Name, Entry)]| {
            found.last().filter(|_| found.len() >= batch_limit).map(|(name, _)| *name)
        };
        let mut from = first;
        while let Some(first) = from {
            let catalog = self.catalog()?;
            let found =
                names_in(|from, look| catalog.each_chunk(from, look), &self.unswept, first, batch_limit)?;
            from = next(&found);
            for (name, entry) in found {
                self.mark.chunk_bytes -= entry.place.map_or(0, |place| u64::from(place.length));
                self.recent.forget_chunk(&name);
            }
            self.flush()?;
        }
        let mut from = first;
        while let Some(first) = from {
            let catalog = self.catalog()?;
            let found =
                names_in(|from, look| catalog.each_page(from, look), &self.unswept, first, batch_limit)?;
            from = next(&found);
            found.iter().for_each(|(name, _)| self.recent.forget_page(name));
            self.flush()?;
        }
        self.unswept.clear();
        self.flush()
    }

    /// Moves everything recent into the catalog.
    pub(crate) fn flush(&mut self) -> Result<(), PoolError> {
        let mut batch = Batch {
            chunks: self.recent.chunks.iter().map(|(name, change)| (*name, *change)).collect(),
            pages: self.recent.pages.iter().map(|(name, change)| (*name, *change)).collect(),
            adopted: self.recent.adopted.clone(),
            records: std::mem::take(&mut self.recent.records),
            stored: self.recent.stored.clone(),
            removed: self.recent.removed.clone(),
            counted: self.recent.counted.clone(),
            progress: self.progress.filter(|_| !self.planted.has(Bug::ForgetProgress)),
            unswept: self.unswept.clone(),
            leaving: self.leaving.clone(),
            rounds: self.rounds.changes(),
            steps: self.recent.steps.clone(),
            demands: self.recent.demands.clone(),
            settled: self.recent.settled.clone(),
            anybody: demand_of_all(&self.registry),
        };
        batch.chunks.sort_unstable_by_key(|(name, _)| *name);
        batch.pages.sort_unstable_by_key(|(name, _)| *name);
        let written = match self.catalog().and_then(|catalog| catalog.write(&batch, &self.mark)) {
            Ok(written) => written,
            Err(error) => {
                // Readers need them until they are in a catalog.
                self.recent.records = batch.records;
                return Err(error);
            }
        };
        self.untold.extend(written.changed);
        if let Some(found) = &mut self.found {
            for (segment, demand) in written.found {
                found.entry(segment).or_default().join(demand);
            }
        }
        self.recent = Recent::default();
        self.rounds.saved();
        Ok(())
    }
}

/// The place that a change gives; none if it leaves that to the catalog.
fn known_place(change: &EntryChange) -> Option<Option<Place>> {
    if change.is_gone { Some(None) } else { change.place.map(Some) }
}

/// Names and places of the chunks of a data frame.
pub(crate) fn places(index: &FrameIndex) -> impl Iterator<Item = (Name, Place)> {
    let (segment, offset, sealed_length) = (index.segment, index.offset, index.sealed_length);
    let frame = FramePlace { segment, offset, sealed_length };
    let mut start = 0u32;
    index.entries.iter().map(move |entry| {
        let place = Place { frame, start, length: entry.length, owner: index.owner };
        start = start.saturating_add(entry.length);
        (entry.name, place)
    })
}

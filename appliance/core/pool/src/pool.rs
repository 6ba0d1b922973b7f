//! The pool: one writer, any number of readers.
//!
//! After a failed write or sync the pool takes nothing more until [`Pool::reopen`], which is the same code as opening.

mod commit;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use chunk::{
    BundleLimits, Compressor, Decompressor, FrameKind, Level, NonceAudit, VerifiedBuilder, VerifiedBundle,
};
use medium::{Demand, Lock};
use model::{CommitNumber, ErrorKind, MachineId, Name, SegmentNumber, SourceId};
use zeroize::Zeroizing;

use crate::PoolError;
use crate::catalog::{Catalog, Check, Kind, Mark, Place};
use crate::counting::{Counted, Counting};
use crate::header::{Member, PoolHeader};
use crate::keys::{PassphraseCost, Unlock};
use crate::layout::{LOCK, SEGMENTS, SegmentHeader, SegmentKind, SegmentLimits, segment_path};
use crate::opening::{Purpose, give_back, load, rebuild, remove_leaving};
use crate::placing::{Placing, demand_of, demand_of_all};
use crate::planted::{Bug, Planted};
use crate::reader::lock;
use crate::record::{FrameIndex, SegmentLength};
use crate::segment::{FramePlace, OpenSegment};
use crate::sessions::{Promised, Session};
use crate::state::{Shared, World, places};

/// Entries that wait for the catalog, if nobody says otherwise.
const BATCH_DEFAULT: usize = 400_000;
/// The same at most when room is short.
const BATCH_TIGHT: usize = 10_000;
/// Bytes from which on a catalog is checked by block, if nobody says otherwise.
const BY_BLOCK_DEFAULT: u64 = 64 << 20;

/// Free bytes below which opening a full pool again for writing is not tried.
const ROOM_BYTES: u64 = 1 << 20;

/// What can be chosen for a pool.
#[derive(Clone, Default)]
pub struct Options {
    /// When segments are sealed.
    pub limits: SegmentLimits,
    /// The cost of new passphrase slots.
    pub cost: PassphraseCost,
    /// Entries that wait in memory before the catalog takes them; 0 stands for the default.
    pub catalog_batch: usize,
    /// Bytes from which on a catalog is not read whole when it is opened, but checked block by block when these are read; 64 MiB
    /// by default.
    pub checked_by_block: Option<u64>,
    /// Bytes that are kept free for giving room back; none by default.
    pub reserve_bytes: u64,
    /// Is told of every nonce.
    pub audit: Option<Arc<dyn NonceAudit>>,
    /// Faults on purpose; has none in a product.
    pub planted: Planted,
}

impl Options {
    pub(crate) fn batch_limit(&self) -> usize {
        if self.catalog_batch == 0 { BATCH_DEFAULT } else { self.catalog_batch }
    }

    pub(crate) fn check(&self) -> Check {
        Check::ByBlock(self.checked_by_block.unwrap_or(BY_BLOCK_DEFAULT))
    }
}

/// What is written one behind the other, to a segment of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stream {
    /// The log.
    Meta,
    /// Data that is wanted kept in one way.
    Data(Demand),
}

/// The writer of a pool.
pub struct Pool {
    shared: Arc<Shared>,
    options: Options,
    /// Segments that are being written.
    open: BTreeMap<Stream, OpenSegment>,
    closed: Vec<SegmentLength>,
    names_dirty: bool,
    next_segment: SegmentNumber,
    /// The first segment that was made since the last opening.
    first_segment: SegmentNumber,
    /// A change failed because the drive was full.
    found_no_room: bool,
    /// See [`Self::copied_bytes`].
    pub(crate) copied_bytes: u64,
    /// Bytes of data that were taken since the room on the drive was looked at.
    pub(crate) unlooked: u64,
    /// Bytes of all segments at a commit, as they were summed up last.
    pub(crate) committed: (CommitNumber, u64),
    indexes: Vec<FrameIndex>,
    adopted: BTreeMap<MachineId, Vec<Name>>,
    /// The last segment of the log that the round of cleaning it goes over, while there is one.
    pub(crate) log_round: Option<SegmentNumber>,
    /// The walk of a count under way.
    pub(crate) counting: Option<Box<Counting>>,
    /// The search for those who have something in segments, while it is under way.
    pub(crate) placing: Option<Box<Placing>>,
    /// The disk was asked for everything that is wanted since the pool was opened.
    pub(crate) is_all_asked: bool,
    pages: VerifiedBuilder,
    compressor: Compressor,
    decompressor: Decompressor,
    failed: bool,
    _lock: Box<dyn Lock>,
}

impl Pool {
    /// Makes a pool on an empty drive, opened by any of `unlocks`.
    pub fn create(world: World, unlocks: &[Unlock], options: Options) -> Result<Self, PoolError> {
        let lock = world.disk.lock(LOCK).map_err(in_use)?;
        match PoolHeader::load(&*world.disk) {
            Err(PoolError::NoPool) => {}
            Ok(_) | Err(PoolError::HeaderDamaged) => return Err(PoolError::Exists),
            Err(error) => return Err(error),
        }
        match world.disk.list(SEGMENTS) {
            // Left by an earlier attempt, whose sync may have failed: a name that such a sync lost stays lost.
            Ok(names) if names.is_empty() => world.disk.remove(SEGMENTS)?,
            Ok(_) => return Err(PoolError::Exists),
            Err(error) if error.kind() == ErrorKind::Missing => {}
            Err(error) => return Err(error.into()),
        }
        world.disk.make_directory(SEGMENTS)?;
        world.disk.sync_directory("")?;
        let mut master = Zeroizing::new([0; 32]);
        let (mut pool, mut drive) = ([0; 16], [0; 16]);
        world.entropy.fill(&mut *master);
        world.entropy.fill(&mut pool);
        world.entropy.fill(&mut drive);
        let slot = |unlock: &Unlock| unlock.make_slot(&master, &pool, options.cost, &*world.entropy);
        let header = PoolHeader {
            version: PoolHeader::VERSION,
            pool,
            drive,
            epoch: 1,
            made: world.clock.now(),
            members: vec![Member { drive }],
            slots: unlocks.iter().map(slot).collect::<Result<_, _>>()?,
        };
        header.store(&*world.disk)?;
        Self::start(world, header, &master, options, lock)
    }

    /// Opens a pool. A wrong key changes nothing.
    pub fn open(world: World, unlock: &Unlock, options: Options) -> Result<Self, PoolError> {
        let (header, _) = PoolHeader::load(&*world.disk)?;
        let master = unlock.open(&header.slots, &header.pool)?;
        let lock = world.disk.lock(LOCK).map_err(in_use)?;
        let (header, bad) = PoolHeader::load(&*world.disk)?;
        match if bad.is_empty() { Ok(()) } else { header.store(&*world.disk) } {
            // They are made anew when there is room.
            Err(error) if error.kind() == ErrorKind::Full => {}
            stored => stored?,
        }
        Self::start(world, header, &master, options, lock)
    }

    fn start(
        world: World,
        header: PoolHeader,
        master: &crate::keys::Secret,
        options: Options,
        lock: Box<dyn Lock>,
    ) -> Result<Self, PoolError> {
        let shared = Arc::new(Shared::closed(world, header, master, &options));
        let mut pool = Self {
            shared,
            options,
            open: BTreeMap::new(),
            closed: Vec::new(),
            names_dirty: false,
            next_segment: SegmentNumber(1),
            first_segment: SegmentNumber(1),
            found_no_room: false,
            copied_bytes: 0,
            unlooked: 0,
            committed: (CommitNumber(0), 0),
            indexes: Vec::new(),
            adopted: BTreeMap::new(),
            log_round: None,
            counting: None,
            placing: None,
            is_all_asked: false,
            pages: page_builder(),
            compressor: Compressor::default(),
            decompressor: Decompressor::default(),
            failed: false,
            _lock: lock,
        };
        pool.reopen()?;
        Ok(pool)
    }

    /// Forgets everything that no commit covers and reads the drive again, as when opening. On a full drive the pool
    /// can be read after it and is failed still: it may be opened again and again until there is room.
    pub fn reopen(&mut self) -> Result<(), PoolError> {
        if !self.failed
            && self.shared.is_full()
            && self.shared.world.disk.space()?.available_bytes < ROOM_BYTES
        {
            return Ok(());
        }
        let acknowledged = self.shared.state().mark.commit;
        let open = self.open_segments();
        self.forget_uncommitted();
        let mut last = load(&self.shared, self.batch_limit(), &Purpose::Writing)?;
        let found_no_room = std::mem::take(&mut self.found_no_room);
        if found_no_room
            && self.shared.state().mark.commit >= acknowledged
            && give_back(&self.shared, self.first_segment, &open)?
            && self.shared.is_full()
        {
            last = load(&self.shared, self.batch_limit(), &Purpose::Writing)?;
        }
        let is_full = self.shared.is_full();
        let has_drawn = (found_no_room || is_full) && self.draw_on_reserve();
        if has_drawn && is_full {
            last = load(&self.shared, self.batch_limit(), &Purpose::Writing)?;
        }
        self.begin(last)
    }

    /// Takes changes from here on, in segments behind `last`.
    fn begin(&mut self, last: SegmentNumber) -> Result<(), PoolError> {
        if !self.shared.is_full() {
            remove_leaving(&self.shared);
            if !self.look_for_room()? {
                // Not even the names of files may find room.
                self.draw_on_reserve();
            }
        }
        self.next_segment = self.next_segment.max(last.next());
        self.first_segment = self.next_segment;
        #[cfg(feature = "planted-bugs")]
        if self.options.planted.has(Bug::AppendAfterCrash) {
            let resume = |kind| crate::planted::resume(&self.shared, kind, self.options.audit.as_ref());
            let (data, meta) = (resume(SegmentKind::Data)?, resume(SegmentKind::Meta)?);
            self.open.extend(data.map(|data| (Stream::Data(Demand::of(None)), data)));
            self.open.extend(meta.map(|meta| (Stream::Meta, meta)));
        }
        if !self.shared.is_full() {
            self.ask_all()?;
        }
        self.failed = false;
        Ok(())
    }

    /// Makes the catalog anew from the segments, beside the one that is there and is kept under another name. After a
    /// failure the pool has to be opened again, with the old one.
    pub fn rebuild_catalog(&mut self) -> Result<(), PoolError> {
        self.forget_uncommitted();
        let last = rebuild(&self.shared, self.batch_limit())?;
        self.begin(last)
    }

    /// Drops whatever no commit covers; nothing is taken until [`Self::begin`].
    fn forget_uncommitted(&mut self) {
        self.failed = true;
        self.open.clear();
        lock(&self.shared.written).clear();
        self.closed.clear();
        self.indexes.clear();
        self.adopted.clear();
        self.log_round = None;
        self.counting = None;
        self.placing = None;
        self.pages = page_builder();
    }

    /// What readers need.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Whether an earlier write failed, or a read of the catalog, anybody's, or the drive was full: then the pool has to
    /// be opened again.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.failed
            || self.shared.is_full()
            || self.shared.state().catalog.as_ref().is_none_or(Catalog::is_failed)
    }

    pub(crate) const fn planted(&self) -> Planted {
        self.options.planted
    }

    pub(crate) fn batch_limit(&self) -> usize {
        let limit = self.options.batch_limit();
        // A batch may write a page of the catalog for every entry.
        if self.shared.is_tight() { limit.min(BATCH_TIGHT) } else { limit }
    }

    /// Takes a bundle that a machine sends in a backup of one of its sources; chunks that are here already are left out, unless
    /// they are known to be unreadable. All of them stay until the backup has ended. Durable with the next commit, which is
    /// made here when as many entries wait as the catalog takes at once.
    pub fn put_bundle(
        &mut self,
        session: &Session,
        machine: MachineId,
        source: SourceId,
        bundle: VerifiedBundle,
    ) -> Result<(), PoolError> {
        self.check_room(bundle.body().len() as u64)?;
        self.guard(|pool| {
            let mut seen = HashSet::new();
            let (mut adopted, mut stored_again, mut above) = (Vec::new(), HashSet::new(), None);
            let mut keep = Vec::with_capacity(bundle.table().entries().len());
            {
                let state = pool.shared.state();
                for entry in bundle.table().entries() {
                    let known = state.chunk(&entry.name)?;
                    let is_of_no_use =
                        |place: &Place| state.bad.has(place.frame) || state.is_condemned(place);
                    let lost = known.filter(is_of_no_use);
                    if let Some(place) = known.filter(|_| lost.is_none() && !session.has(&entry.name)) {
                        let references = state.references(&entry.name)?;
                        session.promise([Promised::chunk(&entry.name, &place, references)]);
                    }
                    keep.push((known.is_none() || lost.is_some()) && seen.insert(entry.name));
                    match (known, lost) {
                        // The machine owns the new copy; whoever owned the lost one goes on owning the chunk.
                        (_, Some(lost)) => {
                            stored_again.insert(entry.name);
                            above = above.max(Some(lost.frame.segment));
                            adopted.extend((lost.owner != machine).then_some((entry.name, lost.owner)));
                        }
                        (Some(place), None) if !state.owns(machine, &entry.name, &place)? => {
                            adopted.push((entry.name, machine));
                        }
                        _ => {}
                    }
                }
            }
            // Also when nothing of the bundle is stored: from here on the machine may name these chunks.
            pool.shared.state_mut().recent.adopted.extend(adopted.iter().copied());
            for (name, owner) in adopted {
                pool.adopted.entry(owner).or_default().push(name);
            }
            let mut keep = keep.into_iter();
            let level = Level::default();
            let (compressor, decompressor) = (&mut pool.compressor, &mut pool.decompressor);
            let keep = |_: &chunk::Entry| keep.next().unwrap_or(true);
            let Some(bundle) = bundle.retain(keep, level, compressor, decompressor)? else { return Ok(()) };
            let mut new = bundle.table().entries().iter().filter(|entry| !stored_again.contains(&entry.name));
            {
                let mut state = pool.shared.state_mut();
                new.try_for_each(|entry| state.note_new(&entry.name, entry.length))?;
            }
            let demand = pool.shared.registry(|registry| demand_of(registry, source));
            let segment = pool.append_chunks(machine, demand, above, &bundle)?;
            let only = |length: u32| Some((segment, u64::from(length)));
            let stored = bundle.table().entries().iter();
            if !pool.planted().has(Bug::StoredUnpromised) {
                session.promise(stored.map(|entry| Promised { name: entry.name, only: only(entry.length) }));
            }
            Ok(())
        })?;
        // Chunks can be so small that very many come before anybody commits.
        let waiting = self.shared.state().recent.len();
        if waiting >= self.batch_limit() { self.commit(Vec::new()) } else { Ok(()) }
    }

    /// Writes chunks of an owner to a segment that is kept as is wanted, which comes back; they are read from there on. Those
    /// that are in segments up to `above` already come to lie above these: of two places of a chunk, the higher one counts.
    pub(crate) fn append_chunks(
        &mut self,
        owner: MachineId,
        demand: Demand,
        above: Option<SegmentNumber>,
        bundle: &VerifiedBundle,
    ) -> Result<SegmentNumber, PoolError> {
        let stream = Stream::Data(demand);
        if self.open.get(&stream).is_some_and(|open| Some(open.number()) <= above) {
            self.close(stream)?;
        }
        let place = self.open_segment(stream)?.append_bundle(FrameKind::Data, bundle)?;
        let FramePlace { segment, offset, sealed_length } = place;
        let entries = bundle.table().entries().to_vec();
        let index = FrameIndex { segment, offset, sealed_length, owner, entries };
        let mut state = self.shared.state_mut();
        state.recent.want(segment, demand);
        for (name, place) in places(&index) {
            state.recent.note_stored(Kind::Chunks, place);
            state.recent.put_chunk(name, place);
        }
        drop(state);
        self.indexes.push(index);
        Ok(segment)
    }

    /// Compresses what a builder holds.
    pub(crate) fn finish_bundle(
        &mut self,
        builder: &mut VerifiedBuilder,
        level: Level,
    ) -> Result<VerifiedBundle, PoolError> {
        Ok(builder.finish(&mut self.compressor, &mut self.decompressor, level)?)
    }

    /// Segments that are being written, or whose length no commit names yet.
    pub(crate) fn open_segments(&self) -> BTreeSet<SegmentNumber> {
        let open = self.open.values().map(OpenSegment::number);
        open.chain(self.closed.iter().map(|closed| closed.segment)).collect()
    }

    /// The segment of the log that is being written.
    pub(crate) fn open_log(&self) -> Option<SegmentNumber> {
        self.open.get(&Stream::Meta).map(OpenSegment::number)
    }

    /// The number of the next segment that is made.
    pub(crate) const fn next_segment(&self) -> SegmentNumber {
        self.next_segment
    }

    /// Bytes of segments behind those that a mark covers.
    pub(crate) fn uncommitted_bytes(&self, mark: &Mark) -> u64 {
        let open = self.open.values().map(|open| (open.number(), open.length()));
        let closed = self.closed.iter().map(|closed| (closed.segment, closed.length));
        let behind = |(segment, length): (SegmentNumber, u64)| {
            length.saturating_sub(mark.length_of(segment).unwrap_or(0))
        };
        open.chain(closed).map(behind).sum()
    }

    /// Notes the index of a data frame, for the next commit.
    pub(crate) fn note_index(&mut self, index: FrameIndex) {
        self.indexes.push(index);
    }

    pub(crate) const fn data_bytes(&self) -> u64 {
        self.options.limits.data_bytes
    }

    pub(crate) const fn meta_bytes(&self) -> u64 {
        self.options.limits.meta_bytes
    }

    /// Seals the data segments that are being written if it is worth it and they are large enough not to end as some of
    /// many small ones. Everything in them is committed.
    pub(crate) fn seal_if(&mut self, is_worth: impl Fn(SegmentNumber) -> bool) -> Result<(), PoolError> {
        let least = self.options.limits.data_bytes / 4;
        self.seal_data(|_, open| open.length() >= least && is_worth(open.number()))
    }

    /// Seals some of the data segments that are being written. Everything in them is committed.
    pub(crate) fn seal_data(
        &mut self,
        is_meant: impl Fn(Demand, &OpenSegment) -> bool,
    ) -> Result<(), PoolError> {
        self.guard(|pool| {
            let is_meant = |stream: &Stream, open: &mut OpenSegment| match stream {
                Stream::Data(demand) => is_meant(*demand, open),
                Stream::Meta => false,
            };
            let meant: Vec<_> = pool.open.extract_if(.., is_meant).collect();
            meant.into_iter().try_for_each(|(stream, open)| {
                open.seal()?;
                lock(&pool.shared.written).remove(&stream);
                Ok(())
            })
        })
    }

    /// Takes a page of a tree; its name. Durable with the next commit.
    pub fn put_page(&mut self, bytes: Vec<u8>) -> Result<Name, PoolError> {
        self.check_room(bytes.len() as u64)?;
        self.store_page(bytes)
    }

    /// Takes a page however little room there is.
    pub(crate) fn store_page(&mut self, bytes: Vec<u8>) -> Result<Name, PoolError> {
        self.guard(|pool| {
            let name = pool.shared.keys.page().name(&bytes);
            if pool.shared.has_page(&name)? {
                return Ok(name);
            }
            if pool.pages.is_full() {
                pool.write_pages()?;
            }
            let keys = Arc::clone(&pool.shared.keys);
            pool.pages.push(keys.page(), &bytes)?;
            pool.shared.state_mut().recent.staged.insert(name, bytes.into());
            Ok(name)
        })
    }

    /// Brings the catalog up to the last commit. Cheap when it is; called when nothing else is to be done.
    pub fn flush_catalog(&mut self) -> Result<(), PoolError> {
        // What no commit covers must not reach the catalog.
        if !self.indexes.is_empty() || !self.pages.is_empty() || !self.adopted.is_empty() {
            return Ok(());
        }
        let flushed = self.guard(|pool| {
            let mut state = pool.shared.state_mut();
            if state.recent.len() == 0 && !state.rounds.is_unsaved { Ok(()) } else { state.flush() }
        });
        if flushed
            .as_ref()
            .is_err_and(|error| matches!(error, PoolError::Catalog { .. }) && error.kind() == ErrorKind::Full)
        {
            // A catalog that failed answers nothing more; so that readers are served it is opened again, in memory.
            self.reopen().ok();
        }
        flushed?;
        if let Some(catalog) = &self.shared.state().catalog {
            catalog.keep_sums(&*self.shared.world.disk, self.shared.check);
        }
        self.guard(|pool| pool.tell_demands())
    }

    /// Passes over as many names of the catalog as a step may, so that later nobody reads it for what it does not have. To be
    /// called again after each opening, and now and then.
    pub fn filter_names(&mut self, names_max: usize) -> Result<Counted, PoolError> {
        let is_more = self.shared.state().catalog()?.make_filter(names_max)?;
        Ok(if is_more { Counted::More } else { Counted::All })
    }

    /// Runs a change; after an error nothing more is taken.
    pub(crate) fn guard<T>(
        &mut self,
        change: impl FnOnce(&mut Self) -> Result<T, PoolError>,
    ) -> Result<T, PoolError> {
        if self.is_failed() {
            return Err(if self.shared.is_full() { PoolError::DriveFull } else { PoolError::Failed });
        }
        let result = change(self);
        if let Err(error) = &result {
            self.found_no_room |= error.kind() == ErrorKind::Full;
            self.failed = !(self.options.planted.has(Bug::RetrySync) && error.kind() == ErrorKind::Io);
        }
        result
    }

    /// Seals the segment of a stream; the next commit names its length.
    fn close(&mut self, stream: Stream) -> Result<(), PoolError> {
        let Some(full) = self.open.remove(&stream) else { return Ok(()) };
        self.closed.push(SegmentLength { segment: full.number(), length: full.length() });
        full.seal()?;
        lock(&self.shared.written).remove(&stream);
        Ok(())
    }

    /// The segment that frames of a stream go to, sealed and replaced when it is full.
    fn open_segment(&mut self, stream: Stream) -> Result<&mut OpenSegment, PoolError> {
        let limits = self.options.limits;
        let (kind, limit, demand) = match stream {
            Stream::Data(demand) => (SegmentKind::Data, limits.data_bytes, demand),
            Stream::Meta => (SegmentKind::Meta, limits.meta_bytes, self.shared.registry(demand_of_all)),
        };
        if self.open.get(&stream).is_some_and(|segment| segment.length() >= limit) {
            self.close(stream)?;
        }
        while !self.open.contains_key(&stream) {
            let (number, shared) = (self.next_segment, &self.shared);
            self.next_segment = number.next();
            self.names_dirty = true;
            lock(&shared.written).insert(stream, number);
            shared.frames.forget(number);
            shared.world.disk.ask(&segment_path(number), demand)?;
            let (pool, drive, after) = (shared.header.pool, shared.header.drive, shared.state().mark.commit);
            let master = shared.keys.segment_master();
            let audit = self.options.audit.as_ref();
            let sealer = OpenSegment::sealer(master, &*shared.world.entropy, pool, number, audit);
            let header = |sealer: &chunk::Sealer| {
                let (salt, commitment) = (*sealer.salt(), *sealer.commitment());
                SegmentHeader { kind, number, pool, drive, salt, commitment, after }
            };
            match OpenSegment::create(&*shared.world.disk, &header, sealer) {
                // A drive has come back with a segment that nothing was ever acknowledged of: its number is left out.
                Err(PoolError::Disk(error)) if error.kind() == ErrorKind::Refused => {
                    shared.world.disk.ask(&segment_path(number), Demand::default())?;
                }
                created => drop(self.open.insert(stream, created?)),
            }
        }
        self.open.get_mut(&stream).ok_or(PoolError::Failed)
    }
}

fn page_builder() -> VerifiedBuilder {
    VerifiedBuilder::new(BundleLimits { plain_length: 256 << 10, ..BundleLimits::default() })
}

pub(crate) fn in_use(error: medium::DiskError) -> PoolError {
    if error.kind() == ErrorKind::Busy { PoolError::InUse(error) } else { PoolError::Disk(error) }
}

//! The pool: one writer, any number of readers.
//!
//! The order of a commit: data, pages, indexes and records are written; all of it is synced, and so are the names of
//! new segments; then the mark is written and synced. Only then does the commit count, and only then is it
//! acknowledged. So a mark that can be read has everything before it on the drive.
//!
//! After a failed write or sync the pool takes nothing more until [`Pool::reopen`], which is the same code as opening.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, RwLock};

use chunk::{
    BundleLimits, Compressor, Decompressor, FrameKind, Level, NonceAudit, VerifiedBuilder, VerifiedBundle,
};
use medium::Lock;
use model::{ErrorKind, MachineId, Name, SegmentNumber};
use zeroize::Zeroizing;

use crate::PoolError;
use crate::catalog::{Catalog, Kind, Mark, Place};
use crate::counting::Counting;
use crate::header::{Member, PoolHeader};
use crate::keys::{PassphraseCost, PoolKeys, Unlock};
use crate::layout::{LOCK, SEGMENTS, SegmentHeader, SegmentKind, SegmentLimits};
use crate::opening::{give_back, load, rebuild, remove_leaving};
use crate::planted::{Bug, Planted};
use crate::reader::FrameReader;
use crate::record::{CommitMark, FrameIndex, Record, RecordsBody, SegmentLength, encode_frame_index};
use crate::registry::Registry;
use crate::replay::{Replayed, advance, removed};
use crate::scrub::{Checks, Rounds};
use crate::segment::{FramePlace, OpenSegment};
use crate::state::{Recent, Shared, State, World, places};

/// Bytes of records or indexes that go into one frame.
const BODY_BYTES: usize = 1 << 20;

/// Free bytes below which opening a full pool again for writing is not tried.
const ROOM_BYTES: u64 = 1 << 20;

/// What can be chosen for a pool.
#[derive(Clone, Default)]
pub struct Options {
    /// When segments are sealed.
    pub limits: SegmentLimits,
    /// The cost of new passphrase slots.
    pub cost: PassphraseCost,
    /// Entries that wait in memory before the catalog takes them; 0 stands for 400,000.
    pub catalog_batch: usize,
    /// Is told of every nonce.
    pub audit: Option<Arc<dyn NonceAudit>>,
    /// Faults on purpose; has none in a product.
    pub planted: Planted,
}

/// The writer of a pool.
pub struct Pool {
    shared: Arc<Shared>,
    options: Options,
    data: Option<OpenSegment>,
    meta: Option<OpenSegment>,
    closed: Vec<SegmentLength>,
    names_dirty: bool,
    next_segment: SegmentNumber,
    /// The first segment that was made since the last opening.
    first_segment: SegmentNumber,
    /// A change failed because the drive was full.
    found_no_room: bool,
    indexes: Vec<FrameIndex>,
    adopted: BTreeMap<MachineId, Vec<Name>>,
    /// The walk of a count under way.
    pub(crate) counting: Option<Box<Counting>>,
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
        let keys = PoolKeys::new(master);
        let frames = FrameReader::new(Arc::clone(&world.disk), Arc::clone(&keys), header.pool);
        let state = State {
            catalog: None,
            registry: Registry::default(),
            recent: Recent::default(),
            mark: Mark::default(),
            counted: BTreeSet::new(),
            uncounted: BTreeSet::new(),
            progress: None,
            unswept: BTreeSet::new(),
            leaving: BTreeSet::new(),
            condemned: BTreeMap::new(),
            planted: options.planted,
            stuck: BTreeSet::new(),
            damage: Vec::new(),
            bad: Arc::clone(frames.bad()),
            rounds: Rounds::default(),
            is_full: false,
            openings: 0,
        };
        let planted = options.planted;
        let (witnessed, leases, sessions) = (AtomicU64::new(0), Arc::default(), Arc::default());
        let (state, checks) = (RwLock::new(state), Checks::default());
        let shared =
            Shared { world, keys, header, frames, state, witnessed, planted, leases, sessions, checks };
        let shared = Arc::new(shared);
        let mut pool = Self {
            shared,
            options,
            data: None,
            meta: None,
            closed: Vec::new(),
            names_dirty: false,
            next_segment: SegmentNumber(1),
            first_segment: SegmentNumber(1),
            found_no_room: false,
            indexes: Vec::new(),
            adopted: BTreeMap::new(),
            counting: None,
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
        let mut last = load(&self.shared, self.batch_limit())?;
        if std::mem::take(&mut self.found_no_room)
            && self.shared.state().mark.commit >= acknowledged
            && give_back(&self.shared, self.first_segment, &open)?
            && self.shared.is_full()
        {
            last = load(&self.shared, self.batch_limit())?;
        }
        self.begin(last)
    }

    /// Takes changes from here on, in segments behind `last`.
    fn begin(&mut self, last: SegmentNumber) -> Result<(), PoolError> {
        if !self.shared.is_full() {
            remove_leaving(&self.shared);
        }
        self.next_segment = self.next_segment.max(last.next());
        self.first_segment = self.next_segment;
        #[cfg(feature = "planted-bugs")]
        if self.options.planted.has(Bug::AppendAfterCrash) {
            let resume = |kind| crate::planted::resume(&self.shared, kind, self.options.audit.as_ref());
            (self.data, self.meta) = (resume(SegmentKind::Data)?, resume(SegmentKind::Meta)?);
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
        self.data = None;
        self.meta = None;
        self.closed.clear();
        self.indexes.clear();
        self.adopted.clear();
        self.counting = None;
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
        if self.options.catalog_batch == 0 { 400_000 } else { self.options.catalog_batch }
    }

    /// Takes a bundle from a machine; chunks that are here already are left out, unless they are known to be unreadable.
    /// Durable with the next commit, which is made here when as many entries wait as the catalog takes at once.
    pub fn put_bundle(&mut self, machine: MachineId, bundle: VerifiedBundle) -> Result<(), PoolError> {
        self.guard(|pool| {
            let mut seen = HashSet::new();
            let (mut adopted, mut stored_again) = (Vec::new(), HashSet::new());
            let mut keep = Vec::with_capacity(bundle.table().entries().len());
            {
                let state = pool.shared.state();
                for entry in bundle.table().entries() {
                    let known = state.chunk(&entry.name)?;
                    let is_of_no_use =
                        |place: &Place| state.bad.has(place.frame) || state.is_condemned(place, None);
                    let lost = known.filter(is_of_no_use);
                    keep.push((known.is_none() || lost.is_some()) && seen.insert(entry.name));
                    match (known, lost) {
                        // The machine owns the new copy; whoever owned the lost one goes on owning the chunk.
                        (_, Some(lost)) => {
                            stored_again.insert(entry.name);
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
            pool.append_chunks(machine, &bundle)
        })?;
        // Chunks can be so small that very many come before anybody commits.
        let waiting = self.shared.state().recent.len();
        if waiting >= self.batch_limit() { self.commit(Vec::new()) } else { Ok(()) }
    }

    /// Writes chunks of an owner; they are read from there on.
    pub(crate) fn append_chunks(
        &mut self,
        owner: MachineId,
        bundle: &VerifiedBundle,
    ) -> Result<(), PoolError> {
        let place = self.open_segment(SegmentKind::Data)?.append_bundle(FrameKind::Data, bundle)?;
        let FramePlace { segment, offset, sealed_length } = place;
        let entries = bundle.table().entries().to_vec();
        let index = FrameIndex { segment, offset, sealed_length, owner, entries };
        let mut state = self.shared.state_mut();
        for (name, place) in places(&index) {
            state.recent.note_stored(Kind::Chunks, place);
            state.recent.put_chunk(name, place);
        }
        drop(state);
        self.indexes.push(index);
        Ok(())
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
        let open = self.data.iter().chain(&self.meta).map(OpenSegment::number);
        open.chain(self.closed.iter().map(|closed| closed.segment)).collect()
    }

    /// Seals the data segment that is being written if it is worth it and large enough not to end as one of many small
    /// ones. Everything in it is committed.
    pub(crate) fn seal_if(&mut self, is_worth: impl Fn(SegmentNumber) -> bool) -> Result<(), PoolError> {
        let least = self.options.limits.data_bytes / 4;
        self.guard(|pool| {
            let full = pool.data.take_if(|open| open.length() >= least && is_worth(open.number()));
            full.map_or(Ok(()), OpenSegment::seal)
        })
    }

    /// Takes a page of a tree; its name. Durable with the next commit.
    pub fn put_page(&mut self, bytes: Vec<u8>) -> Result<Name, PoolError> {
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

    /// Makes everything that was put durable, with these records. An empty commit writes nothing.
    pub fn commit(&mut self, records: Vec<Record>) -> Result<(), PoolError> {
        crate::records::check_lengths(&records)?;
        self.guard(|pool| {
            let mut records = records;
            for (machine, names) in std::mem::take(&mut pool.adopted) {
                let adopted = names.chunks(8192).map(<[Name]>::to_vec);
                records.extend(adopted.map(|names| Record::Adopted { machine, names }));
            }
            if records.is_empty() && pool.indexes.is_empty() && pool.pages.is_empty() {
                return Ok(());
            }
            pool.write_pages()?;
            pool.write_indexes()?;
            pool.write_records(records)
        })?;
        if self.shared.state().recent.len() >= self.batch_limit() {
            // The commit counts, whatever becomes of the catalog: if that fails, the pool is to be opened again.
            self.flush_catalog().ok();
        }
        Ok(())
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
        flushed
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

    /// The segment that frames of a kind go to, sealed and replaced when it is full.
    fn open_segment(&mut self, kind: SegmentKind) -> Result<&mut OpenSegment, PoolError> {
        let limits = self.options.limits;
        let (slot, limit) = match kind {
            SegmentKind::Data => (&mut self.data, limits.data_bytes),
            SegmentKind::Meta => (&mut self.meta, limits.meta_bytes),
        };
        if let Some(full) = slot.take_if(|segment| segment.length() >= limit) {
            self.closed.push(SegmentLength { segment: full.number(), length: full.length() });
            full.seal()?;
        }
        if slot.is_none() {
            let (number, shared) = (self.next_segment, &self.shared);
            self.next_segment = number.next();
            self.names_dirty = true;
            shared.frames.forget(number);
            let (pool, drive, after) = (shared.header.pool, shared.header.drive, shared.state().mark.commit);
            let master = shared.keys.segment_master();
            let audit = self.options.audit.as_ref();
            let sealer = OpenSegment::sealer(master, &*shared.world.entropy, pool, number, audit);
            let header = |sealer: &chunk::Sealer| {
                let (salt, commitment) = (*sealer.salt(), *sealer.commitment());
                SegmentHeader { kind, number, pool, drive, salt, commitment, after }
            };
            *slot = Some(OpenSegment::create(&*shared.world.disk, &header, sealer)?);
        }
        slot.as_mut().ok_or(PoolError::Failed)
    }

    fn write_pages(&mut self) -> Result<(), PoolError> {
        if self.pages.is_empty() {
            return Ok(());
        }
        let bundle = self.pages.finish(&mut self.compressor, &mut self.decompressor, Level::default())?;
        let place = self.open_segment(SegmentKind::Meta)?.append_bundle(FrameKind::Pages, &bundle)?;
        let mut state = self.shared.state_mut();
        for (entry, range) in bundle.table().ranges() {
            let start = u32::try_from(range.start).unwrap_or(u32::MAX);
            let place = Place { frame: place, start, length: entry.length, owner: MachineId(0) };
            state.recent.put_page(entry.name, place);
            state.recent.staged.remove(&entry.name);
        }
        Ok(())
    }

    fn write_indexes(&mut self) -> Result<(), PoolError> {
        let mut body = Vec::new();
        let indexes = std::mem::take(&mut self.indexes);
        for (at, index) in indexes.iter().enumerate() {
            encode_frame_index(&mut body, index);
            if body.len() >= BODY_BYTES || at + 1 == indexes.len() {
                self.write_body(FrameKind::Index, &body)?;
                body.clear();
            }
        }
        Ok(())
    }

    fn write_body(&mut self, kind: FrameKind, body: &[u8]) -> Result<FramePlace, PoolError> {
        let length =
            u32::try_from(body.len()).map_err(|_| PoolError::Refused("a record is too long".into()))?;
        let packed = self.compressor.pack_checked(body, Level::default(), &mut self.decompressor)?;
        self.open_segment(SegmentKind::Meta)?.append_body(kind, packed.codec, length, &packed.body)
    }

    /// Writes records and the mark behind them; everything is durable after it.
    fn write_records(&mut self, records: Vec<Record>) -> Result<(), PoolError> {
        let mut replayed = Replayed::default();
        let mut part = Vec::new();
        let mut part_bytes = 0;
        for record in records {
            let size = minicbor::to_vec(&record).map_or(0, |bytes| bytes.len());
            if part_bytes + size > BODY_BYTES && !part.is_empty() {
                self.write_records_frame(std::mem::take(&mut part), None, &mut replayed)?;
                part_bytes = 0;
            }
            part_bytes += size;
            part.push(record);
        }
        // Not together with the mark: who loses one of the two frames has the other.
        if !part.is_empty() {
            self.write_records_frame(part, None, &mut replayed)?;
        }
        self.sync_before_mark()?;
        let (number, previous) = {
            let state = self.shared.state();
            (state.mark.commit.next(), state.mark.hash)
        };
        let mut lengths = std::mem::take(&mut self.closed);
        let open = |s: &OpenSegment| SegmentLength { segment: s.number(), length: s.length() };
        lengths.extend(self.data.as_ref().map(open));
        let mark = CommitMark { number, previous, at: self.shared.world.clock.now(), lengths };
        let (hash, place) = self.write_records_frame(Vec::new(), Some(mark.clone()), &mut replayed)?;
        let meta = self.meta.as_mut().ok_or(PoolError::Failed)?;
        if !self.options.planted.has(Bug::AcknowledgeEarly) {
            meta.sync()?;
        }
        let end = meta.length();
        let mut state = self.shared.state_mut();
        advance(&mut state.mark, &mark, hash, place.segment, end);
        removed(&replayed.records).for_each(|segment| state.mark.forget(segment));
        state.take(&self.shared.keys, &replayed)
    }

    fn write_records_frame(
        &mut self,
        records: Vec<Record>,
        mark: Option<CommitMark>,
        replayed: &mut Replayed,
    ) -> Result<([u8; 32], FramePlace), PoolError> {
        let body = RecordsBody { records, mark };
        let bytes = minicbor::to_vec(&body).map_err(|e| PoolError::Refused(e.to_string()))?;
        // The mark must not open a segment of its own: the name of that would not be durable.
        let place = if body.mark.is_some() && self.meta.is_some() {
            let length =
                u32::try_from(bytes.len()).map_err(|_| PoolError::Refused("a record is too long".into()))?;
            let packed = self.compressor.pack_checked(&bytes, Level::default(), &mut self.decompressor)?;
            let meta = self.meta.as_mut().ok_or(PoolError::Failed)?;
            meta.append_body(FrameKind::Records, packed.codec, length, &packed.body)?
        } else {
            self.write_body(FrameKind::Records, &bytes)?
        };
        replayed.records.extend(body.records);
        Ok((*blake3::hash(&bytes).as_bytes(), place))
    }

    /// Everything that the mark will cover, and the names of the files that hold it.
    fn sync_before_mark(&mut self) -> Result<(), PoolError> {
        // Opens the meta segment if there is none, so that its name is synced here and not after the mark.
        self.open_segment(SegmentKind::Meta)?;
        let planted = self.options.planted;
        if let Some(data) = &mut self.data
            && !planted.has(Bug::SkipFileSync)
        {
            data.sync()?;
        }
        if let Some(meta) = &mut self.meta {
            meta.sync()?;
        }
        if self.names_dirty {
            if !planted.has(Bug::SkipDirectorySync) {
                self.shared.world.disk.sync_directory(SEGMENTS)?;
            }
            self.names_dirty = false;
        }
        Ok(())
    }
}

fn page_builder() -> VerifiedBuilder {
    VerifiedBuilder::new(BundleLimits { plain_length: 256 << 10, ..BundleLimits::default() })
}

fn in_use(error: medium::DiskError) -> PoolError {
    if error.kind() == ErrorKind::Busy { PoolError::InUse(error) } else { PoolError::Disk(error) }
}

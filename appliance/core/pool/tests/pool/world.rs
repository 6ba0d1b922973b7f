//! The world of the tests: a pool on a simulated drive, points with files of known content, and their way back.
//!
//! What is in a point follows from its sequence number alone, so whoever finds one can tell whether it is whole.

use std::any::Any;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use chunk::{BundleLimits, Compressor, Decompressor, Level, NamingKey, VerifiedBuilder, VerifiedBundle};
use medium::sim::{Random, SimClock, SimDisk, SimEntropy};
use medium::{Disk, Poisoning};
use model::archive::{Archive, ArchiveError};
use model::item::{Attributes, Extent, FileKind, Inode, Item, ItemKey};
use model::record::{Label, Machine, Point, Source, Totals};
use model::{EntryName, MachineId, Name, ObjectId, SequenceNumber, SourceId, Time};
use pool::archive::tree_error;
use pool::keys::{PassphraseCost, Unlock};
use pool::layout::SegmentLimits;
use pool::{NewPoint, Options, Pool, PoolArchive, PoolError, ReadOnlyPool, Scope, Shared, World};
use tree::{ItemTree, Root};
use zeroize::Zeroizing;

/// How many files a point has, each of one chunk.
pub(crate) const FILES: usize = 4;

/// What a pool has around it; no sync that failed on the drive is believed later.
pub(crate) fn world_of(disk: impl Disk + 'static, seed: u64) -> World {
    World {
        disk: Arc::new(Poisoning::new(Arc::new(disk))),
        clock: Arc::new(SimClock::new(Time(1_700_000_000_000_000_000))),
        entropy: Arc::new(SimEntropy::new(seed)),
    }
}

/// What opens every pool.
pub(crate) fn key() -> Unlock {
    Unlock::KeyFile(Zeroizing::new([7; 32]))
}

/// Segments and a batch of the catalog that are soon full, so that there are sealed and open segments of every kind.
pub(crate) fn options() -> Options {
    let cost = PassphraseCost { memory_kib: 32, passes: 1, lanes: 1 };
    let limits = SegmentLimits { data_bytes: 8 << 10, meta_bytes: 8 << 10 };
    Options { limits, cost, catalog_batch: 40, ..Options::default() }
}

/// Segments that are soon full, and a catalog that is brought up to date only when it is told to.
pub(crate) fn lazy() -> Options {
    Options { catalog_batch: 100_000, ..options() }
}

/// Segments that are never full, and a catalog that is brought up to date only when it is told to.
pub(crate) fn roomy() -> Options {
    Options { limits: SegmentLimits::default(), ..lazy() }
}

/// A pool of which a copy is audited when the test lets go of it: what it counts is what its trees say, whatever happened to it.
pub(crate) struct Audited {
    pool: Pool,
    disk: Option<SimDisk>,
    options: Options,
}

impl Audited {
    pub(crate) fn of(pool: Pool, disk: &(impl Disk + 'static), options: Options) -> Self {
        Self { pool, disk: (disk as &dyn Any).downcast_ref::<SimDisk>().cloned(), options }
    }

    /// A backup that is over at once stores a bundle.
    pub(crate) fn put(
        &mut self,
        machine: MachineId,
        source: SourceId,
        bundle: VerifiedBundle,
    ) -> Result<(), PoolError> {
        let session = self.pool.shared().begin_session();
        self.pool.put_bundle(&session, machine, source, bundle)
    }
}

impl Deref for Audited {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        &self.pool
    }
}

impl DerefMut for Audited {
    fn deref_mut(&mut self) -> &mut Pool {
        &mut self.pool
    }
}

impl Drop for Audited {
    fn drop(&mut self) {
        let Some(disk) = self.disk.as_ref().filter(|_| !std::thread::panicking()) else { return };
        let copy = Pool::open(world_of(disk.snapshot(), 1 << 32), &key(), self.options.clone());
        // What cannot be read, because the test has damaged it, is said instead.
        if let Ok(audit) = copy.and_then(|mut copy| copy.audit()) {
            assert_eq!(audit.wrong, Vec::<String>::new(), "at the end of the test");
        }
    }
}

/// Makes a pool on an empty drive.
pub(crate) fn create(disk: &SimDisk, options: Options) -> (Audited, Home) {
    let pool = Pool::create(world_of(disk.clone(), 1), &[key()], options.clone()).unwrap();
    let mut pool = Audited::of(pool, disk, options);
    let home = Home::add(&mut pool);
    (pool, home)
}

/// Opens the pool of a drive.
pub(crate) fn open(
    disk: &(impl Disk + Clone + 'static),
    seed: u64,
    options: Options,
) -> Result<Audited, PoolError> {
    let pool = Pool::open(world_of(disk.clone(), seed), &key(), options.clone())?;
    Ok(Audited::of(pool, disk, options))
}

/// Opens the pool of a drive whose catalog is lost: there are only the segments to go by.
pub(crate) fn open_without_catalog(disk: &SimDisk, seed: u64, options: Options) -> Audited {
    disk.remove("catalog.redb").unwrap();
    open(disk, seed, options).unwrap()
}

/// A pool with points 1 to `count`, open.
pub(crate) fn filled(disk: &SimDisk, options: Options, count: u64) -> (Audited, Home) {
    let (mut pool, home) = create(disk, options);
    home.add_points(&mut pool, 1..=count);
    (pool, home)
}

/// A drive with a pool with points 1 to `count`, closed when all of it was in the catalog.
pub(crate) fn closed(options: Options, count: u64) -> (SimDisk, Home) {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, options, count);
    pool.flush_catalog().unwrap();
    (disk, home)
}

/// The same without the catalog.
pub(crate) fn closed_without_catalog(options: Options, count: u64) -> (SimDisk, Home) {
    let (disk, home) = closed(options, count);
    disk.remove("catalog.redb").unwrap();
    (disk, home)
}

/// A label that is known to be one.
pub(crate) fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

/// A bundle of chunks as a machine sends it, and their names in its order.
pub(crate) fn bundle<C: AsRef<[u8]>>(
    key: &NamingKey,
    chunks: impl IntoIterator<Item = C>,
) -> (Vec<Name>, VerifiedBundle) {
    let mut builder = VerifiedBuilder::new(BundleLimits::default());
    let names = chunks.into_iter().map(|bytes| builder.push(key, bytes.as_ref()).unwrap()).collect();
    let bundle = builder.finish(&mut Compressor::default(), &mut Decompressor::default(), Level::default());
    (names, bundle.unwrap())
}

/// The chunks of a point: one that every point has, a short one, one that compresses, and noise.
pub(crate) fn chunks(number: u64) -> [Vec<u8>; FILES] {
    let mut random = Random::new(number + 1);
    let mut noise = |length: u64| {
        let mut bytes = vec![0; usize::try_from(length + number % 50).unwrap()];
        random.fill(&mut bytes);
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes
    };
    let (short, long) = (noise(1), noise(3000));
    [b"shared by everybody".to_vec(), short, number.to_string().repeat(700).into_bytes(), long]
}

/// The items of a directory with a file for each chunk, in order: file 2, file 3 and so on by their objects.
pub(crate) fn files(names: &[Name], chunks: &[Vec<u8>]) -> Vec<(ItemKey, Item)> {
    let inode = |kind, size| {
        let attributes = Attributes::new(kind, 0o644);
        Item::Inode(Inode { attributes, size, stored: size, links: 1 })
    };
    let mut items = vec![(ItemKey::inode(ObjectId::ROOT), inode(FileKind::Directory, 0))];
    for ((name, chunk), number) in names.iter().zip(chunks).zip(ObjectId::ROOT.0 + 1..) {
        let object = ObjectId(number);
        let entry = EntryName::new(format!("file {number}").as_bytes()).unwrap();
        let length = u32::try_from(chunk.len()).unwrap();
        items.push((ItemKey::entry(ObjectId::ROOT, entry), Item::Entry(object, FileKind::File)));
        items.push((ItemKey::inode(object), inode(FileKind::File, u64::from(length))));
        let extent = Extent::Chunk { name: *name, skip: 0, length };
        items.push((ItemKey::extent(object, 0), Item::Extent(extent)));
    }
    items.sort_by(|(a, _), (b, _)| a.cmp(b));
    items
}

/// A point of a source, without exceptions.
pub(crate) fn new_point(source: &Source, number: u64, root: Root) -> NewPoint {
    NewPoint {
        source: source.id,
        sequence: SequenceNumber(number),
        started: Time(1),
        finished: Time(i64::try_from(number).unwrap() * 1_000_000_000),
        root,
        totals: Totals::default(),
        exceptions: Vec::new(),
        exceptions_count: 0,
    }
}

/// Where points come from: the source home of the machine web1.
pub(crate) struct Home {
    pub(crate) machine: Machine,
    pub(crate) source: Source,
}

impl Home {
    /// Adds machine and source to a pool.
    pub(crate) fn add(pool: &mut Pool) -> Self {
        let machine = pool.add_machine(&label("web1"), false).unwrap();
        let source = pool.add_source(machine.id, &label("home")).unwrap();
        Self { machine, source }
    }

    /// What the chunks of the machine are named with.
    pub(crate) fn naming(&self, pool: &Pool) -> NamingKey {
        pool.shared().keys().naming(self.machine.domain)
    }

    /// The names that the machine has for the chunks of a point.
    pub(crate) fn names(&self, pool: &Pool, number: u64) -> Vec<Name> {
        let naming = self.naming(pool);
        chunks(number).iter().map(|bytes| naming.name(bytes)).collect()
    }

    /// Makes a point with a file for each chunk of a number, all of which are sent, also those that are known.
    pub(crate) fn add_point(&self, pool: &mut Pool, number: u64) -> Result<(), PoolError> {
        let (names, bundle) = bundle(&self.naming(pool), chunks(number));
        self.put(pool, bundle)?;
        self.commit(pool, number, files(&names, &chunks(number)))
    }

    /// Sends a bundle that no backup keeps.
    pub(crate) fn put(&self, pool: &mut Pool, bundle: VerifiedBundle) -> Result<(), PoolError> {
        pool.put_bundle(&pool.shared().begin_session(), self.machine.id, self.source.id, bundle)
    }

    /// Makes points on a drive that takes them.
    pub(crate) fn add_points(&self, pool: &mut Pool, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.add_point(pool, number).unwrap();
        }
    }

    /// Makes a point of any items, whose chunks the pool has.
    pub(crate) fn commit(
        &self,
        pool: &mut Pool,
        number: u64,
        items: Vec<(ItemKey, Item)>,
    ) -> Result<(), PoolError> {
        let items = items.into_iter().map(|(key, item)| (key, Some(item)));
        let applied = ItemTree::default().apply(pool, &Root::EMPTY, items).map_err(tree_error)?;
        pool.commit_point(new_point(&self.source, number, applied.root)).map(drop)
    }
}

/// A pool that was opened, in either way.
pub(crate) trait Opened {
    fn readers(&self) -> &Arc<Shared>;
}

impl Opened for Pool {
    fn readers(&self) -> &Arc<Shared> {
        self.shared()
    }
}

impl Opened for Audited {
    fn readers(&self) -> &Arc<Shared> {
        self.shared()
    }
}

impl Opened for ReadOnlyPool {
    fn readers(&self) -> &Arc<Shared> {
        self.shared()
    }
}

/// What sees all machines.
pub(crate) fn archive(pool: &impl Opened) -> PoolArchive {
    PoolArchive::new(Arc::clone(pool.readers()), Scope::All, Arc::default())
}

/// All points, oldest first.
pub(crate) fn points(pool: &impl Opened) -> Vec<Point> {
    let archive = archive(pool);
    let sources = archive.sources().unwrap();
    sources.iter().flat_map(|source| archive.points(source.id).unwrap()).collect()
}

/// The points of all sources that can be listed, oldest first.
pub(crate) fn listed_points(pool: &impl Opened) -> Vec<Point> {
    let archive = archive(pool);
    let sources = archive.sources().unwrap_or_default();
    sources.iter().flat_map(|source| archive.points(source.id).unwrap_or_default()).collect()
}

/// The names of the chunks of a point, whose items are those of its number.
fn names_in(archive: &PoolArchive, point: &Point, context: &str) -> Result<Vec<Name>, ArchiveError> {
    let items = archive.items(point.key(), &[], &[0xff; 9], 100)?;
    let extents = items.iter().filter_map(|(_, item)| match item {
        Item::Extent(Extent::Chunk { name, .. }) => Some(*name),
        _ => None,
    });
    let names: Vec<Name> = extents.collect();
    let chunks = chunks(point.sequence.0);
    assert_eq!(names.len(), chunks.len(), "{context}");
    assert_eq!(items, files(&names, &chunks), "{context}");
    Ok(names)
}

/// The numbers of all points, oldest first, each of which reads back exactly.
pub(crate) fn read_points(pool: &impl Opened) -> Vec<u64> {
    let archive = archive(pool);
    let read_back = |point: Point| {
        assert_eq!(archive.point(point.key()).unwrap().number, point.number);
        let context = format!("point {}", point.sequence);
        let names = names_in(&archive, &point, &context).unwrap();
        let read = archive.chunks(point.key(), &names).unwrap();
        let read: Vec<Vec<u8>> = read.into_iter().map(|bytes| bytes.unwrap().to_vec()).collect();
        assert_eq!(read, chunks(point.sequence.0), "{context}");
        point.sequence.0
    };
    points(pool).into_iter().map(read_back).collect()
}

/// Reads what can be read of a point, none of which is wrong; whether that was all of it.
///
/// Fails where the pool does not even say which chunks it can read.
pub(crate) fn is_whole(pool: &impl Opened, point: &Point, context: &str) -> Result<bool, ArchiveError> {
    let archive = archive(pool);
    let Ok(names) = names_in(&archive, point, context) else { return Ok(false) };
    let read = archive.chunks(point.key(), &names)?;
    assert_eq!(read.len(), names.len(), "{context}");
    for (bytes, expected) in read.iter().zip(chunks(point.sequence.0)) {
        assert!(bytes.as_ref().map_or(true, |bytes| **bytes == *expected), "{context}: wrong bytes");
    }
    Ok(read.iter().all(Result::is_ok))
}

/// How many points are whole; the others say that they are not.
pub(crate) fn whole_points(pool: &impl Opened, context: &str) -> u64 {
    points(pool).iter().map(|point| u64::from(is_whole(pool, point, context).unwrap())).sum()
}

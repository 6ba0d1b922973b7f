//! Damage on the drive under a pool: what verify says of it, what is still readable, and what the next backup heals.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use chunk::{BundleLimits, Compressor, Decompressor, Level, NamingKey, VerifiedBuilder, VerifiedBundle};
use medium::sim::{Fault, FaultPlan, Random, SimClock, SimDisk, SimEntropy};
use medium::{Access, Disk, DiskError, File, Lock, Operation, Poisoning, Space};
use model::archive::{Archive, PointKey};
use model::item::{Attributes, Extent, FileKind, Inode, Item, ItemKey};
use model::record::{Label, Machine, Source, Totals};
use model::{EntryName, ErrorKind, Name, ObjectId, SequenceNumber, Time};
use pool::keys::{PassphraseCost, Unlock};
use pool::layout::{SEGMENT_HEADER_LENGTH, SegmentLimits};
use pool::segment::FOOTER_TAIL_LENGTH;
use pool::{NewPoint, Options, Pool, PoolArchive, PoolError, Scope, World};
use tree::{ItemTree, Root};
use zeroize::Zeroizing;

fn world(disk: &SimDisk, seed: u64) -> World {
    World {
        disk: Arc::new(Poisoning::new(Arc::new(disk.clone()))),
        clock: Arc::new(SimClock::new(Time(1_700_000_000_000_000_000))),
        entropy: Arc::new(SimEntropy::new(seed)),
    }
}

fn key() -> Unlock {
    Unlock::KeyFile(Zeroizing::new([7; 32]))
}

fn options() -> Options {
    let cost = PassphraseCost { memory_kib: 32, passes: 1, lanes: 1 };
    let limits = SegmentLimits { data_bytes: 8 << 10, meta_bytes: 8 << 10 };
    Options { limits, cost, catalog_batch: 40, ..Options::default() }
}

fn create(disk: &SimDisk) -> Pool {
    Pool::create(world(disk, 1), &[key()], options()).unwrap()
}

fn open(disk: &SimDisk, seed: u64) -> Result<Pool, PoolError> {
    Pool::open(world(disk, seed), &key(), options())
}

fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

fn bundle(key: &NamingKey, chunks: &[Vec<u8>]) -> (Vec<Name>, VerifiedBundle) {
    let mut builder = VerifiedBuilder::new(BundleLimits::default());
    let names = chunks.iter().map(|bytes| builder.push(key, bytes).unwrap()).collect();
    let bundle = builder.finish(&mut Compressor::default(), &mut Decompressor::default(), Level::default());
    (names, bundle.unwrap())
}

/// Some chunks that differ by `number`, one of them shared by all numbers.
fn chunks(number: u64) -> Vec<Vec<u8>> {
    let mut random = Random::new(number + 1);
    let mut all = vec![b"shared by everybody".to_vec()];
    for length in [1, 100, 3000] {
        let mut bytes = vec![0; length + usize::try_from(number % 50).unwrap()];
        random.fill(&mut bytes);
        bytes.extend_from_slice(&number.to_le_bytes());
        all.push(bytes);
    }
    all
}

/// The items of a directory with a file for each chunk, in order.
fn files(names: &[Name], chunks: &[Vec<u8>]) -> Vec<(ItemKey, Item)> {
    let attributes = |kind| Attributes {
        kind,
        mode: 0o644,
        uid: 0,
        gid: 0,
        modified: Time(0),
        changed: Time(0),
        rdev: 0,
        target: Vec::new(),
        image: false,
    };
    let inode =
        |kind, size| Item::Inode(Inode { attributes: attributes(kind), size, stored: size, links: 1 });
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

/// A tree of any items.
fn tree(pool: &mut Pool, items: Vec<(ItemKey, Item)>) -> Root {
    let items = items.into_iter().map(|(key, item)| (key, Some(item)));
    ItemTree::default().apply(pool, &Root::EMPTY, items).unwrap().root
}

fn commit(pool: &mut Pool, source: &Source, number: u64, root: Root) {
    let point = NewPoint {
        source: source.id,
        sequence: SequenceNumber(number),
        started: Time(1),
        finished: Time(i64::try_from(number).unwrap() * 1_000_000_000),
        root,
        totals: Totals::default(),
        exceptions: Vec::new(),
        exceptions_count: 0,
    };
    pool.commit_point(point).unwrap();
}

/// Makes a point with a file for each chunk of a number, as a full backup does: what is known is not sent.
fn add_point(pool: &mut Pool, machine: &Machine, source: &Source, number: u64) {
    let naming = pool.shared().keys().naming(machine.domain);
    let names: Vec<Name> = chunks(number).iter().map(|bytes| naming.name(bytes)).collect();
    let known = pool.shared().known(machine.id, &names).unwrap();
    let all = chunks(number);
    let lacking: Vec<_> = all.iter().zip(known).filter(|(_, known)| !known).map(|(c, _)| c.clone()).collect();
    if !lacking.is_empty() {
        let (_, bundle) = bundle(&naming, &lacking);
        pool.put_bundle(machine.id, bundle).unwrap();
    }
    let root = tree(pool, files(&names, &all));
    commit(pool, source, number, root);
}

fn set_up(pool: &mut Pool) -> (Machine, Source) {
    let machine = pool.add_machine(&label("web1"), false).unwrap();
    let source = pool.add_source(machine.id, &label("home")).unwrap();
    (machine, source)
}

fn points(pool: &Pool, source: &Source) -> Vec<(PointKey, u64)> {
    let archive = PoolArchive::new(Arc::clone(pool.shared()), Scope::All);
    let points = archive.points(source.id).unwrap();
    points.into_iter().map(|point| (point.key(), point.sequence.0)).collect()
}

/// Whether a point reads back exactly; it was made of the chunks of `number`.
fn is_whole(pool: &Pool, point: PointKey, number: u64) -> bool {
    let archive = PoolArchive::new(Arc::clone(pool.shared()), Scope::All);
    let Ok(items) = archive.items(point, &[], &[0xff; 9], 100) else { return false };
    let extents = items.into_iter().filter_map(|(_, item)| match item {
        Item::Extent(Extent::Chunk { name, .. }) => Some(name),
        _ => None,
    });
    let names: Vec<Name> = extents.collect();
    let read = archive.chunks(point, &names).unwrap();
    let read: Result<Vec<_>, _> = read.into_iter().map(|bytes| bytes.map(|bytes| bytes.to_vec())).collect();
    read.is_ok_and(|read| read == chunks(number))
}

/// How many points of a source there are, all of them whole.
fn whole_points(pool: &Pool, source: &Source) -> usize {
    let points = points(pool, source);
    assert!(points.iter().all(|(key, number)| is_whole(pool, *key, *number)));
    points.len()
}

/// Segments of a kind, 0 for data and 1 for meta, with their bytes.
fn segments(disk: &SimDisk, kind: u8) -> Vec<(String, Vec<u8>)> {
    let of_kind = |(path, bytes): &(String, Vec<u8>)| path.starts_with("segments/") && bytes[10] == kind;
    disk.files().into_iter().filter(of_kind).collect()
}

fn is_sealed(bytes: &[u8]) -> bool {
    bytes[bytes.len() - FOOTER_TAIL_LENGTH..].starts_with(b"KFfooter")
}

/// A pool with points 1 to `count`, open.
fn filled(disk: &SimDisk, count: u64) -> (Pool, Machine, Source) {
    let mut pool = create(disk);
    let (machine, source) = set_up(&mut pool);
    (1..=count).for_each(|number| add_point(&mut pool, &machine, &source, number));
    (pool, machine, source)
}

fn damage(pool: &Pool) -> Vec<String> {
    let found = pool.shared().verify(None).unwrap();
    assert_eq!(found.damage.len() as u64, found.damage_count);
    found.damage
}

#[test]
fn verify_looks_at_the_drive_and_not_at_what_was_read_before() {
    let disk = SimDisk::new(1);
    let (pool, _, source) = filled(&disk, 1);
    let (point, _) = points(&pool, &source)[0];
    assert!(is_whole(&pool, point, 1) && damage(&pool).is_empty());
    assert_eq!(pool.shared().verify(Some(point)).unwrap().damage_count, 0);
    for (path, bytes) in segments(&disk, 0) {
        disk.overwrite(&path, 192, &vec![0; bytes.len() - 192]).unwrap();
    }
    let found = pool.shared().verify(Some(point)).unwrap();
    assert_eq!(found.damage_count, 4, "{found:?}");
    assert!(
        found.damage.iter().all(|line| line.contains("web1/home@") && line.contains(":file ")),
        "{found:?}"
    );
    assert!(damage(&pool).len() > 4, "the segment itself is said, too");
}

#[test]
fn verify_sees_that_the_header_of_a_segment_is_lost() {
    let disk = SimDisk::new(1);
    let (pool, ..) = filled(&disk, 1);
    assert_eq!(damage(&pool), Vec::<String>::new());
    let (path, bytes) = segments(&disk, 0).remove(0);
    assert!(!is_sealed(&bytes));
    disk.overwrite(&path, 0, &[0; SEGMENT_HEADER_LENGTH]).unwrap();
    let found = damage(&pool);
    assert!(found.iter().any(|line| line.contains("segment 2: header of segment 2")), "{found:?}");
    assert_eq!(found.iter().filter(|line| line.contains("web1/home@")).count(), 4, "{found:?}");
}

#[test]
fn a_sealed_segment_is_read_without_its_header() {
    let disk = SimDisk::new(1);
    let (pool, _, source) = filled(&disk, 30);
    assert_eq!(damage(&pool), Vec::<String>::new());
    assert!(segments(&disk, 1).iter().any(|(_, bytes)| is_sealed(bytes)), "of each kind");
    let mut count = 0;
    for (path, bytes) in [segments(&disk, 0), segments(&disk, 1)].concat() {
        if is_sealed(&bytes) {
            disk.overwrite(&path, 0, &[0; SEGMENT_HEADER_LENGTH]).unwrap();
            count += 1;
        }
    }
    assert!(count > 5, "{count} segments were sealed");
    let said = |pool: &Pool| {
        let found = damage(pool);
        assert!(found.iter().all(|line| line.contains("by the copy of its header")), "{found:?}");
        found.len()
    };
    assert_eq!((said(&pool), whole_points(&pool, &source)), (count, 30));
    drop(pool);
    let pool = open(&disk, 2).unwrap();
    assert_eq!((said(&pool), whole_points(&pool, &source)), (count, 30));
    drop(pool);
    disk.remove("catalog.redb").unwrap();
    let pool = open(&disk, 3).unwrap();
    assert_eq!((said(&pool), whole_points(&pool, &source)), (count, 30), "from the segments alone");
    assert_eq!(pool.shared().damage(), Vec::<String>::new());
}

#[test]
fn verify_sees_every_flip_in_a_sealed_segment() {
    let disk = SimDisk::new(1);
    let (pool, ..) = filled(&disk, 30);
    for kind in [0, 1] {
        let sealed = segments(&disk, kind).into_iter().find(|(_, bytes)| is_sealed(bytes));
        let (path, bytes) = sealed.unwrap();
        for at in (0..bytes.len() as u64).step_by(7) {
            let bit = at * 8 + at % 8;
            disk.flip(&path, bit).unwrap();
            let found = damage(&pool);
            assert!(!found.is_empty(), "bit {bit} of {path}, of {} bytes", bytes.len());
            disk.flip(&path, bit).unwrap();
        }
    }
    assert_eq!(damage(&pool), Vec::<String>::new());
}

#[test]
fn verify_goes_on_behind_a_frame_that_is_lost() {
    let disk = SimDisk::new(1);
    let (pool, ..) = filled(&disk, 30);
    let frames = pool.shared().verify(None).unwrap().frames;
    for is_to_be_sealed in [true, false] {
        let disk = disk.snapshot();
        let of_kind = |(_, bytes): &(String, Vec<u8>)| is_sealed(bytes) == is_to_be_sealed;
        let (path, _) = segments(&disk, 1).into_iter().find(of_kind).unwrap();
        disk.overwrite(&path, 192, &[0; 64]).unwrap();
        let pool = open(&disk, 2).unwrap();
        assert_eq!(pool.shared().verify(None).unwrap().frames, frames - 1, "sealed: {is_to_be_sealed}");
    }
}

/// What verify says of a point with these items, apart from where it is.
fn said_of(change: impl FnOnce(&[Name], &mut Vec<(ItemKey, Item)>)) -> Vec<String> {
    let disk = SimDisk::new(1);
    let mut pool = create(&disk);
    let (machine, source) = set_up(&mut pool);
    let naming = pool.shared().keys().naming(machine.domain);
    let (names, bundle) = bundle(&naming, &chunks(1));
    pool.put_bundle(machine.id, bundle).unwrap();
    let mut items = files(&names, &chunks(1));
    change(&names, &mut items);
    items.sort_by(|(a, _), (b, _)| a.cmp(b));
    let root = tree(&mut pool, items);
    commit(&mut pool, &source, 1, root);
    let found = damage(&pool);
    let (point, _) = points(&pool, &source)[0];
    assert_eq!(pool.shared().verify(Some(point)).unwrap().damage, found);
    let place = format!(
        "web1/home@{}:",
        PoolArchive::new(Arc::clone(pool.shared()), Scope::All).point(point).unwrap().id
    );
    found.iter().map(|line| line.replace(&place, "")).collect()
}

/// The item of file `object` that a test changes.
fn item_of(items: &mut [(ItemKey, Item)], key: ItemKey) -> &mut Item {
    items.iter_mut().find(|(found, _)| *found == key).map(|(_, item)| item).unwrap()
}

const FILE: ObjectId = ObjectId(3);
/// The length of its chunk.
const LENGTH: u32 = 10;

#[test]
fn a_tree_that_fits_together_is_no_damage() {
    assert_eq!(said_of(|_, _| {}), Vec::<String>::new());
    let split = said_of(|names, items| {
        let part = |skip, length| Item::Extent(Extent::Chunk { name: names[1], skip, length });
        *item_of(items, ItemKey::extent(FILE, 0)) = part(4, 6);
        items.push((ItemKey::extent(FILE, 6), Item::Extent(Extent::Hole { length: 3 })));
        items.push((ItemKey::extent(FILE, 9), part(0, 1)));
        let Item::Inode(inode) = item_of(items, ItemKey::inode(FILE)) else { panic!() };
        inode.stored = 7;
    });
    assert_eq!(split, Vec::<String>::new(), "parts of chunks, and a hole");
}

#[test]
fn verify_sees_content_that_a_chunk_does_not_have() {
    for (skip, length) in [(100, 500_000), (0, LENGTH + 1), (1, LENGTH), (LENGTH, 1)] {
        let found = said_of(|names, items| {
            *item_of(items, ItemKey::extent(FILE, 0)) =
                Item::Extent(Extent::Chunk { name: names[1], skip, length });
            let Item::Inode(inode) = item_of(items, ItemKey::inode(FILE)) else { panic!() };
            inode.size = u64::from(length);
        });
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with(&format!("file 3: it needs {} bytes of chunk", skip + length)),
            "{found:?}"
        );
    }
}

#[test]
fn verify_sees_content_that_has_gaps_or_overlaps_or_another_length() {
    let hole = |length| Item::Extent(Extent::Hole { length });
    let gap = said_of(|_, items| items.push((ItemKey::extent(FILE, 11), hole(1))));
    assert_eq!(gap, ["file 3: its content lacks bytes 10..11"]);
    let overlap = said_of(|_, items| items.push((ItemKey::extent(FILE, 8), hole(2))));
    assert_eq!(overlap, ["file 3: its content has bytes 8..10 twice"]);
    let long = said_of(|_, items| items.push((ItemKey::extent(FILE, 10), hole(2))));
    assert_eq!(long, ["file 3: its content ends at 12, its size is 10"]);
    let none = said_of(|_, items| items.retain(|(key, _)| *key != ItemKey::extent(FILE, 0)));
    assert_eq!(none, ["file 3: its content ends at 0, its size is 10"]);
    let last = said_of(|_, items| items.retain(|(key, _)| *key != ItemKey::extent(ObjectId(5), 0)));
    assert_eq!(last.len(), 1, "the last object of the tree as well: {last:?}");
    let holes = said_of(|_, items| {
        let Item::Inode(inode) = item_of(items, ItemKey::inode(FILE)) else { panic!() };
        inode.stored = 7;
    });
    assert_eq!(holes, ["file 3: 10 bytes of its content are in no hole, not 7"]);
}

#[test]
fn verify_sees_entries_and_objects_that_do_not_fit() {
    let entry = |object, kind| Item::Entry(object, kind);
    let key = |name: &str| ItemKey::entry(ObjectId::ROOT, EntryName::new(name.as_bytes()).unwrap());
    let astray = said_of(|_, items| items.push((key("astray"), entry(ObjectId(77), FileKind::File))));
    assert_eq!(astray, ["astray: it leads to nothing of its kind"]);
    let kind = said_of(|_, items| *item_of(items, key("file 4")) = entry(ObjectId(4), FileKind::Fifo));
    assert_eq!(kind, ["file 4: it leads to nothing of its kind"]);
    let lost = said_of(|_, items| items.retain(|(key, _)| *key != ItemKey::inode(FILE)));
    assert_eq!(lost, ["file 3: it leads to nothing of its kind", "file 3: it has no inode"]);
    let unnamed = said_of(|_, items| items.retain(|(found, _)| *found != key("file 3")));
    assert_eq!(unnamed.len(), 1, "{unnamed:?}");
    assert!(unnamed[0].ends_with("some object has more or fewer names than it should have"), "{unnamed:?}");
    let link = said_of(|_, items| items.push((key("link"), entry(FILE, FileKind::File))));
    assert_eq!(link.len(), 1, "a name that the inode does not count: {link:?}");
    let rootless = said_of(|_, items| items.retain(|(key, _)| *key != ItemKey::inode(ObjectId::ROOT)));
    assert!(rootless.iter().any(|line| line.ends_with("it has no root directory")), "{rootless:?}");
    let inside = said_of(|_, items| {
        let name = EntryName::new(b"inside").unwrap();
        items.push((ItemKey::entry(FILE, name), entry(ObjectId(4), FileKind::File)));
        let Item::Inode(inode) = item_of(items, ItemKey::inode(ObjectId(4))) else { panic!() };
        inode.links = 2;
    });
    assert_eq!(inside, ["file 3: it is no directory and has entries"]);
}

/// A disk of which some bytes of a file cannot be read.
struct BadSector {
    disk: SimDisk,
    path: String,
    bytes: std::ops::Range<u64>,
}

#[derive(Debug)]
struct BadFile {
    file: Arc<dyn File>,
    bytes: std::ops::Range<u64>,
}

impl Disk for BadSector {
    fn create(&self, path: &str) -> Result<Arc<dyn File>, DiskError> {
        self.disk.create(path)
    }
    fn open(&self, path: &str, access: Access) -> Result<Arc<dyn File>, DiskError> {
        let file = self.disk.open(path, access)?;
        let bytes = self.bytes.clone();
        Ok(if path == self.path { Arc::new(BadFile { file, bytes }) } else { file })
    }
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.disk.remove(path)
    }
    fn make_directory(&self, path: &str) -> Result<(), DiskError> {
        self.disk.make_directory(path)
    }
    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        self.disk.list(directory)
    }
    fn sync_directory(&self, directory: &str) -> Result<(), DiskError> {
        self.disk.sync_directory(directory)
    }
    fn lock(&self, path: &str) -> Result<Box<dyn Lock>, DiskError> {
        self.disk.lock(path)
    }
    fn space(&self) -> Result<Space, DiskError> {
        self.disk.space()
    }
}

impl File for BadFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        if offset < self.bytes.end && self.bytes.start < offset + buffer.len() as u64 {
            let cause = std::io::Error::from_raw_os_error(5);
            return Err(DiskError::failed(Operation::Read, "bad sector", cause));
        }
        self.file.read_at(offset, buffer)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write_at(offset, bytes)
    }
    fn sync_data(&self) -> Result<(), DiskError> {
        self.file.sync_data()
    }
    fn forget_cached(&self) -> Result<(), DiskError> {
        self.file.forget_cached()
    }
    fn length(&self) -> Result<u64, DiskError> {
        self.file.length()
    }
    fn set_length(&self, length: u64) -> Result<(), DiskError> {
        self.file.set_length(length)
    }
}

/// Opens the pool on a disk with a bad sector.
fn open_with_bad_sector(disk: &SimDisk, path: &str, bytes: std::ops::Range<u64>) -> Pool {
    let bad = BadSector { disk: disk.clone(), path: path.to_owned(), bytes };
    let world = World { disk: Arc::new(bad), ..world(disk, 2) };
    Pool::open(world, &key(), options()).unwrap()
}

#[test]
fn a_place_that_cannot_be_read_is_damage() {
    let disk = SimDisk::new(1);
    let (mut pool, ..) = filled(&disk, 6);
    pool.flush_catalog().unwrap();
    drop(pool);
    let (path, bytes) = segments(&disk, 0).remove(0);
    assert!(is_sealed(&bytes));
    let pool = open_with_bad_sector(&disk, &path, 512..1024);
    let found = damage(&pool);
    assert!(found.iter().any(|line| line.contains("segment 2 cannot be read at 192")), "{found:?}");
    assert!(found.iter().any(|line| line.contains("web1/home@") && line.contains(":file ")), "{found:?}");
    drop(pool);
    let pool = open_with_bad_sector(&disk, &path, 0..64);
    let found = damage(&pool);
    assert_eq!(found.len(), 1, "the header has a copy: {found:?}");
    drop(pool);
    let pool = open_with_bad_sector(&disk, &path, bytes.len() as u64 - 8..bytes.len() as u64);
    let found = damage(&pool);
    assert!(found.len() == 1 && found[0].starts_with("footer of segment 2: "), "{found:?}");
}

#[test]
fn verify_names_no_damage_while_the_drive_does_not_answer() {
    let disk = SimDisk::new(1);
    let (mut pool, ..) = filled(&disk, 3);
    pool.flush_catalog().unwrap();
    let (point, _) =
        points(&pool, &pool.shared().registry(|r| r.sources.values().next().cloned()).unwrap())[0];
    for under in ["segments/", "segments/0000000000000001", "segments/0000000000000002"] {
        for at in 0..60 {
            disk.fail(FaultPlan::lasting(Fault::Error, disk.reads() + at).on_reads().under(under));
            for wanted in [None, Some(point)] {
                match pool.shared().verify(wanted) {
                    Ok(found) => assert_eq!(found.damage, Vec::<String>::new(), "{under} {at}"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Io, "{error}"),
                }
            }
            disk.clear_faults();
            disk.fail(FaultPlan::once(Fault::Error, disk.reads() + at).on_reads().under(under));
            assert_eq!(damage(&pool), Vec::<String>::new(), "a single failure is no more than that");
            disk.clear_faults();
        }
        disk.fail(FaultPlan::lasting(Fault::Error, 0).on_reads().under(under));
        assert!(pool.shared().verify(None).is_err(), "{under}");
        disk.clear_faults();
    }
}

#[test]
fn a_catalog_that_cannot_be_read_for_once_is_no_damage_and_heals() {
    let disk = SimDisk::new(1);
    let (mut pool, _, source) = filled(&disk, 3);
    pool.flush_catalog().unwrap();
    drop(pool);
    let mut pool = open(&disk, 2).unwrap();
    disk.fail(FaultPlan::once(Fault::Error, 0).on_reads().under("catalog.redb"));
    for _ in 0..3 {
        let error = pool.shared().verify(None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(pool.is_failed());
    }
    pool.reopen().unwrap();
    assert_eq!((damage(&pool), whole_points(&pool, &source)), (Vec::new(), 3));
}

/// The first bit of the payload of every frame of a kind flips.
fn rot(disk: &SimDisk, segment_kind: u8, frame_kind: u8) {
    for (path, bytes) in segments(disk, segment_kind) {
        let is_frame = |at: &usize| bytes[*at..].starts_with(b"KFfr") && bytes[at + 5] == frame_kind;
        for at in (SEGMENT_HEADER_LENGTH..bytes.len()).step_by(64).filter(is_frame) {
            disk.flip(&path, (at as u64 + 64) * 8).unwrap();
        }
    }
}

const DATA: u8 = 1;
const PAGES: u8 = 2;

/// After a full backup of point 1 all points are whole, here and in whatever is opened from the drive later.
fn expect_healed(disk: &SimDisk, mut pool: Pool, machine: &Machine, source: &Source) {
    let before = points(&pool, source).len();
    add_point(&mut pool, machine, source, 1);
    assert_eq!(whole_points(&pool, source), before + 1);
    assert!(damage(&pool).iter().all(|line| !line.contains("web1/home@")));
    drop(pool);
    let mut pool = open(disk, 11).unwrap();
    assert_eq!(whole_points(&pool, source), before + 1, "after opening");
    pool.flush_catalog().unwrap();
    let dump = pool.shared().dump().unwrap();
    pool.rebuild_catalog().unwrap();
    assert_eq!(whole_points(&pool, source), before + 1, "after making the catalog anew");
    assert_eq!(pool.shared().dump().unwrap(), dump);
    drop(pool);
    disk.remove("catalog.redb").unwrap();
    assert_eq!(whole_points(&open(disk, 12).unwrap(), source), before + 1, "without a catalog");
}

#[test]
fn the_next_backup_stores_again_what_was_in_lost_segments() {
    let disk = SimDisk::new(1);
    let (pool, machine, source) = filled(&disk, 1);
    drop(pool);
    for (path, _) in segments(&disk, 0) {
        disk.remove(&path).unwrap();
    }
    let pool = open(&disk, 2).unwrap();
    assert!(!pool.shared().damage().is_empty());
    expect_healed(&disk, pool, &machine, &source);
}

#[test]
fn the_next_backup_stores_again_what_was_cut_off() {
    let disk = SimDisk::new(1);
    let (pool, machine, source) = filled(&disk, 1);
    drop(pool);
    let (path, bytes) = segments(&disk, 0).remove(0);
    let file = disk.open(&path, Access::ReadWrite).unwrap();
    file.set_length(bytes.len() as u64 - 64).unwrap();
    let pool = open(&disk, 2).unwrap();
    assert!(!pool.shared().damage().is_empty());
    expect_healed(&disk, pool, &machine, &source);
}

#[test]
fn the_next_backup_stores_again_what_verify_found_rotten() {
    for (segment_kind, frame_kind) in [(0, DATA), (1, PAGES)] {
        let disk = SimDisk::new(1);
        let (mut pool, machine, source) = filled(&disk, 1);
        pool.flush_catalog().unwrap();
        drop(pool);
        rot(&disk, segment_kind, frame_kind);
        let pool = open(&disk, 2).unwrap();
        assert_eq!(pool.shared().damage(), Vec::<String>::new(), "opening reads no frames of content");
        assert!(!damage(&pool).is_empty());
        expect_healed(&disk, pool, &machine, &source);
    }
}

#[test]
fn the_next_backup_stores_again_what_could_not_be_read() {
    for (segment_kind, frame_kind) in [(0, DATA), (1, PAGES)] {
        let disk = SimDisk::new(1);
        let (mut pool, machine, source) = filled(&disk, 1);
        pool.flush_catalog().unwrap();
        drop(pool);
        rot(&disk, segment_kind, frame_kind);
        let pool = open(&disk, 2).unwrap();
        let (point, number) = points(&pool, &source)[0];
        assert!(!is_whole(&pool, point, number));
        expect_healed(&disk, pool, &machine, &source);
    }
}

#[test]
fn a_single_failure_of_the_drive_makes_nothing_bad() {
    let disk = SimDisk::new(1);
    let (mut pool, machine, source) = filled(&disk, 1);
    pool.flush_catalog().unwrap();
    drop(pool);
    let pool = open(&disk, 2).unwrap();
    let (point, number) = points(&pool, &source)[0];
    let naming = pool.shared().keys().naming(machine.domain);
    let names: Vec<Name> = chunks(1).iter().map(|bytes| naming.name(bytes)).collect();
    disk.fail(FaultPlan::lasting(Fault::Error, 0).on_reads().under("segments/"));
    assert!(!is_whole(&pool, point, number));
    disk.clear_faults();
    assert_eq!(pool.shared().known(machine.id, &names).unwrap(), [true; 4]);
    assert!(is_whole(&pool, point, number));
}

#[test]
fn what_verify_finds_sound_again_counts_again() {
    let disk = SimDisk::new(1);
    let (pool, machine, _) = filled(&disk, 1);
    let naming = pool.shared().keys().naming(machine.domain);
    let names: Vec<Name> = chunks(1).iter().map(|bytes| naming.name(bytes)).collect();
    for lost in [192, 0] {
        let (path, bytes) = segments(&disk, 0).remove(0);
        disk.overwrite(&path, lost, &[0; 64]).unwrap();
        assert!(!damage(&pool).is_empty());
        assert_eq!(pool.shared().known(machine.id, &names).unwrap(), [false; 4]);
        disk.overwrite(&path, 0, &bytes).unwrap();
        assert_eq!(damage(&pool), Vec::<String>::new());
        assert_eq!(pool.shared().known(machine.id, &names).unwrap(), [true; 4]);
    }
}

#[test]
fn whoever_owned_a_lost_chunk_owns_the_one_that_another_machine_stored_again() {
    let disk = SimDisk::new(1);
    let (mut pool, first, source) = filled(&disk, 1);
    let bytes = pool.shared().status().unwrap().chunk_bytes;
    let second = pool.add_machine(&label("web2"), false).unwrap();
    rot(&disk, 0, DATA);
    assert!(!damage(&pool).is_empty());
    let (names, bundle) = bundle(&pool.shared().keys().naming(second.domain), &chunks(1));
    pool.put_bundle(second.id, bundle).unwrap();
    let known = |pool: &Pool| {
        [first.id, second.id].map(|machine| pool.shared().known(machine, &names).unwrap() == [true; 4])
    };
    assert_eq!(known(&pool), [true; 2]);
    pool.commit(Vec::new()).unwrap();
    pool.flush_catalog().unwrap();
    assert_eq!(pool.shared().status().unwrap().chunk_bytes, bytes, "each chunk counts once");
    pool.rebuild_catalog().unwrap();
    assert_eq!((known(&pool), whole_points(&pool, &source)), ([true; 2], 1));
    assert_eq!(pool.shared().status().unwrap().chunk_bytes, bytes);
}

//! What a pool makes of rot, bad sectors and full drives: everything that is intact restores, and the rest is said.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ops::Range;
use std::sync::{Arc, Mutex};

use chunk::{BundleLimits, Compressor, Decompressor, Level, NamingKey, VerifiedBuilder, VerifiedBundle};
use medium::sim::{Fault, FaultPlan, Random, SimClock, SimDisk, SimEntropy, Survival};
use medium::{Access, Disk, DiskError, File, Lock, Operation, Poisoning, Space};
use model::archive::Archive;
use model::item::{Extent, Item, ItemKey};
use model::record::{Label, Machine, Source, Totals};
use model::{ErrorKind, Name, ObjectId, SequenceNumber, Time};
use pool::header::PoolHeader;
use pool::keys::{PassphraseCost, Unlock};
use pool::layout::SegmentLimits;
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

/// Segments that are never full, and a catalog that is brought up to date only when it is told to.
fn options() -> Options {
    let cost = PassphraseCost { memory_kib: 32, passes: 1, lanes: 1 };
    Options { cost, catalog_batch: 100_000, ..Options::default() }
}

/// Segments that are soon full.
fn small() -> Options {
    Options { limits: SegmentLimits { data_bytes: 8 << 10, meta_bytes: 8 << 10 }, ..options() }
}

fn create(disk: &SimDisk, options: Options) -> (Pool, Machine, Source) {
    let mut pool = Pool::create(world(disk, 1), &[key()], options).unwrap();
    let machine = pool.add_machine(&Label::new("web1").unwrap(), false).unwrap();
    let source = pool.add_source(machine.id, &Label::new("home").unwrap()).unwrap();
    (pool, machine, source)
}

fn open(disk: &SimDisk, seed: u64) -> Result<Pool, PoolError> {
    Pool::open(world(disk, seed), &key(), options())
}

fn bundle(key: &NamingKey, chunks: &[Vec<u8>]) -> (Vec<Name>, VerifiedBundle) {
    let mut builder = VerifiedBuilder::new(BundleLimits::default());
    let names = chunks.iter().map(|bytes| builder.push(key, bytes).unwrap()).collect();
    let bundle = builder.finish(&mut Compressor::default(), &mut Decompressor::default(), Level::default());
    (names, bundle.unwrap())
}

/// Some chunks that differ by `number`, one of them shared by all numbers.
fn chunks(number: u64) -> Vec<Vec<u8>> {
    let mut noise = vec![0; 3000];
    Random::new(number + 1).fill(&mut noise);
    vec![b"shared by everybody".to_vec(), number.to_le_bytes().to_vec(), noise]
}

/// Makes a point whose tree names the chunks of a number.
fn add_point(pool: &mut Pool, machine: &Machine, source: &Source, number: u64) -> Result<(), PoolError> {
    let (names, bundle) = bundle(&pool.shared().keys().naming(machine.domain), &chunks(number));
    pool.put_bundle(machine.id, bundle)?;
    let items = names.iter().zip(1u64..).map(|(name, at)| {
        let extent = Extent::Chunk { name: *name, skip: 0, length: 1 };
        (ItemKey::extent(ObjectId(at), 0), Some(Item::Extent(extent)))
    });
    let applied = ItemTree::default().apply(pool, &Root::EMPTY, items).map_err(pool::archive::tree_error)?;
    let point = NewPoint {
        source: source.id,
        sequence: SequenceNumber(number),
        started: Time(1),
        finished: Time(i64::try_from(number).unwrap() * 1_000_000_000),
        root: applied.root,
        totals: Totals::default(),
        exceptions: Vec::new(),
        exceptions_count: 0,
    };
    pool.commit_point(point).map(drop)
}

/// The numbers of all points, oldest first, each of which reads back exactly.
fn read_points(pool: &Pool) -> Vec<u64> {
    let archive = PoolArchive::new(Arc::clone(pool.shared()), Scope::All);
    let mut numbers = Vec::new();
    for source in archive.sources().unwrap() {
        for point in archive.points(source.id).unwrap() {
            assert_eq!(archive.point(point.key()).unwrap().number, point.number);
            let items = archive.items(point.key(), &[], &[0xff; 9], 100).unwrap();
            let names: Vec<Name> = items
                .into_iter()
                .map(|(_, item)| match item {
                    Item::Extent(Extent::Chunk { name, .. }) => name,
                    other => panic!("{other:?}"),
                })
                .collect();
            let read = archive.chunks(point.key(), &names).unwrap();
            let read: Vec<Vec<u8>> = read.into_iter().map(|bytes| bytes.unwrap().to_vec()).collect();
            assert_eq!(read, chunks(point.sequence.0), "point {}", point.sequence);
            numbers.push(point.sequence.0);
        }
    }
    numbers
}

/// Paths and bytes of segments of a kind, by number: 0 data, 1 meta.
fn segments(disk: &SimDisk, kind: u8) -> Vec<(String, Vec<u8>)> {
    disk.files()
        .into_iter()
        .filter(|(path, bytes)| path.starts_with("segments/") && bytes[10] == kind)
        .collect()
}

/// Where frames start in the bytes of a segment, and their kinds: 1 data, 2 pages, 4 records, 5 index.
fn frames(bytes: &[u8]) -> Vec<(u64, u8)> {
    let starts = (192..bytes.len()).step_by(64).filter(|at| bytes[*at..].starts_with(b"KFfr"));
    starts.map(|at| (at as u64, bytes[at + 5])).collect()
}

/// Flips a bit in the payload of a frame, or in its header.
fn rot(disk: &SimDisk, path: &str, frame: u64, in_header: bool) {
    disk.flip(path, (frame + if in_header { 8 } else { 70 }) * 8).unwrap();
}

/// A drive on which some bytes of a file, whatever it is called later, cannot be read.
struct BadSectors {
    disk: SimDisk,
    path: Mutex<String>,
    bytes: Range<u64>,
}

/// A file with such bytes.
#[derive(Debug)]
struct BadFile {
    file: Arc<dyn File>,
    path: String,
    bytes: Range<u64>,
}

impl Disk for BadSectors {
    fn create(&self, path: &str) -> Result<Arc<dyn File>, DiskError> {
        self.disk.create(path)
    }

    fn open(&self, path: &str, access: Access) -> Result<Arc<dyn File>, DiskError> {
        let file = self.disk.open(path, access)?;
        let is_bad = path == *self.path.lock().unwrap();
        Ok(if is_bad {
            Arc::new(BadFile { file, path: path.into(), bytes: self.bytes.clone() })
        } else {
            file
        })
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.disk.rename(from, to)?;
        let mut path = self.path.lock().unwrap();
        if *path == from {
            *path = to.to_owned();
        }
        Ok(())
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
            let source = std::io::Error::from_raw_os_error(5);
            return Err(DiskError::failed(Operation::Read, self.path.clone(), source));
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

/// Opens a pool on a drive with bytes that cannot be read.
fn open_with_bad_sectors(disk: &SimDisk, path: &str, bytes: Range<u64>) -> Result<Pool, PoolError> {
    let bad = BadSectors { disk: disk.clone(), path: Mutex::new(path.to_owned()), bytes };
    let world = World { disk: Arc::new(Poisoning::new(Arc::new(bad))), ..world(disk, 9) };
    Pool::open(world, &key(), options())
}

/// Reads what there is of a kind of segment as if its medium never gave it back.
fn unreadable(path: &str) -> FaultPlan {
    FaultPlan::lasting(Fault::Error, 0).on_reads().under(path)
}

/// How many points read back whole; the others say that they do not.
fn whole_points(pool: &Pool) -> usize {
    let archive = PoolArchive::new(Arc::clone(pool.shared()), Scope::All);
    let sources = archive.sources().unwrap();
    let points = sources.iter().flat_map(|source| archive.points(source.id).unwrap());
    let is_whole = |point: &model::record::Point| {
        let Ok(items) = archive.items(point.key(), &[], &[0xff; 9], 100) else { return false };
        let name =
            |(_, item)| if let Item::Extent(Extent::Chunk { name, .. }) = item { Some(name) } else { None };
        let names: Vec<Name> = items.into_iter().filter_map(name).collect();
        let read = archive.chunks(point.key(), &names).unwrap();
        let pairs: Vec<_> = read.into_iter().zip(chunks(point.sequence.0)).collect();
        assert!(pairs.iter().all(|(read, expected)| read.as_ref().map_or(true, |read| **read == **expected)));
        pairs.len() == 3 && pairs.iter().all(|(read, _)| read.is_ok())
    };
    points.filter(is_whole).count()
}

/// Whether a line of damage has all of these words.
fn says(damage: &[String], words: &[&str]) -> bool {
    damage.iter().any(|line| words.iter().all(|word| line.contains(word)))
}

#[test]
fn a_rotten_mark_takes_nothing_with_it_when_a_later_segment_proves_its_commit() {
    for (in_header, lost) in [(false, false), (true, false), (false, true)] {
        let disk = SimDisk::new(1);
        let (mut pool, machine, source) = create(&disk, options());
        add_point(&mut pool, &machine, &source, 1).unwrap();
        pool.flush_catalog().unwrap();
        drop(pool);
        let (meta, bytes) = segments(&disk, 1).pop().unwrap();
        let mut pool = open(&disk, 2).unwrap();
        // The first of these is made of what the pool has: pages and chunks of the commit whose mark rots.
        for number in [1, 2, 3] {
            add_point(&mut pool, &machine, &source, number).unwrap();
        }
        pool.flush_catalog().unwrap();
        let (mark, _) = *frames(&bytes).last().unwrap();
        rot(&disk, &meta, mark, in_header);
        if lost {
            drop(pool);
            disk.remove("catalog.redb").unwrap();
            pool = open(&disk, 3).unwrap();
        } else {
            pool.rebuild_catalog().unwrap();
        }
        assert_eq!(read_points(&pool), [1, 1, 2, 3]);
        let damage = pool.shared().damage();
        assert!(
            says(&damage, &["mark of commit 3"]) && says(&damage, &["bytes", &mark.to_string()]),
            "{damage:?}"
        );
        add_point(&mut pool, &machine, &source, 4).unwrap();
        drop(pool);
        let pool = open(&disk, 4).unwrap();
        assert_eq!(read_points(&pool), [1, 1, 2, 3, 4]);
    }
}

#[test]
fn a_rebuild_keeps_the_last_commit_although_its_mark_rotted() {
    let disk = SimDisk::new(1);
    let (mut pool, machine, source) = create(&disk, options());
    for number in [1, 2] {
        add_point(&mut pool, &machine, &source, number).unwrap();
    }
    let (meta, bytes) = segments(&disk, 1).pop().unwrap();
    rot(&disk, &meta, frames(&bytes).last().unwrap().0, false);
    pool.rebuild_catalog().unwrap();
    assert_eq!(read_points(&pool), [1, 2]);
    add_point(&mut pool, &machine, &source, 3).unwrap();
    disk.remove("catalog.redb").unwrap();
    drop(pool);
    let pool = open(&disk, 2).unwrap();
    assert_eq!(read_points(&pool), [1, 2, 3]);
    assert!(says(&pool.shared().damage(), &["mark of commit 4"]));
}

#[test]
fn what_was_never_finished_behind_a_rotten_mark_does_not_appear() {
    let mut unfinished = 0;
    for survival in Survival::ALL {
        for at in 1.. {
            let disk = SimDisk::new(at);
            let (mut pool, machine, source) = create(&disk, options());
            add_point(&mut pool, &machine, &source, 1).unwrap();
            let (meta, bytes) = segments(&disk, 1).pop().unwrap();
            disk.fail(FaultPlan::lasting(Fault::Crash, disk.operations() + at));
            let finished = add_point(&mut pool, &machine, &source, 2).is_ok();
            drop(pool);
            let disk = disk.crash_with(survival, &mut Random::new(at));
            let mut pool = open(&disk, 2).unwrap();
            let next = read_points(&pool).len() as u64 + 1;
            unfinished += u64::from(next == 2);
            add_point(&mut pool, &machine, &source, next).unwrap();
            let before = read_points(&pool);
            drop(pool);
            rot(&disk, &meta, frames(&bytes).last().unwrap().0, false);
            disk.remove("catalog.redb").unwrap();
            let pool = open(&disk, 3).unwrap();
            assert_eq!(read_points(&pool), before, "{survival:?} at operation {at}");
            assert!(says(&pool.shared().damage(), &["mark of commit 3"]));
            if finished {
                break;
            }
        }
    }
    assert!(unfinished > 10, "{unfinished}");
}

#[test]
fn a_rotten_index_loses_no_chunk_and_gives_nobody_what_is_not_his() {
    for in_header in [false, true] {
        let disk = SimDisk::new(1);
        let (mut pool, machine, source) = create(&disk, options());
        for number in [1, 2, 3] {
            add_point(&mut pool, &machine, &source, number).unwrap();
        }
        let other = pool.add_machine(&Label::new("web2").unwrap(), false).unwrap();
        drop(pool);
        let (meta, bytes) = segments(&disk, 1).pop().unwrap();
        let (index, _) = *frames(&bytes).iter().find(|(_, kind)| *kind == 5).unwrap();
        rot(&disk, &meta, index, in_header);
        disk.remove("catalog.redb").unwrap();
        let pool = open(&disk, 2).unwrap();
        assert_eq!(read_points(&pool), [1, 2, 3]);
        let damage = pool.shared().damage();
        assert!(says(&damage, &["bytes", &index.to_string(), "damaged"]), "{damage:?}");
        assert!(says(&damage, &["their own tables"]), "{damage:?}");
        let (names, _) = bundle(&pool.shared().keys().naming(machine.domain), &chunks(1));
        assert_eq!(pool.shared().known(machine.id, &names).unwrap(), [true; 3]);
        assert_eq!(pool.shared().known(other.id, &names).unwrap(), [false; 3]);
    }
}

#[test]
fn rot_below_what_a_mark_covers_is_said_at_opening_and_behind_it_is_not() {
    let disk = SimDisk::new(1);
    let (mut pool, machine, source) = create(&disk, options());
    add_point(&mut pool, &machine, &source, 1).unwrap();
    let (meta, before) = segments(&disk, 1).pop().unwrap();
    add_point(&mut pool, &machine, &source, 2).unwrap();
    drop(pool);
    disk.remove("catalog.redb").unwrap();
    let pages: Vec<u64> = frames(&before).iter().filter(|(_, kind)| *kind == 2).map(|(at, _)| *at).collect();
    let rotten = disk.snapshot();
    rot(&rotten, &meta, pages[0], false);
    let damage = open(&rotten, 2).unwrap().shared().damage();
    assert!(says(&damage, &["segment 1", &pages[0].to_string(), "damaged"]), "{damage:?}");
    // The second commit loses its mark, which is what a crash in the midst of it leaves.
    let (_, bytes) = segments(&disk, 1).pop().unwrap();
    let behind = frames(&bytes);
    let behind: Vec<u64> =
        behind.into_iter().map(|(at, _)| at).filter(|at| *at >= before.len() as u64).collect();
    for frame in [behind[0], *behind.last().unwrap()] {
        rot(&disk, &meta, frame, false);
    }
    let pool = open(&disk, 3).unwrap();
    assert_eq!((read_points(&pool), pool.shared().damage()), (vec![1], Vec::new()));
}

#[test]
fn a_mark_that_comes_back_does_not_count_against_what_was_acknowledged_meanwhile() {
    let disk = SimDisk::new(1);
    let (mut pool, machine, source) = create(&disk, options());
    add_point(&mut pool, &machine, &source, 1).unwrap();
    drop(pool);
    let (meta, bytes) = segments(&disk, 1).pop().unwrap();
    // The drive says that the last frame never arrived: the other half of a mirror, a late write, a misread.
    let (mark, _) = *frames(&bytes).last().unwrap();
    let mark = usize::try_from(mark).unwrap();
    disk.overwrite(&meta, mark as u64, &vec![0; bytes.len() - mark]).unwrap();
    for (seed, number) in [(2, 7), (3, 8)] {
        let mut pool = open(&disk, seed).unwrap();
        add_point(&mut pool, &machine, &source, number).unwrap();
        assert_eq!(pool.shared().damage(), Vec::<String>::new());
    }
    disk.overwrite(&meta, mark as u64, &bytes[mark..]).unwrap();
    let pool = open(&disk.snapshot(), 4).unwrap();
    assert_eq!(read_points(&pool), [7, 8], "with the catalog");
    disk.remove("catalog.redb").unwrap();
    let pool = open(&disk, 5).unwrap();
    assert_eq!(read_points(&pool), [7, 8], "without it");
    let damage = pool.shared().damage();
    assert!(says(&damage, &["commit 3", "segment 1", "does not count"]), "{damage:?}");
}

#[test]
fn a_catalog_of_another_story_is_made_anew() {
    let disk = SimDisk::new(1);
    let (mut pool, machine, source) = create(&disk, options());
    add_point(&mut pool, &machine, &source, 1).unwrap();
    pool.flush_catalog().unwrap();
    drop(pool);
    let stale = disk.files()["catalog.redb"].clone();
    let (meta, bytes) = segments(&disk, 1).pop().unwrap();
    let (mark, _) = *frames(&bytes).last().unwrap();
    disk.overwrite(&meta, mark, &vec![0; bytes.len() - usize::try_from(mark).unwrap()]).unwrap();
    disk.remove("catalog.redb").unwrap();
    let mut pool = open(&disk, 2).unwrap();
    for number in [7, 8] {
        add_point(&mut pool, &machine, &source, number).unwrap();
    }
    drop(pool);
    disk.remove("catalog.redb").unwrap();
    disk.create("catalog.redb").unwrap().write_at(0, &stale).unwrap();
    let pool = open(&disk, 3).unwrap();
    assert_eq!(read_points(&pool), [7, 8]);
    assert!(says(&pool.shared().damage(), &["catalog", "made anew"]));
}

#[test]
fn a_catalog_is_made_anew_beside_the_old_one() {
    let disk = SimDisk::new(1);
    let (mut pool, machine, source) = create(&disk, options());
    for number in [1, 2] {
        add_point(&mut pool, &machine, &source, number).unwrap();
    }
    pool.flush_catalog().unwrap();
    let dump = pool.shared().dump().unwrap();
    drop(pool);
    let mut pool = open(&disk, 2).unwrap();
    let before = disk.files()["catalog.redb"].clone();
    disk.fail(FaultPlan::lasting(Fault::NoSpace, 0).under("catalog.redb.new"));
    assert!(pool.rebuild_catalog().is_err());
    assert_eq!(disk.files()["catalog.redb"], before, "a rebuild that failed has not touched it");
    assert_eq!(read_points(&pool), [1, 2], "and it still serves");
    disk.clear_faults();
    pool.reopen().unwrap();
    pool.rebuild_catalog().unwrap();
    assert_eq!((read_points(&pool), pool.shared().dump().unwrap()), (vec![1, 2], dump));
    assert!(disk.files().contains_key("catalog.redb.replaced"));
    // The power goes at every operation of a rebuild.
    for at in 1.. {
        let disk = disk.snapshot();
        let mut pool = open(&disk, 3).unwrap();
        disk.fail(FaultPlan::lasting(Fault::Crash, disk.operations() + at));
        let rebuilt = pool.rebuild_catalog().is_ok();
        drop(pool);
        let disk = disk.crash_with(Survival::Nothing, &mut Random::new(at));
        let pool = open(&disk, 4).unwrap();
        assert_eq!((read_points(&pool), pool.shared().damage()), (vec![1, 2], Vec::new()), "operation {at}");
        if rebuilt {
            break;
        }
    }
}

#[test]
fn one_copy_of_the_header_that_can_be_read_is_enough() {
    let disk = SimDisk::new(1);
    drop(create(&disk, options()));
    for path in ["header.0", "header.1", "header.2"] {
        disk.fail(unreadable(path));
        let refused = open(&disk, 2).err().map(|error| error.kind());
        assert_eq!(refused, (path == "header.2").then_some(ErrorKind::Io), "{path}");
    }
    let again = Pool::create(world(&disk, 3), &[key()], options());
    assert_eq!(again.err().unwrap().kind(), ErrorKind::Io, "what cannot be read may be a pool");
    disk.clear_faults();
    assert!(open(&disk, 4).is_ok());
}

#[test]
fn copies_of_the_header_that_were_not_renewed_are() {
    let disk = SimDisk::new(1);
    drop(create(&disk, options()));
    let (mut header, bad) = PoolHeader::load(&disk).unwrap();
    assert!(bad.is_empty());
    header.epoch += 1;
    for at in 1.. {
        let disk = disk.snapshot();
        disk.fail(FaultPlan::lasting(Fault::Crash, disk.operations() + at));
        let stored = header.store(&disk).is_ok();
        let mut random = Random::new(at);
        let disk = disk.crash_with(Survival::draw(&mut random), &mut random);
        drop(open(&disk, 2).unwrap());
        let epochs: Vec<u64> = ["header.0", "header.1", "header.2"]
            .map(|path| PoolHeader::decode(&disk.files()[path]).unwrap().epoch)
            .to_vec();
        assert!(epochs == [1; 3] || epochs == [2; 3], "operation {at}: {epochs:?}");
        if stored {
            break;
        }
    }
}

#[test]
fn a_catalog_that_cannot_be_read_is_set_aside_and_made_anew() {
    let disk = SimDisk::new(1);
    let (mut pool, machine, source) = create(&disk, options());
    for number in [1, 2, 3] {
        add_point(&mut pool, &machine, &source, number).unwrap();
    }
    pool.flush_catalog().unwrap();
    drop(pool);
    disk.fail(FaultPlan::once(Fault::Error, 0).on_reads().under("catalog.redb"));
    let pool = open(&disk, 2).unwrap();
    assert_eq!(
        (read_points(&pool), pool.shared().damage()),
        (vec![1, 2, 3], Vec::new()),
        "once is not enough"
    );
    drop(pool);
    for bytes in [0..1, 4096..4097, 0..1 << 40] {
        let mut pool = open_with_bad_sectors(&disk, "catalog.redb", bytes).unwrap();
        assert_eq!(read_points(&pool), [1, 2, 3]);
        let damage = pool.shared().damage();
        assert!(says(&damage, &["the catalog could not be read", "made anew"]), "{damage:?}");
        pool.flush_catalog().unwrap();
        let kept = disk.files().into_keys().filter(|path| path.contains(".damaged-"));
        assert_eq!(kept.count(), 1, "one is kept");
    }
}

#[test]
fn a_data_segment_that_cannot_be_read_takes_only_its_own_chunks_with_it() {
    let disk = SimDisk::new(1);
    let (mut pool, machine, source) = create(&disk, small());
    for number in 1..=30 {
        add_point(&mut pool, &machine, &source, number).unwrap();
    }
    drop(pool);
    disk.remove("catalog.redb").unwrap();
    let data = segments(&disk, 0);
    assert!(data.len() > 5);
    for (path, _) in &data[1..] {
        let disk = disk.snapshot();
        disk.fail(unreadable(path));
        let mut pool = open(&disk, 2).unwrap();
        let whole = whole_points(&pool);
        assert!((25..30).contains(&whole), "{whole} of 30 with {path}");
        let damage = pool.shared().damage();
        let number = u64::from_str_radix(&path[9..25], 16).unwrap();
        assert!(says(&damage, &[&format!("segment {number} cannot be read")]), "{damage:?}");
        add_point(&mut pool, &machine, &source, 31).unwrap();
        assert_eq!(whole_points(&pool), whole + 1);
    }
}

#[test]
fn a_meta_segment_that_cannot_be_read_leaves_the_commits_of_the_others() {
    let disk = SimDisk::new(1);
    let (mut pool, machine, source) = create(&disk, small());
    for number in 1..=30 {
        add_point(&mut pool, &machine, &source, number).unwrap();
    }
    drop(pool);
    disk.remove("catalog.redb").unwrap();
    let metas = segments(&disk, 1);
    assert!(metas.len() > 2);
    for (at, (path, _)) in metas.iter().enumerate() {
        let disk = disk.snapshot();
        disk.fail(unreadable(path));
        let pool = open(&disk, 2).unwrap();
        let damage = pool.shared().damage();
        assert!(!damage.is_empty(), "{path}");
        if at + 1 == metas.len() {
            assert!(says(&damage, &["cannot be read", "commits after", "may hold"]), "{damage:?}");
        }
        // Machine and source are in the first one.
        assert!(at == 0 || whole_points(&pool) > 0, "{path}: {damage:?}");
    }
}

#[test]
fn commits_that_can_be_read_again_are_not_lost_to_what_was_taken_meanwhile() {
    let disk = SimDisk::new(1);
    let (mut pool, machine, source) = create(&disk, small());
    for number in 1..=30 {
        add_point(&mut pool, &machine, &source, number).unwrap();
    }
    drop(pool);
    disk.remove("catalog.redb").unwrap();
    let (last, _) = segments(&disk, 1).pop().unwrap();
    disk.fail(unreadable(&last));
    let mut pool = open(&disk, 2).unwrap();
    let seen = read_points(&pool).len() as u64;
    assert!(seen > 10 && seen < 30, "{seen}");
    for number in [31, 32] {
        add_point(&mut pool, &machine, &source, number).unwrap();
        drop(pool);
        pool = open(&disk, number).unwrap();
    }
    let meanwhile: Vec<u64> = (1..=seen).chain([31, 32]).collect();
    assert_eq!(read_points(&pool), meanwhile);
    drop(pool);
    disk.clear_faults();
    disk.remove("catalog.redb").unwrap();
    let pool = open(&disk, 3).unwrap();
    // Two of them have numbers that others took.
    let expected: Vec<u64> = (1..=seen).chain([31, 32]).chain(seen + 3..=30).collect();
    assert_eq!(read_points(&pool), expected);
}

#[test]
fn a_bad_sector_of_a_meta_segment_takes_only_the_frames_on_it() {
    let disk = SimDisk::new(1);
    let (mut pool, machine, source) = create(&disk, options());
    for number in 1..=30 {
        add_point(&mut pool, &machine, &source, number).unwrap();
    }
    drop(pool);
    disk.remove("catalog.redb").unwrap();
    let (meta, bytes) = segments(&disk, 1).pop().unwrap();
    assert!(bytes.len() > 5 * 4096);
    let pool = open_with_bad_sectors(&disk, &meta, 8192..8193).unwrap();
    let damage = pool.shared().damage();
    assert!(says(&damage, &["segment 1", "cannot be read"]), "{damage:?}");
    assert!((20..30).contains(&whole_points(&pool)), "{} of 30", whole_points(&pool));
    let at = bytes.len() as u64 - 64;
    let disk = disk.snapshot();
    disk.remove("catalog.redb").unwrap();
    let pool = open_with_bad_sectors(&disk, &meta, at..at + 1).unwrap();
    let damage = pool.shared().damage();
    assert!(says(&damage, &["segment 1", "cannot be read", "commits after 31", "may hold"]), "{damage:?}");
    assert_eq!(whole_points(&pool), 29);
}

#[test]
fn an_opening_neither_reads_nor_syncs_what_the_catalog_covers() {
    let disk = SimDisk::new(1);
    let (mut pool, machine, source) = create(&disk, small());
    for number in 1..=30 {
        add_point(&mut pool, &machine, &source, number).unwrap();
    }
    pool.flush_catalog().unwrap();
    drop(pool);
    let newest = segments(&disk, 1).pop().unwrap().0;
    let covered: Vec<String> =
        disk.files().into_keys().filter(|path| path.starts_with("segments/") && *path != newest).collect();
    assert!(covered.len() > 10);
    covered.iter().for_each(|path| disk.fail(unreadable(path)));
    let before = disk.operations();
    let pool = open(&disk, 2).unwrap();
    assert_eq!(pool.shared().damage(), Vec::<String>::new());
    let number = |line: &String| line.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
    let log = disk.log();
    let touched: Vec<_> = log
        .iter()
        .filter(|line| number(line).is_none_or(|number| number > before))
        .filter(|line| covered.iter().any(|path| line.contains(path.as_str())))
        .collect();
    assert!(touched.is_empty(), "{touched:?}");
    disk.clear_faults();
    assert_eq!(read_points(&pool).len(), 30);
}

/// Bytes in use on a drive.
fn used(disk: &SimDisk) -> u64 {
    let space = disk.space().unwrap();
    space.capacity_bytes - space.available_bytes
}

#[test]
fn a_pool_on_a_full_drive_can_be_read_and_takes_data_again_when_there_is_room() {
    let disk = SimDisk::new(1);
    let (mut pool, machine, source) = create(&disk, options());
    let capacity = disk.space().unwrap().capacity_bytes;
    for number in 1..=5 {
        add_point(&mut pool, &machine, &source, number).unwrap();
    }
    // Killed, so that opening has something to bring into the catalog.
    drop(pool);
    let without_catalog = disk.snapshot();
    without_catalog.remove("catalog.redb").unwrap();
    let torn_catalog = disk.snapshot();
    torn_catalog.overwrite("catalog.redb", 0, &[0xff; 4096]).unwrap();
    let disks = [disk, without_catalog, torn_catalog];
    let each = |disk: &SimDisk| [(disk.snapshot(), false), (disk.snapshot(), true)];
    for (disk, by_fault) in disks.iter().flat_map(each) {
        if by_fault {
            disk.fail(FaultPlan::lasting(Fault::NoSpace, 0));
        } else {
            disk.set_capacity(used(&disk));
        }
        let mut pool = open(&disk, 2).unwrap();
        for _ in 0..3 {
            assert!(pool.shared().is_full() && pool.is_failed());
            assert_eq!(read_points(&pool), [1, 2, 3, 4, 5]);
            let error = add_point(&mut pool, &machine, &source, 6).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Full, "{error}");
            pool.reopen().unwrap();
        }
        disk.clear_faults();
        disk.set_capacity(capacity);
        pool.reopen().unwrap();
        assert!(!pool.shared().is_full() && !pool.is_failed());
        add_point(&mut pool, &machine, &source, 6).unwrap();
        drop(pool);
        assert_eq!(read_points(&open(&disk, 3).unwrap()), [1, 2, 3, 4, 5, 6]);
    }
}

#[test]
fn filling_a_drive_loses_nothing_and_trying_again_takes_no_more_of_it() {
    for options in [options(), small()] {
        let disk = SimDisk::new(1);
        let (mut pool, machine, source) = create(&disk, options);
        let capacity = disk.space().unwrap().capacity_bytes;
        disk.set_capacity(used(&disk) + (600 << 10));
        let filled = (1..).find(|n| add_point(&mut pool, &machine, &source, *n).is_err()).unwrap();
        let all: Vec<u64> = (1..filled).collect();
        assert!(all.len() > 50, "{}", all.len());
        assert_eq!(read_points(&pool), all, "before it is opened again");
        pool.reopen().unwrap();
        let before = used(&disk);
        for _ in 0..5 {
            let error = add_point(&mut pool, &machine, &source, filled).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Full, "{error}");
            pool.reopen().unwrap();
            assert_eq!(read_points(&pool), all);
            assert!(used(&disk) <= before, "{} of {before}", used(&disk));
        }
        drop(pool);
        let mut pool = open(&disk, 2).unwrap();
        assert_eq!(read_points(&pool), all, "in a new process");
        disk.set_capacity(capacity);
        pool.reopen().unwrap();
        add_point(&mut pool, &machine, &source, filled).unwrap();
        assert_eq!(read_points(&pool).len(), all.len() + 1);
        disk.remove("catalog.redb").unwrap();
        drop(pool);
        let pool = open(&disk, 3).unwrap();
        assert_eq!((read_points(&pool).len(), pool.shared().damage()), (all.len() + 1, Vec::new()));
    }
}

#[test]
fn points_can_be_read_after_the_catalog_found_no_room() {
    let disk = SimDisk::new(1);
    let (mut pool, machine, source) = create(&disk, options());
    add_point(&mut pool, &machine, &source, 1).unwrap();
    disk.fail(FaultPlan::lasting(Fault::NoSpace, disk.operations() + 1).under("catalog"));
    assert_eq!(pool.flush_catalog().unwrap_err().kind(), ErrorKind::Full);
    assert_eq!(read_points(&pool), [1], "at once");
    pool.reopen().unwrap();
    assert_eq!(read_points(&pool), [1]);
    disk.clear_faults();
    pool.reopen().unwrap();
    add_point(&mut pool, &machine, &source, 2).unwrap();
    pool.flush_catalog().unwrap();
    drop(pool);
    assert_eq!(read_points(&open(&disk, 2).unwrap()), [1, 2]);
}

#[test]
fn a_commit_counts_although_the_catalog_found_no_room() {
    let disk = SimDisk::new(1);
    let (mut pool, machine, source) = create(&disk, Options { catalog_batch: 1, ..options() });
    disk.fail(FaultPlan::lasting(Fault::NoSpace, disk.operations() + 1).under("catalog"));
    let mut made = 0;
    while add_point(&mut pool, &machine, &source, made + 1).is_ok() {
        made += 1;
    }
    let before = read_points(&pool);
    assert_eq!(before.len() as u64, made, "{before:?}");
    disk.clear_faults();
    pool.reopen().unwrap();
    assert_eq!(read_points(&pool), before);
}

#[test]
fn what_found_no_room_is_given_back_wherever_the_power_goes() {
    let mut given = 0;
    for at in 1.. {
        let disk = SimDisk::new(at);
        let (mut pool, machine, source) = create(&disk, small());
        for number in [1, 2, 3] {
            add_point(&mut pool, &machine, &source, number).unwrap();
        }
        // Room for the data, none for the mark.
        disk.fail(FaultPlan::lasting(Fault::NoSpace, disk.operations() + 5 + at % 3).under("segments/"));
        assert!(add_point(&mut pool, &machine, &source, 4).is_err());
        disk.clear_faults();
        let bytes =
            || segments(&disk, 0).iter().chain(&segments(&disk, 1)).map(|(_, b)| b.len()).sum::<usize>();
        let before = bytes();
        disk.fail(FaultPlan::lasting(Fault::Crash, disk.operations() + at));
        let finished = pool.reopen().is_ok() && disk.space().is_ok();
        given += u64::from(finished && bytes() < before);
        drop(pool);
        let mut random = Random::new(at);
        let disk = disk.crash_with(Survival::draw(&mut random), &mut random);
        let mut pool = open(&disk, 2).unwrap();
        assert_eq!(
            (read_points(&pool), pool.shared().damage()),
            (vec![1, 2, 3], Vec::new()),
            "operation {at}"
        );
        add_point(&mut pool, &machine, &source, 4).unwrap();
        drop(pool);
        disk.remove("catalog.redb").unwrap();
        assert_eq!(read_points(&open(&disk, 3).unwrap()), [1, 2, 3, 4], "operation {at}");
        if finished && at > 40 {
            break;
        }
    }
    assert!(given > 0);
}

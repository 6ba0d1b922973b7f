//! What a pool makes of rot, bad sectors and full drives: everything that is intact restores, and the rest is said.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use chunk::{BundleLimits, Compressor, Decompressor, Level, NamingKey, VerifiedBuilder, VerifiedBundle};
use medium::sim::{Fault, FaultPlan, Random, SimClock, SimDisk, SimEntropy, Survival};
use medium::{Disk, Poisoning};
use model::archive::Archive;
use model::item::{Extent, Item, ItemKey};
use model::record::{Label, Machine, Source, Totals};
use model::{Name, ObjectId, SequenceNumber, Time};
use pool::keys::{PassphraseCost, Unlock};
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

//! The life of a pool on a simulated drive: made, filled, closed, opened, damaged, rebuilt.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use chunk::{BundleLimits, Compressor, Decompressor, Level, NamingKey, VerifiedBuilder, VerifiedBundle};
use medium::sim::{Fault, FaultPlan, Random, SimClock, SimDisk, SimEntropy, Survival};
use medium::{Disk, Poisoning};
use model::archive::Archive;
use model::item::{Attributes, Extent, FileKind, Inode, Item, ItemKey};
use model::record::{Label, Machine, Source, Totals};
use model::{EntryName, ErrorKind, Name, ObjectId, SequenceNumber, Time};
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
fn files(names: &[Name], chunks: &[Vec<u8>]) -> Vec<(ItemKey, Option<Item>)> {
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
    items.into_iter().map(|(key, item)| (key, Some(item))).collect()
}

/// Makes a point whose tree names the chunks of a number.
fn add_point(pool: &mut Pool, machine: &Machine, source: &Source, number: u64) -> Result<(), PoolError> {
    let naming = pool.shared().keys().naming(machine.domain);
    let (names, bundle) = bundle(&naming, &chunks(number));
    pool.put_bundle(machine.id, bundle)?;
    let items = files(&names, &chunks(number));
    let applied = ItemTree::default().apply(pool, &Root::EMPTY, items).map_err(pool::archive::tree_error)?;
    pool.commit_point(NewPoint {
        source: source.id,
        sequence: SequenceNumber(number),
        started: Time(1),
        finished: Time(i64::try_from(number).unwrap() * 1_000_000_000),
        root: applied.root,
        totals: Totals::default(),
        exceptions: Vec::new(),
        exceptions_count: 0,
    })?;
    Ok(())
}

fn set_up(pool: &mut Pool) -> (Machine, Source) {
    let machine = pool.add_machine(&label("web1"), false).unwrap();
    let source = pool.add_source(machine.id, &label("home")).unwrap();
    (machine, source)
}

/// Every point reads back exactly; how many there are.
fn check_points(pool: &Pool) -> u64 {
    let archive = PoolArchive::new(Arc::clone(pool.shared()), Scope::All);
    let mut count = 0;
    for source in archive.sources().unwrap() {
        for point in archive.points(source.id).unwrap() {
            count += 1;
            assert_eq!(point.number, point.sequence.0, "points are in order");
            let items = archive.items(point.key(), &[], &[0xff; 9], 100).unwrap();
            let extents = items.into_iter().filter_map(|(_, item)| match item {
                Item::Extent(Extent::Chunk { name, .. }) => Some(name),
                _ => None,
            });
            let names: Vec<Name> = extents.collect();
            let read = archive.chunks(point.key(), &names).unwrap();
            let read: Vec<Vec<u8>> = read.into_iter().map(|bytes| bytes.unwrap().to_vec()).collect();
            assert_eq!(read, chunks(point.number));
        }
    }
    count
}

#[test]
fn points_survive_closing_and_the_loss_of_the_catalog() {
    let disk = SimDisk::new(1);
    let mut pool = create(&disk);
    let (machine, source) = set_up(&mut pool);
    for number in 1..=30 {
        add_point(&mut pool, &machine, &source, number).unwrap();
    }
    assert_eq!(check_points(&pool), 30);
    pool.flush_catalog().unwrap();
    let before = pool.shared().dump().unwrap();
    drop(pool);

    let pool = open(&disk, 2).unwrap();
    assert_eq!((check_points(&pool), pool.shared().damage()), (30, Vec::new()));
    assert_eq!(pool.shared().dump().unwrap(), before);
    drop(pool);

    disk.remove("catalog.redb").unwrap();
    let mut pool = open(&disk, 3).unwrap();
    assert_eq!(check_points(&pool), 30);
    assert_eq!(pool.shared().dump().unwrap(), before, "a rebuilt catalog is the same");
    pool.rebuild_catalog().unwrap();
    assert_eq!(pool.shared().dump().unwrap(), before);
    add_point(&mut pool, &machine, &source, 31).unwrap();
    assert_eq!(check_points(&pool), 31);
}

#[test]
fn a_wrong_key_and_a_second_process_are_refused_and_change_nothing() {
    let disk = SimDisk::new(1);
    drop(create(&disk));
    let before = disk.files();
    let wrong = Unlock::KeyFile(Zeroizing::new([8; 32]));
    let refused = Pool::open(world(&disk, 2), &wrong, options()).err().unwrap();
    assert!(matches!(refused, PoolError::WrongKey(_)), "{refused}");
    assert_eq!(disk.files(), before);
    assert!(matches!(Pool::create(world(&disk, 2), &[key()], options()).err(), Some(PoolError::Exists)));
    let first = open(&disk, 2).unwrap();
    assert_eq!(open(&disk, 3).err().unwrap().kind(), ErrorKind::Busy);
    drop(first);
    assert!(open(&disk, 4).is_ok());
    assert!(matches!(open(&SimDisk::new(2), 1).err(), Some(PoolError::NoPool)));
}

#[test]
fn a_pool_can_be_made_where_the_first_attempt_failed() {
    for at in 1..200 {
        let disk = SimDisk::new(at);
        disk.fail(FaultPlan::once(Fault::Error, at));
        let first = Pool::create(world(&disk, 1), &[key()], options());
        disk.clear_faults();
        let Err(_) = first else { return };
        let mut pool = match open(&disk, 2) {
            Err(PoolError::NoPool) => create(&disk),
            opened => opened.unwrap(),
        };
        let (machine, source) = set_up(&mut pool);
        add_point(&mut pool, &machine, &source, 1).unwrap();
        drop(pool);
        let disk = disk.crash_with(Survival::Nothing, &mut Random::new(at));
        assert_eq!(check_points(&open(&disk, 3).unwrap()), 1, "operation {at}");
    }
    panic!("making a pool never ends");
}

#[test]
fn no_pool_is_made_over_segments_without_a_header() {
    let disk = SimDisk::new(1);
    let mut pool = create(&disk);
    set_up(&mut pool);
    drop(pool);
    for path in ["header.0", "header.1", "header.2"] {
        disk.remove(path).unwrap();
    }
    let before = disk.files();
    assert!(matches!(Pool::create(world(&disk, 2), &[key()], options()), Err(PoolError::Exists)));
    assert_eq!(disk.files(), before);
}

#[test]
fn two_copies_of_the_header_can_be_lost() {
    let disk = SimDisk::new(1);
    drop(create(&disk));
    disk.remove("header.0").unwrap();
    disk.flip("header.1", 100).unwrap();
    drop(open(&disk, 2).unwrap());
    disk.remove("header.2").unwrap();
    assert!(open(&disk, 3).is_ok(), "the other copies were made anew");
    for path in ["header.0", "header.1", "header.2"] {
        if disk.files().contains_key(path) {
            disk.flip(path, 100).unwrap();
        }
    }
    assert!(matches!(open(&disk, 4).err(), Some(PoolError::HeaderDamaged)));
}

#[test]
fn a_machine_learns_nothing_of_the_chunks_of_others() {
    let disk = SimDisk::new(1);
    let mut pool = create(&disk);
    let (first, source) = set_up(&mut pool);
    add_point(&mut pool, &first, &source, 1).unwrap();
    let second = pool.add_machine(&label("web2"), false).unwrap();
    let (names, bundle) = bundle(&pool.shared().keys().naming(second.domain), &chunks(1));
    assert_eq!(pool.shared().known(first.id, &names).unwrap(), [true; 4]);
    assert_eq!(pool.shared().known(second.id, &names).unwrap(), [false; 4]);
    let size = |disk: &SimDisk| -> usize { disk.files().values().map(Vec::len).sum() };
    let before = size(&disk);
    pool.put_bundle(second.id, bundle).unwrap();
    pool.commit(Vec::new()).unwrap();
    assert_eq!(pool.shared().known(second.id, &names).unwrap(), [true; 4]);
    assert!(size(&disk) < before + 3000, "what is here already is not stored again");
    pool.flush_catalog().unwrap();
    disk.remove("catalog.redb").unwrap();
    drop(pool);
    let pool = open(&disk, 2).unwrap();
    assert_eq!(pool.shared().known(second.id, &names).unwrap(), [true; 4], "ownership is part of the truth");
    let scope = Scope::Machines([second.id].into());
    let archive = PoolArchive::new(Arc::clone(pool.shared()), scope);
    assert_eq!(archive.machines().unwrap().len(), 1);
    let point = model::archive::PointKey { source: source.id, number: 1 };
    assert_eq!(archive.point(point).unwrap_err().kind, ErrorKind::Missing);
    assert_eq!(archive.chunks(point, &names).unwrap_err().kind, ErrorKind::Missing);
}

#[test]
fn a_full_drive_is_told_and_forgotten_when_there_is_room() {
    let disk = SimDisk::new(1);
    let mut pool = create(&disk);
    let (machine, source) = set_up(&mut pool);
    add_point(&mut pool, &machine, &source, 1).unwrap();
    disk.fail(FaultPlan::lasting(Fault::NoSpace, disk.operations() + 1).under("segments"));
    let error = add_point(&mut pool, &machine, &source, 2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert!(matches!(add_point(&mut pool, &machine, &source, 2), Err(PoolError::Failed)));
    assert_eq!(check_points(&pool), 1, "what is there can be read");
    disk.clear_faults();
    pool.reopen().unwrap();
    add_point(&mut pool, &machine, &source, 2).unwrap();
    assert_eq!(check_points(&pool), 2);
}

/// Makes points until the power goes at an operation, comes back and checks; whether all four were made before.
fn crash_at(options: &Options, seed: u64, survival: Survival, at: u64) -> bool {
    let disk = SimDisk::new(seed);
    let mut pool = Pool::create(world(&disk, 1), &[key()], options.clone()).unwrap();
    let (machine, source) = set_up(&mut pool);
    disk.fail(FaultPlan::lasting(Fault::Crash, disk.operations() + at));
    let made = (1..=4).take_while(|n| add_point(&mut pool, &machine, &source, *n).is_ok());
    let acknowledged = made.count() as u64;
    drop(pool);
    let mut random = Random::new(seed * 1000 + at);
    let disk = disk.crash_with(survival, &mut random);
    let mut pool = Pool::open(world(&disk, 99), &key(), options.clone()).unwrap();
    let found = check_points(&pool);
    assert!(found == acknowledged || found == acknowledged + 1, "{survival:?} {at}: {found} {acknowledged}");
    assert_eq!(pool.shared().damage(), Vec::<String>::new(), "{survival:?} at {at}");
    add_point(&mut pool, &machine, &source, found + 1).unwrap();
    assert_eq!(check_points(&pool), found + 1);
    acknowledged == 4
}

#[test]
fn what_a_failed_sync_lost_is_not_believed() {
    let mut failures = 0;
    for at in 1.. {
        let disk = SimDisk::new(at);
        let mut pool = create(&disk);
        let (machine, source) = set_up(&mut pool);
        add_point(&mut pool, &machine, &source, 1).unwrap();
        let start = disk.operations();
        disk.fail(FaultPlan::once(Fault::Error, start + at).under("segments/"));
        let made = add_point(&mut pool, &machine, &source, 2);
        if made.is_ok() && disk.operations() < start + at {
            break;
        }
        failures += u32::from(made.is_err());
        pool.reopen().unwrap();
        let found = check_points(&pool);
        add_point(&mut pool, &machine, &source, found + 1).unwrap();
        drop(pool);
        let pool = open(&disk.crash_with(Survival::Nothing, &mut Random::new(at)), 9).unwrap();
        assert_eq!((check_points(&pool), pool.shared().damage()), (found + 1, Vec::new()), "operation {at}");
    }
    assert!(failures > 5, "{failures} operations failed");
}

#[test]
fn what_another_machine_has_stored_can_be_named_at_once() {
    let disk = SimDisk::new(1);
    let mut pool = create(&disk);
    let (first, source) = set_up(&mut pool);
    add_point(&mut pool, &first, &source, 1).unwrap();
    let second = pool.add_machine(&label("web2"), false).unwrap();
    let (names, bundle) = bundle(&pool.shared().keys().naming(second.domain), &chunks(1));
    pool.put_bundle(second.id, bundle).unwrap();
    assert_eq!(pool.shared().known(second.id, &names).unwrap(), [true; 4], "although nothing was stored");
    pool.flush_catalog().unwrap();
    pool.commit(Vec::new()).unwrap();
    pool.flush_catalog().unwrap();
    let before = pool.shared().dump().unwrap();
    assert_eq!(before.adopted.len(), names.len(), "a commit of nothing but owners reaches the catalog");
    pool.rebuild_catalog().unwrap();
    assert_eq!(pool.shared().dump().unwrap(), before);
}

#[test]
fn a_failed_sync_of_a_directory_ends_when_the_pool_is_opened_again_in_place() {
    let disk = SimDisk::new(1);
    let mut pool = create(&disk);
    let (machine, source) = set_up(&mut pool);
    for number in 1..=12 {
        disk.fail(FaultPlan::once(Fault::Error, disk.operations() + number).under("segments"));
        let next = check_points(&pool) + 1;
        let made = add_point(&mut pool, &machine, &source, next);
        disk.clear_faults();
        if made.is_err() {
            pool.reopen().unwrap();
            let next = check_points(&pool) + 1;
            add_point(&mut pool, &machine, &source, next).unwrap();
        }
    }
    let count = check_points(&pool);
    drop(pool);
    let disk = disk.crash_with(Survival::Nothing, &mut Random::new(1));
    assert_eq!(check_points(&open(&disk, 2).unwrap()), count);
}

/// Points one after the other, each brought into the catalog at once.
fn add_flushed_points(
    pool: &mut Pool,
    machine: &Machine,
    source: &Source,
    count: u64,
) -> Result<(), PoolError> {
    (1..=count).try_for_each(|number| {
        add_point(pool, machine, source, number)?;
        pool.flush_catalog()
    })
}

#[test]
fn the_length_of_the_catalog_that_a_failed_sync_lost_is_not_believed() {
    for at in 1..1000 {
        let disk = SimDisk::new(at);
        let mut pool = create(&disk);
        let (machine, source) = set_up(&mut pool);
        // Closing the catalog makes it as short as it can be, so that it has to grow.
        (0..4).for_each(|_| pool.reopen().unwrap());
        let start = disk.operations();
        disk.fail(FaultPlan::once(Fault::Error, start + at).under("catalog"));
        let made = add_flushed_points(&mut pool, &machine, &source, 8);
        if made.is_ok() && disk.operations() < start + at {
            return;
        }
        disk.clear_faults();
        pool.reopen().unwrap();
        let disk = disk.crash_with(Survival::Nothing, &mut Random::new(at));
        drop(pool);
        assert_eq!(open(&disk, 9).unwrap().shared().damage(), Vec::<String>::new(), "operation {at}");
    }
    panic!("the workload never ends");
}

#[test]
fn a_rebuild_that_fails_can_be_made_up_for() {
    let disk = SimDisk::new(1);
    let mut pool = create(&disk);
    let (machine, source) = set_up(&mut pool);
    add_point(&mut pool, &machine, &source, 1).unwrap();
    disk.fail(FaultPlan::lasting(Fault::Error, disk.operations() + 1).under("catalog"));
    assert!(pool.rebuild_catalog().is_err() && pool.is_failed());
    disk.clear_faults();
    pool.reopen().unwrap();
    add_point(&mut pool, &machine, &source, 2).unwrap();
    assert_eq!(check_points(&pool), 2);
}

#[test]
fn acknowledged_points_survive_a_crash_at_every_operation() {
    for seed in 1..=12 {
        for survival in Survival::ALL {
            let finished = |at: &u64| crash_at(&options(), seed, survival, *at);
            assert!((1..10_000).any(|at| finished(&at)), "the workload never ends");
        }
    }
}

#[test]
fn a_flip_anywhere_is_found_or_harmless() {
    let disk = SimDisk::new(1);
    let mut pool = create(&disk);
    let (machine, source) = set_up(&mut pool);
    for number in 1..=6 {
        add_point(&mut pool, &machine, &source, number).unwrap();
    }
    drop(pool);
    let mut random = Random::new(5);
    for round in 0..1500 {
        let disk = disk.snapshot();
        let files: Vec<_> = disk.files().into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
        let (path, bytes) = &files[random.index(files.len())];
        let bit = random.below(bytes.len() as u64 * 8);
        disk.flip(path, bit).unwrap();
        let Ok(pool) = open(&disk, round) else { continue };
        let whole = read_all_or_errors(&pool, &format!("bit {bit} of {path}"));
        let told = !pool.shared().damage().is_empty();
        assert!(whole || told || path.starts_with("segments/"), "bit {bit} of {path} is silent");
    }
}

/// Reads whatever can be read and compares it; whether all six points were there whole.
fn read_all_or_errors(pool: &Pool, context: &str) -> bool {
    let archive = PoolArchive::new(Arc::clone(pool.shared()), Scope::All);
    let mut whole = 0;
    for source in archive.sources().unwrap() {
        let Ok(points) = archive.points(source.id) else { continue };
        for point in points {
            let Ok(items) = archive.items(point.key(), &[], &[0xff; 9], 100) else { continue };
            let extents = items.into_iter().filter_map(|(_, item)| match item {
                Item::Extent(Extent::Chunk { name, .. }) => Some(name),
                _ => None,
            });
            let names: Vec<Name> = extents.collect();
            let expected = chunks(point.number);
            assert_eq!(names.len(), expected.len(), "{context}");
            let read = archive.chunks(point.key(), &names).unwrap();
            whole += u64::from(read.iter().all(Result::is_ok));
            for (bytes, expected) in read.into_iter().zip(expected) {
                if let Ok(bytes) = bytes {
                    assert_eq!(&*bytes, expected.as_slice(), "{context}");
                }
            }
        }
    }
    whole == 6
}

#[cfg(feature = "planted-bugs")]
mod planted {
    //! The checks above find the faults that they are there for.

    use std::collections::BTreeMap;
    use std::panic::catch_unwind;
    use std::sync::Mutex;

    use chunk::{Commitment, FrameNumber, NonceAudit};
    use pool::planted::{Bug, Planted};

    use super::*;

    fn with(bug: Bug) -> Options {
        Options { planted: Planted::new(bug), ..options() }
    }

    /// Whether a crash somewhere shows the fault.
    fn is_found(bug: Bug) -> bool {
        (1..=3).any(|seed| {
            Survival::ALL.into_iter().any(|survival| {
                (1..200).any(|at| catch_unwind(|| crash_at(&with(bug), seed, survival, at)).is_err())
            })
        })
    }

    #[test]
    fn a_file_that_is_not_synced_is_found() {
        assert!(is_found(Bug::SkipFileSync));
    }

    #[test]
    fn a_directory_that_is_not_synced_is_found() {
        assert!(is_found(Bug::SkipDirectorySync));
    }

    #[test]
    fn an_early_acknowledgement_is_found() {
        assert!(is_found(Bug::AcknowledgeEarly));
    }

    /// A sync fails once, the change is asked for again, and the power goes right after it was acknowledged.
    fn retry(options: &Options, seed: u64, at: u64) {
        let disk = SimDisk::new(seed);
        let world = || World { disk: Arc::new(disk.clone()), ..world(&disk, 1) };
        let mut pool = Pool::create(world(), &[key()], options.clone()).unwrap();
        let (machine, source) = set_up(&mut pool);
        disk.fail(FaultPlan::once(Fault::Error, disk.operations() + at).under("segments"));
        if add_point(&mut pool, &machine, &source, 1).is_ok() {
            return;
        }
        disk.clear_faults();
        if pool.is_failed() {
            pool.reopen().unwrap();
        }
        let number = check_points(&pool) + 1;
        let acknowledged = add_point(&mut pool, &machine, &source, number).map(|()| number).unwrap_or(0);
        drop(pool);
        let disk = disk.crash_with(Survival::Nothing, &mut Random::new(seed));
        let pool = open(&disk, 9).unwrap();
        assert!(check_points(&pool) >= acknowledged);
        assert_eq!(pool.shared().damage(), Vec::<String>::new());
    }

    #[test]
    fn a_sync_that_is_tried_again_is_found() {
        let points = || (1..=30u64).flat_map(|seed| (1..30u64).map(move |at| (seed, at)));
        assert!(points().any(|(seed, at)| catch_unwind(|| retry(&with(Bug::RetrySync), seed, at)).is_err()));
        for (seed, at) in points() {
            retry(&options(), seed, at);
        }
    }

    /// Remembers what every nonce was used for.
    #[derive(Default)]
    struct Uses {
        seen: Mutex<BTreeMap<(Commitment, FrameNumber), [u8; 32]>>,
        repeated: Mutex<bool>,
    }

    impl NonceAudit for Uses {
        fn sealing(&self, commitment: &Commitment, number: FrameNumber, text: &[u8; 32]) {
            let before = self.seen.lock().unwrap().insert((*commitment, number), *text);
            if before.is_some_and(|before| before != *text) {
                *self.repeated.lock().unwrap() = true;
            }
        }
    }

    #[test]
    fn a_nonce_that_is_used_twice_is_found() {
        for planted in [false, true] {
            chunk::planted::repeat_frame_numbers(planted);
            let uses = Arc::new(Uses::default());
            let audit: Arc<dyn NonceAudit> = Arc::clone(&uses) as Arc<dyn NonceAudit>;
            let options = Options { audit: Some(audit), ..options() };
            let mut pool = Pool::create(world(&SimDisk::new(1), 1), &[key()], options).unwrap();
            let (machine, source) = set_up(&mut pool);
            for number in 1..=3 {
                add_point(&mut pool, &machine, &source, number).unwrap();
            }
            assert_eq!(*uses.repeated.lock().unwrap(), planted);
        }
        chunk::planted::repeat_frame_numbers(false);
    }
}

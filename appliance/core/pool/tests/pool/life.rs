//! The life of a pool on a simulated drive: made, filled, closed, opened, damaged, rebuilt.

use std::sync::Arc;

use medium::Disk;
use medium::sim::{Fault, FaultPlan, Random, SimDisk, Survival};
use model::archive::{Archive, PointKey};
use model::record::Point;
use model::{ErrorKind, SegmentNumber, SourceId};
use pool::keys::Unlock;
use pool::layout::{segment_number, segment_path};
use pool::{Options, Pool, PoolArchive, PoolError, Scope};
use zeroize::Zeroizing;

use crate::world::{
    FILES, Home, archive, bundle, chunks, create, filled, is_whole, key, label, listed_points, open,
    open_without_catalog, options, points, read_points, world_of,
};

/// Every point reads back exactly, and its number is that of its turn; how many there are.
fn check_points(pool: &Pool) -> u64 {
    check_order(&points(pool));
    read_points(pool).len() as u64
}

/// No point took the number of another.
fn check_order(points: &[Point]) {
    for point in points {
        assert_eq!(point.number, point.sequence.0, "points are in order");
    }
}

#[test]
fn points_survive_closing_and_the_loss_of_the_catalog() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, options(), 30);
    assert_eq!(check_points(&pool), 30);
    pool.flush_catalog().unwrap();
    let before = pool.shared().dump().unwrap();
    drop(pool);

    let pool = open(&disk, 2, options()).unwrap();
    assert_eq!((check_points(&pool), pool.shared().damage()), (30, Vec::new()));
    assert_eq!(pool.shared().dump().unwrap(), before);
    drop(pool);

    let mut pool = open_without_catalog(&disk, 3, options());
    assert_eq!(check_points(&pool), 30);
    assert_eq!(pool.shared().dump().unwrap(), before, "a rebuilt catalog is the same");
    pool.rebuild_catalog().unwrap();
    assert_eq!(pool.shared().dump().unwrap(), before);
    home.add_point(&mut pool, 31).unwrap();
    assert_eq!(check_points(&pool), 31);
}

#[test]
fn a_wrong_key_and_a_second_process_are_refused_and_change_nothing() {
    let disk = SimDisk::new(1);
    drop(create(&disk, options()));
    let before = disk.files();
    let wrong = Unlock::KeyFile(Zeroizing::new([8; 32]));
    let refused = Pool::open(world_of(disk.clone(), 2), &wrong, options()).err().unwrap();
    assert!(matches!(refused, PoolError::WrongKey(_)), "{refused}");
    assert_eq!(disk.files(), before);
    assert!(matches!(
        Pool::create(world_of(disk.clone(), 2), &[key()], options()).err(),
        Some(PoolError::Exists)
    ));
    let first = open(&disk, 2, options()).unwrap();
    assert_eq!(open(&disk, 3, options()).err().unwrap().kind(), ErrorKind::Busy);
    drop(first);
    assert!(open(&disk, 4, options()).is_ok());
    assert!(matches!(open(&SimDisk::new(2), 1, options()).err(), Some(PoolError::NoPool)));
}

#[test]
fn a_pool_can_be_made_where_the_first_attempt_failed() {
    for at in 1..200 {
        let disk = SimDisk::new(at);
        disk.fail(FaultPlan::once(Fault::Error, at));
        let first = Pool::create(world_of(disk.clone(), 1), &[key()], options());
        disk.clear_faults();
        let Err(_) = first else { return };
        let (mut pool, home) = match open(&disk, 2, options()) {
            Err(PoolError::NoPool) => create(&disk, options()),
            opened => {
                let mut pool = opened.unwrap();
                let home = Home::add(&mut pool);
                (pool, home)
            }
        };
        home.add_point(&mut pool, 1).unwrap();
        drop(pool);
        let disk = disk.crash_with(Survival::Nothing, &mut Random::new(at));
        assert_eq!(check_points(&open(&disk, 3, options()).unwrap()), 1, "operation {at}");
    }
    panic!("making a pool never ends");
}

#[test]
fn no_pool_is_made_over_segments_without_a_header() {
    let disk = SimDisk::new(1);
    drop(create(&disk, options()));
    for path in ["header.0", "header.1", "header.2"] {
        disk.remove(path).unwrap();
    }
    let before = disk.files();
    assert!(matches!(Pool::create(world_of(disk.clone(), 2), &[key()], options()), Err(PoolError::Exists)));
    assert_eq!(disk.files(), before);
}

#[test]
fn two_copies_of_the_header_can_be_lost() {
    let disk = SimDisk::new(1);
    drop(create(&disk, options()));
    disk.remove("header.0").unwrap();
    disk.flip("header.1", 100).unwrap();
    drop(open(&disk, 2, options()).unwrap());
    disk.remove("header.2").unwrap();
    assert!(open(&disk, 3, options()).is_ok(), "the other copies were made anew");
    for path in ["header.0", "header.1", "header.2"] {
        if disk.files().contains_key(path) {
            disk.flip(path, 100).unwrap();
        }
    }
    assert!(matches!(open(&disk, 4, options()).err(), Some(PoolError::HeaderDamaged)));
}

#[test]
fn a_machine_learns_nothing_of_the_chunks_of_others() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, options(), 1);
    let second = pool.add_machine(&label("web2"), false).unwrap();
    let (names, bundle) = bundle(&pool.shared().keys().naming(second.domain), chunks(1));
    assert_eq!(pool.shared().known(home.machine.id, &names).unwrap(), [true; FILES]);
    assert_eq!(pool.shared().known(second.id, &names).unwrap(), [false; FILES]);
    let size = |disk: &SimDisk| -> usize { disk.files().values().map(Vec::len).sum() };
    let before = size(&disk);
    pool.put(second.id, SourceId(2), bundle).unwrap();
    pool.commit(Vec::new()).unwrap();
    assert_eq!(pool.shared().known(second.id, &names).unwrap(), [true; FILES]);
    assert!(size(&disk) < before + 3000, "what is here already is not stored again");
    pool.flush_catalog().unwrap();
    drop(pool);
    let pool = open_without_catalog(&disk, 2, options());
    assert_eq!(
        pool.shared().known(second.id, &names).unwrap(),
        [true; FILES],
        "ownership is part of the truth"
    );
    let scope = Scope::Machines([second.id].into());
    let archive = PoolArchive::new(Arc::clone(pool.shared()), scope, Arc::default());
    assert_eq!(archive.machines().unwrap().len(), 1);
    let point = PointKey { source: home.source.id, number: 1 };
    assert_eq!(archive.point(point).unwrap_err().kind, ErrorKind::Missing);
    assert_eq!(archive.chunks(point, &names).unwrap_err().kind, ErrorKind::Missing);
}

#[test]
fn a_full_drive_is_told_and_forgotten_when_there_is_room() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, options(), 1);
    disk.fail(FaultPlan::lasting(Fault::NoSpace, disk.operations() + 1).under("segments"));
    let error = home.add_point(&mut pool, 2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert!(matches!(home.add_point(&mut pool, 2), Err(PoolError::Failed)));
    assert_eq!(check_points(&pool), 1, "what is there can be read");
    disk.clear_faults();
    pool.reopen().unwrap();
    home.add_point(&mut pool, 2).unwrap();
    assert_eq!(check_points(&pool), 2);
}

/// Makes points until the power goes at an operation, comes back and checks; whether all four were made before.
fn crash_at(options: &Options, seed: u64, survival: Survival, at: u64) -> bool {
    let disk = SimDisk::new(seed);
    let (mut pool, home) = create(&disk, options.clone());
    disk.fail(FaultPlan::lasting(Fault::Crash, disk.operations() + at));
    let made = (1..=4).take_while(|n| home.add_point(&mut pool, *n).is_ok());
    let acknowledged = made.count() as u64;
    drop(pool);
    let mut random = Random::new(seed * 1000 + at);
    let disk = disk.crash_with(survival, &mut random);
    let mut pool = open(&disk, 99, options.clone()).unwrap();
    let found = check_points(&pool);
    assert!(found == acknowledged || found == acknowledged + 1, "{survival:?} {at}: {found} {acknowledged}");
    assert_eq!(pool.shared().damage(), Vec::<String>::new(), "{survival:?} at {at}");
    home.add_point(&mut pool, found + 1).unwrap();
    assert_eq!(check_points(&pool), found + 1);
    acknowledged == 4
}

#[test]
fn what_a_failed_sync_lost_is_not_believed() {
    let mut failures = 0;
    for at in 1.. {
        let disk = SimDisk::new(at);
        let (mut pool, home) = filled(&disk, options(), 1);
        let start = disk.operations();
        disk.fail(FaultPlan::once(Fault::Error, start + at).under("segments/"));
        let made = home.add_point(&mut pool, 2);
        if made.is_ok() && disk.operations() < start + at {
            break;
        }
        failures += u32::from(made.is_err());
        pool.reopen().unwrap();
        let found = check_points(&pool);
        home.add_point(&mut pool, found + 1).unwrap();
        drop(pool);
        let pool = open(&disk.crash_with(Survival::Nothing, &mut Random::new(at)), 9, options()).unwrap();
        assert_eq!((check_points(&pool), pool.shared().damage()), (found + 1, Vec::new()), "operation {at}");
    }
    assert!(failures > 5, "{failures} operations failed");
}

#[test]
fn what_another_machine_has_stored_can_be_named_at_once() {
    let disk = SimDisk::new(1);
    let (mut pool, _) = filled(&disk, options(), 1);
    let second = pool.add_machine(&label("web2"), false).unwrap();
    let (names, bundle) = bundle(&pool.shared().keys().naming(second.domain), chunks(1));
    pool.put(second.id, SourceId(2), bundle).unwrap();
    assert_eq!(pool.shared().known(second.id, &names).unwrap(), [true; FILES], "although nothing was stored");
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
    let (mut pool, home) = create(&disk, options());
    for number in 1..=12 {
        disk.fail(FaultPlan::once(Fault::Error, disk.operations() + number).under("segments"));
        let next = check_points(&pool) + 1;
        let made = home.add_point(&mut pool, next);
        disk.clear_faults();
        if made.is_err() {
            pool.reopen().unwrap();
            let next = check_points(&pool) + 1;
            home.add_point(&mut pool, next).unwrap();
        }
    }
    let count = check_points(&pool);
    drop(pool);
    let disk = disk.crash_with(Survival::Nothing, &mut Random::new(1));
    assert_eq!(check_points(&open(&disk, 2, options()).unwrap()), count);
}

/// Points one after the other, each brought into the catalog at once.
fn add_flushed_points(home: &Home, pool: &mut Pool, count: u64) -> Result<(), PoolError> {
    (1..=count).try_for_each(|number| {
        home.add_point(pool, number)?;
        pool.flush_catalog()
    })
}

#[test]
fn the_length_of_the_catalog_that_a_failed_sync_lost_is_not_believed() {
    for at in 1..1000 {
        let disk = SimDisk::new(at);
        let (mut pool, home) = create(&disk, options());
        // Closing the catalog makes it as short as it can be, so that it has to grow.
        (0..4).for_each(|_| pool.reopen().unwrap());
        let start = disk.operations();
        disk.fail(FaultPlan::once(Fault::Error, start + at).under("catalog"));
        let made = add_flushed_points(&home, &mut pool, 8);
        if made.is_ok() && disk.operations() < start + at {
            return;
        }
        disk.clear_faults();
        pool.reopen().unwrap();
        let disk = disk.crash_with(Survival::Nothing, &mut Random::new(at));
        drop(pool);
        assert_eq!(
            open(&disk, 9, options()).unwrap().shared().damage(),
            Vec::<String>::new(),
            "operation {at}"
        );
    }
    panic!("the workload never ends");
}

#[test]
fn a_rebuild_that_fails_can_be_made_up_for() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, options(), 1);
    disk.fail(FaultPlan::lasting(Fault::Error, disk.operations() + 1).under("catalog"));
    assert!(pool.rebuild_catalog().is_err() && pool.is_failed());
    disk.clear_faults();
    pool.reopen().unwrap();
    home.add_point(&mut pool, 2).unwrap();
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
    let (pool, _) = filled(&disk, options(), 6);
    drop(pool);
    let mut random = Random::new(5);
    for round in 0..1500 {
        let disk = disk.snapshot();
        let files: Vec<_> = disk.files().into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
        let (path, bytes) = &files[random.index(files.len())];
        let bit = random.below(bytes.len() as u64 * 8);
        disk.flip(path, bit).unwrap();
        let Ok(pool) = open(&disk, round, options()) else { continue };
        let context = format!("bit {bit} of {path}");
        archive(&pool).sources().unwrap();
        let points = listed_points(&pool);
        check_order(&points);
        let whole = points.iter().filter(|point| is_whole(&pool, point, &context).unwrap()).count() == 6;
        let told = !pool.shared().damage().is_empty();
        assert!(whole || told || path.starts_with("segments/"), "{context} is silent");
    }
}

#[cfg(feature = "planted-bugs")]
mod planted {
    //! The checks above find the faults that they are there for.

    use std::collections::BTreeMap;
    use std::panic::catch_unwind;
    use std::sync::Mutex;

    use chunk::{Commitment, FrameNumber, NonceAudit};
    use pool::World;
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
    fn retry(made_with: &Options, seed: u64, at: u64) {
        let disk = SimDisk::new(seed);
        let world = World { disk: Arc::new(disk.clone()), ..world_of(disk.clone(), 1) };
        let mut pool = Pool::create(world, &[key()], made_with.clone()).unwrap();
        let home = Home::add(&mut pool);
        disk.fail(FaultPlan::once(Fault::Error, disk.operations() + at).under("segments"));
        if home.add_point(&mut pool, 1).is_ok() {
            return;
        }
        disk.clear_faults();
        if pool.is_failed() {
            pool.reopen().unwrap();
        }
        let number = check_points(&pool) + 1;
        let acknowledged = home.add_point(&mut pool, number).map(|()| number).unwrap_or(0);
        drop(pool);
        let disk = disk.crash_with(Survival::Nothing, &mut Random::new(seed));
        let pool = open(&disk, 9, options()).unwrap();
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
            drop(filled(&SimDisk::new(1), options, 3));
            assert_eq!(*uses.repeated.lock().unwrap(), planted);
        }
        chunk::planted::repeat_frame_numbers(false);
    }
}

#[test]
fn numbers_of_segments_that_are_there_are_left_out() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, options(), 3);
    let last = disk.files().into_keys().filter(|path| path.starts_with("segments/")).max().unwrap();
    let last = segment_number(last.rsplit('/').next().unwrap()).unwrap();
    // A drive came back with what nobody acknowledged.
    for number in 1..4 {
        disk.create(&segment_path(SegmentNumber(last.0 + number))).unwrap().write_at(0, b"anything").unwrap();
    }
    home.add_points(&mut pool, 4..=30);
    assert_eq!(read_points(&pool), (1..=30).collect::<Vec<u64>>());
    assert_eq!(disk.files()[&segment_path(SegmentNumber(last.0 + 2))], b"anything");
    drop(pool);
    assert_eq!(read_points(&open(&disk, 2, options()).unwrap()), (1..=30).collect::<Vec<u64>>());
    assert_eq!(read_points(&open_without_catalog(&disk, 3, options())), (1..=30).collect::<Vec<u64>>());
}

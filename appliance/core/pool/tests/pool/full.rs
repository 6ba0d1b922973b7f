//! What a pool makes of full drives: it can be read, loses nothing, and goes on when there is room.

use medium::Disk;
use medium::sim::{Fault, FaultPlan, Random, SimDisk, Survival};
use model::ErrorKind;
use pool::Options;

use crate::drive::{DATA, META, segments};
use crate::world::{create, filled, lazy, open, open_without_catalog, read_points, roomy};

/// Bytes in use on a drive.
fn used(disk: &SimDisk) -> u64 {
    let space = disk.space().unwrap();
    space.capacity_bytes - space.available_bytes
}

#[test]
fn a_pool_on_a_full_drive_can_be_read_and_takes_data_again_when_there_is_room() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = create(&disk, roomy());
    let capacity = disk.space().unwrap().capacity_bytes;
    home.add_points(&mut pool, 1..=5);
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
        let mut pool = open(&disk, 2, roomy()).unwrap();
        for _ in 0..3 {
            assert!(pool.shared().is_full() && pool.is_failed());
            assert_eq!(read_points(&pool), [1, 2, 3, 4, 5]);
            let error = home.add_point(&mut pool, 6).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Full, "{error}");
            pool.reopen().unwrap();
        }
        disk.clear_faults();
        disk.set_capacity(capacity);
        pool.reopen().unwrap();
        assert!(!pool.shared().is_full() && !pool.is_failed());
        home.add_point(&mut pool, 6).unwrap();
        drop(pool);
        assert_eq!(read_points(&open(&disk, 3, roomy()).unwrap()), [1, 2, 3, 4, 5, 6]);
    }
}

#[test]
fn filling_a_drive_loses_nothing_and_trying_again_takes_no_more_of_it() {
    for options in [roomy(), lazy()] {
        let disk = SimDisk::new(1);
        let (mut pool, home) = create(&disk, options);
        let capacity = disk.space().unwrap().capacity_bytes;
        disk.set_capacity(used(&disk) + (600 << 10));
        let filled = (1..).find(|n| home.add_point(&mut pool, *n).is_err()).unwrap();
        let all: Vec<u64> = (1..filled).collect();
        assert!(all.len() > 50, "{}", all.len());
        assert_eq!(read_points(&pool), all, "before it is opened again");
        pool.reopen().unwrap();
        let before = used(&disk);
        for _ in 0..5 {
            let error = home.add_point(&mut pool, filled).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Full, "{error}");
            pool.reopen().unwrap();
            assert_eq!(read_points(&pool), all);
            assert!(used(&disk) <= before, "{} of {before}", used(&disk));
        }
        drop(pool);
        let mut pool = open(&disk, 2, roomy()).unwrap();
        assert_eq!(read_points(&pool), all, "in a new process");
        disk.set_capacity(capacity);
        pool.reopen().unwrap();
        home.add_point(&mut pool, filled).unwrap();
        assert_eq!(read_points(&pool).len(), all.len() + 1);
        drop(pool);
        let pool = open_without_catalog(&disk, 3, roomy());
        assert_eq!((read_points(&pool).len(), pool.shared().damage()), (all.len() + 1, Vec::new()));
    }
}

#[test]
fn points_can_be_read_after_the_catalog_found_no_room() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, roomy(), 1);
    disk.fail(FaultPlan::lasting(Fault::NoSpace, disk.operations() + 1).under("catalog"));
    assert_eq!(pool.flush_catalog().unwrap_err().kind(), ErrorKind::Full);
    assert_eq!(read_points(&pool), [1], "at once");
    pool.reopen().unwrap();
    assert_eq!(read_points(&pool), [1]);
    disk.clear_faults();
    pool.reopen().unwrap();
    home.add_point(&mut pool, 2).unwrap();
    pool.flush_catalog().unwrap();
    drop(pool);
    assert_eq!(read_points(&open(&disk, 2, roomy()).unwrap()), [1, 2]);
}

#[test]
fn a_commit_counts_although_the_catalog_found_no_room() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = create(&disk, Options { catalog_batch: 1, ..roomy() });
    disk.fail(FaultPlan::lasting(Fault::NoSpace, disk.operations() + 1).under("catalog"));
    let mut made = 0;
    while home.add_point(&mut pool, made + 1).is_ok() {
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
        let (mut pool, home) = filled(&disk, lazy(), 3);
        // Room for the data, none for the mark.
        disk.fail(FaultPlan::lasting(Fault::NoSpace, disk.operations() + 5 + at % 3).under("segments/"));
        assert!(home.add_point(&mut pool, 4).is_err());
        disk.clear_faults();
        let bytes = || {
            [DATA, META].iter().flat_map(|kind| segments(&disk, *kind)).map(|(_, b)| b.len()).sum::<usize>()
        };
        let before = bytes();
        disk.fail(FaultPlan::lasting(Fault::Crash, disk.operations() + at));
        let finished = pool.reopen().is_ok() && disk.space().is_ok();
        given += u64::from(finished && bytes() < before);
        drop(pool);
        let mut random = Random::new(at);
        let disk = disk.crash_with(Survival::draw(&mut random), &mut random);
        let mut pool = open(&disk, 2, roomy()).unwrap();
        assert_eq!(
            (read_points(&pool), pool.shared().damage()),
            (vec![1, 2, 3], Vec::new()),
            "operation {at}"
        );
        home.add_point(&mut pool, 4).unwrap();
        drop(pool);
        assert_eq!(read_points(&open_without_catalog(&disk, 3, roomy())), [1, 2, 3, 4], "operation {at}");
        if finished && at > 40 {
            break;
        }
    }
    assert!(given > 0);
}

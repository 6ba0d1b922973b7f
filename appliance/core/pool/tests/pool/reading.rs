//! A pool that is only read: nothing is written, whatever there is of it, and what is lacking is told.

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};

use medium::sim::{Fault, FaultPlan, SimDisk};
use medium::{Disk, Union};
use pool::keys::Unlock;
use pool::{Options, Pool, PoolError, ReadOnlyPool};
use zeroize::Zeroizing;

use crate::drive::{DATA, IN_HEADER, IN_PAYLOAD, META, frames, rot, segments};
use crate::world::{
    closed, closed_without_catalog, filled, is_whole, key, lazy, options, points, read_points, roomy,
    world_of,
};

/// Opens what some drives have together.
fn open(disks: &[&SimDisk]) -> Result<ReadOnlyPool, PoolError> {
    let disks = disks.iter().map(|disk| Arc::new((*disk).clone()) as Arc<dyn Disk>).collect();
    ReadOnlyPool::open(world_of(Union::new(disks), 5), &key(), &options(), None)
}

#[test]
fn a_frame_that_many_want_at_once_is_read_once() {
    // A catalog on the drive would be read as well.
    let (disk, _) = closed_without_catalog(roomy(), 12);
    let reads = |readers: usize| {
        let pool = open(&[&disk]).unwrap();
        let before = disk.reads();
        let turn = Barrier::new(readers);
        std::thread::scope(|scope| {
            for _ in 0..readers {
                scope.spawn(|| {
                    turn.wait();
                    assert_eq!(read_points(&pool).len(), 12);
                });
            }
        });
        disk.reads() - before
    };
    let alone = reads(1);
    for _ in 0..20 {
        assert_eq!(reads(8), alone);
    }
}

#[test]
fn all_of_it_is_read_and_nothing_written_with_whatever_catalog() {
    // A catalog that lacks everything, because the power went.
    let behind = SimDisk::new(1);
    drop(filled(&behind, lazy(), 6));
    let (whole, _) = closed(options(), 6);
    let without = whole.snapshot();
    without.remove("catalog.redb").unwrap();
    let torn = whole.snapshot();
    torn.overwrite("catalog.redb", 0, &[0xff; 4096]).unwrap();
    for disk in [behind, whole, without, torn] {
        let (before, writes) = (disk.files(), disk.operations());
        let pool = open(&[&disk]).unwrap();
        assert_eq!(read_points(&pool), [1, 2, 3, 4, 5, 6]);
        assert!(!pool.shared().is_full());
        pool.shared().trace_damage().unwrap();
        assert!(pool.shared().damaged_points().is_empty());
        assert_eq!(pool.shared().verify(None).unwrap().points, 6);
        drop(pool);
        assert_eq!((disk.files(), disk.operations()), (before, writes));
    }
}

#[test]
fn what_is_on_several_drives_is_one_pool_and_copies_stand_in_for_rot() {
    let (a, _) = closed(options(), 6);
    let (b, copy) = (a.snapshot(), a.snapshot());
    let all: Vec<_> = [DATA, META].iter().flat_map(|kind| segments(&a, *kind)).collect();
    for ((path, _), number) in all.iter().zip(0..) {
        if number % 2 == 0 { &a } else { &b }.remove(path).unwrap();
    }
    assert!(read_points_of(&a) < 6 && read_points_of(&b) < 6, "neither has all");
    assert_eq!(read_points(&open(&[&a, &b]).unwrap()), [1, 2, 3, 4, 5, 6]);

    // Rot in every frame of one drive or of the other, in headers as well as in content.
    let (a, b) = (copy.snapshot(), copy);
    a.remove("catalog.redb").unwrap();
    b.remove("catalog.redb").unwrap();
    for ((path, bytes), number) in all.iter().zip(0..) {
        if number % 2 == 0 { &a } else { &b }.flip(path, 80).unwrap();
        for ((frame, _), number) in frames(bytes).into_iter().zip(0..) {
            let disk = if number % 2 == 0 { &a } else { &b };
            rot(disk, path, frame, if number % 3 == 0 { IN_HEADER } else { IN_PAYLOAD });
        }
    }
    let pool = open(&[&a, &b]).unwrap();
    assert_eq!((read_points(&pool), pool.shared().damage()), (vec![1, 2, 3, 4, 5, 6], Vec::new()));
}

#[test]
fn a_drive_that_fails_costs_nothing_that_another_one_has() {
    let (a, _) = closed(options(), 6);
    let b = a.snapshot();
    b.fail(FaultPlan::lasting(Fault::Error, 0).on_reads());
    let pool = open(&[&a, &b]).unwrap();
    assert_eq!((read_points(&pool), pool.shared().damage()), (vec![1, 2, 3, 4, 5, 6], Vec::new()));
    // The catalog is on the one that fails while it is read.
    let (a, b) = (a.snapshot(), a.snapshot());
    b.fail(FaultPlan::lasting(Fault::Error, 0).on_reads().under("catalog.redb"));
    a.remove("catalog.redb").unwrap();
    let pool = open(&[&b, &a]).unwrap();
    assert_eq!(read_points(&pool), [1, 2, 3, 4, 5, 6]);
    assert!(pool.shared().damage().iter().any(|line| line.contains("of no use")));
}

/// How many points of a drive are whole, as it says.
fn read_points_of(disk: &SimDisk) -> usize {
    let pool = open(&[disk]).unwrap();
    pool.shared().trace_damage().unwrap();
    points(&pool).len() - pool.shared().damaged_points().len()
}

#[test]
fn points_tell_what_they_lack_by_the_segments_that_are_there() {
    let (whole, _) = closed(options(), 8);
    for has_catalog in [true, false] {
        let disk = whole.snapshot();
        // The first has a chunk of every point.
        for (path, _) in segments(&disk, DATA).into_iter().skip(1).step_by(2) {
            disk.remove(&path).unwrap();
        }
        if !has_catalog {
            disk.remove("catalog.redb").unwrap();
        }
        let before = disk.files();
        let pool = open(&[&disk]).unwrap();
        assert!(pool.shared().damage().iter().any(|line| line.ends_with("is missing")));
        pool.shared().trace_damage().unwrap();
        let told: BTreeSet<u64> = pool.shared().damaged_points().into_keys().map(|key| key.number).collect();
        let all = points(&pool);
        let broken = all.iter().filter(|point| !is_whole(&pool, point, "it is told").unwrap());
        assert_eq!(told, broken.map(|point| point.number).collect());
        assert!(!told.is_empty() && told.len() < all.len() && all.len() == 8, "{told:?}");
        assert_eq!(disk.files(), before);
    }
}

#[test]
fn a_wrong_key_no_pool_and_a_pool_in_use_are_told() {
    let (disk, _) = closed(options(), 1);
    let wrong = Unlock::Recovery(Zeroizing::new([1; 32]));
    let union = Union::new(vec![Arc::new(disk.clone())]);
    let refused = ReadOnlyPool::open(world_of(union, 5), &wrong, &options(), None);
    assert!(matches!(refused, Err(PoolError::WrongKey("recovery key"))));
    assert!(matches!(open(&[&SimDisk::new(2)]), Err(PoolError::NoPool)));
    let pool = Pool::open(world_of(disk.clone(), 6), &key(), Options::default()).unwrap();
    assert!(matches!(open(&[&disk]), Err(PoolError::InUse(_))));
    drop(pool);
    assert!(open(&[&disk]).is_ok());
}

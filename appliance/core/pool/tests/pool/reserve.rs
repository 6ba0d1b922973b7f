//! A drive without a free byte: room is given back all the same, and data is taken again by itself.

use medium::Disk;
use medium::sim::{Fault, FaultPlan, Random, SimDisk, Survival};
use model::ErrorKind;
use model::archive::PointKey;
use pool::{Counted, Effort, Options, Pool, PoolError, Reclaimed, Thrift};

use crate::reclaim::audit;
use crate::world::{Audited, Home, create, open, open_without_catalog, options, read_points};

/// Bytes of the reserve.
const RESERVE: usize = 2 << 20;

/// Segments that are soon full, and room for giving them back.
fn reserved() -> Options {
    Options { reserve_bytes: RESERVE as u64, catalog_batch: 100, ..options() }
}

fn available(disk: &SimDisk) -> u64 {
    disk.space().unwrap().available_bytes
}

/// A pool that took points until there was no room for data, on a drive of which somebody else then took the rest; the
/// number of its points.
fn full_to_the_last_byte(options: &Options) -> (SimDisk, Audited, Home, u64) {
    let disk = SimDisk::new(1);
    let (mut pool, home) = create(&disk, options.clone());
    let capacity = disk.space().unwrap().capacity_bytes;
    disk.set_capacity(capacity - available(&disk) + 3 * RESERVE as u64);
    let refused = (1..).find_map(|number| Some((number, home.add_point(&mut pool, number).err()?)));
    let (number, error) = refused.unwrap();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert!(options.reserve_bytes == 0 || disk.files()["reserve"].len() == RESERVE, "it is kept");
    assert!(number > 40, "{number}");
    let ballast = disk.create("ballast").unwrap();
    (0..).step_by(4096).find(|at| ballast.write_at(*at, &[0; 4096]).is_err()).unwrap();
    ballast.sync_data().unwrap();
    disk.sync_directory("").unwrap();
    assert_eq!(available(&disk), 0);
    (disk, pool, home, number - 1)
}

/// Does what the thread that writes does: opens the pool again when it has failed, and gives room back until there is
/// nothing to give.
fn give_back(pool: &mut Pool) -> Result<(), PoolError> {
    let mut failures = 0;
    loop {
        match pool.reclaim(Thrift(1), Effort { births: 50, bytes: 16 << 10 }) {
            Ok(Reclaimed::Waiting | Reclaimed::Nothing) => return Ok(()),
            Ok(_) => {}
            Err(error) if failures > 5 => return Err(error),
            Err(_) => {
                failures += 1;
                pool.reopen()?;
            }
        }
    }
}

/// Counts everything and drops all points but the last two.
fn drop_most(pool: &mut Pool, home: &Home, count: u64) -> Result<(), PoolError> {
    while pool.count(50)? == Counted::More {}
    let key = |number| PointKey { source: home.source.id, number };
    pool.drop_points(&(1..=count - 2).map(key).collect::<Vec<_>>())
}

/// The same by who tries again when it has failed.
fn drop_most_at_last(pool: &mut Pool, home: &Home, count: u64) {
    if drop_most(pool, home, count).is_err() {
        pool.reopen().unwrap();
        drop_most(pool, home, count).unwrap();
    }
}

#[test]
fn a_pool_gives_room_back_on_a_drive_without_a_free_byte() {
    let (disk, mut pool, home, count) = full_to_the_last_byte(&reserved());
    assert!(!pool.is_failed(), "that no data is taken is no failure");
    assert!(pool.shared().is_tight());
    let all: Vec<u64> = (1..=count).collect();
    assert_eq!(read_points(&pool), all);
    drop_most_at_last(&mut pool, &home, count);
    give_back(&mut pool).unwrap();
    assert_eq!(read_points(&pool), [count - 1, count]);
    assert!(pool.look_for_room().unwrap(), "{} are free", available(&disk));
    home.add_point(&mut pool, count + 1).unwrap();
    audit(&mut pool);
    drop(pool);
    let pool = open_without_catalog(&disk, 2, reserved());
    assert_eq!((read_points(&pool), pool.shared().damage()), (vec![count - 1, count, count + 1], Vec::new()));
}

#[test]
fn without_the_reserve_it_could_not() {
    let bare = Options { reserve_bytes: 0, ..reserved() };
    let (_, mut pool, _, _) = full_to_the_last_byte(&bare);
    pool.reopen().unwrap();
    assert!(give_back(&mut pool).is_err());
}

#[test]
fn a_process_that_finds_the_drive_full_gives_room_back_as_well() {
    for without_catalog in [false, true] {
        let (disk, pool, home, count) = full_to_the_last_byte(&reserved());
        // Killed, so that opening has something to bring into the catalog.
        drop(pool);
        let mut pool = if without_catalog {
            open_without_catalog(&disk, 2, reserved())
        } else {
            open(&disk, 2, reserved()).unwrap()
        };
        assert!(pool.shared().is_tight() && !pool.shared().is_full());
        let error = home.add_point(&mut pool, count + 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full);
        drop_most_at_last(&mut pool, &home, count);
        give_back(&mut pool).unwrap();
        assert!(pool.look_for_room().unwrap());
        home.add_point(&mut pool, count + 1).unwrap();
        audit(&mut pool);
    }
}

#[test]
fn a_crash_on_a_full_drive_loses_nothing_wherever_it_comes() {
    let mut random = Random::new(3);
    let (disk, mut pool, home, count) = full_to_the_last_byte(&reserved());
    let before = disk.operations();
    drop_most_at_last(&mut pool, &home, count);
    give_back(&mut pool).unwrap();
    let operations = disk.operations() - before;
    for part in 0..24 {
        let at = operations * part / 24 + random.below(operations / 24);
        let (disk, mut pool, home, count) = full_to_the_last_byte(&reserved());
        disk.fail(FaultPlan::lasting(Fault::Crash, disk.operations() + at));
        let crashed = drop_most(&mut pool, &home, count).and_then(|()| give_back(&mut pool));
        assert!(crashed.is_err() || at * 2 > operations, "{at}");
        drop(pool);
        let disk = disk.crash_with(Survival::draw(&mut random), &mut random);
        let mut pool = open(&disk, at, reserved()).unwrap();
        let left = read_points(&pool);
        assert!(left == [count - 1, count] || left.len() as u64 == count, "{at}: {left:?}");
        if left.len() > 2 {
            drop_most_at_last(&mut pool, &home, count);
        }
        give_back(&mut pool).unwrap();
        // What the crash left takes room.
        disk.remove("ballast").unwrap();
        assert!(pool.look_for_room().unwrap(), "{at}: {} are free", available(&disk));
        home.add_point(&mut pool, count + 1).unwrap();
        audit(&mut pool);
    }
}

#[test]
fn the_reserve_waits_for_room_and_data_waits_for_the_reserve() {
    let disk = SimDisk::new(1);
    let (pool, home) = create(&disk, options());
    drop(pool);
    let capacity = disk.space().unwrap().capacity_bytes;
    disk.set_capacity(capacity - available(&disk) + (1 << 20));
    let mut pool = open(&disk, 2, reserved()).unwrap();
    assert!(pool.shared().is_tight(), "a pool that had none: {} are free", available(&disk));
    assert_eq!(home.add_point(&mut pool, 1).unwrap_err().kind(), ErrorKind::Full);
    disk.set_capacity(capacity);
    assert!(pool.look_for_room().unwrap());
    assert_eq!(disk.files()["reserve"].len(), RESERVE);
    home.add_point(&mut pool, 1).unwrap();
    // Whatever becomes of its file.
    disk.fail(FaultPlan::lasting(Fault::Error, 0).under("reserve"));
    pool.reopen().unwrap();
    home.add_point(&mut pool, 2).unwrap();
    disk.clear_faults();
    disk.remove("reserve").unwrap();
    assert!(pool.look_for_room().unwrap());
    assert_eq!(disk.files()["reserve"].len(), RESERVE);
}

#[test]
fn a_pool_takes_no_data_beyond_its_capacity_and_again_when_points_have_gone() {
    for options in [options(), reserved()] {
        let disk = SimDisk::new(1);
        let (mut pool, home) = create(&disk, options.clone());
        let bytes = |disk: &SimDisk| -> u64 {
            let files = disk.files();
            files
                .iter()
                .filter(|(path, _)| path.starts_with("segments/"))
                .map(|(_, file)| file.len() as u64)
                .sum()
        };
        home.add_points(&mut pool, 1..=20);
        let capacity = 2 * bytes(&disk);
        pool.shared().set_capacity(Some(capacity));
        let mut last = 20;
        for _ in 0..3 {
            let error = (last + 1..).find_map(|number| {
                last = number - 1;
                home.add_point(&mut pool, number).err()
            });
            let error = error.unwrap();
            assert!(error.to_string().contains("reached its capacity"), "{error}");
            assert_eq!(error.kind(), ErrorKind::Full);
            assert!(bytes(&disk) < capacity + 16_000, "{} of {capacity}", bytes(&disk));
            assert!(bytes(&disk) >= capacity && pool.shared().is_tight());
            pool.commit(Vec::new()).unwrap();
            while !pool.look_for_room().unwrap() {
                while pool.count(1000).unwrap() == Counted::More {}
                let oldest = read_points(&pool).into_iter().take(15);
                let keys: Vec<_> = oldest.map(|number| PointKey { source: home.source.id, number }).collect();
                assert_eq!(keys.len(), 15, "points are left");
                pool.drop_points(&keys).unwrap();
                give_back(&mut pool).unwrap();
            }
            assert!(pool.shared().usage().unwrap().segment_bytes < capacity);
        }
        audit(&mut pool);
        pool.shared().set_capacity(None);
        home.add_points(&mut pool, last + 1..last + 100);
        assert!(bytes(&disk) > capacity);
    }
}

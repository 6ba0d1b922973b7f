//! The log of the pool does not grow for ever: what counts in its oldest segments is stated again, and they go.

use medium::Disk;
use medium::sim::{Fault, FaultPlan, Random, SimDisk, Survival};
use model::archive::PointKey;
use model::{SegmentNumber, SourceId};
use pool::layout::{SegmentLimits, segment_path};
use pool::{Counted, Options, Pool, PoolError, Reclaimed, Thrift};

use crate::drive::{DATA, IN_PAYLOAD, META, PAGES, frames_of, rot, segments};
use crate::reclaim::{audit, count, drop_points, reclaim, reclaim_one};
use crate::world::{
    Audited, FILES, Home, bundle, chunks, create, files, filled, label, open, open_without_catalog, options,
    points, read_points,
};

/// Segments that are soon full.
fn short() -> Options {
    Options { limits: SegmentLimits { data_bytes: 16 << 10, meta_bytes: 4 << 10 }, ..options() }
}

fn log_bytes(disk: &SimDisk) -> usize {
    segments(disk, META).iter().map(|(_, bytes)| bytes.len()).sum()
}

/// Makes points up to `last`, and drops all but the newest three as they come.
fn roll(pool: &mut Pool, home: &Home, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        home.add_point(pool, number).unwrap();
        if number > 3 {
            drop_points(pool, home, [points(pool)[0].number]);
            reclaim(pool);
        }
    }
}

#[test]
fn the_log_is_as_long_as_what_counts_in_it() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = create(&disk, short());
    pool.set_setting("a/setting", Some(b"first".to_vec())).unwrap();
    pool.set_setting("gone", Some(b"value".to_vec())).unwrap();
    pool.set_setting("gone", None).unwrap();
    let other = pool.add_machine(&label("other"), false).unwrap();
    let known = bundle(&home.naming(&pool), [&chunks(1)[0]]).1;
    pool.put(other.id, SourceId(2), known).unwrap();
    let sent = bundle(&home.naming(&pool), [&chunks(1)[0]]).1;
    home.put(&mut pool, sent).unwrap();
    pool.commit(Vec::new()).unwrap();
    roll(&mut pool, &home, 1..=20);
    let early = log_bytes(&disk);
    roll(&mut pool, &home, 21..=120);
    let late = log_bytes(&disk);
    assert!(late < 2 * early, "the log has {late} bytes, it had {early}");
    assert!(!disk.files().contains_key(&segment_path(SegmentNumber(1))), "the first segment is gone");
    pool.set_setting("a/setting", Some(b"second".to_vec())).unwrap();
    roll(&mut pool, &home, 121..=150);
    audit(&mut pool);
    assert_eq!(pool.shared().verify(None).unwrap().damage, Vec::<String>::new());
    let dump = pool.shared().dump().unwrap();
    drop(pool);
    assert_eq!(open(&disk, 2, short()).unwrap().shared().dump().unwrap(), dump);
    let mut pool = open_without_catalog(&disk, 3, short());
    assert_eq!((read_points(&pool), pool.shared().damage()), (vec![148, 149, 150], Vec::new()));
    while pool.count(1000).unwrap() == Counted::More {}
    audit(&mut pool);
    pool.shared().registry(|registry| {
        assert_eq!(registry.settings["a/setting"], b"second");
        assert!(!registry.settings.contains_key("gone") && registry.machines.contains_key(&other.id));
    });
    let shared = chunks(1)[0].clone();
    let name = home.naming(&pool).name(&shared);
    for machine in [other.id, home.machine.id] {
        assert_eq!(pool.shared().known(machine, &[name]).unwrap(), [true], "whoever sent it owns it");
    }
    home.add_point(&mut pool, 151).unwrap();
    assert_eq!(points(&pool).last().map(|point| point.number), Some(151));
}

/// Gives back all that can be, or fails.
fn try_reclaim(pool: &mut Pool) -> Result<(), PoolError> {
    while !matches!(
        pool.reclaim(Thrift(1), pool::Effort::default())?,
        Reclaimed::Nothing | Reclaimed::Waiting
    ) {}
    Ok(())
}

/// A pool with the catalog that it has and one with a catalog made anew say the same once everything is counted.
fn rebuild_agrees(disk: &SimDisk, at: u64) {
    let dump = |mut pool: Audited| {
        count(&mut pool);
        pool.commit(Vec::new()).unwrap();
        pool.flush_catalog().unwrap();
        pool.shared().dump().unwrap()
    };
    let kept = dump(open(&disk.snapshot(), at, short()).unwrap());
    assert_eq!(dump(open_without_catalog(&disk.snapshot(), at, short())), kept, "{at}");
}

#[test]
fn a_crash_at_any_moment_of_cleaning_loses_nothing() {
    let mut random = Random::new(7);
    let mut cleaned = 0;
    for at in (1..).step_by(3) {
        let disk = SimDisk::new(at);
        let (mut pool, home) = filled(&disk, short(), 14);
        drop_points(&mut pool, &home, 2..=12);
        let before = log_bytes(&disk);
        disk.fail(FaultPlan::lasting(Fault::Crash, disk.operations() + at));
        let is_done = try_reclaim(&mut pool).is_ok();
        cleaned += u32::from(is_done && log_bytes(&disk) < before);
        drop(pool);
        let mut disk = disk.crash_with(Survival::draw(&mut random), &mut random);
        if random.chance(50) {
            // Once more, at the recovery.
            disk.fail(FaultPlan::lasting(Fault::Crash, disk.operations() + random.below(60)));
            drop(open(&disk, at, short()));
            disk = disk.crash_with(Survival::draw(&mut random), &mut random);
        }
        if disk.files().contains_key("catalog.redb") {
            rebuild_agrees(&disk, at);
        }
        let mut pool = if random.chance(30) && disk.files().contains_key("catalog.redb") {
            open_without_catalog(&disk, at, short())
        } else {
            open(&disk, at, short()).unwrap()
        };
        assert_eq!((read_points(&pool), pool.shared().damage()), (vec![1, 13, 14], Vec::new()), "{at}");
        try_reclaim(&mut pool).unwrap();
        audit(&mut pool);
        home.add_point(&mut pool, 15).unwrap();
        drop(pool);
        let pool = open_without_catalog(&disk, at, short());
        assert_eq!((read_points(&pool), pool.shared().damage()), (vec![1, 13, 14, 15], Vec::new()), "{at}");
        if is_done {
            break;
        }
    }
    assert_eq!(cleaned, 1);
}

/// A chunk that was stored a second time, because its segment was to go, goes with the second copy; then the index of
/// the first one is stated again.
#[test]
fn a_chunk_that_went_with_another_segment_is_found_in_the_one_that_stays() {
    let disk = SimDisk::new(1);
    let (pool, home) = filled(&disk, short(), 12);
    drop(pool);
    let mut pool = open(&disk, 2, short()).unwrap();
    drop_points(&mut pool, &home, [2, 8]);
    reclaim_one(&mut pool);
    let before = segments(&disk, DATA).len();
    let mut send = |number| {
        let sent = bundle(&home.naming(&pool), &chunks(number)[1..]).1;
        home.put(&mut pool, sent).unwrap();
        pool.commit(Vec::new()).unwrap();
        segments(&disk, DATA).len() > before
    };
    // The segment that was begun with what was moved is full at some time.
    assert!((90..100).any(&mut send) && send(8));
    drop(pool);
    // Nothing is to go any more after it was opened again.
    let mut pool = open(&disk, 3, short()).unwrap();
    for value in 0..200_u8 {
        pool.set_setting("a/setting", Some(vec![value; 300])).unwrap();
    }
    let (log, effort) = (log_bytes(&disk), pool::Effort::default());
    while !matches!(pool.reclaim(Thrift(900), effort).unwrap(), Reclaimed::Nothing) {}
    assert_eq!(segments(&disk, DATA).len(), before, "the second copy is gone");
    assert!(log_bytes(&disk) < log / 2, "and the log was cleaned");
    audit(&mut pool);
    let names = home.names(&pool, 8);
    assert_eq!(pool.shared().known(home.machine.id, &names).unwrap(), [true; FILES]);
    home.commit(&mut pool, 8, files(&names, &chunks(8))).unwrap();
    assert_eq!(read_points(&pool), [1, 3, 4, 5, 6, 7, 9, 10, 11, 12, 8]);
    drop(pool);
    rebuild_agrees(&disk, 4);
}

#[test]
fn cleaning_a_log_of_any_length_comes_to_an_end() {
    let disk = SimDisk::new(1);
    let (mut pool, _) = create(&disk, short());
    let mut lengths = std::collections::BTreeSet::new();
    for value in 0..120_u8 {
        pool.set_setting("a/setting", Some(vec![value; 300])).unwrap();
        // Opened like that, the pool has no segment that it writes to.
        let disk = disk.snapshot();
        lengths.insert(segments(&disk, META).len());
        let mut pool = open(&disk, 2, short()).unwrap();
        let steps = (0..1000).map(|_| pool.reclaim(Thrift(0), pool::Effort::default()).unwrap());
        let last = steps.take_while(|step| !matches!(step, Reclaimed::Nothing)).count();
        assert!(last < 100, "{last} steps with {} segments", segments(&disk, META).len());
        let kept = pool.shared().registry(|registry| registry.settings["a/setting"].clone());
        assert_eq!(kept, vec![value; 300]);
        assert!(log_bytes(&disk) < 4 * (4 << 10), "{} bytes of one value", log_bytes(&disk));
    }
    assert!(lengths.len() > 5, "{lengths:?}");
}

#[test]
fn files_that_a_crash_left_say_nothing() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, short(), 14);
    drop_points(&mut pool, &home, 2..=12);
    pool.flush_catalog().unwrap();
    let before = disk.snapshot();
    reclaim(&mut pool);
    drop(pool);
    let gone: Vec<(String, Vec<u8>)> =
        segments(&before, META).into_iter().filter(|(path, _)| !disk.files().contains_key(path)).collect();
    assert!(gone.len() > 3, "{}", gone.len());
    for keep in 0..gone.len() {
        let disk = disk.snapshot();
        for (path, bytes) in gone.iter().enumerate().filter(|(at, _)| *at != keep).map(|(_, file)| file) {
            disk.create(path).unwrap().write_at(0, bytes).unwrap();
        }
        let mut pool = open_without_catalog(&disk, 2, short());
        assert_eq!((read_points(&pool), pool.shared().damage()), (vec![1, 13, 14], Vec::new()), "{keep}");
        audit(&mut pool);
        drop(pool);
        assert!(gone.iter().all(|(path, _)| !disk.files().contains_key(path)), "they are removed");
    }
}

#[test]
fn a_catalog_from_before_the_cleaning_is_not_believed() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, short(), 14);
    pool.flush_catalog().unwrap();
    let old = disk.files()["catalog.redb"].clone();
    drop_points(&mut pool, &home, 2..=12);
    reclaim(&mut pool);
    roll(&mut pool, &home, 15..=40);
    let expected = read_points(&pool);
    drop(pool);
    disk.remove("catalog.redb").unwrap();
    disk.create("catalog.redb").unwrap().write_at(0, &old).unwrap();
    let mut pool = open(&disk, 2, short()).unwrap();
    assert_eq!(read_points(&pool), expected);
    while pool.count(1000).unwrap() == Counted::More {}
    audit(&mut pool);
}

#[test]
fn a_segment_of_the_log_with_damage_stays_and_all_that_are_newer() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, short(), 14);
    pool.flush_catalog().unwrap();
    drop(pool);
    let damaged = segments(&disk, META).into_iter().skip(2).find(|(_, b)| !frames_of(b, PAGES).is_empty());
    let (path, bytes) = damaged.unwrap();
    rot(&disk, &path, frames_of(&bytes, PAGES)[0], IN_PAYLOAD);
    let mut pool = open(&disk, 2, short()).unwrap();
    let keys = (1..=12).map(|number| PointKey { source: home.source.id, number });
    // Whether counting gets over the damaged page or not, nothing that counts goes.
    while pool.count(1000).is_ok_and(|counted| counted == Counted::More) {}
    pool.drop_points(&keys.collect::<Vec<_>>()).ok();
    for _ in 0..50 {
        if try_reclaim(&mut pool).is_ok() {
            break;
        }
    }
    let kept = segments(&disk, META).into_iter().filter(|(left, _)| *left >= path).count();
    assert!(kept >= segments(&disk, META).len() - 2 && disk.files().contains_key(&path));
    let left = points(&pool).len();
    drop(pool);
    let pool = open_without_catalog(&disk, 3, short());
    assert_eq!(points(&pool).len(), left);
}

//! Giving back room when something else happens meanwhile: a drive that is full for a moment, readers, damage.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use medium::Disk;
use medium::sim::{Fault, FaultPlan, Random, SimDisk, Survival};
use model::archive::PointKey;
use pool::layout::segment_path;
use pool::{Counted, Effort, Options, Pool, Reclaimed, Thrift};

use crate::drive::{
    DATA, IN_PAYLOAD, PAGES, Watched, frames, frames_of, last_meta, rot, segments, unreadable,
};
use crate::reclaim::{audit, count, drop_points, reclaim, reclaim_one};
use crate::world::{
    Audited, Home, bundle, chunks, files, filled, open, open_without_catalog, options, points, read_points,
    roomy,
};

/// A pool whose segments with points 1 to 3 are condemned, one of which is gone, and a backup that counted on chunks of point 2 and has
/// made a point of them since, which is not counted; another backup has sent something that no commit covers.
fn relied_upon(disk: &SimDisk, catalog_batch: usize) -> (Audited, Home) {
    let (mut pool, home) = filled(disk, Options { catalog_batch, ..options() }, 6);
    let session = pool.shared().begin_session();
    let names = home.names(&pool, 2);
    let lengths = pool.shared().known_lengths(home.machine.id, &names, &session).unwrap();
    assert!(lengths.iter().all(Option::is_some));
    drop_points(&mut pool, &home, [1, 2, 3]);
    reclaim_one(&mut pool);
    home.commit(&mut pool, 2, files(&names, &chunks(2))).unwrap();
    drop(session);
    let sent = bundle(&home.naming(&pool), chunks(90)).1;
    home.put(&mut pool, sent).unwrap();
    (pool, home)
}

#[test]
fn a_drive_that_is_full_for_a_moment_while_room_is_given_back_loses_nothing() {
    let mut failed = 0;
    for (catalog_batch, at) in
        (1..40).step_by(3).flat_map(|batch| (1..40).step_by(2).map(move |at| (batch, at)))
    {
        let disk = SimDisk::new(1);
        let (mut pool, _) = relied_upon(&disk, catalog_batch);
        disk.fail(FaultPlan::once(Fault::NoSpace, disk.operations() + at).under("catalog"));
        let context = format!("a batch of {catalog_batch}, operation {at}");
        for _ in 0..40 {
            match pool.reclaim(Thrift(1), Effort::default()) {
                Ok(Reclaimed::Nothing) => break,
                Ok(_) => {}
                Err(_) => {
                    failed += 1;
                    disk.clear_faults();
                    pool.reopen().unwrap();
                }
            }
        }
        disk.clear_faults();
        assert_eq!(read_points(&pool), [4, 5, 6, 2], "{context}");
        audit(&mut pool);
        let dump = pool.shared().dump().unwrap();
        drop(pool);
        let mut pool = open_without_catalog(&disk, 2, options());
        assert_eq!(read_points(&pool), [4, 5, 6, 2], "{context}");
        audit(&mut pool);
        assert_eq!(pool.shared().dump().unwrap().mark.chunk_bytes, dump.mark.chunk_bytes, "{context}");
    }
    assert!(failed > 0);
}

#[test]
fn a_chunk_that_went_is_never_said_to_be_known() {
    for _ in 0..40 {
        let disk = SimDisk::new(1);
        let (mut pool, home) = filled(&disk, Options { catalog_batch: 100_000, ..options() }, 30);
        drop_points(&mut pool, &home, 1..=29);
        let names: Vec<_> = (1..=29).flat_map(|n| home.names(&pool, n).split_off(1)).collect();
        let (shared, machine) = (Arc::clone(pool.shared()), home.machine.id);
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            let asks = || {
                let mut was_absent = vec![false; names.len()];
                while !is_done.load(Ordering::Acquire) {
                    let known = shared.known(machine, &names).unwrap();
                    for (at, known) in known.into_iter().enumerate() {
                        assert!(!(known && was_absent[at]), "chunk {at} is known after it was not");
                        was_absent[at] |= !known;
                    }
                }
            };
            let asked = [scope.spawn(asks), scope.spawn(asks)];
            reclaim(&mut pool);
            is_done.store(true, Ordering::Release);
            asked.into_iter().for_each(|asked| asked.join().unwrap());
        });
    }
}

#[test]
fn the_number_of_a_point_that_was_dropped_is_not_given_to_another() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, roomy(), 5);
    drop_points(&mut pool, &home, [3, 4]);
    pool.flush_catalog().unwrap();
    drop(pool);
    let (path, bytes) = last_meta(&disk);
    for (frame, _) in frames(&bytes) {
        let disk = disk.snapshot();
        rot(&disk, &path, frame, IN_PAYLOAD);
        let mut pool = open_without_catalog(&disk, 2, roomy());
        if pool.shared().machine_of(home.source.id).is_err() {
            continue;
        }
        home.add_point(&mut pool, 9).unwrap();
        let newest = |pool: &Pool| points(pool).pop().map(|point| (point.number, point.sequence.0));
        let expected = newest(&pool);
        assert!(expected.is_some_and(|(number, sequence)| number >= 5 && sequence == 9), "{expected:?}");
        while pool.count(1000).is_ok_and(|counted| counted == Counted::More) {}
        pool.flush_catalog().unwrap();
        drop(pool);
        let pool = open(&disk, 3, roomy()).unwrap();
        assert_eq!(newest(&pool), expected, "without the frame at {frame}");
        drop(pool);
        let pool = open_without_catalog(&disk, 3, roomy());
        assert_eq!(newest(&pool), expected, "from the segments, without the frame at {frame}");
    }
}

#[test]
fn a_segment_that_the_drive_refuses_to_read_holds_up_no_other() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, options(), 12);
    drop_points(&mut pool, &home, 1..=10);
    let first = segments(&disk, DATA).remove(0).0;
    let is_there = |disk: &SimDisk| segments(disk, DATA).iter().any(|(path, _)| *path == first);
    disk.fail(unreadable(&first));
    assert!(reclaim(&mut pool) > 0 && is_there(&disk));
    assert!(pool.shared().damage().iter().any(|line| line.contains("is kept as it is")));
    assert_eq!(pool.reclaim(Thrift(1), Effort::default()).unwrap(), Reclaimed::Nothing);
    disk.clear_faults();
    pool.reopen().unwrap();
    assert!(reclaim(&mut pool) > 0 && !is_there(&disk), "when it can be read again it goes");
    assert_eq!(read_points(&pool), [11, 12]);
    audit(&mut pool);
}

/// Nothing refers to it, and what is in it cannot be read: a backup may have been told of that all the same.
#[test]
fn what_cannot_be_read_stays_while_a_backup_may_count_on_it() {
    for makes_point in [true, false] {
        let disk = SimDisk::new(1);
        let (mut pool, home) = filled(&disk, options(), 12);
        // The second one holds nothing but what these points alone have.
        let second = segments(&disk, DATA).remove(1).0;
        let is_there = |disk: &SimDisk| segments(disk, DATA).iter().any(|(path, _)| *path == second);
        count(&mut pool);
        pool.flush_catalog().unwrap();
        let session = pool.shared().begin_session();
        let names: Vec<Vec<_>> = (1..=11).map(|number| home.names(&pool, number)).collect();
        for names in &names {
            let lengths = pool.shared().known_lengths(home.machine.id, names, &session).unwrap();
            assert!(lengths.iter().all(Option::is_some));
        }
        drop_points(&mut pool, &home, 1..=11);
        disk.fail(unreadable(&second));
        assert!(reclaim(&mut pool) > 0 && is_there(&disk));
        assert!(pool.shared().damage().is_empty(), "it is in nobody's way: {:?}", pool.shared().damage());
        disk.clear_faults();
        if makes_point {
            for (number, names) in (1..=11).zip(&names) {
                home.commit(&mut pool, number, files(names, &chunks(number))).unwrap();
            }
            drop(session);
            reclaim(&mut pool);
            assert_eq!(read_points(&pool), std::iter::once(12).chain(1..=11).collect::<Vec<_>>());
        } else {
            drop(session);
            disk.fail(unreadable(&second));
            assert!(reclaim(&mut pool) > 0 && !is_there(&disk), "nobody can count on it any more");
            disk.clear_faults();
            assert_eq!(read_points(&pool), [12]);
        }
        audit(&mut pool);
    }
}

#[test]
fn a_segment_that_is_missing_goes_when_nothing_of_it_is_needed() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, options(), 12);
    let lost = segments(&disk, DATA).remove(1).0;
    drop_points(&mut pool, &home, 1..=11);
    pool.flush_catalog().unwrap();
    drop(pool);
    disk.remove(&lost).unwrap();
    let mut pool = open(&disk, 2, options()).unwrap();
    assert!(!pool.shared().damage().is_empty());
    reclaim(&mut pool);
    drop(pool);
    let is_well =
        |pool: Audited| assert_eq!((pool.shared().damage(), read_points(&pool)), (Vec::new(), vec![12]));
    is_well(open(&disk, 3, options()).unwrap());
    is_well(open_without_catalog(&disk, 3, options()));
}

#[test]
fn no_crash_leaves_the_file_of_a_segment_that_is_gone() {
    for survival in Survival::ALL {
        for at in 1.. {
            let disk = SimDisk::new(at);
            let (mut pool, home) = filled(&disk, options(), 5);
            drop_points(&mut pool, &home, 1..=4);
            pool.flush_catalog().unwrap();
            let known = pool.shared().dump().unwrap().mark.lengths;
            disk.fail(FaultPlan::lasting(Fault::Crash, disk.operations() + at));
            let finished = matches!(pool.reclaim(Thrift(1), Effort::default()), Ok(Reclaimed::Bytes { .. }));
            drop(pool);
            let disk = disk.crash_with(survival, &mut Random::new(at));
            let pool = open(&disk, 2, options()).unwrap();
            let left = pool.shared().dump().unwrap().mark;
            for (number, _) in &known {
                let is_there = disk.files().contains_key(&segment_path(*number));
                let is_left = left.length_of(*number).is_some();
                assert_eq!(is_there, is_left, "segment {number}, {survival:?} at operation {at}");
            }
            if finished {
                break;
            }
        }
    }
}

/// Whatever is given back while the pool is verified, of points that go and by copying for points that stay, at any
/// segment that it comes to: it is no damage.
#[test]
fn what_is_given_back_during_a_verification_is_no_damage() {
    for (of_one, dropped) in [(false, 1..=9), (false, 5..=8), (true, 1..=9), (true, 5..=8)] {
        for at in 0.. {
            let disk = SimDisk::new(1);
            let (mut pool, home) = filled(&disk, options(), 10);
            while pool.count(1000).unwrap() == Counted::More {}
            pool.flush_catalog().unwrap();
            drop(pool);
            let Some((path, _)) = segments(&disk, DATA).into_iter().nth(at) else { break };
            let watched = Watched::new(&disk);
            let pool = open(&watched, 2, options()).unwrap();
            let shared = Arc::clone(pool.shared());
            let pool = Arc::new(Mutex::new(pool));
            let (writer, source, going) = (Arc::clone(&pool), home.source.id, dropped.clone());
            watched.before_opening(&path, move || {
                let mut pool = writer.lock().unwrap();
                let key = |number| PointKey { source, number };
                pool.drop_points(&going.map(key).collect::<Vec<_>>()).unwrap();
                reclaim(&mut pool);
            });
            let point = of_one.then_some(PointKey { source, number: 10 });
            let report = shared.verify(point).unwrap();
            assert_eq!(report.damage, Vec::<String>::new(), "{point:?}, {dropped:?}, {path}");
            assert!(of_one || !watched.is_waiting());
        }
    }
}

/// Points that differ in nothing, and points that were dropped before a catalog was made anew, cost little each; there
/// may be very many of them.
#[test]
fn a_step_of_counting_is_bounded_also_where_there_are_no_births() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, roomy(), 1);
    let items = files(&home.names(&pool, 1), &chunks(1));
    for _ in 0..200 {
        home.commit(&mut pool, 1, items.clone()).unwrap();
    }
    let steps = |pool: &mut Pool| (1..).find(|_| pool.count(20).unwrap() == Counted::All);
    assert!(steps(&mut pool).is_some_and(|steps| steps >= 10));
    drop_points(&mut pool, &home, 2..=200);
    assert!(steps(&mut pool).is_some_and(|steps| steps >= 10));
    drop(pool);
    let mut pool = open_without_catalog(&disk, 2, roomy());
    assert!(steps(&mut pool).is_some_and(|steps| steps >= 10));
    audit(&mut pool);
}

#[test]
fn a_point_with_a_page_that_cannot_be_read_keeps_what_it_holds_and_no_other_does() {
    for victim in [1, 5, 10] {
        let disk = SimDisk::new(1);
        let (mut pool, home) = filled(&disk, roomy(), 12);
        drop_points(&mut pool, &home, []);
        pool.flush_catalog().unwrap();
        drop(pool);
        // The pages of a point are in a frame of their own.
        let (path, bytes) = last_meta(&disk);
        let page = frames_of(&bytes, PAGES)[victim - 1];
        let sound = disk.snapshot();
        rot(&disk, &path, page, IN_PAYLOAD);
        let mut pool = open(&disk, 2, options()).unwrap();
        drop_points(&mut pool, &home, 1..=10);
        assert!(reclaim(&mut pool) > 0, "what others held comes back");
        let damage = pool.shared().damage();
        assert!(damage.iter().any(|line| line.contains("is not given back")), "{damage:?}");
        assert_eq!(read_points(&pool), [11, 12]);
        pool.flush_catalog().unwrap();
        drop(pool);
        // The page is back: all of it is given back, and the books are right.
        disk.overwrite(&path, 0, &sound.files()[&path]).unwrap();
        let mut pool = open(&disk, 3, options()).unwrap();
        while pool.count(1000).unwrap() == Counted::More {}
        reclaim(&mut pool);
        audit(&mut pool);
        assert_eq!((read_points(&pool), pool.shared().verify(None).unwrap().damage.len()), (vec![11, 12], 0));
        for number in 1..=10 {
            let known = pool.shared().known(home.machine.id, &home.names(&pool, number)).unwrap();
            assert_eq!(known, [true, false, false, false], "chunks of {number}");
        }
    }
}

#[test]
fn a_crash_while_a_count_is_taken_back_leaves_the_books_right() {
    let mut random = Random::new(5);
    for at in (1..).step_by(2) {
        let disk = SimDisk::new(at);
        let (mut pool, home) = filled(&disk, Options { catalog_batch: 1, ..roomy() }, 8);
        drop_points(&mut pool, &home, []);
        pool.flush_catalog().unwrap();
        drop(pool);
        let (path, bytes) = last_meta(&disk);
        let sound = disk.snapshot();
        rot(&disk, &path, frames_of(&bytes, PAGES)[4], IN_PAYLOAD);
        let mut pool = open(&disk, 2, Options { catalog_batch: 1, ..options() }).unwrap();
        let keys: Vec<_> = (1..=6).map(|number| PointKey { source: home.source.id, number }).collect();
        pool.drop_points(&keys).unwrap();
        disk.fail(FaultPlan::lasting(Fault::Crash, disk.operations() + at));
        let mut is_done = false;
        while let Ok(counted) = pool.count(3) {
            is_done = counted == Counted::All;
            if is_done {
                break;
            }
        }
        drop(pool);
        let disk = disk.crash_with(Survival::draw(&mut random), &mut random);
        disk.overwrite(&path, 0, &sound.files()[&path]).unwrap();
        let mut pool = open(&disk, 3, options()).unwrap();
        while pool.count(5).unwrap() == Counted::More {}
        assert_eq!(pool.audit().unwrap().wrong, Vec::<String>::new(), "{at}");
        pool.flush_catalog().unwrap();
        drop(pool);
        // What was being taken back was given up; the next opening tries it again.
        let mut pool = open(&disk, 4, options()).unwrap();
        while pool.count(5).unwrap() == Counted::More {}
        audit(&mut pool);
        assert_eq!(read_points(&pool), [7, 8], "{at}");
        if is_done {
            break;
        }
    }
}

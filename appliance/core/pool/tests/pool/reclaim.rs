//! Points that are dropped, what refers to chunks, and room that is given back.

use std::collections::BTreeMap;

use medium::sim::{Fault, FaultPlan, Random, SimDisk, Survival};
use model::ErrorKind;
use model::archive::{Archive, PointKey};
use pool::layout::SegmentLimits;
use pool::{Counted, Effort, Options, Pool, Reclaimed, Thrift};

use crate::drive::{CHUNKS, DATA, IN_PAYLOAD, META, frames_of, rot, segments};
use crate::world::{
    FILES, Home, archive, bundle, chunks, files, filled, label, lazy, open, open_without_catalog, options,
    points, read_points,
};

/// Gives back whatever is of no use; the bytes of files that went.
pub(crate) fn reclaim(pool: &mut Pool) -> u64 {
    let mut all = 0;
    loop {
        match pool.reclaim(Thrift(1), Effort { births: 7, bytes: 1 }).unwrap() {
            Reclaimed::Bytes { freed, .. } => all += freed,
            Reclaimed::Counting => {}
            Reclaimed::Waiting | Reclaimed::Nothing => return all,
        }
    }
}

/// Gives room back until one segment has gone; others are to go still.
pub(crate) fn reclaim_one(pool: &mut Pool) {
    loop {
        match pool.reclaim(Thrift(1), Effort { births: 7, bytes: 1 }).unwrap() {
            Reclaimed::Counting => {}
            other => return assert!(matches!(other, Reclaimed::Bytes { .. }), "{other:?}"),
        }
    }
}

/// The catalog agrees with the trees.
pub(crate) fn audit(pool: &mut Pool) {
    let audit = pool.audit().unwrap();
    assert_eq!((audit.wrong, audit.points), (Vec::new(), points(pool).len() as u64));
}

pub(crate) fn count(pool: &mut Pool) {
    while pool.count(1000).unwrap() == Counted::More {}
}

pub(crate) fn drop_points(pool: &mut Pool, home: &Home, numbers: impl IntoIterator<Item = u64>) {
    count(pool);
    let key = |number| PointKey { source: home.source.id, number };
    pool.drop_points(&numbers.into_iter().map(key).collect::<Vec<_>>()).unwrap();
}

fn data_bytes(disk: &SimDisk) -> u64 {
    [DATA, META].iter().flat_map(|kind| segments(disk, *kind)).map(|(_, bytes)| bytes.len() as u64).sum()
}

/// Which chunks of a number the machine is said to have.
fn known(pool: &Pool, home: &Home, number: u64) -> Vec<bool> {
    pool.shared().known(home.machine.id, &home.names(pool, number)).unwrap()
}

#[test]
fn what_only_dropped_points_held_is_given_back() {
    for dropped in [vec![1, 2, 3, 4, 5, 6, 7], vec![2, 4, 6, 8], vec![9, 1, 5], vec![3]] {
        let disk = SimDisk::new(1);
        let (mut pool, home) = filled(&disk, options(), 10);
        audit(&mut pool);
        drop_points(&mut pool, &home, dropped.clone());
        let left: Vec<u64> = (1..=10).filter(|number| !dropped.contains(number)).collect();
        assert_eq!(read_points(&pool), left);
        let before = data_bytes(&disk);
        let freed = reclaim(&mut pool);
        assert!(freed > 3000 * dropped.len() as u64 && data_bytes(&disk) < before, "{freed} {before}");
        assert_eq!(read_points(&pool), left);
        audit(&mut pool);
        for number in 1..=10 {
            let expected = if left.contains(&number) { [true; FILES] } else { [true, false, false, false] };
            assert_eq!(known(&pool, &home, number), expected, "chunks of {number}");
        }
        assert_eq!(pool.shared().verify(None).unwrap().damage, Vec::<String>::new());

        let dump = pool.shared().dump().unwrap();
        drop(pool);
        let mut pool = open(&disk, 2, options()).unwrap();
        audit(&mut pool);
        assert_eq!(pool.shared().dump().unwrap(), dump);
        drop(pool);
        let mut pool = open_without_catalog(&disk, 3, options());
        assert_eq!(pool.shared().damage(), Vec::<String>::new());
        assert_eq!(read_points(&pool), left);
        audit(&mut pool);
        assert_eq!(pool.shared().dump().unwrap(), dump, "from the segments alone");
        home.add_point(&mut pool, 11).unwrap();
        assert_eq!(reclaim(&mut pool), 0);
        audit(&mut pool);
    }
}

#[test]
fn a_drop_writes_as_much_whatever_is_stored() {
    let cost = |points: u64| {
        let disk = SimDisk::new(1);
        let (mut pool, home) = filled(&disk, lazy(), points);
        count(&mut pool);
        let before = data_bytes(&disk);
        drop_points(&mut pool, &home, [2]);
        data_bytes(&disk) - before
    };
    let few = cost(5);
    assert!(few > 0 && few == cost(50), "{few}");
}

#[test]
fn the_newest_point_and_those_that_are_not_counted_stay() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, options(), 3);
    let key = |number| PointKey { source: home.source.id, number };
    let kind = |pool: &mut Pool, numbers: &[u64]| {
        let keys: Vec<_> = numbers.iter().map(|number| key(*number)).collect();
        pool.drop_points(&keys).map_err(|error| error.kind())
    };
    assert_eq!(kind(&mut pool, &[1]), Err(ErrorKind::Busy));
    count(&mut pool);
    assert_eq!(kind(&mut pool, &[1, 3]), Err(ErrorKind::Refused));
    assert_eq!(kind(&mut pool, &[1, 4]), Err(ErrorKind::Missing));
    assert_eq!(read_points(&pool), [1, 2, 3], "all of them or none");
    assert_eq!(kind(&mut pool, &[1, 2]), Ok(()));
    assert_eq!(read_points(&pool), [3]);
    assert_eq!(kind(&mut pool, &[1]), Err(ErrorKind::Missing));
}

#[test]
fn a_point_that_is_read_stays_until_it_is_not() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, options(), 4);
    let key = PointKey { source: home.source.id, number: 2 };
    let lease = pool.shared().lease(key).unwrap();
    drop_points(&mut pool, &home, [1, 2]);
    assert!(reclaim(&mut pool) > 0, "the other one goes");
    assert_eq!(read_points(&pool), [3, 4]);
    let names = home.names(&pool, 2);
    let read = archive(&pool).chunks(key, &names).unwrap();
    let read: Vec<_> = read.into_iter().map(|bytes| bytes.unwrap().to_vec()).collect();
    assert_eq!(read, chunks(2));
    assert_eq!(archive(&pool).items(key, &[], &[0xff; 9], 100).unwrap().len(), 1 + 3 * FILES);
    drop(lease);
    assert_eq!(pool.shared().lease(key).unwrap_err().kind(), ErrorKind::Missing);
    home.add_points(&mut pool, 5..9);
    assert!(reclaim(&mut pool) > 0);
    assert!(archive(&pool).chunks(key, &names).is_err());
    audit(&mut pool);
}

/// A point is read piece by piece while it is dropped, counted out and cleared away, first alone and then with most of the
/// fifty others.
#[test]
fn a_view_of_a_point_that_goes_beside_fifty_others_reads_right_to_its_end() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, options(), 51);
    let key = PointKey { source: home.source.id, number: 26 };
    let lease = pool.shared().lease(key).unwrap();
    let (names, expected, mut reads) = (home.names(&pool, 26), chunks(26), 0);
    let mut read_on = |pool: &Pool| {
        let at = reads % FILES;
        let read = archive(pool).chunks(key, &names[at..=at]).unwrap().remove(0).unwrap();
        assert!(*read == *expected[at], "chunk {at} of read {reads}");
        assert_eq!(archive(pool).items(key, &[], &[0xff; 9], 100).unwrap().len(), 1 + 3 * FILES);
        reads += 1;
    };
    let others = |gone: std::ops::Range<u64>| (1..=51).filter(move |number| !gone.contains(number));
    for gone in [26..27, 24..30, 1..51] {
        let dropped = gone.clone().filter(|number| points(&pool).iter().any(|point| point.number == *number));
        let dropped: Vec<u64> = dropped.collect();
        drop_points(&mut pool, &home, dropped);
        loop {
            read_on(&pool);
            match pool.reclaim(Thrift(1), Effort { births: 3, bytes: 1 }).unwrap() {
                Reclaimed::Bytes { .. } | Reclaimed::Counting => {}
                Reclaimed::Waiting | Reclaimed::Nothing => break,
            }
        }
        assert_eq!(read_points(&pool), others(gone).collect::<Vec<_>>());
    }
    assert!(reads > 50, "{reads} reads while it went");
    drop(lease);
    home.add_points(&mut pool, 52..60);
    assert!(reclaim(&mut pool) > 0 && archive(&pool).chunks(key, &names).is_err());
    audit(&mut pool);
}

/// Room comes back while a backup is under way; only what it was told of stays for it.
#[test]
fn what_a_backup_under_way_counts_on_is_not_given_back() {
    for fenced in [false, true] {
        let disk = SimDisk::new(1);
        let (mut pool, home) = filled(&disk, options(), 6);
        let session = pool.shared().begin_session();
        let names = home.names(&pool, 2);
        let lengths = |pool: &Pool| pool.shared().known_lengths(home.machine.id, &names, &session).unwrap();
        assert!(lengths(&pool).iter().all(Option::is_some));
        drop_points(&mut pool, &home, [1, 2, 3]);
        let before = data_bytes(&disk);
        assert!(reclaim(&mut pool) > 0 && data_bytes(&disk) < before);
        // The first chunk is in every point.
        assert_eq!(known(&pool, &home, 1)[1..], [false, false, false], "nobody was told of it");
        assert!(lengths(&pool).iter().all(Option::is_some), "what it was told of is here");
        assert_eq!(pool.reclaim(Thrift(1), Effort::default()).unwrap(), Reclaimed::Waiting);
        if fenced {
            assert_eq!((pool.fence_sessions(u64::MAX), session.is_fenced()), (1, true));
            assert!(reclaim(&mut pool) > 0);
        } else {
            home.commit(&mut pool, 2, files(&names, &chunks(2))).unwrap();
            assert!(!session.is_fenced());
        }
        drop(session);
        reclaim(&mut pool);
        let expected: &[u64] = if fenced { &[4, 5, 6] } else { &[4, 5, 6, 2] };
        assert_eq!(read_points(&pool), expected);
        audit(&mut pool);
        drop(pool);
        let mut pool = open_without_catalog(&disk, 2, options());
        assert_eq!(read_points(&pool), expected);
        audit(&mut pool);
    }
}

/// What a backup has sent looks like what nobody needs until its point is made. It is neither given back nor written again,
/// and does not keep what is garbage beside it.
#[test]
fn what_a_backup_under_way_has_sent_is_left_where_it_is() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, options(), 6);
    let session = pool.shared().begin_session();
    let sent: Vec<u64> = (20..60).collect();
    for number in &sent {
        let bundle = bundle(&home.naming(&pool), chunks(*number)).1;
        pool.put_bundle(&session, home.machine.id, home.source.id, bundle).unwrap();
    }
    pool.commit(Vec::new()).unwrap();
    drop_points(&mut pool, &home, [1, 2, 3]);
    assert!(reclaim(&mut pool) > 0);
    let before = segments(&disk, DATA);
    for _ in 0..3 {
        assert_eq!(pool.reclaim(Thrift(1), Effort::default()).unwrap(), Reclaimed::Waiting);
    }
    assert_eq!(segments(&disk, DATA), before, "nothing was written again");
    assert!(sent.iter().all(|number| known(&pool, &home, *number) == [true; FILES]));
    let names = home.names(&pool, 20);
    home.commit(&mut pool, 20, files(&names, &chunks(20))).unwrap();
    drop(session);
    assert!(reclaim(&mut pool) > 0, "nobody waits for the rest any more");
    assert_eq!(read_points(&pool), [4, 5, 6, 20]);
    audit(&mut pool);
}

/// A chunk is told to be here, its segment goes, and the chunk with it to another one; that is given back in its turn.
#[test]
fn what_was_promised_is_kept_however_often_it_is_moved() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, options(), 3);
    let session = pool.shared().begin_session();
    let names = home.names(&pool, 2);
    pool.shared().known_lengths(home.machine.id, &names, &session).unwrap();
    drop_points(&mut pool, &home, [2]);
    for round in 1..6 {
        home.add_points(&mut pool, round * 10..round * 10 + 4);
        let newest = points(&pool).last().unwrap().number;
        drop_points(&mut pool, &home, newest - 3..newest);
        assert!(reclaim(&mut pool) > 0);
    }
    home.commit(&mut pool, 2, files(&names, &chunks(2))).unwrap();
    drop(session);
    reclaim(&mut pool);
    assert_eq!(read_points(&pool), [1, 3, 13, 23, 33, 43, 53, 2]);
    audit(&mut pool);
}

/// The segments of data that went since there were others, and the bytes that were written to them since.
fn gone_and_written(disk: &SimDisk, before: &BTreeMap<String, u64>) -> (Vec<String>, u64) {
    let after = data_lengths(disk);
    let gone = before.keys().filter(|path| !after.contains_key(*path)).cloned().collect();
    let length_before = |path: &String| before.get(path).copied().unwrap_or(0);
    (gone, after.iter().map(|(path, length)| length - length_before(path)).sum())
}

fn data_lengths(disk: &SimDisk) -> BTreeMap<String, u64> {
    segments(disk, DATA).into_iter().map(|(path, bytes)| (path, bytes.len() as u64)).collect()
}

#[test]
fn a_step_reads_and_writes_no_more_than_it_may_and_one_segment_and_the_oldest_go_first() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, options(), 40);
    drop_points(&mut pool, &home, (1..40).step_by(2));
    let longest = segments(&disk, DATA).iter().map(|(_, bytes)| bytes.len() as u64).max().unwrap();
    for effort in [1, 2 * longest] {
        let (mut steps, mut all_gone) = (0, Vec::new());
        loop {
            let before = data_lengths(&disk);
            match pool.reclaim(Thrift(1), Effort { births: 1000, bytes: effort }).unwrap() {
                Reclaimed::Bytes { freed, copied } => {
                    assert!(freed <= effort + longest && copied <= effort + longest, "{freed} {copied}");
                    let (gone, written) = gone_and_written(&disk, &before);
                    assert!(written <= effort + longest, "{gone:?} {written}");
                    all_gone.extend(gone);
                    steps += 1;
                }
                Reclaimed::Counting => {}
                Reclaimed::Waiting | Reclaimed::Nothing => break,
            }
        }
        assert!(steps > 3 && all_gone.len() > 3 && all_gone.is_sorted(), "{steps} steps: {all_gone:?}");
        let next = points(&pool).last().unwrap().number + 1;
        home.add_points(&mut pool, 100 + next..140 + next);
        let newest = points(&pool).last().unwrap().number;
        drop_points(&mut pool, &home, (next..newest).step_by(2));
    }
}

#[test]
fn an_opening_ends_what_was_promised() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, options(), 6);
    let session = pool.shared().begin_session();
    let sent = bundle(&home.naming(&pool), chunks(30)).1;
    pool.put_bundle(&session, home.machine.id, home.source.id, sent).unwrap();
    pool.commit(Vec::new()).unwrap();
    drop_points(&mut pool, &home, [1, 2, 3]);
    pool.reopen().unwrap();
    assert!(reclaim(&mut pool) > 0);
    assert_eq!(known(&pool, &home, 30)[1..], [false; FILES - 1], "its backup is told to begin again");
    assert_eq!(pool.reclaim(Thrift(1), Effort::default()).unwrap(), Reclaimed::Nothing);
    audit(&mut pool);
}

/// A chunk in a segment that is to go is held, a backup asks for it, and then its last point is dropped: the models of
/// this protocol lost it.
#[test]
fn a_held_chunk_of_a_condemned_segment_is_not_promised() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, options(), 9);
    drop_points(&mut pool, &home, [1, 4, 7]);
    reclaim_one(&mut pool);
    let session = pool.shared().begin_session();
    let is_held_up = |number: &u64| {
        let names = home.names(&pool, *number);
        let lengths = pool.shared().known_lengths(home.machine.id, &names, &session).unwrap();
        lengths.iter().any(Option::is_none)
    };
    let number =
        [2, 3, 5, 6, 8, 9].into_iter().find(is_held_up).expect("its segment is to go and it is held");
    drop_points(&mut pool, &home, [number]);
    reclaim(&mut pool);
    let sent = bundle(&home.naming(&pool), chunks(number)).1;
    pool.put_bundle(&session, home.machine.id, home.source.id, sent).unwrap();
    let names = home.names(&pool, number);
    home.commit(&mut pool, number, files(&names, &chunks(number))).unwrap();
    drop(session);
    reclaim(&mut pool);
    let others = [2, 3, 5, 6, 8, 9].into_iter().filter(|other| *other != number);
    assert_eq!(read_points(&pool), others.chain([number]).collect::<Vec<_>>());
    audit(&mut pool);
}

#[test]
fn chunks_of_several_machines_stay_for_whoever_holds_them() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, options(), 3);
    let machine = pool.add_machine(&label("web2"), false).unwrap();
    let source = pool.add_source(machine.id, &label("home")).unwrap();
    let second = Home { machine, source };
    second.add_points(&mut pool, [1, 9]);
    drop_points(&mut pool, &home, [1, 2]);
    assert!(reclaim(&mut pool) > 0);
    assert_eq!(read_points(&pool), [3, 1, 9]);
    drop_points(&mut pool, &second, [1]);
    // What was copied lies in the segment that is being written, until that is full.
    home.add_points(&mut pool, 10..14);
    assert!(reclaim(&mut pool) > 0);
    assert_eq!(read_points(&pool), [3, 10, 11, 12, 13, 9]);
    audit(&mut pool);
    let dump = pool.shared().dump().unwrap();
    drop(pool);
    let mut pool = open_without_catalog(&disk, 2, options());
    audit(&mut pool);
    assert_eq!(pool.shared().dump().unwrap(), dump);
    assert_eq!(known(&pool, &second, 1), [true, false, false, false]);
}

/// Drops, reclaims and adds; the points that may be there afterwards.
fn churn(pool: &mut Pool, home: &Home) -> Result<(), pool::PoolError> {
    while pool.count(5)? == Counted::More {}
    let key = |number| PointKey { source: home.source.id, number };
    pool.drop_points(&[key(1), key(3)])?;
    let effort = Effort { births: 9, bytes: 1 };
    while matches!(pool.reclaim(Thrift(1), effort)?, Reclaimed::Bytes { .. } | Reclaimed::Counting) {}
    home.add_point(pool, 1)?;
    while pool.count(5)? == Counted::More {}
    pool.drop_points(&[key(2)])?;
    while matches!(pool.reclaim(Thrift(1), effort)?, Reclaimed::Bytes { .. } | Reclaimed::Counting) {}
    Ok(())
}

#[test]
fn a_crash_at_any_moment_of_it_loses_nothing() {
    let rows: [&[u64]; 4] = [&[1, 2, 3, 4], &[2, 4], &[2, 4, 1], &[4, 1]];
    let mut seen = [0; 4];
    for survival in Survival::ALL {
        for at in 1.. {
            let disk = SimDisk::new(at);
            let (mut pool, home) = filled(&disk, options(), 4);
            disk.fail(FaultPlan::lasting(Fault::Crash, disk.operations() + at));
            let finished = churn(&mut pool, &home).is_ok();
            drop(pool);
            let disk = disk.crash_with(survival, &mut Random::new(at));
            let mut pool = open(&disk, 2, options()).unwrap();
            let context = format!("{survival:?} at operation {at}");
            assert_eq!(pool.shared().damage(), Vec::<String>::new(), "{context}");
            let row = read_points(&pool);
            let which = rows.iter().position(|expected| *expected == row);
            seen[which.unwrap_or_else(|| panic!("{row:?} {context}"))] += 1;
            audit(&mut pool);
            reclaim(&mut pool);
            audit(&mut pool);
            assert_eq!(read_points(&pool), row, "{context}");
            let dump = pool.shared().dump().unwrap();
            drop(pool);
            let mut pool = open_without_catalog(&disk, 3, options());
            assert_eq!((pool.shared().damage(), read_points(&pool)), (Vec::new(), row), "{context}");
            audit(&mut pool);
            assert_eq!(pool.shared().dump().unwrap(), dump, "{context}");
            if finished {
                break;
            }
        }
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

#[test]
fn a_segment_that_cannot_be_read_whole_stays() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, Options { limits: lazy().limits, ..options() }, 8);
    drop_points(&mut pool, &home, [1, 2, 3, 4, 5, 6]);
    pool.flush_catalog().unwrap();
    // Point 7 and 8 share the first chunk, which is in the first segment.
    let (first, bytes) = segments(&disk, DATA).remove(0);
    rot(&disk, &first, frames_of(&bytes, CHUNKS)[0], IN_PAYLOAD);
    drop(pool);
    let mut pool = open(&disk, 2, options()).unwrap();
    reclaim(&mut pool);
    assert!(segments(&disk, DATA).iter().any(|(path, _)| *path == first), "it holds what is needed");
    assert!(pool.shared().damage().iter().any(|line| line.contains("is kept as it is")));
}

/// What a rebuilt catalog takes out with a segment must not be what another one of its number holds.
#[test]
fn the_number_of_a_segment_that_went_is_not_used_again() {
    let limits = SegmentLimits { data_bytes: 40 << 10, meta_bytes: 1 << 20 };
    let numbers = |disk: &SimDisk| -> Vec<String> {
        let all = [DATA, META].map(|kind| segments(disk, kind));
        all.into_iter().flatten().map(|(path, _)| path).collect()
    };
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, Options { limits, ..lazy() }, 4);
    // The newest point holds nothing of the segment that is being written, which has the highest number.
    home.commit(&mut pool, 5, files(&[], &[])).unwrap();
    let last = numbers(&disk).into_iter().max().unwrap();
    assert!(segments(&disk, DATA).iter().any(|(path, _)| *path == last));
    drop_points(&mut pool, &home, 1..5);
    assert!(reclaim(&mut pool) > 0);
    assert!(numbers(&disk).iter().all(|path| *path < last), "it went, and nothing came behind it");
    drop(pool);
    let mut pool = open(&disk, 2, Options { limits, ..lazy() }).unwrap();
    home.add_points(&mut pool, [20, 21]);
    assert!(!numbers(&disk).contains(&last));
    drop_points(&mut pool, &home, [5]);
    drop(pool);
    let mut pool = open_without_catalog(&disk, 3, options());
    assert_eq!((pool.shared().damage(), read_points(&pool)), (Vec::new(), vec![20, 21]));
    audit(&mut pool);
}

/// The record that removes a segment is there and the catalog does not know it yet, and what was copied has rotted.
#[test]
fn a_copy_that_rotted_at_once_does_not_bring_the_segment_back() {
    let mut seen = 0;
    for at in 0..60 {
        let disk = SimDisk::new(1);
        let (mut pool, home) = filled(&disk, options(), 6);
        drop_points(&mut pool, &home, [1, 2, 3, 4]);
        let before = segments(&disk, DATA);
        disk.fail(FaultPlan::once(Fault::Error, disk.operations() + 1 + at).under("catalog"));
        let effort = Effort { births: 1000, bytes: u64::MAX };
        let mut reclaimed = Ok(Reclaimed::Counting);
        while matches!(reclaimed, Ok(Reclaimed::Counting | Reclaimed::Bytes { .. })) {
            reclaimed = pool.reclaim(Thrift(1), effort);
        }
        let copies =
            segments(&disk, DATA).into_iter().filter(|(path, _)| before.iter().all(|b| b.0 != *path));
        for (path, bytes) in copies {
            frames_of(&bytes, CHUNKS).into_iter().for_each(|frame| rot(&disk, &path, frame, IN_PAYLOAD));
        }
        for point in points(&pool) {
            let read = archive(&pool).chunks(point.key(), &home.names(&pool, point.sequence.0));
            seen += u64::from(pool.is_failed() && read.is_ok_and(|read| read.iter().any(Result::is_err)));
        }
        disk.clear_faults();
        pool.reopen().unwrap();
        let damage = pool.shared().damage();
        assert!(!damage.iter().any(|line| line.contains("catalog")), "{damage:?} at {at}");
        audit(&mut pool);
    }
    assert!(seen > 0, "no copy was found rotten while the catalog was behind");
}

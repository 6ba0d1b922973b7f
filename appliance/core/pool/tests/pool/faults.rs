//! What a pool makes of rot and of what cannot be read: everything that is intact restores, and the rest is said.

use medium::Disk;
use medium::sim::{Fault, FaultPlan, Random, SimDisk, Survival};
use model::ErrorKind;
use pool::Pool;
use pool::header::PoolHeader;

use crate::drive::{
    BadSectors, DATA, IN_HEADER, IN_PAYLOAD, INDEX, META, PAGES, frames, frames_of, last_frame, last_meta,
    rot, segments, unreadable,
};
use crate::world::{
    Audited, FILES, closed, closed_without_catalog, create, filled, key, label, lazy, open,
    open_without_catalog, read_points, roomy, whole_points, world_of,
};

/// Whether a line of damage has all of these words.
fn says(damage: &[String], words: &[&str]) -> bool {
    damage.iter().any(|line| words.iter().all(|word| line.contains(word)))
}

#[test]
fn a_rotten_mark_takes_nothing_with_it_when_a_later_segment_proves_its_commit() {
    for (place, lost) in [(IN_PAYLOAD, false), (IN_HEADER, false), (IN_PAYLOAD, true)] {
        let (disk, home) = closed(roomy(), 1);
        let (meta, bytes) = last_meta(&disk);
        let mut pool = open(&disk, 2, roomy()).unwrap();
        // The first of these is made of what the pool has: pages and chunks of the commit whose mark rots.
        home.add_points(&mut pool, [1, 2, 3]);
        pool.flush_catalog().unwrap();
        let mark = last_frame(&bytes);
        rot(&disk, &meta, mark, place);
        if lost {
            drop(pool);
            pool = open_without_catalog(&disk, 3, roomy());
        } else {
            pool.rebuild_catalog().unwrap();
        }
        assert_eq!(read_points(&pool), [1, 1, 2, 3]);
        let damage = pool.shared().damage();
        assert!(
            says(&damage, &["mark of commit 3"]) && says(&damage, &["bytes", &mark.to_string()]),
            "{damage:?}"
        );
        home.add_point(&mut pool, 4).unwrap();
        drop(pool);
        let pool = open(&disk, 4, roomy()).unwrap();
        assert_eq!(read_points(&pool), [1, 1, 2, 3, 4]);
    }
}

#[test]
fn a_rebuild_keeps_the_last_commit_although_its_mark_rotted() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, roomy(), 2);
    let (meta, bytes) = last_meta(&disk);
    rot(&disk, &meta, last_frame(&bytes), IN_PAYLOAD);
    pool.rebuild_catalog().unwrap();
    assert_eq!(read_points(&pool), [1, 2]);
    home.add_point(&mut pool, 3).unwrap();
    drop(pool);
    let pool = open_without_catalog(&disk, 2, roomy());
    assert_eq!(read_points(&pool), [1, 2, 3]);
    assert!(says(&pool.shared().damage(), &["mark of commit 4"]));
}

#[test]
fn what_was_never_finished_behind_a_rotten_mark_does_not_appear() {
    let mut unfinished = 0;
    for survival in Survival::ALL {
        for at in 1.. {
            let disk = SimDisk::new(at);
            let (mut pool, home) = filled(&disk, roomy(), 1);
            let (meta, bytes) = last_meta(&disk);
            disk.fail(FaultPlan::lasting(Fault::Crash, disk.operations() + at));
            let finished = home.add_point(&mut pool, 2).is_ok();
            drop(pool);
            let disk = disk.crash_with(survival, &mut Random::new(at));
            let mut pool = open(&disk, 2, roomy()).unwrap();
            let next = read_points(&pool).len() as u64 + 1;
            unfinished += u64::from(next == 2);
            home.add_point(&mut pool, next).unwrap();
            let before = read_points(&pool);
            drop(pool);
            rot(&disk, &meta, last_frame(&bytes), IN_PAYLOAD);
            let pool = open_without_catalog(&disk, 3, roomy());
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
    for place in [IN_PAYLOAD, IN_HEADER] {
        let disk = SimDisk::new(1);
        let (mut pool, home) = filled(&disk, roomy(), 3);
        let other = pool.add_machine(&label("web2"), false).unwrap();
        drop(pool);
        let (meta, bytes) = last_meta(&disk);
        let index = frames_of(&bytes, INDEX)[0];
        rot(&disk, &meta, index, place);
        let pool = open_without_catalog(&disk, 2, roomy());
        assert_eq!(read_points(&pool), [1, 2, 3]);
        let damage = pool.shared().damage();
        assert!(says(&damage, &["bytes", &index.to_string(), "damaged"]), "{damage:?}");
        assert!(says(&damage, &["their own tables"]), "{damage:?}");
        let names = home.names(&pool, 1);
        assert_eq!(pool.shared().known(home.machine.id, &names).unwrap(), [true; FILES]);
        assert_eq!(pool.shared().known(other.id, &names).unwrap(), [false; FILES]);
    }
}

#[test]
fn rot_below_what_a_mark_covers_is_said_at_opening_and_behind_it_is_not() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, roomy(), 1);
    let (meta, before) = last_meta(&disk);
    home.add_point(&mut pool, 2).unwrap();
    drop(pool);
    disk.remove("catalog.redb").unwrap();
    let pages = frames_of(&before, PAGES);
    let rotten = disk.snapshot();
    rot(&rotten, &meta, pages[0], IN_PAYLOAD);
    let damage = open(&rotten, 2, roomy()).unwrap().shared().damage();
    assert!(says(&damage, &["segment 1", &pages[0].to_string(), "damaged"]), "{damage:?}");
    // The second commit loses its mark, which is what a crash in the midst of it leaves.
    let (_, bytes) = last_meta(&disk);
    let (behind, _) = *frames(&bytes).iter().find(|(at, _)| *at >= before.len() as u64).unwrap();
    for frame in [behind, last_frame(&bytes)] {
        rot(&disk, &meta, frame, IN_PAYLOAD);
    }
    let pool = open(&disk, 3, roomy()).unwrap();
    assert_eq!((read_points(&pool), pool.shared().damage()), (vec![1], Vec::new()));
}

#[test]
fn a_mark_that_comes_back_does_not_count_against_what_was_acknowledged_meanwhile() {
    let disk = SimDisk::new(1);
    let (pool, home) = filled(&disk, roomy(), 1);
    drop(pool);
    let (meta, bytes) = last_meta(&disk);
    // The drive says that the last frame never arrived: the other half of a mirror, a late write, a misread.
    let mark = last_frame(&bytes);
    let mark = usize::try_from(mark).unwrap();
    disk.overwrite(&meta, mark as u64, &vec![0; bytes.len() - mark]).unwrap();
    for (seed, number) in [(2, 7), (3, 8)] {
        let mut pool = open(&disk, seed, roomy()).unwrap();
        home.add_point(&mut pool, number).unwrap();
        assert_eq!(pool.shared().damage(), Vec::<String>::new());
    }
    disk.overwrite(&meta, mark as u64, &bytes[mark..]).unwrap();
    let pool = open(&disk.snapshot(), 4, roomy()).unwrap();
    assert_eq!(read_points(&pool), [7, 8], "with the catalog");
    let pool = open_without_catalog(&disk, 5, roomy());
    assert_eq!(read_points(&pool), [7, 8], "without it");
    let damage = pool.shared().damage();
    assert!(says(&damage, &["commit 3", "segment 1", "does not count"]), "{damage:?}");
}

#[test]
fn a_catalog_of_another_story_is_made_anew() {
    let (disk, home) = closed(roomy(), 1);
    let stale = disk.files()["catalog.redb"].clone();
    let (meta, bytes) = last_meta(&disk);
    let mark = last_frame(&bytes);
    disk.overwrite(&meta, mark, &vec![0; bytes.len() - usize::try_from(mark).unwrap()]).unwrap();
    let mut pool = open_without_catalog(&disk, 2, roomy());
    home.add_points(&mut pool, [7, 8]);
    drop(pool);
    disk.remove("catalog.redb").unwrap();
    disk.create("catalog.redb").unwrap().write_at(0, &stale).unwrap();
    let pool = open(&disk, 3, roomy()).unwrap();
    assert_eq!(read_points(&pool), [7, 8]);
    assert!(says(&pool.shared().damage(), &["catalog", "made anew"]));
}

#[test]
fn a_catalog_is_made_anew_beside_the_old_one() {
    let disk = SimDisk::new(1);
    let (mut pool, _) = filled(&disk, roomy(), 2);
    pool.flush_catalog().unwrap();
    let dump = pool.shared().dump().unwrap();
    drop(pool);
    let mut pool = open(&disk, 2, roomy()).unwrap();
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
        let mut pool = open(&disk, 3, roomy()).unwrap();
        disk.fail(FaultPlan::lasting(Fault::Crash, disk.operations() + at));
        let rebuilt = pool.rebuild_catalog().is_ok();
        drop(pool);
        let disk = disk.crash_with(Survival::Nothing, &mut Random::new(at));
        let pool = open(&disk, 4, roomy()).unwrap();
        assert_eq!((read_points(&pool), pool.shared().damage()), (vec![1, 2], Vec::new()), "operation {at}");
        if rebuilt {
            break;
        }
    }
}

#[test]
fn one_copy_of_the_header_that_can_be_read_is_enough() {
    let disk = SimDisk::new(1);
    drop(create(&disk, roomy()));
    for path in ["header.0", "header.1", "header.2"] {
        disk.fail(unreadable(path));
        let refused = open(&disk, 2, roomy()).err().map(|error| error.kind());
        assert_eq!(refused, (path == "header.2").then_some(ErrorKind::Io), "{path}");
    }
    let again = Pool::create(world_of(disk.clone(), 3), &[key()], roomy());
    assert_eq!(again.err().unwrap().kind(), ErrorKind::Io, "what cannot be read may be a pool");
    disk.clear_faults();
    assert!(open(&disk, 4, roomy()).is_ok());
}

#[test]
fn copies_of_the_header_that_were_not_renewed_are() {
    let disk = SimDisk::new(1);
    drop(create(&disk, roomy()));
    let (mut header, bad) = PoolHeader::load(&disk).unwrap();
    assert!(bad.is_empty());
    header.epoch += 1;
    for at in 1.. {
        let disk = disk.snapshot();
        disk.fail(FaultPlan::lasting(Fault::Crash, disk.operations() + at));
        let stored = header.store(&disk).is_ok();
        let mut random = Random::new(at);
        let disk = disk.crash_with(Survival::draw(&mut random), &mut random);
        drop(open(&disk, 2, roomy()).unwrap());
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
    let (disk, _) = closed(roomy(), 3);
    disk.fail(FaultPlan::once(Fault::Error, 0).on_reads().under("catalog.redb"));
    let pool = open(&disk, 2, roomy()).unwrap();
    assert_eq!(
        (read_points(&pool), pool.shared().damage()),
        (vec![1, 2, 3], Vec::new()),
        "once is not enough"
    );
    drop(pool);
    for bytes in [0..1, 4096..4097, 0..1 << 40] {
        let mut pool = open(&BadSectors::new(&disk, "catalog.redb", bytes), 9, roomy()).unwrap();
        assert_eq!(read_points(&pool), [1, 2, 3]);
        let damage = pool.shared().damage();
        assert!(says(&damage, &["the catalog could not be read", "made anew"]), "{damage:?}");
        pool.flush_catalog().unwrap();
        let kept = disk.files().into_keys().filter(|path| path.contains(".damaged-"));
        assert_eq!(kept.count(), 1, "one is kept");
    }
}

/// The pool opened while one of these segments cannot be read, each in its turn, with the path of that one.
fn without_each<'a>(
    disk: &'a SimDisk,
    segments: &'a [(String, Vec<u8>)],
) -> impl Iterator<Item = (&'a str, Audited)> {
    segments.iter().map(|(path, _)| {
        let disk = disk.snapshot();
        disk.fail(unreadable(path));
        (path.as_str(), open(&disk, 2, roomy()).unwrap())
    })
}

#[test]
fn a_data_segment_that_cannot_be_read_takes_only_its_own_chunks_with_it() {
    let (disk, home) = closed_without_catalog(lazy(), 30);
    let data = segments(&disk, DATA);
    assert!(data.len() > 5);
    for (path, mut pool) in without_each(&disk, &data[1..]) {
        let whole = whole_points(&pool, path);
        assert!((25..30).contains(&whole), "{whole} of 30 with {path}");
        let damage = pool.shared().damage();
        let number = u64::from_str_radix(&path[9..25], 16).unwrap();
        assert!(says(&damage, &[&format!("segment {number} cannot be read")]), "{damage:?}");
        home.add_point(&mut pool, 31).unwrap();
        assert_eq!(whole_points(&pool, path), whole + 1);
    }
}

#[test]
fn a_meta_segment_that_cannot_be_read_leaves_the_commits_of_the_others() {
    let (disk, _) = closed_without_catalog(lazy(), 30);
    let metas = segments(&disk, META);
    assert!(metas.len() > 2);
    for (at, (path, pool)) in without_each(&disk, &metas).enumerate() {
        let damage = pool.shared().damage();
        assert!(!damage.is_empty(), "{path}");
        if at + 1 == metas.len() {
            assert!(says(&damage, &["cannot be read", "commits after", "may hold"]), "{damage:?}");
        }
        // Machine and source are in the first one.
        assert!(at == 0 || whole_points(&pool, path) > 0, "{path}: {damage:?}");
    }
}

#[test]
fn commits_that_can_be_read_again_are_not_lost_to_what_was_taken_meanwhile() {
    let (disk, home) = closed_without_catalog(lazy(), 30);
    let (last, _) = last_meta(&disk);
    disk.fail(unreadable(&last));
    let mut pool = open(&disk, 2, roomy()).unwrap();
    let seen = read_points(&pool).len() as u64;
    assert!(seen > 10 && seen < 30, "{seen}");
    for number in [31, 32] {
        home.add_point(&mut pool, number).unwrap();
        drop(pool);
        pool = open(&disk, number, roomy()).unwrap();
    }
    let meanwhile: Vec<u64> = (1..=seen).chain([31, 32]).collect();
    assert_eq!(read_points(&pool), meanwhile);
    drop(pool);
    disk.clear_faults();
    let pool = open_without_catalog(&disk, 3, roomy());
    // Two of them have numbers that others took.
    let expected: Vec<u64> = (1..=seen).chain([31, 32]).chain(seen + 3..=30).collect();
    assert_eq!(read_points(&pool), expected);
}

#[test]
fn a_bad_sector_of_a_meta_segment_takes_only_the_frames_on_it() {
    let (disk, _) = closed_without_catalog(roomy(), 30);
    let (meta, bytes) = last_meta(&disk);
    assert!(bytes.len() > 5 * 4096);
    let pages = frames_of(&bytes, PAGES);
    let page = pages[pages.len() / 2] + IN_PAYLOAD;
    let pool = open(&BadSectors::new(&disk, &meta, page..page + 1), 9, roomy()).unwrap();
    let damage = pool.shared().damage();
    assert!(says(&damage, &["segment 1", "cannot be read"]), "{damage:?}");
    let whole = whole_points(&pool, "one sector");
    assert!((20..30).contains(&whole), "{whole} of 30");
    let at = bytes.len() as u64 - 64;
    let disk = disk.snapshot();
    disk.remove("catalog.redb").unwrap();
    let pool = open(&BadSectors::new(&disk, &meta, at..at + 1), 9, roomy()).unwrap();
    let damage = pool.shared().damage();
    assert!(says(&damage, &["segment 1", "cannot be read", "commits after 31", "may hold"]), "{damage:?}");
    assert_eq!(whole_points(&pool, "the last mark"), 29);
}

#[test]
fn an_opening_neither_reads_nor_syncs_what_the_catalog_covers() {
    let (disk, _) = closed(lazy(), 30);
    let newest = last_meta(&disk).0;
    let covered: Vec<String> =
        disk.files().into_keys().filter(|path| path.starts_with("segments/") && *path != newest).collect();
    assert!(covered.len() > 10);
    covered.iter().for_each(|path| disk.fail(unreadable(path)));
    let before = disk.operations();
    let pool = open(&disk, 2, roomy()).unwrap();
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

//! A pool keeps itself within its bounds: points go as retention says, their room comes back, and where floors leave
//! none, new data is refused and nothing is lost.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use system::{Running, Site, differences, expect, noise, run};

const MIB: u64 = 1 << 20;
/// Bytes that a program reads at a time.
const PIECE: usize = 64 << 10;

/// Bytes of all segments.
fn stored(site: &Site) -> u64 {
    let segments = fs::read_dir(site.data().join("pool/segments")).unwrap();
    segments.map(|entry| entry.unwrap().metadata().map_or(0, |found| found.len())).sum()
}

/// A site with a source of one file.
fn site_with_tree() -> (Site, PathBuf) {
    let site = Site::start().unwrap();
    let tree = site.path("files");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("same"), noise(0, 3 << 20)).unwrap();
    site.protect(&tree).unwrap();
    (site, tree)
}

/// Backs the tree up after its file has got other content.
fn back_up(site: &Site, tree: &Path, number: u64) {
    fs::write(tree.join("file"), noise(number, 24 << 20)).unwrap();
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
}

#[test]
fn points_go_as_their_policy_says_and_their_room_comes_back() {
    let (mut site, tree) = site_with_tree();
    for number in 1..=8 {
        back_up(&site, &tree, number);
    }
    assert_eq!((site.points().unwrap().len(), stored(&site) > 190 * MIB), (8, true));
    let plan = site.operate(&["plan"]).unwrap();
    assert!(plan.starts_with("Nothing is to be folded.\nKeep 8 points of web1/files: "), "{plan}");
    let points = site.points().unwrap();
    let pinned = format!("web1/files@{}", points[1]);
    site.operate(&["hold", &pinned]).unwrap();
    site.operate(&["retention", "set", "web1/files", "last=2", "floor-points=1", "floor-age=0s"]).unwrap();
    let shown = site.operate(&["retention", "show"]).unwrap();
    assert!(shown.contains("web1/files\tlast=2 floor-points=1 floor-age=0s\n"), "{shown}");
    site.wait_until("points go", || site.points().unwrap().len() == 3).unwrap();
    site.wait_until("room comes back", || stored(&site) < 110 * MIB).unwrap();
    let kept = [&points[1], &points[6], &points[7]].map(String::clone);
    assert_eq!(site.points().unwrap(), kept);
    site.verify().unwrap();

    site.operate(&["hold", "--release", &pinned]).unwrap();
    site.wait_until("what is no longer held goes", || site.points().unwrap().len() == 2).unwrap();
    let restored = site.restore("latest", &tree).unwrap();
    assert_eq!(differences(&tree, &restored).unwrap(), "");
    // Also from the segments alone.
    site.stop_server().unwrap();
    site.operate(&["pool", "rebuild-catalog"]).unwrap();
    site.start_server().unwrap();
    assert_eq!(site.points().unwrap(), kept[1..]);
    site.verify().unwrap();
}

#[test]
fn a_bounded_pool_folds_under_pressure_and_refuses_what_floors_leave_no_room_for() {
    let (site, tree) = site_with_tree();
    back_up(&site, &tree, 0);
    site.operate(&["retention", "set", "web1/files", "floor-points=1", "floor-age=0s"]).unwrap();
    site.operate(&["retention", "bounds", "capacity=400MiB", "high=60%", "low=50%"]).unwrap();
    for number in 1..=20 {
        back_up(&site, &tree, number);
        site.wait_until("the pool gets below its high-water mark", || stored(&site) < 260 * MIB).unwrap();
    }
    let left = site.points().unwrap().len();
    assert!((2..12).contains(&left), "{left} points are left");
    site.verify().unwrap();

    // Until here it may have gone on folding, down to its low-water mark.
    site.operate(&["retention", "set", "web1/files", "floor-points=1", "floor-age=30d"]).unwrap();
    let kept = site.points().unwrap();
    site.operate(&["retention", "bounds", "capacity=100MiB"]).unwrap();
    let refused = |site: &Site| {
        let output = run(&mut site.agent(&["backup"]).unwrap()).unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    fs::write(tree.join("file"), noise(99, 24 << 20)).unwrap();
    site.wait_until("new data is refused", || refused(&site).0 == Some(1)).unwrap();
    let (_, words) = refused(&site);
    assert!(words.contains("web1/files") && words.contains("100MiB") || words.contains("floor"), "{words}");
    let there = site.points().unwrap();
    assert!(kept.iter().all(|point| there.contains(point)), "{kept:?} were kept, {there:?} are there");
    site.verify().unwrap();

    site.operate(&["retention", "bounds"]).unwrap();
    site.wait_until("it recovers by itself", || refused(&site).0 == Some(0)).unwrap();
    assert_eq!(differences(&tree, &site.restore("latest", &tree).unwrap()).unwrap(), "");
}

#[test]
fn a_backup_that_would_pass_the_capacity_waits_for_points_to_go() {
    let (site, tree) = site_with_tree();
    for number in 1..=3 {
        back_up(&site, &tree, number);
    }
    site.operate(&["retention", "set", "web1/files", "floor-points=1", "floor-age=0s"]).unwrap();
    site.operate(&["retention", "bounds", "capacity=110MiB", "high=95%", "low=90%"]).unwrap();
    let before = site.points().unwrap();
    assert!(before.len() == 3 && stored(&site) > 70 * MIB);
    fs::write(tree.join("file"), noise(77, 24 << 20)).unwrap();
    fs::write(tree.join("another"), noise(78, 40 << 20)).unwrap();
    let mut backup = Running::start(&mut site.agent(&["backup"]).unwrap()).unwrap();
    let mut most = 0;
    let ended = loop {
        most = most.max(stored(&site));
        if let Some(ended) = backup.ended().unwrap() {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(ended.success(), "{}", site.log().unwrap());
    // What is needed is copied out of a segment before that goes, and all of it is in one here.
    assert!(most < (110 + 90) * MIB, "{} MiB were taken", most / MIB);
    let log = site.log().unwrap();
    let (full, folded) = (log.find("the pool is full").unwrap(), log.find("a point was folded").unwrap());
    assert!(full < folded && site.points().unwrap().len() < 4, "points went while it waited");
    site.wait_until("the pool is within its capacity", || stored(&site) < 110 * MIB).unwrap();
    assert_eq!(differences(&tree, &site.restore("latest", &tree).unwrap()).unwrap(), "");
    site.verify().unwrap();
}

#[test]
fn a_point_that_is_read_in_a_mount_stays_to_the_end_while_fifty_others_go() {
    let (site, tree) = site_with_tree();
    back_up(&site, &tree, 1);
    let point = site.points().unwrap().remove(0);
    let mount = site.mount("mount").unwrap();
    let below = mount.at(&format!("points/{point}"), &tree);
    let open = fs::File::open(below.join("file")).unwrap();
    let read = |from: u64, length: usize| {
        let mut bytes = vec![0; length];
        std::os::unix::fs::FileExt::read_exact_at(&open, &mut bytes, from).map(|()| bytes)
    };
    read(0, 4096).unwrap();
    for number in 2..=52 {
        fs::write(tree.join("file"), noise(number, 1 << 20)).unwrap();
        expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    }
    let (whole, position) = (noise(1, 24 << 20), Cell::new(0));
    // No piece is read twice, so none comes from the kernel's memory.
    let read_on = || {
        let from = position.get();
        let piece = read(from as u64, PIECE).unwrap();
        assert!(piece == whole[from..from + PIECE], "what is read at {from} is not what was protected");
        position.set((from + PIECE).min(whole.len() - PIECE));
    };
    site.operate(&["retention", "set", "web1/files", "last=1", "floor-points=1", "floor-age=0s"]).unwrap();
    site.wait_until("others go", || {
        read_on();
        site.points().unwrap().len() == 2
    })
    .unwrap();
    site.wait_until("room comes back", || {
        read_on();
        stored(&site) < 40 * MIB
    })
    .unwrap();
    assert!(read(0, whole.len()).unwrap() == whole, "the open file reads right to its end");
    drop(open);
    assert_eq!(mount.end().unwrap().code(), Some(0));
    site.wait_until("what nobody reads goes", || site.points().unwrap().len() == 1).unwrap();
    site.verify().unwrap();
}

#[test]
fn room_comes_back_within_a_minute_while_another_backup_is_under_way() {
    let (site, tree) = site_with_tree();
    for number in 1..=8 {
        back_up(&site, &tree, number);
    }
    site.join("far").unwrap();
    let far = site.path("far-files");
    fs::create_dir(&far).unwrap();
    // Some of it is what is about to go: that stays for whoever was told that it is here.
    fs::write(far.join("a"), noise(3, 24 << 20)).unwrap();
    for number in 100..130 {
        fs::write(far.join(number.to_string()), noise(number, 16 << 20)).unwrap();
    }
    expect(&mut site.agent_named("far", &["source", "add", "files", far.to_str().unwrap()]).unwrap(), 0)
        .unwrap();
    let before = stored(&site);
    let mut backup = Running::start(&mut site.agent_named("far", &["backup"]).unwrap()).unwrap();
    site.wait_until("a backup is under way", || stored(&site) > before + 100 * MIB).unwrap();
    backup.freeze().unwrap();
    assert!(backup.ended().unwrap().is_none());
    let of_web1 = |site: &Site| {
        let rows = site.operate(&["points", "--json"]).unwrap();
        rows.matches("web1").count()
    };
    assert_eq!(of_web1(&site), 8);

    let set = Instant::now();
    site.operate(&["retention", "set", "web1/files", "last=1", "floor-points=1", "floor-age=0s"]).unwrap();
    // What was on its way when the agent stopped has come.
    let with_all = stored(&site);
    site.wait_until("points go", || of_web1(&site) == 1).unwrap();
    site.wait_until("room comes back", || stored(&site) < with_all - 100 * MIB).unwrap();
    let took = set.elapsed();
    assert!(took < Duration::from_secs(60), "it took {took:?}");
    assert!(backup.ended().unwrap().is_none(), "nobody waited for the backup");

    backup.thaw().unwrap();
    assert!(backup.wait().unwrap().success(), "{}", site.log().unwrap());
    let out = site.path("out");
    site.operate(&["restore", "far/files@latest", "--to", out.to_str().unwrap()]).unwrap();
    assert_eq!(differences(&far, &out.join(far.strip_prefix("/").unwrap())).unwrap(), "");
    site.verify().unwrap();
}

//! A disk that is full: old points are folded, nothing that must be kept goes, what finds no room is refused loudly,
//! everything can be read, and service returns by itself.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use system::{Dice, Filesystem, History, LoopDisk, Running, Site, Snapshot, expect, noise, run};

const MIB: usize = 1 << 20;

#[test]
fn a_full_disk_is_told_and_a_larger_one_needs_no_restart() {
    let disk = LoopDisk::new(Filesystem::Xfs, 320 << 20).unwrap();
    let site = Site::start_on(&disk.path().join("appliance")).unwrap();
    let mut history = History::begin(&site, 1).unwrap();
    // Most of the room is taken by somebody else.
    let ballast = fs::File::create(disk.path().join("ballast")).unwrap();
    rustix::fs::fallocate(&ballast, rustix::fs::FallocateFlags::empty(), 0, 150 << 20).unwrap();
    for number in 0..12 {
        fs::write(site.path(&format!("files/large-{number}")), noise(number, 10 * MIB)).unwrap();
    }

    for _ in 0..2 {
        let failed = run(&mut site.agent(&["backup"]).unwrap()).unwrap();
        let words = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert_eq!(failed.status.code(), Some(1), "{words}");
        assert!(words.contains("What is kept: ") || words.contains("there is no room"), "{words}");
    }
    let line = site.wait_for_line(&["WARN", "a backup has failed", "the pool is full"]).unwrap();
    assert!(line.contains("web1"), "{line}");
    history.settle(&site, false).unwrap();
    history.check_all(&site).unwrap();

    disk.grow(1 << 30).unwrap();
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    history.settle(&site, true).unwrap();
    history.conclude(&site).unwrap();
}

/// Bytes of each of the files that a backup brings anew.
const LARGE: usize = 30 * MIB;
/// How many of them there are after a while; each backup replaces one of them.
const FILES: u64 = 5;
/// Bytes by which the source grows from one backup to the next.
const MORE: usize = MIB;
/// Points that are never folded.
const FLOOR: usize = 2;

/// Takes whatever is free on the drive of an appliance, to the last byte. Nobody gives room back meanwhile.
fn fill_up(site: &Site, ballast: &Path) {
    site.server().unwrap().freeze().unwrap();
    let mut file = fs::File::options().create(true).append(true).open(ballast).unwrap();
    let mut part = vec![0xaa; MIB];
    while !part.is_empty() {
        match file.write(&part) {
            Ok(0) => break,
            Ok(_) => {}
            Err(_) => part.truncate(part.len() / 2),
        }
    }
    let refused = file.write(&[0]).err().and_then(|error| error.raw_os_error());
    assert_eq!(refused, Some(28), "not a byte is left: ENOSPC");
    site.server().unwrap().thaw().unwrap();
}

/// What was acknowledged: ids of points, oldest first, and the tree of each.
struct Kept(Vec<(String, Snapshot)>);

impl Kept {
    /// Backs the tree up; its point is the newest.
    fn back_up(&mut self, site: &Site, tree: &Path) {
        if let Err(error) = expect(&mut site.agent(&["backup"]).unwrap(), 0) {
            panic!("{error}\n{}", site.log().unwrap());
        }
        self.note_newest(site, tree);
    }

    /// Kills both programs a while after a backup began.
    fn kill_amid_backup(&mut self, site: &mut Site, tree: &Path, after: Duration) {
        let mut backup = Running::start(&mut site.agent(&["backup"]).unwrap()).unwrap();
        std::thread::sleep(after);
        site.kill_server().unwrap();
        backup.kill().unwrap();
        site.start_server().unwrap();
        self.note_newest(site, tree);
    }

    /// Takes note of the newest point, which is that of the tree as it is, also if nobody heard of it.
    fn note_newest(&mut self, site: &Site, tree: &Path) {
        let newest = site.points().unwrap().pop().unwrap();
        if self.0.iter().all(|(id, _)| *id != newest) {
            self.0.push((newest, Snapshot::of(tree).unwrap()));
        }
    }

    /// Forgets what was folded until now: not always the oldest go, and every point that is there may be asked for.
    fn forget_folded(&mut self, site: &Site) {
        let points = site.points().unwrap();
        self.0.retain(|(id, _)| points.contains(id));
        assert_eq!(self.0.len(), points.len(), "every point was acknowledged: {points:?}");
    }

    /// What is inside the floor is there; the points that are left are among those that were acknowledged, in order.
    fn check_floor(&self, site: &Site, least: usize) -> usize {
        let points = site.points().unwrap();
        let inside = &self.0[self.0.len().saturating_sub(least)..];
        for (id, _) in inside {
            assert!(points.contains(id), "{id} is inside the floor and gone; there are {points:?}");
        }
        points.len()
    }

    /// Everything inside the floor restores.
    fn check_content(&self, site: &Site, tree: &Path, least: usize) {
        for (id, expected) in &self.0[self.0.len().saturating_sub(least)..] {
            let restored = Snapshot::of(&site.restore(id, tree).unwrap()).unwrap();
            assert_eq!(expected.difference(&restored), None, "{id}");
        }
    }
}

/// Replaces one of the large files, and adds one that stays.
fn change(tree: &Path, number: u64) {
    fs::write(tree.join(format!("{}", number % FILES)), noise(number, LARGE)).unwrap();
    fs::write(tree.join(format!("more-{number}")), noise(1_000 + number, MORE)).unwrap();
}

/// Backs a growing source up on a drive that has no byte left after a while, and kills both programs on the way.
fn grow(site: &mut Site, tree: &Path, kept: &mut Kept, ballast: &Path) {
    let mut dice = Dice::new(7);
    for number in 1..40 {
        change(tree, number);
        if [15, 20].contains(&number) {
            fill_up(site, ballast);
        }
        if number % 4 == 3 {
            kept.kill_amid_backup(site, tree, Duration::from_millis(dice.below(700)));
        }
        kept.back_up(site, tree);
        kept.check_floor(site, FLOOR);
    }
    assert_eq!(fs::read_dir(tree).unwrap().count() as u64, FILES + 40, "it has grown all the time");
    let left = kept.check_floor(site, FLOOR);
    assert!(left < 35, "nothing was folded: {left} points");
    kept.check_content(site, tree, FLOOR);
    site.audit().unwrap();
}

/// Backs up until that is refused, and kills both programs on the way; the words of the refusal.
fn back_up_until_refused(site: &mut Site, tree: &Path, kept: &mut Kept, ballast: &Path) -> String {
    let mut dice = Dice::new(8);
    for number in 40..80 {
        change(tree, number);
        fill_up(site, ballast);
        kept.kill_amid_backup(site, tree, Duration::from_millis(dice.below(700)));
        let output = run(&mut site.agent(&["backup"]).unwrap()).unwrap();
        if !output.status.success() {
            return String::from_utf8_lossy(&output.stderr).into_owned();
        }
        kept.note_newest(site, tree);
    }
    panic!("nothing was refused");
}

/// A drive of 1 GiB that is filled to the last byte by a source that keeps growing, and by somebody else besides.
fn a_full_drive_is_folded_on(filesystem: Filesystem) {
    let disk = LoopDisk::new(filesystem, 1 << 30).unwrap();
    let mut site = Site::start_on(&disk.path().join("appliance")).unwrap();
    let (tree, ballast) = (site.path("files"), disk.path().join("ballast"));
    fs::create_dir(&tree).unwrap();
    change(&tree, 0);
    site.protect(&tree).unwrap();
    let mut kept = Kept(Vec::new());
    kept.back_up(&site, &tree);
    let floor = format!("floor-points={FLOOR}");
    site.operate(&["retention", "set", "web1/files", "last=1000", &floor, "floor-age=0s"]).unwrap();
    grow(&mut site, &tree, &mut kept, &ballast);

    // Nothing of what is there may go from here on.
    site.operate(&["retention", "set", "web1/files", "last=1000", "floor-points=1", "floor-age=30d"])
        .unwrap();
    kept.forget_folded(&site);
    let words = back_up_until_refused(&mut site, &tree, &mut kept, &ballast);
    let says_what_is_kept = words.contains("web1/files") && words.contains("floor");
    assert!(says_what_is_kept && words.contains("would help"), "{words}");
    // Also while it refuses, whoever is killed.
    for after in [20, 150, 400] {
        kept.kill_amid_backup(&mut site, &tree, Duration::from_millis(after));
    }
    let all = site.points().unwrap().len();
    kept.check_floor(&site, all);
    kept.check_content(&site, &tree, all);

    // Room appears, and nothing else changes.
    fs::remove_file(&ballast).unwrap();
    let backs_up = || run(&mut site.agent(&["backup"]).unwrap()).unwrap().status.success();
    site.wait_until("it recovers by itself", backs_up).unwrap();
    kept.note_newest(&site, &tree);
    assert_eq!(kept.check_floor(&site, all + 1), all + 1, "the floor holds as before");
    kept.check_content(&site, &tree, all + 1);
    site.verify().unwrap();
}

#[test]
fn a_full_ext4_is_folded_on_and_refuses_what_floors_leave_no_room_for() {
    a_full_drive_is_folded_on(Filesystem::Ext4);
}

#[test]
fn a_full_xfs_is_folded_on_and_refuses_what_floors_leave_no_room_for() {
    a_full_drive_is_folded_on(Filesystem::Xfs);
}

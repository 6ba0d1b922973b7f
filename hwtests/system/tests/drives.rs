//! Pools on several drives: each drive is lost once, in the middle of something, and nothing else is; what is not of the
//! pool is refused; drives are taken away, replaced and taken back. Needs root and loop devices.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use system::{
    BlankDisk, Filesystem, History, LoopDisk, Running, Site, copy, expect, is_mounted, noise, run, said,
};

const MIB: u64 = 1 << 20;
/// How long the appliance may take to put things in order by itself.
const ORDER_MAX: Duration = Duration::from_secs(60);

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn keepfast(site: &Site, arguments: &[&str]) -> String {
    expect(&mut site.keepfast(arguments).unwrap(), 0).unwrap_or_else(|error| {
        panic!("{error}\n{}", site.log().unwrap());
    })
}

/// `keepfast drive list`.
fn list(site: &Site) -> Value {
    let output = run(&mut site.keepfast(&["drive", "list", "--json"]).unwrap()).unwrap();
    assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The row of a drive that is at a place.
fn row_at(list: &Value, place: &Path) -> Option<Value> {
    let is_there = |row: &&Value| row["place"].as_str().is_some_and(|at| Path::new(at).starts_with(place));
    list["drives"].as_array().unwrap().iter().find(is_there).cloned()
}

fn drive_at(site: &Site, place: &Path) -> String {
    row_at(&list(site), place).unwrap()["drive"].as_str().unwrap().to_owned()
}

/// Waits until something is so.
fn wait_for(site: &Site, what: &str, is_so: impl Fn(&Value) -> bool) {
    let begun = Instant::now();
    loop {
        let found = list(site);
        if is_so(&found) {
            return;
        }
        assert!(begun.elapsed() < ORDER_MAX, "{what}: {found:#}\n{}", site.log().unwrap());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether the drive at a place is out.
fn is_out(found: &Value, place: &Path) -> bool {
    row_at(found, place).is_some_and(|row| row["state"] == "out")
}

/// Waits until everything has all its copies.
fn wait_until_healed(site: &Site) {
    wait_for(site, "copies are made", |found| found["segments_at_risk"] == 0 && found["lost_count"] == 0);
}

/// A pool on drives of its own.
struct Fleet {
    site: Site,
    disks: Vec<LoopDisk>,
    /// The data directory of the appliance is on it.
    _start: LoopDisk,
    /// Drives that are not mounted.
    away: BTreeSet<usize>,
}

impl Fleet {
    /// So many drives; the folder with which every pool begins is retired.
    fn start(drives: usize, policy: &[&str]) -> Self {
        let disks = (0..drives).map(|_| LoopDisk::new(Filesystem::Ext4, 96 * MIB).unwrap());
        // Of the size of the others: what is kept free for giving room back is on every drive.
        let start = LoopDisk::new(Filesystem::Ext4, 96 * MIB).unwrap();
        let site = Site::start_on(&start.path().join("appliance")).unwrap();
        let fleet = Self { site, disks: disks.collect(), _start: start, away: BTreeSet::new() };
        let site = &fleet.site;
        for (number, disk) in fleet.disks.iter().enumerate() {
            let policy = if number == 0 { policy } else { &[] };
            keepfast(site, &[&["drive", "add", text(&disk.path())], policy].concat());
        }
        let first = site.data().join("pool");
        keepfast(site, &["drive", "retire", &drive_at(site, &first)]);
        wait_for(site, "the first folder is retired", |found| row_at(found, &first).is_none());
        fleet
    }

    fn place(&self, drive: usize) -> PathBuf {
        self.disks[drive].path()
    }

    fn pull(&self, drive: usize) {
        self.disks[drive].cut_power().unwrap();
    }

    /// Plugs a drive in again and takes it back.
    fn bring_back(&mut self, drive: usize) {
        let begun = Instant::now();
        // Files of it that are open are let go of one by one.
        while !self.away.remove(&drive)
            && let Err(error) = self.disks[drive].unmount()
        {
            assert!(begun.elapsed() < ORDER_MAX, "{error}");
            std::thread::sleep(Duration::from_millis(100));
        }
        self.disks[drive].mount().unwrap();
        keepfast(&self.site, &["drive", "rejoin", text(&self.place(drive))]);
        let place = self.place(drive);
        wait_for(&self.site, "the drive is back", |found| {
            row_at(found, &place).is_some_and(|row| row["state"] == "in service")
        });
    }
}

/// What goes on when a drive is lost.
const MOMENTS: [&str; 10] = [
    "idle",
    "backup",
    "restore",
    "fold",
    "compaction",
    "verification",
    "return",
    "retirement",
    "addition",
    "restart",
];

/// A second source, of which only the newest point is kept, so that points fold and segments are compacted.
struct Folding {
    tree: PathBuf,
    round: u64,
}

impl Folding {
    fn begin(site: &Site) -> Self {
        let tree = site.path("other");
        fs::create_dir(&tree).unwrap();
        expect(&mut site.agent(&["source", "add", "other", text(&tree)]).unwrap(), 0).unwrap();
        Self { tree, round: 0 }
    }

    /// Makes two points in segments of their own that have a quarter of the files in common, and lets the first go.
    fn fold(&mut self, site: &mut Site) {
        for files in [4, 3] {
            self.round += 1;
            for file in 0..files {
                let bytes = noise(self.round * 10 + file, 700_000);
                fs::write(self.tree.join(file.to_string()), bytes).unwrap();
            }
            site.stop_server().unwrap();
            site.start_server().unwrap();
            expect(&mut site.agent(&["backup", "other"]).unwrap(), 0).unwrap();
        }
        site.stop_server().unwrap();
        site.start_server().unwrap();
        let rules = ["last=1", "floor-points=1", "floor-age=0s"];
        keepfast(site, &[["retention", "set", "web1/other"].as_slice(), &rules].concat());
    }
}

fn count(site: &Site, words: &str) -> usize {
    site.log().unwrap().matches(words).count()
}

/// Waits until the appliance has said something more often than so many times.
fn wait_until_said(site: &Site, words: &str, before: usize) {
    wait_for(site, words, |_| count(site, words) > before);
}

impl Fleet {
    /// Loses a drive in the middle of something, which succeeds all the same.
    fn lose_at(&mut self, moment: &str, drive: usize, history: &mut History, folding: &mut Folding) {
        let said = count(&self.site, "a point was folded");
        let half = Duration::from_millis(120);
        match moment {
            "backup" => {
                let mut backup = history.start_backup(&self.site).unwrap();
                std::thread::sleep(half);
                self.pull(drive);
                assert!(backup.wait().unwrap().success(), "{}", self.site.log().unwrap());
                history.settle(&self.site, true).unwrap();
            }
            "restore" | "verification" => {
                let (out, place) = (self.site.path("other-out"), "web1/files@latest");
                let restore: &[&str] = &["restore", place, "--to", text(&out)];
                let verify: &[&str] = &["pool", "verify"];
                let wanted = if moment == "restore" { restore } else { verify };
                let mut running = Running::start(&mut self.site.keepfast(wanted).unwrap()).unwrap();
                std::thread::sleep(half / 4);
                self.pull(drive);
                assert!(running.wait().unwrap().success(), "{moment}: {}", self.site.log().unwrap());
                let _ = fs::remove_dir_all(&out);
            }
            "fold" => {
                folding.fold(&mut self.site);
                self.pull(drive);
                wait_until_said(&self.site, "a point was folded", said);
            }
            "compaction" => {
                let given = count(&self.site, "room was given back");
                folding.fold(&mut self.site);
                wait_until_said(&self.site, "a point was folded", said);
                self.pull(drive);
                wait_until_said(&self.site, "room was given back", given);
            }
            "return" => {
                let other = (drive + 1) % self.disks.len();
                self.pull(other);
                let place = self.place(other);
                wait_for(&self.site, "a drive is out", |found| is_out(found, &place));
                // What the other one holds is compared when this one goes.
                wait_until_healed(&self.site);
                self.bring_back(other);
                self.pull(drive);
            }
            "retirement" => self.lose_while_retiring(drive),
            "addition" => self.lose_while_adding(drive),
            "restart" => {
                self.site.stop_server().unwrap();
                self.disks[drive].unmount().unwrap();
                self.away.insert(drive);
                self.site.start_server().unwrap();
                wait_until_said(&self.site, "a drive is missing", 0);
            }
            _ => self.pull(drive),
        }
    }

    /// A drive goes while another one is being emptied.
    fn lose_while_retiring(&mut self, drive: usize) {
        let leaving = (drive + 1) % self.disks.len();
        let place = self.place(leaving);
        keepfast(&self.site, &["drive", "retire", &drive_at(&self.site, &place)]);
        self.pull(drive);
        wait_for(&self.site, "the other drive is retired", |found| row_at(found, &place).is_none());
        assert!(!place.join("pool/segments").exists(), "nothing of the pool is left on it");
        fs::remove_dir_all(place.join("pool")).unwrap();
        keepfast(&self.site, &["drive", "add", text(&place)]);
    }

    /// A drive goes while another one is being added.
    fn lose_while_adding(&mut self, drive: usize) {
        let disk = LoopDisk::new(Filesystem::Ext4, 96 * MIB).unwrap();
        let arguments = ["drive", "add", text(&disk.path())].map(str::to_owned);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut adding = Running::start(&mut self.site.keepfast(&arguments).unwrap()).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        self.pull(drive);
        assert!(adding.wait().unwrap().success(), "{}", self.site.log().unwrap());
        self.disks.push(disk);
    }
}

#[test]
fn a_drive_is_lost_in_the_middle_of_anything_and_nothing_else_is() {
    let mut fleet = Fleet::start(6, &["--copies", "2"]);
    let mut history = History::begin(&fleet.site, 11).unwrap();
    let mut folding = Folding::begin(&fleet.site);
    for (number, moment) in MOMENTS.into_iter().enumerate() {
        let drive = number % 6;
        eprintln!("drive {drive} is lost: {moment}");
        fleet.lose_at(moment, drive, &mut history, &mut folding);
        let place = fleet.place(drive);
        wait_for(&fleet.site, moment, |found| is_out(found, &place));
        wait_until_healed(&fleet.site);
        history.change().unwrap();
        expect(&mut fleet.site.agent(&["backup"]).unwrap(), 0).unwrap();
        history.settle(&fleet.site, true).unwrap();
        history.check_all(&fleet.site).unwrap();
        fleet.bring_back(drive);
    }
    wait_until_healed(&fleet.site);
    history.conclude(&fleet.site).unwrap();
    assert!(keepfast(&fleet.site, &["pool", "audit"]).ends_with("; 0 wrong\n"));
}

#[test]
fn two_of_six_drives_are_lost_under_parity_and_nothing_else_is() {
    let mut fleet = Fleet::start(6, &["--parity", "4+2"]);
    let mut history = History::begin(&fleet.site, 12).unwrap();
    for _ in 0..6 {
        history.change().unwrap();
        expect(&mut fleet.site.agent(&["backup"]).unwrap(), 0).unwrap();
        history.settle(&fleet.site, true).unwrap();
        fleet.site.stop_server().unwrap();
        fleet.site.start_server().unwrap();
    }
    let places: Vec<PathBuf> = (0..6).map(|drive| fleet.place(drive)).collect();
    let files = |place: &PathBuf| fs::read_dir(place.join("pool/parity")).map_or(0, Iterator::count);
    wait_for(&fleet.site, "parity is made", |_| places.iter().map(files).sum::<usize>() >= 2);
    for (moment, pair) in [("idle", [0, 1]), ("backup", [2, 3]), ("rebuild", [4, 5])] {
        eprintln!("drives {pair:?} are lost: {moment}");
        match moment {
            "backup" => {
                let mut backup = history.start_backup(&fleet.site).unwrap();
                std::thread::sleep(Duration::from_millis(100));
                pair.iter().for_each(|drive| fleet.pull(*drive));
                assert!(backup.wait().unwrap().success(), "{}", fleet.site.log().unwrap());
                history.settle(&fleet.site, true).unwrap();
            }
            "rebuild" => {
                fleet.pull(pair[0]);
                wait_for(&fleet.site, moment, |found| is_out(found, &places[pair[0]]));
                fleet.pull(pair[1]);
            }
            _ => pair.iter().for_each(|drive| fleet.pull(*drive)),
        }
        wait_for(&fleet.site, moment, |found| pair.iter().all(|drive| is_out(found, &places[*drive])));
        assert_eq!(list(&fleet.site)["lost_count"], 0);
        history.check_all(&fleet.site).unwrap();
        history.change().unwrap();
        expect(&mut fleet.site.agent(&["backup"]).unwrap(), 0).unwrap();
        history.settle(&fleet.site, true).unwrap();
        pair.iter().for_each(|drive| fleet.bring_back(*drive));
        wait_until_healed(&fleet.site);
    }
    history.conclude(&fleet.site).unwrap();
}

#[test]
fn without_copies_a_lost_drive_costs_what_was_on_it_and_that_is_listed() {
    let mut fleet = Fleet::start(3, &["--copies", "1"]);
    let mut history = History::begin(&fleet.site, 13).unwrap();
    for _ in 0..5 {
        history.change().unwrap();
        expect(&mut fleet.site.agent(&["backup"]).unwrap(), 0).unwrap();
        history.settle(&fleet.site, true).unwrap();
        fleet.site.stop_server().unwrap();
        fleet.site.start_server().unwrap();
    }
    let holds =
        |drive: usize| row_at(&list(&fleet.site), &fleet.place(drive)).unwrap()["segments"].as_u64().unwrap();
    let drive = (0..3).max_by_key(|drive| holds(*drive)).unwrap();
    let (place, lost) = (fleet.place(drive), holds(drive));
    fleet.pull(drive);
    wait_for(&fleet.site, "the drive is out", |found| is_out(found, &place));
    let found = list(&fleet.site);
    assert_eq!(found["lost_count"], lost, "{found:#}");
    assert_eq!(found["lost"].as_array().unwrap().len() as u64, lost);
    let verified = run(&mut fleet.site.keepfast(&["pool", "verify"]).unwrap()).unwrap();
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.code() == Some(1) && said.contains("damaged\t"), "{said}");
    assert!(!history.restore_what_can_be(&fleet.site, "a drive is lost").unwrap());
    // What is there goes on, and nothing is invented for what is not.
    fleet.bring_back(drive);
    wait_until_healed(&fleet.site);
    history.conclude(&fleet.site).unwrap();
}

/// The reason why the drive at a place is not used, once it is told in the list and in the log.
fn reason_at(site: &Site, place: &Path, words: &str) {
    let found = list(site);
    let reason = row_at(&found, place).and_then(|row| row["reason"].as_str().map(str::to_owned));
    assert!(reason.is_some_and(|reason| reason.contains(words)), "{words}: {found:#}");
    site.wait_for_line(&["WARN", "a drive is not used", words]).unwrap();
}

#[test]
fn stale_cloned_and_foreign_drives_are_refused_with_the_reason() {
    let mut fleet = Fleet::start(4, &["--copies", "2"]);
    let mut history = History::begin(&fleet.site, 14).unwrap();
    let places: Vec<PathBuf> = (0..4).map(|drive| fleet.place(drive).join("pool")).collect();
    fleet.site.stop_server().unwrap();
    fleet.disks[3].unmount().unwrap();
    fleet.site.start_server().unwrap();
    reason_at(&fleet.site, &places[3], "No such file");
    wait_until_healed(&fleet.site);
    history.change().unwrap();
    expect(&mut fleet.site.agent(&["backup"]).unwrap(), 0).unwrap();
    history.settle(&fleet.site, true).unwrap();

    fleet.site.stop_server().unwrap();
    fleet.disks[3].mount().unwrap();
    fleet.site.start_server().unwrap();
    reason_at(&fleet.site, &places[3], "misses what was written meanwhile");
    history.check_all(&fleet.site).unwrap();

    // A copy of another drive in its place, and then one of another pool.
    fleet.site.stop_server().unwrap();
    let aside = fleet.place(3).join("aside");
    fs::rename(&places[3], &aside).unwrap();
    copy(&places[1], &places[3]).unwrap();
    fleet.site.start_server().unwrap();
    [1, 3].iter().for_each(|drive| reason_at(&fleet.site, &places[*drive], "is there twice"));
    history.check_all(&fleet.site).unwrap();
    wait_until_healed(&fleet.site);

    let other = Fleet::start(1, &["--copies", "1"]);
    let foreign = other.place(0).join("pool");
    let refused = |arguments: &[&str]| said(&mut fleet.site.keepfast(arguments).unwrap(), 1).unwrap().1;
    let words = refused(&["drive", "add", text(&other.place(0)), "--force"]);
    assert!(words.contains("holds something of a pool: it is not added"), "{words}");
    let words = refused(&["drive", "rejoin", text(&other.place(0))]);
    assert!(words.contains("belongs to pool"), "{words}");
    fleet.site.stop_server().unwrap();
    fs::remove_dir_all(&places[3]).unwrap();
    copy(&foreign, &places[3]).unwrap();
    fleet.site.start_server().unwrap();
    reason_at(&fleet.site, &places[3], "belongs to pool");
    history.check_all(&fleet.site).unwrap();

    fleet.site.stop_server().unwrap();
    fs::remove_dir_all(&places[3]).unwrap();
    fs::rename(&aside, &places[3]).unwrap();
    fleet.site.start_server().unwrap();
    for drive in [1, 3] {
        reason_at(&fleet.site, &places[drive], "rejoin it to bring it up to date");
        keepfast(&fleet.site, &["drive", "rejoin", text(&fleet.place(drive))]);
    }
    let is_well = |row: &Value| row["state"] == "in service" && row["reason"].is_null();
    let of_set = |found: &Value| {
        let drives = found["drives"].as_array().unwrap().iter().filter(|row| row["state"] != "retired");
        drives.clone().count() == 4 && drives.clone().all(is_well)
    };
    wait_for(&fleet.site, "all are in service", of_set);
    wait_until_healed(&fleet.site);
    history.conclude(&fleet.site).unwrap();
}

#[test]
fn a_drive_is_replaced_and_directories_that_are_no_drives_are_refused() {
    let fleet = Fleet::start(2, &["--copies", "2"]);
    let site = &fleet.site;
    let mut history = History::begin(site, 15).unwrap();
    let refused = |arguments: &[&str]| said(&mut site.keepfast(arguments).unwrap(), 1).unwrap().1;
    let disk = LoopDisk::new(Filesystem::Ext4, 96 * MIB).unwrap();
    let (old, place) = (fleet.place(0), disk.path());
    let drive = drive_at(site, &old);

    fs::write(place.join("letter"), "to somebody").unwrap();
    let words = refused(&["drive", "replace", &drive[..6], text(&place)]);
    assert!(words.contains("\"letter\"") && words.contains("--force"), "{words}");
    fs::remove_file(place.join("letter")).unwrap();
    let inside = fleet.place(1).join("inside");
    fs::create_dir(&inside).unwrap();
    let words = refused(&["drive", "add", text(&inside)]);
    assert!(words.contains("both would be lost together"), "{words}");
    let words = refused(&["drive", "add", text(&place), "--copies", "1"]);
    assert!(words.contains("keepfast drive policy copies=1"), "{words}");
    let words = refused(&["drive", "policy", "parity=4+2"]);
    assert!(words.contains("too few drives"), "{words}");
    let words = refused(&["drive", "retire", "zz"]);
    assert!(words.contains("no drive has a UUID"), "{words}");
    assert!(!place.join("pool").exists(), "what was refused left nothing behind");

    keepfast(site, &["drive", "replace", &drive[..6], text(&place)]);
    wait_for(site, "the old drive is let go of", |found| row_at(found, &old).is_none());
    assert!(!old.join("pool/segments").exists(), "nothing of the pool is left on it");
    wait_until_healed(site);
    let last = drive_at(site, &fleet.place(1));
    keepfast(site, &["drive", "policy", "copies=1"]);
    history.conclude(site).unwrap();
    keepfast(site, &["drive", "retire", &last]);
    wait_for(site, "the other drive is let go of", |found| row_at(found, &fleet.place(1)).is_none());
    let words = refused(&["drive", "retire", &drive_at(site, &place)]);
    assert!(words.contains("is the last one in service"), "{words}");
    history.conclude(site).unwrap();
}

#[test]
fn a_whole_disk_becomes_a_drive_once_its_code_is_typed() {
    let mut fleet = Fleet::start(1, &["--copies", "1"]);
    let mut history = History::begin(&fleet.site, 16).unwrap();
    let blank = BlankDisk::new(400 * MIB).unwrap();
    let device = text(blank.device().unwrap()).to_owned();
    let refused = |site: &Site, arguments: &[&str]| {
        said(&mut site.keepfast(&[&["drive", "add", &device], arguments].concat()).unwrap(), 1).unwrap().1
    };
    let plan = refused(&fleet.site, &[]);
    assert!(plan.contains("nothing was done") && plan.contains("lost     nothing"), "{plan}");
    let words = refused(&fleet.site, &["--confirm", "WRONG1"]);
    assert!(words.contains("is not the code of the plan"), "{words}");
    let code = |plan: &str| plan.split("type the code of the plan: ").nth(1).unwrap()[..6].to_owned();

    // Somebody's filesystem.
    expect(std::process::Command::new("mkfs.ext4").args(["-q", &device]), 0).unwrap();
    let words = refused(&fleet.site, &["--confirm", &code(&plan)]);
    assert!(words.contains("it holds ext4"), "{words}");
    let plan = refused(&fleet.site, &["--force"]);
    assert!(plan.contains("LOST     ext4"), "{plan}");
    keepfast(&fleet.site, &["drive", "add", &device, "--force", "--confirm", &code(&plan)]);
    let mounts = fleet.site.data().join("drives");
    let place = PathBuf::from(row_at(&list(&fleet.site), &mounts).unwrap()["place"].as_str().unwrap());
    assert!(is_mounted(place.parent().unwrap()).unwrap());
    let words = refused(&fleet.site, &["--force"]);
    assert!(words.contains("of this pool"), "{words}");

    keepfast(&fleet.site, &["drive", "policy", "copies=2"]);
    wait_until_healed(&fleet.site);
    let drive = drive_at(&fleet.site, &place);
    let located = keepfast(&fleet.site, &["drive", "locate", &drive[..8], "--seconds", "1"]);
    assert!(located.contains(&device), "{located}");
    history.change().unwrap();
    expect(&mut fleet.site.agent(&["backup"]).unwrap(), 0).unwrap();
    history.settle(&fleet.site, true).unwrap();

    // The appliance mounts it by itself, and unmounts it when it is empty.
    fleet.site.stop_server().unwrap();
    expect(std::process::Command::new("umount").arg(place.parent().unwrap()), 0).unwrap();
    fleet.site.start_server().unwrap();
    assert!(is_mounted(place.parent().unwrap()).unwrap());
    history.check_all(&fleet.site).unwrap();
    keepfast(&fleet.site, &["drive", "policy", "copies=1"]);
    keepfast(&fleet.site, &["drive", "retire", &drive]);
    wait_for(&fleet.site, "it is unmounted", |_| !place.parent().unwrap().exists());
    history.conclude(&fleet.site).unwrap();
}

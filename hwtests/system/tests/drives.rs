//! Pools on several drives: what a lost drive costs without copies is listed; what is not of the pool is refused;
//! drives are taken away, replaced and taken back. Needs root and loop devices.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use system::{
    BlankDisk, DRIVE_BYTES, Filesystem, Fleet, History, LoopDisk, Site, copy, expect, is_mounted, noise,
    row_at, run, said, text,
};

const MIB: u64 = 1 << 20;

/// How many points are marked as damaged.
fn marked(fleet: &Fleet) -> usize {
    let rows = fleet.site.operate(&["points", "--json"]).unwrap();
    let rows: Value = serde_json::from_str(&rows).unwrap();
    rows.as_array().unwrap().iter().filter(|row| row["damaged"].as_u64().unwrap() > 0).count()
}

/// The list of what is damaged names every path of every point that does not restore, and no other.
fn check_list(said: &str, lost: &BTreeMap<String, BTreeSet<PathBuf>>) {
    let mut compared = 0;
    for (id, paths) in lost {
        let title = format!("damaged\tweb1/files@{id}:");
        let lines: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix(&title)).collect();
        // Of what is below pages that are lost nobody knows the names; that is told without a path.
        let (of_tree, by_path): (Vec<&str>, Vec<&str>) = lines.iter().partition(|line| line.starts_with(' '));
        let named = by_path.iter().filter_map(|line| line.split_once(": "));
        let named: BTreeSet<PathBuf> = named.map(|(path, _)| Path::new("/").join(path)).collect();
        assert!(named.is_subset(paths), "{id}: {paths:?}\n{lines:#?}");
        assert!(of_tree.is_empty() || !paths.is_empty(), "{id}: {lines:#?}");
        if of_tree.is_empty() {
            assert_eq!(&named, paths, "{id}");
            compared += usize::from(!paths.is_empty());
        }
    }
    assert!(compared > 0, "of no point the list could be compared: {said}");
}

#[test]
fn without_copies_a_lost_drive_costs_what_was_on_it_and_that_is_listed() {
    let mut fleet = Fleet::start(3, &["--copies", "1"]).unwrap();
    let mut history = History::begin(&fleet.site, 13).unwrap();
    fleet.make_points(&mut history, 5).unwrap();
    let holds = |drive: usize| {
        row_at(&fleet.list().unwrap(), &fleet.place(drive)).unwrap()["segments"].as_u64().unwrap()
    };
    let drive = (0..3).max_by_key(|drive| holds(*drive)).unwrap();
    let lost = holds(drive);
    fleet.pull(drive).unwrap();
    fleet.wait_until_out(&[drive]).unwrap();
    let found = fleet.list().unwrap();
    assert_eq!(found["lost_count"], lost, "{found:#}");
    assert_eq!(found["lost"].as_array().unwrap().len() as u64, lost);
    fleet.wait_until_said("the scrub found damage", 0).unwrap();
    fleet.wait_for("points are marked at once", |_| marked(&fleet) > 0).unwrap();
    let verified = run(&mut fleet.site.keepfast(&["pool", "verify"]).unwrap()).unwrap();
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(1), "{said}");
    check_list(&said, &history.lost(&fleet.site).unwrap());
    // Everything else goes on: what is lost is sent again, for the machine still has it.
    history.change().unwrap();
    expect(&mut fleet.site.agent(&["backup"]).unwrap(), 0).unwrap();
    history.settle(&fleet.site, true).unwrap();
    fleet.bring_back(drive).unwrap();
    fleet.wait_until_healed().unwrap();
    fleet.wait_for("marks go when it is back", |_| marked(&fleet) == 0).unwrap();
    history.conclude(&fleet.site).unwrap();
}

/// Two sources are kept on three drives, one of them by its own wish twice: it loses nothing by any drive.
#[test]
fn a_source_is_kept_as_it_asks_whatever_the_rest_is() {
    let mut fleet = Fleet::start(3, &["--copies", "1"]).unwrap();
    let mut history = History::begin(&fleet.site, 17).unwrap();
    fleet.make_points(&mut history, 3).unwrap();
    let scratch = fleet.site.path("scratch");
    fs::create_dir(&scratch).unwrap();
    for number in 0..6 {
        fs::write(scratch.join(number.to_string()), noise(number, 2 << 20)).unwrap();
    }
    expect(&mut fleet.site.agent(&["source", "add", "scratch", text(&scratch)]).unwrap(), 0).unwrap();
    // Each file in a segment of its own: some on each drive.
    for number in 6..12 {
        fs::write(scratch.join(number.to_string()), noise(number, 2 << 20)).unwrap();
        expect(&mut fleet.site.agent(&["backup", "scratch"]).unwrap(), 0).unwrap();
        fleet.restart().unwrap();
    }
    let policy =
        |policy: &str, source: &str| fleet.site.operate(&["drive", "policy", policy, "--source", source]);
    assert_eq!(
        policy("copies=2", "web1/files").unwrap(),
        "what web1/files has is kept with copies=2 from here on\n"
    );
    fleet.wait_for("it is known what the source has", |found| found["is_searching"] == false).unwrap();
    fleet.wait_until_healed().unwrap();
    let found = fleet.list().unwrap();
    assert_eq!(found["sources"], json!([{ "source": "web1/files", "policy": "copies=2" }]));
    // What comes later is kept so as well, also after a restart.
    fleet.make_points(&mut history, 2).unwrap();
    fleet.wait_until_healed().unwrap();
    let mut lost = 0;
    for drive in 0..3 {
        fleet.pull(drive).unwrap();
        fleet.wait_until_out(&[drive]).unwrap();
        history.check_all(&fleet.site).unwrap();
        let out = fleet.site.path("out");
        let mut restore = fleet.site.keepfast(&["restore", "web1/scratch", "--to", text(&out)]).unwrap();
        lost += usize::from(!run(&mut restore).unwrap().status.success());
        fs::remove_dir_all(&out).unwrap();
        fleet.bring_back(drive).unwrap();
        fleet.wait_until_healed().unwrap();
    }
    assert!(lost > 0, "the other one is not kept twice");

    let refused = |arguments: &[&str]| said(&mut fleet.site.keepfast(arguments).unwrap(), 1).unwrap().1;
    let words = refused(&["drive", "policy", "parity=4+2", "--source", "web1/files"]);
    assert!(words.contains("parity=4+2 takes 6 drives and 3 are in service"), "{words}");
    let words = refused(&["drive", "policy", "copies=2", "--source", "web1/nothing"]);
    assert!(words.contains("the source web1/nothing"), "{words}");
    // A drive that is needed for that stays until it is not.
    fleet.site.operate(&["drive", "policy", "copies=3", "--source", "web1/files"]).unwrap();
    let leaving = fleet.place(2);
    let words = fleet.site.operate(&["drive", "retire", &fleet.drive_at(&leaving).unwrap()]).unwrap();
    assert!(words.contains("2 are left in service and 3 are needed"), "{words}");
    assert_eq!(row_at(&fleet.list().unwrap(), &leaving).unwrap()["state"], "retiring");
    fleet.site.operate(&["drive", "policy", "pool", "--source", "web1/files"]).unwrap();
    fleet.wait_for("the drive is let go of", |found| row_at(found, &leaving).is_none()).unwrap();
    assert_eq!(fleet.list().unwrap()["sources"], json!([]));
    history.conclude(&fleet.site).unwrap();
    fleet.site.audit().unwrap();
}

/// Parity is read by nobody while all is well: the scrub finds what rots of it, and mends it.
#[test]
fn parity_that_rots_is_mended_before_it_is_needed() {
    let mut fleet = Fleet::start(3, &["--parity", "2+1"]).unwrap();
    let mut history = History::begin(&fleet.site, 18).unwrap();
    fleet.make_points(&mut history, 3).unwrap();
    fleet.wait_for_parity(1).unwrap();
    fleet.wait_until_healed().unwrap();
    fleet.site.stop_server().unwrap();
    let folders = (0..3).map(|drive| fleet.place(drive).join("pool/parity"));
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    let rotten = files.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let sound = fs::read(&rotten).unwrap();
    let mut bytes = sound.clone();
    let at = bytes.len() - 1000;
    bytes[at] ^= 0x10;
    fs::write(&rotten, bytes).unwrap();
    fleet.site.start_server().unwrap();
    fleet.wait_until_said("the scrub mended parity that was damaged places=1", 0).unwrap();
    fleet.wait_until_said("all parity has been read and checked", 0).unwrap();
    assert!(!rotten.exists() || fs::read(&rotten).unwrap() == sound);
    history.conclude(&fleet.site).unwrap();
}

/// The reason why the drive at a place is not used, once it is told in the list and in the log.
fn reason_at(fleet: &Fleet, place: &Path, words: &str) {
    let found = fleet.list().unwrap();
    let reason = row_at(&found, place).and_then(|row| row["reason"].as_str().map(str::to_owned));
    assert!(reason.is_some_and(|reason| reason.contains(words)), "{words}: {found:#}");
    fleet.site.wait_for_line(&["WARN", "a drive is not used", words]).unwrap();
}

#[test]
fn stale_cloned_and_foreign_drives_are_refused_with_the_reason() {
    let mut fleet = Fleet::start(4, &["--copies", "2"]).unwrap();
    let mut history = History::begin(&fleet.site, 14).unwrap();
    let places: Vec<PathBuf> = (0..4).map(|drive| fleet.place(drive).join("pool")).collect();
    fleet.site.stop_server().unwrap();
    fleet.disks[3].unmount().unwrap();
    fleet.site.start_server().unwrap();
    reason_at(&fleet, &places[3], "No such file");
    fleet.wait_until_healed().unwrap();
    history.change().unwrap();
    expect(&mut fleet.site.agent(&["backup"]).unwrap(), 0).unwrap();
    history.settle(&fleet.site, true).unwrap();

    fleet.site.stop_server().unwrap();
    fleet.disks[3].mount().unwrap();
    fleet.site.start_server().unwrap();
    reason_at(&fleet, &places[3], "misses what was written meanwhile");
    history.check_all(&fleet.site).unwrap();

    // A copy of another drive in its place, and then one of another pool.
    fleet.site.stop_server().unwrap();
    let aside = fleet.place(3).join("aside");
    fs::rename(&places[3], &aside).unwrap();
    copy(&places[1], &places[3]).unwrap();
    fleet.site.start_server().unwrap();
    [1, 3].iter().for_each(|drive| reason_at(&fleet, &places[*drive], "is there twice"));
    history.check_all(&fleet.site).unwrap();
    fleet.wait_until_healed().unwrap();

    let other = Fleet::start(1, &["--copies", "1"]).unwrap();
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
    reason_at(&fleet, &places[3], "belongs to pool");
    history.check_all(&fleet.site).unwrap();

    fleet.site.stop_server().unwrap();
    fs::remove_dir_all(&places[3]).unwrap();
    fs::rename(&aside, &places[3]).unwrap();
    fleet.site.start_server().unwrap();
    for drive in [1, 3] {
        reason_at(&fleet, &places[drive], "rejoin it to bring it up to date");
        fleet.site.operate(&["drive", "rejoin", text(&fleet.place(drive))]).unwrap();
    }
    let is_well = |row: &Value| row["state"] == "in service" && row["reason"].is_null();
    let of_set = |found: &Value| {
        let drives = found["drives"].as_array().unwrap().iter().filter(|row| row["state"] != "retired");
        drives.clone().count() == 4 && drives.clone().all(is_well)
    };
    fleet.wait_for("all are in service", of_set).unwrap();
    fleet.wait_until_healed().unwrap();
    history.conclude(&fleet.site).unwrap();
}

#[test]
fn a_drive_is_replaced_and_directories_that_are_no_drives_are_refused() {
    let fleet = Fleet::start(2, &["--copies", "2"]).unwrap();
    let site = &fleet.site;
    let mut history = History::begin(site, 15).unwrap();
    let refused = |arguments: &[&str]| said(&mut site.keepfast(arguments).unwrap(), 1).unwrap().1;
    let disk = LoopDisk::new(Filesystem::Ext4, DRIVE_BYTES).unwrap();
    let (old, place) = (fleet.place(0), disk.path());
    let drive = fleet.drive_at(&old).unwrap();

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

    fleet.site.operate(&["drive", "replace", &drive[..6], text(&place)]).unwrap();
    fleet.wait_for("the old drive is let go of", |found| row_at(found, &old).is_none()).unwrap();
    assert!(!old.join("pool/segments").exists(), "nothing of the pool is left on it");
    fleet.wait_until_healed().unwrap();
    let last = fleet.drive_at(&fleet.place(1)).unwrap();
    fleet.site.operate(&["drive", "policy", "copies=1"]).unwrap();
    history.conclude(site).unwrap();
    fleet.site.operate(&["drive", "retire", &last]).unwrap();
    fleet.wait_for("the other drive is let go of", |found| row_at(found, &fleet.place(1)).is_none()).unwrap();
    let words = refused(&["drive", "retire", &fleet.drive_at(&place).unwrap()]);
    assert!(words.contains("is the last one in service"), "{words}");
    history.conclude(site).unwrap();
}

#[test]
fn a_whole_disk_becomes_a_drive_once_its_code_is_typed() {
    let mut fleet = Fleet::start(1, &["--copies", "1"]).unwrap();
    let mut history = History::begin(&fleet.site, 16).unwrap();
    let mut blank = BlankDisk::new(400 * MIB).unwrap();
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
    fleet.site.operate(&["drive", "add", &device, "--force", "--confirm", &code(&plan)]).unwrap();
    let mounts = fleet.site.data().join("drives");
    let place = PathBuf::from(row_at(&fleet.list().unwrap(), &mounts).unwrap()["place"].as_str().unwrap());
    assert!(is_mounted(place.parent().unwrap()).unwrap());
    let words = refused(&fleet.site, &["--force"]);
    assert!(words.contains("of this pool"), "{words}");

    fleet.site.operate(&["drive", "policy", "copies=2"]).unwrap();
    fleet.wait_until_healed().unwrap();
    let drive = fleet.drive_at(&place).unwrap();
    let located = fleet.site.operate(&["drive", "locate", &drive[..8], "--seconds", "1"]).unwrap();
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

    // It is pulled, misses a backup, and comes back under another name.
    fleet.site.stop_server().unwrap();
    expect(std::process::Command::new("umount").arg(place.parent().unwrap()), 0).unwrap();
    blank.unplug().unwrap();
    fleet.site.start_server().unwrap();
    fleet.wait_until_said("a drive is missing", 0).unwrap();
    history.change().unwrap();
    expect(&mut fleet.site.agent(&["backup"]).unwrap(), 0).unwrap();
    history.settle(&fleet.site, true).unwrap();
    blank.plug_in().unwrap();
    let device = text(blank.device().unwrap()).to_owned();
    fleet.site.operate(&["drive", "rejoin", &device]).unwrap();
    assert!(is_mounted(place.parent().unwrap()).unwrap());
    fleet.wait_until_healed().unwrap();
    history.check_all(&fleet.site).unwrap();
    fleet.site.operate(&["drive", "policy", "copies=1"]).unwrap();
    fleet.site.operate(&["drive", "retire", &drive]).unwrap();
    fleet.wait_for("it is unmounted", |_| !place.parent().unwrap().exists()).unwrap();
    history.conclude(&fleet.site).unwrap();
}

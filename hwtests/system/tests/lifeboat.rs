//! Drives of a dead appliance: listed and restored from with a key alone, and nothing on them changes. Needs root and
//! loop devices.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use system::{
    Filesystem, Fleet, History, LoopDisk, Site, Snapshot, copy, differences, expect, noise, odd_tree,
    program, run, text,
};

/// `keepfast lifeboat` as on a machine that knows nothing of the appliance.
fn lifeboat(key: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program("keepfast").unwrap());
    command.arg("lifeboat").args(arguments).env("KEEPFAST_RECOVERY_KEY", key);
    command
}

fn hash(path: &Path) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut fs::File::open(path).unwrap(), &mut hasher).unwrap();
    hasher.finalize()
}

/// Restores a moment of `web1/files` from drives; where the tree that was at `tree` lies then, and how it ended.
fn restore(site: &Site, drives: &[&str], when: &str, tree: &Path) -> (PathBuf, Output) {
    let out = site.path("lifeboat-out");
    if out.exists() {
        fs::remove_dir_all(&out).unwrap();
    }
    let place = format!("web1/files@{when}");
    let arguments = [drives, &["restore", &place, "--json", "--to", text(&out)]].concat();
    let output = run(&mut lifeboat(&site.recovery_key().unwrap(), &arguments)).unwrap();
    (out.join(tree.strip_prefix("/").unwrap()), output)
}

/// The rows of a listing that ends with an exit code.
fn rows(site: &Site, arguments: &[&str], code: i32) -> Vec<Value> {
    let mut command = lifeboat(&site.recovery_key().unwrap(), arguments);
    serde_json::from_str(&expect(&mut command, code).unwrap()).unwrap()
}

#[test]
fn a_drive_alone_is_listed_and_restored_from_and_not_a_byte_of_it_changes() {
    let mut disk = LoopDisk::new(Filesystem::Ext4, 512 << 20).unwrap();
    let mut site = Site::start_on(&disk.path().join("appliance")).unwrap();
    let tree = site.path("files");
    odd_tree(&tree).unwrap();
    site.protect(&tree).unwrap();
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    copy(&tree, &site.path("first")).unwrap();
    fs::write(tree.join("deep/7"), "changed").unwrap();
    fs::rename(tree.join("deep/er"), tree.join("moved")).unwrap();
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    let ids = site.points().unwrap();
    site.audit_and_stop().unwrap();

    let drive = disk.path().join("appliance/pool");
    for has_catalog in [true, false] {
        if !has_catalog {
            fs::remove_file(drive.join("catalog.redb")).unwrap();
        }
        disk.unmount().unwrap();
        let before = hash(&disk.image());
        disk.mount_read_only().unwrap();
        let drive = text(&drive);
        let points = rows(&site, &[drive, "--json"], 0);
        assert_eq!(points.iter().map(|row| row["point"].as_str().unwrap()).collect::<Vec<_>>(), ids);
        assert!(points.iter().all(|row| row["state"] == "whole" && row["lacks"] == 0), "{points:?}");
        assert_eq!(rows(&site, &[drive, "machines", "--json"], 0)[0]["machine"], "web1");
        assert_eq!(rows(&site, &[drive, "sources", "--json"], 0)[0]["source"], "files");
        let place = format!("web1/files@latest:{}", text(&tree));
        let names = rows(&site, &[drive, "ls", &place, "--json"], 0);
        assert!(names.iter().any(|row| row["name"] == "moved"), "{names:?}");
        let key = site.recovery_key().unwrap();
        let seven = expect(&mut lifeboat(&key, &[drive, "cat", &format!("{place}/deep/7")]), 0).unwrap();
        assert_eq!(seven, "changed");
        for (when, original) in [(&*ids[0], site.path("first")), ("latest", tree.clone())] {
            let (restored, output) = restore(&site, &[drive], when, &tree);
            assert!(output.status.success(), "{output:?}");
            assert_eq!(differences(&original, &restored).unwrap(), "", "{when}");
        }
        let verified = expect(&mut lifeboat(&key, &[drive, "verify"]), 0).unwrap();
        assert!(verified.starts_with("2 points") && verified.contains("0 damaged"), "{verified}");

        // With the key file as well, and with nothing else.
        let file = disk.path().join("appliance/keepfast.key");
        let by_file = ["--key-file", text(&file), drive, "points"];
        expect(lifeboat("", &by_file).env_remove("KEEPFAST_RECOVERY_KEY"), 0).unwrap();
        wrong_keys(&site, drive);
        disk.unmount().unwrap();
        assert_eq!(hash(&disk.image()), before, "with a catalog: {has_catalog}");
        disk.mount().unwrap();
    }
}

/// Keys that open nothing are told.
fn wrong_keys(site: &Site, drive: &str) {
    let key_file = site.path("wrong.key");
    fs::write(&key_file, [7; 32]).unwrap();
    let mistyped = site.recovery_key().unwrap().replacen(char::is_alphanumeric, "Z", 3);
    let by_file = ["--key-file", text(&key_file), drive];
    let cases = [
        (lifeboat("", &by_file), "key file does not open this pool"),
        (lifeboat(&mistyped, &[drive]), "mistyped"),
        (lifeboat("", &[drive]), "a key is needed"),
    ];
    for (number, (mut command, words)) in cases.into_iter().enumerate() {
        if number != 1 {
            command.env_remove("KEEPFAST_RECOVERY_KEY");
        }
        let refused = run(command.stdin(std::process::Stdio::null())).unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains(words) && refused.stdout.is_empty(), "{said}");
    }
}

/// The data segments of a pool.
fn data_segments(pool: &Path) -> BTreeSet<PathBuf> {
    let all = fs::read_dir(pool.join("segments")).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| fs::read(path).unwrap()[10] == 0).collect()
}

#[test]
fn without_half_of_its_segments_every_file_that_is_there_is_restored_and_the_others_are_named() {
    let mut site = Site::start().unwrap();
    let tree = site.path("files");
    let pool = site.data().join("pool");
    let (mut known, mut lost, mut lacks) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    let mut doomed = BTreeSet::new();
    for round in 0..6u64 {
        let folder = tree.join(format!("round-{round}"));
        fs::create_dir_all(&folder).unwrap();
        let files: Vec<PathBuf> = (0..20).map(|file| folder.join(file.to_string())).collect();
        for (path, seed) in files.iter().zip(round * 100..) {
            fs::write(path, noise(seed, 1000 + usize::try_from(seed).unwrap() * 300)).unwrap();
        }
        if round == 0 {
            site.protect(&tree).unwrap();
        }
        expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
        site.audit_and_stop().unwrap();
        let there = data_segments(&pool);
        assert!(there.is_superset(&known) && there.len() > known.len(), "each round has segments of its own");
        if round % 2 == 1 {
            doomed.extend(there.difference(&known).cloned());
            lost.extend(files.iter().map(|path| path.strip_prefix("/").unwrap().to_owned()));
        }
        lacks.push(lost.len() as u64);
        known = there;
        site.start_server().unwrap();
    }
    site.audit_and_stop().unwrap();
    assert!(doomed.len() * 2 >= known.len());
    doomed.iter().for_each(|path| fs::remove_file(path).unwrap());
    let lost: BTreeSet<String> = lost.iter().map(|path| path.display().to_string()).collect();

    let drive = text(&pool);
    let points = rows(&site, &[drive, "points", "web1/files", "--json"], 3);
    let told: Vec<u64> = points.iter().map(|row| row["lacks"].as_u64().unwrap()).collect();
    assert_eq!(told, lacks, "{points:?}");
    let (restored, output) = restore(&site, &[drive], "latest", &tree);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let named: BTreeSet<String> = lines
        .filter_map(|line| Some(line["exception"].as_str()?.trim_start_matches('/').to_owned()))
        .collect();
    assert_eq!(named, lost);
    for round in 0..6 {
        for file in 0..20 {
            let path = tree.join(format!("round-{round}/{file}"));
            let there = restored.join(path.strip_prefix(&tree).unwrap());
            let is_lost = lost.contains(text(path.strip_prefix("/").unwrap()));
            if is_lost {
                assert!(!there.exists(), "{} is not half there", there.display());
            } else {
                assert_eq!(fs::read(&path).unwrap(), fs::read(&there).unwrap(), "{}", path.display());
            }
        }
    }
    let nothing_lost = restore(&site, &[drive], points[0]["point"].as_str().unwrap(), &tree);
    assert!(nothing_lost.1.status.success(), "{nothing_lost:?}");
}

#[test]
fn drives_are_read_together_and_what_is_no_drive_or_in_use_is_told() {
    let mut site = Site::start().unwrap();
    let tree = site.path("files");
    odd_tree(&tree).unwrap();
    site.protect(&tree).unwrap();
    for round in 0..3 {
        fs::write(tree.join(format!("more {round}")), noise(round, 100_000)).unwrap();
        expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
        site.audit_and_stop().unwrap();
        site.start_server().unwrap();
    }
    let key = site.recovery_key().unwrap();
    let said = |arguments: &[&str]| {
        let refused = run(&mut lifeboat(&key, arguments)).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}: {refused:?}");
        String::from_utf8(refused.stderr).unwrap()
    };
    let pool = site.data().join("pool");
    let running = said(&[text(&pool)]);
    assert!(running.contains("an appliance is using it") && running.contains("in use"), "{running}");
    site.audit_and_stop().unwrap();

    let (a, b) = (site.path("drive a"), site.path("drive b"));
    copy(&pool, &a).unwrap();
    copy(&pool, &b).unwrap();
    let mut names: Vec<_> =
        fs::read_dir(a.join("segments")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    for (number, name) in names.iter().enumerate() {
        let drive = if number % 2 == 0 { &a } else { &b };
        fs::remove_file(drive.join("segments").join(name)).unwrap();
    }
    // Where it could be written to it is left alone as well; a lock that is not there is not made.
    fs::remove_file(a.join("lock")).unwrap();
    let before = [&a, &b].map(|drive| Snapshot::of(drive).unwrap());
    let (restored, output) = restore(&site, &[text(&a), text(&b)], "latest", &tree);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(differences(&tree, &restored).unwrap(), "");
    assert_eq!([&a, &b].map(|drive| Snapshot::of(drive).unwrap()), before);
    let scratch = said(&[text(&a), text(&b), "--scratch", text(&site.path(""))]);
    assert!(scratch.contains("is on a drive that is to stay as it is"), "{scratch}");

    // One of them is in use as part of something larger.
    let held = fs::File::create(b.join("member.lock")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let in_use = said(&[text(&a), text(&b)]);
    assert!(in_use.contains("an appliance is using it"), "{in_use}");
    drop(held);

    let inside = a.join("restored");
    let target = said(&[text(&a), text(&b), "restore", "web1/files@latest", "--to", text(&inside)]);
    assert!(target.contains("is to stay as it is") && !inside.exists(), "{target}");
    let nothing = said(&[text(&tree)]);
    assert!(nothing.contains("holds no pool"), "{nothing}");
    let missing = said(&[text(&site.path("nowhere"))]);
    assert!(missing.contains("No such file"), "{missing}");
    let other = Site::start().unwrap();
    let two_pools = said(&[text(&a), text(other.data())]);
    assert!(two_pools.contains("different pools"), "{two_pools}");
}

#[test]
fn without_two_of_six_drives_under_parity_everything_is_restored() {
    let mut fleet = Fleet::start(6, &["--parity", "4+2"]).unwrap();
    let mut history = History::begin(&fleet.site, 17).unwrap();
    fleet.make_points(&mut history, 6).unwrap();
    fleet.wait_for_parity(2).unwrap();
    fleet.wait_until_healed().unwrap();
    let points = fleet.site.points().unwrap();
    fleet.site.audit_and_stop().unwrap();
    let tree = fleet.site.path("files");
    for lost in [[0, 1], [2, 3], [4, 5], [1, 4]] {
        let places: Vec<PathBuf> =
            (0..6).filter(|drive| !lost.contains(drive)).map(|drive| fleet.place(drive)).collect();
        let places: Vec<&str> = places.iter().map(|place| text(place)).collect();
        let rows = rows(&fleet.site, &[&places[..], &["--json"]].concat(), 0);
        assert!(rows.iter().all(|row| row["state"] == "whole"), "{lost:?}: {rows:?}");
        assert_eq!(rows.len(), points.len());
        let (restored, output) = restore(&fleet.site, &places, "latest", &tree);
        assert!(output.status.success(), "{lost:?}: {output:?}");
        assert_eq!(differences(&tree, &restored).unwrap(), "", "{lost:?}");
    }
    // Three are too many for what is under parity, and that is said.
    let places: Vec<PathBuf> = (3..6).map(|drive| fleet.place(drive)).collect();
    let places: Vec<&str> = places.iter().map(|place| text(place)).collect();
    let output =
        run(&mut lifeboat(&fleet.site.recovery_key().unwrap(), &[&places[..], &["--json"]].concat()));
    assert_eq!(output.unwrap().status.code(), Some(3));
}

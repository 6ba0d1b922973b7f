//! Points as folders, by the real programs: what changes while they are mounted, damage, and how mounts end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::io::Errno;
use system::{Mount, Site, differences, expect, is_mounted, noise, odd_tree, run};

/// How long a mount may take to show what is new.
const WAIT_MAX: Duration = Duration::from_secs(60);

fn back_up(site: &Site) {
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
}

fn site(tree: impl Fn(&Path)) -> (Site, PathBuf) {
    let site = Site::start().unwrap();
    let files = site.path("files");
    fs::create_dir(&files).unwrap();
    tree(&files);
    site.protect(&files).unwrap();
    back_up(&site);
    (site, files)
}

fn error(result: std::io::Result<impl Sized>) -> Errno {
    Errno::from_io_error(&result.err().unwrap()).unwrap()
}

#[test]
fn moments_are_found_and_new_points_appear() {
    let (site, files) = site(|files| fs::write(files.join("letter"), "first").unwrap());
    let mount = site.mount("mounted").unwrap();
    let letter = files.join("letter");
    let read = |via: &str| fs::read_to_string(mount.at(via, &letter));
    assert_eq!(read("latest").unwrap(), "first");
    fs::write(&letter, "second").unwrap();
    back_up(&site);
    site.wait_within(WAIT_MAX, "the new point appears", || read("latest").unwrap() == "second").unwrap();
    let points = site.points().unwrap();
    let listed = fs::read_dir(mount.at("points", Path::new(""))).unwrap();
    let mut listed: Vec<String> =
        listed.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    listed.sort();
    assert_eq!(listed, points);
    assert_eq!(read(&format!("points/{}", points[0])).unwrap(), "first");
    assert_eq!(read(&format!("at/{}", points[0])).unwrap(), "first");
    assert_eq!(read("at/0s-ago").unwrap(), "second");
    assert_eq!(read("at/seq:999999").unwrap(), "second");
    let json = expect(&mut site.keepfast(&["points", "--json"]).unwrap(), 0).unwrap();
    let rows: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert_eq!(read(&format!("at/seq:{}", rows[0]["sequence"])).unwrap(), "first");
    assert_eq!(read(&format!("at/{}", rows[0]["finished"].as_str().unwrap())).unwrap(), "first");
    for nothing in ["at/1w-ago", "at/yesterday", "at/seq:0", "points/2020-01-01T00-00-00Z"] {
        assert_eq!(error(read(nothing)), Errno::NOENT, "{nothing}");
    }
    assert_eq!(fs::read_dir(mount.at("at", Path::new(""))).unwrap().count(), 0);

    // Nothing can be changed.
    let shown = mount.latest(&letter);
    assert_eq!(error(fs::write(&shown, "x")), Errno::ROFS);
    assert_eq!(error(fs::remove_file(&shown)), Errno::ROFS);
    assert_eq!(error(fs::create_dir(mount.latest(&files).join("new"))), Errno::ROFS);
    assert!(mount.end().unwrap().success());
}

/// Reads a file as far as it can be read; for each byte, what was read there.
fn read_around(file: &fs::File, length: usize) -> Vec<Option<u8>> {
    let mut found = vec![None; length];
    let mut at = 0;
    let mut buffer = vec![0; 128 << 10];
    while at < length {
        match file.read_at(&mut buffer, at as u64) {
            Ok(0) => panic!("the file ends at {at}"),
            Ok(read) => {
                found[at..at + read].iter_mut().zip(&buffer).for_each(|(found, byte)| *found = Some(*byte));
                at += read;
            }
            Err(cause) => {
                assert_eq!(Errno::from_io_error(&cause), Some(Errno::IO), "{cause}");
                at += next_readable(file, at, length);
            }
        }
    }
    found
}

/// How many bytes after `at` cannot be read; damage is never in holes of less than 4 KiB.
fn next_readable(file: &fs::File, at: usize, length: usize) -> usize {
    let is_bad = |at: usize| at < length && file.read_at(&mut [0], at as u64).is_err();
    let mut good = at;
    while is_bad(good) {
        good += 4096;
    }
    let (mut bad, mut good) = (good - 4096, good.min(length));
    while good - bad > 1 {
        let middle = usize::midpoint(bad, good);
        *if is_bad(middle) { &mut bad } else { &mut good } = middle;
    }
    good - at
}

#[test]
fn damage_is_an_error_at_the_bytes_that_are_damaged() {
    let content = noise(7, 24 << 20);
    let (mut site, files) = site(|files| fs::write(files.join("large"), &content).unwrap());
    site.kill_server().unwrap();
    let segments = site.data().join("pool/segments");
    let largest = fs::read_dir(&segments).unwrap().map(|entry| entry.unwrap().path());
    let largest = largest.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let segment = fs::File::options().read(true).write(true).open(&largest).unwrap();
    let length = segment.metadata().unwrap().len();
    for at in [length / 3, length / 2] {
        let mut byte = [0];
        segment.read_exact_at(&mut byte, at).unwrap();
        segment.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }
    site.start_server().unwrap();
    let mount = site.mount("mounted").unwrap();
    let file = fs::File::open(mount.latest(&files.join("large"))).unwrap();
    let found = read_around(&file, content.len());
    let lost = found.iter().filter(|byte| byte.is_none()).count();
    assert!(lost > 0 && lost <= 4 << 20, "{lost} bytes cannot be read");
    let runs = found.windows(2).filter(|pair| pair[0].is_some() && pair[1].is_none()).count();
    assert_eq!(runs, 2, "each damage is in one place");
    for (at, byte) in found.iter().enumerate() {
        assert!(byte.is_none_or(|byte| byte == content[at]), "byte {at} is wrong");
    }

    // A copy says so too, and what it has is right.
    let copied = site.path("copied");
    let copy = run(Command::new("cp").arg(mount.latest(&files.join("large"))).arg(&copied)).unwrap();
    assert!(!copy.status.success());
    let copied = fs::read(copied).unwrap();
    assert!(content.starts_with(&copied));
    drop(file);
    assert!(mount.end().unwrap().success());
}

#[test]
fn mounts_end_and_leave_nothing_behind() {
    let (site, files) = site(|files| odd_tree(&files.join("tree")).unwrap());
    let files = files.join("tree");
    let folder = site.path("mounted");

    // Somebody unmounts it.
    let mut mount = site.mount("mounted").unwrap();
    expect(Command::new("umount").arg(&folder), 0).unwrap();
    assert!(mount.wait().unwrap().success());

    // It is interrupted while a file is open: the file goes, and the program does not wait for ever.
    let mount = site.mount_from_afar("agent", "mounted").unwrap();
    let open = fs::File::open(mount.latest(&files.join("deep/er/large"))).unwrap();
    open.read_exact_at(&mut [0; 10], 0).unwrap();
    assert!(mount.end().unwrap().success());
    assert_eq!(error(open.read_exact_at(&mut [0; 10], 2_000_000)), Errno::NOTCONN);

    // It is killed: what is left mounted is dead, and the next one takes its place.
    let mut killed = site.mount("mounted").unwrap();
    killed.kill().unwrap();
    assert_eq!(error(fs::read_dir(&folder)), Errno::NOTCONN);
    let mount = site.mount("mounted").unwrap();
    assert_eq!(differences(&files, &mount.latest(&files)).unwrap(), "");
    assert!(mount.end().unwrap().success());
    drop(killed);
    assert!(!is_mounted(&folder).unwrap());

    // What would be hidden is not mounted over.
    fs::write(folder.join("mine"), "mine").unwrap();
    let refused = run(site.keepfast(&["mount"]).unwrap().arg(&folder)).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is not empty"), "{refused:?}");
    let refused = run(site.keepfast(&["mount"]).unwrap().arg(site.path("nowhere"))).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
}

#[test]
fn a_mount_outlives_a_restart_of_the_appliance() {
    let (mut site, files) = site(|files| odd_tree(&files.join("tree")).unwrap());
    let files = files.join("tree");
    let mounts = [site.mount("here").unwrap(), site.mount_from_afar("agent", "afar").unwrap()];
    let letter = |mount: &Mount| mount.latest(&files.join("deep/7"));
    for mount in &mounts {
        fs::read(letter(mount)).unwrap();
    }
    site.kill_server().unwrap();
    for mount in &mounts {
        let unseen = mount.latest(&files.join("deep/er/large"));
        assert_eq!(error(fs::read(unseen)), Errno::IO, "an error, not a wait without end");
    }
    site.start_server().unwrap();
    for mount in mounts {
        site.wait_within(WAIT_MAX, "the mount works again", || fs::read(letter(&mount)).is_ok()).unwrap();
        assert_eq!(differences(&files, &mount.latest(&files)).unwrap(), "");
        assert!(mount.end().unwrap().success());
    }
}

#[test]
fn an_agent_mounts_what_it_may_read_and_nothing_else() {
    let (site, files) = site(|files| fs::write(files.join("letter"), "of web1").unwrap());
    site.join("web2").unwrap();
    let mount = site.mount_from_afar("web2", "of-web2").unwrap();
    let top = site.path("of-web2");
    let listed: Vec<_> = fs::read_dir(&top).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(listed, ["web2"], "another machine is not even named");
    assert_eq!(error(fs::read(mount.latest(&files.join("letter")))), Errno::NOENT);
    assert!(mount.end().unwrap().success());

    let token = expect(&mut site.keepfast(&["token", "create", "web3"]).unwrap(), 0).unwrap();
    expect(&mut site.agent_named("web3", &["join", token.trim()]).unwrap(), 0).unwrap();
    let folder = site.path("of-web3");
    fs::create_dir(&folder).unwrap();
    let refused = run(site.mounting("web3").unwrap().arg(&folder)).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("may not read points") && said.contains("--allow-restore"), "{said}");
    assert!(!is_mounted(&folder).unwrap());
}

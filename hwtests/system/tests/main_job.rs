//! The main job with the real programs: protect, change, list, restore, verify; and the same under kill -9.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use system::{Site, expect, run};

/// A tree with the odd things that filesystems have.
fn odd_tree(root: &Path) {
    fs::create_dir_all(root.join("deep/er")).unwrap();
    for number in 0..400u32 {
        let text = format!("file {number}\n").repeat(number as usize * 7 % 900 + 1);
        fs::write(root.join(format!("deep/{number}")), text).unwrap();
    }
    let noise: Vec<u8> = (0..3_000_000u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    fs::write(root.join("deep/er/large"), noise).unwrap();
    fs::hard_link(root.join("deep/1"), root.join("hard")).unwrap();
    symlink("deep/1", root.join("link")).unwrap();
    fs::File::create(root.join("sparse")).unwrap().set_len(5_000_000).unwrap();
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"not \xff text\n")), b"x").unwrap();
    fs::write(root.join("empty"), b"").unwrap();
}

/// What differs between two trees, attributes included; nothing if they are equal.
fn differences(a: &Path, b: &Path) -> String {
    let slash = |path: &Path| format!("{}/", path.display());
    let mut rsync = Command::new("rsync");
    rsync.args(["-naHAXi", "--checksum", "--delete"]).arg(slash(a)).arg(slash(b));
    expect(&mut rsync, 0).unwrap()
}

/// Restores a moment of the source and compares it with a tree.
fn assert_restores(site: &Site, when: &str, tree: &Path, original: &Path) {
    let out = site.path("out");
    let _ = fs::remove_dir_all(&out);
    let place = format!("web1/files@{when}");
    expect(&mut site.keepfast(&["restore", &place, "--to", out.to_str().unwrap()]).unwrap(), 0).unwrap();
    let restored = out.join(original.strip_prefix("/").unwrap());
    assert_eq!(differences(tree, &restored), "", "{when}");
}

fn points(site: &Site) -> Vec<String> {
    let json = expect(&mut site.keepfast(&["points", "--json"]).unwrap(), 0).unwrap();
    let rows: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    rows.iter().map(|row| row["point"].as_str().unwrap().to_owned()).collect()
}

fn protect(site: &Site) -> std::path::PathBuf {
    let tree = site.path("files");
    odd_tree(&tree);
    expect(&mut site.agent(&["source", "add", "files", tree.to_str().unwrap()]).unwrap(), 0).unwrap();
    tree
}

fn copy(from: &Path, to: &Path) {
    expect(Command::new("cp").arg("-a").arg(from).arg(to), 0).unwrap();
}

#[test]
fn every_point_restores_as_it_was() {
    let site = Site::start().unwrap();
    let tree = protect(&site);
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    copy(&tree, &site.path("first"));

    fs::write(tree.join("deep/7"), "changed").unwrap();
    fs::rename(tree.join("deep/er"), tree.join("moved")).unwrap();
    fs::remove_file(tree.join("empty")).unwrap();
    expect(&mut site.agent(&["backup", "files"]).unwrap(), 0).unwrap();

    let ids = points(&site);
    assert_eq!(ids.len(), 2);
    assert_restores(&site, &ids[0], &site.path("first"), &tree);
    assert_restores(&site, "latest", &tree, &tree);
    let (a, b) = (format!("web1/files@{}", ids[0]), "web1/files@latest");
    let diff = expect(&mut site.keepfast(&["diff", &a, b]).unwrap(), 0).unwrap();
    assert!(diff.contains("removed") && diff.contains("/moved") && diff.contains("deep/7"), "{diff}");
    let verified = expect(&mut site.keepfast(&["pool", "verify"]).unwrap(), 0).unwrap();
    assert!(verified.contains("0 damaged"), "{verified}");
    let out = site.path("agent-out");
    expect(&mut site.agent(&["restore", "files@latest", "--to", out.to_str().unwrap()]).unwrap(), 0).unwrap();
    assert_eq!(differences(&tree, &out.join(tree.strip_prefix("/").unwrap())), "");
}

#[test]
fn a_killed_appliance_and_a_killed_agent_lose_nothing_that_was_acknowledged() {
    let mut site = Site::start().unwrap();
    let tree = protect(&site);
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    let mut acknowledged = points(&site).len();
    for round in 0..25u64 {
        fs::write(tree.join("deep/5"), format!("round {round}\n").repeat(50_000)).unwrap();
        fs::write(tree.join(format!("new-{round}")), format!("{round}")).unwrap();
        let mut backup = site.agent(&["backup"]).unwrap();
        let mut backup =
            backup.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(round * 13 % 160));
        if round % 2 == 0 {
            backup.kill().unwrap();
            acknowledged += usize::from(backup.wait().unwrap().success());
        } else {
            site.kill_server().unwrap();
            site.start_server().unwrap();
            acknowledged += usize::from(backup.wait().unwrap().success());
        }
        let found = points(&site).len();
        assert!(found == acknowledged || found == acknowledged + 1, "round {round}: {found} {acknowledged}");
        acknowledged = found;
    }
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    assert_restores(&site, "latest", &tree, &tree);
    let verified = expect(&mut site.keepfast(&["pool", "verify"]).unwrap(), 0).unwrap();
    assert!(verified.contains("0 damaged"), "{verified}");
}

#[test]
fn nothing_of_names_and_contents_is_readable_in_the_pool() {
    let site = Site::start().unwrap();
    let tree = site.path("files");
    fs::create_dir(&tree).unwrap();
    let canaries: Vec<String> = (0..200)
        .map(|n| format!("canary-{n}-{:016x}", (n + 1) * 0x9e37_79b9_7f4a_7c15u128 % (1 << 64)))
        .collect();
    for pair in canaries.chunks(2) {
        fs::write(tree.join(&pair[0]), &pair[1]).unwrap();
    }
    expect(&mut site.agent(&["source", "add", "files", tree.to_str().unwrap()]).unwrap(), 0).unwrap();
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    for place in ["appliance", "appliance.log"] {
        let found = run(Command::new("grep").args(["-rac", "canary-"]).arg(site.path(place))).unwrap();
        let counts = String::from_utf8_lossy(&found.stdout).into_owned();
        assert!(counts.lines().all(|line| line.ends_with(":0") || line == "0"), "{place}: {counts}");
    }
}

#[test]
fn a_second_process_and_an_unknown_agent_are_refused() {
    let site = Site::start().unwrap();
    let second = run(&mut site.keepfast(&["serve", "--listen", "127.0.0.1:0"]).unwrap()).unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use"), "{second:?}");
    expect(&mut site.keepfast(&["machines", "--revoke", "web1"]).unwrap(), 0).unwrap();
    let tree = protect(&site);
    assert!(tree.is_dir());
    let refused = run(&mut site.agent(&["backup"]).unwrap()).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let usage = run(&mut site.keepfast(&["no-such-command"]).unwrap()).unwrap();
    assert_eq!(usage.status.code(), Some(2));
}

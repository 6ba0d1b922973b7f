//! The main job with the real programs: protect, change, list, restore, verify.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::XattrFlags;
use system::{Site, copy, differences, expect, noise, odd_tree, run};

fn protect(site: &Site) -> PathBuf {
    let tree = site.path("files");
    odd_tree(&tree).unwrap();
    site.protect(&tree).unwrap();
    tree
}

/// Restores a moment of the source and compares it with a tree.
fn assert_restores(site: &Site, when: &str, tree: &Path, original: &Path) {
    let restored = site.restore(when, original).unwrap();
    assert_eq!(differences(tree, &restored).unwrap(), "", "{when}");
}

#[test]
fn every_point_restores_as_it_was() {
    let site = Site::start().unwrap();
    let tree = protect(&site);
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    copy(&tree, &site.path("first")).unwrap();

    fs::write(tree.join("deep/7"), "changed").unwrap();
    fs::rename(tree.join("deep/er"), tree.join("moved")).unwrap();
    fs::remove_file(tree.join("empty")).unwrap();
    expect(&mut site.agent(&["backup", "files"]).unwrap(), 0).unwrap();

    let ids = site.points().unwrap();
    assert_eq!(ids.len(), 2);
    assert_restores(&site, &ids[0], &site.path("first"), &tree);
    assert_restores(&site, "latest", &tree, &tree);
    let (a, b) = (format!("web1/files@{}", ids[0]), "web1/files@latest");
    let diff = expect(&mut site.keepfast(&["diff", &a, b]).unwrap(), 0).unwrap();
    assert!(diff.contains("removed") && diff.contains("/moved") && diff.contains("deep/7"), "{diff}");
    site.verify().unwrap();
    let out = site.path("agent-out");
    expect(&mut site.agent(&["restore", "files@latest", "--to", out.to_str().unwrap()]).unwrap(), 0).unwrap();
    assert_eq!(differences(&tree, &out.join(tree.strip_prefix("/").unwrap())).unwrap(), "");
}

#[test]
fn nothing_of_names_and_contents_is_readable_in_the_pool() {
    let site = Site::start().unwrap();
    let tree = site.path("files");
    fs::create_dir(&tree).unwrap();
    for number in 0..200u128 {
        let mark = |kind| format!("canary-{kind}-{:016x}", (number + 1) * 0x9e37_79b9_7f4a_7c15 % (1 << 64));
        let file = tree.join(mark("name"));
        fs::write(&file, mark("content")).unwrap();
        rustix::fs::setxattr(&file, "user.text", mark("xattr").as_bytes(), XattrFlags::empty()).unwrap();
        std::os::unix::fs::symlink(mark("target"), tree.join(mark("link"))).unwrap();
    }
    site.protect(&tree).unwrap();
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    // Alone in its backup, so that it is stored without compression, which hides text as well.
    fs::write(tree.join("raw"), [&noise(1, 500_000)[..], b"canary-raw", &noise(2, 500_000)].concat())
        .unwrap();
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    let restored = site.restore("latest", &tree).unwrap();
    assert_eq!(differences(&tree, &restored).unwrap(), "");
    expect(&mut site.keepfast(&["ls", &format!("web1/files@latest:{}", tree.display())]).unwrap(), 0)
        .unwrap();
    // Until the catalog has everything.
    std::thread::sleep(Duration::from_secs(1));
    let count = |place: &Path| {
        let found = run(Command::new("grep").args(["-rach", "canary-"]).arg(place)).unwrap();
        let counts = String::from_utf8_lossy(&found.stdout).into_owned();
        counts.lines().map(|count| count.parse::<u64>().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(count(&restored).iter().sum::<u64>(), 201, "grep finds what is there");
    let files = count(site.data());
    assert!(files.len() > 5 && files.iter().all(|count| *count == 0), "{files:?}");
    assert_eq!(count(&site.path("appliance.log")), [0]);
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

//! What rots on the drive is found by the appliance itself, and named by machine, source, point and path.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use system::{Site, expect, noise};

/// What the appliance says is damaged.
fn damage(site: &Site) -> Vec<String> {
    let status = expect(&mut site.keepfast(&["pool", "status", "--json"]).unwrap(), 0).unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let lines = status["damage"].as_array().unwrap().iter();
    lines.map(|line| line.as_str().unwrap().to_owned()).collect()
}

/// Which points a listing marks as damaged.
fn marks_in(command: &mut std::process::Command) -> Vec<bool> {
    let rows = expect(command, 0).unwrap();
    let rows: serde_json::Value = serde_json::from_str(&rows).unwrap();
    rows.as_array().unwrap().iter().map(|row| row["damaged"].as_u64().unwrap() > 0).collect()
}

/// Those of the operator.
fn marked_here(site: &Site) -> Vec<bool> {
    marks_in(&mut site.keepfast(&["points", "--json"]).unwrap())
}

/// Which points are marked as damaged, for the operator and for the agent. Not while that changes.
fn marked(site: &Site, agent: &str) -> Vec<bool> {
    let operator = marked_here(site);
    assert_eq!(marks_in(&mut site.agent_named(agent, &["points", "--json"]).unwrap()), operator);
    operator
}

/// A site with a point of twenty files, each of a megabyte.
fn backed_up() -> (Site, PathBuf) {
    let site = Site::start().unwrap();
    let tree = site.path("files");
    fs::create_dir(&tree).unwrap();
    for number in 0..20 {
        fs::write(tree.join(number.to_string()), noise(number, 1 << 20)).unwrap();
    }
    site.protect(&tree).unwrap();
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    (site, tree)
}

/// A byte ten megabytes into the largest segment becomes another one.
fn rot_the_largest_segment(site: &Site) {
    let segments = fs::read_dir(site.data().join("pool/segments")).unwrap();
    let largest =
        segments.map(|entry| entry.unwrap().path()).max_by_key(|path| fs::metadata(path).unwrap().len());
    let file = fs::File::options().read(true).write(true).open(largest.unwrap()).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 10 << 20).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 10 << 20).unwrap();
}

#[test]
fn a_newest_point_that_is_damaged_does_not_let_the_last_whole_one_go() {
    let (mut site, tree) = backed_up();
    // What comes later is in a segment of its own.
    site.stop_server().unwrap();
    site.start_server().unwrap();
    fs::write(tree.join("large"), noise(7, 30 << 20)).unwrap();
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    let keep = ["web1/files", "last=1", "floor-points=1", "floor-age=0s"];
    let would_go = site.operate(&[&["plan"], &keep[..]].concat()).unwrap();
    assert!(would_go.contains("Fold 1 point"), "{would_go}");
    site.stop_server().unwrap();
    rot_the_largest_segment(&site);
    site.start_server().unwrap();
    site.wait_until("the newest one is marked", || marked_here(&site) == [false, true]).unwrap();
    site.operate(&[&["retention", "set"], &keep[..]].concat()).unwrap();
    let plan = site.operate(&["plan"]).unwrap();
    assert!(plan.starts_with("Nothing is to be folded."), "{plan}");
    assert_eq!(site.points().unwrap().len(), 2);
    // Once there is a whole one again, the others go.
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    site.wait_until("older ones go", || site.points().unwrap().len() == 1).unwrap();
    assert_eq!(system::differences(&tree, &site.restore("latest", &tree).unwrap()).unwrap(), "");
}

#[test]
fn rot_is_found_and_named_by_path_and_heals_with_the_next_backup_that_has_it() {
    let (mut site, tree) = backed_up();
    // One more point, without what is to rot: what is largest is in the segment of the first backup.
    for number in 0..20 {
        fs::write(tree.join(number.to_string()), noise(100 + number, 1 << 10)).unwrap();
    }
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    assert_eq!((damage(&site), marked(&site, "agent")), (Vec::new(), vec![false, false]));
    site.stop_server().unwrap();
    rot_the_largest_segment(&site);

    site.start_server().unwrap();
    let names = |line: &String| {
        line.contains("web1") && line.contains("files") && line.contains(&tree.display().to_string()[1..])
    };
    site.wait_until("rot is found", || damage(&site).iter().any(names)).unwrap();
    // The scrub said it, and a restart does not forget it.
    site.stop_server().unwrap();
    site.start_server().unwrap();
    assert!(damage(&site).iter().any(names), "{:?}", damage(&site));
    assert_eq!(marked(&site, "agent"), [true, false], "exactly the point that has lost something");

    // An agent that lost its cache asks for everything.
    for number in 0..20 {
        fs::write(tree.join(number.to_string()), noise(number, 1 << 20)).unwrap();
    }
    site.join("web1").unwrap();
    expect(&mut site.agent_named("web1", &["source", "add", "files", tree.to_str().unwrap()]).unwrap(), 0)
        .unwrap();
    expect(&mut site.agent_named("web1", &["backup"]).unwrap(), 0).unwrap();
    let restored = site.restore("latest", &tree).unwrap();
    assert_eq!(system::differences(&tree, &restored).unwrap(), "");
    let first = site.points().unwrap().remove(0);
    assert!(site.restore(&first, &tree).is_ok(), "the chunk is there again, for older points too");
    // The frame itself is damaged still, and says so; nothing is read from it.
    system::run(&mut site.keepfast(&["pool", "verify"]).unwrap()).unwrap();
    assert_eq!(marked(&site, "web1"), [false; 3], "what was found whole is marked no more");
}

#[test]
fn what_rotted_of_unchanged_files_is_sent_again_by_an_agent_that_remembers_them() {
    let (mut site, tree) = backed_up();
    fs::write(tree.join("another"), "small").unwrap();
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    site.stop_server().unwrap();
    rot_the_largest_segment(&site);
    site.start_server().unwrap();
    site.wait_until("points are marked", || marked_here(&site) == [true, true]).unwrap();
    assert_eq!(marked(&site, "agent"), [true, true]);

    // Nothing has changed: without being asked it would say so, and no more.
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    assert!(!marked(&site, "agent")[2]);
    for point in site.points().unwrap() {
        assert!(site.restore(&point, &tree).is_ok(), "point {point} is whole again");
    }
    assert_eq!(system::differences(&tree, &site.restore("latest", &tree).unwrap()).unwrap(), "");
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
}

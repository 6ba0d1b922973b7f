//! Machines, sources, points, and moments that are looked up.

use model::item::FileKind;
use view::{View, ViewError};

use crate::memory::Memory;

fn find(view: &View, path: &str) -> Result<u64, ViewError> {
    let mut number = View::ROOT;
    for name in path.split('/') {
        number = view.lookup(number, name.as_bytes())?.attributes.number;
    }
    Ok(number)
}

fn names(view: &View, number: u64) -> Vec<String> {
    let directory = view.open_directory(number).unwrap();
    let listed = view.read_directory(&directory, 0).unwrap();
    listed.into_iter().map(|entry| String::from_utf8(entry.name).unwrap()).collect()
}

/// Points of an hour ago, two of the same second 100 s ago, and one of now.
fn memory() -> Memory {
    let memory = Memory::default();
    for (seconds_ago, sequence) in [(3600, 10), (100, 20), (100, 25), (0, 30)] {
        memory.point(seconds_ago, sequence);
    }
    memory
}

const IDS: [&str; 4] =
    ["2027-01-15T07-00-00Z", "2027-01-15T07-58-20Z", "2027-01-15T07-58-20Z-2", "2027-01-15T08-00-00Z"];

#[test]
fn machines_sources_and_points_are_folders() {
    let view = memory().view();
    assert_eq!(names(&view, View::ROOT), ["web1"]);
    assert_eq!(names(&view, find(&view, "web1").unwrap()), ["home"]);
    assert_eq!(names(&view, find(&view, "web1/home").unwrap()), ["at", "latest", "points"]);
    assert_eq!(names(&view, find(&view, "web1/home/points").unwrap()), IDS);
    assert_eq!(names(&view, find(&view, "web1/home/at").unwrap()), [""; 0]);
    let latest = find(&view, "web1/home/latest").unwrap();
    assert_eq!(view.target(latest).unwrap(), format!("points/{}", IDS[3]).into_bytes());
    let attributes = view.attributes(latest).unwrap().attributes;
    assert_eq!((attributes.kind, attributes.size), (FileKind::Symlink, 27));
    for missing in ["web2", "web1/other", "web1/home/points/2027-01-15T07-58-20Z-3", "web1/home/elsewhere"] {
        assert_eq!(find(&view, missing), Err(ViewError::Missing), "{missing}");
    }
    assert_eq!(find(&view, "web1/home/latest/x"), Err(ViewError::NotDirectory));
}

#[test]
fn a_moment_leads_to_the_newest_point_that_was_there() {
    let view = memory().view();
    for (moment, expected) in [
        ("latest", Some(3)),
        ("2h-ago", None),
        ("1h-ago", Some(0)),
        ("2m-ago", Some(0)),
        ("99s-ago", Some(2)),
        ("0s-ago", Some(3)),
        ("2027-01-15T07:58:19.999Z", Some(0)),
        ("2027-01-15T07:58:20Z", Some(2)),
        ("2027-01-15T15:58:20.5+08:00", Some(2)),
        ("2027-01-15T07-58-20Z", Some(1)),
        ("seq:9", None),
        ("seq:10", Some(0)),
        ("seq:24", Some(1)),
        ("seq:99", Some(3)),
        ("yesterday", None),
        ("5m", None),
        ("seq:", None),
        ("\u{fc}", None),
    ] {
        let found = find(&view, &format!("web1/home/at/{moment}"));
        let target = found.and_then(|number| view.target(number));
        let wanted = expected.map(|at: usize| format!("../points/{}", IDS[at]).into_bytes());
        assert_eq!(target.clone().ok(), wanted, "{moment}: {target:?}");
    }
    let at = find(&view, "web1/home/at").unwrap();
    assert_eq!(view.lookup(at, b"\xff").unwrap_err(), ViewError::Missing);
}

#[test]
fn new_points_appear() {
    let memory = memory();
    let view = memory.view();
    let points = find(&view, "web1/home/points").unwrap();
    assert_eq!(names(&view, points).len(), 4);
    memory.point(-60, 40);
    let id = "2027-01-15T08-01-00Z";
    let started = std::time::Instant::now();
    while find(&view, &format!("web1/home/points/{id}")).is_err() {
        assert!(started.elapsed().as_secs() < 60, "the new point does not appear");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(names(&view, points).len(), 5);
    let latest = find(&view, "web1/home/latest").unwrap();
    assert_eq!(view.target(latest).unwrap(), format!("points/{id}").into_bytes());
}

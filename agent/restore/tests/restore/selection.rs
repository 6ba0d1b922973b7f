//! Restoring parts of a point.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use model::ErrorKind;
use model::path::split_path;
use restore::{Overwrite, Progress, Request, RestoreError, restore};

use crate::archive::Memory;
use crate::snapshot::{Heard, assert_same, replacing, request, run, run_clean, snapshot, snapshot_below};

fn source(root: &Path) {
    for (path, content) in [("usr/share/doc/a", "a"), ("usr/share/doc/b", "bb"), ("usr/share/x", "x")] {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), content).unwrap();
    }
    fs::write(root.join("usr/y"), "y").unwrap();
    fs::write(root.join("z"), "z").unwrap();
    fs::set_permissions(root.join("usr/share"), Permissions::from_mode(0o711)).unwrap();
}

fn paths(texts: &[&str]) -> Vec<Vec<model::EntryName>> {
    texts.iter().map(|text| split_path(text.as_bytes()).unwrap()).collect()
}

#[test]
fn only_what_is_wanted_comes_with_the_directories_above_it() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("source");
    source(&from);
    let memory = Memory::capture(&from);
    let cases: [(&[&str], &[&str], u64); 4] = [
        (&["usr/share/doc"], &["usr", "usr/share", "usr/share/doc", "usr/share/doc/a", "usr/share/doc/b"], 3),
        (&["z"], &["z"], 1),
        (&["usr/share/x", "usr/y"], &["usr", "usr/share", "usr/share/x", "usr/y"], 2),
        (
            &["usr/share/doc/a", "usr/share/doc"],
            &["usr", "usr/share", "usr/share/doc", "usr/share/doc/a", "usr/share/doc/b"],
            3,
        ),
    ];
    for (n, (wanted, expected, bytes)) in cases.into_iter().enumerate() {
        let target = folder.path().join(n.to_string());
        let heard = Heard::default();
        let request = Request { paths: paths(wanted), ..request(&memory, &target) };
        let outcome = restore(&request, &heard, &AtomicBool::new(false)).unwrap();
        assert_eq!(outcome.problems, []);
        assert_eq!(heard.bytes_total.load(Ordering::Relaxed), bytes, "{wanted:?}");
        assert_eq!(heard.bytes.load(Ordering::Relaxed), bytes, "{wanted:?}");
        let mut all = snapshot_below(&from);
        all.retain(|path, _| expected.iter().any(|e| Path::new(e) == path));
        assert_same(&snapshot_below(&target), &all);
    }
}

#[test]
fn directories_above_that_exist_keep_their_attributes() {
    let folder = tempfile::tempdir().unwrap();
    let (from, target) = (folder.path().join("source"), folder.path().join("target"));
    source(&from);
    fs::create_dir_all(target.join("usr/share")).unwrap();
    fs::set_permissions(target.join("usr/share"), Permissions::from_mode(0o750)).unwrap();
    let memory = Memory::capture(&from);
    for request in [request(&memory, &target), replacing(&memory, &target)] {
        run_clean(&Request { paths: paths(&["usr/share/doc"]), ..request });
        let mode = |path: &str| target.join(path).metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode("usr/share"), 0o750);
        assert_eq!(mode("usr/share/doc"), 0o755);
    }
}

#[test]
fn a_path_that_is_not_in_the_point_is_said_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("source");
    source(&from);
    let memory = Memory::capture(&from);
    for wanted in ["usr/share/none", "none", "usr/y/below-a-file"] {
        let target = folder.path().join("target");
        let request = Request { paths: paths(&["z", wanted]), ..request(&memory, &target) };
        let error = run(&request).unwrap_err();
        assert!(matches!(error, RestoreError::NotInPoint { .. }), "{wanted}: {error}");
        assert_eq!(error.kind(), ErrorKind::Missing);
        assert!(!target.exists());
    }
}

#[test]
fn a_conflict_outside_of_what_is_wanted_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let (from, target) = (folder.path().join("source"), folder.path().join("target"));
    source(&from);
    fs::create_dir_all(target.join("usr")).unwrap();
    fs::write(target.join("z"), "mine").unwrap();
    fs::write(target.join("usr/y"), "mine").unwrap();
    let memory = Memory::capture(&from);
    run_clean(&Request { paths: paths(&["usr/share"]), ..request(&memory, &target) });
    assert_eq!(fs::read(target.join("z")).unwrap(), b"mine");
    let found = snapshot(&target);
    assert_eq!(found[Path::new("usr/share/x")], snapshot(&from)[Path::new("usr/share/x")]);
}

#[test]
fn what_stands_on_the_way_to_what_is_wanted_is_never_replaced() {
    type Setup = fn(&Path);
    let cases: [(&str, Setup); 2] = [
        ("usr (is a link,", |target| {
            fs::create_dir_all(target.join("real/share")).unwrap();
            std::os::unix::fs::symlink("real", target.join("usr")).unwrap();
        }),
        ("usr/share (is a file,", |target| {
            fs::create_dir_all(target.join("usr")).unwrap();
            fs::write(target.join("usr/share"), "mine").unwrap();
        }),
    ];
    for (said, setup) in cases {
        let folder = tempfile::tempdir().unwrap();
        let (from, target) = (folder.path().join("source"), folder.path().join("target"));
        source(&from);
        setup(&target);
        let before = snapshot(&target);
        let memory = Memory::capture(&from);
        for overwrite in [Overwrite::Refuse, Overwrite::Differing] {
            for wanted in ["usr/share/x", "usr/share/doc"] {
                let request = Request { paths: paths(&[wanted]), overwrite, ..request(&memory, &target) };
                let error = run(&request).unwrap_err();
                assert!(matches!(error, RestoreError::Obstacles { count: 1, .. }), "{error}");
                assert_eq!(error.kind(), ErrorKind::Refused);
                let message = error.to_string();
                assert!(message.contains(said) && message.contains("move them away"), "{message}");
                assert_same(&snapshot(&target), &before);
            }
        }
        // What was asked for itself gives way.
        run_clean(&Request { paths: paths(&["usr"]), ..replacing(&memory, &target) });
        assert_eq!(fs::read(target.join("usr/share/x")).unwrap(), b"x");
    }
}

/// Puts a link in the place of `usr` once the restore has looked at it.
struct LinkLater<'t>(&'t Path);

impl Progress for LinkLater<'_> {
    fn total(&self, _: u64, _: u64) {
        fs::rename(self.0.join("usr"), self.0.join("real")).unwrap();
        std::os::unix::fs::symlink("real", self.0.join("usr")).unwrap();
    }

    fn advance(&self, _: u64, _: u64) {}

    fn problem(&self, _: &[u8], _: &str) {}
}

#[test]
fn a_link_that_appears_on_the_way_to_what_is_wanted_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (from, target) = (folder.path().join("source"), folder.path().join("target"));
    source(&from);
    fs::create_dir_all(target.join("usr")).unwrap();
    let memory = Memory::capture(&from);
    let request = Request { paths: paths(&["usr/share/x"]), ..replacing(&memory, &target) };
    let outcome = restore(&request, &LinkLater(&target), &AtomicBool::new(false)).unwrap();
    assert_eq!(outcome.problems.len(), 1, "{:?}", outcome.problems);
    assert_eq!(fs::read_link(target.join("usr")).unwrap(), Path::new("real"));
    assert_eq!(fs::read_dir(target.join("real")).unwrap().count(), 0);
}

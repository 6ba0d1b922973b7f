//! Restoring parts of a point.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use model::ErrorKind;
use model::path::split_path;
use restore::{Request, RestoreError, restore};

use crate::archive::Memory;
use crate::snapshot::{Heard, assert_same, request, run, run_clean, snapshot, snapshot_below};

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
    for request in [request(&memory, &target), crate::snapshot::replacing(&memory, &target)] {
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

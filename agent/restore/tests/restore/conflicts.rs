//! What is in the way is found before anything is written.

use std::fs;
use std::path::Path;

use model::ErrorKind;
use restore::RestoreError;

use crate::archive::Memory;
use crate::snapshot::{assert_same, replacing, request, run, run_clean, snapshot, snapshot_below};

fn source(root: &Path) {
    fs::create_dir_all(root.join("dir/sub")).unwrap();
    fs::write(root.join("dir/file"), "stored").unwrap();
    fs::write(root.join("dir/sub/file"), "stored").unwrap();
    fs::write(root.join("last"), "stored").unwrap();
    std::os::unix::fs::symlink("file", root.join("dir/link")).unwrap();
}

#[test]
fn every_kind_of_conflict_is_refused_with_nothing_written() {
    type Setup = fn(&Path);
    let cases: [(&str, Setup); 8] = [
        ("another content", |t| fs::write(t.join("dir/file"), "mine!!").unwrap()),
        ("a longer file", |t| fs::write(t.join("dir/file"), "stored and more").unwrap()),
        ("a beginning", |t| fs::write(t.join("last"), "sto").unwrap()),
        ("a file for a directory", |t| fs::write(t.join("dir/sub"), "").unwrap()),
        ("a directory for a file", |t| fs::create_dir(t.join("dir/file")).unwrap()),
        ("a link for a file", |t| std::os::unix::fs::symlink("x", t.join("dir/file")).unwrap()),
        ("a link for a directory", |t| std::os::unix::fs::symlink("/", t.join("dir/sub")).unwrap()),
        ("a link to elsewhere", |t| std::os::unix::fs::symlink("x", t.join("dir/link")).unwrap()),
    ];
    for (what, setup) in cases {
        let folder = tempfile::tempdir().unwrap();
        let (from, target) = (folder.path().join("source"), folder.path().join("target"));
        source(&from);
        fs::create_dir_all(target.join("dir")).unwrap();
        setup(&target);
        let before = snapshot(&target);
        let memory = Memory::capture(&from);
        let error = run(&request(&memory, &target)).unwrap_err();
        assert!(matches!(error, RestoreError::Conflicts { count: 1, .. }), "{what}: {error}");
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("--overwrite"), "{error}");
        assert_same(&snapshot(&target), &before);
    }
}

#[test]
fn the_first_few_conflicts_are_named_safely() {
    let folder = tempfile::tempdir().unwrap();
    let mut memory = Memory::new();
    let target = folder.path().join("t");
    fs::create_dir(&target).unwrap();
    for n in 0..9 {
        let name = format!("{n}\x1b]0;evil\n");
        memory.file(1, name.as_bytes(), b"stored");
        fs::write(target.join(name), "mine").unwrap();
    }
    let message = run(&request(&memory, &target)).unwrap_err().to_string();
    assert!(message.starts_with("9 entries of the target are in the way"), "{message}");
    assert!(!message.contains(char::is_control), "{message:?}");
    assert_eq!(message.matches("(differs)").count(), 5);
}

#[test]
fn what_is_equal_is_no_conflict_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (from, target) = (folder.path().join("source"), folder.path().join("target"));
    source(&from);
    let memory = Memory::capture(&from);
    run_clean(&request(&memory, &target));
    fs::remove_file(target.join("dir/sub/file")).unwrap();
    fs::write(target.join("of-others"), "stays").unwrap();
    let inode = |path: &str| std::os::unix::fs::MetadataExt::ino(&target.join(path).metadata().unwrap());
    let before = inode("dir/file");

    let outcome = run_clean(&request(&memory, &target));
    assert_eq!((outcome.bytes_written, outcome.bytes_unchanged), (6, 12));
    assert_eq!((outcome.files, outcome.others, outcome.directories), (3, 1, 3));
    assert_eq!(inode("dir/file"), before);
    let mut found = snapshot_below(&target);
    assert!(found.remove(Path::new("of-others")).is_some());
    // Making an entry in a directory that was there before changes its time.
    let times = |tree: &mut crate::snapshot::Snapshot| {
        tree.get_mut(Path::new("dir/sub")).unwrap().modified = (0, 0);
    };
    let mut expected = snapshot_below(&from);
    times(&mut found);
    times(&mut expected);
    assert_same(&found, &expected);
}

#[test]
fn a_content_that_differs_behind_equal_looks_is_a_conflict() {
    let folder = tempfile::tempdir().unwrap();
    let (from, target) = (folder.path().join("source"), folder.path().join("target"));
    source(&from);
    let memory = Memory::capture(&from);
    run_clean(&request(&memory, &target));
    let time = target.join("last").metadata().unwrap().modified().unwrap();
    fs::write(target.join("last"), "STORED").unwrap();
    fs::File::options().write(true).open(target.join("last")).unwrap().set_modified(time).unwrap();
    let before = snapshot(&target);
    for naming in [None, Some(&crate::archive::name_of as restore::Naming<'_>)] {
        let error = run(&restore::Request { naming, ..request(&memory, &target) }).unwrap_err();
        assert!(matches!(error, RestoreError::Conflicts { count: 1, .. }), "{error}");
        assert_same(&snapshot(&target), &before);
    }
    run_clean(&replacing(&memory, &target));
    assert_same(&snapshot_below(&target), &snapshot_below(&from));
}

#[test]
fn the_name_of_the_marker_is_respected() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("t");
    fs::create_dir(&target).unwrap();
    fs::write(target.join(".keepfast-restore"), "my notes").unwrap();
    let mut memory = Memory::new();
    memory.file(1, b"file", b"content");
    let error = run(&request(&memory, &target)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(fs::read(target.join(".keepfast-restore")).unwrap(), b"my notes");
    assert!(!target.join("file").exists());
}

#[test]
fn a_target_that_is_no_directory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("t"), "file").unwrap();
    let memory = Memory::new();
    let error = run(&request(&memory, &folder.path().join("t"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
}

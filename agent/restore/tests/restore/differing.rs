//! Restoring in place: only what differs is fetched and written.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use model::ErrorKind;
use restore::{Request, RestoreError};

use crate::archive::{CHUNK, Memory};
use crate::fidelity::{noise, odd_tree};
use crate::snapshot::{assert_same, replacing, request, run, run_clean, snapshot_below};

#[test]
fn only_differing_chunks_are_fetched_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let (from, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&from).unwrap();
    fs::write(from.join("large"), noise(100 * CHUNK, 1)).unwrap();
    fs::write(from.join("same"), noise(10 * CHUNK, 2)).unwrap();
    let memory = Memory::capture(&from);
    run_clean(&request(&memory, &target));
    let inode = target.join("same").metadata().unwrap().ino();
    let file = fs::File::options().write(true).open(target.join("large")).unwrap();
    for at in [0, 57 * CHUNK + 3] {
        file.write_all_at(b"changed", at as u64).unwrap();
    }
    let before = memory.fetched();
    let outcome = run_clean(&replacing(&memory, &target));
    assert_same(&snapshot_below(&target), &snapshot_below(&from));
    assert_eq!(memory.fetched() - before, 2);
    assert_eq!(outcome.bytes_written, 2 * CHUNK as u64);
    assert_eq!(outcome.bytes_unchanged, 108 * CHUNK as u64);
    assert_eq!(target.join("same").metadata().unwrap().ino(), inode, "what is equal is not replaced");

    let without_names = Request { naming: None, ..replacing(&memory, &target) };
    let outcome = run_clean(&without_names);
    assert_eq!((outcome.bytes_written, outcome.bytes_unchanged), (0, 110 * CHUNK as u64));
}

type Change = fn(&Path);

/// Ways in which a target can differ from what was restored to it.
fn differences() -> [(&'static str, Change); 14] {
    [
        ("shorter", |t| {
            fs::File::options().write(true).open(t.join("dir/deep/large")).unwrap().set_len(70_000).unwrap()
        }),
        ("empty", |t| fs::write(t.join("dir/deep/huge"), b"").unwrap()),
        ("longer", |t| fs::write(t.join("dir/empty-file"), b"more").unwrap()),
        ("hole filled", |t| {
            fs::File::options()
                .write(true)
                .open(t.join("sparse"))
                .unwrap()
                .write_all_at(b"x", 5 << 20)
                .unwrap();
        }),
        ("hole at the end cut", |t| {
            fs::File::options().write(true).open(t.join("sparse")).unwrap().set_len(33 << 20).unwrap()
        }),
        ("gone", |t| fs::remove_file(t.join("dir/read-only")).unwrap()),
        ("a tree gone", |t| fs::remove_dir_all(t.join("dir")).unwrap()),
        ("file is a directory", |t| {
            fs::remove_file(t.join("sparse")).unwrap();
            fs::create_dir(t.join("sparse")).unwrap();
        }),
        ("directory is a link", |t| {
            fs::remove_dir_all(t.join("empty")).unwrap();
            std::os::unix::fs::symlink("/etc", t.join("empty")).unwrap();
        }),
        ("directory is a file", |t| {
            fs::remove_dir_all(t.join("dir")).unwrap();
            fs::write(t.join("dir"), "x").unwrap();
        }),
        ("link elsewhere", |t| {
            fs::remove_file(t.join("link")).unwrap();
            std::os::unix::fs::symlink("elsewhere", t.join("link")).unwrap();
        }),
        ("link is a file", |t| {
            fs::remove_file(t.join("dangling")).unwrap();
            fs::write(t.join("dangling"), "x").unwrap();
        }),
        ("hard link parted", |t| {
            fs::remove_file(t.join("a-third-name")).unwrap();
            fs::write(t.join("a-third-name"), "small").unwrap();
        }),
        ("attributes", |t| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs::set_permissions(t.join("dir/small"), mode).unwrap();
            rustix::fs::setxattr(
                t.join("dir/deep/huge"),
                "user.extra",
                b"x",
                rustix::fs::XattrFlags::empty(),
            )
            .unwrap();
            rustix::fs::removexattr(t.join("dir/small"), "user.origin").unwrap();
            rustix::fs::removexattr(t.join("empty"), "system.posix_acl_default").unwrap();
        }),
    ]
}

#[test]
fn every_difference_is_undone() {
    let folder = tempfile::tempdir().unwrap();
    let (from, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&from).unwrap();
    odd_tree(&from);
    let memory = Memory::capture(&from);
    let expected = snapshot_below(&from);
    run_clean(&request(&memory, &target));
    for (what, change) in differences() {
        for with_names in [true, false] {
            change(&target);
            let request = replacing(&memory, &target);
            let naming = request.naming.filter(|_| with_names);
            let outcome = run_clean(&Request { naming, ..request });
            println!("{what}: {} bytes written", outcome.bytes_written);
            assert_same(&snapshot_below(&target), &expected);
        }
    }
}

#[test]
fn a_directory_with_content_gives_way_only_with_leave_to_remove() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("t");
    let mut memory = Memory::new();
    memory.file(1, b"file", b"stored");
    memory.symlink(1, b"link", b"nowhere");
    for name in ["file", "link"] {
        fs::create_dir_all(target.join(name).join("deep/er")).unwrap();
        fs::write(target.join(name).join("deep/mine"), "mine").unwrap();
    }
    let outcome = run(&replacing(&memory, &target)).unwrap();
    assert_eq!(outcome.problems.len(), 2, "{:?}", outcome.problems);
    assert_eq!(fs::read(target.join("file/deep/mine")).unwrap(), b"mine");
    let left = fs::read_dir(&target).unwrap().count();
    assert_eq!(left, 2, "nothing unfinished is left");
    run_clean(&Request { delete_extra: true, ..replacing(&memory, &target) });
    assert_eq!(fs::read(target.join("file")).unwrap(), b"stored");
    assert_eq!(fs::read_link(target.join("link")).unwrap(), Path::new("nowhere"));
}

#[test]
fn what_the_point_does_not_have_goes_only_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (from, target, outside) =
        (folder.path().join("source"), folder.path().join("target"), folder.path().join("outside"));
    fs::create_dir_all(from.join("dir/kept")).unwrap();
    fs::write(from.join("dir/file"), "stored").unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "precious").unwrap();
    let memory = Memory::capture(&from);
    run_clean(&request(&memory, &target));
    fs::create_dir_all(target.join("dir/extra/a/b/c")).unwrap();
    fs::write(target.join("dir/extra/a/b/file"), "x").unwrap();
    std::os::unix::fs::symlink(&outside, target.join("dir/extra/a/link")).unwrap();
    std::os::unix::fs::symlink(&outside, target.join("link")).unwrap();
    fs::write(target.join("dir/kept/extra"), "x").unwrap();

    let outcome = run_clean(&replacing(&memory, &target));
    assert_eq!(outcome.removed, 0);
    assert!(target.join("dir/extra/a/b/file").exists());

    let below =
        Request { paths: vec![model::path::split_path(b"dir/kept").unwrap()], ..replacing(&memory, &target) };
    let outcome = run_clean(&Request { delete_extra: true, ..below });
    assert_eq!(outcome.removed, 1, "only below what was asked for");

    let outcome = run_clean(&Request { delete_extra: true, ..replacing(&memory, &target) });
    assert_eq!(outcome.removed, 7);
    assert_eq!(fs::read(outside.join("precious")).unwrap(), b"precious");
    assert_same(&snapshot_below(&target), &snapshot_below(&from));
}

#[test]
fn nobody_means_to_remove_from_all_of_the_root() {
    let memory = Memory::new();
    let request = Request { delete_extra: true, ..replacing(&memory, Path::new("/tmp/..")) };
    let error = run(&request).unwrap_err();
    assert!(matches!(error, RestoreError::RemovesFromRoot), "{error}");
    assert_eq!(error.kind(), ErrorKind::Refused);
}

//! What every disk must do, as one suite that each implementation runs on an empty drive.
//!
//! It panics at the first breach. What a crash leaves is not its matter: the simulator's tests are about
//! that, and a real disk is crashed in `hwtests`.

use std::sync::Arc;

use model::ErrorKind;

use crate::{Access, Disk, DiskError, File};

/// Runs the whole suite; the drive must be empty, and is not afterwards.
pub fn check(disk: &dyn Disk) {
    files_hold_what_was_written(disk);
    reads_are_exact(disk);
    lengths_are_set(disk);
    names_are_made_once(disk);
    renames_replace(disk);
    removed_files_stay_open(disk);
    directories_nest(disk);
    kinds_of_entries_are_told_apart(disk);
    paths_stay_inside(disk);
    locks_exclude(disk);
    read_handles_do_not_write(disk);
    space_is_plausible(disk);
}

fn kind<T>(result: Result<T, DiskError>) -> Option<ErrorKind> {
    result.err().map(|e| e.kind())
}

/// Unwraps with the name of what must not fail.
fn good<T>(what: &str, result: Result<T, DiskError>) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {error:?}"))
}

fn make(disk: &dyn Disk, path: &str, bytes: &[u8]) -> Arc<dyn File> {
    let file = good("create", disk.create(path));
    good("write", file.write_at(0, bytes));
    file
}

fn content(file: &dyn File) -> Vec<u8> {
    let length = good("length", file.length());
    let mut bytes = vec![0; usize::try_from(length).expect("test files are small")];
    good("read", file.read_at(0, &mut bytes));
    bytes
}

fn content_of(disk: &dyn Disk, path: &str) -> Vec<u8> {
    content(&*good("open", disk.open(path, Access::Read)))
}

fn files_hold_what_was_written(disk: &dyn Disk) {
    let file = make(disk, "file", b"0123456789");
    good("overwrite", file.write_at(3, b"abc"));
    good("write behind a gap", file.write_at(5_000, b"end"));
    good("write nothing", file.write_at(9_000, b""));
    file.advise_written(0..5_000);
    let mut expected = b"012abc6789".to_vec();
    expected.resize(5_000, 0);
    expected.extend(b"end");
    assert_eq!(content(&*file), expected);
    good("sync", file.sync_data());
    good("sync again", file.sync_data());
    good("forget", file.forget_cached());
    assert_eq!(content(&*file), expected, "from the medium");
    good("sync the root", disk.sync_directory(""));
    assert_eq!(content_of(disk, "file"), expected, "through another handle");
    let second = good("open", disk.open("file", Access::ReadWrite));
    good("write through another handle", second.write_at(0, b"X"));
    assert_eq!(content(&*file)[0], b'X');
    good("forget what is not synced", second.forget_cached());
    assert_eq!(content(&*file)[0], b'X', "only a sync may be forgotten");
    good("remove", disk.remove("file"));
}

fn reads_are_exact(disk: &dyn Disk) {
    let file = make(disk, "short", b"0123456789");
    good("read to the end", file.read_at(5, &mut [0; 5]));
    good("read nothing", file.read_at(10, &mut []));
    for (offset, length) in [(6, 5), (10, 1), (1 << 40, 1)] {
        let result = file.read_at(offset, &mut vec![0; length]);
        let Err(DiskError::UnexpectedEnd { start, end, length: 10, .. }) = &result else {
            panic!("{offset}: {result:?}");
        };
        assert_eq!((*start, *end), (offset, offset + length as u64));
        assert_eq!(kind(result), Some(ErrorKind::Missing));
    }
    good("remove", disk.remove("short"));
}

fn lengths_are_set(disk: &dyn Disk) {
    let file = make(disk, "length", &[7; 6_000]);
    good("cut", file.set_length(10));
    assert_eq!(content(&*file), [7; 10]);
    good("extend", file.set_length(8_000));
    let mut expected = vec![7; 10];
    expected.resize(8_000, 0);
    assert_eq!(content(&*file), expected, "what was cut off does not come back");
    good("empty", file.set_length(0));
    let available = || good("space", disk.space()).available_bytes;
    let before = available();
    good("allocate", file.allocate(300_000));
    assert_eq!(good("length", file.length()), 300_000);
    assert!(available() + 300_000 <= before, "it has room");
    good("allocate less", file.allocate(10));
    assert_eq!(content(&*file), vec![0; 300_000]);
    good("empty", file.set_length(0));
    assert_eq!(good("length", file.length()), 0);
    good("remove", disk.remove("length"));
}

fn names_are_made_once(disk: &dyn Disk) {
    make(disk, "once", b"kept");
    assert_eq!(kind(disk.create("once")), Some(ErrorKind::Refused));
    assert_eq!(content_of(disk, "once"), b"kept");
    for path in ["nothing", "nowhere/nothing"] {
        assert_eq!(kind(disk.open(path, Access::Read)), Some(ErrorKind::Missing), "{path}");
        assert_eq!(kind(disk.open(path, Access::ReadWrite)), Some(ErrorKind::Missing), "{path}");
        assert_eq!(kind(disk.remove(path)), Some(ErrorKind::Missing), "{path}");
        assert_eq!(kind(disk.rename(path, "once")), Some(ErrorKind::Missing), "{path}");
    }
    assert_eq!(kind(disk.create("nowhere/new")), Some(ErrorKind::Missing));
    assert_eq!(kind(disk.make_directory("nowhere/new")), Some(ErrorKind::Missing));
    assert_eq!(kind(disk.rename("once", "nowhere/new")), Some(ErrorKind::Missing));
    assert_eq!(kind(disk.list("nowhere")), Some(ErrorKind::Missing));
    assert_eq!(kind(disk.sync_directory("nowhere")), Some(ErrorKind::Missing));
    assert_eq!(content_of(disk, "once"), b"kept");
    good("remove", disk.remove("once"));
}

fn renames_replace(disk: &dyn Disk) {
    good("make directory", disk.make_directory("moved"));
    let new = make(disk, "new", b"new");
    let old = make(disk, "moved/old", b"old");
    good("rename", disk.rename("new", "moved/old"));
    assert_eq!(content_of(disk, "moved/old"), b"new");
    assert_eq!(kind(disk.open("new", Access::Read)), Some(ErrorKind::Missing));
    good("write to the renamed file", new.write_at(0, b"NEW"));
    assert_eq!(content_of(disk, "moved/old"), b"NEW");
    assert_eq!(content(&*old), b"old", "the replaced file stays open");
    good("rename to itself", disk.rename("moved/old", "moved/old"));
    good("sync directory", disk.sync_directory("moved"));
    assert_eq!(content_of(disk, "moved/old"), b"NEW");
    good("remove", disk.remove("moved/old"));
    good("remove", disk.remove("moved"));
}

fn removed_files_stay_open(disk: &dyn Disk) {
    let file = make(disk, "gone", b"old");
    good("remove", disk.remove("gone"));
    good("sync the root", disk.sync_directory(""));
    make(disk, "gone", b"another");
    good("write", file.write_at(0, b"OLD"));
    good("sync", file.sync_data());
    assert_eq!(content(&*file), b"OLD");
    assert_eq!(content_of(disk, "gone"), b"another");
    good("remove", disk.remove("gone"));
}

fn directories_nest(disk: &dyn Disk) {
    assert_eq!(good("list the root", disk.list("")), Vec::<String>::new());
    for path in ["a", "a/b", "a/b", "a"] {
        good("make directory", disk.make_directory(path));
    }
    for path in ["a/z", "a/b.", "a/B", "a/b/c", "a/\u{e4}"] {
        make(disk, path, path.as_bytes());
    }
    assert_eq!(good("list", disk.list("")), ["a"]);
    assert_eq!(good("list", disk.list("a")), ["B", "b", "b.", "z", "\u{e4}"], "sorted by bytes");
    assert_eq!(good("list", disk.list("a/b")), ["c"]);
    assert_eq!(content_of(disk, "a/b/c"), b"a/b/c");
    assert_eq!(kind(disk.remove("a/b")), Some(ErrorKind::Io), "a directory that is not empty");
    for path in ["a/b/c", "a/b", "a/b.", "a/z", "a/B", "a/\u{e4}", "a"] {
        good("remove", disk.remove(path));
    }
    assert_eq!(good("list the root", disk.list("")), Vec::<String>::new());
}

fn kinds_of_entries_are_told_apart(disk: &dyn Disk) {
    make(disk, "file", b"file");
    good("make directory", disk.make_directory("directory"));
    assert!(disk.open("directory", Access::Read).is_err(), "a directory opened as a file");
    assert!(disk.open("directory", Access::ReadWrite).is_err(), "a directory opened as a file");
    assert!(disk.rename("directory", "other").is_err(), "a directory renamed");
    assert!(disk.rename("file", "directory").is_err(), "a directory replaced");
    assert!(disk.lock("directory").is_err(), "a directory locked");
    assert!(disk.list("file").is_err(), "a file listed");
    assert!(disk.sync_directory("file").is_err(), "a file synced as a directory");
    assert!(disk.make_directory("file").is_err(), "a directory made over a file");
    assert!(disk.create("file/x").is_err(), "a file made in a file");
    assert!(disk.open("file/x", Access::Read).is_err(), "a file opened in a file");
    assert_eq!(kind(disk.create("directory")), Some(ErrorKind::Refused));
    assert_eq!(good("list", disk.list("")), ["directory", "file"]);
    good("remove", disk.remove("file"));
    good("remove", disk.remove("directory"));
}

fn paths_stay_inside(disk: &dyn Disk) {
    for path in ["..", "../x", "a/../../x", "/etc/passwd", "/", "a//b", "a/", "./a", "a\0b"] {
        let kinds = [
            kind(disk.create(path)),
            kind(disk.open(path, Access::Read)),
            kind(disk.rename(path, "x")),
            kind(disk.rename("x", path)),
            kind(disk.remove(path)),
            kind(disk.make_directory(path)),
            kind(disk.list(path)),
            kind(disk.sync_directory(path)),
            kind(disk.lock(path)),
        ];
        assert_eq!(kinds, [Some(ErrorKind::Refused); 9], "{path:?}");
    }
    assert_eq!(kind(disk.create("")), Some(ErrorKind::Refused));
    assert_eq!(kind(disk.remove("")), Some(ErrorKind::Refused));
    assert_eq!(good("list the root", disk.list("")), Vec::<String>::new());
}

fn locks_exclude(disk: &dyn Disk) {
    let held = good("lock", disk.lock("lock"));
    let second = disk.lock("lock");
    assert!(matches!(second, Err(DiskError::Held { .. })), "{second:?}");
    assert_eq!(kind(second), Some(ErrorKind::Busy));
    let other = good("lock another file", disk.lock("other"));
    drop(held);
    let again = good("lock after release", disk.lock("lock"));
    assert_eq!(kind(disk.lock("lock")), Some(ErrorKind::Busy));
    drop((again, other));
    good("remove", disk.remove("lock"));
    good("remove", disk.remove("other"));
}

fn read_handles_do_not_write(disk: &dyn Disk) {
    make(disk, "file", b"kept");
    let file = good("open", disk.open("file", Access::Read));
    assert!(file.write_at(0, b"lost").is_err(), "written through a handle for reading");
    assert!(file.set_length(0).is_err(), "cut through a handle for reading");
    assert_eq!(content(&*file), b"kept");
    good("remove", disk.remove("file"));
}

fn space_is_plausible(disk: &dyn Disk) {
    let space = good("space", disk.space());
    assert!(space.available_bytes > 0 && space.available_bytes <= space.capacity_bytes, "{space:?}");
}

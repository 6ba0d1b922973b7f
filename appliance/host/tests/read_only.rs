//! A directory that is only read: what it gives, what it refuses, and that nothing of it changes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use host::{HostDisk, ReadOnlyDisk, scratch_file};
use medium::{Access, Disk, DiskError};
use model::ErrorKind;

fn drive() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("segments")).unwrap();
    fs::write(folder.path().join("segments/1"), b"one").unwrap();
    fs::write(folder.path().join("lock"), b"").unwrap();
    folder
}

/// Inode, length, times and access time of everything, the root included.
fn state(root: &Path) -> Vec<[i64; 7]> {
    let paths = ["", "lock", "segments", "segments/1"];
    let of = |path: &str| {
        let data = fs::metadata(root.join(path)).unwrap();
        let size = i64::try_from(data.size()).unwrap();
        [
            size,
            data.mtime(),
            data.mtime_nsec(),
            data.ctime(),
            data.ctime_nsec(),
            data.atime(),
            data.atime_nsec(),
        ]
    };
    paths.into_iter().map(of).collect()
}

#[test]
fn it_gives_what_is_there_and_changes_nothing_not_even_access_times() {
    let folder = drive();
    // Long ago, so that a read would bring the access time up to date.
    let long_ago = SystemTime::now() - Duration::from_secs(100 * 24 * 3600);
    let times = fs::FileTimes::new().set_accessed(long_ago);
    for path in ["segments/1", "segments", "lock"] {
        fs::File::open(folder.path().join(path)).unwrap().set_times(times).unwrap();
    }
    let before = state(folder.path());
    let disk = ReadOnlyDisk::open(folder.path()).unwrap();
    assert_eq!(disk.list("segments").unwrap(), ["1"]);
    let lock = disk.lock("lock").unwrap();
    for access in [Access::Read, Access::ReadWrite] {
        let file = disk.open("segments/1", access).unwrap();
        let mut bytes = [0; 3];
        file.read_at(0, &mut bytes).unwrap();
        assert_eq!((&bytes, file.length().unwrap()), (b"one", 3));
        file.sync_data().unwrap();
        file.forget_cached().unwrap();
        assert_eq!(file.write_at(0, b"x").unwrap_err().kind(), ErrorKind::Io);
        assert!(file.set_length(0).is_err());
    }
    disk.sync_directory("segments").unwrap();
    let refusals = [
        disk.create("new").map(drop),
        disk.remove("segments/1"),
        disk.rename("segments/1", "segments/2"),
        disk.make_directory("d"),
    ];
    for refusal in refusals {
        assert!(matches!(refusal, Err(DiskError::Failed { .. })));
    }
    drop(lock);
    assert_eq!(state(folder.path()), before);
}

#[test]
fn readers_share_the_lock_and_tell_who_writes() {
    let folder = drive();
    let (a, b) = (ReadOnlyDisk::open(folder.path()).unwrap(), ReadOnlyDisk::open(folder.path()).unwrap());
    let writer = HostDisk::open(folder.path()).unwrap();
    let held = (a.lock("lock").unwrap(), b.lock("lock").unwrap());
    assert!(matches!(writer.lock("lock"), Err(DiskError::Held { .. })), "nobody writes meanwhile");
    drop(held);
    let held = writer.lock("lock").unwrap();
    assert!(matches!(a.lock("lock"), Err(DiskError::Held { .. })));
    drop(held);
    fs::remove_file(folder.path().join("lock")).unwrap();
    assert!(a.lock("lock").is_ok(), "nobody can have one");
    assert!(!folder.path().join("lock").exists());
}

#[test]
fn a_scratch_file_has_no_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = scratch_file(folder.path()).unwrap();
    file.write_at(10, b"x").unwrap();
    let mut bytes = [1; 11];
    file.read_at(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"\0\0\0\0\0\0\0\0\0\0x");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    assert_eq!(scratch_file(&folder.path().join("nothing")).unwrap_err().kind(), ErrorKind::Missing);
}

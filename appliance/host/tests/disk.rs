//! The drive in a directory: what every disk must do, and what only a real one can get wrong.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use host::HostDisk;
use medium::{Access, Disk, DiskError, Poisoning, conformance};
use model::ErrorKind;

fn drive() -> (tempfile::TempDir, Poisoning) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let disk = HostDisk::open(folder.path()).expect("an empty drive");
    (folder, disk)
}

#[test]
fn the_host_disk_conforms() {
    let (_folder, disk) = drive();
    conformance::check(&disk);
}

#[test]
fn the_root_must_be_a_directory_that_exists() {
    let (folder, _) = drive();
    let missing = HostDisk::open(&folder.path().join("nothing")).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Missing);
    assert!(missing.to_string().contains("nothing"), "{missing}");
    fs::write(folder.path().join("file"), b"x").unwrap();
    assert_eq!(HostDisk::open(&folder.path().join("file")).unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn files_and_directories_are_for_the_owner_only() {
    let (folder, disk) = drive();
    disk.make_directory("d").unwrap();
    disk.create("d/f").unwrap();
    let lock = disk.lock("lock").unwrap();
    let mode = |path: &str| fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!([mode("d"), mode("d/f"), mode("lock")], [0o700, 0o600, 0o600]);
    drop(lock);
}

#[test]
fn no_descriptor_is_inherited() {
    let (folder, disk) = drive();
    let _file = disk.create("inherited").unwrap();
    let _lock = disk.lock("lock").unwrap();
    let output = Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
    assert!(output.status.success());
    let listed = String::from_utf8_lossy(&output.stdout);
    assert!(!listed.contains(folder.path().to_str().unwrap()), "{listed}");
}

#[test]
fn links_are_not_followed() {
    let (folder, disk) = drive();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), b"outside").unwrap();
    fs::write(folder.path().join("inside"), b"inside").unwrap();
    symlink(outside.path(), folder.path().join("directory")).unwrap();
    symlink(outside.path().join("secret"), folder.path().join("file")).unwrap();
    symlink(outside.path().join("new"), folder.path().join("dangling")).unwrap();
    symlink("inside", folder.path().join("local")).unwrap();
    for path in ["directory/secret", "file", "dangling", "local"] {
        assert!(disk.open(path, Access::Read).is_err(), "{path} opened");
        assert!(disk.open(path, Access::ReadWrite).is_err(), "{path} opened");
        assert!(disk.create(path).is_err(), "{path} made");
        assert!(disk.lock(path).is_err(), "{path} locked");
    }
    assert!(disk.create("directory/new").is_err());
    assert!(disk.make_directory("directory").is_err());
    assert!(disk.make_directory("directory/new").is_err());
    assert!(disk.remove("directory/secret").is_err());
    assert!(disk.rename("inside", "directory/inside").is_err());
    assert!(disk.rename("directory/secret", "stolen").is_err());
    assert!(disk.list("directory").is_err());
    assert!(disk.sync_directory("directory").is_err());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"outside");
}

#[test]
fn only_regular_files_are_opened() {
    let (folder, disk) = drive();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let _socket = UnixListener::bind(folder.path().join("socket")).unwrap();
    for path in ["pipe", "socket"] {
        assert!(disk.open(path, Access::Read).is_err(), "{path} opened");
        assert!(disk.open(path, Access::ReadWrite).is_err(), "{path} opened");
        assert!(disk.lock(path).is_err(), "{path} locked");
    }
}

#[test]
fn names_that_are_no_text_are_left_out() {
    let (folder, disk) = drive();
    fs::write(folder.path().join(Path::new(std::ffi::OsStr::from_bytes(b"\xff\xfe"))), b"x").unwrap();
    fs::write(folder.path().join("text"), b"x").unwrap();
    assert_eq!(disk.list("").unwrap(), ["text"]);
}

#[test]
fn a_lock_excludes_every_other_open_file() {
    let (folder, disk) = drive();
    let (path, second_disk) = (folder.path().join("lock"), HostDisk::open(folder.path()).unwrap());
    let flock =
        |path: &Path| Command::new("flock").args(["-n", "-x"]).arg(path).arg("true").status().unwrap();
    let held = disk.lock("lock").unwrap();
    assert!(!flock(&path).success(), "another process has taken a lock that is held");
    assert!(matches!(second_disk.lock("lock"), Err(DiskError::Held { .. })));
    fs::hard_link(&path, folder.path().join("alias")).unwrap();
    assert!(matches!(disk.lock("alias"), Err(DiskError::Held { .. })), "another name of the same file");
    drop(held);
    assert!(flock(&path).success(), "the lock outlived its value");

    let foreign = fs::File::open(&path).unwrap();
    foreign.lock().unwrap();
    assert!(matches!(disk.lock("lock"), Err(DiskError::Held { .. })));
    drop(foreign);
    disk.lock("lock").unwrap();
}

#[test]
fn threads_share_a_file() {
    let (_folder, disk) = drive();
    let file = disk.create("shared").unwrap();
    file.set_length(64 * 4096).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let file = &file;
            scope.spawn(move || {
                for block in (u64::from(thread)..64).step_by(4) {
                    file.write_at(block * 4096, &[thread + 1; 4096]).unwrap();
                    file.sync_data().unwrap();
                }
            });
        }
    });
    for block in 0..64_u8 {
        let mut bytes = [0; 4096];
        file.read_at(u64::from(block) * 4096, &mut bytes).unwrap();
        assert_eq!(bytes, [block % 4 + 1; 4096], "block {block}");
    }
}

#[test]
fn space_is_that_of_the_filesystem() {
    let (folder, disk) = drive();
    let space = disk.space().unwrap();
    let output = Command::new("df").args(["-B1", "--output=size"]).arg(folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.lines().nth(1).map(|line| line.trim().parse()), Some(Ok(space.capacity_bytes)));
}

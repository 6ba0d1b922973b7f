//! What comes back is what was there: every kind of object and attribute, bit for bit.

use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use model::item::{Attributes, Extent, FileKind};
use restore::{Request, restore};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat, setxattr};

use crate::archive::{CHUNK, Memory, attributes, name_of};
use crate::snapshot::{Heard, assert_same, is_root, request, run, run_clean, snapshot};

/// Bytes that look random and differ by seed.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn set_time(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// `user::rwx user:1000:r-- group::r-x mask::r-x other::r--`
pub(crate) const ACL: [u8; 44] = [
    2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 4, 0, 0xe8, 3, 0, 0, 4, 0, 5, 0, 255, 255, 255, 255,
    16, 0, 5, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255,
];

/// A tree with one of everything.
pub(crate) fn odd_tree(root: &Path) {
    fs::create_dir_all(root.join("dir/deep/deeper")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    fs::write(root.join("dir/empty-file"), b"").unwrap();
    fs::write(root.join("dir/small"), b"small").unwrap();
    fs::write(root.join("dir/deep/large"), noise(5 * CHUNK + 17, 1)).unwrap();
    fs::write(root.join("dir/deep/huge"), noise(20 << 20, 2)).unwrap();
    fs::hard_link(root.join("dir/small"), root.join("dir/deep/small-again")).unwrap();
    fs::hard_link(root.join("dir/small"), root.join("a-third-name")).unwrap();
    for (name, target) in [("link", "dir/small"), ("dangling", "nowhere"), ("absolute", "/etc/passwd")] {
        std::os::unix::fs::symlink(target, root.join(name)).unwrap();
    }
    std::os::unix::fs::symlink("long/".repeat(300), root.join("dir/long")).unwrap();
    std::os::unix::fs::symlink("deeper", root.join("dir/deep/link-to-directory")).unwrap();
    let names: [&[u8]; 6] =
        [b"not-\xff\xfe-utf8", b"new\nline", b"\x1b]0;title\x07", b"-rf", b" ", &[b'n'; 255]];
    for name in names {
        fs::write(root.join("empty").join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }

    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(40 << 20).unwrap();
    sparse.write_all_at(b"in the middle", 32 << 20).unwrap();
    let sparse = File::create(root.join("dir/only-hole")).unwrap();
    sparse.set_len(24 << 20).unwrap();

    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, root.join("pipe"), FileType::Fifo, mode, 0).unwrap();
    mknodat(CWD, root.join("socket"), FileType::Socket, mode, 0).unwrap();
    setxattr(root.join("dir/small"), "user.origin", b"here", XattrFlags::empty()).unwrap();
    setxattr(root.join("dir"), "user.of-directory", &[7; 2000], XattrFlags::empty()).unwrap();
    setxattr(root.join("empty"), "system.posix_acl_default", &ACL, XattrFlags::empty()).unwrap();
    setxattr(root.join("dir/empty-file"), "system.posix_acl_access", &ACL, XattrFlags::empty()).unwrap();
    if is_root() {
        for (name, kind) in [("null", FileType::CharacterDevice), ("loop", FileType::BlockDevice)] {
            mknodat(CWD, root.join(name), kind, mode, makedev(1, 3)).unwrap();
        }
        setxattr(root.join("dir/deep/large"), "trusted.only-root", b"t", XattrFlags::empty()).unwrap();
        let net_raw = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        setxattr(root.join("dir/deep/large"), "security.capability", &net_raw, XattrFlags::empty()).unwrap();
        for (path, uid) in [("dir/deep", 1234), ("empty", 0), ("a-third-name", 4321)] {
            std::os::unix::fs::lchown(root.join(path), Some(uid), Some(77)).unwrap();
        }
        std::os::unix::fs::lchown(root.join("link"), Some(55), Some(56)).unwrap();
    }
    let modes = [
        ("dir/small", 0o4755),
        ("a-third-name", 0o6711),
        ("dir/deep", 0o2750),
        ("empty", 0o1777),
        ("pipe", 0o622),
    ];
    for (path, mode) in modes {
        // Setuid and setgid come back for root only.
        let mode = if is_root() { mode } else { mode & 0o1777 };
        fs::set_permissions(root.join(path), Permissions::from_mode(mode)).unwrap();
    }
    fs::write(root.join("dir/read-only"), b"ro").unwrap();
    fs::set_permissions(root.join("dir/read-only"), Permissions::from_mode(0o400)).unwrap();
    let times = [("link", 1, 1), ("sparse", -7, 999_999_999), ("dir/deep", 1_700_000_000, 123_456_789)];
    for (path, seconds, nanoseconds) in times.into_iter().chain([("dir", 9, 0), ("pipe", 5, 5), ("", 3, 3)]) {
        set_time(&root.join(path), seconds, nanoseconds);
    }
}

#[test]
fn an_odd_tree_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("made/on/the/way"));
    fs::create_dir(&source).unwrap();
    odd_tree(&source);
    for items_max in [None, Some(1), Some(7)] {
        let _ = fs::remove_dir_all(&target);
        let mut memory = Memory::capture(&source);
        memory.items_max = items_max;
        let heard = Heard::default();
        let request = Request { naming: Some(&name_of), ..request(&memory, &target) };
        let outcome = restore(&request, &heard, &AtomicBool::new(false)).unwrap();
        assert_eq!(outcome.problems, []);
        assert_same(&snapshot(&target), &snapshot(&source));
        assert_eq!(outcome.files, 15);
        assert_eq!(outcome.directories, 5);
        assert_eq!(outcome.others, if is_root() { 9 } else { 7 });
        assert_eq!(heard.files.load(Ordering::Relaxed), heard.files_total.load(Ordering::Relaxed));
        assert_eq!(heard.bytes.load(Ordering::Relaxed), heard.bytes_total.load(Ordering::Relaxed));
        for (path, most) in [("sparse", 1 << 20), ("dir/only-hole", 1 << 16)] {
            assert!(target.join(path).metadata().unwrap().blocks() * 512 < most, "{path} keeps its holes");
        }
    }
}

#[test]
fn without_owners_nothing_that_only_root_may_set_is_set() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&source).unwrap();
    odd_tree(&source);
    let memory = Memory::capture(&source);
    let outcome = run(&Request { owners: false, ..request(&memory, &target) }).unwrap();
    let devices: Vec<_> = outcome.problems.iter().map(|problem| problem.path.as_slice()).collect();
    assert_eq!(devices, if is_root() { vec![&b"loop"[..], b"null"] } else { Vec::new() });
    let mut expected = snapshot(&source);
    let us = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    expected.retain(|path, _| path != Path::new("null") && path != Path::new("loop"));
    for seen in expected.values_mut() {
        seen.owner = (us, group);
        let kept = if seen.mode & 0o170_000 == 0o040_000 { 0o1777 } else { 0o777 };
        seen.mode &= 0o170_000 | kept;
        seen.xattrs.retain(|name, _| !name.starts_with(b"security.") && !name.starts_with(b"trusted."));
    }
    assert_same(&snapshot(&target), &expected);
}

#[test]
fn what_a_directory_hands_on_does_not_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir_all(source.join("a/b")).unwrap();
    for path in ["plain", "a/plain", "a/b/plain"] {
        fs::write(source.join(path), path).unwrap();
    }
    fs::create_dir(&target).unwrap();
    setxattr(&target, "system.posix_acl_default", &ACL, XattrFlags::empty()).unwrap();
    fs::set_permissions(&target, Permissions::from_mode(0o2755)).unwrap();
    let before = snapshot(&target)[Path::new("")].clone();
    let memory = Memory::capture(&source);
    run_clean(&request(&memory, &target));
    let mut found = snapshot(&target);
    let mut expected = snapshot(&source);
    // The target was there before: its mode and list are nobody's to change.
    assert_eq!(found.remove(Path::new("")).unwrap().xattrs, before.xattrs);
    expected.remove(Path::new(""));
    assert_same(&found, &expected);
}

#[test]
fn parts_of_chunks_are_put_together() {
    let folder = tempfile::tempdir().unwrap();
    let mut memory = Memory::new();
    let bytes = noise(CHUNK, 3);
    let name = memory.put_chunk(&bytes);
    let object = memory.number();
    memory.put_inode(object, attributes(FileKind::File), 1000, 1);
    memory.put_entry(1, b"mosaic", object, FileKind::File);
    for (offset, skip) in [(0, 500), (300, 0), (600, 400)] {
        let length = if offset == 600 { 400 } else { 300 };
        memory.put_extent(object, offset, Extent::Chunk { name, skip, length });
    }
    run_clean(&Request { naming: Some(&name_of), ..request(&memory, &folder.path().join("t")) });
    let expected = [&bytes[500..800], &bytes[..300], &bytes[400..800]].concat();
    assert_eq!(fs::read(folder.path().join("t/mosaic")).unwrap(), expected);
    assert_eq!(memory.fetched(), 1, "a chunk is fetched once");
}

#[test]
fn chunks_are_asked_for_in_pool_order_and_in_large_calls() {
    let folder = tempfile::tempdir().unwrap();
    let mut memory = Memory::new();
    let directory = memory.directory(1, b"d");
    for n in 0..2000_u64 {
        memory.file(directory, n.to_string().as_bytes(), &noise(500, n));
    }
    run_clean(&request(&memory, &folder.path().join("t")));
    let calls = memory.calls.lock().unwrap();
    assert!(calls.iter().all(|places| places.is_sorted()), "places ascend in a call");
    assert!(calls.len() <= 2000_usize.div_ceil(64) + 2, "{} calls for 2000 chunks", calls.len());
    let items = memory.item_calls.load(Ordering::Relaxed);
    assert!(items <= 20, "{items} calls for 6000 items");
}

#[test]
fn attributes_that_cannot_be_set_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut memory = Memory::new();
    let odd = memory.file(1, b"odd", b"content");
    memory.put_xattr(odd, b"nonsense.name", b"v");
    memory.put_xattr(odd, b"system.posix_acl_access", b"not a list");
    let nobody = memory.number();
    let attributes = Attributes { uid: u32::MAX, mode: 0o4755, ..attributes(FileKind::File) };
    memory.put_inode(nobody, attributes, 0, 1);
    memory.put_entry(1, b"nobody", nobody, FileKind::File);
    let target = folder.path().join("t");
    let outcome = run(&request(&memory, &target)).unwrap();
    let problem_of = |path: &[u8]| outcome.problems.iter().filter(|p| p.path == path).count();
    assert_eq!(problem_of(b"odd"), 2);
    assert_eq!(fs::read(target.join("odd")).unwrap(), b"content");
    if is_root() {
        assert_eq!(problem_of(b"nobody"), 1);
        let mode = target.join("nobody").metadata().unwrap().mode();
        assert_eq!(mode & 0o7777, 0o755, "without its owner it gets no setuid");
    }
}

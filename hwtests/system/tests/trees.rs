//! Real trees and odd ones: backed up, changed, backed up and restored as root, nothing differs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::OsStr;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, makedev, mknodat, utimensat,
};
use system::{Site, copy, differences, expect, noise, run};

/// The sources of a Linux kernel as Debian ships them.
const KERNEL: &str = "/usr/src/linux-source-6.1.tar.xz";

/// Every entry of a tree with what a listing can show of it, times in nanoseconds.
fn listing(root: &Path) -> String {
    let format = "%P\\0%y %m %U %G %s %n %T@ %l\\0\\n";
    let listed = run(Command::new("find").arg(root).args(["-printf", format])).unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let mut lines: Vec<_> = listed.stdout.split(|byte| *byte == b'\n').collect();
    // The sizes and link counts of directories are those of the filesystem.
    lines.sort_unstable();
    let shown: Vec<_> =
        lines.iter().map(|line| without_counts_of_directories(&String::from_utf8_lossy(line))).collect();
    shown.join("\n")
}

fn without_counts_of_directories(line: &str) -> String {
    let Some((name, facts)) = line.split_once('\0') else { return line.to_owned() };
    let mut facts: Vec<&str> = facts.split(' ').collect();
    if let ["d", _, _, _, size, links, ..] = &mut facts[..] {
        (*size, *links) = ("-", "-");
    }
    format!("{name} {}", facts.join(" "))
}

fn assert_same(restored: &Path, original: &Path) {
    assert_eq!(differences(original, restored).unwrap(), "");
    let (expected, found) = (listing(original), listing(restored));
    if let Some((a, b)) = expected.lines().zip(found.lines()).find(|(a, b)| a != b) {
        panic!("expected {a}\n   found {b}");
    }
    assert_eq!(expected.len(), found.len());
}

fn at(seconds: i64, nanoseconds: i64) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    Timestamps { last_access: time, last_modification: time }
}

fn set_time(path: &Path, seconds: i64, nanoseconds: i64) {
    utimensat(CWD, path, &at(seconds, nanoseconds), AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Everything odd that ext4 can hold, as only root can make it.
fn odd_tree_of_root(root: &Path) {
    system::odd_tree(root).unwrap();
    let path = |name: &[u8]| root.join(OsStr::from_bytes(name));
    for name in
        [&b"-rf"[..], b"--delete", b"new\nline", b"\x1b[2J", b"...", b" ", b"\\", b"*", b"\xff\xfe\x80"]
    {
        fs::write(path(name), name).unwrap();
    }
    fs::write(path(&[0xe9; 255]), "the longest name that is no text").unwrap();
    fs::create_dir(path(&[b'd'; 255])).unwrap();
    let mut deep = path(b"deep");
    for _ in 0..60 {
        deep.push("directory that is not short");
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), "at the end").unwrap();

    // Holes at the start, in the middle and at the end; sizes around the limits of chunks.
    let mut sparse = fs::File::create(path(b"sparse with data")).unwrap();
    for (offset, bytes) in [(1 << 20, 5000), (8 << 20, 200_000), (40 << 20, 1)] {
        sparse.seek(SeekFrom::Start(offset)).unwrap();
        sparse.write_all(&noise(offset, bytes)).unwrap();
    }
    sparse.set_len(64 << 20).unwrap();
    for length in [1, 4095, 4096, 32 << 10, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 20] {
        fs::write(root.join(format!("noise {length}")), noise(length as u64, length)).unwrap();
    }
    fs::write(root.join("zeros"), vec![0; 3 << 20]).unwrap();

    symlink(OsStr::from_bytes(&[b'x'; 4000]), path(b"long link")).unwrap();
    symlink("/nowhere/\u{e9}\n", path(b"dangling")).unwrap();
    fs::hard_link(path(b"dangling"), path(b"dangling again")).unwrap();
    mknodat(CWD, path(b"fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    mknodat(CWD, path(b"null"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, 3))
        .unwrap();
    let device = makedev(259, 1_048_575);
    mknodat(CWD, path(b"block"), FileType::BlockDevice, Mode::from_raw_mode(0o660), device).unwrap();
    drop(UnixListener::bind(path(b"socket")).unwrap());
    fs::hard_link(path(b"fifo"), path(b"deep/fifo")).unwrap();

    for (name, mode) in [("setuid", 0o4755), ("setgid", 0o2711), ("nothing", 0o0000), ("all", 0o7777)] {
        fs::write(root.join(name), name).unwrap();
        chown(root.join(name), Some(12_345), Some(4_000_000_000)).unwrap();
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::create_dir(root.join("sticky")).unwrap();
    fs::set_permissions(root.join("sticky"), fs::Permissions::from_mode(0o3777)).unwrap();
    lchown(path(b"dangling"), Some(77), Some(88)).unwrap();
    attribute_tree(root);

    for (name, seconds, nanoseconds) in [
        ("empty", 1, 1),
        ("hard", -5_000_000, 999_999_999),
        ("zeros", 2_147_483_648, 123_456_789),
        ("nothing", 9_200_000_000, 1),
        ("dangling", 1_000_000_000, 7),
        ("fifo", 0, 0),
        ("sticky", 1_234_567_890, 123_456_780),
        ("deep", 1_111_111_111, 111_111_111),
    ] {
        set_time(&root.join(name), seconds, nanoseconds);
    }
    set_time(root, 1_600_000_000, 987_654_321);
}

/// Extended attributes and ACLs.
fn attribute_tree(root: &Path) {
    let set = |name: &str, attribute: &str, value: &[u8]| {
        rustix::fs::lsetxattr(root.join(name), attribute, value, XattrFlags::empty()).unwrap();
    };
    set("all", "user.text", b"some text");
    set("all", "user.empty", b"");
    set("setuid", "user.noise", &noise(5, 2000));
    set("sticky", "user.of-a-directory", b"\0\xff");
    set("zeros", "trusted.secret", b"for root only");
    set("dangling", "trusted.of-a-link", b"x");
    // Version 2 of file capabilities: cap_net_raw, effective.
    let capability = [&[1, 0, 0, 2][..], &[0, 0x20, 0, 0], &[0; 12]].concat();
    set("noise 1", "security.capability", &capability);
    for arguments in [["-m", "u:12345:rw,g:54321:r,m::rw"], ["-dm", "u:1:rwx,g:2:r-x,o::-"]] {
        for name in ["sticky", "deep"] {
            expect(Command::new("setfacl").args(arguments).arg(root.join(name)), 0).unwrap();
        }
    }
    expect(Command::new("setfacl").args(["-m", "u:7:r,m::r"]).arg(root.join("empty")), 0).unwrap();
}

/// Where a file has data, as it tells who asks for holes.
fn data_ranges(path: &Path) -> Vec<(u64, u64)> {
    use rustix::fs::{SeekFrom, seek};
    let file = fs::File::open(path).unwrap();
    let mut found: Vec<(u64, u64)> = Vec::new();
    while let Ok(start) = seek(&file, SeekFrom::Data(found.last().map_or(0, |last| last.1))) {
        found.push((start, seek(&file, SeekFrom::Hole(start)).unwrap()));
    }
    assert!(!found.is_empty());
    found
}

#[test]
fn everything_odd_that_root_can_make_comes_back() {
    let site = Site::start().unwrap();
    let tree = site.path("files");
    odd_tree_of_root(&tree);
    site.protect(&tree).unwrap();
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    let first = site.points().unwrap().remove(0);
    let restored = site.restore("latest", &tree).unwrap();
    assert_same(&restored, &tree);
    let blocks = |root: &Path| fs::metadata(root.join("sparse with data")).unwrap().blocks();
    // Holes are kept in steps of 64 KiB, which are 128 blocks, at both ends of each of the three runs of data.
    assert!(blocks(&restored) <= blocks(&tree) + 6 * 128, "{} for {}", blocks(&restored), blocks(&tree));

    // Everything about the tree changes once more.
    let kept = site.path("kept");
    copy(&tree, &kept).unwrap();
    fs::remove_file(tree.join("fifo")).unwrap();
    fs::write(tree.join("fifo"), "a file where a fifo was").unwrap();
    fs::remove_dir(tree.join("sticky")).unwrap();
    symlink("all", tree.join("sticky")).unwrap();
    fs::rename(tree.join("deep"), tree.join("moved")).unwrap();
    rustix::fs::lremovexattr(tree.join("all"), "user.text").unwrap();
    expect(Command::new("setfacl").arg("-b").arg(tree.join("empty")), 0).unwrap();
    expect(Command::new("setfacl").args(["-m", "u:9:r"]).arg(tree.join("zeros")), 0).unwrap();
    fs::set_permissions(tree.join("setuid"), fs::Permissions::from_mode(0o2644)).unwrap();
    set_time(&tree.join("moved"), 5, 5);
    let sparse = fs::File::options().write(true).open(tree.join("sparse with data")).unwrap();
    sparse.set_len(9 << 20).unwrap();
    fs::remove_file(tree.join("dangling")).unwrap();
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    assert_same(&site.restore("latest", &tree).unwrap(), &tree);
    assert_same(&site.restore(&first, &tree).unwrap(), &kept);

    // And as folders, on the appliance and from another machine.
    for mount in [site.mount("here").unwrap(), site.mount_from_afar("agent", "afar").unwrap()] {
        assert_same(&mount.latest(&tree), &tree);
        assert_same(&mount.at(&format!("points/{first}"), &tree), &kept);
        let sparse = |root: &Path| data_ranges(&root.join("sparse with data"));
        assert_eq!(
            sparse(&mount.at(&format!("points/{first}"), &tree)),
            sparse(&restored),
            "holes are shown"
        );
        assert!(mount.end().unwrap().success());
    }
    site.verify().unwrap();
}

/// Changes a part of a tree as a day of work does: files edited, added, removed, moved and touched.
fn work(root: &Path) {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => directories.push(entry.path()),
                kind if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files.sort();
    for (number, file) in files.iter().enumerate() {
        match number % 50 {
            0 => fs::File::options().append(true).open(file).unwrap().write_all(b"one more line\n").unwrap(),
            1 => fs::remove_file(file).unwrap(),
            2 => fs::rename(file, file.with_extension("moved")).unwrap(),
            3 => set_time(file, 1_500_000_000, 500),
            4 => fs::write(file.with_extension("new"), noise(number as u64, 3000)).unwrap(),
            5 => fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap(),
            _ => {}
        }
    }
}

#[test]
fn a_kernel_tree_usr_share_and_etc_come_back() {
    let site = Site::start().unwrap();
    let base = site.path("files");
    fs::create_dir(&base).unwrap();
    expect(Command::new("tar").args(["-xf", KERNEL, "--strip-components=1", "-C"]).arg(&base), 0).unwrap();
    let paths = [base.to_str().unwrap(), "/usr/share", "/etc"];
    expect(&mut site.agent(&[&["source", "add", "files"], &paths[..]].concat()).unwrap(), 0).unwrap();
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();

    let changed = ["Documentation", "fs", "drivers/net"].map(|name| base.join(name));
    let kept = changed.clone().map(|path| site.path("kept").join(path.strip_prefix("/").unwrap()));
    for (path, kept) in changed.iter().zip(&kept) {
        fs::create_dir_all(kept.parent().unwrap()).unwrap();
        copy(path, kept).unwrap();
        work(path);
    }
    fs::rename(base.join("sound"), base.join("silence")).unwrap();
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();

    let out = site.restore("latest", Path::new("/")).unwrap();
    let mount = site.mount("mounted").unwrap();
    for path in paths {
        assert_same(&out.join(path.strip_prefix('/').unwrap()), Path::new(path));
        assert_same(&mount.latest(Path::new(path)), Path::new(path));
    }
    fs::remove_dir_all(&out).unwrap();

    // The first point has what the work has changed, as it was.
    let first = format!("web1/files@{}", site.points().unwrap()[0]);
    let mut restore = site.keepfast(&["restore", &first, "--to", out.to_str().unwrap()]).unwrap();
    for path in &changed {
        restore.arg("--path").arg(path);
    }
    expect(&mut restore, 0).unwrap();
    for (path, kept) in changed.iter().zip(&kept) {
        assert_same(&out.join(path.strip_prefix("/").unwrap()), kept);
    }
    let changed_in_first = mount.at(&format!("points/{}", first.split_once('@').unwrap().1), &changed[1]);
    assert_same(&changed_in_first, &kept[1]);
    assert!(mount.end().unwrap().success());
    site.verify().unwrap();
}

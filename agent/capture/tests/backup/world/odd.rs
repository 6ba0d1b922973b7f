//! A tree of everything that a filesystem can hold and programs forget.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{
    CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lsetxattr, mkdirat, mknodat, utimensat,
};

use super::{text, write};

/// Files that are read at every scan: their times lie in the future and prove nothing.
pub(crate) const READ_ALWAYS: u64 = 1;

/// Whether the test may make devices.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Fills a folder.
pub(crate) fn make(folder: &Path) {
    let at = |name: &str| folder.join(name);
    write(&at("empty"), b"");
    write(&at("one byte"), b"x");
    write(&at("middle"), &text(1, 100_000));
    write(&at("large"), &text(2, 5_000_000));
    write(
        &at("noise"),
        &text(3, 1 << 20).iter().zip(text(4, 1 << 20)).map(|(a, b)| a ^ b).collect::<Vec<_>>(),
    );
    fs::create_dir(at("empty directory")).unwrap();
    names(&at("names"));
    links(&at("links"));
    sparse(&at("sparse"));
    kinds(&at("kinds"));
    attributes(&at("attributes"));
    deep(&at("deep"));
    wide(&at("wide"));
}

fn names(folder: &Path) {
    fs::create_dir(folder).unwrap();
    let long = vec![b'x'; 255];
    for name in [
        &b"new\nline"[..],
        b"\xff\xfe\x80",
        b"-rf *",
        b"...",
        b" ",
        b"\x1b]0;title\x07",
        &long,
        "\u{e9}\u{202e}".as_bytes(),
    ] {
        write(&folder.join(OsStr::from_bytes(name)), name);
    }
    fs::create_dir(folder.join(OsString::from_vec(b"\xc3\x28 dir".to_vec()))).unwrap();
}

fn links(folder: &Path) {
    fs::create_dir_all(folder.join("below")).unwrap();
    let first = folder.join("m first");
    write(&first, &text(5, 300_000));
    for name in ["a", "z", "below/again"] {
        fs::hard_link(&first, folder.join(name)).unwrap();
    }
    for target in ["a", "/nowhere", "..", "\u{fc}ber"] {
        symlink(target, folder.join(format!("to {}", target.replace('/', "_")))).unwrap();
    }
    symlink("x".repeat(4000), folder.join("far")).unwrap();
    fs::hard_link(folder.join("far"), folder.join("far again")).unwrap();
}

fn sparse(folder: &Path) {
    fs::create_dir(folder).unwrap();
    for (name, size, writes) in [
        ("all hole", 3_000_000, vec![]),
        ("end hole", 3_000_001, vec![(0, 5000)]),
        ("start hole", 3_000_001, vec![(2_999_000, 1001)]),
        ("swiss", 20_000_000, vec![(0, 1), (1_000_000, 70_000), (5_000_000, 2_000_000), (19_999_999, 1)]),
    ] {
        let file = File::create(folder.join(name)).unwrap();
        file.set_len(size).unwrap();
        for (offset, length) in writes {
            file.write_all_at(&text(offset + 9, length), offset).unwrap();
        }
    }
    write(&folder.join("zeros"), &vec![0; 2_000_000]);
}

fn kinds(folder: &Path) {
    fs::create_dir(folder).unwrap();
    mknodat(CWD, folder.join("fifo"), FileType::Fifo, Mode::from(0o640), 0).unwrap();
    // The path of a socket is limited to 108 bytes: it is made elsewhere and moved.
    let socket = tempfile::tempdir_in("/tmp").unwrap();
    drop(UnixListener::bind(socket.path().join("s")).unwrap());
    if fs::rename(socket.path().join("s"), folder.join("socket")).is_err() {
        drop(UnixListener::bind(folder.join("socket")));
    }
    if is_root() {
        let null = rustix::fs::makedev(1, 3);
        mknodat(CWD, folder.join("null"), FileType::CharacterDevice, Mode::from(0o666), null).unwrap();
        let disk = rustix::fs::makedev(259, 1_000_000);
        mknodat(CWD, folder.join("disk"), FileType::BlockDevice, Mode::from(0o600), disk).unwrap();
    }
}

fn attributes(folder: &Path) {
    fs::create_dir(folder).unwrap();
    for mode in [0o4755, 0o2711, 0o1777, 0o600, 0o444] {
        let path = folder.join(format!("{mode:o}"));
        write(&path, b"mode");
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }
    let many = folder.join("xattrs");
    write(&many, b"xattrs");
    for (name, value) in [("user.a", &b"1"[..]), ("user.empty", b""), ("user.long", &[7; 2000])] {
        lsetxattr(&many, name, value, XattrFlags::empty()).unwrap();
    }
    lsetxattr(folder, "user.directory", b"yes", XattrFlags::empty()).unwrap();
    // An ACL: user::rw-, user:12:r--, group::r--, mask::r--, other::---.
    let acl = [
        2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 12, 0, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255,
        16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
    ];
    lsetxattr(&many, "system.posix_acl_access", &acl, XattrFlags::empty()).unwrap();
    if is_root() {
        symlink("nowhere", folder.join("link with xattr")).unwrap();
        lsetxattr(folder.join("link with xattr"), "trusted.link", b"t", XattrFlags::empty()).unwrap();
        std::os::unix::fs::chown(&many, Some(4_000_000), Some(77)).unwrap();
    }
    for (name, seconds, nanoseconds) in
        [("old", -86_400, 1), ("new", 7_000_000_000, 999_999_999), ("zero", 0, 0)]
    {
        let path = folder.join(name);
        write(&path, b"times");
        let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, &path, &times, rustix::fs::AtFlags::empty()).unwrap();
    }
}

/// A path of more than 4096 bytes, and of more directories than may be open at once.
fn deep(folder: &Path) {
    fs::create_dir(folder).unwrap();
    let mut at = rustix::fs::open(folder, rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
    for level in 0..300 {
        let name = format!("{level:03} twenty bytes or so");
        mkdirat(&at, name.as_str(), Mode::from(0o755)).unwrap();
        at = rustix::fs::openat(&at, name.as_str(), rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
        let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
        let file = rustix::fs::openat(&at, "zz file", flags, Mode::from(0o644)).unwrap();
        rustix::io::write(&file, name.as_bytes()).unwrap();
        mkdirat(&at, "zz side", Mode::from(0o755)).unwrap();
    }
}

fn wide(folder: &Path) {
    fs::create_dir(folder).unwrap();
    for index in 0..6000 {
        write(&folder.join(format!("{:x}", index * 7919)), format!("file {index}").as_bytes());
    }
}

//! Extended attributes: set whatever the mode, and compared like everything else.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use model::item::{Attributes, FileKind};
use restore::{Request, RestoreError};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, lremovexattr, lsetxattr, mknodat};

use crate::archive::{Memory, attributes};
use crate::fidelity::ACL;
use crate::resume::run_until;
use crate::snapshot::{
    assert_same, is_root, replacing, request, run, run_clean, snapshot, snapshot_below, without_privileges,
    xattrs,
};

fn set(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

fn remove(path: &Path, name: &str) {
    lremovexattr(path, name).unwrap();
}

/// A capability set of a file; the low bits say which.
fn capability(bits: u8) -> [u8; 20] {
    [1, 0, 0, 2, bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// A point of files and directories that their owner may not write, all with attributes.
fn closed() -> Memory {
    let mut memory = Memory::new();
    for mode in [0o444, 0o400, 0o000] {
        let file = memory.file(1, format!("f{mode:o}").as_bytes(), b"content");
        memory.put_inode(file, Attributes { mode, ..attributes(FileKind::File) }, 7, 1);
        memory.put_xattr(file, b"user.stored", b"value");
        let directory = memory.directory(1, format!("d{mode:o}").as_bytes());
        memory.put_inode(directory, Attributes { mode, ..attributes(FileKind::Directory) }, 0, 1);
        memory.put_xattr(directory, b"user.stored", b"value");
        if mode == 0o444 {
            // Of these nothing is expected from anybody but root.
            memory.put_xattr(file, b"trusted.stored", b"value");
            memory.put_xattr(file, b"security.capability", &capability(1));
        }
    }
    memory
}

#[test]
fn attributes_are_set_whatever_the_mode_forbids() {
    let folder = tempfile::tempdir().unwrap();
    let memory = closed();
    let target = folder.path().join("t");
    let change = |path: &Path, action: &dyn Fn()| {
        let mode = path.metadata().unwrap().permissions();
        fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
        action();
        fs::set_permissions(path, mode).unwrap();
    };
    let check = || {
        for path in ["f444", "f400", "f0", "d444", "d400", "d0"].map(|name| target.join(name)) {
            let mode = path.metadata().unwrap().permissions().mode() & 0o7777;
            assert_eq!(format!("{mode:o}"), path.file_name().unwrap().to_str().unwrap()[1..]);
            change(&path, &|| {
                let found: Vec<_> = xattrs(&path).into_iter().collect();
                assert_eq!(found, [(b"user.stored".to_vec(), b"value".to_vec())], "{}", path.display());
            });
        }
    };
    without_privileges(folder.path(), || {
        run_clean(&request(&memory, &target));
        check();
        for name in ["f444", "f400", "f0", "d444", "d400", "d0"] {
            let path = target.join(name);
            change(&path, &|| {
                set(&path, "user.stored", b"changed");
                set(&path, "user.extra", b"x");
            });
        }
        // Directories that shut their owner out are looked into only when they are made by a restore.
        let paths = ["f444", "f400", "f0", "d444", "d400"];
        let paths = paths.map(|path| model::path::split_path(path.as_bytes()).unwrap()).to_vec();
        run_clean(&Request { paths, ..replacing(&memory, &target) });
        change(&target.join("d0"), &|| {
            set(&target.join("d0"), "user.stored", b"value");
            remove(&target.join("d0"), "user.extra");
        });
        check();
        assert_eq!(fs::read(target.join("f444")).unwrap(), b"content");
    });
}

#[test]
fn what_only_root_may_set_is_no_conflict_for_others() {
    let folder = tempfile::tempdir().unwrap();
    let memory = closed();
    let target = folder.path().join("t");
    without_privileges(folder.path(), || {
        let paths = ["f444", "f400"].map(|path| model::path::split_path(path.as_bytes()).unwrap()).to_vec();
        for _ in 0..2 {
            run_clean(&Request { paths: paths.clone(), ..request(&memory, &target) });
        }
    });
}

/// A tree with attributes of every kind that the user may set.
fn source(root: &Path) {
    fs::create_dir(root).unwrap();
    for name in ["plain", "user", "acl", "capable"] {
        fs::write(root.join(name), name).unwrap();
    }
    fs::hard_link(root.join("user"), root.join("user-again")).unwrap();
    mknodat(CWD, root.join("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    std::os::unix::fs::symlink("user", root.join("link")).unwrap();
    set(&root.join("user"), "user.a", b"a");
    set(&root.join("user"), "user.b", b"");
    set(&root.join("acl"), "system.posix_acl_access", &ACL);
    if is_root() {
        set(&root.join("capable"), "security.capability", &capability(1));
        for name in ["pipe", "link"] {
            set(&root.join(name), "trusted.a", b"a");
        }
    }
}

type Change = fn(&Path);

/// Ways in which nothing but an attribute can differ.
fn differences() -> Vec<(&'static str, Change)> {
    let mut all: Vec<(&'static str, Change)> = vec![
        ("another value", |t| set(&t.join("user"), "user.a", b"b")),
        ("a longer value", |t| set(&t.join("user"), "user.a", b"aa")),
        ("one less", |t| remove(&t.join("user"), "user.b")),
        ("one more", |t| set(&t.join("plain"), "user.c", b"")),
        ("a list more", |t| set(&t.join("pipe"), "system.posix_acl_access", &ACL)),
        ("another list", |t| {
            let mut acl = ACL;
            acl[14] = 6;
            set(&t.join("acl"), "system.posix_acl_access", &acl);
        }),
        ("a list less", |t| remove(&t.join("acl"), "system.posix_acl_access")),
    ];
    let of_root: [(&'static str, Change); 6] = [
        ("other capabilities", |t| set(&t.join("capable"), "security.capability", &capability(2))),
        ("no capabilities", |t| remove(&t.join("capable"), "security.capability")),
        ("capabilities", |t| set(&t.join("plain"), "security.capability", &capability(1))),
        ("trusted", |t| set(&t.join("plain"), "trusted.b", b"b")),
        ("another value of a link", |t| set(&t.join("link"), "trusted.a", b"b")),
        ("one more of a link", |t| set(&t.join("link"), "trusted.b", b"b")),
    ];
    if is_root() {
        all.extend(of_root);
    }
    all
}

#[test]
fn attributes_that_differ_are_a_conflict_and_are_repaired_with_leave() {
    let folder = tempfile::tempdir().unwrap();
    let (from, target) = (folder.path().join("source"), folder.path().join("target"));
    source(&from);
    let memory = Memory::capture(&from);
    run_clean(&request(&memory, &target));
    for (what, change) in differences() {
        println!("{what}");
        let permissions = target.join("pipe").symlink_metadata().unwrap().permissions();
        change(&target);
        if what == "a list more" {
            // The list took the place of the bits of the group.
            fs::set_permissions(target.join("pipe"), permissions).unwrap();
        }
        let before = snapshot(&target);
        let error = run(&request(&memory, &target)).unwrap_err();
        assert!(matches!(&error, RestoreError::Conflicts { .. }), "{what}: {error}");
        assert!(error.to_string().contains("attributes"), "{what}: {error}");
        assert_same(&snapshot(&target), &before);

        let outcome = run_clean(&replacing(&memory, &target));
        assert_eq!(outcome.bytes_written, 0, "{what}: the content was the same");
        assert_same(&snapshot_below(&target), &snapshot_below(&from));
        let outcome = run_clean(&request(&memory, &target));
        assert_eq!(outcome.bytes_written, 0, "{what}: it is the stored state");
    }
}

#[test]
fn what_a_broken_off_restore_finished_has_its_attributes_when_it_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("t");
    let mut memory = Memory::new();
    for n in 0..60_u8 {
        let file = memory.file(1, n.to_string().as_bytes(), &[n; 100]);
        memory.put_xattr(file, b"user.n", &[n]);
    }
    // Some files are complete, and the end was not reached.
    assert!(!run_until(&request(&memory, &target), 120));
    let done: Vec<_> = fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().path()).collect();
    let finished: Vec<_> = done.iter().filter(|path| !xattrs(path).is_empty()).collect();
    assert!(!finished.is_empty());
    finished.iter().for_each(|path| remove(path, "user.n"));
    run_clean(&request(&memory, &target));
    for n in 0..60_u8 {
        assert_eq!(xattrs(&target.join(n.to_string()))[b"user.n".as_slice()], [n]);
    }
}

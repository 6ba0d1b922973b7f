//! Trees that a hostile agent has sent: the appliance refuses them, or restoring them touches nothing outside the
//! target, and no name reaches the terminal as it is. Needs root, so that a restore may do the most harm.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use model::item::{Attributes, FileKind};
use model::operation::{Content, Operation};
use model::path::EntryName;
use model::{ObjectId, Time};
use system::{Hostile, Site, run};

/// A site with an agent that has joined and is hostile, and files that nobody may touch.
struct Scene {
    site: Site,
    peer: Hostile,
    outside: PathBuf,
    restores: u32,
}

/// What a file is besides its content, with what a restore could change by mistake.
fn state(root: &Path) -> String {
    let mut found = String::new();
    for path in [root.to_owned(), root.join("precious"), root.join("directory")] {
        let data = fs::symlink_metadata(&path).unwrap();
        let content = if data.is_file() { fs::read_to_string(&path).unwrap() } else { String::new() };
        let entries = if data.is_dir() { fs::read_dir(&path).unwrap().count() as u64 } else { data.nlink() };
        let times = (data.mtime(), data.ctime(), data.ctime_nsec());
        writeln!(found, "{path:?} {} {} {entries} {times:?} {content}", data.mode(), data.uid()).unwrap();
    }
    found
}

impl Scene {
    fn new() -> Self {
        let site = Site::start().unwrap();
        let outside = site.path("outside");
        fs::create_dir_all(outside.join("directory")).unwrap();
        fs::write(outside.join("precious"), "nobody may touch this").unwrap();
        let evil = site.join("evil").unwrap();
        let mut peer = Hostile::connect(&site, [6, 0, 1], Some(&evil)).unwrap();
        peer.greet().unwrap();
        Self { site, peer, outside, restores: 0 }
    }

    /// Makes a point if the appliance takes it; what it says if it does not.
    fn send(&mut self, operations: &[Operation]) -> Result<(), String> {
        self.peer.make_point(operations).unwrap().map(drop).map_err(|error| error.message)
    }

    /// Restores the newest point into a target that may hold something; the exit code and all that was said.
    fn restore(&mut self, prepare: impl FnOnce(&Path), more: &[&str]) -> (PathBuf, i32, String) {
        self.restores += 1;
        let targets = self.site.path("targets");
        let target = targets.join(self.restores.to_string());
        fs::create_dir_all(&targets).unwrap();
        prepare(&target);
        let before = (state(&self.outside), self.site_entries());
        let mut arguments = vec!["restore", "evil/files@latest", "--to", target.to_str().unwrap()];
        arguments.extend(more);
        let output = run(&mut self.site.keepfast(&arguments).unwrap()).unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!((state(&self.outside), self.site_entries()), before, "{said}");
        let entries = fs::read_dir(&targets).unwrap().count();
        assert!(entries <= self.restores as usize, "something lies beside the targets: {said}");
        assert!(!said.contains('\u{1b}') && !said.contains("panicked"), "{said:?}");
        (target, output.status.code().expect("no signal ends a restore"), said)
    }

    /// The names in the site's folder.
    fn site_entries(&self) -> usize {
        fs::read_dir(self.site.path(".")).unwrap().count()
    }

    /// Sends a tree that is refused with these words.
    fn refused(&mut self, words: &str, operations: &[Operation]) {
        match self.send(operations) {
            Err(error) => assert!(error.contains(words), "{words}: {error}"),
            Ok(()) => panic!("{operations:?} were taken"),
        }
    }

    fn target_of(&self, name: &str) -> Vec<u8> {
        self.outside.join(name).into_os_string().into_encoded_bytes()
    }
}

fn attributes(kind: FileKind) -> Attributes {
    Attributes { modified: Time(5_000_000_000), ..Attributes::new(kind, 0o755) }
}

fn make_with(directory: u64, name: &[u8], object: u64, attributes: Attributes) -> Operation {
    let name = EntryName::new(name).unwrap();
    Operation::Make { directory: ObjectId(directory), name, object: ObjectId(object), attributes }
}

fn make(directory: u64, name: &[u8], object: u64, kind: FileKind) -> Operation {
    make_with(directory, name, object, attributes(kind))
}

fn make_link(directory: u64, name: &[u8], object: u64, target: Vec<u8>) -> Operation {
    let attributes = Attributes { target, mode: 0o7777, uid: 12_345, ..attributes(FileKind::Symlink) };
    make_with(directory, name, object, attributes)
}

fn link(directory: u64, name: &[u8], object: u64) -> Operation {
    let name = EntryName::new(name).unwrap();
    Operation::Link { directory: ObjectId(directory), name, object: ObjectId(object) }
}

fn rename(directory: u64, name: &[u8], to_directory: u64, to_name: &[u8]) -> Operation {
    let (name, to_name) = (EntryName::new(name).unwrap(), EntryName::new(to_name).unwrap());
    let (directory, to_directory) = (ObjectId(directory), ObjectId(to_directory));
    Operation::Rename { directory, name, to_directory, to_name }
}

fn xattr(object: u64, name: &[u8], value: &[u8]) -> Operation {
    Operation::SetXattr { object: ObjectId(object), name: name.to_vec(), value: value.to_vec() }
}

const DIRECTORY: FileKind = FileKind::Directory;
const FILE: FileKind = FileKind::File;

#[test]
fn trees_that_no_filesystem_has_are_refused() {
    let mut scene = Scene::new();
    let outside = scene.target_of("");
    scene
        .refused("not a directory", &[make_link(1, b"a", 2, outside.clone()), make(2, b"precious", 3, FILE)]);
    scene.refused("two names", &[make(1, b"a", 2, DIRECTORY), link(1, b"b", 2)]);
    scene.refused("", &[make(1, b"a", 2, DIRECTORY), link(2, b"itself", 2)]);
    scene.refused("", &[make(1, b"root", 1, DIRECTORY)]);
    scene.refused("", &[link(1, b"root", 1)]);
    let tree = [make(1, b"a", 2, DIRECTORY), make(2, b"b", 3, DIRECTORY), rename(2, b"b", 1, b"a")];
    scene.refused("does not exist", &tree);
    let write = |length| {
        let content = Content::Hole { length };
        Operation::Write { object: ObjectId(2), offset: 0, content }
    };
    scene.refused("", &[make_link(1, b"a", 2, outside.clone()), write(10)]);
    scene.refused("", &[make(1, b"a", 2, FileKind::Fifo), write(10)]);
    scene.refused("", &[make(1, b"a", 2, DIRECTORY), write(10)]);
    let into_link = Operation::SetAttributes {
        object: ObjectId(2),
        attributes: Attributes { target: outside.clone(), ..attributes(FileKind::Symlink) },
    };
    scene.refused("", &[make(1, b"a", 2, DIRECTORY), into_link]);
    // The file went with its directory when the link took the directory's name.
    let replaced = [
        make(1, b"a", 2, DIRECTORY),
        make(2, b"precious", 3, FILE),
        make_link(1, b"a", 4, outside),
        link(1, b"b", 3),
    ];
    scene.refused("does not exist", &replaced);
    assert!(scene.site.points().unwrap_or_default().is_empty());
}

#[test]
fn links_that_lead_out_are_restored_as_links_and_not_followed() {
    let mut scene = Scene::new();
    let (file, directory) = (scene.target_of("precious"), scene.target_of("directory"));
    let tree = [
        make_link(1, b"file", 2, file.clone()),
        link(1, b"file again", 2),
        make_link(1, b"directory", 3, directory),
        make_link(1, b"up", 4, b"../../outside".to_vec()),
        make_link(1, b"-rf", 5, b"/".to_vec()),
        xattr(2, b"user.of-a-link", b"x"),
        make(1, b"dir", 6, DIRECTORY),
        make(6, b"precious", 7, FILE),
    ];
    scene.send(&tree).unwrap();
    let (target, _, said) = scene.restore(|_| (), &[]);
    assert_eq!(fs::read_link(target.join("file")).unwrap().as_os_str().as_bytes(), file, "{said}");
    assert_eq!(fs::read_link(target.join("file again")).unwrap().as_os_str().as_bytes(), file, "{said}");
    assert_eq!(fs::symlink_metadata(target.join("file")).unwrap().uid(), 12_345);

    // The same into a target in which somebody has put links where the tree has directories and files.
    let outside = scene.outside.clone();
    let plant = |target: &Path| {
        fs::create_dir(target).unwrap();
        symlink(&outside, target.join("dir")).unwrap();
    };
    for more in [&[][..], &["--overwrite"]] {
        let (target, code, said) = scene.restore(plant, more);
        assert!(matches!(code, 0 | 1 | 3), "{code}: {said}");
        if code == 0 {
            assert!(fs::symlink_metadata(target.join("dir")).unwrap().is_dir(), "{said}");
        }
    }
}

#[test]
fn odd_names_come_back_and_reach_no_terminal() {
    let mut scene = Scene::new();
    let longest = vec![0xff; 255];
    let names: [&[u8]; 10] = [
        b"-rf",
        b"--delete",
        b"new\nline",
        b"\x1b]0;title\x07",
        b"\x1b[2J",
        b"...",
        b" ",
        b"\\",
        "\u{202e}txt.exe".as_bytes(),
        &longest,
    ];
    let tree: Vec<_> = (2..).zip(names).map(|(object, name)| make(1, name, object, FILE)).collect();
    scene.send(&tree).unwrap();
    let (target, code, said) = scene.restore(|_| (), &[]);
    assert_eq!(code, 0, "{said}");
    let mut restored: Vec<_> =
        fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name().into_encoded_bytes()).collect();
    let mut expected = names.map(<[u8]>::to_vec);
    restored.sort();
    expected.sort();
    assert_eq!(restored, expected);
    let listed = run(&mut scene.site.keepfast(&["ls", "evil/files@latest"]).unwrap()).unwrap();
    assert!(listed.status.success(), "{listed:?}");
    assert_eq!(listed.stdout.iter().filter(|byte| **byte == b'\n').count(), names.len());
    assert!(listed.stdout.iter().all(|byte| *byte >= b' ' || matches!(byte, b'\n' | b'\t')), "{listed:?}");
}

#[test]
fn sizes_depths_and_attributes_that_are_absurd_end_as_exceptions() {
    let mut scene = Scene::new();
    let truncate = |object, size| Operation::Truncate { object: ObjectId(object), size };
    let hole =
        |offset, length| Operation::Write { object: ObjectId(2), offset, content: Content::Hole { length } };
    let device = |kind, rdev| Attributes { rdev, ..attributes(kind) };
    let mut deep: Vec<_> =
        (2..3002).map(|object| make(object - 1, b"directory", object, DIRECTORY)).collect();
    deep.push(make(3001, b"file", 4000, FILE));
    let trees: [Vec<Operation>; 10] = [
        vec![make(1, b"a", 2, FILE), truncate(2, u64::MAX)],
        vec![make(1, b"a", 2, FILE), truncate(2, 1 << 62)],
        vec![make(1, b"a", 2, FILE), hole(1 << 60, 1 << 61)],
        deep,
        // A directory below itself: nothing leads to it from the root.
        vec![make(1, b"a", 2, DIRECTORY), make(2, b"b", 3, DIRECTORY), rename(1, b"a", 3, b"c")],
        vec![make_link(1, b"a", 2, vec![])],
        vec![make_link(1, b"a", 2, b"x\0y".to_vec())],
        vec![
            make_with(1, b"a", 2, device(FileKind::CharacterDevice, u64::MAX)),
            make_with(1, b"b", 3, device(FileKind::BlockDevice, 7 << 8)),
            make(1, b"c", 4, FileKind::Socket),
        ],
        vec![
            make(1, b"a", 2, FILE),
            xattr(2, b"security.capability", b"garbage"),
            xattr(2, b"system.posix_acl_access", b"garbage"),
            xattr(2, b"no-namespace", b"x"),
            xattr(2, b"user.with\0zero", b"x"),
            xattr(2, b"user.large", &[7; 60_000]),
        ],
        vec![make_with(
            1,
            b"a",
            2,
            Attributes { modified: Time(i64::MIN), mode: 0o7777, ..attributes(FILE) },
        )],
    ];
    for (number, tree) in trees.iter().enumerate() {
        match scene.send(tree) {
            Err(words) => assert!(words.contains("operation"), "{number}: {words}"),
            Ok(()) => {
                let (_, code, said) = scene.restore(|_| (), &[]);
                assert!(matches!(code, 0 | 1 | 3), "{number}: {code}: {said}");
                assert_eq!(code == 3, said.contains("exception\t"), "{number}: {said}");
            }
        }
    }
    let most = scene.site.memory_bytes("VmHWM").unwrap();
    assert!(most < 192 << 20, "{most} bytes");
}

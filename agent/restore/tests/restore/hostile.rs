//! Points that want to harm: nothing outside of the target changes, and every restore ends.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use model::item::{Attributes, Extent, FileKind};
use model::{ObjectId, Time};
use restore::{Overwrite, Request};

use crate::archive::{Memory, attributes};
use crate::snapshot::{Snapshot, assert_same, request, run, snapshot};

/// A folder with a target in it, and something beside it that must stay as it is.
struct Ground {
    folder: tempfile::TempDir,
    before: Snapshot,
}

impl Ground {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        fs::create_dir_all(outside.join("a/b")).unwrap();
        for path in ["file", "a/file", "a/b/file"] {
            fs::write(outside.join(path), "precious").unwrap();
        }
        let before = snapshot(&outside);
        Self { folder, before }
    }

    fn outside(&self) -> std::path::PathBuf {
        self.folder.path().join("outside")
    }

    fn target(&self) -> std::path::PathBuf {
        self.folder.path().join("target")
    }

    fn check(&self) {
        assert_same(&snapshot(&self.outside()), &self.before);
        let mut names: Vec<_> =
            fs::read_dir(self.folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert!(names == ["outside", "target"] || names == ["outside"], "{names:?}");
    }
}

#[test]
fn nothing_is_written_through_a_link() {
    let ground = Ground::new();
    let outside = ground.outside();
    let mut memory = Memory::new();
    // `a` is a link, and has entries as if it were a directory.
    let link = memory.symlink(1, b"a", outside.as_os_str().as_bytes());
    let evil = memory.file(link, b"file", b"evil");
    memory.put_entry(link, b"new", evil, FileKind::File);
    // `b` is a directory by its entry and a link by its inode; `c` the other way round.
    memory.put_entry(1, b"b", link, FileKind::Directory);
    let directory = memory.directory(1, b"d");
    memory.file(directory, b"file", b"evil");
    memory.put_entry(1, b"c", directory, FileKind::Symlink);
    for overwrite in [Overwrite::Refuse, Overwrite::Differing] {
        let outcome = run(&Request { overwrite, ..request(&memory, &ground.target()) }).unwrap();
        assert_eq!(outcome.problems.len(), 2, "{:?}", outcome.problems);
        assert_eq!(fs::read_link(ground.target().join("a")).unwrap(), outside);
        ground.check();
    }
}

#[test]
fn links_in_the_target_are_not_followed() {
    let ground = Ground::new();
    let mut memory = Memory::new();
    let a = memory.directory(1, b"a");
    let b = memory.directory(a, b"b");
    memory.file(b, b"file", b"stored");
    memory.file(1, b"file", b"stored");
    let pipe = memory.number();
    memory.put_inode(pipe, attributes(FileKind::Fifo), 0, 1);
    memory.put_entry(1, b"pipe", pipe, FileKind::Fifo);
    let plant = || {
        let _ = fs::remove_dir_all(ground.target());
        fs::create_dir(ground.target()).unwrap();
        for (name, to) in [("a", "../outside/a"), ("file", "../outside/file"), ("pipe", "../outside/file")] {
            std::os::unix::fs::symlink(to, ground.target().join(name)).unwrap();
        }
    };
    plant();
    assert!(run(&request(&memory, &ground.target())).is_err());
    ground.check();
    let outcome =
        run(&Request { overwrite: Overwrite::Differing, ..request(&memory, &ground.target()) }).unwrap();
    assert_eq!(outcome.problems, []);
    assert_eq!(fs::read(ground.target().join("a/b/file")).unwrap(), b"stored");
    ground.check();
    plant();
    let delete =
        Request { overwrite: Overwrite::Differing, delete_extra: true, ..request(&memory, &ground.target()) };
    run(&delete).unwrap();
    ground.check();
}

#[test]
fn hard_links_in_the_target_are_parted_not_written_to() {
    let ground = Ground::new();
    let mut memory = Memory::new();
    memory.file(1, b"file", b"stored!!");
    let large = memory.file(1, b"large", &crate::fidelity::noise(12 << 20, 1));
    fs::create_dir(ground.target()).unwrap();
    let unfinished = format!(".keepfast-restore-{large}");
    let from = [("file", "file"), ("a/file", ".keepfast-restore"), ("a/b/file", &unfinished)];
    for (outside, name) in from {
        fs::hard_link(ground.outside().join(outside), ground.target().join(name)).unwrap();
    }
    run(&Request { overwrite: Overwrite::Differing, ..request(&memory, &ground.target()) }).unwrap();
    ground.check();
    assert_eq!(fs::read(ground.target().join("file")).unwrap(), b"stored!!");
}

#[test]
fn cycles_and_second_parents_end() {
    let ground = Ground::new();
    let mut memory = Memory::new();
    let a = memory.directory(1, b"a");
    let b = memory.directory(a, b"b");
    memory.put_entry(b, b"up", a, FileKind::Directory);
    memory.put_entry(b, b"root", 1, FileKind::Directory);
    memory.put_entry(b, b"self", b, FileKind::Directory);
    memory.put_entry(1, b"again", b, FileKind::Directory);
    memory.file(b, b"file", b"content");
    let outcome = run(&request(&memory, &ground.target())).unwrap();
    assert_eq!(outcome.problems.len(), 4, "{:?}", outcome.problems);
    assert_eq!(outcome.directories, 3);
    ground.check();
}

#[test]
fn a_chain_of_directories_without_end_ends() {
    let ground = Ground::new();
    let mut memory = Memory::new();
    let mut at = 1;
    for _ in 0..5000 {
        at = memory.directory(at, b"d");
    }
    let outcome = run(&request(&memory, &ground.target())).unwrap();
    assert_eq!(outcome.problems.len(), 1, "{:?}", outcome.problems);
    assert!(outcome.directories > 1000);
    // The tree is deeper than a path, so that a restore has to remove it.
    let empty = Memory::new();
    let remove =
        Request { overwrite: Overwrite::Differing, delete_extra: true, ..request(&empty, &ground.target()) };
    let outcome = run(&remove).unwrap();
    assert_eq!(outcome.problems, []);
    assert!(outcome.removed > 1000);
    ground.check();
}

/// Small numbers from a seed.
struct Random(blake3::OutputReader);

impl Random {
    fn new(seed: u64) -> Self {
        Self(blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof())
    }

    fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}

const NAMES: [&[u8]; 18] = [
    b"a",
    b"b",
    b"file",
    b"-rf",
    b"new\nline",
    b"\x1b]0;x\x07",
    b"...",
    b"outside",
    b"target",
    b"etc",
    b"proc",
    b".keepfast-restore",
    b".keepfast-restore-3",
    b".keepfast-restore-5",
    b"\xff",
    b" ",
    b"~",
    &[b'x'; 255],
];
const KINDS: [FileKind; 9] = [
    FileKind::File,
    FileKind::File,
    FileKind::Directory,
    FileKind::Directory,
    FileKind::Symlink,
    FileKind::Symlink,
    FileKind::Fifo,
    FileKind::Socket,
    FileKind::CharacterDevice,
];

/// A point in which nothing can be relied on.
fn nasty(random: &mut Random, outside: &Path) -> Memory {
    let mut memory = Memory::new();
    let outside = outside.as_os_str().as_bytes();
    let targets: [&[u8]; 9] = [
        outside,
        b"..",
        ".".as_bytes(),
        b"../outside",
        b"a",
        b"/",
        b"/proc/self/cwd",
        b"../../..",
        &[b't'; 4096],
    ];
    let known = memory.put_chunk(b"evil content");
    let objects = 2 + random.below(20);
    for object in 1..objects {
        let kind = if object == 1 { FileKind::Directory } else { random.pick(&KINDS) };
        let target = if kind == FileKind::Symlink { random.pick(&targets).to_vec() } else { Vec::new() };
        let attributes = Attributes {
            mode: u32::try_from(random.below(0o10000)).unwrap(),
            uid: random.pick(&[0, 1, 1000, u32::MAX]),
            gid: random.pick(&[0, 1, 1000, u32::MAX]),
            modified: Time(random.pick(&[0, -1, i64::MIN, i64::MAX, 1_600_000_000_000_000_000])),
            rdev: random.pick(&[0, 259, u64::MAX]),
            target,
            ..attributes(kind)
        };
        let size = random.pick(&[0, 0, 12, 12, 24, 12 << 20, 1 << 40, u64::MAX]);
        memory.put_inode(object, attributes, size, u32::try_from(random.below(4)).unwrap());
        for _ in 0..random.below(4) {
            let offset = random.pick(&[0, 12, 24, 1 << 40]);
            let missing = model::Name([9; 32]);
            let name = if random.below(5) == 0 { missing } else { known };
            let extent = match random.below(3) {
                0 => Extent::Hole { length: random.pick(&[12, 1 << 40, (1 << 62) - 1]) },
                _ => Extent::Chunk { name, skip: 0, length: random.pick(&[12, 11, 1 << 20]) },
            };
            memory.put_extent(object, offset, extent);
        }
        for _ in 0..random.below(3) {
            let name: &[u8] = random.pick(&[
                b"user.x" as &[u8],
                b"trusted.x",
                b"security.capability",
                b"system.posix_acl_access",
                b"system.posix_acl_default",
                b"x",
                &[b'y'; 255],
            ]);
            memory.put_xattr(object, name, &[2; 44]);
        }
    }
    for _ in 0..objects * 3 {
        let (directory, object) = (1 + random.below(objects), 1 + random.below(objects));
        memory.put_entry(directory, random.pick(&NAMES), object, random.pick(&KINDS));
    }
    // Most entries say the kind of their object, or hardly anything would be made.
    for _ in 0..objects * 3 {
        let (directory, object) = (1 + random.below(objects), 1 + random.below(objects));
        let key = model::item::ItemKey::inode(ObjectId(object));
        if let Ok(Some(model::item::Item::Inode(inode))) =
            model::archive::Archive::item(&memory, crate::archive::POINT, &key)
        {
            memory.put_entry(directory, random.pick(&NAMES), object, inode.attributes.kind);
        }
    }
    memory
}

/// A target in which links lead out.
fn plant(random: &mut Random, target: &Path, outside: &Path) {
    fs::create_dir(target).unwrap();
    for _ in 0..random.below(8) {
        let name = std::ffi::OsStr::from_bytes(random.pick(&NAMES));
        let below = target.join("a");
        let has_below = below.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
        let directory = if has_below && random.below(3) == 0 { below } else { target.to_owned() };
        let path = directory.join(name);
        // Names that are taken stay as they are.
        let _ = match random.below(4) {
            0 => std::os::unix::fs::symlink(outside, &path),
            1 => std::os::unix::fs::symlink("../outside/file", &path),
            2 => fs::create_dir(&path),
            _ => fs::hard_link(outside.join("file"), &path),
        };
    }
}

#[test]
fn no_nasty_point_reaches_outside() {
    let mut made = 0;
    for seed in 0..250 {
        let ground = Ground::new();
        let mut random = Random::new(seed);
        let memory = nasty(&mut random, &ground.outside());
        let before = snapshot(&ground.outside());
        if random.below(2) == 0 {
            plant(&mut random, &ground.target(), &ground.outside());
        }
        for overwrite in [Overwrite::Refuse, Overwrite::Differing, Overwrite::Refuse] {
            let request = Request {
                overwrite,
                owners: random.below(2) == 0,
                delete_extra: random.below(4) == 0,
                ..request(&memory, &ground.target())
            };
            // It may be refused or have problems; it may not do harm.
            if let Ok(outcome) = run(&request) {
                made += outcome.files + outcome.directories + outcome.others;
            }
            println!("seed {seed}");
            assert_same(&snapshot(&ground.outside()), &before);
            ground.check();
        }
    }
    assert!(made > 1000, "the points are worth something: {made}");
}

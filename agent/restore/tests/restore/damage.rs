//! Damage costs the files that it hit, and they are said.

use std::fs;
use std::path::Path;

use model::item::{Extent, FileKind};
use model::{ErrorKind, ObjectId};
use restore::{Outcome, Request};

use crate::archive::{CHUNK, Memory, attributes, name_of};
use crate::fidelity::noise;
use crate::snapshot::{request, run};

fn paths(outcome: &Outcome) -> Vec<&[u8]> {
    outcome.problems.iter().map(|problem| problem.path.as_slice()).collect()
}

/// Ten files of one chunk, and a large one.
fn files() -> Memory {
    let mut memory = Memory::new();
    for n in 0..10_u64 {
        memory.file(1, format!("small{n}").as_bytes(), &noise(3000, n));
    }
    memory.file(1, b"large", &noise(12 << 20, 99));
    memory
}

fn assert_others_are_whole(target: &Path, damaged: &str) {
    for n in 0..10_u64 {
        let name = format!("small{n}");
        if name == damaged {
            assert!(!target.join(&name).exists());
        } else {
            assert_eq!(fs::read(target.join(&name)).unwrap(), noise(3000, n), "{name}");
        }
    }
    let left: Vec<_> = fs::read_dir(target)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".keepfast"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_lost_chunk_costs_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut memory = files();
    memory.lose(name_of(&noise(3000, 4)));
    for (n, is_there) in [false, true].into_iter().enumerate() {
        let target = folder.path().join(n.to_string());
        if is_there {
            fs::create_dir(&target).unwrap();
        }
        let outcome = run(&request(&memory, &target)).unwrap();
        assert_eq!(paths(&outcome), [b"small4"]);
        assert!(outcome.problems[0].message.contains("chunk is lost"), "{:?}", outcome.problems);
        assert_eq!(outcome.files, 10);
        assert_others_are_whole(&target, "small4");
        assert_eq!(fs::read(target.join("large")).unwrap(), noise(12 << 20, 99));
    }
}

#[test]
fn a_lost_chunk_in_the_middle_of_a_large_file_leaves_nothing_of_it() {
    for at in [0, 90, 191] {
        let folder = tempfile::tempdir().unwrap();
        let mut memory = files();
        let large = noise(12 << 20, 99);
        memory.lose(name_of(&large[at * CHUNK..(at + 1) * CHUNK]));
        let outcome = run(&request(&memory, &folder.path().join("t"))).unwrap();
        assert_eq!(paths(&outcome), [b"large"]);
        assert!(!folder.path().join("t/large").exists());
        assert_others_are_whole(&folder.path().join("t"), "none");
    }
}

#[test]
fn a_chunk_that_is_not_what_it_says_is_noticed_here() {
    let folder = tempfile::tempdir().unwrap();
    let mut memory = files();
    memory.lies_about = Some(name_of(&noise(3000, 7)));
    let request = Request { naming: Some(&name_of), ..request(&memory, &folder.path().join("t")) };
    let outcome = run(&request).unwrap();
    assert_eq!(paths(&outcome), [b"small7"]);
    assert_others_are_whole(&folder.path().join("t"), "small7");
}

#[test]
fn items_that_cannot_be_read_cost_their_object_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut memory = Memory::new();
    let mut objects = Vec::new();
    for n in 0..50 {
        objects.push(memory.file(1, format!("f{n:02}").as_bytes(), &noise(100, n)));
    }
    let lost = memory.directory(1, b"lost");
    memory.file(lost, b"below", b"x");
    memory.unreadable = vec![ObjectId(objects[20]), ObjectId(objects[33]), ObjectId(lost)];
    let outcome = run(&request(&memory, &folder.path().join("t"))).unwrap();
    let mut found = paths(&outcome);
    found.sort_unstable();
    assert_eq!(found, [&b"f20"[..], b"f33", b"lost"]);
    assert_eq!(outcome.files, 48);
}

#[test]
fn content_that_contradicts_itself_is_not_restored() {
    type Extents = &'static [(u64, u64)];
    // Size of the file, then offset and length of its extents.
    let cases: [(&str, u64, Extents); 6] = [
        ("gap", 300, &[(0, 100), (200, 100)]),
        ("overlap", 300, &[(0, 200), (100, 200)]),
        ("behind-the-end", 150, &[(0, 100), (100, 100)]),
        ("short", 300, &[(0, 100)]),
        ("late", 300, &[(100, 200)]),
        ("nothing", 300, &[]),
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut memory = Memory::new();
    let name = memory.put_chunk(&[7; 1000]);
    for (what, size, extents) in cases {
        let object = memory.number();
        memory.put_inode(object, attributes(FileKind::File), size, 1);
        memory.put_entry(1, what.as_bytes(), object, FileKind::File);
        for (offset, length) in extents {
            let length = u32::try_from(*length).unwrap();
            memory.put_extent(object, *offset, Extent::Chunk { name, skip: 0, length });
        }
    }
    let object = memory.number();
    memory.put_inode(object, attributes(FileKind::File), 2000, 1);
    memory.put_entry(1, b"longer-than-chunk", object, FileKind::File);
    memory.put_extent(object, 0, Extent::Chunk { name, skip: 0, length: 2000 });
    let outcome = run(&request(&memory, &folder.path().join("t"))).unwrap();
    assert_eq!(outcome.problems.len(), 7, "{:?}", outcome.problems);
    assert_eq!(fs::read_dir(folder.path().join("t")).unwrap().count(), 0);
}

#[test]
fn a_link_to_a_damaged_file_is_damaged_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut memory = Memory::new();
    let object = memory.file(1, b"first", b"content");
    memory.put_inode(object, attributes(FileKind::File), 7, 2);
    memory.put_entry(1, b"second", object, FileKind::File);
    memory.lose(name_of(b"content"));
    let outcome = run(&request(&memory, &folder.path().join("t"))).unwrap();
    assert_eq!(paths(&outcome), [&b"first"[..], b"second"]);
}

#[test]
fn what_is_there_and_cannot_be_compared_is_a_problem_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("t");
    let mut memory = files();
    run(&request(&memory, &target)).unwrap();
    memory.lose(name_of(&noise(3000, 4)));
    let outcome = run(&request(&memory, &target)).unwrap();
    assert_eq!(paths(&outcome), [b"small4"]);
    assert_eq!(fs::read(target.join("small4")).unwrap(), noise(3000, 4));
}

#[test]
fn a_point_without_a_root_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::default();
    let outcome = run(&request(&memory, &folder.path().join("t"))).unwrap();
    assert_eq!(outcome.problems.len(), 1);
}

#[test]
fn a_size_that_no_file_can_have_costs_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let mut memory = Memory::new();
    let object = memory.number();
    let size = (1 << 63) - 1;
    memory.put_inode(object, attributes(FileKind::File), size, 1);
    memory.put_entry(1, b"too-large", object, FileKind::File);
    memory.put_extent(object, 0, Extent::Hole { length: size });
    memory.file(1, b"fits", b"content");
    let outcome = run(&request(&memory, &folder.path().join("t"))).unwrap();
    assert_eq!(paths(&outcome), [b"too-large"]);
    assert!(folder.path().join("t/fits").exists());
}

#[test]
fn a_target_that_cannot_be_made_is_refused() {
    let error = run(&request(&Memory::new(), Path::new("/dev/null/t"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
}

//! Directories, attributes and links of a point.

use std::collections::BTreeMap;

use model::archive::PointKey;
use model::item::{FileKind, Inode, Item, ItemKey};
use model::{ObjectId, Time};
use proptest::prelude::*;
use view::{Lasting, View, ViewError};

use crate::memory::{Memory, SOURCE, attributes};

fn root(view: &View) -> u64 {
    ["web1", "home", "points"]
        .into_iter()
        .chain(["2027-01-15T08-00-00Z"])
        .fold(View::ROOT, |number, name| view.lookup(number, name.as_bytes()).unwrap().attributes.number)
}

/// All entries, taken a few at a time.
fn list(view: &View, number: u64, step: usize) -> Vec<(Vec<u8>, u64, FileKind)> {
    let directory = view.open_directory(number).unwrap();
    let mut found = Vec::new();
    loop {
        let entries = view.read_directory(&directory, found.len() as u64).unwrap();
        if entries.is_empty() {
            return found;
        }
        found.extend(entries.into_iter().take(step).map(|e| (e.name, e.number, e.kind)));
    }
}

#[test]
fn a_large_directory_is_listed_whole_from_any_position() {
    let memory = Memory::default();
    let point = memory.point(0, 1);
    let mut expected = Vec::new();
    for object in 2..7_000 {
        let name = format!("{object:05}").into_bytes();
        memory.entry(point, 1, &name, object, FileKind::File);
        memory.inode(point, object, attributes(FileKind::File), 0);
        expected.push(name);
    }
    let view = memory.view();
    let root = root(&view);
    for step in [1_000_000, 700] {
        let names: Vec<Vec<u8>> = list(&view, root, step).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(names, expected);
    }
    let directory = view.open_directory(root).unwrap();
    for position in [6_000, 0, 4_095, 4_096, 12, 6_997, 6_998, 9_999, u64::MAX] {
        let first = view.read_directory(&directory, position).unwrap().into_iter().next();
        let wanted = usize::try_from(position).ok().and_then(|at| expected.get(at));
        assert_eq!(first.map(|entry| entry.name), wanted.cloned(), "{position}");
    }
}

#[test]
fn hard_links_have_one_number_and_devices_their_numbers() {
    let memory = Memory::default();
    let point = memory.point(0, 1);
    memory.file(point, 2, b"one", b"content", 10);
    memory.entry(point, 1, b"two", 2, FileKind::File);
    let device = model::item::Attributes { rdev: 0x1234_5678, ..attributes(FileKind::BlockDevice) };
    memory.inode(point, u64::MAX, device, 0);
    memory.entry(point, 1, b"device", u64::MAX, FileKind::BlockDevice);
    let mut link = attributes(FileKind::Symlink);
    link.target = b"\xff/nowhere".to_vec();
    memory.inode(point, 9, link, 0);
    memory.entry(point, 1, b"link", 9, FileKind::Symlink);
    let sparse = Inode { attributes: attributes(FileKind::File), size: 1 << 30, stored: 5000, links: 1 };
    memory.put(point, ItemKey::inode(ObjectId(10)), Item::Inode(sparse));
    memory.entry(point, 1, b"sparse", 10, FileKind::File);
    let view = memory.view();
    let root = root(&view);
    let find = |name: &[u8]| view.lookup(root, name).unwrap();
    assert_eq!(find(b"one"), find(b"two"));
    assert_eq!(find(b"one").lasting, Lasting::Always);
    let one = find(b"one").attributes;
    assert_eq!((one.size, one.mode, one.uid, one.gid), (7, 0o644, 3, 4));
    assert_eq!(one.modified, Time(1_600_000_000_123_456_789));
    assert_eq!(one.changed, Time(1_600_000_000_123_456_794));
    assert_eq!(find(b"device").attributes.rdev, 0x1234_5678);
    let lengths = |name| (find(name).attributes.size, find(name).attributes.stored);
    assert_eq!([lengths(b"sparse"), lengths(b"one"), lengths(b"link")], [(1 << 30, 5000), (7, 7), (9, 9)]);
    let link = find(b"link").attributes;
    assert_eq!((view.target(link.number).unwrap(), link.size), (b"\xff/nowhere".to_vec(), 9));
    assert_eq!(view.target(one.number), Err(ViewError::WrongKind));
    assert_eq!(view.open_file(root).err(), Some(ViewError::IsDirectory));
    assert_eq!(view.open_file(link.number).err(), Some(ViewError::WrongKind));
    assert_eq!(view.open_directory(one.number).err(), Some(ViewError::NotDirectory));
    assert_eq!(view.lookup(one.number, b"x").err(), Some(ViewError::NotDirectory));
    assert_eq!(view.attributes(12_345).err(), Some(ViewError::Missing));
    for name in [&b""[..], b".", b"..", b"a/b", &[b'x'; 256], b"three"] {
        assert_eq!(view.lookup(root, name).err(), Some(ViewError::Missing));
    }
}

#[test]
fn attributes_are_found_whether_neighbours_were_read_or_not() {
    let memory = Memory::default();
    let point = memory.point(0, 1);
    for object in 2..200 {
        let name = format!("{object}").into_bytes();
        memory.file(point, object, &name, b"x", 10);
        if object % 3 == 0 {
            let key = ItemKey::xattr(ObjectId(object), b"user.number");
            memory.put(point, key, Item::Xattr(object.to_le_bytes().to_vec()));
        }
    }
    memory.put(point, ItemKey::xattr(ObjectId(1), b"user.of.root"), Item::Xattr(Vec::new()));
    let view = memory.view();
    let root = root(&view);
    assert_eq!(view.attribute_names(root).unwrap(), [Box::from(&b"user.of.root"[..])]);
    assert_eq!(view.attribute(root, b"user.of.root").unwrap(), b"");
    for object in 2_u64..200 {
        let number = view.lookup(root, format!("{object}").as_bytes()).unwrap().attributes.number;
        let names = view.attribute_names(number).unwrap();
        let value = view.attribute(number, b"user.number");
        if object % 3 == 0 {
            assert_eq!(names, [Box::from(&b"user.number"[..])]);
            assert_eq!(value.unwrap(), object.to_le_bytes());
        } else {
            assert_eq!((names.len(), value), (0, Err(ViewError::NoAttribute)));
        }
    }
}

#[test]
fn an_object_that_cannot_be_read_takes_no_other_with_it() {
    let memory = Memory::default();
    let point = memory.point(0, 1);
    for object in 2..10 {
        memory.file(point, object, &object.to_le_bytes()[..1], b"x", 10);
    }
    memory.damage_key(&ItemKey::inode(ObjectId(5)));
    let view = memory.view();
    let root = root(&view);
    assert_eq!(list(&view, root, 100).len(), 8, "the names are there");
    for object in 2_u64..10 {
        let found = view.lookup(root, &object.to_le_bytes()[..1]);
        assert_eq!(found.is_ok(), object != 5, "{object}: {found:?}");
    }
    let key = PointKey { source: SOURCE, number: point };
    assert!(model::browse::inode(&memory, key, ObjectId(5)).is_err());
    memory.repair();
    assert!(view.lookup(root, &[5]).is_ok(), "a view recovers with its archive");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_tree_is_shown_as_it_is(
        entries in prop::collection::vec((any::<prop::sample::Index>(), "[^/\u{0}]{1,12}", any::<bool>()), 1..80),
    ) {
        let memory = Memory::default();
        let point = memory.point(0, 1);
        let mut directories = vec![1_u64];
        let mut expected: BTreeMap<u64, BTreeMap<Vec<u8>, u64>> = BTreeMap::from([(1, BTreeMap::new())]);
        for (object, (parent, name, is_directory)) in (2..).zip(entries) {
            let parent = *parent.get(&directories);
            let name = name.into_bytes();
            let kind = if is_directory { FileKind::Directory } else { FileKind::File };
            let siblings = expected.entry(parent).or_default();
            if name == b"." || name == b".." || siblings.contains_key(&name) {
                continue;
            }
            siblings.insert(name.clone(), object);
            memory.entry(point, parent, &name, object, kind);
            memory.inode(point, object, attributes(kind), 0);
            if is_directory {
                directories.push(object);
                expected.insert(object, BTreeMap::new());
            }
        }
        let view = memory.view();
        let mut waiting = vec![(1, root(&view))];
        while let Some((object, number)) = waiting.pop() {
            let listed = list(&view, number, 3);
            let names: Vec<&Vec<u8>> = listed.iter().map(|(name, ..)| name).collect();
            prop_assert_eq!(names, expected[&object].keys().collect::<Vec<_>>());
            for (name, child, kind) in &listed {
                let found = view.lookup(number, name).unwrap().attributes;
                prop_assert_eq!((found.number, found.kind), (*child, *kind));
                if *kind == FileKind::Directory {
                    waiting.push((expected[&object][name], *child));
                }
            }
        }
    }
}

//! The fold against a plain model of a filesystem: bytes, names and links.

use std::collections::BTreeMap;

use model::Time;
use model::item::{ItemPart, ItemRange};
use model::operation::Content;
use proptest::prelude::*;
use tree::ItemTree;
use tree::memory::MemoryPages;

use super::*;

const CHUNK: u32 = 64;

fn chunk(number: u8) -> model::Name {
    model::Name([number; 32])
}

fn attributes(kind: FileKind) -> Attributes {
    let (modified, changed) = (Time(1), Time(2));
    Attributes { uid: 1, gid: 2, modified, changed, ..Attributes::new(kind, 0o644) }
}

fn name(text: &str) -> EntryName {
    EntryName::new(text.as_bytes()).unwrap()
}

fn make(object: u64, text: &str, kind: FileKind) -> Operation {
    let (directory, object) = (ObjectId::ROOT, ObjectId(object));
    Operation::Make { directory, name: name(text), object, attributes: attributes(kind) }
}

/// Bytes as the model has them: chunk number and place in it, or nothing for a hole.
type Bytes = Vec<Option<(u8, u32)>>;

fn stored(pages: &MemoryPages, root: &Root, object: ObjectId) -> Bytes {
    let range = ItemRange::extents(object);
    let tree = ItemTree::default();
    let mut bytes = Bytes::new();
    for item in tree.range_bytes(pages, root, &range.start(), Some(&range.end())) {
        let (key, item) = item.unwrap();
        assert_eq!(key.part, ItemPart::Extent(bytes.len() as u64), "extents have no gap and no overlap");
        match item {
            Item::Extent(Extent::Hole { length }) => {
                bytes.extend(vec![None; usize::try_from(length).unwrap()])
            }
            Item::Extent(Extent::Chunk { name, skip, length }) => {
                bytes.extend((skip..skip + length).map(|at| Some((name.0[0], at))));
            }
            other => panic!("{other:?} among extents"),
        }
    }
    bytes
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, number: u8, skip: u32, length: u32 },
    Hole { offset: u64, length: u64 },
    Truncate(u64),
    Flush,
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (0u64..300, 1u8..255, 0..CHUNK - 1).prop_flat_map(|(offset, number, skip)| {
            (1..=CHUNK - skip).prop_map(move |length| Change::Write { offset, number, skip, length })
        }),
        1 => (0u64..300, 1u64..100).prop_map(|(offset, length)| Change::Hole { offset, length }),
        1 => (0u64..400).prop_map(Change::Truncate),
        1 => Just(Change::Flush),
    ]
}

proptest! {
    #[test]
    fn content_is_what_was_written_last(all in proptest::collection::vec(changes(), 1..40)) {
        let mut pages = MemoryPages::new();
        let mut fold = Fold::new(Root::EMPTY);
        let object = ObjectId(2);
        fold.operation(&pages, &make(2, "file", FileKind::File)).unwrap();
        let mut expected = Bytes::new();
        for change in all {
            let (offset, content, bytes): (u64, Content, Bytes) = match change {
                Change::Flush => {
                    fold.flush(&mut pages).unwrap();
                    continue;
                }
                Change::Truncate(size) => {
                    fold.operation(&pages, &Operation::Truncate { object, size }).unwrap();
                    expected.resize(usize::try_from(size).unwrap(), None);
                    continue;
                }
                Change::Write { offset, number, skip, length } => (
                    offset,
                    Content::Chunk { name: chunk(number), skip, length },
                    (skip..skip + length).map(|at| Some((number, at))).collect(),
                ),
                Change::Hole { offset, length } => {
                    (offset, Content::Hole { length }, vec![None; usize::try_from(length).unwrap()])
                }
            };
            fold.operation(&pages, &Operation::Write { object, offset, content }).unwrap();
            let (start, end) = (usize::try_from(offset).unwrap(), usize::try_from(offset).unwrap() + bytes.len());
            if expected.len() < end {
                expected.resize(end, None);
            }
            expected[start..end].copy_from_slice(&bytes);
        }
        let root = fold.flush(&mut pages).unwrap();
        prop_assert_eq!(stored(&pages, &root, object), expected.clone());
        let inode = ItemTree::default().get(&pages, &root, &ItemKey::inode(object)).unwrap();
        let sizes = match inode {
            Some(Item::Inode(inode)) => (inode.size, inode.stored),
            other => panic!("{other:?}"),
        };
        let in_no_hole = expected.iter().flatten().count();
        prop_assert_eq!(sizes, (expected.len() as u64, in_no_hole as u64));
    }
}

/// All items of a tree.
fn dump(pages: &MemoryPages, root: &Root) -> BTreeMap<ItemKey, Item> {
    ItemTree::default().range(pages, root, ..).map(Result::unwrap).collect()
}

#[test]
fn a_removed_directory_takes_everything_below_it_along() {
    let mut pages = MemoryPages::new();
    let mut fold = Fold::new(Root::EMPTY);
    let empty = Fold::new(Root::EMPTY).flush(&mut pages).unwrap();
    let empty = dump(&pages, &empty);
    let inside = |object, text: &str, kind| Operation::Make {
        directory: ObjectId(2),
        name: name(text),
        object: ObjectId(object),
        attributes: attributes(kind),
    };
    let operations = [
        make(2, "dir", FileKind::Directory),
        inside(3, "file", FileKind::File),
        inside(4, "sub", FileKind::Directory),
        Operation::SetXattr { object: ObjectId(3), name: b"user.a".to_vec(), value: b"b".to_vec() },
        Operation::Link { directory: ObjectId::ROOT, name: name("kept"), object: ObjectId(3) },
    ];
    for operation in &operations {
        fold.operation(&pages, operation).unwrap();
    }
    fold.flush(&mut pages).unwrap();
    fold.operation(&pages, &Operation::Remove { directory: ObjectId::ROOT, name: name("dir") }).unwrap();
    let root = fold.flush(&mut pages).unwrap();
    let left = dump(&pages, &root);
    assert!(
        !left.contains_key(&ItemKey::inode(ObjectId(2))) && !left.contains_key(&ItemKey::inode(ObjectId(4)))
    );
    assert!(matches!(left.get(&ItemKey::inode(ObjectId(3))), Some(Item::Inode(inode)) if inode.links == 1));
    fold.operation(&pages, &Operation::Remove { directory: ObjectId::ROOT, name: name("kept") }).unwrap();
    let root = fold.flush(&mut pages).unwrap();
    assert_eq!(dump(&pages, &root), empty);
}

#[test]
fn renames_replace_and_keep_what_is_below() {
    let mut pages = MemoryPages::new();
    let mut fold = Fold::new(Root::EMPTY);
    for operation in [
        make(2, "a", FileKind::Directory),
        make(3, "b", FileKind::File),
        Operation::Rename {
            directory: ObjectId::ROOT,
            name: name("a"),
            to_directory: ObjectId::ROOT,
            to_name: name("b"),
        },
    ] {
        fold.operation(&pages, &operation).unwrap();
    }
    let root = fold.flush(&mut pages).unwrap();
    let left = dump(&pages, &root);
    assert!(!left.contains_key(&ItemKey::inode(ObjectId(3))));
    let entry = left.get(&ItemKey::entry(ObjectId::ROOT, name("b")));
    assert_eq!(entry, Some(&Item::Entry(ObjectId(2), FileKind::Directory)));
}

#[test]
fn a_directory_does_not_take_the_place_of_one_above_it() {
    let pages = MemoryPages::new();
    let mut fold = Fold::new(Root::EMPTY);
    fold.operation(&pages, &make(2, "above", FileKind::Directory)).unwrap();
    let below = Operation::Make {
        directory: ObjectId(2),
        name: name("below"),
        object: ObjectId(3),
        attributes: attributes(FileKind::Directory),
    };
    fold.operation(&pages, &below).unwrap();
    let rename = Operation::Rename {
        directory: ObjectId(2),
        name: name("below"),
        to_directory: ObjectId::ROOT,
        to_name: name("above"),
    };
    let refused = fold.operation(&pages, &rename).unwrap_err();
    assert!(matches!(refused, FoldError::NoObject(ObjectId(3))), "{refused}");
}

#[test]
fn nothing_is_made_in_a_directory_that_went_with_what_was_replaced() {
    let mut pages = MemoryPages::new();
    let mut fold = Fold::new(Root::EMPTY);
    let inside = |object, text: &str, kind| Operation::Make {
        directory: ObjectId(3),
        name: name(text),
        object: ObjectId(object),
        attributes: attributes(kind),
    };
    // Two directories within each other, out of reach of the root.
    let below = Operation::Make {
        directory: ObjectId(2),
        name: name("below"),
        object: ObjectId(3),
        attributes: attributes(FileKind::Directory),
    };
    let into_itself = Operation::Rename {
        directory: ObjectId::ROOT,
        name: name("above"),
        to_directory: ObjectId(3),
        to_name: name("above"),
    };
    for operation in [make(2, "above", FileKind::Directory), below, into_itself] {
        fold.operation(&pages, &operation).unwrap();
    }
    let refused = fold.operation(&pages, &inside(4, "above", FileKind::File)).unwrap_err();
    assert!(matches!(refused, FoldError::NoObject(ObjectId(3))), "{refused}");
    let root = fold.flush(&mut pages).unwrap();
    assert_eq!(dump(&pages, &root).into_keys().collect::<Vec<_>>(), [ItemKey::inode(ObjectId::ROOT)]);
}

#[test]
fn what_is_new_is_not_looked_for_in_the_tree() {
    const FILES: u64 = 1000;
    let mut pages = MemoryPages::new();
    let mut fold = Fold::new(large_file(&mut pages, 4000));
    fold.state.pages.set_bytes_max(0);
    fold.operation(&pages, &make(10, "new", FileKind::Directory)).unwrap();
    let before = pages.reads();
    for k in 0..FILES {
        let file = Operation::Make {
            directory: ObjectId(10),
            name: name(&format!("file {k}")),
            object: ObjectId(11 + k),
            attributes: attributes(FileKind::File),
        };
        for operation in [file, write(11 + k, 0, 5), write(11 + k, 3, 5), write(11 + k, 100, 5)] {
            fold.operation(&pages, &operation).unwrap();
        }
    }
    // Two levels: whether the number of an object is free is asked, and nothing else.
    let taken = pages.reads() - before;
    assert!(taken <= 2 * FILES, "{taken} reads of pages");
}

#[test]
fn operations_that_do_not_fit_are_refused_and_change_nothing() {
    let mut pages = MemoryPages::new();
    let mut fold = Fold::new(Root::EMPTY);
    fold.operation(&pages, &make(2, "file", FileKind::File)).unwrap();
    let before = fold.flush(&mut pages).unwrap();
    let write = |object, offset, content| Operation::Write { object: ObjectId(object), offset, content };
    let link = Attributes { target: Vec::new(), ..attributes(FileKind::Symlink) };
    let bad = [
        make(2, "again", FileKind::File),
        make(0, "zero", FileKind::File),
        Operation::Make {
            directory: ObjectId(2),
            name: name("x"),
            object: ObjectId(9),
            attributes: attributes(FileKind::File),
        },
        Operation::Make { directory: ObjectId::ROOT, name: name("x"), object: ObjectId(9), attributes: link },
        Operation::Link { directory: ObjectId::ROOT, name: name("x"), object: ObjectId::ROOT },
        Operation::Remove { directory: ObjectId::ROOT, name: name("none") },
        Operation::Truncate { object: ObjectId(2), size: u64::MAX },
        Operation::Truncate { object: ObjectId(7), size: 1 },
        write(2, u64::MAX, Content::Hole { length: 1 }),
        write(2, 0, Content::Hole { length: 0 }),
        write(2, 0, Content::Chunk { name: chunk(1), skip: u32::MAX, length: 1 }),
        write(1, 0, Content::Hole { length: 1 }),
        Operation::SetAttributes { object: ObjectId(2), attributes: attributes(FileKind::Directory) },
        Operation::SetXattr { object: ObjectId(2), name: Vec::new(), value: Vec::new() },
        Operation::SetXattr { object: ObjectId(2), name: b"user.x".to_vec(), value: vec![0; 65_537] },
    ];
    for operation in bad {
        let error = fold.operation(&pages, &operation).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{operation:?}");
    }
    assert_eq!(fold.flush(&mut pages).unwrap(), before);
}

fn write(object: u64, offset: u64, length: u32) -> Operation {
    let content = Content::Chunk { name: chunk(1), skip: 0, length };
    Operation::Write { object: ObjectId(object), offset, content }
}

fn hole(object: u64, offset: u64, length: u64) -> Operation {
    Operation::Write { object: ObjectId(object), offset, content: Content::Hole { length } }
}

/// A tree with a file of so many extents of 100,000 bytes, and a small file on either side.
fn large_file(pages: &mut MemoryPages, extents: u64) -> Root {
    let mut fold = Fold::new(Root::EMPTY);
    for (object, text) in [(2, "before"), (3, "large"), (4, "behind")] {
        fold.operation(pages, &make(object, text, FileKind::File)).unwrap();
    }
    let extents = (0..extents).map(|k| write(3, k * 100_000, 100_000));
    for operation in extents.chain([write(2, 0, 5), write(4, 0, 5)]) {
        fold.operation(pages, &operation).unwrap();
    }
    fold.flush(pages).unwrap()
}

#[test]
fn rewriting_a_large_file_costs_what_changes() {
    type Changes = fn(u64) -> Vec<Operation>;
    let cases: [(&str, Changes); 8] = [
        ("cut elsewhere", |n| (0..n).map(|k| write(3, k * 99_991, 99_991)).collect()),
        ("in place", |n| (0..n).map(|k| write(3, k * 100_000, 100_000)).collect()),
        ("from the end", |n| (0..n).rev().map(|k| write(3, k * 100_000, 99_000)).collect()),
        ("bytes inserted near the start", |n| (0..n).map(|k| write(3, 777 + k * 100_000, 100_000)).collect()),
        ("scattered", |n| (0..n).map(|k| write(3, k * 7_777_777 % (n * 100_000), 4096)).collect()),
        ("a hole again and again", |n| (0..n).map(|k| hole(3, k, n * 100_000 - k)).collect()),
        ("a hole, and bytes from its end", |n| {
            let bytes = (0..n).rev().map(|k| write(3, k * 100_000 + 1, 10));
            std::iter::once(hole(3, 0, n * 100_000)).chain(bytes).collect()
        }),
        ("cut down in steps", |n| {
            let step = |k| Operation::Truncate { object: ObjectId(3), size: k * 100_000 + 1 };
            (0..n).rev().map(step).collect()
        }),
    ];
    for (what, changes) in cases {
        for n in [500, 4000] {
            let mut pages = MemoryPages::new();
            let mut fold = Fold::new(large_file(&mut pages, n));
            // Every look at a page counts.
            fold.state.pages.set_bytes_max(0);
            let before = pages.reads();
            for operation in changes(n) {
                fold.operation(&pages, &operation).unwrap();
            }
            let taken = pages.reads() - before;
            assert!(taken <= 8 * n + 8, "{what}: {n} extents took {taken} reads of pages");
            let root = fold.flush(&mut pages).unwrap();
            let flushed = pages.reads() - before - taken;
            assert!(flushed <= n / 10 + 10, "{what}: {n} extents took {flushed} reads of pages to flush");
            let ends = |object| stored(&pages, &root, ObjectId(object));
            assert_eq!((ends(2).len(), ends(4).len()), (5, 5), "{what}: its neighbours are as they were");
        }
    }
}

#[test]
fn taking_a_large_file_away_reads_and_holds_next_to_nothing() {
    let mut pages = MemoryPages::new();
    let base = large_file(&mut pages, 4000);
    let cases = [
        ("removed", Operation::Remove { directory: ObjectId::ROOT, name: name("large") }),
        ("replaced", make(9, "large", FileKind::File)),
        ("emptied", Operation::Truncate { object: ObjectId(3), size: 0 }),
    ];
    for (what, operation) in cases {
        let mut fold = Fold::new(base);
        fold.state.pages.set_bytes_max(0);
        let before = pages.reads();
        fold.operation(&pages, &operation).unwrap();
        assert!(pages.reads() - before <= 20, "{what}: {} reads", pages.reads() - before);
        assert!(fold.waiting_bytes() <= 4096, "{what}: {} bytes wait", fold.waiting_bytes());
        let root = fold.flush(&mut pages).unwrap();
        assert!(stored(&pages, &root, ObjectId(3)).is_empty(), "{what}");
        assert_eq!(stored(&pages, &root, ObjectId(4)).len(), 5, "{what}");
    }
}

#[test]
fn changes_of_a_large_tree_read_each_page_about_once() {
    const FILES: u64 = 20_000;
    let mut pages = MemoryPages::new();
    let mut fold = Fold::new(Root::EMPTY);
    let of = |object: u64, text: &str, directory: u64, kind| Operation::Make {
        directory: ObjectId(directory),
        name: name(text),
        object: ObjectId(object),
        attributes: attributes(kind),
    };
    for directory in 0..FILES / 100 {
        let first = 2 + directory * 101;
        fold.operation(&pages, &make(first, &format!("d{directory}"), FileKind::Directory)).unwrap();
        for k in 1..=100 {
            fold.operation(&pages, &of(first + k, &format!("f{k}"), first, FileKind::File)).unwrap();
            fold.operation(&pages, &write(first + k, 0, 10)).unwrap();
        }
    }
    let root = fold.flush(&mut pages).unwrap();
    let count = pages.len() as u64;
    // Every file written, named again and given a neighbour, as a scan does it; then all of it removed.
    let mut fold = Fold::new(root);
    let before = pages.reads();
    for directory in 0..FILES / 100 {
        let first = 2 + directory * 101;
        for k in 1..=100 {
            let made = 1_000_000 + directory * 100 + k;
            fold.operation(&pages, &write(first + k, 3, 5)).unwrap();
            fold.operation(&pages, &of(made, &format!("new{k}"), first, FileKind::File)).unwrap();
        }
    }
    let taken = pages.reads() - before;
    assert!(taken <= 3 * count, "{taken} reads of {count} pages for {FILES} files");
    let mut fold = Fold::new(root);
    let before = pages.reads();
    for directory in 0..FILES / 100 {
        let remove = Operation::Remove { directory: ObjectId::ROOT, name: name(&format!("d{directory}")) };
        fold.operation(&pages, &remove).unwrap();
    }
    let taken = pages.reads() - before;
    assert!(taken <= 3 * count, "{taken} reads of {count} pages to remove {FILES} files");
}

/// Goes on until nothing is left to be removed; the most bytes that waited at once.
fn settle(fold: &mut Fold, pages: &mut MemoryPages) -> Result<usize, FoldError> {
    let mut most = fold.waiting_bytes();
    while fold.wants_flush() {
        fold.flush(pages)?;
        fold.resume(pages)?;
        most = most.max(fold.waiting_bytes());
    }
    Ok(most)
}

#[test]
fn removing_a_large_directory_takes_bounded_memory() {
    const FILES: u64 = 30_000;
    const FLUSH_BYTES: usize = 100 << 10;
    let mut pages = MemoryPages::new();
    let mut fold = Fold::new(Root::EMPTY);
    let make_in = |directory, text: &str, object, kind| Operation::Make {
        directory: ObjectId(directory),
        name: name(text),
        object: ObjectId(object),
        attributes: attributes(kind),
    };
    let mut operations = vec![make(2, "kept", FileKind::File), make(3, "large", FileKind::Directory)];
    // Every other number, so that the files are as many ranges; and directories within each other.
    for k in 0..FILES {
        operations.push(make_in(3, &format!("file {k}"), 10_000 + 2 * k, FileKind::File));
    }
    for k in 0..2000 {
        operations.push(make_in(3 + k, "below", 4 + k, FileKind::Directory));
    }
    operations.push(write(2, 0, 5));
    for operation in &operations {
        fold.operation(&pages, operation).unwrap();
    }
    let root = fold.flush(&mut pages).unwrap();
    let remove = [
        Operation::Remove { directory: ObjectId::ROOT, name: name("large") },
        Operation::Rename {
            directory: ObjectId::ROOT,
            name: name("kept"),
            to_directory: ObjectId::ROOT,
            to_name: name("large"),
        },
        make(9_000_000, "large", FileKind::File),
    ];
    for operation in remove {
        let mut fold = Fold::new(root);
        fold.set_flush_bytes(FLUSH_BYTES);
        fold.operation(&pages, &operation).unwrap();
        assert!(fold.is_removing(), "{operation:?} does not fit at once");
        let most = settle(&mut fold, &mut pages).unwrap();
        assert!(most <= 3 * FLUSH_BYTES, "{operation:?}: {most} bytes waited");
        let root = fold.flush(&mut pages).unwrap();
        let left: Vec<ItemKey> = dump(&pages, &root).into_keys().collect();
        let named = |text| ItemKey::entry(ObjectId::ROOT, name(text));
        let (file, of_root) = (ObjectId(2), ItemKey::inode(ObjectId::ROOT));
        let of_file = [ItemKey::inode(file), ItemKey::extent(file, 0)];
        let expected = match operation {
            Operation::Remove { .. } => vec![of_root, named("kept")],
            Operation::Rename { .. } => vec![of_root, named("large")],
            _ => vec![of_root, named("kept"), named("large")],
        };
        let made = ItemKey::inode(ObjectId(9_000_000));
        let made = Some(made).filter(|_| matches!(operation, Operation::Make { .. }));
        assert_eq!(left, expected.into_iter().chain(of_file).chain(made).collect::<Vec<_>>());
    }
}

#[test]
fn bytes_of_names_and_values_count() {
    let pages = MemoryPages::new();
    let mut fold = Fold::new(Root::EMPTY);
    fold.operation(&pages, &make(2, "file", FileKind::File)).unwrap();
    let set = |number: u32| {
        let (name, value) = (number.to_string().into_bytes(), vec![7; 65_536]);
        Operation::SetXattr { object: ObjectId(2), name, value }
    };
    let first = fold.waiting_bytes();
    for number in 0..100 {
        fold.operation(&pages, &set(number)).unwrap();
    }
    let held = fold.waiting_bytes();
    assert!(held >= first + 100 * 65_536 && held <= first + 100 * 66_500, "{held} bytes");
    for number in 0..100 {
        fold.operation(&pages, &set(number)).unwrap();
    }
    assert_eq!(fold.waiting_bytes(), held, "what is replaced is not held");
    for number in 0..100 {
        let name = number.to_string().into_bytes();
        fold.operation(&pages, &Operation::RemoveXattr { object: ObjectId(2), name }).unwrap();
    }
    assert_eq!(fold.waiting_bytes(), first);
    let fits = (0..600).take_while(|number| {
        fold.operation(&pages, &set(*number)).unwrap();
        !fold.wants_flush()
    });
    let fits = fits.count();
    assert!((500..512).contains(&fits), "{fits} values of 64 KiB fit");
}

fn naming() -> impl Strategy<Value = Operation> {
    let place = || (0u64..8, prop_oneof![Just("a"), Just("b"), Just("c")]);
    let kind = prop_oneof![Just(FileKind::File), Just(FileKind::Directory), Just(FileKind::Directory)];
    prop_oneof![
        4 => (place(), 0u64..12, kind).prop_map(|((directory, text), object, kind)| Operation::Make {
            directory: ObjectId(directory),
            name: name(text),
            object: ObjectId(object),
            attributes: attributes(kind),
        }),
        1 => (place(), 0u64..12).prop_map(|((directory, text), object)| Operation::Link {
            directory: ObjectId(directory),
            name: name(text),
            object: ObjectId(object),
        }),
        2 => place().prop_map(|(directory, text)| Operation::Remove {
            directory: ObjectId(directory),
            name: name(text),
        }),
        2 => (place(), place()).prop_map(|((directory, text), (to, to_text))| Operation::Rename {
            directory: ObjectId(directory),
            name: name(text),
            to_directory: ObjectId(to),
            to_name: name(to_text),
        }),
        1 => (0u64..12, 0u64..300, 1u32..64).prop_map(|(object, offset, length)| write(object, offset, length)),
    ]
}

proptest! {
    #[test]
    fn names_are_the_same_however_often_it_is_flushed(
        all in proptest::collection::vec(naming(), 1..80),
        flush_bytes in prop_oneof![Just(1), Just(1000), Just(5000)],
    ) {
        let (mut pages, mut often_pages) = (MemoryPages::new(), MemoryPages::new());
        let mut fold = Fold::new(Root::EMPTY);
        let mut often = Fold::new(Root::EMPTY);
        often.set_flush_bytes(flush_bytes);
        for operation in all {
            let once = fold.operation(&pages, &operation);
            let parts = often.operation(&often_pages, &operation);
            let parts = parts.and_then(|()| settle(&mut often, &mut often_pages).map(drop));
            let words = |result: Result<(), FoldError>| result.map_err(|error| error.to_string());
            prop_assert_eq!(words(once), words(parts));
        }
        let (root, same) = (fold.flush(&mut pages).unwrap(), often.flush(&mut often_pages).unwrap());
        let all = dump(&pages, &root);
        prop_assert!(!often.is_removing() && all.keys().all(|key| key.object != REMOVED));
        prop_assert_eq!(dump(&often_pages, &same), all);
    }
}

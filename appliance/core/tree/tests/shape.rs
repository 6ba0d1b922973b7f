//! What operations cost, and the shape that trees keep: full pages, low height, few writes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::sync::Arc;

use model::item::{Extent, FileKind, Item, ItemKey, ItemRange};
use model::{EntryName, ErrorKind, Name, ObjectId};
use tree::memory::MemoryPages;
use tree::{
    ByteStrings, Error, ItemTree, KEY_LENGTH_MAX, PageLimits, PageSink, PageSource, Root, Step, Tree,
    VALUE_LENGTH_MAX,
};

type Strings = Tree<ByteStrings>;

fn number(n: u32) -> Vec<u8> {
    n.to_be_bytes().to_vec()
}

/// A tree of the numbers below `count`, with short values.
fn numbers(tree: Strings, count: u32) -> (MemoryPages, Root) {
    let mut pages = MemoryPages::new();
    let batch = (0..count).map(|n| (number(n), Some(vec![7; 20])));
    let root = tree.apply(&mut pages, &Root::EMPTY, batch).unwrap().root;
    (pages, root)
}

fn small() -> Strings {
    Tree::new(PageLimits::new(1024))
}

/// Bytes of leaves against what they could hold.
fn fill(tree: Strings, pages: &MemoryPages, root: &Root, length_max: usize) -> f64 {
    let mut leaves = 0;
    let count = |page: &tree::PageVisit| {
        leaves += u32::from(page.level == 0);
        Step::Into
    };
    tree.walk_pages(pages, root, count).unwrap();
    let bytes = tree.check(pages, root).unwrap().bytes;
    bytes as f64 / (f64::from(leaves) * length_max as f64)
}

#[test]
fn a_bulk_build_fills_pages_and_writes_each_once() {
    let (tree, count) = (small(), 100_000);
    let (pages, root) = numbers(tree, count);
    let report = tree.check(&pages, &root).unwrap();
    assert_eq!((report.items, report.underfull, report.overfull), (u64::from(count), 0, 0));
    assert_eq!(pages.writes(), report.pages, "no page is written that the tree does not keep");
    assert!(fill(tree, &pages, &root, 1024) > 0.95);
    assert_eq!(root.height(), 4);
}

#[test]
fn appending_leaves_full_pages() {
    let tree = small();
    let (mut pages, mut root) = (MemoryPages::new(), Root::EMPTY);
    for n in 0..5000 {
        let applied = tree.apply(&mut pages, &root, [(number(n), Some(vec![7; 20]))]).unwrap();
        assert!(applied.born.len() <= usize::from(root.height()) + 2);
        root = applied.root;
    }
    assert_eq!(tree.check(&pages, &root).unwrap().underfull, 0);
    assert!(fill(tree, &pages, &root, 1024) > 0.95);
}

#[test]
fn inserting_anywhere_keeps_pages_half_full() {
    let tree = small();
    let (mut pages, mut root) = (MemoryPages::new(), Root::EMPTY);
    for n in 0..5000u32 {
        let key = number(n.wrapping_mul(0x9e37_79b1));
        root = tree.apply(&mut pages, &root, [(key, Some(vec![7; 20]))]).unwrap().root;
    }
    let report = tree.check(&pages, &root).unwrap();
    assert_eq!((report.items, report.underfull, report.overfull), (5000, 0, 0));
    assert!(fill(tree, &pages, &root, 1024) > 0.6);
}

#[test]
fn one_change_writes_one_page_a_level() {
    let tree = small();
    let (mut pages, root) = numbers(tree, 200_000);
    let height = usize::from(root.height());
    for n in [0, 77_777, 199_999] {
        let (reads, writes) = (pages.reads(), pages.writes());
        let applied = tree.apply(&mut pages, &root, [(number(n), Some(vec![8; 20]))]).unwrap();
        assert_eq!((applied.born.len(), applied.died.len()), (height, height));
        assert_eq!(pages.writes() - writes, height as u64);
        assert!(pages.reads() - reads <= 2 * height as u64);

        let reads = pages.reads();
        let changes: Vec<_> = tree.diff(&pages, &root, &applied.root).map(Result::unwrap).collect();
        assert_eq!(changes.len(), 1);
        assert_eq!(pages.reads() - reads, 2 * height as u64, "a diff opens what differs only");
    }
}

#[test]
fn a_diff_costs_what_differs_where_pages_come_and_go() {
    let tree = small();
    let (mut pages, root) = numbers(tree, 200_000);
    let height = u64::from(root.height());
    let inserted = (0..500).map(|n| ([number(100_000), number(n)].concat(), Some(vec![9; 20])));
    let deleted = (50_000..51_000).map(|n| (number(n), None));
    let batch: Vec<_> = deleted.chain(inserted).collect();
    let applied = tree.apply(&mut pages, &root, batch).unwrap();
    let reads = pages.reads();
    assert_eq!(tree.diff(&pages, &root, &applied.root).count(), 1500);
    let touched = (applied.born.len() + applied.died.len()) as u64;
    assert!(pages.reads() - reads <= touched + 2 * height);
}

#[test]
fn lookups_read_one_page_a_level() {
    let tree = small();
    let (pages, root) = numbers(tree, 200_000);
    let height = u64::from(root.height());
    let cost = |work: &dyn Fn()| {
        let reads = pages.reads();
        work();
        pages.reads() - reads
    };
    let key = number(123_456);
    assert_eq!(cost(&|| assert!(tree.get(&pages, &root, &key).unwrap().is_some())), height);
    assert_eq!(cost(&|| assert!(tree.floor(&pages, &root, &key).unwrap().is_some())), height);
    assert_eq!(cost(&|| assert!(tree.ceiling(&pages, &root, &key).unwrap().is_some())), height);
    assert_eq!(cost(&|| drop(tree.range(&pages, &root, key.clone()..))), 0, "a range is lazy");
    assert_eq!(cost(&|| drop(tree.range(&pages, &root, key.clone()..).next())), height);
}

#[test]
fn deleting_shrinks_the_tree() {
    let tree = small();
    let count = 20_000;
    let (mut pages, root) = numbers(tree, count);
    let full = tree.check(&pages, &root).unwrap();

    // All but every hundredth, in one batch and one by one in another order: pages are joined either way.
    let thinned = (0..count).filter(|n| n % 100 != 0).map(|n| (number(n), None));
    let at_once = tree.apply(&mut pages, &root, thinned).unwrap().root;
    let mut one_by_one = root;
    for n in (0..count).map(|n| n * 7919 % count).filter(|n| n % 100 != 0) {
        one_by_one = tree.apply(&mut pages, &one_by_one, [(number(n), None)]).unwrap().root;
    }
    for root in [at_once, one_by_one] {
        let report = tree.check(&pages, &root).unwrap();
        assert_eq!((report.items, report.underfull, report.overfull), (200, 0, 0));
        assert!(report.pages * 20 <= full.pages, "{report:?} of {full:?}");
        assert!(root.height() < 3);
    }

    let last = tree.apply(&mut pages, &at_once, (100..count).map(|n| (number(n), None))).unwrap().root;
    assert_eq!((last.items(), last.height()), (1, 1), "height collapses");
    let none = tree.apply(&mut pages, &last, [(number(0), None)]).unwrap();
    assert_eq!((none.root, none.died.len(), none.born.len()), (Root::EMPTY, 1, 0));
}

#[test]
fn the_largest_items_fit_and_larger_ones_are_refused() {
    let tree = Strings::default();
    let mut pages = MemoryPages::new();
    let (key, value) = (vec![1; KEY_LENGTH_MAX], vec![2; VALUE_LENGTH_MAX]);
    let neighbours = (0..200u8).map(|n| (vec![n; 10], Some(value.clone())));
    let root = tree.apply(&mut pages, &Root::EMPTY, neighbours).unwrap().root;
    let root = tree.apply(&mut pages, &root, [(key.clone(), Some(value.clone()))]).unwrap().root;
    assert_eq!(tree.get(&pages, &root, &key).unwrap().as_ref(), Some(&value));
    assert_eq!(tree.check(&pages, &root).unwrap().items, 201);

    let long_key = tree.apply(&mut pages, &root, [(vec![1; KEY_LENGTH_MAX + 1], None)]).unwrap_err();
    assert_eq!(long_key.to_string(), "key of change 0 has 301 bytes, the longest has 300");
    let long_value = [(key.clone(), None), (vec![2], Some(vec![2; VALUE_LENGTH_MAX + 1]))];
    let long_value = tree.apply(&mut pages, &root, long_value).unwrap_err();
    assert!(matches!(long_value, Error::ValueTooLong { position: 1, .. }), "{long_value}");
    for unsorted in [[vec![3], vec![3]], [vec![3], vec![2]]] {
        let error = tree.apply(&mut pages, &root, unsorted.map(|key| (key, None))).unwrap_err();
        assert!(matches!(error, Error::Unsorted { position: 1 }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Refused);
    }
}

#[test]
fn a_missing_page_is_an_error_that_keeps_its_cause() {
    let tree = small();
    let (mut pages, root) = numbers(tree, 1000);
    let lost = root.name().unwrap();
    assert!(pages.remove(&lost));
    let error = tree.get(&pages, &root, &number(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert_eq!(
        std::error::Error::source(&error).unwrap().to_string(),
        format!("page {lost} is not in memory")
    );
    let mut range = tree.range(&pages, &root, ..);
    assert!(matches!(range.next(), Some(Err(Error::Read { .. }))));
    assert!(range.next().is_none(), "a range ends after its first error");
}

/// Takes a limited number of pages.
struct Bounded {
    pages: MemoryPages,
    writes_max: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("no room for a page")]
struct NoRoom;

impl PageSource for Bounded {
    type Error = NoRoom;

    fn read(&self, name: &Name) -> Result<Arc<[u8]>, NoRoom> {
        Ok(self.pages.read(name).unwrap())
    }

    fn kind(_: &NoRoom) -> ErrorKind {
        ErrorKind::Full
    }
}

impl PageSink for Bounded {
    fn write(&mut self, bytes: Vec<u8>) -> Result<Name, NoRoom> {
        if self.pages.writes() < self.writes_max { Ok(self.pages.write(bytes).unwrap()) } else { Err(NoRoom) }
    }
}

#[test]
fn a_sink_that_fails_leaves_the_old_tree() {
    let tree = small();
    let (pages, root) = numbers(tree, 10_000);
    let report = tree.check(&pages, &root).unwrap();
    let mut sink = Bounded { pages, writes_max: 0 };
    let mut change = |room| {
        sink.writes_max = sink.pages.writes() + room;
        let applied = tree.apply(&mut sink, &root, [(number(50), Some(vec![1]))]);
        assert_eq!(tree.check(&sink, &root).unwrap(), report);
        applied
    };
    for room in 0..u64::from(root.height()) {
        let error = change(room).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full);
        assert!(matches!(error, Error::Write { level, .. } if u64::from(level) == room), "{error}");
    }
    assert_eq!(change(u64::from(root.height())).unwrap().root.items(), 10_000);
}

#[test]
fn pages_known_from_another_tree_are_stepped_over() {
    let tree = small();
    let (mut pages, root) = numbers(tree, 100_000);
    let mut known = std::collections::BTreeSet::new();
    let mut new_pages = |pages: &MemoryPages, root: &Root| {
        let mut count = 0;
        let visit = |page: &tree::PageVisit| {
            let is_new = known.insert(page.name);
            count += usize::from(is_new);
            if is_new { Step::Into } else { Step::Over }
        };
        tree.walk_pages(pages, root, visit).unwrap();
        count
    };
    let all = new_pages(&pages, &root);
    assert_eq!(all as u64, tree.check(&pages, &root).unwrap().pages);
    let applied = tree.apply(&mut pages, &root, [(number(5), None)]).unwrap();
    let reads = pages.reads();
    assert_eq!(new_pages(&pages, &applied.root), applied.born.len());
    assert!(pages.reads() - reads < u64::from(root.height()), "leaves and known pages are not read");

    let leaf = *applied.born.first().unwrap();
    let items: Vec<_> = tree.leaf(&pages, leaf).unwrap().map(Result::unwrap).collect();
    assert_eq!(items.first().unwrap().0, number(0));
    assert!(items.iter().all(|(key, _)| *key != number(5)));
}

#[test]
fn the_items_of_a_source_are_found_by_kind() {
    let tree = ItemTree::default();
    let mut pages = MemoryPages::new();
    let entry = |name: &[u8]| ItemKey::entry(ObjectId::ROOT, EntryName::new(name).unwrap());
    let extent = Extent::Chunk { name: Name([3; 32]), skip: 4, length: 5 };
    let batch = [
        (entry(b"a"), Some(Item::Entry(ObjectId(2), FileKind::File))),
        (entry(b"b"), Some(Item::Entry(ObjectId(3), FileKind::Directory))),
        (ItemKey::xattr(ObjectId::ROOT, b"user.x"), Some(Item::Xattr(b"y".to_vec()))),
        (ItemKey::extent(ObjectId(2), 0), Some(Item::Extent(extent))),
        (ItemKey::extent(ObjectId(2), 5), Some(Item::Extent(Extent::Hole { length: 9 }))),
    ];
    let root = tree.apply(&mut pages, &Root::EMPTY, batch.clone()).unwrap().root;
    let entries = ItemRange::entries(ObjectId::ROOT);
    let found: Vec<_> = tree
        .range_bytes(&pages, &root, &entries.start(), Some(&entries.end()))
        .map(|item| item.unwrap().0)
        .collect();
    assert_eq!(found, [entry(b"a"), entry(b"b")]);
    let (key, item) = tree.floor(&pages, &root, &ItemKey::extent(ObjectId(2), 4)).unwrap().unwrap();
    assert_eq!((key, Some(item)), batch[3].clone());
}

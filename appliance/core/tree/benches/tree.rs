//! How fast a tree of files is made, changed, read and compared: `cargo bench -p tree`.

#![expect(clippy::unwrap_used, reason = "what fails must stop")]

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use model::item::{Attributes, Extent, FileKind, Inode, Item, ItemKey};
use model::{EntryName, Name, ObjectId};
use tree::memory::MemoryPages;
use tree::{ItemTree, Root};

/// Files of the tree, each with a name, an inode and an extent.
const FILES: u64 = 50_000;
/// Every so many one changes.
const CHANGED_EVERY: usize = 100;

fn main() {
    divan::main();
}

fn items(number: u64, version: u8) -> [(ItemKey, Option<Item>); 3] {
    let object = ObjectId(ObjectId::ROOT.0 + 1 + number);
    let entry = EntryName::new(format!("file {number:08}").as_bytes()).unwrap();
    let attributes = Attributes::new(FileKind::File, 0o644);
    let inode = Inode { attributes, size: 9, stored: 9, links: 1 };
    let extent = Extent::Chunk { name: Name([version; 32]), skip: 0, length: 9 };
    [
        (ItemKey::entry(ObjectId::ROOT, entry), Some(Item::Entry(object, FileKind::File))),
        (ItemKey::inode(object), Some(Item::Inode(inode))),
        (ItemKey::extent(object, 0), Some(Item::Extent(extent))),
    ]
}

fn batch(numbers: impl Iterator<Item = u64>, version: u8) -> Vec<(ItemKey, Option<Item>)> {
    let mut all: Vec<_> = numbers.flat_map(|number| items(number, version)).collect();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    all
}

fn changes() -> Vec<(ItemKey, Option<Item>)> {
    batch((0..FILES).step_by(CHANGED_EVERY), 2)
}

fn tree() -> (MemoryPages, Root) {
    let mut pages = MemoryPages::new();
    let root = ItemTree::default().apply(&mut pages, &Root::EMPTY, batch(0..FILES, 1)).unwrap().root;
    (pages, root)
}

#[divan::bench]
fn apply_all(bencher: Bencher<'_, '_>) {
    let count = ItemsCount::new(FILES * 3);
    bencher.counter(count).with_inputs(|| batch(0..FILES, 1)).bench_local_values(|batch| {
        let mut pages = MemoryPages::new();
        ItemTree::default().apply(&mut pages, &Root::EMPTY, batch).unwrap();
        pages
    });
}

#[divan::bench]
fn apply_one_in_a_hundred(bencher: Bencher<'_, '_>) {
    let ((mut pages, root), count) = (tree(), ItemsCount::new(changes().len()));
    bencher
        .counter(count)
        .with_inputs(changes)
        .bench_local_values(|batch| ItemTree::default().apply(&mut pages, &root, batch).unwrap());
}

#[divan::bench]
fn get(bencher: Bencher<'_, '_>) {
    let (pages, root) = tree();
    let mut number = 0;
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        number = (number * 31 + 7) % FILES;
        let key = ItemKey::inode(ObjectId(ObjectId::ROOT.0 + 1 + number));
        assert!(black_box(ItemTree::default().get(&pages, &root, &key).unwrap()).is_some());
    });
}

#[divan::bench]
fn diff_one_in_a_hundred(bencher: Bencher<'_, '_>) {
    let (mut pages, before) = tree();
    let after = ItemTree::default().apply(&mut pages, &before, changes()).unwrap().root;
    let pages = &pages;
    bencher.counter(ItemsCount::new(FILES / 100)).bench_local(|| {
        let found = ItemTree::default().diff(pages, &before, &after).map(Result::unwrap).count();
        assert_eq!(found as u64, FILES / 100);
    });
}

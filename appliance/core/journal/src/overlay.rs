//! A tree with changes on top that wait in memory.
//!
//! Changes are single keys, and ranges of keys of the tree that are gone: taking a file away, or its content, takes
//! one range, however many items it has, and what is put where something is gone needs no look at the tree. What is
//! held is counted in bytes. Applying it makes a new tree; the keys of ranges are looked up in parts, so that memory
//! is bounded whatever went.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};

use model::item::{Item, ItemKey, ItemPart};
use tree::{ItemTree, PageSink, PageSource, Root};

use crate::pages::PageCache;
use crate::ranges::KeyRanges;

/// Memory of a change besides its own allocations: maps are about half full.
const ENTRY: usize = 2 * size_of::<(ItemKey, Option<Item>)>();
/// Keys between two ranges that are read rather than looked for: about as many as a page has.
const PASSED_MAX: usize = 500;
/// What an allocation takes besides its bytes.
const ALLOCATION: usize = 16;

/// A tree and what has changed since.
pub(crate) struct Overlay {
    tree: ItemTree,
    base: Root,
    /// Keys that differ, with their items; none if they are gone.
    changes: BTreeMap<ItemKey, Option<Item>>,
    /// Keys of the tree that are gone, but for those in `changes`.
    gone: KeyRanges,
    /// Memory of `changes`, about.
    bytes: usize,
    /// Most keys of ranges that are looked up before they are applied.
    deletions_max: usize,
    /// Pages of the tree that were read lately.
    pub(crate) pages: PageCache,
}

impl Overlay {
    /// A tree without changes. Applying some takes no more than about `flush_bytes` besides them, and keeping pages of
    /// the tree an eighth of it.
    pub(crate) fn new(base: Root, flush_bytes: usize) -> Self {
        let (changes, gone, pages) = (BTreeMap::new(), KeyRanges::default(), PageCache::new(0));
        let tree = ItemTree::default();
        let mut overlay = Self { tree, base, changes, gone, bytes: 0, deletions_max: 1, pages };
        overlay.set_flush_bytes(flush_bytes);
        overlay
    }

    /// Sets what applying changes takes besides them, and keeping pages an eighth of it.
    pub(crate) fn set_flush_bytes(&mut self, flush_bytes: usize) {
        self.deletions_max = (flush_bytes / ENTRY).max(1);
        self.pages.set_bytes_max(flush_bytes / 8);
    }

    /// Memory that the changes take, about.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes + self.gone.bytes()
    }

    /// Whether the tree has a key that may still count.
    fn is_below(&self, key: &ItemKey) -> bool {
        !self.base.is_empty() && !self.gone.contains(key)
    }

    fn set(&mut self, key: ItemKey, item: Option<Item>) {
        let (key_bytes, new) = (key_bytes(&key), item_bytes(item.as_ref()));
        self.bytes += ENTRY + key_bytes + new;
        if let Some(old) = self.changes.insert(key, item) {
            self.bytes -= ENTRY + key_bytes + item_bytes(old.as_ref());
        }
    }

    fn forget(&mut self, key: &ItemKey) {
        if let Some(old) = self.changes.remove(key) {
            self.bytes -= ENTRY + key_bytes(key) + item_bytes(old.as_ref());
        }
    }

    /// Puts an item under a key.
    pub(crate) fn put(&mut self, key: ItemKey, item: Item) {
        self.set(key, Some(item));
    }

    /// Takes the item under a key away.
    pub(crate) fn delete(&mut self, key: ItemKey) {
        if self.is_below(&key) { self.set(key, None) } else { self.forget(&key) }
    }

    /// Takes everything within `from..to` away.
    pub(crate) fn delete_range(&mut self, from: ItemKey, to: ItemKey) {
        if from >= to {
            return;
        }
        let changed: Vec<ItemKey> = self.changes.range(&from..&to).map(|(key, _)| key.clone()).collect();
        changed.iter().for_each(|key| self.forget(key));
        if !self.base.is_empty() {
            self.gone.insert(from, to);
        }
    }

    /// The item under a key.
    pub(crate) fn get<S: PageSource>(&self, source: &S, key: &ItemKey) -> Result<Option<Item>, tree::Error> {
        match self.changes.get(key) {
            Some(item) => Ok(item.clone()),
            None if self.is_below(key) => self.tree.get(&self.pages.over(source), &self.base, key),
            None => Ok(None),
        }
    }

    /// The first `limit` items within `from..to`, in order.
    pub(crate) fn items<S: PageSource>(
        &self,
        source: &S,
        from: &ItemKey,
        to: &ItemKey,
        limit: usize,
    ) -> Result<Vec<(ItemKey, Item)>, tree::Error> {
        let changed = self.changes.range(from..to.max(from));
        let changed = changed.filter_map(|(key, item)| item.clone().map(|item| (key.clone(), item)));
        let mut found: BTreeMap<ItemKey, Item> = changed.take(limit).collect();
        let mut missing = limit;
        for (start, end) in self.gone.gaps(from, to).filter(|_| !self.base.is_empty()) {
            for item in self.tree.range(&self.pages.over(source), &self.base, start.clone()..end.clone()) {
                let (key, item) = item?;
                if !self.changes.contains_key(&key) {
                    found.insert(key, item);
                    missing -= 1;
                }
                if missing == 0 {
                    break;
                }
            }
            if missing == 0 {
                break;
            }
        }
        Ok(found.into_iter().take(limit).collect())
    }

    /// The changed item at or before a key.
    pub(crate) fn changed_before(&self, key: &ItemKey) -> Option<(&ItemKey, &Item)> {
        let (key, item) = self.changes.range(..=key).next_back()?;
        Some((key, item.as_ref()?))
    }

    /// The item of the tree at or before a key, if the tree still counts there and the item was not changed.
    pub(crate) fn unchanged_before<S: PageSource>(
        &self,
        source: &S,
        key: &ItemKey,
    ) -> Result<Option<(ItemKey, Item)>, tree::Error> {
        if !self.is_below(key) {
            return Ok(None);
        }
        let found = self.tree.floor(&self.pages.over(source), &self.base, key)?;
        Ok(found.filter(|(key, _)| !self.changes.contains_key(key) && !self.gone.contains(key)))
    }

    /// Applies all changes; the tree as it is then.
    pub(crate) fn flush<S: PageSink>(&mut self, sink: &mut S) -> Result<Root, tree::Error> {
        let base = self.base;
        let mut changes = std::mem::take(&mut self.changes);
        let gone = std::mem::take(&mut self.gone);
        self.bytes = 0;
        let mut last = None;
        loop {
            let deleted = self.deleted(&*sink, &base, &gone, last.as_ref())?;
            last = deleted.last().filter(|_| deleted.len() == self.deletions_max).cloned();
            // What was put under the last key comes with the rest: it goes here and is put there.
            let rest = last.as_ref().map(|last| changes.split_off(last)).unwrap_or_default();
            for key in deleted {
                changes.entry(key).or_insert(None);
            }
            if !changes.is_empty() {
                self.base = self.tree.apply(sink, &self.base, changes)?.root;
            }
            if last.is_none() {
                return Ok(self.base);
            }
            changes = rest;
        }
    }

    /// The first keys behind `last` that a tree has in ranges that are gone.
    fn deleted<S: PageSource>(
        &self,
        source: &S,
        base: &Root,
        gone: &KeyRanges,
        last: Option<&ItemKey>,
    ) -> Result<Vec<ItemKey>, tree::Error> {
        let mut deleted = Vec::new();
        let mut ranges = gone.behind(last);
        let mut next = ranges.next();
        while let Some((mut start, mut end)) = next {
            let from = last.filter(|last| *last >= start).map_or(Included(start), Excluded);
            let mut passed = 0;
            next = None;
            for item in self.tree.range(source, base, (from.cloned(), Unbounded)) {
                let (key, _) = item?;
                while key >= *end {
                    let Some(range) = ranges.next() else { return Ok(deleted) };
                    (start, end) = range;
                }
                if key >= *start {
                    passed = 0;
                    deleted.push(key);
                } else if passed == PASSED_MAX {
                    next = Some((start, end));
                    break;
                } else {
                    passed += 1;
                }
                if deleted.len() == self.deletions_max {
                    return Ok(deleted);
                }
            }
        }
        Ok(deleted)
    }
}

/// Memory that a key has allocated.
pub(crate) fn key_bytes(key: &ItemKey) -> usize {
    match &key.part {
        ItemPart::Entry(name) => ALLOCATION + name.as_bytes().len(),
        ItemPart::Xattr(name) => ALLOCATION + name.len(),
        ItemPart::Inode | ItemPart::Extent(_) => 0,
    }
}

fn item_bytes(item: Option<&Item>) -> usize {
    match item {
        Some(Item::Inode(inode)) if !inode.attributes.target.is_empty() => {
            ALLOCATION + inode.attributes.target.len()
        }
        Some(Item::Xattr(value)) => ALLOCATION + value.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use model::item::Extent;
    use model::{EntryName, ObjectId};
    use proptest::prelude::*;
    use tree::memory::MemoryPages;

    use super::*;

    /// Keys of four objects: four entries, four extended attributes and eight offsets each.
    fn key(number: u64) -> ItemKey {
        let (object, part) = (ObjectId(number / 16), number % 16);
        match part {
            0..4 => ItemKey::entry(object, EntryName::new(format!("n{part}").as_bytes()).unwrap()),
            4..8 => ItemKey::xattr(object, format!("user.{part}").as_bytes()),
            _ => ItemKey::extent(object, part),
        }
    }

    fn item(number: u64, value: u64) -> Item {
        match key(number).part {
            ItemPart::Entry(_) => Item::Entry(ObjectId(value), model::item::FileKind::File),
            ItemPart::Xattr(_) => Item::Xattr(vec![7; usize::try_from(value).unwrap()]),
            _ => Item::Extent(Extent::Hole { length: value }),
        }
    }

    #[derive(Clone, Debug)]
    enum Change {
        Put(u64, u64),
        Delete(u64),
        DeleteRange(u64, u64),
        Flush,
    }

    fn changes() -> impl Strategy<Value = Change> {
        prop_oneof![
            5 => (0u64..64, 1u64..50).prop_map(|(key, value)| Change::Put(key, value)),
            2 => (0u64..64).prop_map(Change::Delete),
            2 => (0u64..64, 0u64..64).prop_map(|(from, to)| Change::DeleteRange(from, to)),
            1 => Just(Change::Flush),
        ]
    }

    proptest! {
        #[test]
        fn it_is_an_ordered_map(
            all in proptest::collection::vec(changes(), 0..120),
            flush_bytes in prop_oneof![Just(0), Just(3 * ENTRY), Just(1 << 20)],
            (from, to, limit) in (0u64..64, 0u64..64, 1usize..40),
        ) {
            let mut pages = MemoryPages::new();
            let mut overlay = Overlay::new(Root::EMPTY, flush_bytes);
            let mut expected = BTreeMap::new();
            for change in all {
                match change {
                    Change::Put(at, value) => {
                        overlay.put(key(at), item(at, value));
                        expected.insert(key(at), item(at, value));
                    }
                    Change::Delete(at) => {
                        overlay.delete(key(at));
                        expected.remove(&key(at));
                    }
                    Change::DeleteRange(from, to) => {
                        overlay.delete_range(key(from), key(to));
                        expected.retain(|at, _| !(key(from)..key(to)).contains(at));
                    }
                    Change::Flush => {
                        overlay.flush(&mut pages).unwrap();
                        prop_assert_eq!(overlay.bytes(), 0);
                    }
                }
            }
            for at in (0..64).map(key) {
                prop_assert_eq!(overlay.get(&pages, &at).unwrap(), expected.get(&at).cloned());
                let unchanged = overlay.unchanged_before(&pages, &at).unwrap();
                let below = unchanged.as_ref().map(|(key, item)| (key, item));
                let changed = overlay.changed_before(&at);
                prop_assert!(below.is_none_or(|(key, item)| expected.get(key) == Some(item)));
                prop_assert!(changed.is_none_or(|(key, item)| expected.get(key) == Some(item)));
            }
            let (from, to) = (key(from), key(to));
            let found = overlay.items(&pages, &from, &to, limit).unwrap();
            let within = |at: &ItemKey| (&from..&to).contains(&at);
            let first = expected.iter().filter(|(at, _)| within(at)).take(limit);
            prop_assert_eq!(found, first.map(|(key, item)| (key.clone(), item.clone())).collect::<Vec<_>>());
            let root = overlay.flush(&mut pages).unwrap();
            let kept = ItemTree::default().range(&pages, &root, ..).collect::<Result<BTreeMap<_, _>, _>>().unwrap();
            prop_assert_eq!(kept, expected);
        }
    }
}

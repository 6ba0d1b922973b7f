//! Random batches against a `BTreeMap`: every operation agrees, and the page lists of `apply` are exact.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::{BTreeMap, BTreeSet};

use model::Name;
use proptest::prelude::*;
use tree::memory::MemoryPages;
use tree::{Applied, Birth, ByteStrings, Change, PageLimits, Root, Step, Tree};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;
type Batch = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

fn tiny(target: usize) -> Tree<ByteStrings> {
    Tree::new(PageLimits::new(target))
}

/// Keys that share prefixes and lie close, so that batches hit what is there.
fn keys() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0u16..400).prop_map(|n| n.to_be_bytes().to_vec()),
        4 => proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(255)], 0..6),
        1 => (0u8..8, 200usize..=300).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

fn values() -> impl Strategy<Value = Option<Vec<u8>>> {
    let bytes = |length| proptest::collection::vec(any::<u8>(), length);
    prop_oneof![
        6 => bytes(0..8usize).prop_map(Some),
        1 => bytes(0..120usize).prop_map(Some),
        5 => Just(None),
        1 => (0u8..3, 400usize..2000).prop_map(|(byte, length)| Some(vec![byte; length])),
    ]
}

/// A few scattered changes, many of them, or one stretch of keys put or deleted as a whole.
fn batches() -> impl Strategy<Value = Batch> {
    let stretch = (0u16..400, 0u16..300, values()).prop_map(|(first, count, value)| {
        (first..first.saturating_add(count)).map(|n| (n.to_be_bytes().to_vec(), value.clone())).collect()
    });
    prop_oneof![
        proptest::collection::btree_map(keys(), values(), 0..4),
        proptest::collection::btree_map(keys(), values(), 0..150),
        stretch,
    ]
}

fn pages_of(tree: Tree<ByteStrings>, pages: &MemoryPages, root: &Root) -> BTreeSet<Name> {
    let mut names = BTreeSet::new();
    let visit = |page: &tree::PageVisit| {
        assert!(names.insert(page.name), "page {} is in the tree twice", page.name);
        Step::Into
    };
    tree.walk_pages(pages, root, visit).unwrap();
    names
}

fn items_of(tree: Tree<ByteStrings>, pages: &MemoryPages, root: &Root) -> Map {
    tree.range(pages, root, ..).map(Result::unwrap).collect()
}

fn changed(map: &Map, batch: &Batch) -> Map {
    let mut map = map.clone();
    for (key, value) in batch {
        match value {
            Some(value) => map.insert(key.clone(), value.clone()),
            None => map.remove(key),
        };
    }
    map
}

/// What differs between two maps.
fn differences(before: &Map, after: &Map) -> Vec<Change<Vec<u8>, Vec<u8>>> {
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    keys.into_iter()
        .map(|key| (key, before.get(key), after.get(key)))
        .filter(|(_, before, after)| before != after)
        .map(|(key, before, after)| Change {
            key: key.clone(),
            before: before.cloned(),
            after: after.cloned(),
        })
        .collect()
}

/// What the second of two trees has and the first has not.
fn births(
    tree: Tree<ByteStrings>,
    pages: &MemoryPages,
    before: &Root,
    after: &Root,
) -> (BTreeSet<Name>, Map) {
    let (mut names, mut items) = (BTreeSet::new(), Map::new());
    for birth in tree.births(pages, before, after) {
        match birth.unwrap() {
            Birth::Page(name) => assert!(names.insert(name), "page {name} is stated twice"),
            Birth::Item(key, value) => assert!(items.insert(key, value).is_none(), "an item is stated twice"),
        }
    }
    (names, items)
}

/// Applies a batch and checks all that `apply` promises about it.
fn apply(
    tree: Tree<ByteStrings>,
    pages: &mut MemoryPages,
    root: &Root,
    map: &Map,
    batch: &Batch,
) -> (Applied, Map) {
    let before = pages_of(tree, pages, root);
    let writes = pages.writes();
    let mut observed = Vec::new();
    let applied = tree.apply_observed(pages, root, batch.clone(), |change| observed.push(change)).unwrap();
    let map_after = changed(map, batch);
    let expected = differences(map, &map_after);

    let after = pages_of(tree, pages, &applied.root);
    let born: BTreeSet<_> = applied.born.iter().copied().collect();
    let died: BTreeSet<_> = applied.died.iter().copied().collect();
    assert_eq!((born.len(), died.len()), (applied.born.len(), applied.died.len()), "a page is listed twice");
    assert_eq!(born, &after - &before, "born");
    assert_eq!(died, &before - &after, "died");
    assert_eq!(observed, expected, "observed");
    if expected.is_empty() {
        assert_eq!(pages.writes(), writes, "a batch that changes nothing writes nothing");
        assert_eq!(applied.root, *root);
    }

    let report = tree.check(&*pages, &applied.root).unwrap();
    assert_eq!(report.pages, after.len() as u64);
    assert_eq!((report.items, applied.root.items()), (map_after.len() as u64, map_after.len() as u64));
    assert_eq!((report.underfull, report.overfull), (0, 0), "{report:?}");
    assert_eq!(items_of(tree, pages, &applied.root), map_after);
    (applied, map_after)
}

/// Checks what is asked by key.
fn check_lookups(tree: Tree<ByteStrings>, pages: &MemoryPages, root: &Root, map: &Map, key: &Vec<u8>) {
    let owned = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
    assert_eq!(tree.get(pages, root, key).unwrap().as_ref(), map.get(key));
    assert_eq!(tree.floor(pages, root, key).unwrap(), map.range(..=key.clone()).next_back().map(owned));
    assert_eq!(tree.ceiling(pages, root, key).unwrap(), map.range(key.clone()..).next().map(owned));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_tree_is_an_ordered_map(
        target in 64usize..1024,
        batches in proptest::collection::vec(batches(), 1..8),
        asked in proptest::collection::vec(keys(), 30),
    ) {
        let (tree, mut pages) = (tiny(target), MemoryPages::new());
        let (mut root, mut map) = (Root::EMPTY, Map::new());
        for batch in &batches {
            let (applied, next) = apply(tree, &mut pages, &root, &map, batch);
            // Old trees stay as they were, as long as what died is kept.
            prop_assert_eq!(&items_of(tree, &pages, &root), &map);
            (root, map) = (applied.root, next);
            for key in asked.iter().chain(batch.keys().take(20)) {
                check_lookups(tree, &pages, &root, &map, key);
            }
        }
    }

    #[test]
    fn ranges_are_those_of_the_map(
        target in 64usize..400,
        batch in batches(),
        a in keys(),
        b in keys(),
    ) {
        let (tree, mut pages) = (tiny(target), MemoryPages::new());
        let (applied, map) = apply(tree, &mut pages, &Root::EMPTY, &Map::new(), &batch);
        let (a, b) = if a <= b { (a, b) } else { (b, a) };
        let of_tree = |range: tree::Range<ByteStrings, _>| range.map(Result::unwrap).collect::<Map>();
        let owned = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
        let root = &applied.root;
        prop_assert_eq!(
            of_tree(tree.range(&pages, root, a.clone()..b.clone())),
            map.range(a.clone()..b.clone()).map(owned).collect::<Map>()
        );
        prop_assert_eq!(
            of_tree(tree.range(&pages, root, a.clone()..=b.clone())),
            map.range(a.clone()..=b.clone()).map(owned).collect::<Map>()
        );
        prop_assert_eq!(
            of_tree(tree.range_bytes(&pages, root, &a, None)),
            map.range(a.clone()..).map(owned).collect::<Map>()
        );
        prop_assert_eq!(of_tree(tree.range_bytes(&pages, root, &b, Some(&b))), Map::new());
    }

    #[test]
    fn a_diff_is_what_differs(
        target in 64usize..400,
        common in batches(),
        left in proptest::collection::vec(batches(), 0..3),
        right in proptest::collection::vec(batches(), 0..3),
    ) {
        let (tree, mut pages) = (tiny(target), MemoryPages::new());
        let (start, start_map) = apply(tree, &mut pages, &Root::EMPTY, &Map::new(), &common);
        let mut grow = |batches: &[Batch]| {
            batches.iter().fold((start.root, start_map.clone()), |(root, map), batch| {
                let (applied, map) = apply(tree, &mut pages, &root, &map, batch);
                (applied.root, map)
            })
        };
        let ((a, map_a), (b, map_b)) = (grow(&left), grow(&right));
        let found: Vec<_> = tree.diff(&pages, &a, &b).map(Result::unwrap).collect();
        prop_assert_eq!(&found, &differences(&map_a, &map_b));

        let born = births(tree, &pages, &a, &b);
        let after = found.into_iter().filter_map(|change| Some((change.key, change.after?)));
        prop_assert_eq!(born.1, after.collect::<Map>());
        let died = births(tree, &pages, &b, &a).0;
        let (pages_a, pages_b) = (pages_of(tree, &pages, &a), pages_of(tree, &pages, &b));
        prop_assert!(born.0.is_superset(&(&pages_b - &pages_a)) && born.0.is_subset(&pages_b));
        // What is stated although both have it is stated in both directions.
        prop_assert_eq!(&born.0 - &died, &pages_b - &pages_a);
        prop_assert_eq!(&died - &born.0, &pages_a - &pages_b);
        prop_assert_eq!(births(tree, &pages, &Root::EMPTY, &b), (pages_b, map_b));
    }

    #[test]
    fn a_tree_outlives_a_change_of_limits(
        targets in proptest::collection::vec(64usize..2000, 6),
        batches in proptest::collection::vec(batches(), 6),
    ) {
        let (mut pages, mut root, mut map) = (MemoryPages::new(), Root::EMPTY, Map::new());
        for (target, batch) in targets.iter().zip(&batches) {
            let tree = tiny(*target);
            let before = pages_of(tree, &pages, &root);
            let applied = tree.apply(&mut pages, &root, batch.clone()).unwrap();
            map = changed(&map, batch);
            let after = pages_of(tree, &pages, &applied.root);
            prop_assert_eq!(applied.born.into_iter().collect::<BTreeSet<_>>(), &after - &before);
            prop_assert_eq!(applied.died.into_iter().collect::<BTreeSet<_>>(), &before - &after);
            root = applied.root;
            prop_assert_eq!(tree.check(&pages, &root).unwrap().items, map.len() as u64);
            prop_assert_eq!(&items_of(tree, &pages, &root), &map);
        }
    }
}

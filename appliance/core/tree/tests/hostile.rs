//! Pages of any content: every operation on them ends, in bounded work, with a value or an error.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeMap;
use std::sync::Arc;

use model::codec::put_number;
use model::{ErrorKind, Name};
use proptest::prelude::*;
use tree::memory::MemoryPages;
use tree::{ByteStrings, Damage, Error, PageLimits, PageSink, PageSource, Root, Step, Tree};

type Strings = Tree<ByteStrings>;
type Item = (Vec<u8>, Vec<u8>);

/// Most pages that all operations on one tree of these tests may ask for.
const READS_MAX: u64 = 20_000;

fn tiny() -> Strings {
    Tree::new(PageLimits::new(128))
}

fn number(n: u32) -> Vec<u8> {
    n.to_be_bytes().to_vec()
}

/// Pages as they were given, whatever their names: what a source delivers that does not verify.
#[derive(Default)]
struct Planted(BTreeMap<Name, Arc<[u8]>>, MemoryPages);

impl PageSource for Planted {
    type Error = tree::memory::Absent;

    fn read(&self, name: &Name) -> Result<Arc<[u8]>, Self::Error> {
        let read = self.1.read(name);
        assert!(self.1.reads() < READS_MAX, "an operation does not end");
        self.0.get(name).cloned().map_or(read, Ok)
    }

    fn kind(_: &Self::Error) -> ErrorKind {
        ErrorKind::Missing
    }
}

impl PageSink for Planted {
    fn write(&mut self, bytes: Vec<u8>) -> Result<Name, Self::Error> {
        self.1.write(bytes)
    }
}

/// Runs every operation; says whether the check found the tree sound.
fn run_all(pages: &mut Planted, root: &Root, sound: &Root) -> Result<(), Error> {
    let tree = tiny();
    for key in [vec![], number(3), number(150), vec![0, 0, 1], vec![255; 300]] {
        let _ = tree.get(&*pages, root, &key);
        let _ = tree.floor(&*pages, root, &key);
        let _ = tree.ceiling(&*pages, root, &key);
        let _ = tree.range(&*pages, root, key.clone()..).count();
        let _ = tree.apply(pages, root, [(key.clone(), None)]);
        let _ = tree.apply(pages, root, [(key, Some(vec![1]))]);
    }
    for (a, b) in [(root, sound), (sound, root), (root, root)] {
        let _ = tree.diff(&*pages, a, b).count();
    }
    let scattered: Vec<_> = (0..40).map(|n| (number(n * 11), (n % 3 == 0).then(|| vec![2]))).collect();
    let _ = tree.apply(pages, root, scattered);
    let _ = tree.apply(pages, root, (0..400).map(|n| (number(n), None)));
    let _ = tree.walk_pages(&*pages, root, |_| Step::Into);
    if let Some(name) = root.name() {
        let _ = tree.leaf(&*pages, name).map(Iterator::count);
    }
    let keys: Result<Vec<Item>, Error> = tree.range(&*pages, root, ..).collect();
    if let Ok(items) = keys {
        assert!(items.is_sorted_by(|a, b| a.0 < b.0), "a range that ends well ascends");
    }
    tree.check(&*pages, root).map(drop)
}

/// A sound tree of three or more levels.
fn sound_tree() -> (Planted, Root) {
    let mut pages = Planted::default();
    let batch = (0..200).map(|n| (number(n * 2), Some(vec![5; (n % 9) as usize])));
    let root = tiny().apply(&mut pages, &Root::EMPTY, batch).unwrap().root;
    assert!(root.height() >= 3);
    (pages, root)
}

/// What is done to the bytes of a page.
#[derive(Clone, Debug)]
enum Mutation {
    Flip { at: prop::sample::Index, bits: u8 },
    Cut { at: prop::sample::Index },
    Insert { at: prop::sample::Index, bytes: Vec<u8> },
    Copy { from: prop::sample::Index, to: prop::sample::Index, length: usize },
    Count(u32),
}

fn mutations() -> impl Strategy<Value = Mutation> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        6 => (index(), 1u8..).prop_map(|(at, bits)| Mutation::Flip { at, bits }),
        1 => index().prop_map(|at| Mutation::Cut { at }),
        2 => (index(), prop::collection::vec(any::<u8>(), 1..20))
            .prop_map(|(at, bytes)| Mutation::Insert { at, bytes }),
        2 => (index(), index(), 1usize..60).prop_map(|(from, to, length)| Mutation::Copy { from, to, length }),
        1 => prop_oneof![any::<u32>(), 0u32..40].prop_map(Mutation::Count),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    if bytes.is_empty() {
        return;
    }
    match mutation {
        Mutation::Flip { at, bits } => {
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
        }
        Mutation::Cut { at } => bytes.truncate(at.index(bytes.len())),
        Mutation::Insert { at, bytes: new } => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, new.iter().copied());
        }
        Mutation::Copy { from, to, length } => {
            let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
            let length = (*length).min(bytes.len() - from).min(bytes.len() - to);
            bytes.copy_within(from..from + length, to);
        }
        Mutation::Count(count) if bytes.len() >= 8 => bytes[4..8].copy_from_slice(&count.to_le_bytes()),
        Mutation::Count(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300), level in 0u8..4, count: u8) {
        let (mut pages, sound) = sound_tree();
        let headed = [b"KP\x01", &[level, count, 0, 0, 0][..], &bytes].concat();
        for bytes in [bytes, headed] {
            let name = Name([1; 32]);
            pages.0.insert(name, bytes.into());
            let root = Root::from_parts(Some(name), level + 1, 77).unwrap();
            prop_assert!(run_all(&mut pages, &root, &sound).is_err());
        }
    }

    #[test]
    fn damaged_pages_are_survived(
        victims in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(mutations(), 1..4)), 1..4),
    ) {
        let (mut pages, root) = sound_tree();
        let names: Vec<_> = pages.1.iter().map(|(name, _)| name).collect();
        for (victim, mutations) in &victims {
            let name = *victim.get(&names);
            let mut bytes = pages.1.read(&name).unwrap().to_vec();
            mutations.iter().for_each(|mutation| mutate(&mut bytes, mutation));
            pages.0.insert(name, bytes.into());
        }
        let (_, sound) = sound_tree();
        let _ = run_all(&mut pages, &root, &sound);
    }

    #[test]
    fn pages_in_each_others_places_are_survived(
        swaps in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..5),
    ) {
        let (mut pages, root) = sound_tree();
        let names: Vec<_> = pages.1.iter().map(|(name, _)| name).collect();
        let mut differs = false;
        for (place, other) in &swaps {
            let (place, other) = (*place.get(&names), *other.get(&names));
            pages.0.insert(place, pages.1.read(&other).unwrap());
            differs |= place != other;
        }
        let displaced = pages.0.iter().any(|(name, bytes)| pages.1.read(name).unwrap() != *bytes);
        let found = run_all(&mut pages, &root, &root);
        prop_assert_eq!(found.is_err(), differs && displaced, "{:?}", found);
    }
}

fn offset(offset: usize) -> [u8; 4] {
    u32::try_from(offset).unwrap().to_le_bytes()
}

/// A page of whole keys: sound only if they ascend and share no prefix.
fn page(level: u8, entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = [b"KP\x01", &[level][..], &offset(entries.len())].concat();
    let mut restarts = Vec::new();
    for (index, (key, payload)) in entries.iter().enumerate() {
        if index % 16 == 0 {
            restarts.extend(offset(bytes.len()));
        }
        put_number(&mut bytes, 0);
        put_number(&mut bytes, key.len() as u64);
        put_number(&mut bytes, payload.len() as u64);
        bytes.extend([key.as_slice(), payload].concat());
    }
    [bytes, restarts].concat()
}

fn child(name: Name, items: u64) -> Vec<u8> {
    let mut payload = name.0.to_vec();
    put_number(&mut payload, items);
    payload
}

#[test]
fn a_page_that_states_the_same_child_again_and_again_does_not_multiply_work() {
    let mut pages = Planted::default();
    let leaf = pages.write(page(0, &[(vec![50], vec![])])).unwrap();
    let (mut below, mut items) = (leaf, 1);
    for level in 1..9 {
        let entries: Vec<_> = (0..100).map(|n| (vec![n], child(below, items))).collect();
        below = pages.write(page(level, &entries)).unwrap();
        items *= 100;
    }
    let root = Root::from_parts(Some(below), 9, items).unwrap();
    let sound = tiny().apply(&mut pages, &Root::EMPTY, [(vec![60], Some(vec![]))]).unwrap().root;
    let error = run_all(&mut pages, &root, &sound).unwrap_err();
    assert!(matches!(error, Error::Page { damage: Damage::Order, .. }), "{error:?}");
}

/// One check, many lies: each page is refused with the damage that it has.
#[test]
fn lies_are_found_by_the_check() {
    let one = |key: &[u8]| (key.to_vec(), vec![]);
    let good = page(0, &[one(b"a"), one(b"b")]);
    let cases: Vec<(&str, Vec<u8>, u64)> = vec![
        ("keys are out of order", page(0, &[one(b"b"), one(b"a")]), 2),
        ("keys are out of order", page(0, &[one(b"a"), one(b"a")]), 2),
        ("2 items stand where 3 are stated", good.clone(), 3),
        ("version 2 is not known", [b"KP\x02", &good[3..]].concat(), 2),
        ("magic of a page has an impossible value", [b"XP", &good[2..]].concat(), 2),
        ("level 1 stands where level 0 belongs", [b"KP\x01\x01", &good[4..]].concat(), 2),
        ("last entry is followed by unknown bytes", [&good[..16], &[0], &good[16..]].concat(), 2),
        ("number of entries of a page has an impossible value", page(0, &[]), 2),
        ("header of a page is cut off", good[..7].to_vec(), 2),
        ("an entry is too long", page(0, &[one(&[7; 301])]), 1),
        ("a restart point is misplaced", [&good[..good.len() - 4], &[9, 0, 0, 0]].concat(), 2),
    ];
    for (expected, bytes, items) in cases {
        let mut pages = Planted::default();
        let name = pages.write(bytes).unwrap();
        let root = Root::from_parts(Some(name), 1, items).unwrap();
        let error = tiny().check(&pages, &root).unwrap_err();
        let Error::Page { damage, .. } = error else { panic!("{expected}: {error:?}") };
        assert_eq!(damage.to_string(), expected);
    }
    let mut pages = Planted::default();
    let name = pages.write(good).unwrap();
    assert!(tiny().check(&pages, &Root::from_parts(Some(name), 1, 2).unwrap()).is_ok());
}

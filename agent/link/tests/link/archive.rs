//! Reading over a connection: parts are put together, and what is not what was asked for is an error.

use std::sync::Arc;

use chunk::NamingKey;
use link::RemoteArchive;
use model::archive::{Archive, ArchiveError, PointKey};
use model::item::{Extent, FileKind, Item, ItemKey, ItemRange};
use model::record::{Label, Machine, Point, Source, Totals, TreeRoot};
use model::{DomainId, EntryName, ErrorKind, MachineId, Name, ObjectId, SequenceNumber, SourceId, Time};
use wire::message::{ChunkResult, StoredChange, StoredItem};
use wire::{Reply, Request};

use super::played::{KEY, MACHINE, Sent, play};

const POINT: PointKey = PointKey { source: SourceId(1), number: 1 };

fn machine(id: u64, label: &str, domain: u64) -> Machine {
    let (id, label) = (MachineId(id), Label::new(label).unwrap());
    Machine { id, label, domain: DomainId(domain), added: Time(0), agent: None }
}

fn source(id: u64, machine: u64) -> Source {
    Source { id: SourceId(id), machine: MachineId(machine), label: Label::new("s").unwrap(), added: Time(0) }
}

/// An archive whose machines and sources are answered, the rest as the test says. Source 1 is ours, source 2 of
/// another machine in our domain, source 3 of a machine in another.
fn archive(mut answer: impl FnMut(Request) -> (Reply, Vec<u8>) + Send + 'static) -> RemoteArchive {
    let (connection, _) = play(move |asked| {
        let (reply, bulk) = match asked.request {
            Request::Machines => {
                let machines = vec![machine(1, MACHINE, 0), machine(2, "db", 0), machine(3, "alien", 1)];
                (Reply::Machines { machines }, vec![])
            }
            Request::Sources => {
                (Reply::Sources { sources: vec![source(1, 1), source(2, 2), source(3, 3)] }, vec![])
            }
            request => answer(request),
        };
        let sent: Sent = (asked.id, reply, bulk);
        Some(vec![sent])
    });
    RemoteArchive::new(Arc::new(connection))
}

fn chunk(number: usize) -> Vec<u8> {
    number.to_le_bytes().repeat(number % 50 + 1)
}

fn names(count: usize) -> Vec<Name> {
    let key = NamingKey::from_bytes(KEY);
    (0..count).map(|number| key.name(&chunk(number))).collect()
}

#[test]
fn chunks_that_come_in_parts_are_put_together() {
    let all = names(5000);
    let known = all.clone();
    let mut part = 0;
    let archive = archive(move |request| {
        let Request::Chunks { names, .. } = request else { panic!("{request:?}") };
        assert!(names.len() <= 4096);
        part = part % 700 + 1;
        let numbers: Vec<_> = names
            .iter()
            .take(part)
            .map(|name| known.iter().position(|known| known == name).unwrap())
            .collect();
        let missing = ArchiveError::missing("a chunk");
        let results = numbers.iter().map(|number| match number % 10 {
            3 => ChunkResult::Failed { error: missing.clone() },
            _ => ChunkResult::Bytes { length: u32::try_from(chunk(*number).len()).unwrap() },
        });
        let bulk = numbers.iter().filter(|number| *number % 10 != 3).flat_map(|number| chunk(*number));
        (Reply::Chunks { results: results.collect() }, bulk.collect())
    });
    let found = archive.chunks(POINT, &all).unwrap();
    assert_eq!(found.len(), all.len());
    for (number, result) in found.iter().enumerate() {
        match result {
            Ok(bytes) => assert_eq!(**bytes, chunk(number)),
            Err(error) => assert!(number % 10 == 3 && error.kind == ErrorKind::Missing),
        }
    }
    assert!(archive.chunks(POINT, &[]).unwrap().is_empty());
}

#[test]
fn a_chunk_with_other_bytes_is_an_error_of_its_own() {
    for (source, checked) in [(1, true), (2, true), (3, false)] {
        let archive = archive(move |_| {
            let results = vec![ChunkResult::Bytes { length: 3 }, ChunkResult::Bytes { length: 8 }];
            (Reply::Chunks { results }, [&b"lie"[..], &chunk(0)].concat())
        });
        let point = PointKey { source: SourceId(source), number: 1 };
        let names = vec![Name([9; 32]), names(1)[0]];
        let found = archive.chunks(point, &names).unwrap();
        match &found[0] {
            Err(error) => assert!(checked && error.kind == ErrorKind::Corrupt, "{source}: {error}"),
            Ok(bytes) => assert!(!checked && **bytes == *b"lie", "{source}: there is no key to check with"),
        }
        assert_eq!(**found[1].as_ref().unwrap(), chunk(0));
    }
}

#[test]
fn who_checks_chunks_himself_gets_them_as_they_came() {
    let checked =
        archive(|_| (Reply::Chunks { results: vec![ChunkResult::Bytes { length: 3 }] }, b"lie".to_vec()));
    let unchecked = RemoteArchive::unchecked(Arc::clone(checked.connection()));
    assert!(checked.chunks(POINT, &names(1)).unwrap()[0].is_err());
    assert_eq!(**unchecked.chunks(POINT, &names(1)).unwrap()[0].as_ref().unwrap(), *b"lie");
    assert!(unchecked.naming_key(POINT.source).unwrap().is_some(), "he has the key for it");
}

#[test]
fn a_single_chunk_is_checked_too() {
    let archive =
        archive(|_| (Reply::Chunks { results: vec![ChunkResult::Bytes { length: 3 }] }, b"lie".to_vec()));
    let found = archive.chunks(POINT, &names(1)).unwrap();
    assert_eq!(found[0].as_ref().unwrap_err().kind, ErrorKind::Corrupt);
}

#[test]
fn answers_about_chunks_that_do_not_fit_are_refused() {
    let bytes = |length| ChunkResult::Bytes { length };
    for (results, bulk) in [
        (vec![], vec![]),
        (vec![bytes(1), bytes(1), bytes(1)], vec![0; 3]),
        (vec![bytes(5)], vec![0; 4]),
        (vec![bytes(4)], vec![0; 5]),
        (vec![bytes(u32::MAX), bytes(u32::MAX)], vec![0; 5]),
    ] {
        let text = format!("{results:?}");
        let archive = archive(move |_| (Reply::Chunks { results: results.clone() }, bulk.clone()));
        let error = archive.chunks(POINT, &names(2)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt, "{text}: {error}");
    }
}

fn entry(number: u64) -> StoredItem {
    let name = EntryName::new(format!("{number:05}").as_bytes()).unwrap();
    let key = ItemKey::entry(ObjectId::ROOT, name).encode();
    StoredItem { key, value: Item::Entry(ObjectId(number), FileKind::File).encode() }
}

/// Answers listings from `all`, at most `most` at a time.
fn listing(all: Vec<StoredItem>, most: usize) -> RemoteArchive {
    archive(move |request| {
        let Request::Items { from, to, limit, .. } = request else { panic!("{request:?}") };
        let matching: Vec<_> = all.iter().filter(|item| item.key >= from && item.key < to).collect();
        let count = matching.len().min(limit as usize).min(most);
        let items = matching[..count].iter().map(|item| (*item).clone()).collect();
        (Reply::Items { items, more: count < matching.len() }, vec![])
    })
}

#[test]
fn items_that_come_in_parts_are_put_together() {
    let all: Vec<_> = (0..10_000).map(entry).collect();
    let range = ItemRange::entries(ObjectId::ROOT);
    for (limit, most, expected) in [(20_000, 333, 10_000), (7000, 4096, 7000), (5, 4096, 5), (0, 10, 0)] {
        let archive = listing(all.clone(), most);
        let found = archive.items(POINT, &range.start(), &range.end(), limit).unwrap();
        assert_eq!(found.len(), expected, "limit {limit}, {most} at a time");
        for ((key, _), stored) in found.iter().zip(&all) {
            assert_eq!(key.encode(), stored.key);
        }
    }
}

#[test]
fn listings_that_are_not_what_was_asked_for_are_refused() {
    let range = ItemRange::entries(ObjectId::ROOT);
    let outside = ItemKey::extent(ObjectId::ROOT, 0).encode();
    let value = Item::Extent(Extent::Hole { length: 5 }).encode();
    let cases = [
        ("repeated", vec![entry(2), entry(2)], false),
        ("out of order", vec![entry(2), entry(1)], false),
        ("beyond the end", vec![StoredItem { key: outside, value }], false),
        ("more than asked", (0..20).map(entry).collect(), false),
        ("no end", vec![], true),
        ("no key", vec![StoredItem { key: vec![0, 0, 0, 0, 0, 0, 0, 1, 1], value: vec![] }], false),
    ];
    for (what, items, more) in cases {
        let archive = archive(move |_| (Reply::Items { items: items.clone(), more }, vec![]));
        let error = archive.items(POINT, &range.start(), &range.end(), 10).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt, "{what}: {error}");
    }
}

#[test]
fn single_items_are_those_asked_for() {
    let stored = entry(5);
    let key = ItemKey::decode(&stored.key).unwrap();
    let (same, other) = (vec![stored.clone()], vec![entry(6)]);
    let archive = archive(move |request| {
        let items = match request {
            Request::Item { point, .. } if point.number == 2 => vec![],
            Request::Item { point, .. } if point.number == 3 => other.clone(),
            _ => same.clone(),
        };
        (Reply::Items { items, more: false }, vec![])
    });
    let at = |number| PointKey { source: SourceId(1), number };
    let expected = Item::Entry(ObjectId(5), FileKind::File);
    assert_eq!(archive.item(POINT, &key).unwrap(), Some(expected.clone()));
    assert_eq!(archive.item(at(2), &key).unwrap(), None);
    assert_eq!(archive.item(at(3), &key).unwrap_err().kind, ErrorKind::Corrupt);
    let (before, after) = (entry(4).key, entry(9).key);
    let found = archive.item_at_or_before(POINT, &before, &after).unwrap();
    assert_eq!(found, Some((key.clone(), expected)));
    let error = archive.item_at_or_before(POINT, &entry(6).key, &after).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt);
}

#[test]
fn changes_come_with_both_sides() {
    let stored = entry(5);
    let change = StoredChange { key: stored.key, before: None, after: Some(stored.value) };
    let archive = archive(move |request| {
        let Request::Changes { from, .. } = request else { panic!("{request:?}") };
        let changes = if from <= change.key { vec![change.clone()] } else { vec![] };
        (Reply::Changes { more: !changes.is_empty() && from.is_empty(), changes }, vec![])
    });
    let found = archive.changes(POINT, POINT, &[], 10).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].before, None);
    assert_eq!(found[0].after, Some(Item::Entry(ObjectId(5), FileKind::File)));
}

fn point(number: u64) -> Point {
    Point {
        source: SourceId(1),
        number,
        id: format!("p{number}"),
        sequence: SequenceNumber(number),
        started: Time(0),
        finished: Time(0),
        received: Time(0),
        root: TreeRoot::default(),
        totals: Totals::default(),
        exceptions: vec![],
        exceptions_count: 0,
        continuity: vec![],
        witnessed: None,
    }
}

#[test]
fn points_that_come_in_parts_are_put_together() {
    let archive = archive(|request| match request {
        Request::Points { from, .. } => {
            let points: Vec<_> = (from.max(1)..=25).take(10).map(point).collect();
            let more = points.last().is_some_and(|point| point.number < 25);
            (Reply::Points { points, more, damaged: None }, vec![])
        }
        _ => (Reply::Point { point: point(7) }, vec![]),
    });
    let found = archive.points(SourceId(1)).unwrap();
    assert_eq!(found.iter().map(|point| point.number).collect::<Vec<_>>(), (1..=25).collect::<Vec<_>>());
    assert!(archive.point(PointKey { source: SourceId(1), number: 7 }).is_ok());
    assert!(archive.point(PointKey { source: SourceId(1), number: 8 }).is_err(), "it sent another one");
}

#[test]
fn points_out_of_order_or_without_end_are_refused() {
    for (points, more) in [(vec![point(2), point(1)], false), (vec![], true), (vec![point(1)], true)] {
        let archive =
            archive(move |_| (Reply::Points { points: points.clone(), more, damaged: None }, vec![]));
        assert_eq!(archive.points(SourceId(1)).unwrap_err().kind, ErrorKind::Corrupt);
    }
}

#[test]
fn places_belong_to_their_names() {
    let archive = archive(|request| {
        let Request::Places { names, .. } = request else { panic!("{request:?}") };
        let places = names.iter().map(|name| u64::from(name.0[0])).collect();
        (Reply::Places { places }, vec![])
    });
    let names: Vec<_> = (0..9000usize).map(|n| Name([u8::try_from(n % 256).unwrap(); 32])).collect();
    let found = archive.places(POINT, &names).unwrap();
    assert!(found.iter().zip(&names).all(|(place, name)| *place == u64::from(name.0[0])));
    assert_eq!(found.len(), names.len());
    let short = self::archive(|_| (Reply::Places { places: vec![1] }, vec![]));
    assert!(short.places(POINT, &names[..2]).is_err());
}

#[test]
fn an_answer_to_another_question_is_an_error() {
    let archive = archive(|_| (Reply::Done, vec![]));
    let range = ItemRange::object(ObjectId::ROOT);
    let errors = [
        archive.points(SourceId(1)).unwrap_err(),
        archive.point(POINT).unwrap_err(),
        archive.items(POINT, &range.start(), &range.end(), 1).unwrap_err(),
        archive.changes(POINT, POINT, &[], 1).unwrap_err(),
        archive.chunks(POINT, &names(1)).unwrap_err(),
        archive.places(POINT, &names(1)).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
    }
}

//! Reading through the doors: all of a listing, whatever its size, and nothing without a grant.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use chunk::NamingKey;
use link::RemoteArchive;
use model::archive::{Archive, PointKey};
use model::item::{Item, ItemKey, ItemRange};
use model::{ErrorKind, Name, ObjectId, SourceId};
use wire::{Reply, Request};

use super::played::{Doors, KEY, noise, open};

const POINT: PointKey = PointKey { source: SourceId(1), number: 1 };

fn archive(doors: &Doors) -> RemoteArchive {
    RemoteArchive::new(Arc::new(doors.connect(1)))
}

/// Puts `count` extended attributes with values of `length` bytes there.
fn fill(doors: &Doors, count: u64, length: usize) {
    let mut items = doors.played.items.lock().unwrap();
    for number in 0..count {
        let key = ItemKey::xattr(ObjectId(1), format!("user.{number:06}").as_bytes());
        items.insert(key.encode(), (key, Item::Xattr(vec![7; length])));
    }
}

#[test]
fn a_long_listing_comes_whole() {
    let doors = open();
    fill(&doors, 20_000, 10);
    let range = ItemRange::object(ObjectId(1));
    let archive = archive(&doors);
    let found = archive.items(POINT, &range.start(), &range.end(), usize::MAX).unwrap();
    assert_eq!(found.len(), 20_000);
    assert!(found.is_sorted_by(|a, b| a.0.encode() < b.0.encode()));
    assert_eq!(archive.items(POINT, &range.start(), &range.end(), 4500).unwrap().len(), 4500);
    assert_eq!(archive.changes(POINT, POINT, &[], usize::MAX).unwrap().len(), 20_000);
}

#[test]
fn a_listing_of_large_items_is_cut_to_what_fits() {
    let doors = open();
    fill(&doors, 200, 65_536);
    let range = ItemRange::object(ObjectId(1));
    let connection = doors.connect(2);
    let request = Request::Items { point: POINT, from: range.start(), to: range.end(), limit: u32::MAX };
    let (reply, _) = connection.request(request).unwrap();
    let Reply::Items { items, more } = reply else { panic!("{reply:?}") };
    assert!(more && (30..=40).contains(&items.len()), "{}", items.len());
    let found = archive(&doors).items(POINT, &range.start(), &range.end(), usize::MAX).unwrap();
    assert_eq!(found.len(), 200);
}

#[test]
fn single_items_and_points_are_found() {
    let doors = open();
    fill(&doors, 3, 10);
    let archive = archive(&doors);
    let key = |name: &[u8]| ItemKey::xattr(ObjectId(1), name);
    assert_eq!(archive.item(POINT, &key(b"user.000001")).unwrap(), Some(Item::Xattr(vec![7; 10])));
    assert_eq!(archive.item(POINT, &key(b"user.x")).unwrap(), None);
    let (from, at) = (ItemRange::object(ObjectId(1)).start(), key(b"user.000001z").encode());
    let found = archive.item_at_or_before(POINT, &from, &at).unwrap().unwrap();
    assert_eq!(found.0, key(b"user.000001"));
    assert_eq!(archive.point(POINT).unwrap().id, "point-1");
    let missing = archive.point(PointKey { number: 0, ..POINT }).unwrap_err();
    assert_eq!(missing.kind, ErrorKind::Missing);
}

#[test]
fn more_points_than_fit_a_frame_come_whole() {
    let doors = open();
    let found = archive(&doors).points(SourceId(1)).unwrap();
    assert_eq!(found.len(), 30_000);
}

#[test]
fn chunks_of_every_size_come_whole_and_in_order() {
    let doors = open();
    let key = NamingKey::from_bytes(KEY);
    let mut names = Vec::new();
    let mut expected = Vec::new();
    for number in 0..600u64 {
        let length = [9, 700, 20_000, 131_072, 1 << 20][usize::try_from(number % 5).unwrap()];
        let bytes = noise(number, length);
        names.push(key.name(&bytes));
        if number % 7 == 0 {
            expected.push(None);
        } else {
            doors.played.chunks.lock().unwrap().insert(key.name(&bytes), bytes.clone());
            expected.push(Some(bytes));
        }
    }
    let found = archive(&doors).chunks(POINT, &names).unwrap();
    assert_eq!(found.len(), names.len());
    for (found, expected) in found.iter().zip(&expected) {
        match (found, expected) {
            (Ok(found), Some(expected)) => assert!(found[..] == expected[..]),
            (Err(error), None) => assert_eq!(error.kind, ErrorKind::Missing),
            _ => panic!("{found:?}"),
        }
    }
}

#[test]
fn thousands_of_chunks_that_are_gone_are_an_answer_too() {
    let doors = open();
    let names = vec![Name([1; 32]); 4096];
    let found = archive(&doors).chunks(POINT, &names).unwrap();
    assert!(found.iter().all(Result::is_err));
    assert!(found[0].as_ref().unwrap_err().message.len() <= 300);
    assert_eq!(archive(&doors).places(POINT, &names).unwrap(), vec![Name([1; 32]).prefix(); 4096]);
}

#[test]
fn without_a_grant_nothing_is_read() {
    let doors = open();
    doors.played.readable.store(false, Ordering::SeqCst);
    let archive = archive(&doors);
    assert_eq!(archive.machines().unwrap_err().kind, ErrorKind::Refused);
    assert_eq!(archive.points(SourceId(1)).unwrap_err().kind, ErrorKind::Refused);
    assert!(RemoteArchive::new(Arc::new(doors.operator())).machines().is_ok());
}

#[test]
fn a_reader_that_does_not_read_holds_up_nobody_and_little_memory() {
    let doors = open();
    let key = NamingKey::from_bytes(KEY);
    let bytes = noise(1, 1 << 20);
    let names = vec![key.name(&bytes); 4];
    doors.played.chunks.lock().unwrap().insert(names[0], bytes);
    let mut lazy = super::operator::Raw::agent(&doors, 1);
    lazy.greet();
    for id in 10..70 {
        lazy.ask(id, &Request::Chunks { point: POINT, names: names.clone() });
    }
    let other = RemoteArchive::new(Arc::new(doors.connect(2)));
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(other.chunks(POINT, &names).unwrap().len(), 4);
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // Once it reads, it gets everything.
    let mut answered = 0;
    while answered < 60 {
        let (id, reply) = lazy.next().expect("an answer");
        match reply {
            Reply::Chunks { results } => {
                assert!(id >= 10 && results.len() == 4);
                answered += 1;
            }
            Reply::Credit { bytes: 0 } => {}
            other => panic!("{other:?}"),
        }
    }
}

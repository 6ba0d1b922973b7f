//! Damage is an error at the bytes that are damaged, and nowhere else.

use model::ObjectId;
use model::archive::{ArchiveError, PointKey};
use model::item::{Extent, FileKind, Inode, Item, ItemKey};
use view::{OpenFile, View};

use crate::memory::{Memory, attributes, name_of};
use crate::reading::{noise, open};

/// Reads a file as `cat` does, but goes on one byte behind each error; for each byte, what was read there.
fn read_around(view: &View, file: &OpenFile, size: usize, step: u64) -> Vec<Option<u8>> {
    let mut found = Vec::new();
    while found.len() < size {
        match file.read(view, found.len() as u64, step) {
            Ok(bytes) => {
                assert!(!bytes.is_empty(), "the file ends early, at {}", found.len());
                found.extend(bytes.into_iter().map(Some));
            }
            Err(_) => found.push(None),
        }
    }
    found
}

#[test]
fn a_damaged_chunk_is_an_error_at_exactly_its_bytes() {
    let memory = Memory::default();
    let point = memory.point(0, 1);
    let content = noise(100_000, 1);
    memory.file(point, 2, b"file", &content, 7_001);
    for bad in [3, 4, 9] {
        memory.damage_chunk(name_of(content.chunks(7_001).nth(bad).unwrap()));
    }
    let expected: Vec<Option<u8>> = content
        .iter()
        .enumerate()
        .map(|(at, byte)| (![3, 4, 9].contains(&(at / 7_001))).then_some(*byte))
        .collect();
    for (threads, step) in [(0, 4096), (0, 1 << 20), (2, 10_000), (0, 1), (0, 7_001)] {
        let view = memory.view_with(threads);
        assert!(read_around(&view, &open(&view, b"file"), content.len(), step) == expected, "{step}");
    }
    let view = memory.view();
    let file = open(&view, b"file");
    assert!(file.read(&view, 3 * 7_001, 1).is_err());
    memory.repair();
    assert_eq!(file.read(&view, 3 * 7_001, 10).unwrap(), content[3 * 7_001..][..10], "and it recovers");
}

#[test]
fn extents_that_cannot_be_read_hide_their_bytes_only() {
    let memory = Memory::default();
    let point = memory.point(0, 1);
    let content = noise(50_000, 2);
    memory.file(point, 2, b"file", &content, 1_000);
    memory.damage_key(&ItemKey::extent(ObjectId(2), 20_000));
    let view = memory.view();
    let found = read_around(&view, &open(&view, b"file"), content.len(), 4096);
    for (at, byte) in found.iter().enumerate() {
        let expected = (!(20_000..21_000).contains(&at)).then(|| content[at]);
        assert_eq!(*byte, expected, "byte {at}");
    }
}

#[test]
fn missing_extents_and_lying_lengths_are_errors_and_never_zeros() {
    let memory = Memory::default();
    let point = memory.point(0, 1);
    let bytes = noise(1_000, 3);
    let name = memory.chunk(&bytes);
    let chunk = |length| Item::Extent(Extent::Chunk { name, skip: 0, length });
    // A gap at 1000, an extent longer than its chunk at 2000, a gap at the end.
    memory.put(point, ItemKey::extent(ObjectId(2), 0), chunk(1_000));
    memory.put(point, ItemKey::extent(ObjectId(2), 2_000), chunk(1_500));
    memory.entry(point, 1, b"file", 2, FileKind::File);
    memory.inode(point, 2, attributes(FileKind::File), 5_000);
    let view = memory.view();
    let found = read_around(&view, &open(&view, b"file"), 5_000, 300);
    for (at, byte) in found.iter().enumerate() {
        let expected = match at {
            0..1_000 => Some(bytes[at]),
            2_000..3_000 => Some(bytes[at - 2_000]),
            _ => None,
        };
        // A read that reaches behind the chunk gives nothing of what it asked for there.
        assert!(*byte == expected || (2_700..3_000).contains(&at), "byte {at}: {byte:?}");
    }
    let key = PointKey { source: crate::memory::SOURCE, number: point };
    let _: Result<Inode, ArchiveError> = model::browse::inode(&memory, key, ObjectId(2));
}

//! Contents: any part of any file, holes, and what is fetched ahead.

use model::ObjectId;
use model::item::{Extent, FileKind, Item, ItemKey};
use proptest::prelude::*;
use view::{OpenFile, View, ViewError, Whence};

use crate::memory::{Memory, attributes};

pub(crate) fn open(view: &View, name: &[u8]) -> OpenFile {
    let path = [&b"web1"[..], b"home", b"points", b"2027-01-15T08-00-00Z", name];
    let number = path
        .into_iter()
        .fold(View::ROOT, |number, name| view.lookup(number, name).unwrap().attributes.number);
    view.open_file(number).unwrap()
}

pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A part of a file with holes.
#[derive(Clone, Debug)]
enum Part {
    Data(usize, usize),
    Hole(usize),
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let part = prop_oneof![
        3 => (1_usize..5000, 0_usize..100).prop_map(|(length, skip)| Part::Data(length, skip)),
        1 => (1_usize..20_000).prop_map(Part::Hole),
    ];
    prop::collection::vec(part, 0..40)
}

/// Stores a file of parts; its content, and for each byte whether it is in a hole.
fn store(memory: &Memory, point: u64, parts: &[Part]) -> (Vec<u8>, Vec<bool>) {
    let (mut content, mut holes) = (Vec::new(), Vec::new());
    for (number, part) in parts.iter().enumerate() {
        let key = ItemKey::extent(ObjectId(2), content.len() as u64);
        let extent = match *part {
            Part::Data(length, skip) => {
                let bytes = noise(skip + length + 7, number as u64);
                content.extend_from_slice(&bytes[skip..skip + length]);
                let (skip, length) = (u32::try_from(skip).unwrap(), u32::try_from(length).unwrap());
                Extent::Chunk { name: memory.chunk(&bytes), skip, length }
            }
            Part::Hole(length) => {
                content.resize(content.len() + length, 0);
                Extent::Hole { length: length as u64 }
            }
        };
        holes.resize(content.len(), matches!(part, Part::Hole(_)));
        memory.put(point, key, Item::Extent(extent));
    }
    memory.entry(point, 1, b"file", 2, FileKind::File);
    memory.inode(point, 2, attributes(FileKind::File), content.len() as u64);
    (content, holes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_part_is_read_as_it_is(parts in parts(), reads in prop::collection::vec((any::<prop::sample::Index>(), 0_u64..9000), 20)) {
        let memory = Memory::default();
        let point = memory.point(0, 1);
        let (content, holes) = store(&memory, point, &parts);
        let view = memory.view();
        let file = open(&view, b"file");
        for (offset, length) in reads {
            let offset = offset.index(content.len() + 2);
            let end = content.len().min(offset + usize::try_from(length).unwrap());
            let expected = content.get(offset..end).unwrap_or_default();
            prop_assert_eq!(&*file.read(&view, offset as u64, length).unwrap(), expected);
            for (whence, is_hole) in [(Whence::Data, false), (Whence::Hole, true)] {
                let found = file.seek(&view, offset as u64, whence);
                let wanted = (offset..content.len()).find(|at| holes[*at] == is_hole);
                let wanted = match wanted {
                    Some(at) => Ok(at as u64),
                    None if is_hole && offset < content.len() => Ok(content.len() as u64),
                    None => Err(ViewError::BehindEnd),
                };
                prop_assert_eq!(found, wanted);
            }
        }
    }
}

#[test]
fn a_sequential_reader_finds_what_it_wants_fetched_once() {
    let memory = Memory::default();
    let point = memory.point(0, 1);
    let content = noise(20 << 20, 1);
    memory.file(point, 2, b"file", &content, 100_000);
    for threads in [0, 2] {
        let view = memory.view_with(threads);
        let file = open(&view, b"file");
        let mut read = Vec::new();
        while read.len() < content.len() {
            let bytes = file.read(&view, read.len() as u64, 128 << 10).unwrap();
            assert!(!bytes.is_empty());
            read.extend(bytes);
        }
        assert!(read == content);
        drop(view);
        let mut fetched = memory.fetched();
        let count = fetched.len();
        fetched.sort_unstable();
        fetched.dedup();
        assert_eq!((count, fetched.len()), (210, 210), "each chunk once, with {threads} threads");
    }
}

#[test]
fn many_readers_see_the_same() {
    let memory = Memory::default();
    let point = memory.point(0, 1);
    let content = noise(6 << 20, 2);
    memory.file(point, 2, b"file", &content, 70_000);
    let view = memory.view_with(2);
    std::thread::scope(|scope| {
        for reader in 0..8_usize {
            let (view, content) = (&view, &content);
            scope.spawn(move || {
                let file = open(view, b"file");
                for at in 0..60_usize {
                    let offset = (at * 777_777 + reader * 333_333) % content.len();
                    let bytes = file.read(view, offset as u64, 200_000).unwrap();
                    assert!(bytes == content[offset..content.len().min(offset + 200_000)]);
                }
            });
        }
    });
}

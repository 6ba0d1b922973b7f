//! What a backup must not do to the pool: name bytes that no chunk has, or fill its memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use chunk::{BundleLimits, Compressor, Decompressor, Level, VerifiedBuilder, VerifiedBundle};
use journal::{Closing, Ingest, IngestError, Ingested};
use medium::sim::{SimClock, SimDisk, SimEntropy};
use model::item::{Attributes, FileKind, XATTR_VALUE_LENGTH_MAX};
use model::operation::{Content, Operation};
use model::record::{Label, Machine, Source};
use model::{EntryName, ErrorKind, Name, ObjectId, SequenceNumber, Time};
use pool::keys::Unlock;
use pool::{Options, Pool, World};

fn pool() -> Pool {
    let world = World {
        disk: Arc::new(SimDisk::new(1)),
        clock: Arc::new(SimClock::new(Time(0))),
        entropy: Arc::new(SimEntropy::new(1)),
    };
    let key = Unlock::KeyFile(zeroize::Zeroizing::new([7; 32]));
    Pool::create(world, &[key], Options::default()).unwrap()
}

fn source(pool: &mut Pool, name: &str) -> (Machine, Source) {
    let machine = pool.add_machine(&Label::new(name).unwrap(), false).unwrap();
    let source = pool.add_source(machine.id, &Label::new("home").unwrap()).unwrap();
    (machine, source)
}

fn bundle(pool: &Pool, machine: &Machine, bytes: &[u8]) -> (Name, VerifiedBundle) {
    let mut builder = VerifiedBuilder::new(BundleLimits::default());
    let name = builder.push(&pool.shared().keys().naming(machine.domain), bytes).unwrap();
    let bundle = builder.finish(&mut Compressor::default(), &mut Decompressor::default(), Level::default());
    (name, bundle.unwrap())
}

fn make(object: u64) -> Operation {
    let attributes = Attributes::new(FileKind::File, 0o644);
    let name = EntryName::new(format!("file {object}").as_bytes()).unwrap();
    Operation::Make { directory: ObjectId::ROOT, name, object: ObjectId(object), attributes }
}

fn write(object: u64, name: Name, skip: u32, length: u32) -> Operation {
    let content = Content::Chunk { name, skip, length };
    Operation::Write { object: ObjectId(object), offset: 0, content }
}

#[test]
fn an_extent_stays_within_its_chunk() {
    let mut pool = pool();
    let (first, of_first) = source(&mut pool, "web1");
    let (second, of_second) = source(&mut pool, "web2");
    let (name, sent) = bundle(&pool, &first, b"hello");
    pool.put_bundle(&pool.shared().begin_session(), first.id, of_first.id, sent).unwrap();
    // Not yet in the catalog, in the catalog, and there as the copy of another machine.
    for round in 0..3 {
        if round > 0 {
            pool.commit(Vec::new()).unwrap();
            pool.flush_catalog().unwrap();
        }
        let (_, adopted) = bundle(&pool, &second, b"hello");
        pool.put_bundle(&pool.shared().begin_session(), second.id, of_second.id, adopted).unwrap();
        for (skip, length) in [(0, 6), (4, 2), (5, 1), (100, 500_000), (1 << 20, 0)] {
            let mut ingest = Ingest::begin(Arc::clone(pool.shared()), of_second.clone(), None).unwrap();
            let operations = [make(2), write(2, name, 0, 5), make(7), write(7, name, skip, length)];
            let error = ingest.operations(SequenceNumber(1), &operations).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{skip} {length}: {error}");
            if length > 0 {
                let end = skip + length;
                let said = format!(
                    "operation 4 puts bytes up to {end} of chunk {name} into object 7; the chunk has 5"
                );
                assert!(matches!(error, IngestError::BehindChunk { .. }));
                assert_eq!(error.to_string(), said);
            }
        }
    }
    let (unknown, _) = bundle(&pool, &second, b"never sent");
    let mut ingest = Ingest::begin(Arc::clone(pool.shared()), of_second.clone(), None).unwrap();
    let operations = [make(2), write(2, unknown, 0, 500_000), make(3), write(3, name, 1, 4)];
    assert_eq!(ingest.operations(SequenceNumber(1), &operations).unwrap(), 4);
    let closing = Closing { last: SequenceNumber(4), ..Closing::default() };
    let ended = ingest.finish(&mut pool, closing).unwrap();
    assert!(matches!(ended, Ingested::Lacking(names) if names == [unknown]));
    let mut ingest = Ingest::begin(Arc::clone(pool.shared()), of_second, None).unwrap();
    let operations = [make(2), write(2, name, 0, 5), make(3), write(3, name, 1, 4)];
    assert_eq!(ingest.operations(SequenceNumber(1), &operations).unwrap(), 4);
    let closing = Closing { last: SequenceNumber(4), ..Closing::default() };
    assert!(matches!(ingest.finish(&mut pool, closing).unwrap(), Ingested::Point(_)));
    assert_eq!(pool.shared().verify(None).unwrap().damage, [""; 0]);
}

#[test]
fn operations_stop_where_memory_is_full_and_go_on_after_a_flush() {
    let mut pool = pool();
    let (_, source) = source(&mut pool, "web1");
    let mut ingest = Ingest::begin(Arc::clone(pool.shared()), source, None).unwrap();
    let xattr = |number: u32| {
        let (name, value) = (format!("user.{number}").into_bytes(), vec![7; XATTR_VALUE_LENGTH_MAX]);
        Operation::SetXattr { object: ObjectId(2), name, value }
    };
    let operations: Vec<Operation> = std::iter::once(make(2)).chain((0..1500).map(xattr)).collect();
    let (mut taken, mut parts) = (0, Vec::new());
    loop {
        let first = SequenceNumber(1 + taken as u64);
        let part = ingest.operations(first, &operations[taken..]).unwrap();
        taken += part;
        parts.push(part);
        if !ingest.wants_flush() {
            break;
        }
        ingest.flush(&mut pool).unwrap();
    }
    assert_eq!(taken, operations.len());
    let held = parts.iter().max().unwrap() * XATTR_VALUE_LENGTH_MAX;
    assert!(held <= 33 << 20, "{held} bytes waited at once");
    let closing = Closing { last: SequenceNumber(taken as u64), ..Closing::default() };
    let Ingested::Point(point) = ingest.finish(&mut pool, closing).unwrap() else {
        panic!("nothing is lacking")
    };
    // The root, the entry, the file and what was set on it.
    assert_eq!(point.root.items, 3 + 1500);
}

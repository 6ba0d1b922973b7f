//! The test vectors of FORMAT.md are what is written, and are read as what they say.

use std::collections::BTreeMap;

use chunk::{Commitment, Entry};
use model::record::{Label, Machine, Point, Source, Totals, TreeRoot};
use model::{CommitNumber, DomainId, MachineId, Name, SegmentNumber, SequenceNumber, SourceId, Time};
use pool::header::{Member, PoolHeader};
use pool::keys::Unlock;
use pool::layout::{SegmentHeader, SegmentKind};
use pool::record::{
    CommitMark, FrameIndex, Record, RecordsBody, SegmentLength, decode_frame_indexes, encode_frame_index,
};
use zeroize::Zeroizing;

/// Names and bytes of the vectors: a line with a name in backticks, then lines of hexadecimal digits.
fn vectors() -> BTreeMap<String, Vec<u8>> {
    let (_, text) = include_str!("../../FORMAT.md").split_once("## Test vectors").unwrap();
    let mut vectors = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some((title, _)) = line.strip_prefix('`').and_then(|title| title.split_once("`, ")) {
            name = title.to_owned();
        } else if !line.is_empty() && line.bytes().all(|b| b.is_ascii_hexdigit()) {
            let digits = |at: usize| u8::from_str_radix(&line[at..at + 2], 16).unwrap();
            let bytes = (0..line.len()).step_by(2).map(digits);
            vectors.entry(name.clone()).or_insert_with(Vec::new).extend(bytes);
        }
    }
    vectors
}

fn vector(name: &str) -> Vec<u8> {
    vectors().remove(name).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_header_of_a_pool() {
    let mut header = PoolHeader::decode(&vector("header")).unwrap();
    let key = Unlock::KeyFile(Zeroizing::new([2; 32]));
    assert_eq!(key.open(&header.slots, &header.pool).unwrap(), Zeroizing::new([9; 32]));
    assert_eq!(hex(&header.encode().unwrap()), hex(&vector("header")));
    header.slots.clear();
    let (pool, drive) = ([0x11; 16], [0x22; 16]);
    let (made, members) = (Time(4), vec![Member { drive }]);
    assert_eq!(header, PoolHeader { version: 1, pool, drive, epoch: 3, made, members, slots: Vec::new() });
}

#[test]
fn the_header_of_a_segment() {
    let number = SegmentNumber(0x1f);
    let (pool, drive) = ([0x11; 16], [0x22; 16]);
    let (salt, commitment) = ([0x33; 32], Commitment([0x44; 32]));
    let header = SegmentHeader {
        kind: SegmentKind::Meta,
        number,
        pool,
        drive,
        salt,
        commitment,
        after: CommitNumber(9),
    };
    assert_eq!(hex(&header.encode()), hex(&vector("segment header")));
    assert_eq!(
        SegmentHeader::decode(vector("segment header").first_chunk().unwrap(), number).unwrap(),
        header
    );
}

#[test]
fn an_index() {
    let entries = [(0x55, 5), (0x66, 300)].map(|(name, length)| Entry { name: Name([name; 32]), length });
    let index = FrameIndex {
        segment: SegmentNumber(2),
        offset: 192,
        sealed_length: 400,
        owner: MachineId(1),
        entries: entries.to_vec(),
    };
    let mut bytes = Vec::new();
    encode_frame_index(&mut bytes, &index);
    assert_eq!(hex(&bytes), hex(&vector("index")));
    assert_eq!(decode_frame_indexes(&vector("index")).unwrap(), [index]);
}

fn check(name: &str, body: &RecordsBody) {
    assert_eq!(hex(&minicbor::to_vec(body).unwrap()), hex(&vector(name)), "{name}");
    assert_eq!(minicbor::decode::<RecordsBody>(&vector(name)).unwrap(), *body, "{name}");
}

#[test]
fn records() {
    let label = |text| Label::new(text).unwrap();
    let (machine, source, added) = (MachineId(1), SourceId(2), Time(1_000_000_000));
    let point = Point {
        source,
        number: 3,
        id: "2001-09-09T01-46-40Z".into(),
        sequence: SequenceNumber(70),
        started: Time(1),
        finished: Time(2),
        received: Time(3),
        root: TreeRoot { page: Some(Name([0x77; 32])), height: 1, items: 12 },
        totals: Totals { files: 4, directories: 5, bytes: 6, ..Totals::default() },
        exceptions: Vec::new(),
        exceptions_count: 0,
        continuity: vec![0x88; 16],
        witnessed: None,
    };
    let records = vec![
        Record::Machine(Machine {
            id: machine,
            label: label("web1"),
            domain: DomainId(0),
            added,
            agent: None,
        }),
        Record::Source(Source { id: source, machine, label: label("home"), added }),
        Record::Point(Box::new(point)),
        Record::Setting { key: "name".into(), value: Some(b"value".to_vec()) },
        Record::Setting { key: "gone".into(), value: None },
        Record::Adopted { machine, names: vec![Name([0x55; 32])] },
    ];
    check("records", &RecordsBody { records, mark: None });
}

#[test]
fn a_mark() {
    let lengths = vec![SegmentLength { segment: SegmentNumber(2), length: 704 }];
    let mark = CommitMark {
        number: CommitNumber(10),
        previous: [0x99; 32],
        at: Time(1_000_000_000),
        lengths,
        base: None,
    };
    check("mark", &RecordsBody { records: Vec::new(), mark: Some(mark) });
}

#[test]
fn every_vector_is_checked() {
    let names: Vec<_> = vectors().into_keys().collect();
    assert_eq!(names, ["header", "index", "mark", "records", "segment header"]);
}

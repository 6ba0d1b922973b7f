//! The test vectors of FORMAT.md are what is written, and are read as what they say.

use std::collections::BTreeMap;

use model::{SegmentNumber, Time};

use crate::parity::{BLOCK, Encoder, Head, Slot};
use crate::superblock::{MemberEntry, MemberState, SetRecord, Superblock};
use crate::{DriveUuid, EpochId, Policy, PoolUuid};

/// Names and bytes of the vectors: a line with a name in backticks, then lines of hexadecimal digits.
fn vectors() -> BTreeMap<String, Vec<u8>> {
    let (_, text) = include_str!("../FORMAT.md").split_once("## Test vectors").unwrap();
    let mut vectors = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some((title, _)) = line.strip_prefix('`').and_then(|title| title.split_once("`, ")) {
            name = title.to_owned();
        } else if !line.is_empty() && line.bytes().all(|b| b.is_ascii_hexdigit()) {
            let bytes =
                (0..line.len()).step_by(2).map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap());
            vectors.entry(name.clone()).or_insert_with(Vec::new).extend(bytes);
        }
    }
    vectors
}

/// Compares what is written, without the zeros at its end, with a vector.
fn check(name: &str, written: &[u8]) -> Vec<u8> {
    let used = written.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let vector = vectors().remove(name).unwrap_or_default();
    assert_eq!(hex(&written[..used]), hex(&vector), "{name}");
    vector
}

#[test]
fn the_superblock() {
    let entry =
        |byte: u8, state, since, catalog| MemberEntry { drive: DriveUuid([byte; 16]), state, since, catalog };
    let members = vec![
        entry(0x22, MemberState::InService, 1, true),
        entry(0x33, MemberState::Out, 2, false),
        entry(0x44, MemberState::Retiring, 2, false),
    ];
    let policy = Policy::Parity { data: 4, parity: 2 };
    let mut set = SetRecord { lineage: Vec::new(), members, policy, is_asked: true };
    set.push_epoch(EpochId([0x55; 16]), Time(5));
    set.push_epoch(EpochId([0x66; 16]), Time(1_000_000_000));
    let superblock = Superblock { version: 1, pool: PoolUuid([0x11; 16]), drive: DriveUuid([0x22; 16]), set };
    let vector = check("superblock", &superblock.encode().unwrap());
    assert_eq!(Superblock::decode(&vector).unwrap(), superblock);
}

#[test]
fn the_head_of_a_parity_file() {
    let slot = |segment, length| {
        Some(Slot { segment: SegmentNumber(segment), length, drive: DriveUuid([0x22; 16]) })
    };
    let head = Head {
        version: 1,
        pool: PoolUuid([0x11; 16]),
        group: 31,
        replaces: Some(30),
        index: 1,
        parity: 2,
        block_length: 65_536,
        blocks: 2_049,
        slots: vec![slot(7, 134_217_800), None, slot(9, 134_000_000)],
        table: [0x77; 32],
    };
    let vector = check("parity head", &head.encode());
    assert_eq!(Head::decode(&vector), Some(head));
}

#[test]
fn the_code() {
    // The first 64 bytes of four data shards that count up from 0, 64, 128 and 192.
    let data: Vec<Vec<u8>> = (0..4_u8)
        .map(|shard| {
            let mut block: Vec<u8> = (0..64).map(|byte| shard * 64 + byte).collect();
            block.resize(BLOCK, 0);
            block
        })
        .collect();
    let parity = Encoder::new(4, 2).unwrap().encode(&data).unwrap();
    check("parity", &[&parity[0][..64], &parity[1][..64]].concat());
}

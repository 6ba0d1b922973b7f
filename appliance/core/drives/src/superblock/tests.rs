//! Superblocks byte by byte.

use super::*;

pub(crate) fn sample() -> Superblock {
    let mut set = SetRecord {
        lineage: Vec::new(),
        members: vec![
            MemberEntry { drive: DriveUuid([2; 16]), state: MemberState::InService, since: 1, catalog: true },
            MemberEntry { drive: DriveUuid([3; 16]), state: MemberState::Out, since: 2, catalog: false },
        ],
        policy: Policy::Parity { data: 4, parity: 2 },
        is_asked: true,
    };
    set.push_epoch(EpochId([4; 16]), Time(5));
    set.push_epoch(EpochId([6; 16]), Time(7));
    Superblock { version: 1, pool: PoolUuid([1; 16]), drive: DriveUuid([2; 16]), set }
}

#[test]
fn every_flip_and_every_cut_of_a_copy_is_seen() {
    let superblock = sample();
    let bytes = superblock.encode().unwrap();
    assert_eq!(Superblock::decode(&bytes).unwrap(), superblock);
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    assert!(used < 512);
    for bit in 0..used * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Superblock::decode(&flipped).is_err(), "bit {bit}");
    }
    for length in 0..used {
        assert!(Superblock::decode(&bytes[..length]).is_err(), "length {length}");
    }
}

#[test]
fn a_later_version_is_said_and_not_called_damage() {
    let mut superblock = sample();
    superblock.version = 2;
    let result = Superblock::decode(&superblock.encode().unwrap());
    assert!(matches!(result, Err(DrivesError::Version { found: 2, known: 1 })), "{result:?}");
}

#[test]
fn what_is_sound_and_makes_no_sense_is_damage() {
    type Change = fn(&mut Superblock);
    let changes: [Change; 4] = [
        |s| s.set.lineage.clear(),
        |s| s.set.lineage.reverse(),
        |s| s.drive = DriveUuid([9; 16]),
        |s| s.set.policy = Policy::Copies(0),
    ];
    for change in changes {
        let mut superblock = sample();
        change(&mut superblock);
        assert!(matches!(Superblock::decode(&superblock.encode().unwrap()), Err(DrivesError::Damaged)));
    }
}

#[test]
fn the_lineage_is_bounded_and_keeps_the_newest() {
    let mut set = sample().set;
    let old = set.epoch();
    for n in 0..100_u8 {
        set.push_epoch(EpochId([n; 16]), Time(0));
    }
    assert_eq!((set.lineage.len(), set.epoch().number), (64, 102));
    assert!(!set.descends_from(old) && set.descends_from(set.epoch()));
    assert!(!set.descends_from(Epoch { number: 102, id: EpochId([0; 16]), at: Time(0) }));
}

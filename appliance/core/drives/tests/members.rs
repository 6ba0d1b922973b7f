//! Which drives a set takes, and what it says of the others.

#![expect(clippy::unwrap_used, reason = "a test says by it what must not fail")]

mod world;

use std::sync::Arc;

use drives::{DriveSet, DrivesError, MemberState, Opened, Policy, PoolUuid, Task};
use medium::sim::{Fault, FaultPlan, Random, SimDisk, Survival};
use medium::{Access, Disk, Poisoning};
use model::ErrorKind;
use world::{POOL, Rig, bytes, get, path, prepare, put, work};

const TWO: Policy = Policy::Copies(2);

fn fresh(drives: usize) -> Rig {
    let rig = Rig::new(1, drives);
    let set = rig.create(TWO);
    prepare(&set);
    put(&set, 1, &bytes(1, 9_000)).unwrap();
    drop(set);
    rig
}

fn open(disks: &[&SimDisk], rig: &Rig) -> Result<Opened, DrivesError> {
    let disks: Vec<Arc<dyn Disk>> = disks
        .iter()
        .map(|disk| Arc::new(Poisoning::new(Arc::new((*disk).clone()))) as Arc<dyn Disk>)
        .collect();
    DriveSet::open(&disks, None, rig.world.clone())
}

#[test]
fn drives_are_known_in_any_order() {
    let rig = fresh(3);
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
        let opened = rig.open_with(&order);
        assert!(opened.refused.is_empty() && opened.missing.is_empty());
        assert_eq!(get(&opened.set, &path(1)).unwrap(), bytes(1, 9_000));
        assert_eq!((opened.set.pool(), opened.set.policy(), opened.set.epoch()), (POOL, TWO, 1));
    }
}

#[test]
fn a_missing_drive_is_out_and_comes_back_stale() {
    let rig = fresh(3);
    let opened = rig.open_with(&[0, 2]);
    assert_eq!(opened.missing.len(), 1);
    assert_eq!(opened.set.members()[1].state, MemberState::Out);
    put(&opened.set, 2, &bytes(2, 500)).unwrap();
    work(&opened.set);
    assert_eq!(opened.set.at_risk(), []);
    drop(opened);
    let opened = rig.open();
    let [(1, DrivesError::Stale { found: 1, .. })] = opened.refused[..] else {
        panic!("{:?}", opened.refused);
    };
    assert!(opened.missing.is_empty(), "it is known to be out");
    let drive = opened.set.rejoin(rig.hand(1)).unwrap();
    work(&opened.set);
    assert_eq!(
        (opened.set.members()[1].drive, opened.set.members()[1].state),
        (drive, MemberState::InService)
    );
    drop(opened);
    let opened = rig.open();
    assert!(opened.refused.is_empty(), "{:?}", opened.refused);
}

#[test]
fn drives_that_are_nobodys_or_anothers_are_left_alone() {
    let rig = fresh(2);
    let other = Rig::new(9, 1);
    let set =
        DriveSet::create(&other.handed(), PoolUuid([8; 16]), Policy::Copies(1), other.world.clone()).unwrap();
    drop(set);
    let (empty, foreign) = (SimDisk::new(3), &other.disks[0]);
    let before = (empty.operations(), foreign.operations());
    let result = open(&[&rig.disks[0], foreign], &rig);
    assert!(matches!(result, Err(DrivesError::Ambiguous { .. })), "{result:?}");
    let disks: Vec<Arc<dyn Disk>> = vec![rig.hand(0), Arc::new(empty.clone()), other.hand(0), rig.hand(1)];
    let opened = DriveSet::open(&disks, Some(POOL), rig.world.clone()).unwrap();
    let [(1, DrivesError::NotMember), (2, DrivesError::Foreign { found, .. })] = &opened.refused[..] else {
        panic!("{:?}", opened.refused);
    };
    assert_eq!(*found, PoolUuid([8; 16]));
    assert_eq!((empty.operations(), foreign.operations()), before, "nothing was written to them");
    let result = opened.set.rejoin(other.hand(0));
    assert!(matches!(result, Err(DrivesError::Foreign { .. })), "{result:?}");
    let result = opened.set.add(other.hand(0));
    assert!(matches!(result, Err(DrivesError::NotEmpty { .. })), "{result:?}");
    let result = open(&[&empty], &rig);
    assert!(matches!(result, Err(DrivesError::NoMember)), "{result:?}");
}

#[test]
fn of_two_clones_neither_is_taken() {
    let rig = fresh(3);
    let clone = rig.disks[1].snapshot();
    let opened = open(&[&rig.disks[0], &rig.disks[1], &rig.disks[2], &clone], &rig).unwrap();
    let kinds: Vec<_> = opened.refused.iter().map(|(place, error)| (*place, error.kind())).collect();
    assert_eq!(kinds, [(1, ErrorKind::Refused), (3, ErrorKind::Refused)]);
    assert!(matches!(opened.refused[0].1, DrivesError::Cloned { .. }));
    assert_eq!(get(&opened.set, &path(1)).unwrap(), bytes(1, 9_000));
    drop(opened);
    let opened = rig.open_with(&[0, 2]);
    let clone = rig.disks[0].snapshot();
    let result = opened.set.rejoin(Arc::new(clone));
    assert!(matches!(result, Err(DrivesError::Cloned { .. })), "{result:?}");
}

#[test]
fn parts_that_went_on_alone_are_not_merged() {
    let rig = fresh(2);
    drop(rig.open_with(&[0]));
    drop(rig.open_with(&[1]));
    let result = open(&[&rig.disks[0], &rig.disks[1]], &rig);
    assert!(matches!(result, Err(DrivesError::Split { epoch: 1, .. })), "{result:?}");
    // One part changes once more: it counts, the other one has diverged.
    let opened = rig.open_with(&[0]);
    opened.set.add(Arc::new(Poisoning::new(Arc::new(SimDisk::new(77))))).unwrap();
    drop(opened);
    let opened = rig.open();
    let [(1, DrivesError::Diverged { found: 2, .. })] = opened.refused[..] else {
        panic!("{:?}", opened.refused)
    };
    let result = opened.set.rejoin(rig.hand(1));
    assert!(matches!(result, Err(DrivesError::Diverged { .. })), "{result:?}");
}

/// The power goes in the middle of a change, and once more when the others go on without the drive that had it first.
#[test]
fn two_interrupted_changes_that_know_nothing_of_each_other_do_not_part_the_set() {
    for (first, second) in (0..40).flat_map(|first| (0..40).map(move |second| (first, second))) {
        let what = format!("cut {first} and {second}");
        let rig = fresh(4);
        let set = rig.open().set;
        rig.power.cut_after(first);
        let _ = set.retire(set.members()[3].drive);
        drop(set);
        let rig = rig.crash(&mut Random::new(first));
        rig.power.cut_after(second);
        let disks: Vec<_> = [1, 2, 3].map(|place| rig.hand(place)).into();
        drop(DriveSet::open(&disks, None, rig.world.clone()));
        let rig = rig.crash(&mut Random::new(second));
        let Opened { set, refused, .. } = rig.open();
        assert!(refused.len() <= 1, "{what}: {refused:?}");
        for (place, error) in refused {
            assert!(matches!(error, DrivesError::Stale { .. }), "{what}: {error:?}");
            set.rejoin(rig.hand(place)).unwrap();
        }
        work(&set);
        assert_eq!(set.at_risk(), [], "{what}");
        assert_eq!(get(&set, &path(1)).unwrap(), bytes(1, 9_000), "{what}");
    }
}

/// A drive goes on without the others as far as one copy of its superblock, twice, and is away when they go on.
#[test]
fn what_was_never_confirmed_does_not_count_however_new_it_is() {
    let mut both_failed = 0;
    for (first, second) in (0..25).flat_map(|first| (0..25).map(move |second| (first, second))) {
        let what = format!("cut {first} and {second}");
        let rig = fresh(3);
        let cut = |rig: &Rig, places: &[usize], after: u64| {
            rig.power.cut_after(after);
            let disks: Vec<_> = places.iter().map(|place| rig.hand(*place)).collect();
            DriveSet::open(&disks, None, rig.world.clone()).is_err()
        };
        let is_cut = cut(&rig, &[0, 1], first);
        let rig = rig.crash(&mut Random::new(1000 + first));
        let is_cut = cut(&rig, &[0], second) && is_cut;
        let rig = rig.crash(&mut Random::new(5000 + second * 31));
        // Where the first drive has two copies alike, it had confirmed that it goes on alone.
        let copies = rig.disks[0].files();
        if !is_cut || copies["member.0"] == copies["member.1"] {
            continue;
        }
        both_failed += 1;
        let set = rig.open_with(&[1, 2]).set;
        put(&set, 9, &bytes(9, 9_000)).unwrap();
        drop(set);
        // Where both parts were confirmed there is no choice, and none is made.
        let all = match DriveSet::open(&rig.handed(), None, rig.world.clone()) {
            Err(DrivesError::Split { .. }) => continue,
            all => all.unwrap(),
        };
        assert_eq!(get(&all.set, &path(9)).unwrap(), bytes(9, 9_000), "{what}");
        for (place, error) in all.refused {
            assert!(matches!(error, DrivesError::Stale { .. }), "{what}: {error:?}");
            all.set.rejoin(rig.hand(place)).unwrap();
        }
        work(&all.set);
        assert_eq!(all.set.at_risk(), [], "{what}");
        [1, 9].iter().for_each(|number| {
            assert_eq!(get(&all.set, &path(*number)).unwrap(), bytes(*number, 9_000), "{what}");
        });
    }
    assert!(both_failed > 50, "{both_failed}");
}

/// The power goes in the middle of a change; the drive that had it first is away when the others go on, and comes back.
#[test]
fn an_interrupted_change_that_one_drive_took_with_it_does_not_part_the_set() {
    for cut in 0..40 {
        let rig = fresh(4);
        let set = rig.open().set;
        let drive = set.members()[3].drive;
        rig.power.cut_after(cut);
        let is_done = set.retire(drive).is_ok();
        drop(set);
        let rig = rig.crash(&mut Random::new(cut));
        let set = rig.open_with(&[1, 2, 3]).set;
        assert!(!is_done || set.members()[3].state == MemberState::Retiring, "cut {cut}");
        put(&set, 2, &bytes(2, 9_000)).unwrap();
        drop(set);
        let Opened { set, refused, .. } = rig.open();
        let [(0, DrivesError::Stale { .. })] = refused[..] else { panic!("cut {cut}: {refused:?}") };
        assert_eq!(set.rejoin(rig.hand(0)).unwrap(), set.members()[0].drive);
        work(&set);
        assert_eq!(set.at_risk(), [], "cut {cut}");
        for number in [1, 2] {
            assert_eq!(get(&set, &path(number)).unwrap(), bytes(number, 9_000), "cut {cut}");
        }
    }
}

#[test]
fn a_retired_drive_says_so() {
    let rig = fresh(3);
    let set = rig.open().set;
    let drive = set.members()[0].drive;
    set.retire(drive).unwrap();
    work(&set);
    assert_eq!(set.members()[0].state, MemberState::Retired);
    assert_eq!(set.at_risk(), []);
    drop(set);
    assert_eq!(rig.disks[0].list("").unwrap().iter().filter(|name| !name.starts_with("member.")).count(), 0);
    let opened = rig.open();
    assert!(matches!(opened.refused[..], [(0, DrivesError::Retired { .. })]), "{:?}", opened.refused);
    let result = opened.set.rejoin(rig.hand(0));
    assert!(matches!(result, Err(DrivesError::Retired { .. })), "{result:?}");
    drop(opened);
    // Also when only the others know.
    let rig = fresh(3);
    let set = rig.open().set;
    let kept = rig.disks[0].snapshot();
    set.retire(set.members()[0].drive).unwrap();
    work(&set);
    drop(set);
    let opened = open(&[&kept, &rig.disks[1], &rig.disks[2]], &rig).unwrap();
    assert!(matches!(opened.refused[..], [(0, DrivesError::Retired { .. })]), "{:?}", opened.refused);
}

#[test]
fn a_set_is_opened_once() {
    let rig = fresh(2);
    let set = rig.open().set;
    let result = open(&[&rig.disks[0], &rig.disks[1]], &rig);
    assert!(matches!(result, Err(DrivesError::InUse { .. })), "{result:?}");
    drop(set);
    open(&[&rig.disks[0], &rig.disks[1]], &rig).unwrap();
}

#[test]
fn one_sound_superblock_is_enough_and_the_others_are_mended() {
    let rig = fresh(2);
    let superblock = &rig.disks[0].files()["member.0"];
    let length = superblock.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
    for bit in 0..length * 8 {
        for copy in 0..3 {
            let image = rig.image(Survival::Everything, &mut Random::new(1));
            for other in (0..3).filter(|other| *other != copy) {
                image.disks[0].flip(&format!("member.{other}"), bit).unwrap();
            }
            let opened = image.open();
            assert!(opened.refused.is_empty(), "bit {bit}: {:?}", opened.refused);
            drop(opened);
            let files = image.disks[0].files();
            let used = |copy: usize| files[&format!("member.{copy}")].clone();
            assert!(used(0) == used(1) && used(1) == used(2), "bit {bit} of all but {copy} stays damaged");
        }
    }
    for copy in 0..3 {
        rig.disks[0].flip(&format!("member.{copy}"), 200).unwrap();
    }
    let opened = rig.open();
    assert!(matches!(opened.refused[..], [(0, DrivesError::Damaged)]), "{:?}", opened.refused);
    assert_eq!(opened.refused[0].1.kind(), ErrorKind::Corrupt);
}

/// What a change of members leaves on the drives that were written, if it stops after some of the changes.
#[test]
fn an_interrupted_change_loses_no_member() {
    for cut in 0..60 {
        let rig = fresh(3);
        let set = rig.open().set;
        let drive = set.members()[2].drive;
        rig.power.cut_after(cut);
        let done = set.drop_out(drive).is_ok();
        drop(set);
        let after = rig.crash(&mut Random::new(cut));
        let opened = after.open();
        let out = opened.set.members()[2].state == MemberState::Out;
        assert!(out || !done, "cut {cut}: what was acknowledged is forgotten");
        let refused: Vec<_> = opened.refused.iter().map(|(place, _)| *place).collect();
        assert_eq!(refused, if out { vec![2] } else { vec![] }, "cut {cut}: {:?}", opened.refused);
        assert_eq!(get(&opened.set, &path(1)).unwrap(), bytes(1, 9_000));
    }
}

/// Another change begins when a drive is lost before the interrupted one is completed, and is interrupted as well.
#[test]
fn changes_interrupted_one_after_the_other_lose_no_member() {
    for (first, second) in (0..20).flat_map(|first| (0..40).map(move |second| (first, second))) {
        let rig = fresh(4);
        let set = rig.open().set;
        let drive = set.members()[3].drive;
        rig.power.cut_after(first);
        let done = set.retire(drive).is_ok();
        drop(set);
        let rig = rig.crash(&mut Random::new(first));
        rig.power.cut_after(second);
        let places: Vec<_> = [0, 2, 3].iter().map(|place| rig.hand(*place)).collect();
        let opened = DriveSet::open(&places, None, rig.world.clone());
        drop(opened);
        let rig = rig.crash(&mut Random::new(second));
        let Opened { set, refused, .. } = rig.open_with(&[0, 2, 3]);
        assert!(refused.is_empty(), "cuts {first}, {second}: {refused:?}");
        assert!(!done || set.members()[3].state == MemberState::Retiring, "cuts {first}, {second}");
        assert_eq!(get(&set, &path(1)).unwrap(), bytes(1, 9_000));
    }
}

#[test]
fn a_member_that_lost_what_it_confirmed_is_stale() {
    let rig = fresh(3);
    let set = rig.open().set;
    // It says that it has written the next epochs, and has not.
    rig.disks[1].fail(FaultPlan::lasting(Fault::LyingSync, 1));
    set.drop_out(set.members()[2].drive).unwrap();
    drop(set);
    let mut random = Random::new(1);
    let disks: Vec<SimDisk> = [Survival::Everything, Survival::Nothing, Survival::Everything]
        .iter()
        .zip(&rig.disks)
        .map(|(survival, disk)| disk.crash_with(*survival, &mut random))
        .collect();
    let opened = open(&[&disks[0], &disks[1]], &rig).unwrap();
    assert!(matches!(opened.refused[..], [(1, DrivesError::Stale { .. })]), "{:?}", opened.refused);
}

#[test]
fn a_single_directory_is_taken_in_as_it_is() {
    let rig = Rig::new(4, 3);
    let disk = &rig.disks[0];
    disk.make_directory("segments").unwrap();
    for (path, content) in [
        (path(1), bytes(1, 70_000)),
        ("header.0".into(), b"x".to_vec()),
        ("catalog.redb".into(), bytes(2, 9_000)),
    ] {
        let file = disk.create(&path).unwrap();
        file.write_at(0, &content).unwrap();
        file.sync_data().unwrap();
    }
    disk.sync_directory("segments").unwrap();
    disk.sync_directory("").unwrap();
    let drive = drives::DriveUuid([5; 16]);
    let set = DriveSet::adopt(rig.hand(0), drive, POOL, TWO, rig.world.clone()).unwrap();
    assert_eq!(set.members()[0].drive, drive);
    assert_eq!(get(&set, &path(1)).unwrap(), bytes(1, 70_000));
    assert_eq!(set.at_risk().len(), 1);
    set.add(rig.hand(1)).unwrap();
    work(&set);
    assert_eq!(set.at_risk(), []);
    drop(set);
    let alone = rig.open_with(&[1]);
    assert_eq!(get(&alone.set, &path(1)).unwrap(), bytes(1, 70_000));
    assert_eq!(get(&alone.set, "header.0").unwrap(), b"x");
    assert_eq!(get(&alone.set, "catalog.redb").unwrap(), bytes(2, 9_000));
    let result = DriveSet::adopt(rig.hand(0), drive, POOL, TWO, rig.world.clone());
    assert!(matches!(result, Err(DrivesError::NotEmpty { .. })), "{result:?}");
}

#[test]
fn a_drive_that_comes_back_never_serves_old_bytes() {
    let rig = fresh(3);
    let set = rig.open().set;
    put(&set, 2, &bytes(2, 5_000)).unwrap();
    put(&set, 3, &bytes(3, 5_000)).unwrap();
    let held: Vec<u64> =
        (1..4).filter(|number| rig.disks[0].open(&path(*number), Access::Read).is_ok()).collect();
    let (kept, removed) = (held[0], held[1]);
    set.drop_out(set.members()[0].drive).unwrap();
    // A segment is changed, one is removed, one is made under a number that was used, and a header is replaced.
    let file = set.open(&path(kept), Access::ReadWrite).unwrap();
    file.write_at(0, b"changed").unwrap();
    file.sync_data().unwrap();
    drop(file);
    set.remove(&path(removed)).unwrap();
    set.sync_directory("segments").unwrap();
    let header = set.create("header.0").unwrap();
    header.write_at(0, b"second").unwrap();
    header.sync_data().unwrap();
    set.sync_directory("").unwrap();
    for reopened in [false, true] {
        let image = rig.image(Survival::Everything, &mut Random::new(1));
        let set = image.open_with(&[1, 2]).set;
        set.rejoin(image.hand(0)).unwrap();
        let check = |set: &DriveSet, what: &str| {
            let found = get(set, &path(kept)).unwrap();
            assert!(found.starts_with(b"changed"), "{what}");
            assert!(get(set, &path(removed)).is_err(), "{what}: it is back");
            assert_eq!(get(set, "header.0").unwrap(), b"second", "{what}");
        };
        check(&set, "at once");
        let set = if reopened {
            drop(set);
            image.open().set
        } else {
            set
        };
        check(&set, "opened anew");
        work(&set);
        check(&set, "after work");
        let file = set.open(&path(kept), Access::Read).unwrap();
        for copy in 0..file.copies() {
            let mut found = [0; 7];
            file.read_copy(copy, 0, &mut found).unwrap();
            assert_eq!(&found, b"changed", "copy {copy}");
        }
        drop((file, set));
        // Only the one that came back is there.
        let alone = image.open_with(&[0]).set;
        assert!(get(&alone, &path(removed)).is_err());
        assert_eq!(get(&alone, "header.0").unwrap(), b"second");
        assert!(get(&alone, &path(kept)).map_or(true, |found| found.starts_with(b"changed")));
    }
}

#[test]
fn what_only_the_returning_drive_has_is_taken_over() {
    let rig = Rig::new(1, 2);
    let set = rig.create(Policy::Copies(1));
    prepare(&set);
    for number in 1..=6 {
        put(&set, number, &bytes(number, 3_000)).unwrap();
    }
    set.drop_out(set.members()[0].drive).unwrap();
    let lost = (1..=6).filter(|number| get(&set, &path(*number)).is_err()).count();
    assert!(lost > 0 && set.at_risk().len() == lost, "{:?}", set.at_risk());
    set.rejoin(rig.hand(0)).unwrap();
    for number in 1..=6 {
        assert_eq!(get(&set, &path(number)).unwrap(), bytes(number, 3_000));
    }
}

#[test]
fn the_last_drive_stays() {
    let rig = fresh(2);
    let set = rig.open().set;
    let drives: Vec<_> = set.members().iter().map(|member| member.drive).collect();
    set.drop_out(drives[0]).unwrap();
    assert!(matches!(set.drop_out(drives[1]), Err(DrivesError::LastMember { .. })));
    assert!(matches!(set.retire(drives[1]), Err(DrivesError::LastMember { .. })));
    assert!(matches!(set.retire(drives::DriveUuid([0; 16])), Err(DrivesError::Unknown { .. })));
    assert_eq!(get(&set, &path(1)).unwrap(), bytes(1, 9_000));
}

#[test]
fn the_last_drive_is_written_also_if_it_is_to_be_emptied() {
    let rig = Rig::new(5, 3);
    let set = rig.create(TWO);
    prepare(&set);
    let drives: Vec<_> = set.members().iter().map(|member| member.drive).collect();
    set.retire(drives[2]).unwrap();
    set.drop_out(drives[0]).unwrap();
    set.drop_out(drives[1]).unwrap();
    work(&set);
    assert_eq!(set.members()[2].state, MemberState::Retiring, "it is empty, and all that there is");
    assert!(set.space().unwrap().available_bytes > 0);
    put(&set, 1, &bytes(1, 9_000)).unwrap();
    put_catalog(&set);
    work(&set);
    drop(set);
    let set = rig.open_with(&[2]).set;
    assert_eq!(get(&set, &path(1)).unwrap(), bytes(1, 9_000));
    assert_eq!(get(&set, "catalog.redb").unwrap(), b"the catalog");
}

fn put_catalog(set: &DriveSet) {
    let catalog = set.create("catalog.redb").unwrap();
    catalog.write_at(0, b"the catalog").unwrap();
    catalog.sync_data().unwrap();
    set.sync_directory("").unwrap();
}

#[test]
fn what_makes_no_sense_is_not_made() {
    let rig = Rig::new(1, 2);
    for policy in [Policy::Copies(3), Policy::Copies(0), Policy::Parity { data: 2, parity: 1 }] {
        let result = DriveSet::create(&rig.handed(), POOL, policy, rig.world.clone());
        assert!(matches!(result, Err(DrivesError::Policy { .. })), "{result:?}");
    }
    drop(rig.create(TWO));
    let result = DriveSet::create(&rig.handed(), POOL, TWO, rig.world.clone());
    assert!(matches!(result, Err(DrivesError::NotEmpty { .. })), "{result:?}");
}

#[test]
fn another_policy_is_taken_as_far_as_drives_allow() {
    let rig = Rig::new(3, 4);
    let set = rig.create(Policy::Copies(1));
    prepare(&set);
    for number in 1..=6 {
        put(&set, number, &bytes(number, 9_000)).unwrap();
    }
    work(&set);
    let copies = |set: &DriveSet| set.members().iter().map(|member| member.segments).sum::<usize>();
    assert_eq!(copies(&set), 6);
    assert!(matches!(set.set_policy(Policy::Copies(5)), Err(DrivesError::Policy { .. })));
    set.set_policy(TWO).unwrap();
    assert_eq!(set.at_risk().len(), 6);
    work(&set);
    assert_eq!((copies(&set), set.at_risk()), (12, vec![]));
    let parity = Policy::Parity { data: 2, parity: 1 };
    set.set_policy(parity).unwrap();
    work(&set);
    assert_eq!((set.policy(), set.at_risk()), (parity, vec![]));
    assert!(copies(&set) < 12, "parity has taken the place of copies");
    for policy in [TWO, parity, Policy::Parity { data: 3, parity: 1 }] {
        set.set_policy(policy).unwrap();
        work(&set);
        assert_eq!((set.policy(), set.at_risk()), (policy, vec![]));
        let kept_once = if policy == TWO { 0 } else { 6 };
        assert_eq!(12 - copies(&set), kept_once, "{policy:?}");
    }
    drop(set);
    let opened = rig.open();
    assert_eq!((opened.set.policy(), opened.used.len()), (Policy::Parity { data: 3, parity: 1 }, 4));
    for number in 1..=6 {
        assert_eq!(get(&opened.set, &path(number)).unwrap(), bytes(number, 9_000));
    }
}

#[test]
fn a_set_that_is_let_go_of_in_the_middle_of_its_work_keeps_no_drive() {
    for policy in [TWO, Policy::Parity { data: 2, parity: 1 }] {
        let rig = Rig::new(5, 3);
        let set = rig.create(Policy::Copies(1));
        prepare(&set);
        for number in 1..=4 {
            put(&set, number, &bytes(number, 200_000)).unwrap();
        }
        set.set_policy(policy).unwrap();
        let step = || set.step(1, &|_| true).unwrap().task.unwrap();
        let is_middle = |task: &Task| match policy {
            Policy::Copies(_) => matches!(task, Task::Copying { .. }),
            Policy::Parity { .. } => matches!(task, Task::Parity { .. }),
        };
        while !is_middle(&step()) {}
        drop(set);
        let opened = rig.open();
        assert_eq!((opened.used.len(), opened.refused.len()), (3, 0), "{policy:?}");
        work(&opened.set);
        assert_eq!(opened.set.at_risk(), []);
    }
}

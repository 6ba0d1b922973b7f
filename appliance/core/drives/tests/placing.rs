//! Where shards and copies are put when there are few drives, and that what is said of them is so.

#![expect(clippy::unwrap_used, reason = "a test says by it what must not fail")]

mod world;

use drives::{MemberState, Policy, Task};
use medium::Disk;
use medium::sim::{Fault, FaultPlan, Random, SimDisk, Survival};
use world::{Rig, bytes, get, path, prepare, put, work};

const TWO: Policy = Policy::Copies(2);

/// Shards of a group that came to lie on one drive go with it: that is said, and ends as soon as there is another drive.
#[test]
fn shards_beside_each_other_are_at_risk_until_they_are_apart() {
    let mut rig = Rig::new(1, 4);
    let set = rig.create_pair(1, 9_000);
    let holder =
        |rig: &Rig, what: &str| rig.disks.iter().position(|disk| disk.files().contains_key(what)).unwrap();
    let (first, second) = (holder(&rig, &path(1)), holder(&rig, &path(2)));
    let drive = |place: usize| set.members()[place].drive;
    set.drop_out(drive(second)).unwrap();
    work(&set);
    assert_eq!(set.at_risk(), [], "it is remade elsewhere");
    let other =
        (0..4).find(|place| *place != second && rig.disks[*place].files().contains_key(&path(2))).unwrap();
    set.drop_out(drive(first)).unwrap();
    set.rejoin(rig.hand(second)).unwrap();
    while !matches!(set.step(64 << 10, &|_| true).unwrap().task, Some(Task::Comparing { .. })) {}
    set.drop_out(drive(other)).unwrap();
    let both = rig.disks[second].files();
    assert!(both.contains_key(&path(1)) && both.contains_key(&path(2)), "they are beside each other");
    assert_eq!(set.at_risk().len(), 2, "whoever loses that drive loses both");
    rig.disks.push(SimDisk::new(99));
    set.add(rig.hand(4)).unwrap();
    work(&set);
    assert_eq!(set.at_risk(), []);
    for lost in (0..5).filter(|place| ![first, other].contains(place)) {
        let image = rig.image(Survival::Everything, &mut Random::new(1));
        let kept: Vec<usize> = (0..5).filter(|place| ![first, other, lost].contains(place)).collect();
        let opened = image.open_with(&kept);
        for number in [1, 2] {
            assert!(
                get(&opened.set, &path(number)).unwrap() == bytes(number, 9_000),
                "{number} without {lost}"
            );
        }
    }
}

/// Copies that are too many are removed when every shard has its place: where they are, another shard may go.
#[test]
fn copies_that_are_too_many_do_not_keep_a_drive_from_being_emptied() {
    for leaves in [1, 2] {
        let rig = Rig::new(1, 4);
        let set = rig.create_pair(1, 9_000);
        let holds = |rig: &Rig, number: u64| {
            (0..4).filter(|at| rig.disks[*at].files().contains_key(&path(number))).collect()
        };
        let (first, second): (Vec<usize>, Vec<usize>) = (holds(&rig, 1), holds(&rig, 2));
        assert_eq!((first.len(), second.len()), (1, 1));
        let drive = |place: usize| set.members()[place].drive;
        set.drop_out(drive(first[0])).unwrap();
        work(&set);
        set.rejoin(rig.hand(first[0])).unwrap();
        while !matches!(set.step(64 << 10, &|_| true).unwrap().task, Some(Task::Comparing { .. })) {}
        assert_eq!(holds(&rig, 1).len(), 2, "the first segment is there twice");
        let parity =
            (0..4).find(|place| ![first[0], second[0]].contains(place) && has_parity(&rig, *place)).unwrap();
        set.retire(drive(if leaves == 1 { second[0] } else { parity })).unwrap();
        work(&set);
        assert_eq!(set.at_risk(), []);
        let retired = set.members().iter().filter(|member| member.state == MemberState::Retired).count();
        assert_eq!(retired, 1, "{:?}", set.members());
        assert_eq!(holds(&rig, 1).len(), 1, "and once in the end");
    }
}

fn has_parity(rig: &Rig, place: usize) -> bool {
    rig.disks[place].files().keys().any(|path| path.starts_with("parity/"))
}

#[test]
fn what_is_written_while_a_drive_is_emptied_has_all_its_copies() {
    let rig = Rig::new(2, 2);
    let set = rig.create(Policy::Copies(2));
    prepare(&set);
    set.retire(set.members()[0].drive).unwrap();
    put(&set, 1, &bytes(1, 5_000)).unwrap();
    assert_eq!(set.at_risk(), []);
    assert!(rig.disks.iter().all(|disk| disk.files().contains_key(&path(1))));
}

#[test]
fn what_is_written_goes_to_the_copy_that_was_made_again_and_not_to_the_one_that_was_removed() {
    let rig = Rig::new(25, 2);
    let set = rig.create(TWO);
    prepare(&set);
    let file = set.create(&path(1)).unwrap();
    let content = bytes(1, 3_000);
    file.write_at(0, &content[..1_000]).unwrap();
    file.sync_data().unwrap();
    set.sync_directory("segments").unwrap();
    // Nobody writes between the one and the other.
    set.set_policy(Policy::Copies(1)).unwrap();
    assert!(work(&set) > 0);
    set.set_policy(TWO).unwrap();
    assert!(work(&set) > 0);
    file.write_at(1_000, &content[1_000..]).unwrap();
    file.sync_data().unwrap();
    for disk in &rig.disks {
        let disk = disk.image(Survival::Nothing, &mut Random::new(1));
        assert_eq!(get(&disk, &path(1)).unwrap(), content, "each drive has all of it");
    }
}

#[test]
fn a_drive_that_cannot_be_read_does_not_keep_others_from_being_added() {
    let mut rig = Rig::new(3, 3);
    let set = rig.create(Policy::Copies(2));
    let header = set.create("header.0").unwrap();
    header.write_at(0, b"the header").unwrap();
    header.sync_data().unwrap();
    set.sync_directory("").unwrap();
    rig.disks[0].fail(FaultPlan::lasting(Fault::Error, 0).on_reads());
    rig.disks.push(SimDisk::new(99));
    set.add(rig.hand(3)).unwrap();
    assert_eq!(rig.disks[3].files()["header.0"], b"the header");
}

#[test]
fn a_copy_that_did_not_succeed_is_made_when_it_is_tried_again() {
    let rig = Rig::new(4, 3);
    let set = rig.create(Policy::Copies(2));
    prepare(&set);
    put(&set, 1, &bytes(1, 9_000)).unwrap();
    work(&set);
    let holders: Vec<usize> = (0..3).filter(|at| rig.disks[*at].files().contains_key(&path(1))).collect();
    set.drop_out(set.members()[holders[0]].drive).unwrap();
    rig.disks[holders[1]].fail(FaultPlan::lasting(Fault::Error, 0).on_reads());
    work(&set);
    assert_eq!(set.at_risk().len(), 1);
    rig.disks[holders[1]].clear_faults();
    assert_eq!((work(&set), set.at_risk().len()), (0, 1), "it is not tried all the time");
    set.try_again();
    work(&set);
    assert_eq!(set.at_risk(), []);
}

/// Parity is checked by reading it, a little at a time; what rots of it is written anew before it is needed.
#[test]
fn parity_that_rots_is_found_and_mended() {
    let rig = Rig::new(1, 6);
    let set = rig.create(Policy::Parity { data: 4, parity: 2 });
    prepare(&set);
    for number in 1..=8 {
        put(&set, number, &bytes(number, 200_000)).unwrap();
    }
    work(&set);
    let parity = || -> Vec<(usize, String, Vec<u8>)> {
        let of = |place: usize| {
            rig.disks[place].files().into_iter().map(move |(name, bytes)| (place, name, bytes))
        };
        (0..6).flat_map(of).filter(|(_, name, _)| name.starts_with("parity/")).collect()
    };
    let before = parity();
    assert_eq!(before.len(), 4, "two groups");
    let round = || {
        let mut all = drives::ParityCheck::default();
        loop {
            let check = set.check_parity(70_000).unwrap();
            all.bytes += check.bytes;
            (all.mended, all.unmended) = (all.mended + check.mended, all.unmended + check.unmended);
            if check.is_done {
                return (all.mended, all.unmended, all.bytes);
            }
        }
    };
    let blocks = 200_000_u64.div_ceil(65_536);
    assert_eq!(round(), (0, 0, 4 * blocks * 65_536), "all of it is read");
    // A bit in every part of one file: head, table, and each of its blocks.
    let (place, name, was) = &before[1];
    for at in [20, 4096, 8192, 8192 + 65_536, was.len() as u64 - 1] {
        rig.disks[*place].flip(name, 8 * at).unwrap();
        let (mended, unmended, _) = round();
        assert_eq!((mended, unmended), (1, 0), "{at}");
        work(&set);
        assert_eq!(set.at_risk(), [], "{at}");
        assert_eq!(parity(), before, "{at}: it is what it was, where it was");
    }
    // What cannot be computed is said, and stays: the rest of it may be needed.
    for lost in (0..6).filter(|lost| lost != place).take(2) {
        set.drop_out(set.members()[lost].drive).unwrap();
    }
    rig.disks[*place].flip(name, 8 * 8192).unwrap();
    let (mended, unmended, _) = round();
    assert!(mended == 0 && unmended == 1, "{mended} {unmended}");
    for number in 1..=8 {
        let found = get(&set, &path(number));
        assert!(found.is_err() || found.unwrap() == bytes(number, 200_000), "{number}");
    }
}

/// A drive that fails to read is asked twice; one that answers nothing is no damage.
#[test]
fn parity_that_cannot_be_read_for_a_while_stays_as_it_is() {
    let rig = Rig::new(1, 4);
    let set = rig.create_pair(1, 100_000);
    let has_parity = |disk: &SimDisk| disk.files().keys().any(|name| name.starts_with("parity/"));
    let disk = rig.disks.iter().find(|disk| has_parity(disk)).unwrap();
    // The reads of the head and of the table come first.
    disk.fail(FaultPlan::once(Fault::Error, disk.reads() + 3).on_reads().under("parity/"));
    let check = set.check_parity(u64::MAX).unwrap();
    assert_eq!((check.mended, check.unmended, check.is_done), (0, 0, true), "the second time it is read");
    disk.fail(FaultPlan::lasting(Fault::Error, 1).on_reads());
    disk.fail(FaultPlan::lasting(Fault::Error, 1));
    let check = set.check_parity(u64::MAX).unwrap();
    assert_eq!((check.mended, check.is_done), (0, true));
    disk.clear_faults();
    assert!(has_parity(disk));
    let check = set.check_parity(u64::MAX).unwrap();
    assert_eq!((check.mended, check.unmended, check.is_done), (0, 0, true));
}

/// Whoever opens a pool syncs what it believes; a drive that fails just then is made up for by parity.
#[test]
fn what_is_under_parity_is_durable_also_when_its_drive_fails() {
    let rig = Rig::new(1, 4);
    let set = rig.create_pair(1, 100_000);
    let disk = rig.disks.iter().find(|disk| disk.files().contains_key(&path(1))).unwrap();
    let file = set.open(&path(1), medium::Access::ReadWrite).unwrap();
    disk.fail(FaultPlan::lasting(Fault::Error, 1));
    disk.fail(FaultPlan::lasting(Fault::Error, 1).on_reads());
    file.sync_data().unwrap();
    assert!(get(&set, &path(1)).unwrap() == bytes(1, 100_000));
}

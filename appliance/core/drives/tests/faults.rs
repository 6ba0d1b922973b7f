//! Drives that fail, lie, run full or rot, one call at a time.

#![expect(clippy::unwrap_used, reason = "a test says by it what must not fail")]

mod world;

use drives::{DriveSet, MemberState, Policy};
use medium::sim::{Fault, FaultPlan, Random};
use medium::{Access, Disk};
use model::{ErrorKind, SegmentNumber};
use world::ledger::Ledger;
use world::{Rig, bytes, get, path, prepare, put, work};

const TWO: Policy = Policy::Copies(2);
const PARITY: Policy = Policy::Parity { data: 2, parity: 1 };

fn out(set: &DriveSet) -> usize {
    set.members().iter().filter(|member| member.state == MemberState::Out).count()
}

/// Whatever single change fails on a drive, the call succeeds without it, and so does everything after.
#[test]
fn any_change_may_fail_on_one_drive() {
    for fault in [Fault::Error, Fault::TornWrite, Fault::ShortWrite] {
        let mut fallen = 0;
        for at in 1..260 {
            let rig = Rig::new(at, 3);
            let set = rig.create(TWO);
            prepare(&set);
            let (mut ledger, mut random) = (Ledger::default(), Random::new(at));
            let disk = &rig.disks[1];
            disk.fail(FaultPlan::once(fault, disk.operations() + at));
            for _ in 0..30 {
                ledger
                    .act(&set, &mut random)
                    .unwrap_or_else(|e| panic!("{fault:?} at {at}: {e:?} {:?}", disk.log().last()));
            }
            fallen += out(&set);
            ledger.check(&set, &format!("{fault:?} at {at}"));
            work(&set);
            assert_eq!(set.at_risk(), [], "{fault:?} at {at}");
            ledger.let_go();
            drop(set);
            let after = rig.crash(&mut random);
            let opened = after.open();
            ledger.check(&opened.set, &format!("{fault:?} at {at}, opened anew"));
        }
        assert!(fallen > 20, "{fault:?} threw out {fallen} drives only");
    }
}

#[test]
fn a_failure_on_all_copies_comes_out_and_nobody_falls_out() {
    let rig = Rig::new(1, 2);
    let set = rig.create(TWO);
    prepare(&set);
    let file = set.create(&path(1)).unwrap();
    file.write_at(0, &bytes(1, 1_000)).unwrap();
    file.sync_data().unwrap();
    set.sync_directory("segments").unwrap();
    for operation in ["write", "sync"] {
        for disk in &rig.disks {
            disk.fail(FaultPlan::once(Fault::Error, disk.operations() + 1).under("segments"));
        }
        let result = if operation == "write" { file.write_at(1_000, &[1; 600]) } else { file.sync_data() };
        assert_eq!(result.map_err(|e| e.kind()), Err(ErrorKind::Io), "{operation}");
        assert_eq!(out(&set), 0);
    }
    assert!(file.write_at(0, b"x").is_err() && file.sync_data().is_err(), "the file is poisoned");
    drop(file);
    set.start_over();
    // Opened again, all copies say the same.
    let file = set.open(&path(1), Access::ReadWrite).unwrap();
    let length = file.length().unwrap();
    let (mut one, mut two) =
        (vec![0; usize::try_from(length).unwrap()], vec![0; usize::try_from(length).unwrap()]);
    file.read_copy(0, 0, &mut one).unwrap();
    file.read_copy(1, 0, &mut two).unwrap();
    assert_eq!(one, two);
    assert_eq!(one[..1_000], bytes(1, 1_000));
    file.write_at(length, b"goes on").unwrap();
    file.sync_data().unwrap();
}

#[test]
fn what_cannot_be_read_comes_from_another_copy() {
    for policy in [TWO, PARITY] {
        let rig = Rig::new(2, 3);
        let set = rig.create(policy);
        prepare(&set);
        for number in 1..=2 {
            put(&set, number, &bytes(number, 150_000)).unwrap();
        }
        work(&set);
        for (place, disk) in rig.disks.iter().enumerate() {
            disk.fail(FaultPlan::lasting(Fault::Error, 1).on_reads().under("segments"));
            for number in 1..=2 {
                assert_eq!(get(&set, &path(number)).unwrap(), bytes(number, 150_000), "{policy:?} {place}");
            }
            disk.clear_faults();
        }
        let errors: Vec<_> = set.members().iter().map(|member| member.errors.reads).collect();
        assert!(errors.iter().filter(|errors| **errors > 0).count() >= 2, "{errors:?}");
        assert_eq!(out(&set), 0, "a failed read throws nobody out");
        for disk in &rig.disks {
            disk.fail(FaultPlan::lasting(Fault::Error, 1).on_reads());
        }
        assert_eq!(get(&set, &path(1)).map_err(|e| e.kind()), Err(ErrorKind::Io), "never zeros");
    }
}

/// Who can judge which copy is right has all of them, and writes the right bytes over the others.
#[test]
fn copies_are_told_apart_and_mended() {
    for policy in [TWO, PARITY] {
        let rig = Rig::new(3, 3);
        let set = rig.create(policy);
        prepare(&set);
        let content = [bytes(1, 150_000), bytes(2, 140_000)];
        put(&set, 1, &content[0]).unwrap();
        put(&set, 2, &content[1]).unwrap();
        work(&set);
        let disk = rig.disks.iter().find(|disk| disk.files().contains_key(&path(1))).unwrap();
        disk.flip(&path(1), 8 * 70_000).unwrap();
        let file = set.open(&path(1), Access::Read).unwrap();
        assert_eq!(file.copies(), 2, "{policy:?}");
        let read = |copy| {
            let mut found = vec![0; 4_096];
            file.read_copy(copy, 69_000, &mut found).unwrap();
            found == content[0][69_000..69_000 + 4_096]
        };
        let right: Vec<bool> = (0..2).map(read).collect();
        assert_eq!(right.iter().filter(|right| **right).count(), 1, "{policy:?}: {right:?}");
        assert!(file.read_copy(2, 0, &mut [0]).is_err());
        assert_eq!(file.mend(69_000, &content[0][69_000..73_096]).unwrap(), 1, "{policy:?}");
        assert_eq!((0..2).map(read).collect::<Vec<_>>(), [true; 2], "{policy:?}");
        assert_eq!(file.mend(69_000, &content[0][69_000..73_096]).unwrap(), 0);
        assert_eq!(set.members().iter().map(|member| member.errors.mended).sum::<u64>(), 1);
        assert_eq!(disk.files()[&path(1)], content[0]);
    }
}

#[test]
fn parity_of_a_rotten_segment_is_made_anew_when_that_is_mended() {
    let rig = Rig::new(4, 3);
    let set = rig.create(PARITY);
    prepare(&set);
    put(&set, 1, &bytes(1, 9_000)).unwrap();
    put(&set, 2, &bytes(2, 9_000)).unwrap();
    // Both copies have the same rot, so nothing speaks against it when parity is made.
    for disk in rig.disks.iter().filter(|disk| disk.files().contains_key(&path(1))) {
        disk.flip(&path(1), 80).unwrap();
    }
    work(&set);
    let file = set.open(&path(1), Access::Read).unwrap();
    assert_eq!(file.mend(0, &bytes(1, 9_000)).unwrap(), 1);
    drop(file);
    work(&set);
    assert_eq!(set.at_risk(), []);
    for place in 0..3 {
        let image = rig.image(medium::sim::Survival::Everything, &mut Random::new(1));
        let others: Vec<usize> = (0..3).filter(|other| *other != place).collect();
        assert_eq!(get(&image.open_with(&others).set, &path(1)).unwrap(), bytes(1, 9_000), "without {place}");
    }
}

#[test]
fn copies_that_disagree_are_not_put_under_parity() {
    let rig = Rig::new(5, 3);
    let set = rig.create(PARITY);
    prepare(&set);
    for number in 1..=3 {
        put(&set, number, &bytes(number, 9_000)).unwrap();
    }
    rig.disks.iter().find(|disk| disk.files().contains_key(&path(1))).unwrap().flip(&path(1), 80).unwrap();
    work(&set);
    let file = set.open(&path(1), Access::Read).unwrap();
    let holders = rig.disks.iter().filter(|disk| disk.files().contains_key(&path(1))).count();
    assert_eq!((file.copies(), holders), (2, 2), "both copies of it are kept");
    let copies: usize = set.members().iter().map(|member| member.segments).sum();
    assert_eq!(copies, 4, "the other two are in a group: {:?}", set.members());
    assert_eq!(file.mend(0, &bytes(1, 9_000)).unwrap(), 1);
}

#[test]
fn a_shard_that_lies_is_not_believed() {
    let rig = Rig::new(6, 4);
    let set = rig.create_pair(2, 100_000);
    let holder = |number| rig.disks.iter().position(|disk| disk.files().contains_key(&path(number))).unwrap();
    let parity: Vec<usize> = (0..4).filter(|place| ![holder(1), holder(2)].contains(place)).collect();
    // One drive is lost, the other segment lies, and so does one of the parity files somewhere else.
    rig.disks[holder(2)].flip(&path(2), 8 * 50_000).unwrap();
    let name = rig.disks[parity[0]].files().keys().find(|name| name.starts_with("parity/")).unwrap().clone();
    rig.disks[parity[0]].flip(&name, 8 * (8_192 + 65_536 + 900)).unwrap();
    set.drop_out(set.members()[holder(1)].drive).unwrap();
    assert_eq!(get(&set, &path(1)).unwrap(), bytes(1, 100_000));
    // With more than can be borne, there is an error and no bytes.
    rig.disks[parity[1]]
        .flip(&name.replace("-0.", "-1."), 8 * (8_192 + 900))
        .or_else(|_| rig.disks[parity[1]].flip(&name.replace("-1.", "-0."), 8 * (8_192 + 900)))
        .unwrap();
    let file = set.open(&path(1), Access::Read).unwrap();
    let error = file.read_at(0, &mut [0; 100]).map_err(|e| e.kind());
    assert_eq!(error, Err(ErrorKind::Io));
}

#[test]
fn a_place_that_nobody_can_read_is_listed_and_not_made_up() {
    let rig = Rig::new(7, 3);
    let set = rig.create(TWO);
    prepare(&set);
    put(&set, 1, &bytes(1, 2_400_000)).unwrap();
    let holders: Vec<usize> =
        (0..3).filter(|place| rig.disks[*place].files().contains_key(&path(1))).collect();
    set.drop_out(set.members()[holders[0]].drive).unwrap();
    // The copy that is left cannot be read from some byte on, so the second reading of the first blocks fails as well.
    rig.disks[holders[1]].fail(
        FaultPlan::lasting(Fault::Error, rig.disks[holders[1]].reads() + 2).on_reads().under("segments"),
    );
    while set.at_risk()[0].lost.is_empty() {
        assert!(set.step(64 << 10, &|_| true).unwrap().task.is_some());
    }
    let risks = set.at_risk();
    let [risk] = &risks[..] else { panic!("{risks:?}") };
    assert_eq!((risk.copies, risk.wanted), (1, 2));
    assert_eq!(risk.lost, std::slice::from_ref(&(1_048_576..2_400_000)));
    rig.disks[holders[1]].clear_faults();
    assert_eq!(get(&set, &path(1)).unwrap(), bytes(1, 2_400_000), "what there is stays");
    rig.disks
        .iter()
        .for_each(|disk| assert!(disk.files().keys().all(|name| !name.starts_with("set/making"))));
    // A change of the members has it tried again.
    set.rejoin(rig.hand(holders[0])).unwrap();
    work(&set);
    assert_eq!(set.at_risk(), []);
}

#[test]
fn a_full_drive_is_passed_over_and_a_full_set_says_so() {
    let rig = Rig::new(8, 3);
    let set = rig.create(TWO);
    prepare(&set);
    rig.disks[0].set_capacity(1 << 16);
    for number in 1..=4 {
        put(&set, number, &bytes(number, 100_000)).unwrap();
    }
    assert_eq!(set.members()[0].segments, 0, "{:?}", set.members());
    let room = set.space().unwrap();
    for disk in &rig.disks {
        let used = (1 << 30) - disk.space().unwrap().available_bytes.min(1 << 30);
        disk.set_capacity(used.max(1 << 18) + 20_000);
    }
    assert!(set.space().unwrap().available_bytes < room.available_bytes);
    let file = set.create(&path(9)).unwrap();
    let result = (0..200).try_for_each(|at| file.write_at(at * 4_096, &[7; 4_096]));
    assert_eq!(result.map_err(|e| e.kind()), Err(ErrorKind::Full));
    assert_eq!(out(&set), 0, "a full drive does not fall out");
    drop(file);
    set.remove(&path(9)).unwrap();
    for number in 1..=4 {
        assert_eq!(get(&set, &path(number)).unwrap(), bytes(number, 100_000));
    }
}

#[test]
fn without_room_for_other_parity_a_removal_goes_on() {
    let rig = Rig::new(9, 3);
    let set = rig.create(PARITY);
    prepare(&set);
    put(&set, 1, &bytes(1, 200_000)).unwrap();
    put(&set, 2, &bytes(2, 200_000)).unwrap();
    work(&set);
    for disk in &rig.disks {
        let used = disk.space().unwrap();
        disk.set_capacity(used.capacity_bytes - used.available_bytes + 8_192);
    }
    set.remove(&path(1)).unwrap();
    set.sync_directory("segments").unwrap();
    work(&set);
    assert!(get(&set, &path(1)).is_err());
    assert_eq!(get(&set, &path(2)).unwrap(), bytes(2, 200_000));
    let files: usize = rig.disks.iter().map(|d| d.files().keys().filter(|n| n.contains("par")).count()).sum();
    assert_eq!(files, 0, "its room is given back");
    work(&set);
    let risks = set.at_risk().len();
    for disk in &rig.disks {
        disk.set_capacity(1 << 30);
    }
    set.add(Rig::new(99, 1).hand(0)).unwrap();
    work(&set);
    assert_eq!(set.at_risk(), [], "{risks}");
}

#[test]
fn a_segment_under_parity_is_not_written() {
    let rig = Rig::new(10, 3);
    let set = rig.create(PARITY);
    prepare(&set);
    put(&set, 1, &bytes(1, 9_000)).unwrap();
    put(&set, 2, &bytes(2, 9_000)).unwrap();
    work(&set);
    let file = set.open(&path(1), Access::ReadWrite).unwrap();
    assert!(file.write_at(0, b"x").is_err() && file.set_length(3).is_err());
    file.sync_data().unwrap();
    drop(file);
    // Nor is one put under parity that is not sealed or is being written.
    put(&set, 3, &bytes(3, 9_000)).unwrap();
    let open = set.create(&path(4)).unwrap();
    open.write_at(0, &bytes(4, 9_000)).unwrap();
    open.sync_data().unwrap();
    set.sync_directory("segments").unwrap();
    work(&set);
    open.write_at(9_000, b"more").unwrap();
    drop(open);
    while set.step(1 << 20, &|number: SegmentNumber| number.0 != 3).unwrap().task.is_some() {}
    let copies: usize = set.members().iter().map(|member| member.segments).sum();
    assert_eq!(copies, 6, "3 and 4 are kept twice");
}

/// Whoever writes a segment while a further copy of it is made writes to that as well.
#[test]
fn a_file_is_copied_while_it_is_written() {
    let rig = Rig::new(11, 3);
    let set = rig.create(TWO);
    prepare(&set);
    let file = set.create(&path(1)).unwrap();
    let mut content = bytes(1, 5_000_000);
    file.write_at(0, &content).unwrap();
    file.sync_data().unwrap();
    set.sync_directory("segments").unwrap();
    let holders: Vec<usize> = (0..3).filter(|place| set.members()[*place].segments > 0).collect();
    set.drop_out(set.members()[holders[0]].drive).unwrap();
    let mut random = Random::new(1);
    let mut steps = 0;
    while set.step(1, &|_| false).unwrap().task.is_some() {
        steps += 1;
        let at = random.index(content.len());
        let part = bytes(random.draw(), 700);
        if content.len() < at + part.len() {
            content.resize(at + part.len(), 0);
        }
        content[at..at + part.len()].copy_from_slice(&part);
        file.write_at(at as u64, &part).unwrap();
    }
    assert!(steps > 5, "{steps}");
    file.sync_data().unwrap();
    assert_eq!(file.copies(), 2);
    for copy in 0..2 {
        let mut found = vec![0; content.len()];
        file.read_copy(copy, 0, &mut found).unwrap();
        assert!(found == content, "copy {copy}");
    }
    set.drop_out(set.members()[holders[1]].drive).unwrap();
    assert!(world::content(&*file).unwrap() == content, "the copy that was made serves alone");
    file.write_at(0, b"and is written").unwrap();
    file.sync_data().unwrap();
}

/// Work of every kind goes by blocks, however long segments are, and a step does no more than it is allowed.
#[test]
fn work_is_bounded_in_memory_and_in_each_step() {
    const BLOCK: u64 = 1 << 20;
    let rig = Rig::new(12, 4);
    let set = rig.create(PARITY);
    prepare(&set);
    let long: Vec<Vec<u8>> = (1..=4).map(|number| bytes(number, 9_000_000)).collect();
    for (number, content) in (1..).zip(&long) {
        put(&set, number, content).unwrap();
    }
    rig.power.largest();
    let run = |set: &DriveSet, what: &str| {
        let (mut steps, mut sum) = (0, 0);
        loop {
            let step = set.step(BLOCK / 2, &|_| true).unwrap();
            if step.task.is_none() {
                break;
            }
            assert!(
                step.bytes <= 2 * BLOCK || matches!(step.task, Some(drives::Task::Comparing { .. })),
                "{what}: {step:?}"
            );
            steps += 1;
            sum += step.bytes;
        }
        assert!(steps > 5 && sum >= 9_000_000, "{what}: {steps} steps, {sum} bytes");
        assert!(rig.power.largest() <= BLOCK, "{what}");
    };
    run(&set, "grouping");
    let drive = set.members()[0].drive;
    set.drop_out(drive).unwrap();
    run(&set, "remaking");
    set.remove(&path(1)).unwrap();
    set.sync_directory("segments").unwrap();
    run(&set, "taking out of parity");
    for number in 5..=6 {
        put(&set, number, &bytes(number, 9_000_000)).unwrap();
    }
    rig.power.largest();
    set.rejoin(rig.hand(0)).unwrap();
    run(&set, "after a return");
    for number in 2..=4 {
        assert_eq!(get(&set, &path(number)).unwrap(), long[usize::try_from(number).unwrap() - 1]);
    }
}

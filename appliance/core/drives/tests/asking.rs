//! Segments that somebody asks to be kept otherwise than the rest.

#![expect(clippy::unwrap_used, reason = "a test says by it what must not fail")]

mod world;

use drives::{DriveSet, Policy, Task};
use medium::sim::{Fault, FaultPlan, Random, Survival};
use medium::{Demand, Disk, Redundancy};
use world::{Rig, bytes, get, path, prepare, put, work};

const LENGTH: usize = 9_000;

fn asked(policy: Policy) -> Demand {
    Demand::of(Some(Redundancy::from(policy)))
}

/// Drives with a copy of a segment.
fn copies(rig: &Rig, number: u64) -> usize {
    rig.disks.iter().filter(|disk| disk.files().contains_key(&path(number))).count()
}

fn parity_files(rig: &Rig) -> usize {
    let parity = |name: &String| name.starts_with("parity/");
    rig.disks.iter().map(|disk| disk.files().keys().filter(|name| parity(name)).count()).sum()
}

/// Segments that are kept in a set of these policies: the even ones as asked, the odd ones as all.
fn mixed(rig: &Rig, usual: Policy, other: Policy, count: u64) -> DriveSet {
    let set = rig.create(usual);
    prepare(&set);
    for number in 1..=count {
        if number % 2 == 0 {
            set.ask(&path(number), asked(other)).unwrap();
        }
        put(&set, number, &bytes(number, LENGTH)).unwrap();
    }
    set.asked_all(true).unwrap();
    work(&set);
    set
}

#[test]
fn each_segment_is_kept_as_is_asked() {
    let (one, two) = (Policy::Copies(1), Policy::Copies(2));
    for (usual, other) in [(one, two), (two, one)] {
        let rig = Rig::new(1, 4);
        let set = mixed(&rig, usual, other, 6);
        for number in 1..=6 {
            let wanted = if number % 2 == 0 { other } else { usual };
            assert_eq!(copies(&rig, number), wanted.copies(), "{number} of {usual:?} and {other:?}");
        }
        assert_eq!(set.at_risk(), []);
    }
}

#[test]
fn a_segment_has_its_copies_from_the_beginning() {
    let rig = Rig::new(1, 3);
    let set = rig.create(Policy::Copies(1));
    prepare(&set);
    set.ask(&path(1), asked(Policy::Copies(3))).unwrap();
    put(&set, 1, &bytes(1, LENGTH)).unwrap();
    assert_eq!((copies(&rig, 1), set.at_risk()), (3, vec![]));
}

#[test]
fn groups_are_made_of_segments_of_one_policy() {
    let rig = Rig::new(1, 6);
    let set = mixed(&rig, Policy::Parity { data: 2, parity: 1 }, Policy::Parity { data: 4, parity: 2 }, 8);
    assert_eq!(parity_files(&rig), 2 + 2, "two groups of odd ones, one of even ones");
    assert!((1..=8).all(|number| copies(&rig, number) == 1) && set.at_risk().is_empty());
    // Any two drives may go, and what is asked to outlive that does.
    for first in 0..6 {
        for second in first + 1..6 {
            let image = rig.image(Survival::Everything, &mut Random::new(1));
            let kept: Vec<usize> = (0..6).filter(|place| ![first, second].contains(place)).collect();
            let opened = image.open_with(&kept);
            for number in [2, 4, 6, 8] {
                let found = get(&opened.set, &path(number)).unwrap();
                assert!(found == bytes(number, LENGTH), "{number} without {first} and {second}");
            }
        }
    }
}

#[test]
fn who_asks_for_something_else_gets_it_and_the_others_lose_nothing() {
    let rig = Rig::new(1, 6);
    let (parity, two) = (Policy::Parity { data: 2, parity: 1 }, Policy::Copies(2));
    let set = mixed(&rig, parity, two, 8);
    assert_eq!(parity_files(&rig), 2);
    // One of a group leaves it, and another is as all again.
    set.ask(&path(1), asked(two)).unwrap();
    set.ask(&path(2), Demand::of(None)).unwrap();
    work(&set);
    assert_eq!((copies(&rig, 1), copies(&rig, 4), set.at_risk()), (2, 2, vec![]));
    assert_eq!(([2, 3, 5, 7].map(|number| copies(&rig, number)), parity_files(&rig)), ([1; 4], 2));
    for number in 1..=8 {
        assert!(get(&set, &path(number)).unwrap() == bytes(number, LENGTH), "{number}");
    }
}

#[test]
fn nothing_goes_before_everything_was_asked_for_again() {
    let rig = Rig::new(1, 4);
    drop(mixed(&rig, Policy::Parity { data: 3, parity: 1 }, Policy::Copies(3), 4));
    let set = rig.open().set;
    for _ in 0..3 {
        set.try_again();
        work(&set);
        assert_eq!([2, 4].map(|number| copies(&rig, number)), [3, 3]);
        assert_eq!(parity_files(&rig), 0, "three are too many for what is there of the usual");
    }
    set.ask(&path(2), asked(Policy::Copies(3))).unwrap();
    set.asked_all(true).unwrap();
    work(&set);
    assert_eq!(copies(&rig, 2), 3);
    assert_eq!(
        ([1, 3, 4].map(|number| copies(&rig, number)), parity_files(&rig)),
        ([1; 3], 1),
        "one more is usual"
    );
    // Nobody asks for anything any more, which needs no telling at the next opening.
    set.remove(&path(2)).unwrap();
    set.asked_all(true).unwrap();
    let epoch = set.epoch();
    drop(set);
    let set = rig.open().set;
    set.set_policy(Policy::Copies(2)).unwrap();
    work(&set);
    assert_eq!((set.epoch(), [1, 3, 4].map(|number| copies(&rig, number))), (epoch + 1, [2; 3]));
}

/// What cannot be read keeps its group, and the others of it are not copied again and again.
#[test]
fn a_group_that_cannot_be_given_up_is_left_alone() {
    let rig = Rig::new(1, 5);
    let set = rig.create(Policy::Parity { data: 3, parity: 1 });
    prepare(&set);
    for number in 1..=3 {
        put(&set, number, &bytes(number, 200_000)).unwrap();
    }
    work(&set);
    for disk in &rig.disks {
        for name in disk.files().into_keys().filter(|name| *name == path(1) || name.starts_with("parity/")) {
            disk.fail(FaultPlan::lasting(Fault::Error, 0).on_reads().under(&name));
        }
    }
    set.ask(&path(2), asked(Policy::Copies(2))).unwrap();
    let copied = || {
        set.try_again();
        let tasks = std::iter::from_fn(|| set.step(1 << 30, &|_| true).unwrap().task);
        tasks.filter(|task| matches!(task, Task::Copying { segment, .. } if segment.0 != 1)).count()
    };
    let rounds: Vec<usize> = (0..5).map(|_| copied()).collect();
    assert_eq!(rounds[1..], [0; 4], "{rounds:?}");
    assert_eq!(parity_files(&rig), 1);
}

/// Giving up many groups takes many steps, so whoever calls for them is never kept for long.
#[test]
fn one_step_gives_up_one_group() {
    let rig = Rig::new(1, 3);
    let set = rig.create(Policy::Parity { data: 2, parity: 1 });
    prepare(&set);
    (1..=20).for_each(|number| put(&set, number, &bytes(number, LENGTH)).unwrap());
    work(&set);
    assert_eq!(parity_files(&rig), 10);
    set.set_policy(Policy::Copies(1)).unwrap();
    let step = set.step(1, &|_| true).unwrap();
    assert!(matches!(step.task, Some(Task::Dissolving { .. })), "{step:?}");
    assert_eq!(parity_files(&rig), 9);
    work(&set);
    assert_eq!((parity_files(&rig), set.at_risk()), (0, vec![]));
}

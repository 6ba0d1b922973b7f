//! The power goes at every single change of a remake, of grouping, of a removal from a group, of retiring, of a return: what
//! was synced before is there, whichever drives are lost with it, and the work goes on to its end.

#![expect(clippy::unwrap_used, reason = "a test says by it what must not fail")]

mod world;

use drives::{DriveSet, MemberState, Policy};
use medium::sim::{Random, Survival};
use medium::{Disk, DiskError};
use world::{Rig, bytes, get, path, prepare, put, work};

const PARITY: Policy = Policy::Parity { data: 4, parity: 2 };

/// The bytes of a segment: some are a block and a half, some are short.
fn content(number: u64) -> Vec<u8> {
    bytes(number, if number.is_multiple_of(3) { 5_000 } else { 100_000 })
}

fn fill(set: &DriveSet, numbers: impl IntoIterator<Item = u64>) {
    prepare(set);
    for number in numbers {
        put(set, number, &content(number)).unwrap();
    }
    let header = set.create("header.0").unwrap();
    header.write_at(0, b"the header").unwrap();
    header.sync_data().unwrap();
    let catalog = set.create("catalog.redb").unwrap();
    catalog.write_at(0, &bytes(99, 9_000)).unwrap();
    catalog.sync_data().unwrap();
    set.sync_directory("").unwrap();
}

/// What must be there.
fn check(set: &DriveSet, numbers: &[u64], gone: &[u64], what: &str) {
    for number in numbers {
        let found = get(set, &path(*number))
            .unwrap_or_else(|e| panic!("{what}: {number}: {e:?} {:#?}", set.at_risk()));
        assert!(found == content(*number), "{what}: {number} is not itself");
    }
    for number in gone {
        assert!(get(set, &path(*number)).is_err(), "{what}: {number} is back");
    }
    assert_eq!(get(set, "header.0").unwrap(), b"the header", "{what}");
    assert!(get(set, "catalog.redb").unwrap() == bytes(99, 9_000), "{what}: the catalog is not itself");
}

/// A piece of work, and what must hold around it.
struct Case {
    drives: usize,
    policy: Policy,
    /// Drives of which any that many may be lost on top.
    losses: usize,
    /// What was synced before.
    numbers: &'static [u64],
    /// What the work removes.
    removed: &'static [u64],
    before: fn(&Rig, &DriveSet),
    act: fn(&Rig, &DriveSet) -> Result<(), DiskError>,
    /// What must hold in the end.
    after: fn(&DriveSet),
}

fn some_losses(drives: usize, count: usize, random: &mut Random) -> Vec<Vec<usize>> {
    let mut losses = vec![Vec::new()];
    for _ in 0..3 {
        let mut lost = Vec::new();
        while lost.len() < count {
            let drive = random.index(drives);
            if !lost.contains(&drive) {
                lost.push(drive);
            }
        }
        losses.push(lost);
    }
    losses
}

fn try_point(base: &Rig, case: &Case, cut: u64) -> bool {
    let rig = Rig::of(base.disks.iter().map(medium::sim::SimDisk::snapshot).collect(), cut);
    let opened = rig.open();
    rig.power.cut_after(cut);
    let finished = (case.act)(&rig, &opened.set).is_ok() && !rig.power.is_gone();
    drop(opened);
    let kept: Vec<u64> = case.numbers.iter().copied().filter(|n| !case.removed.contains(n)).collect();
    let mut random = Random::new(cut);
    let after = rig.crash(&mut random);
    for lost in some_losses(case.drives, case.losses, &mut random) {
        let image = after.image(Survival::Everything, &mut random);
        let places: Vec<usize> = (0..case.drives).filter(|place| !lost.contains(place)).collect();
        let Ok(opened) = DriveSet::open(
            &places.iter().map(|p| image.hand(*p)).collect::<Vec<_>>(),
            None,
            image.world.clone(),
        ) else {
            panic!("cut {cut}, without {lost:?}: it does not open");
        };
        let what = format!("cut {cut}, without {lost:?}");
        check(&opened.set, &kept, if finished { case.removed } else { &[] }, &what);
        work(&opened.set);
        check(&opened.set, &kept, if finished { case.removed } else { &[] }, &format!("{what}, after work"));
    }
    let opened = after.open();
    if let Some(place) = opened.refused.iter().map(|(place, _)| *place).next() {
        // What was let go of before the power went comes back.
        let _ = opened.set.rejoin(after.hand(place));
    }
    let again = (case.act)(&after, &opened.set);
    assert!(again.is_ok(), "cut {cut}: the work does not go on: {again:?}");
    check(&opened.set, &kept, case.removed, &format!("cut {cut}, at the end"));
    (case.after)(&opened.set);
    finished
}

fn every_point(case: &Case) {
    let base = Rig::new(1, case.drives);
    let set = base.create(case.policy);
    fill(&set, case.numbers.iter().copied());
    (case.before)(&base, &set);
    drop(set);
    let mut cut = 0;
    while !try_point(&base, case, cut) {
        cut += 1;
        assert!(cut < 5_000, "the work does not end");
    }
    assert!(cut > 20, "only {cut} points");
}

fn work_to_end(set: &DriveSet) -> Result<(), DiskError> {
    loop {
        let step = set.step(70_000, &|_| true)?;
        if step.task.is_none() {
            return Ok(());
        }
    }
}

fn all_safe(set: &DriveSet) {
    assert_eq!(set.at_risk(), []);
}

fn all_once(set: &DriveSet) {
    all_safe(set);
    let copies: usize = set.members().iter().map(|member| member.segments).sum();
    assert_eq!(copies, set.list("segments").unwrap().len(), "each is kept once: {:?}", set.members());
}

#[test]
fn grouping() {
    every_point(&Case {
        drives: 6,
        policy: PARITY,
        losses: 2,
        numbers: &[1, 2, 4, 5],
        removed: &[],
        before: |_, _| {},
        act: |_, set| work_to_end(set),
        after: all_once,
    });
}

#[test]
fn removal_from_a_group() {
    every_point(&Case {
        drives: 6,
        policy: PARITY,
        losses: 2,
        numbers: &[1, 2, 4, 5],
        removed: &[4],
        before: |_, set| {
            work(set);
            all_once(set);
        },
        act: |_, set| {
            if set.list("segments")?.iter().any(|name| path(4).ends_with(name)) {
                set.remove(&path(4))?;
            }
            set.sync_directory("segments")?;
            work_to_end(set)
        },
        after: all_once,
    });
}

#[test]
fn removal_of_a_whole_group() {
    every_point(&Case {
        drives: 3,
        policy: Policy::Parity { data: 2, parity: 1 },
        losses: 1,
        numbers: &[1, 2, 4, 5],
        removed: &[1, 2, 4, 5],
        before: |_, set| {
            work(set);
            all_once(set);
        },
        act: |_, set| {
            for number in [1, 2, 4, 5] {
                if set.list("segments")?.iter().any(|name| path(number).ends_with(name)) {
                    set.remove(&path(number))?;
                }
                set.sync_directory("segments")?;
                set.step(70_000, &|_| true)?;
            }
            work_to_end(set)
        },
        after: |set| assert!(set.list("segments").unwrap().is_empty()),
    });
}

#[test]
fn remaking_copies() {
    every_point(&Case {
        drives: 4,
        policy: Policy::Copies(2),
        losses: 0,
        numbers: &[1, 2, 3, 4, 5],
        removed: &[],
        before: |_, set| set.drop_out(set.members()[0].drive).unwrap(),
        act: |_, set| work_to_end(set),
        after: all_safe,
    });
}

#[test]
fn remaking_shards() {
    every_point(&Case {
        drives: 8,
        policy: PARITY,
        losses: 1,
        numbers: &[1, 2, 4, 5],
        removed: &[],
        before: |_, set| {
            work(set);
            let holder = set.members().iter().find(|member| member.segments > 0).unwrap().drive;
            set.drop_out(holder).unwrap();
        },
        act: |_, set| work_to_end(set),
        after: all_safe,
    });
}

#[test]
fn retiring() {
    every_point(&Case {
        drives: 4,
        policy: Policy::Copies(2),
        losses: 1,
        numbers: &[1, 2, 3, 4, 5],
        removed: &[],
        before: |_, _| {},
        act: |_, set| {
            let drive = set.members()[1].drive;
            set.retire(drive).map_err(|error| match error {
                drives::DrivesError::Disk(error) => error,
                other => panic!("{other}"),
            })?;
            work_to_end(set)
        },
        after: |set| {
            all_safe(set);
            assert_eq!(set.members()[1].state, MemberState::Retired);
        },
    });
}

#[test]
fn retiring_from_parity() {
    every_point(&Case {
        drives: 7,
        policy: PARITY,
        losses: 2,
        numbers: &[1, 2, 4, 5],
        removed: &[],
        before: |_, set| {
            work(set);
            all_once(set);
        },
        act: |_, set| {
            let drive = set.members()[1].drive;
            set.retire(drive).map_err(|error| match error {
                drives::DrivesError::Disk(error) => error,
                other => panic!("{other}"),
            })?;
            work_to_end(set)
        },
        after: |set| {
            all_once(set);
            assert_eq!(set.members()[1].state, MemberState::Retired);
        },
    });
}

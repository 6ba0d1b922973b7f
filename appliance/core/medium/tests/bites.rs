//! A store of one value, right and with planted bugs: crashing it at every operation lets the right one
//! pass and catches every bug. What is not caught here could not be caught in the pool.

use std::sync::Arc;

use medium::sim::{Fault, FaultPlan, Random, SimDisk};
use medium::{Access, Disk, DiskError, Poisoning};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// Bytes are not synced before the rename.
    NoSync,
    /// The directory is not synced after the rename.
    NoDirectorySync,
    /// The value is written over the old one.
    InPlace,
    /// A failed sync is tried again.
    RetriedSync,
    /// A failed sync is ignored.
    IgnoredSync,
}

/// Longer than a sector, so that it can tear.
fn value(number: u8) -> Vec<u8> {
    vec![number; 1_500]
}

fn put(disk: &dyn Disk, bug: Bug, number: u8) -> Result<(), DiskError> {
    if bug == Bug::InPlace {
        let file = match disk.open("value", Access::ReadWrite) {
            Ok(file) => file,
            Err(_) => disk.create("value")?,
        };
        file.write_at(0, &value(number))?;
        file.sync_data()?;
        return disk.sync_directory("");
    }
    if disk.open("value.new", Access::Read).is_ok() {
        disk.remove("value.new")?;
    }
    let file = disk.create("value.new")?;
    file.write_at(0, &value(number))?;
    match bug {
        Bug::NoSync => {}
        Bug::RetriedSync => file.sync_data().or_else(|_| file.sync_data())?,
        Bug::IgnoredSync => drop(file.sync_data()),
        _ => file.sync_data()?,
    }
    disk.rename("value.new", "value")?;
    if bug == Bug::NoDirectorySync { Ok(()) } else { disk.sync_directory("") }
}

/// Writes values until the power goes, and looks what is there afterwards: the last acknowledged value or
/// the one that was being written.
fn survives(bug: Bug, seed: u64, fault: Option<u64>, crash_at: u64) -> bool {
    let mut random = Random::new(seed);
    let disk = SimDisk::new(seed);
    let plain = matches!(bug, Bug::RetriedSync | Bug::IgnoredSync);
    let shared = Arc::new(disk.clone());
    let used: Arc<dyn Disk> = if plain { shared } else { Arc::new(Poisoning::new(shared)) };
    if let Some(at) = fault {
        disk.fail(FaultPlan::once(Fault::Error, at));
    }
    disk.fail(FaultPlan::once(Fault::Crash, crash_at));
    let (mut acknowledged, mut tried) = (0, 0);
    for number in 1..=4 {
        tried = number;
        match put(&*used, bug, number) {
            Ok(()) => acknowledged = number,
            Err(_) => break,
        }
    }
    let found = disk.crash(&mut random).files().remove("value");
    (acknowledged..=tried).any(|number| match &found {
        None => number == 0,
        Some(bytes) => *bytes == value(number),
    })
}

fn failures(bug: Bug) -> usize {
    let mut failures = 0;
    for seed in 0..60 {
        for crash_at in 1..=24 {
            failures += usize::from(!survives(bug, seed, None, crash_at));
            failures += usize::from(!survives(bug, seed, Some(crash_at / 2), crash_at));
        }
    }
    failures
}

#[test]
fn the_right_store_survives_every_crash() {
    assert_eq!(failures(Bug::None), 0);
}

#[test]
fn every_planted_bug_is_caught() {
    for bug in [Bug::NoSync, Bug::NoDirectorySync, Bug::InPlace, Bug::RetriedSync, Bug::IgnoredSync] {
        let failures = failures(bug);
        assert!(failures > 20, "{bug:?} was caught {failures} times only");
    }
}

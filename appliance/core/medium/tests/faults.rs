//! Every fault strikes where it is planned, once or for ever, and leaves what it says it leaves.

use std::sync::Arc;

use medium::sim::{Fault, FaultPlan, Random, SimDisk, Survival};
use medium::{Access, Disk, DiskError, File, Poisoning};
use model::ErrorKind;

fn kind<T>(result: Result<T, DiskError>) -> Option<ErrorKind> {
    result.err().map(|e| e.kind())
}

/// A file `f` of 4 KiB of ones, durable with its name: operations 1 to 4.
fn settled() -> (SimDisk, Arc<dyn File>) {
    let disk = SimDisk::new(1);
    let file = disk.create("f").expect("no fault is planned");
    file.write_at(0, &[1; 4096]).expect("no fault is planned");
    file.sync_data().expect("no fault is planned");
    disk.sync_directory("").expect("no fault is planned");
    assert_eq!(disk.operations(), 4);
    (disk, file)
}

fn durable(disk: &SimDisk, path: &str) -> Vec<u8> {
    disk.image(Survival::Nothing, &mut Random::new(1)).files().remove(path).unwrap_or_default()
}

#[test]
fn every_counted_call_can_fail() {
    type Call = fn(&SimDisk, &dyn File) -> Result<(), DiskError>;
    let calls: [(&str, Call); 7] = [
        ("create", |disk, _| disk.create("g").map(drop)),
        ("rename", |disk, _| disk.rename("f", "g")),
        ("remove", |disk, _| disk.remove("f")),
        ("make directory", |disk, _| disk.make_directory("g")),
        ("sync directory", |disk, _| disk.sync_directory("")),
        ("write", |_, file| file.write_at(0, &[2; 512])),
        ("set length", |_, file| file.set_length(0)),
    ];
    for (name, call) in calls {
        let (disk, file) = settled();
        let before = disk.files();
        disk.fail(FaultPlan::once(Fault::Error, 5));
        assert_eq!(kind(call(&disk, &*file)), Some(ErrorKind::Io), "{name}");
        assert_eq!(disk.files(), before, "{name} had an effect");
        assert_eq!(disk.operations(), 5, "{name} was not counted");
        assert!(disk.log().last().unwrap().contains(name), "{:?}", disk.log());
        call(&disk, &*file).unwrap_or_else(|e| panic!("{name} fails again: {e}"));
    }
}

#[test]
fn reads_fail_by_their_own_count() {
    let (disk, file) = settled();
    disk.fail(FaultPlan::once(Fault::Error, 2).on_reads());
    file.write_at(0, b"changes are not counted").unwrap();
    let results: Vec<bool> = (0..4).map(|_| file.read_at(0, &mut [0; 8]).is_ok()).collect();
    assert_eq!(results, [true, false, true, true]);
    disk.fail(FaultPlan::lasting(Fault::Error, 1).on_reads());
    assert!(file.read_at(0, &mut [0; 8]).is_err() && file.read_at(0, &mut [0; 8]).is_err());
    disk.clear_faults();
    file.read_at(0, &mut [0; 8]).unwrap();
    assert_eq!(disk.reads(), 7);
}

#[test]
fn a_fault_can_be_for_some_paths() {
    let (disk, file) = settled();
    disk.fail(FaultPlan::lasting(Fault::Error, 1).under("g"));
    file.write_at(0, b"x").unwrap();
    assert!(disk.create("g").is_err() && disk.rename("f", "g1").is_err());
    disk.rename("f", "h").unwrap();
}

#[test]
fn no_space_lasts_until_cleared_and_lets_go_of_room() {
    let (disk, file) = settled();
    disk.fail(FaultPlan::lasting(Fault::NoSpace, 1));
    assert_eq!(kind(file.write_at(0, b"x")), Some(ErrorKind::Full));
    assert_eq!(kind(disk.create("g")), Some(ErrorKind::Full));
    assert_eq!(kind(disk.make_directory("g")), Some(ErrorKind::Full));
    file.sync_data().unwrap();
    disk.rename("f", "g").unwrap();
    disk.remove("g").unwrap();
    disk.clear_faults();
    disk.create("h").unwrap();
}

#[test]
fn capacity_is_bounded_and_comes_back() {
    let (disk, file) = settled();
    disk.set_capacity(3 * 4096);
    assert_eq!(disk.space().unwrap().available_bytes, 2 * 4096);
    let second = disk.create("g").unwrap();
    second.write_at(0, &[1; 8192]).unwrap();
    assert_eq!(disk.space().unwrap().available_bytes, 0);
    assert_eq!(kind(file.write_at(4096, b"x")), Some(ErrorKind::Full));
    assert_eq!(kind(file.write_at(1 << 50, b"x")), Some(ErrorKind::Full));
    assert_eq!(kind(file.set_length(1 << 50)), Some(ErrorKind::Full));
    file.write_at(0, &[2; 4096]).unwrap();
    disk.remove("g").unwrap();
    assert_eq!(kind(file.write_at(4096, b"x")), Some(ErrorKind::Full), "an open file keeps its room");
    drop(second);
    file.write_at(4096, b"x").unwrap();
    file.set_length(10).unwrap();
    assert_eq!(disk.space().unwrap().available_bytes, 2 * 4096);
}

#[test]
fn short_and_torn_writes_leave_a_part() {
    let mut short_lengths = std::collections::BTreeSet::new();
    let mut with_holes = 0;
    for round in 0..200 {
        let disk = SimDisk::new(round);
        let file = disk.create("f").unwrap();
        file.write_at(0, &[1; 4096]).unwrap();
        disk.fail(FaultPlan::once(if round % 2 == 0 { Fault::ShortWrite } else { Fault::TornWrite }, 3));
        assert_eq!(kind(file.write_at(0, &[2; 4096])), Some(ErrorKind::Io));
        let bytes = disk.files().remove("f").unwrap();
        let written = bytes.iter().take_while(|b| **b == 2).count();
        if round % 2 == 0 {
            assert!(written < 4096 && bytes[written..].iter().all(|b| *b == 1));
            short_lengths.insert(written);
        } else {
            assert!(bytes.chunks(512).all(|sector| sector == [1; 512] || sector == [2; 512]));
            with_holes += usize::from(bytes[written..].contains(&2));
        }
    }
    assert!(short_lengths.len() > 50 && with_holes > 80, "{} {with_holes}", short_lengths.len());
}

#[test]
fn a_lying_sync_makes_nothing_durable_until_an_honest_one() {
    let (disk, file) = settled();
    disk.fail(FaultPlan::lasting(Fault::LyingSync, 1));
    file.write_at(0, &[2; 4096]).unwrap();
    disk.create("g").unwrap();
    file.sync_data().unwrap();
    disk.sync_directory("").unwrap();
    assert_eq!(durable(&disk, "f"), [1; 4096]);
    let image = disk.image(Survival::Nothing, &mut Random::new(1));
    assert_eq!(image.list("").unwrap(), ["f"]);
    disk.clear_faults();
    file.sync_data().unwrap();
    disk.sync_directory("").unwrap();
    assert_eq!(durable(&disk, "f"), [2; 4096]);
    assert_eq!(disk.image(Survival::Nothing, &mut Random::new(1)).list("").unwrap(), ["f", "g"]);
}

#[test]
fn a_failed_sync_forgets_and_the_second_one_lies() {
    let (mut lost, mut partly) = (0, 0);
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        let file = disk.create("f").unwrap();
        disk.sync_directory("").unwrap();
        disk.fail(FaultPlan::once(Fault::Error, 4));
        file.write_at(0, &[2; 4096]).unwrap();
        assert_eq!(kind(file.sync_data()), Some(ErrorKind::Io));
        file.write_at(4096, &[3; 4096]).unwrap();
        file.sync_data().unwrap();
        let mut buffer = [0; 4096];
        file.read_at(0, &mut buffer).unwrap();
        assert_eq!(buffer, [2; 4096], "the program goes on seeing it");
        let durable = durable(&disk, "f");
        assert_eq!(durable[4096..], [3; 4096], "what was written later is durable");
        assert!(durable[..4096].chunks(512).all(|sector| sector == [0; 512] || sector == [2; 512]));
        lost += usize::from(durable[..4096] != [2; 4096]);
        partly += usize::from(durable[..4096].contains(&2));
        let survivor = disk.image(Survival::Everything, &mut Random::new(seed)).files();
        assert_eq!(survivor["f"], durable, "forgotten pages do not come back");
        file.forget_cached().unwrap();
        let mut buffer = [0; 8192];
        file.read_at(0, &mut buffer).unwrap();
        assert_eq!(buffer[..], durable, "without its cache the program sees the platter");
    }
    assert!(lost >= 45 && partly >= 10, "lost in {lost} of 50, partly there in {partly}");
}

#[test]
fn a_failed_sync_of_a_directory_forgets_names() {
    let mut lost = 0;
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        disk.create("f").unwrap();
        disk.fail(FaultPlan::once(Fault::Error, 2));
        assert_eq!(kind(disk.sync_directory("")), Some(ErrorKind::Io));
        disk.create("g").unwrap();
        disk.sync_directory("").unwrap();
        assert_eq!(disk.list("").unwrap(), ["f", "g"]);
        let image = disk.image(Survival::Everything, &mut Random::new(seed));
        lost += usize::from(image.list("").unwrap() == ["g"]);
    }
    assert!((25..50).contains(&lost), "lost in {lost} of 50");
}

#[test]
fn poisoning_allows_no_second_sync() {
    let (disk, file) = settled();
    drop(file);
    let poisoning = Poisoning::new(Arc::new(disk.clone()));
    let (file, other) =
        (poisoning.open("f", Access::ReadWrite).unwrap(), poisoning.open("f", Access::ReadWrite).unwrap());
    disk.fail(FaultPlan::once(Fault::Error, 6));
    file.write_at(0, b"x").unwrap();
    assert!(matches!(file.sync_data(), Err(DiskError::Failed { .. })));
    for _ in 0..2 {
        assert!(matches!(file.sync_data(), Err(DiskError::Poisoned { .. })));
        assert!(matches!(file.write_at(0, b"y"), Err(DiskError::Poisoned { .. })));
        assert!(matches!(file.set_length(0), Err(DiskError::Poisoned { .. })));
    }
    assert_eq!(disk.operations(), 6, "nothing reached the disk");
    file.read_at(0, &mut [0; 4096]).unwrap();
    other.write_at(0, b"z").unwrap();
    other.sync_data().unwrap();
}

#[test]
fn a_caller_that_starts_over_may_change_a_directory_again() {
    let disk = SimDisk::new(1);
    let poisoning = Poisoning::new(Arc::new(disk.clone()));
    disk.fail(FaultPlan::once(Fault::Error, 1));
    assert!(matches!(poisoning.sync_directory(""), Err(DiskError::Failed { .. })));
    assert!(matches!(poisoning.create("f"), Err(DiskError::Poisoned { .. })));
    poisoning.start_over();
    poisoning.create("f").unwrap();
    poisoning.sync_directory("").unwrap();
}

#[test]
fn poisoning_keeps_a_directory_from_changing() {
    let (disk, _file) = settled();
    let poisoning = Poisoning::new(Arc::new(disk.clone()));
    poisoning.make_directory("d").unwrap();
    disk.fail(FaultPlan::once(Fault::Error, 6));
    assert!(matches!(poisoning.sync_directory(""), Err(DiskError::Failed { .. })));
    let poisoned = |result: Result<(), DiskError>| matches!(result, Err(DiskError::Poisoned { .. }));
    assert!(poisoned(poisoning.sync_directory("")) && poisoned(poisoning.create("g").map(drop)));
    assert!(poisoned(poisoning.remove("f")) && poisoned(poisoning.make_directory("e")));
    assert!(poisoned(poisoning.rename("f", "d/f")) && poisoned(poisoning.rename("d/f", "f")));
    assert_eq!(poisoning.list("").unwrap(), ["d", "f"]);
    poisoning.create("d/g").unwrap();
    poisoning.sync_directory("d").unwrap();
    assert_eq!(kind(poisoning.sync_directory("nowhere")), Some(ErrorKind::Missing));
    assert_eq!(kind(poisoning.sync_directory("nowhere")), Some(ErrorKind::Missing));
}

#[test]
fn a_planned_crash_stops_everything_before_its_call() {
    for at in 1..=4 {
        let disk = SimDisk::new(1);
        disk.fail(FaultPlan::once(Fault::Crash, at));
        let run = || -> Result<(), DiskError> {
            let file = disk.create("f")?;
            file.write_at(0, b"x")?;
            file.sync_data()?;
            disk.sync_directory("")
        };
        assert!(matches!(run(), Err(DiskError::Crashed { .. })));
        assert!(matches!(disk.create("g"), Err(DiskError::Crashed { .. })));
        disk.clear_faults();
        assert!(matches!(disk.list(""), Err(DiskError::Crashed { .. })), "power does not come back");
        assert_eq!(disk.operations(), at);
        let bytes = disk.crash_with(Survival::Everything, &mut Random::new(1)).files().remove("f");
        let expected: [Option<&[u8]>; 4] = [None, Some(b""), Some(b"x"), Some(b"x")];
        assert_eq!(bytes.as_deref(), expected[usize::try_from(at).unwrap() - 1]);
    }
}

//! Proofs of the durability model: everything that can happen to pending changes does happen for some
//! seed, and nothing else ever does.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::{Access, Disk, File};

const SEEDS: u64 = 600;

fn sectors(tags: &[u8]) -> Vec<u8> {
    tags.iter().flat_map(|tag| [*tag; 512]).collect()
}

/// A file whose bytes and name are durable.
fn settle(disk: &SimDisk, path: &str, bytes: &[u8]) -> Arc<dyn File> {
    let file = disk.create(path).unwrap();
    file.write_at(0, bytes).unwrap();
    file.sync_data().unwrap();
    disk.sync_directory("").unwrap();
    file
}

/// What every seed makes of the disk that `prepare` leaves, as a set.
fn outcomes<T: Ord>(prepare: impl Fn(&SimDisk), look: impl Fn(&SimDisk) -> T) -> BTreeSet<T> {
    let disk = SimDisk::new(1);
    prepare(&disk);
    (0..SEEDS)
        .map(|seed| {
            let mut random = Random::new(seed);
            let survival = Survival::draw(&mut random);
            look(&disk.image(survival, &mut random))
        })
        .collect()
}

fn bytes(disk: &SimDisk, path: &str) -> Option<Vec<u8>> {
    disk.files().remove(path)
}

/// The first byte of each sector.
fn tags(disk: &SimDisk, path: &str) -> Vec<u8> {
    bytes(disk, path).unwrap().iter().copied().step_by(512).collect()
}

#[test]
fn an_overwrite_is_torn_in_every_way_and_in_no_other() {
    let seen = outcomes(
        |disk| settle(disk, "f", &sectors(&[1; 3])).write_at(0, &sectors(&[2; 3])).unwrap(),
        |disk| tags(disk, "f"),
    );
    let every: BTreeSet<Vec<u8>> =
        (0..8_u8).map(|bits| (0..3).map(|bit| 1 + (bits >> bit & 1)).collect()).collect();
    assert_eq!(seen, every);
}

#[test]
fn a_sector_goes_back_to_any_state_it_had_and_to_no_other() {
    // Three records in one sector: a later one is never there without the earlier ones.
    let seen = outcomes(
        |disk| {
            let file = settle(disk, "f", &[0; 512]);
            for record in 1..=3 {
                file.write_at(u64::from(record) * 100, &[record; 100]).unwrap();
            }
        },
        |disk| bytes(disk, "f").unwrap().iter().copied().step_by(100).collect::<Vec<_>>(),
    );
    let every = [[0; 6], [0, 1, 0, 0, 0, 0], [0, 1, 2, 0, 0, 0], [0, 1, 2, 3, 0, 0]];
    assert_eq!(seen, every.map(Vec::from).into());
}

#[test]
fn garbage_and_a_kept_record_never_share_a_sector() {
    let seen = outcomes(
        |disk| {
            let file = settle(disk, "f", b"");
            for record in 1..=3 {
                file.write_at(u64::from(record - 1) * 100, &[record; 100]).unwrap();
            }
        },
        |disk| {
            let bytes = bytes(disk, "f").unwrap();
            let record = |number: u8| bytes.chunks(100).nth(usize::from(number) - 1).unwrap_or_default();
            let kept = (1..=3).take_while(|number| record(*number) == [*number; 100]).count();
            let rest = &bytes[kept * 100..];
            (kept, rest.iter().any(|b| *b != 0))
        },
    );
    assert_eq!(seen, [(0, false), (0, true), (1, false), (2, false), (3, false)].into());
}

#[test]
fn operations_are_reordered() {
    let seen = outcomes(
        |disk| {
            let file = settle(disk, "f", &sectors(&[1, 1]));
            file.write_at(0, &sectors(&[2])).unwrap();
            file.write_at(512, &sectors(&[2])).unwrap();
        },
        |disk| tags(disk, "f"),
    );
    assert!(seen.contains(&vec![1, 2]), "the second without the first");
    assert!(seen.contains(&vec![2, 1]), "the first without the second");
    assert_eq!(seen.len(), 4);
}

#[test]
fn an_append_may_leave_a_longer_file_with_zeros_or_garbage() {
    let seen = outcomes(
        |disk| settle(disk, "f", &[1; 700]).write_at(700, &[2; 1_300]).unwrap(),
        |disk| {
            let bytes = bytes(disk, "f").unwrap();
            assert_eq!(bytes[..700], [1; 700], "what was synced");
            match bytes[700..] {
                [] => "short",
                ref rest if rest == [2; 1_300] => "whole",
                ref rest if rest == [0; 1_300] => "zeros",
                ref rest if rest[..324] != [2; 324] && rest[..324] != [0; 324] => "an impossible sector",
                ref rest if rest[324..].iter().all(|b| [0, 2].contains(b)) => "torn",
                _ => "garbage",
            }
        },
    );
    assert_eq!(seen, ["short", "whole", "zeros", "torn", "garbage"].into());
}

#[test]
fn a_truncation_happens_or_does_not() {
    let seen = outcomes(
        |disk| settle(disk, "f", &sectors(&[1, 2, 3])).set_length(512).unwrap(),
        |disk| tags(disk, "f"),
    );
    assert_eq!(seen, [vec![1, 2, 3], vec![1]].into());
}

#[test]
fn bytes_behind_a_truncation_come_only_with_it() {
    // Cut to one sector, then written again behind the cut.
    let seen = outcomes(
        |disk| {
            let file = settle(disk, "f", &sectors(&[1, 2, 3]));
            file.set_length(512).unwrap();
            file.write_at(1_024, &sectors(&[4])).unwrap();
        },
        |disk| {
            let tags = tags(disk, "f");
            // Platter garbage, which is legal only where no byte was durable, is not legal here.
            assert!(tags.iter().all(|tag| *tag <= 4), "{tags:?}");
            tags
        },
    );
    let every = [vec![1, 2, 3], vec![1], vec![1, 0, 0], vec![1, 0, 4]];
    assert_eq!(seen, every.into());
}

#[test]
fn an_unsynced_name_vanishes_though_its_bytes_were_synced() {
    let seen = outcomes(
        |disk| {
            let file = disk.create("f").unwrap();
            file.write_at(0, b"synced").unwrap();
            file.sync_data().unwrap();
        },
        |disk| bytes(disk, "f"),
    );
    assert_eq!(seen, [None, Some(b"synced".to_vec())].into());
}

#[test]
fn a_rename_overtakes_the_bytes_or_stays_behind() {
    let seen = outcomes(
        |disk| {
            settle(disk, "current", b"old");
            let file = disk.create("new").unwrap();
            file.write_at(0, b"new").unwrap();
            disk.rename("new", "current").unwrap();
        },
        |disk| bytes(disk, "current").map(|b| String::from_utf8_lossy(&b).into_owned()),
    );
    for text in ["old", "new", "", "\0\0\0"] {
        assert!(seen.contains(&Some(text.to_owned())), "{text:?} in {seen:?}");
    }
    assert!(!seen.contains(&None), "a rename replaces atomically");
}

#[test]
fn names_are_independent_of_each_other() {
    let seen = outcomes(
        |disk| {
            settle(disk, "removed", b"x");
            disk.create("a").unwrap();
            disk.create("b").unwrap();
            disk.remove("removed").unwrap();
        },
        |disk| disk.list("").unwrap(),
    );
    assert_eq!(seen.len(), 8, "{seen:?}");
}

#[test]
fn a_removed_file_comes_back_whole() {
    let seen = outcomes(
        |disk| {
            let file = settle(disk, "f", b"synced");
            disk.remove("f").unwrap();
            disk.create("g").unwrap();
            drop(file);
            disk.sync_directory("nowhere").unwrap_err();
        },
        |disk| bytes(disk, "f"),
    );
    assert_eq!(seen, [None, Some(b"synced".to_vec())].into());
}

#[test]
fn no_step_of_a_rotation_loses_the_file() {
    let seen = outcomes(
        |disk| {
            settle(disk, "log", b"first");
            disk.rename("log", "log.1").unwrap();
            let second = disk.create("log").unwrap();
            second.write_at(0, b"second").unwrap();
            second.sync_data().unwrap();
        },
        |disk| (bytes(disk, "log"), bytes(disk, "log.1")),
    );
    let first = || Some(b"first".to_vec());
    let every = [(first(), None), (None, first()), (Some(b"second".to_vec()), first())];
    assert_eq!(seen, every.into());
}

#[test]
fn a_lost_directory_takes_its_files_with_it() {
    let prepare = |disk: &SimDisk| {
        disk.make_directory("d").unwrap();
        let file = disk.create("d/f").unwrap();
        file.write_at(0, b"synced").unwrap();
        file.sync_data().unwrap();
        disk.sync_directory("d").unwrap();
    };
    let seen = outcomes(prepare, |disk| {
        let space = disk.space().unwrap();
        (disk.files().into_keys().collect::<Vec<_>>(), space.capacity_bytes - space.available_bytes)
    });
    assert_eq!(seen, [(vec![], 0), (vec!["d/f".to_owned()], 4096)].into());
    let with_parent = |disk: &SimDisk| {
        prepare(disk);
        disk.sync_directory("").unwrap();
    };
    let seen = outcomes(with_parent, |disk| bytes(disk, "d/f"));
    assert_eq!(seen, [Some(b"synced".to_vec())].into());
}

#[test]
fn a_rename_between_directories_is_one_change() {
    for (synced, outcomes_expected) in [(None, 2), (Some("to"), 1), (Some("from"), 1)] {
        let seen = outcomes(
            |disk| {
                disk.make_directory("from").unwrap();
                disk.make_directory("to").unwrap();
                settle(disk, "from/f", b"x");
                disk.sync_directory("from").unwrap();
                disk.rename("from/f", "to/f").unwrap();
                synced.into_iter().for_each(|directory| disk.sync_directory(directory).unwrap());
            },
            |disk| disk.files().into_keys().collect::<Vec<_>>(),
        );
        assert!(seen.iter().all(|names| names.len() == 1), "{seen:?}");
        assert_eq!(seen.len(), outcomes_expected, "{synced:?}: {seen:?}");
        assert!(seen.contains(&vec!["to/f".to_owned()]));
    }
}

#[test]
fn a_prefix_is_a_moment() {
    let disk = SimDisk::new(1);
    let file = settle(&disk, "f", &sectors(&[0; 4]));
    for tag in 0..4_u8 {
        file.write_at(u64::from(tag) * 512, &sectors(&[tag + 1])).unwrap();
        disk.create(&format!("name{tag}")).unwrap();
    }
    let mut lengths = BTreeSet::new();
    for seed in 0..SEEDS {
        let image = disk.image(Survival::Prefix, &mut Random::new(seed));
        let written = tags(&image, "f").iter().take_while(|tag| **tag > 0).count();
        let names = image.list("").unwrap().len() - 1;
        assert!(written == names || written == names + 1, "seed {seed}: {written} writes, {names} names");
        assert!(tags(&image, "f")[written..].iter().all(|tag| *tag == 0), "seed {seed}");
        lengths.insert((written, names));
    }
    assert_eq!(lengths.len(), 9, "every moment: {lengths:?}");
}

#[test]
fn the_write_at_the_moment_of_a_crash_is_torn_at_a_sector() {
    let disk = SimDisk::new(1);
    settle(&disk, "f", &sectors(&[1; 3])).write_at(0, &sectors(&[2; 3])).unwrap();
    let image = |seed| tags(&disk.image(Survival::Prefix, &mut Random::new(seed)), "f");
    let seen: BTreeSet<Vec<u8>> = (0..SEEDS).map(image).collect();
    assert_eq!(seen, [vec![1, 1, 1], vec![2, 1, 1], vec![2, 2, 1], vec![2, 2, 2]].into());
}

#[test]
fn bytes_can_arrive_where_names_do_not() {
    let disk = SimDisk::new(1);
    settle(&disk, "f", b"old").write_at(0, b"new").unwrap();
    disk.rename("f", "g").unwrap();
    let image = disk.image(Survival::Data, &mut Random::new(1));
    assert_eq!(image.files(), [("f".to_owned(), b"new".to_vec())].into());
}

#[test]
fn a_crash_ends_the_old_world() {
    let disk = SimDisk::new(1);
    let file = settle(&disk, "f", b"synced");
    let lock = disk.lock("f").unwrap();
    let other = disk.clone();
    let after = disk.crash(&mut Random::new(1));
    let crashed =
        |result: Result<(), crate::DiskError>| matches!(result, Err(crate::DiskError::Crashed { .. }));
    assert!(crashed(file.read_at(0, &mut [0; 6])) && crashed(file.write_at(0, b"x")));
    assert!(crashed(file.sync_data()) && crashed(file.set_length(0)) && crashed(file.length().map(drop)));
    assert!(crashed(other.create("g").map(drop)) && crashed(other.sync_directory("")));
    assert!(crashed(other.list("").map(drop)) && crashed(other.open("f", Access::Read).map(drop)));
    assert!(crashed(other.lock("l").map(drop)) && crashed(other.space().map(drop)));
    after.lock("f").unwrap();
    assert_eq!(bytes(&after, "f"), Some(b"synced".to_vec()));
    drop((lock, file));
}

#[test]
fn a_seed_repeats_everything() {
    let run = |seed| {
        let disk = SimDisk::new(seed);
        disk.fail(FaultPlan::once(Fault::TornWrite, 5));
        disk.fail(FaultPlan::once(Fault::Error, 8));
        let file = settle(&disk, "f", &sectors(&[1; 8]));
        let results: Vec<bool> = (0..8)
            .map(|n| match n % 3 {
                0 => file.write_at(n * 512, &sectors(&[9; 6])).is_ok(),
                _ => file.sync_data().is_ok(),
            })
            .collect();
        let image = disk.crash(&mut Random::new(seed));
        (results, disk.files(), disk.log(), image.files())
    };
    let all: BTreeSet<_> = (0..20).map(run).collect();
    assert_eq!(all, (0..20).map(run).collect());
    assert!(all.len() > 5, "seeds make a difference");
}

#[test]
fn a_snapshot_goes_its_own_way() {
    let disk = SimDisk::new(1);
    let file = settle(&disk, "f", b"synced");
    file.write_at(0, b"SYN").unwrap();
    let copy = disk.snapshot();
    file.sync_data().unwrap();
    disk.remove("f").unwrap();
    assert_eq!(bytes(&copy, "f"), Some(b"SYNced".to_vec()));
    let image = copy.image(Survival::Nothing, &mut Random::new(1));
    assert_eq!(bytes(&image, "f"), Some(b"synced".to_vec()), "still pending in the copy");
    assert_eq!(copy.operations(), 5, "the copy counts on from where it was made");
    copy.remove("f").unwrap();
    let space = copy.space().unwrap();
    assert_eq!(space.available_bytes, space.capacity_bytes, "nobody has it open in the copy");
}

#[test]
fn damage_reaches_the_platter() {
    let disk = SimDisk::new(1);
    let file = settle(&disk, "f", &[0; 5_000]);
    file.write_at(0, b"pending").unwrap();
    disk.flip("f", 4_999 * 8 + 3).unwrap();
    disk.overwrite("f", 4_000, b"xyz").unwrap();
    for image in [disk.clone(), disk.image(Survival::Nothing, &mut Random::new(1))] {
        let bytes = bytes(&image, "f").unwrap();
        assert_eq!((bytes[4_999], &bytes[4_000..4_003]), (8, &b"xyz"[..]));
    }
    assert!(disk.flip("f", 5_000 * 8).is_err(), "beyond the end");
    assert!(disk.overwrite("f", 4_999, b"xy").is_err(), "beyond the end");
    assert!(disk.flip("g", 0).is_err(), "no such file");
    assert_eq!(file.length().unwrap(), 5_000);
}

//! Drives of a set without their appliance: what they give together is read, and nothing on them changes.

#![expect(clippy::unwrap_used, reason = "a test says by it what must not fail")]

mod world;

use std::sync::Arc;

use drives::{DriveSet, Policy, Salvage};
use medium::sim::SimDisk;
use medium::{Access, Disk};
use model::ErrorKind;
use world::{Rig, bytes, get, path, prepare, put, work};

/// The drives at these places.
fn salvage(rig: &Rig, places: &[usize]) -> Salvage {
    let disks: Vec<Arc<dyn Disk>> = places.iter().map(|place| rig.hand(*place)).collect();
    Salvage::of(&disks).unwrap().unwrap()
}

fn filled(rig: &Rig, policy: Policy, segments: u64) -> DriveSet {
    let set = rig.create(policy);
    prepare(&set);
    (1..=segments).for_each(|number| put(&set, number, &bytes(number, 9_000)).unwrap());
    work(&set);
    set
}

#[test]
fn what_parity_gives_is_there_and_nothing_is_changed() {
    let rig = Rig::new(1, 5);
    let set = filled(&rig, Policy::Parity { data: 3, parity: 2 }, 3);
    let images = || rig.disks.iter().map(SimDisk::files).collect::<Vec<_>>();
    drop(set);
    let before = images();
    let pairs = (0..5).flat_map(|one| (0..one).map(move |other| [one, other]));
    for lost in pairs {
        let kept: Vec<usize> = (0..5).filter(|place| !lost.contains(place)).collect();
        let salvage = salvage(&rig, &kept);
        assert_eq!(salvage.list("segments").unwrap().len(), 3, "{lost:?}");
        for number in 1..=3 {
            assert!(
                get(&salvage, &path(number)).unwrap() == bytes(number, 9_000),
                "{number} without {lost:?}"
            );
        }
        assert!(salvage.create("anything").is_err() && salvage.remove(&path(1)).is_err());
    }
    let two = salvage(&rig, &[0, 1]);
    let read = (1..=3).filter(|number| get(&two, &path(*number)).is_ok()).count();
    assert!(read < 3 && two.list("segments").unwrap().len() == read, "what is lacking is not there");
    assert!(images() == before);
}

#[test]
fn rot_on_what_is_left_is_made_up_for() {
    let rig = Rig::new(2, 5);
    drop(filled(&rig, Policy::Parity { data: 3, parity: 2 }, 3));
    let holder = |number| (0..5).find(|place| rig.disks[*place].files().contains_key(&path(number))).unwrap();
    let (lost, rotten) = (holder(1), holder(2));
    rig.disks[rotten].flip(&path(2), 8 * 4_000).unwrap();
    let kept: Vec<usize> = (0..5).filter(|place| *place != lost).collect();
    let salvage = salvage(&rig, &kept);
    assert!(get(&salvage, &path(1)).unwrap() == bytes(1, 9_000), "a rotten shard is not used");
    let two = salvage.open(&path(2), Access::Read).unwrap();
    let mut read = vec![0; 9_000];
    two.read_copy(two.whole_copies(), 0, &mut read).unwrap();
    assert!(read == bytes(2, 9_000), "who sees that the copy is wrong has another");
}

#[test]
fn a_drive_that_was_out_comes_behind_those_that_went_on() {
    let rig = Rig::new(3, 3);
    let set = filled(&rig, Policy::Copies(3), 1);
    let write = |text: &[u8]| {
        let file = set.create("note").or_else(|_| set.open("note", Access::ReadWrite)).unwrap();
        file.set_length(0).unwrap();
        file.write_at(0, text).unwrap();
        file.sync_data().unwrap();
        set.sync_directory("").unwrap();
    };
    write(b"what was first");
    set.drop_out(set.members()[0].drive).unwrap();
    write(b"what came after");
    drop(set);
    for order in [[0, 1, 2], [1, 0, 2], [2, 1, 0]] {
        assert_eq!(get(&salvage(&rig, &order), "note").unwrap(), b"what came after");
    }
    assert_eq!(get(&salvage(&rig, &[0]), "note").unwrap(), b"what was first", "it is all there is");
}

#[test]
fn what_is_no_set_is_left_to_others() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(4));
    assert!(Salvage::of(&[disk]).unwrap().is_none());
    let rig = Rig::new(5, 2);
    drop(filled(&rig, Policy::Copies(2), 1));
    let salvage = salvage(&rig, &[0, 1]);
    assert_eq!(get(&salvage, &path(9)).unwrap_err().kind(), ErrorKind::Missing);
}

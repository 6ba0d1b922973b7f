//! What was acknowledged is there after the power went at any change, whichever drive is lost with it.

#![expect(clippy::unwrap_used, reason = "a test says by it what must not fail")]

mod world;

use drives::Policy;
use medium::sim::{Random, Survival};
use model::SegmentNumber;
use world::ledger::Ledger;
use world::{Rig, prepare, work};

/// Runs for so many actions, or until the power goes.
fn run(rig: &Rig, policy: Policy, seed: u64, actions: usize) -> Ledger {
    let mut ledger = Ledger::default();
    let mut random = Random::new(seed);
    let set = rig.create(policy);
    prepare(&set);
    for _ in 0..actions {
        if ledger.act(&set, &mut random).is_err() {
            break;
        }
        if random.chance(60) {
            let sealed = |number: SegmentNumber| ledger.is_sealed(number.0);
            if set.step(4_000, &sealed).is_err() {
                break;
            }
        }
    }
    ledger.let_go();
    ledger
}

/// The set opens with all drives and without any `lost` of them, and has all that it acknowledged.
fn survives(rig: &Rig, ledger: &Ledger, lost: &[Vec<usize>], what: &str) {
    for lost in lost {
        let mut random = Random::new(1);
        let image = rig.image(Survival::Everything, &mut random);
        let places: Vec<usize> = (0..rig.disks.len()).filter(|place| !lost.contains(place)).collect();
        let opened = image.open_with(&places);
        assert!(opened.refused.is_empty(), "{what} without {lost:?}: {:?}", opened.refused);
        ledger.check(&opened.set, &format!("{what} without {lost:?}"));
        work(&opened.set);
        ledger.check(&opened.set, &format!("{what} without {lost:?}, after work"));
    }
}

fn losses(drives: usize, count: usize) -> Vec<Vec<usize>> {
    let mut losses = vec![Vec::new()];
    for first in 0..drives {
        losses.extend((count > 0).then(|| vec![first]));
        losses.extend((first + 1..drives).filter(|_| count == 2).map(|second| vec![first, second]));
    }
    losses
}

fn crash_everywhere(drives: usize, policy: Policy, count: usize, seeds: u64, stride: u64) {
    for seed in 0..seeds {
        let whole = Rig::new(seed, drives);
        run(&whole, policy, seed, 40);
        let (begin, end) = (u64::try_from(drives).unwrap() * 60, whole.power.spent());
        let mut at = begin + seed % stride;
        while at < end {
            let rig = Rig::new(seed, drives);
            rig.power.cut_after(at);
            let mut ledger = run(&rig, policy, seed, 40);
            assert!(rig.power.is_gone());
            let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(at));
            let after = rig.crash(&mut random);
            let what = format!("seed {seed}, cut at {at}");
            survives(&after, &ledger, &losses(drives, count), &what);
            // What was found is believed; then any drive may go.
            let set = after.open().set;
            ledger.believe(&set).unwrap();
            drop(set);
            survives(&after, &ledger, &losses(drives, count), &format!("{what}, believed"));
            at += stride;
        }
    }
}

#[test]
fn two_copies_survive_a_crash_and_the_loss_of_a_drive() {
    crash_everywhere(3, Policy::Copies(2), 1, 40, 7);
}

#[test]
fn one_copy_survives_a_crash() {
    crash_everywhere(2, Policy::Copies(1), 0, 4, 17);
}

#[test]
fn parity_survives_a_crash_and_the_loss_of_two_drives() {
    crash_everywhere(6, Policy::Parity { data: 4, parity: 2 }, 2, 3, 41);
}

#[test]
fn small_parity_survives_a_crash_and_the_loss_of_a_drive() {
    crash_everywhere(3, Policy::Parity { data: 2, parity: 1 }, 1, 30, 11);
}

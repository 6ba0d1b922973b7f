//! Clocks that jump, creep, stop and start again, and what becomes of witnessed time.

use std::time::Duration;

use model::Time;
use proptest::prelude::*;
use retention::{BootId, ClockFault, Observation, Verdict, Witness, Witnessed};

const START: Time = Time(1_800_000_000_000_000_000);

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn at(boot: u8, monotonic: u64, wall: i64) -> Observation {
    let wall = Time(START.0 + wall * 1_000_000_000);
    Observation { wall, monotonic: seconds(monotonic), boot_id: BootId([boot; 16]) }
}

/// What a series of observations leads to: seconds witnessed, and the fault with its seconds.
fn check(observations: &[(u8, u64, i64)], witnessed: u64, fault: Option<(ClockFault, u64)>) {
    let mut witness = Witness::default();
    let mut verdict = Verdict::Steady;
    for (boot, monotonic, wall) in observations {
        verdict = witness.observe(at(*boot, *monotonic, *wall));
        witness = Witness::decode(&witness.encode()).expect("what was encoded");
    }
    let found = match verdict {
        Verdict::Steady => None,
        Verdict::Frozen(freeze) => Some((freeze.fault, freeze.by.as_secs())),
    };
    assert_eq!(found, fault, "{observations:?}");
    assert_eq!(witness.now().witnessed, Witnessed(seconds(witnessed)), "{observations:?}");
    assert_eq!(witness.now().frozen.is_some(), fault.is_some());
}

#[test]
fn clocks_are_judged() {
    use ClockFault::{Back, BackOverBoot, Forward};
    check(&[(1, 50, 0)], 0, None);
    check(&[(1, 50, 0), (1, 100, 50)], 50, None);
    // Ten minutes are allowed, more are not.
    check(&[(1, 0, 0), (1, 10, 610)], 10, None);
    check(&[(1, 0, 0), (1, 10, 611)], 10, Some((Forward, 601)));
    check(&[(1, 0, 0), (1, 1000, 399)], 1000, Some((Back, 601)));
    // Small steps add up.
    check(&[(1, 0, 0), (1, 10, 310), (1, 20, 620), (1, 30, 930)], 30, Some((Forward, 900)));
    // A clock that comes back by itself stays frozen, with what was seen first.
    check(&[(1, 0, 0), (1, 10, 5010), (1, 20, 20)], 20, Some((Forward, 5000)));
    // Over a reboot forward is time that was switched off; backwards is not possible.
    check(&[(1, 0, 0), (1, 10, 10), (2, 3, 9_000_000), (2, 8, 9_000_005)], 15, None);
    check(&[(1, 0, 0), (1, 10, 10), (2, 3, 9)], 10, Some((BackOverBoot, 1)));
    // A freeze outlives reboots.
    check(&[(1, 0, 0), (1, 10, 5010), (2, 0, 6000), (2, 9, 6009)], 19, Some((Forward, 5000)));
    // A monotonic clock that goes back is not counted twice.
    check(&[(1, 100, 0), (1, 200, 100), (1, 150, 50), (1, 210, 110)], 110, None);
}

#[test]
fn confirming_begins_anew_from_the_clock_as_it_is() {
    let mut witness = Witness::default();
    witness.observe(at(1, 0, 0));
    assert!(matches!(witness.observe(at(1, 10, 100_000)), Verdict::Frozen(_)));
    let lifted = witness.confirm(at(1, 20, 100_010)).unwrap();
    assert_eq!((lifted.by, lifted.fault), (seconds(99_990), ClockFault::Forward));
    assert_eq!(witness.observe(at(1, 30, 100_020)), Verdict::Steady);
    assert_eq!(witness.confirm(at(1, 40, 100_030)), None);
    assert!(matches!(witness.observe(at(1, 50, 50)), Verdict::Frozen(_)));
    assert_eq!(witness.now().witnessed, Witnessed(seconds(50)));
}

#[test]
fn what_was_lost_is_taken_up_from_the_newest_point() {
    let mut witness = Witness::default();
    witness.resume_at(Witnessed(seconds(500)));
    witness.observe(at(1, 0, 0));
    witness.observe(at(1, 10, 10));
    witness.resume_at(Witnessed(seconds(100)));
    assert_eq!(witness.now().witnessed, Witnessed(seconds(510)));
}

#[test]
fn what_version_1_stored_is_read() {
    let witness = Witness::decode(include_bytes!("../testdata/v1/witness.cbor")).unwrap();
    assert_eq!(witness.now().witnessed, Witnessed(seconds(10)));
    assert_eq!(witness.now().frozen.map(|freeze| freeze.by), Some(seconds(5000)));
    let mut same = Witness::default();
    same.observe(at(1, 0, 0));
    same.observe(at(1, 10, 5010));
    assert_eq!(witness, same);
}

proptest! {
    /// Witnessed time is what the monotonic clock ran within boots, whatever any wall clock says.
    #[test]
    fn no_wall_clock_makes_time_pass(
        steps in prop::collection::vec((any::<bool>(), 0..100_000_u64, any::<i64>(), any::<i64>()), 1..40),
    ) {
        let (mut one, mut other) = (Witness::default(), Witness::default());
        let (mut boot, mut monotonic, mut ran, mut first) = (0, 0, 0, true);
        for (reboot, length, wall, other_wall) in steps {
            if reboot {
                boot += 1;
                (monotonic, first) = (0, true);
            }
            monotonic += length;
            ran += if first { 0 } else { length };
            first = false;
            let observation = |wall| Observation {
                wall: Time(wall),
                monotonic: seconds(monotonic),
                boot_id: BootId([boot; 16]),
            };
            one.observe(observation(wall));
            other.observe(observation(other_wall));
            prop_assert_eq!(one.now().witnessed, Witnessed(seconds(ran)));
            prop_assert_eq!(other.now().witnessed, Witnessed(seconds(ran)));
        }
    }

    #[test]
    fn no_observation_brings_it_down(walls in prop::collection::vec((any::<i64>(), any::<Duration>(), any::<u8>()), 0..20)) {
        let mut witness = Witness::default();
        for (wall, monotonic, boot) in walls {
            let observation = Observation { wall: Time(wall), monotonic, boot_id: BootId([boot % 2; 16]) };
            witness.observe(observation);
            prop_assert!(Witness::decode(&witness.encode()).is_ok());
        }
    }
}

//! A set is a disk: it passes what every disk must, however often it keeps what is stored.

#![expect(clippy::unwrap_used, reason = "a test says by it what must not fail")]

mod world;

use drives::Policy;
use medium::conformance;
use world::Rig;

#[test]
fn a_set_conforms_whatever_its_policy() {
    let policies = [
        (1, Policy::Copies(1)),
        (3, Policy::Copies(1)),
        (3, Policy::Copies(2)),
        (6, Policy::Parity { data: 4, parity: 2 }),
    ];
    for (drives, policy) in policies {
        conformance::check(&Rig::new(1, drives).create(policy));
    }
}

#[test]
fn a_set_conforms_when_a_member_is_out() {
    let rig = Rig::new(1, 3);
    let set = rig.create(Policy::Copies(2));
    let drive = set.members()[0].drive;
    set.drop_out(drive).unwrap();
    conformance::check(&set);
}

//! The simulated disk keeps what every disk must keep, with and without poisoning around it.

use std::sync::Arc;

use medium::sim::SimDisk;
use medium::{Poisoning, conformance};

#[test]
fn the_simulated_disk_conforms() {
    conformance::check(&SimDisk::new(1));
}

#[test]
fn a_poisoning_disk_conforms() {
    conformance::check(&Poisoning::new(Arc::new(SimDisk::new(1))));
}

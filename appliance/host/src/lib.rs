//! Linux behind the medium: files, clock, entropy.
//!
//! The storage core is handed these in place of the simulated world of [`medium::sim`]; both pass the
//! suite of [`medium::conformance`].

mod clock;
mod disk;
mod file;

pub use clock::{HostClock, HostEntropy, boot_id};
pub use disk::HostDisk;

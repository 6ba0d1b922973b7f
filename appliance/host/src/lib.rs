//! Linux behind the medium: files, clock, entropy.
//!
//! The storage core is handed these in place of the simulated world of [`medium::sim`]; both pass the
//! suite of [`medium::conformance`].

mod clock;
mod disk;
mod file;
mod read_only;
mod scratch;

pub use clock::{HostClock, HostEntropy, boot_id};
pub use disk::HostDisk;
pub use read_only::ReadOnlyDisk;
pub use scratch::scratch_file;

//! The only door out of the storage core: disk, clock, entropy; and a simulated world.
//!
//! The core owns no files, no time and no randomness: it is handed a [`Disk`], a [`Clock`] and an
//! [`Entropy`]. `host` implements them for Linux, [`sim`] implements them from one seed with crashes
//! and faults. Both pass the same [`conformance`] suite.
//!
//! What is durable when, for every disk:
//! * bytes and length of a file: after [`File::sync_data`] returned without an error;
//! * names (created, renamed, removed): after [`Disk::sync_directory`] of the directory that holds them;
//!   a file survives a crash only when both have happened, and its directory likewise;
//! * a rename replaces atomically: after a crash the name leads to the old file or to the new one;
//! * between syncs nothing is promised: any subset, in any order, may have reached the platter, in
//!   sectors of 512 bytes.
//!
//! A failed sync is never repeated: the kernel forgets the pages that it could not write, so the second
//! one succeeds over lost data. [`Poisoning`] makes that impossible.

pub mod clock;
#[doc(hidden)]
pub mod conformance;
pub mod demand;
pub mod disk;
pub mod error;
pub mod path;
pub mod poison;
pub mod sim;
pub mod union;

pub use clock::{Clock, Entropy};
pub use demand::{Demand, Redundancy};
pub use disk::{Access, Disk, File, Lock, Space};
pub use error::{DiskError, Operation};
pub use path::DiskPath;
pub use poison::Poisoning;
pub use union::Union;

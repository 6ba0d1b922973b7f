//! Restoring points of all kinds into directories of all kinds, from an archive in memory.

#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod archive;
mod conflicts;
mod damage;
mod differing;
mod fidelity;
mod hostile;
mod resume;
mod selection;
mod snapshot;
mod xattrs;

//! Backups of real directories into an appliance in memory: the point must be what the directory is.
#![expect(clippy::unwrap_used, reason = "a test fails where it meets an error")]

mod changes;
mod exceptions;
mod resume;
mod scan;
mod world;

//! Pools on simulated drives: format, life and limits, and what they make of damage, faults and full drives.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod drive;
mod world;

mod bounds;
mod cost;
mod damage;
mod faults;
mod flips;
mod format;
mod full;
mod giving;
mod life;
mod log;
mod mending;
mod placing;
mod reading;
mod reclaim;
mod reserve;
mod scrub;
mod sources;
mod sums;

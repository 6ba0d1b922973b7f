//! The simulated world: a disk, a clock and a source of bytes, all from one seed.
//!
//! [`SimDisk`] keeps what a program sees (the page cache) apart from what has reached the platter. Every
//! write, change of length and change of a name is *pending* until its file or directory is synced;
//! [`SimDisk::crash`] materialises one of the states that a real machine could come back with, and
//! [`SimDisk::fail`] makes calls fail, tear, lie or lose power. The same seed and the same calls give the
//! same bytes, so a failure is its seed.
//!
//! The rules, per sector of 512 bytes, are those of Linux with a journaling filesystem, at their worst:
//! * a sector holds any one of the states it went through since the last sync, sectors are independent;
//! * the length of a file is any of those it went through; a region that came into the file by a lost
//!   write holds zeros, or whatever was on the platter before;
//! * bytes beyond a lost truncation are as before it;
//! * changes of one name reach the platter in their order, names are independent of each other and of the
//!   data; a rename is one change of two names.
//!
//! What was synced, in a file whose name and directories were synced, is never lost or altered.

mod clock;
mod content;
mod crash;
mod damage;
mod disk;
mod fault;
mod file;
mod handle;
mod log;
mod names;
mod power;
mod random;
mod world;

#[cfg(test)]
mod tests;

pub use clock::SimClock;
pub use crash::Survival;
pub use disk::SimDisk;
pub use fault::{Calls, Fault, FaultPlan};
pub use power::{Power, Powered};
pub use random::{Random, SimEntropy};

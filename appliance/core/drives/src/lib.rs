//! Several drives as one: where segments lie, how many copies there are of them, and what happens when a drive is lost.
//!
//! A [`DriveSet`] is a [`medium::Disk`] over members that are disks themselves; the pool writes to it as to one drive.
//! What is synced is on as many members as the [`Policy`] says, and a member on which a change failed falls out of service
//! durably before the change is acknowledged, so that it never serves what is old. FORMAT.md has the tables and the
//! argument. There is no thread and no clock here: who owns the set lets it work by calling for a step.

mod asking;
mod change;
mod copies;
mod detachable;
mod error;
mod evening;
mod file;
mod filling;
mod groups;
mod judge;
mod layout;
mod marks;
mod member;
mod members;
mod mirrored;
mod names;
mod node;
mod opening;
mod parity;
pub mod planted;
mod policy;
mod salvage;
mod segments;
mod set;
mod status;
mod superblock;
mod uuid;
#[cfg(test)]
mod vectors;
mod work;

pub use error::DrivesError;
pub use filling::full_in_days;
pub use member::Errors;
pub use opening::Opened;
pub use policy::Policy;
pub use salvage::Salvage;
pub use set::{DriveSet, World};
pub use status::{AtRisk, MemberStatus};
pub use superblock::MemberState;
pub use uuid::{DriveUuid, EpochId, PoolUuid};
pub use work::{ParityCheck, Step, Task};

//! The machine that the appliance runs on: its disks, what is on them, and how one becomes a drive.
//!
//! A whole disk becomes a drive in four steps, each of which can be repeated: [`Hardware::inspect`] says what the disk is
//! and what is on it, [`Hardware::plan`] what would be done and what would be lost, or why it is refused,
//! [`Hardware::prepare`] does it once the operator has confirmed the very disk, and [`Hardware::mount_known`] mounts the
//! drives of a pool whenever the appliance starts. [`Hardware::locate`] shows which disk in the rack is meant.
//!
//! Everything that is read of a disk is hostile until it is parsed: labels, models and the output of programs are
//! bounded, and only printable text of them is shown.

mod error;

mod printable;
mod program;
mod sysfs;

mod blkid;
mod usage;
mod xfs;

mod inspect;
mod plan;

mod mount;
mod prepare;

mod locate;

pub use error::{HardwareError, Kind};
pub use inspect::{Content, Found, Inspection, Part};
pub use locate::{Located, Rhythm};
pub use mount::{Drive, Known, Mounted};
pub use plan::{Action, Confirmation, DISK_BYTES_MIN, Plan, Step, Wanted};
pub use prepare::Prepared;
pub use sysfs::Hardware;
pub use xfs::DriveId;

//! The pool: segments, commits, the catalog and the key slots.
//!
//! The segments are the truth, append-only and sealed; a commit is a mark in them that names the lengths which it makes
//! valid; the catalog is an index that can be thrown away. FORMAT.md fixes every byte and argues the order of writes.
//! One writer, any number of readers; no threads, no clock and no files of its own.

mod error;

pub mod layout;

pub mod header;
pub mod keys;

pub mod record;
pub mod segment;
mod segment_file;

mod backend;
pub mod catalog;
mod overlay;
pub mod registry;
mod sums;

mod bad;
mod pages;
mod reader;

mod chain;
mod owners;
mod replay;
mod reserve;
mod scan;
mod survey;

mod opening;
mod reading;

pub mod planted;

mod bloom;
mod leases;
mod recent;
mod sessions;
mod state;

mod pool;
mod records;

mod audit;
mod counting;
mod dropping;
mod measure;
mod placing;
mod reclaim;

pub mod archive;
mod verify;

mod notes;
mod scrub;

pub use archive::{PoolArchive, Readings, Scope};
pub use audit::Audit;
pub use counting::Counted;
pub use error::PoolError;
pub use leases::Lease;
pub use notes::PointDamage;
pub use placing::placement_of;
pub use pool::{Options, Pool};
pub use reading::ReadOnlyPool;
pub use reclaim::{Effort, Reclaimed, Thrift};
pub use records::{NewPoint, is_reserved};
pub use scrub::{Checked, Proof, ScrubEffort, ScrubStatus, ScrubStep};
pub use sessions::Session;
pub use state::{Shared, World};
pub use verify::{DAMAGE_MAX, Status, Usage, Verification};

//! The whole storage core in one process, from one seed.
//!
//! A run is made of histories, each of them a pool on simulated drives from its making on, through crash after crash. Most
//! have one drive. Others have a set of two to six, which works between the steps of the pool, while drives are lost, come
//! back, are replaced, added and emptied, no more of them lost at once than can be spared. All that happens follows from
//! the seed: the same seed does the same again, byte for byte.
//!
//! The disk loses, reorders and tears what was not synced, sectors and names alike; calls fail with EIO or find no
//! space; the power goes at any operation, also while the pool recovers, again and again. After every crash:
//! * every acknowledged machine, source, setting and point is there, and every point restores exactly;
//! * nothing else is there, but for what was asked for when the power went: that may be there, whole and exact;
//! * whoever reads a point that is dropped meanwhile reads it to the end;
//! * the references in the catalog are what a recount from the trees finds;
//! * a deleted catalog is rebuilt to the same state, without as many drives as may be lost at this moment;
//! * the scrub finds no damage, and no two copies that differ; where one copy has rotted it mends that;
//! * a set that is let alone comes to an end of its work, with everything as often as it should be and nothing else;
//! * no nonce has sealed two texts, over all crashes of the history;
//! * the pool goes on: the next steps of the workload must succeed.
//!
//! What a lying drive does (a sync that reports success and does nothing) is out of scope: no order of writes
//! survives that. Damage at rest that no other copy makes good is tested beside the pool.
//!
//! A run counts what it cut into and how deep the crashes into recoveries went, and fails if any of that is rare.

mod activity;
mod bays;
mod changing;
mod checking;
mod files;
mod folding;
mod generate;
mod history;
mod host;
mod oracle;
mod restore;
mod run;
mod workload;

pub use activity::{Activity, Cuts};
pub use bays::Fates;
pub use history::Counts;
pub use host::is_over_several;
pub use run::{Breach, HISTORY_POINTS, Outcome, Run, history};

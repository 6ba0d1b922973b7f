//! Starting the real programs for tests: an appliance, an agent, and what they leave behind.
//!
//! Everything started is stopped when its value goes, also when a test panics: processes, mounts and loop devices.
//! Every folder is a temporary one. Nothing here knows how the programs work inside; what they promise is compared
//! from outside with what the tests themselves have written.

mod program;
mod site;

mod disk;
mod loopback;
mod mount;
mod tree;

mod client;
mod proxy;

mod fleet;
mod history;

pub use client::{Hostile, connect_from, finish};
pub use disk::BlankDisk;
pub use fleet::{DRIVE_BYTES, Fleet, row_at, text};
pub use history::History;
pub use loopback::{Filesystem, LoopDisk};
pub use mount::{Mount, is_mounted};
pub use program::{Running, expect, program, run, said};
pub use proxy::Proxy;
pub use site::Site;
pub use tree::{Dice, Snapshot, copy, differences, noise, odd_tree};

//! Points as a read-only filesystem; knows no FUSE.
//!
//! ```text
//! MACHINE/SOURCE/points/2026-11-20T10-32-11Z/...   every point
//! MACHINE/SOURCE/latest                            a link to the newest of them
//! MACHINE/SOURCE/at/5m-ago                         a link to the newest that was there then; any moment can be looked up
//! ```
//!
//! Invariants:
//! * what is below a point never changes, and has the same number for as long as the view lives;
//! * bytes that cannot be read are an error at exactly these bytes, never zeros: a read that begins in front of them ends
//!   in front of them;
//! * memory is bounded: contents by [`Options::cache_bytes`], listings by their windows, everything else by a constant, apart
//!   from 16 bytes for each point that is looked at and 40 for each object whose number is larger than an agent gives.
//!
//! It tolerates any archive: damaged, lying about links and sizes, or far away. Whoever calls may do so from many threads.

mod directory;
mod error;
mod file;
mod loader;
mod node;
mod objects;
mod sources;
mod view;

pub use directory::{Directory, Listed};
pub use error::ViewError;
pub use file::{OpenFile, Whence};
pub use view::{Attributes, Entry, Lasting, Options, View};

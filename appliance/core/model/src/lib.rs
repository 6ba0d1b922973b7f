//! The vocabulary of Keepfast: ids, times, names, items, operations, records.
//!
//! Values and their encodings only; nothing here reads, writes, waits or draws a number.

pub mod archive;
pub mod browse;
pub mod cache;
pub mod codec;
pub mod error;
pub mod id;
pub mod item;
pub mod operation;
pub mod path;
pub mod place;
pub mod record;
pub mod time;

pub use cache::LruCache;
pub use error::ErrorKind;
pub use id::{CommitNumber, DomainId, MachineId, Name, ObjectId, SegmentNumber, SequenceNumber, SourceId};
pub use path::{EntryName, Escaped};
pub use place::Place;
pub use time::{Time, When};

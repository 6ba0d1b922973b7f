//! Parity over groups of sealed segments: any `m` drives of a group may be lost.
//!
//! The segments of a group are its data shards, as they are; the parity files are its further shards. Where segments are
//! shorter than the longest, and in slots without a segment, shards are thought to go on with zeros. A group is never
//! changed: one without a segment, or with another one in its place, is a further group that replaces it. Checksums of all
//! blocks of all data shards are in every parity file, so what is reconstructed is known to be right, and a shard that
//! lies is told from one that does not.

mod code;
mod group;
mod head;
mod reader;

pub(crate) use code::{Encoder, decode};
pub(crate) use group::{Group, leaving_name, leaving_slot, parity_path};
pub(crate) use head::{Head, Slot, TABLE_AT};
pub(crate) use reader::{GroupReader, read_padded};

/// Bytes of a block, the least that is reconstructed at a time.
pub(crate) const BLOCK: usize = 64 << 10;

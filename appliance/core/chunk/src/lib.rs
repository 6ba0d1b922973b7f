//! Cutting, naming, compressing and sealing bytes.
//!
//! The way of a file's bytes: a [`Cutter`] finds the chunks, a [`NamingKey`] names them, a [`BundleBuilder`]
//! gathers and compresses them into a [`Bundle`], which an agent sends. The pool verifies it, which makes it a
//! [`VerifiedBundle`], and its [`Sealer`] turns that into a [`Frame`] of a segment. On the way back a
//! [`SealedFrame`] is found and checked without a key, an [`Opener`] opens it, a [`Decompressor`] unpacks it.
//!
//! Everything here is bytes in and bytes out; what is decoded is hostile until it has been checked, and every
//! length is bounded before memory is taken for it. FORMAT.md beside this crate fixes every byte.

mod error;

mod name;

mod cut;
mod gear;

mod compress;

mod bundle;
mod verified;

mod frame;
mod key;
mod open;
mod seal;

#[cfg(feature = "planted-bugs")]
pub mod planted;

pub use bundle::{
    BUNDLE_CHUNKS_MAX, BUNDLE_HEAD_LENGTH, BUNDLE_LENGTH_MAX, Bundle, BundleBuilder, BundleLimits,
    ENTRY_LENGTH, Entry, Table,
};
pub use compress::{Codec, Compressor, Decompressor, Level, PLAIN_LENGTH_MAX, Packed, WINDOW_LOG_MAX};
pub use cut::{BlockSize, CHUNK_LENGTH_MAX, CUT_LENGTH_AVERAGE, CUT_LENGTH_MIN, CutBuffer, CutPlan, Cutter};
pub use error::ChunkError;
pub use frame::{
    FRAME_ALIGNMENT, FRAME_HEADER_LENGTH, FRAME_MAGIC, FrameHeader, FrameKind, FrameNumber,
    SEALED_LENGTH_MAX, SealedFrame, TAG_LENGTH, padded_length,
};
pub use key::{Commitment, FreshSalt, SegmentIdentity};
pub use name::{Naming, NamingKey, PageKey};
pub use open::{Kept, Opened, Opener};
pub use seal::{Frame, NonceAudit, Sealer};
pub use verified::{VerifiedBuilder, VerifiedBundle};

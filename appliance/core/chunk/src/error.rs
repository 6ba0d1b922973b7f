//! What can go wrong with a chunk, a bundle or a frame.
//!
//! Everything that is read is hostile until it has been parsed: a wrong length, name or tag is an error of
//! this type and never a panic. No variant carries plaintext or key material.

use model::{ErrorKind, Name, SegmentNumber};

use crate::FrameNumber;

/// An error of cutting, bundling, compressing or sealing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// The feed that is being cut could not be read.
    #[error("cannot read at offset {offset} to cut chunks")]
    Read {
        /// Bytes delivered before the failure.
        offset: u64,
        /// What the feed answered.
        source: std::io::Error,
    },
    /// A block size outside the allowed powers of two.
    #[error("block size {bytes} is not a power of two from 4096 to 1048576")]
    BlockSize {
        /// The size asked for.
        bytes: u32,
    },
    /// A chunk of no bytes or of more than a chunk may have.
    #[error("chunk of {length} bytes, allowed are 1 to 1048576")]
    ChunkLength {
        /// The length offered.
        length: u64,
    },
    /// A bundle cannot take another chunk.
    #[error("bundle of {count} chunks and {plain_length} bytes takes no chunk of {length} bytes")]
    BundleFull {
        /// Chunks in the bundle.
        count: usize,
        /// Bytes in the bundle.
        plain_length: usize,
        /// Bytes of the chunk that did not fit.
        length: usize,
    },
    /// A bundle without chunks was to be finished.
    #[error("bundle holds no chunk")]
    BundleEmpty,
    /// Bytes are too few, or too many, for what they claim to be.
    #[error("{what} of {found} bytes, expected {expected}")]
    Length {
        /// What was being decoded.
        what: &'static str,
        /// The length that follows from its own fields or from its format.
        expected: u64,
        /// The length found.
        found: u64,
    },
    /// A number is beyond the limit of the format.
    #[error("{what} is {found}, allowed are {least} to {most}")]
    Limit {
        /// The field.
        what: &'static str,
        /// The smallest legal value.
        least: u64,
        /// The largest legal value.
        most: u64,
        /// The value found.
        found: u64,
    },
    /// A chunk does not have the name that the table gives it.
    #[error("chunk {index} of a bundle is named {expected}, its bytes are {found}")]
    NameMismatch {
        /// Place in the table.
        index: usize,
        /// The name in the table.
        expected: Name,
        /// The name of the bytes.
        found: Name,
    },
    /// A codec, kind or version that this program does not know.
    #[error("{what} {found} is unknown")]
    Unknown {
        /// The field.
        what: &'static str,
        /// The value found.
        found: u8,
    },
    /// Bytes that must be zero are not.
    #[error("{what} is not zero")]
    NotZero {
        /// The field.
        what: &'static str,
    },
    /// More bytes were offered than a body or a frame holds.
    #[error("{what} of {found} bytes, at most {most} are possible")]
    TooLong {
        /// What was to be made.
        what: &'static str,
        /// The largest length.
        most: u64,
        /// The length that it would have.
        found: u64,
    },
    /// zstd refused to compress.
    #[error("cannot compress {length} bytes")]
    Compress {
        /// Bytes offered.
        length: usize,
        /// What zstd answered.
        source: std::io::Error,
    },
    /// zstd refused to decompress.
    #[error("cannot decompress {length} bytes to {plain_length}")]
    Decompress {
        /// Compressed bytes.
        length: usize,
        /// Bytes expected after decompression.
        plain_length: usize,
        /// What zstd answered.
        source: std::io::Error,
    },
    /// The bytes are no single zstd frame of the declared content.
    #[error("compressed body is no single zstd frame: {reason}")]
    ZstdFrame {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The bytes at the place of a frame are none.
    #[error("no frame magic")]
    NoMagic,
    /// A checksum over stored bytes does not match.
    #[error("checksum of {what} is {expected:016x}, its bytes give {found:016x}")]
    Checksum {
        /// What it covers.
        what: &'static str,
        /// The stored value.
        expected: u64,
        /// The value of the bytes.
        found: u64,
    },
    /// A frame belongs to another segment than the key.
    #[error("frame {frame} says segment {found}, the key is of segment {expected}")]
    WrongSegment {
        /// The frame number.
        frame: FrameNumber,
        /// The segment of the key.
        expected: SegmentNumber,
        /// The segment in the header.
        found: SegmentNumber,
    },
    /// The tag of a frame does not authenticate it.
    #[error("frame {frame} of segment {segment} is not authentic")]
    Unauthentic {
        /// The segment.
        segment: SegmentNumber,
        /// The frame number.
        frame: FrameNumber,
    },
    /// The key is not the one that a segment was sealed with.
    #[error("key does not fit the commitment of segment {segment}")]
    WrongKey {
        /// The segment.
        segment: SegmentNumber,
    },
    /// The cipher refused to seal.
    #[error("cannot seal frame {frame} of segment {segment}")]
    Seal {
        /// The segment.
        segment: SegmentNumber,
        /// The frame number.
        frame: FrameNumber,
    },
    /// A frame that has just been sealed does not open to what went in: memory or processor are at fault.
    #[error("frame {frame} of segment {segment} does not open to what was sealed")]
    SealMismatch {
        /// The segment.
        segment: SegmentNumber,
        /// The frame number.
        frame: FrameNumber,
    },
    /// A segment has handed out its last frame number.
    #[error("segment {segment} has no frame number left")]
    NoFrameNumber {
        /// The segment.
        segment: SegmentNumber,
    },
}

impl ChunkError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { .. } | Self::Compress { .. } => ErrorKind::Io,
            Self::BlockSize { .. }
            | Self::ChunkLength { .. }
            | Self::BundleEmpty
            | Self::TooLong { .. }
            | Self::WrongKey { .. } => ErrorKind::Refused,
            Self::BundleFull { .. } | Self::NoFrameNumber { .. } => ErrorKind::Full,
            Self::Unknown { .. } => ErrorKind::Unsupported,
            Self::Length { .. }
            | Self::Limit { .. }
            | Self::NameMismatch { .. }
            | Self::NotZero { .. }
            | Self::Decompress { .. }
            | Self::ZstdFrame { .. }
            | Self::NoMagic
            | Self::Checksum { .. }
            | Self::WrongSegment { .. }
            | Self::Unauthentic { .. }
            | Self::Seal { .. }
            | Self::SealMismatch { .. } => ErrorKind::Corrupt,
        }
    }
}

//! Frames as they lie in a segment: a header that anybody can read, a sealed payload, padding.
//!
//! The header carries its own checksum and that of the sealed payload, so a frame can be found and checked
//! for rot without a key and without any index. That says nothing about who wrote it: only opening does.
//! A frame starts at a multiple of [`FRAME_ALIGNMENT`] and is padded with zeros to the next one.

use std::fmt;

use model::SegmentNumber;
use xxhash_rust::xxh3::xxh3_64;

use crate::{ChunkError, Codec, PLAIN_LENGTH_MAX};

/// The first four bytes of every frame: "KFfr".
pub const FRAME_MAGIC: [u8; 4] = *b"KFfr";

/// Frames start at multiples of this and are padded to it.
pub const FRAME_ALIGNMENT: usize = 64;

/// Bytes of a header.
pub const FRAME_HEADER_LENGTH: usize = 64;

/// Bytes of the authentication tag at the end of a sealed payload.
pub const TAG_LENGTH: usize = 16;

/// Most bytes of a sealed payload.
pub const SEALED_LENGTH_MAX: usize = 4 << 20;

const FRAME_VERSION: u8 = 1;
const CHECKSUM_AT: usize = FRAME_HEADER_LENGTH - size_of::<u64>();

/// Where the fields lie that are authenticated together with the payload: version to segment.
pub(crate) const IDENTITY: std::ops::Range<usize> = 4..32;

const _: () = assert!(FRAME_HEADER_LENGTH.is_multiple_of(FRAME_ALIGNMENT));
const _: () = assert!(IDENTITY.end == 4 + 4 + 4 * size_of::<u32>() + size_of::<u64>());
const _: () = assert!(IDENTITY.end + size_of::<u64>() + RESERVED_LENGTH == CHECKSUM_AT);
const RESERVED_LENGTH: usize = 16;

/// Bytes that a frame with a sealed payload of `sealed_length` takes in its segment.
#[must_use]
pub const fn padded_length(sealed_length: usize) -> usize {
    (FRAME_HEADER_LENGTH + sealed_length).next_multiple_of(FRAME_ALIGNMENT)
}

/// The place of a frame in its segment and its nonce; the first is 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FrameNumber(pub u32);

impl fmt::Display for FrameNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a frame holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// A bundle of chunks.
    Data = 1,
    /// A bundle of tree pages.
    Pages = 2,
    /// Operations between two points.
    Journal = 3,
    /// Commits, folds and configuration that must survive.
    Records = 4,
    /// What a sealed segment holds.
    Index = 5,
}

impl FrameKind {
    const fn decode(byte: u8) -> Result<Self, ChunkError> {
        match byte {
            1 => Ok(Self::Data),
            2 => Ok(Self::Pages),
            3 => Ok(Self::Journal),
            4 => Ok(Self::Records),
            5 => Ok(Self::Index),
            found => Err(ChunkError::Unknown { what: "frame kind", found }),
        }
    }
}

/// The header of a frame, whose fields agree with each other and with the limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    pub(crate) kind: FrameKind,
    pub(crate) codec: Codec,
    pub(crate) number: FrameNumber,
    pub(crate) table_length: u32,
    pub(crate) plain_length: u32,
    pub(crate) sealed_length: u32,
    pub(crate) segment: SegmentNumber,
    pub(crate) payload_checksum: u64,
}

impl FrameHeader {
    /// Decodes the header at the start of `bytes`; what follows it is not looked at.
    ///
    /// # Errors
    /// [`ChunkError::NoMagic`] if no frame starts here, others if one does but its header is not sound.
    pub fn parse(bytes: &[u8]) -> Result<Self, ChunkError> {
        let Some(header) = bytes.first_chunk::<FRAME_HEADER_LENGTH>() else {
            let expected = FRAME_HEADER_LENGTH as u64;
            return Err(ChunkError::Length { what: "frame header", expected, found: bytes.len() as u64 });
        };
        if !header.starts_with(&FRAME_MAGIC) {
            return Err(ChunkError::NoMagic);
        }
        let (expected, found) = (u64::from_le_bytes(field(header, CHECKSUM_AT)), header_checksum(header));
        if expected != found {
            return Err(ChunkError::Checksum { what: "frame header", expected, found });
        }
        let [version, kind, codec, flags] = field(header, 4);
        if version != FRAME_VERSION {
            return Err(ChunkError::Unknown { what: "frame version", found: version });
        }
        if flags != 0 {
            return Err(ChunkError::Unknown { what: "frame flags", found: flags });
        }
        if field::<RESERVED_LENGTH>(header, 40) != [0; RESERVED_LENGTH] {
            return Err(ChunkError::NotZero { what: "reserved field of a frame header" });
        }
        let header = Self {
            kind: FrameKind::decode(kind)?,
            codec: Codec::decode(codec)?,
            number: FrameNumber(u32::from_le_bytes(field(header, 8))),
            table_length: u32::from_le_bytes(field(header, 12)),
            plain_length: u32::from_le_bytes(field(header, 16)),
            sealed_length: u32::from_le_bytes(field(header, 20)),
            segment: SegmentNumber(u64::from_le_bytes(field(header, 24))),
            payload_checksum: u64::from_le_bytes(field(header, 32)),
        };
        header.check_lengths().map(|()| header)
    }

    fn check_lengths(&self) -> Result<(), ChunkError> {
        let limit = |what, least, most, found: u32| {
            let (most, found) = (most as u64, u64::from(found));
            if (least..=most).contains(&found) {
                Ok(())
            } else {
                Err(ChunkError::Limit { what, least, most, found })
            }
        };
        let least = u64::from(self.table_length) + TAG_LENGTH as u64;
        limit("length of plaintext", 0, PLAIN_LENGTH_MAX, self.plain_length)?;
        limit("length of sealed payload", least, SEALED_LENGTH_MAX, self.sealed_length)?;
        self.codec.check_lengths(u64::from(self.plain_length), u64::from(self.sealed_length) - least)
    }

    /// The 64 bytes of this header.
    #[must_use]
    pub fn encode(&self) -> [u8; FRAME_HEADER_LENGTH] {
        let mut header = [0; FRAME_HEADER_LENGTH];
        put(&mut header, 0, FRAME_MAGIC);
        put(&mut header, 4, [FRAME_VERSION, self.kind as u8, self.codec as u8, 0]);
        put(&mut header, 8, self.number.0.to_le_bytes());
        put(&mut header, 12, self.table_length.to_le_bytes());
        put(&mut header, 16, self.plain_length.to_le_bytes());
        put(&mut header, 20, self.sealed_length.to_le_bytes());
        put(&mut header, 24, self.segment.0.to_le_bytes());
        put(&mut header, 32, self.payload_checksum.to_le_bytes());
        let checksum = header_checksum(&header);
        put(&mut header, CHECKSUM_AT, checksum.to_le_bytes());
        header
    }

    /// The first sound header at an aligned place of `bytes` from `start` on, and its place.
    #[must_use]
    pub fn find(bytes: &[u8], start: usize) -> Option<(usize, Self)> {
        let mut place = start.checked_next_multiple_of(FRAME_ALIGNMENT)?;
        while let Some(rest) = bytes.get(place..).filter(|rest| rest.len() >= FRAME_HEADER_LENGTH) {
            if let Ok(header) = Self::parse(rest) {
                return Some((place, header));
            }
            place += FRAME_ALIGNMENT;
        }
        None
    }

    /// Compares the stored checksum with that of a sealed payload.
    ///
    /// # Errors
    /// [`ChunkError::Length`] or [`ChunkError::Checksum`].
    pub fn check_payload(&self, payload: &[u8]) -> Result<(), ChunkError> {
        self.check_payload_length(payload)?;
        let found = xxh3_64(payload);
        if found != self.payload_checksum {
            return Err(ChunkError::Checksum {
                what: "frame payload",
                expected: self.payload_checksum,
                found,
            });
        }
        Ok(())
    }

    pub(crate) fn check_payload_length(&self, payload: &[u8]) -> Result<(), ChunkError> {
        let (expected, found) = (u64::from(self.sealed_length), payload.len() as u64);
        if expected != found {
            return Err(ChunkError::Length { what: "frame payload", expected, found });
        }
        Ok(())
    }

    /// Bytes from the start of this frame to the start of the next.
    #[must_use]
    pub const fn padded_length(&self) -> usize {
        padded_length(self.sealed_length as usize)
    }

    /// What the frame holds.
    #[must_use]
    pub const fn kind(&self) -> FrameKind {
        self.kind
    }

    /// How its body is stored.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// Its place in the segment.
    #[must_use]
    pub const fn number(&self) -> FrameNumber {
        self.number
    }

    /// Bytes of its table.
    #[must_use]
    pub const fn table_length(&self) -> u32 {
        self.table_length
    }

    /// Bytes of its body before compression.
    #[must_use]
    pub const fn plain_length(&self) -> u32 {
        self.plain_length
    }

    /// Bytes of its sealed payload with the tag.
    #[must_use]
    pub const fn sealed_length(&self) -> u32 {
        self.sealed_length
    }

    /// The segment that it was sealed for.
    #[must_use]
    pub const fn segment(&self) -> SegmentNumber {
        self.segment
    }
}

/// A frame in memory whose header, payload and padding are free of rot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealedFrame<'a> {
    header: FrameHeader,
    payload: &'a [u8],
}

impl<'a> SealedFrame<'a> {
    /// Checks the frame at the start of `bytes`; what follows its padding is not looked at.
    ///
    /// # Errors
    /// Those of [`FrameHeader::parse`] and [`FrameHeader::check_payload`], and padding that is not zero.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ChunkError> {
        let header = FrameHeader::parse(bytes)?;
        let (expected, found) = (header.padded_length() as u64, bytes.len() as u64);
        let end = FRAME_HEADER_LENGTH + header.sealed_length as usize;
        let payload = bytes.get(FRAME_HEADER_LENGTH..end);
        let Some((payload, padding)) = payload.zip(bytes.get(end..header.padded_length())) else {
            return Err(ChunkError::Length { what: "frame", expected, found });
        };
        if padding.iter().any(|&byte| byte != 0) {
            return Err(ChunkError::NotZero { what: "padding of a frame" });
        }
        header.check_payload(payload)?;
        Ok(Self { header, payload })
    }

    /// Its header.
    #[must_use]
    pub const fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// Its sealed payload.
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

fn header_checksum(header: &[u8; FRAME_HEADER_LENGTH]) -> u64 {
    xxh3_64(&header[..CHECKSUM_AT])
}

fn field<const N: usize>(header: &[u8; FRAME_HEADER_LENGTH], start: usize) -> [u8; N] {
    *header[start..].first_chunk().expect("fields lie within the header")
}

fn put<const N: usize>(header: &mut [u8; FRAME_HEADER_LENGTH], start: usize, bytes: [u8; N]) {
    header[start..start + N].copy_from_slice(&bytes);
}

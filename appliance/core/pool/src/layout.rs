//! Where things lie on a drive, and the header of a segment. FORMAT.md has the tables.

use chunk::{Commitment, FRAME_ALIGNMENT, SegmentIdentity};
use model::{CommitNumber, SegmentNumber};
use xxhash_rust::xxh3::xxh3_64;

use crate::PoolError;

/// The directory of segments.
pub const SEGMENTS: &str = "segments";
/// The file that is locked while the pool is open.
pub const LOCK: &str = "lock";
/// The catalog.
pub const CATALOG: &str = "catalog.redb";
/// The catalog while it is being made.
pub const CATALOG_NEW: &str = "catalog.redb.new";
/// The catalog that was replaced when it was last made anew on demand.
pub const CATALOG_REPLACED: &str = "catalog.redb.replaced";
/// Sums of the blocks of a large catalog.
pub const CATALOG_SUMS: &str = "catalog.redb.sums";
/// Holds room for giving room back.
pub const RESERVE: &str = "reserve";
/// The copies of the pool's header.
pub const HEADERS: [&str; 3] = ["header.0", "header.1", "header.2"];

/// Bytes of a segment at which it is sealed.
#[derive(Clone, Copy, Debug)]
pub struct SegmentLimits {
    /// Of a data segment.
    pub data_bytes: u64,
    /// Of a meta segment.
    pub meta_bytes: u64,
}

impl Default for SegmentLimits {
    fn default() -> Self {
        Self { data_bytes: 128 << 20, meta_bytes: 32 << 20 }
    }
}

/// The file of a segment.
#[must_use]
pub fn segment_path(number: SegmentNumber) -> String {
    format!("{SEGMENTS}/{:016x}.seg", number.0)
}

/// The number of the segment in a file of this name.
#[must_use]
pub fn segment_number(file_name: &str) -> Option<SegmentNumber> {
    let digits = file_name.strip_suffix(".seg")?;
    let lower = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (digits.len() == 16 && lower).then(|| u64::from_str_radix(digits, 16).ok().map(SegmentNumber))?
}

/// What a segment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SegmentKind {
    /// Bundles of chunks.
    Data,
    /// Pages, indexes of data frames, records.
    Meta,
}

/// Bytes of the header of a segment; the first frame follows it.
pub const SEGMENT_HEADER_LENGTH: usize = 192;
const _: () = assert!(SEGMENT_HEADER_LENGTH.is_multiple_of(FRAME_ALIGNMENT));

const MAGIC: [u8; 8] = *b"KFsegmnt";
const VERSION: u16 = 1;
const CHECKSUM_AT: usize = SEGMENT_HEADER_LENGTH - 8;

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// What it is for.
    pub kind: SegmentKind,
    /// Its number.
    pub number: SegmentNumber,
    /// The UUID of its pool.
    pub pool: [u8; 16],
    /// The UUID of the drive that it was written to.
    pub drive: [u8; 16],
    /// The salt of its key.
    pub salt: [u8; 32],
    /// The commitment to its key.
    pub commitment: Commitment,
    /// The last commit before it was made.
    pub after: CommitNumber,
}

impl SegmentHeader {
    /// The bytes of the header.
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_LENGTH] {
        let mut bytes = [0; SEGMENT_HEADER_LENGTH];
        let kind = match self.kind {
            SegmentKind::Data => 0u16,
            SegmentKind::Meta => 1,
        };
        let fields: [&[u8]; 10] = [
            &MAGIC,
            &VERSION.to_le_bytes(),
            &kind.to_le_bytes(),
            &[0; 4],
            &self.number.0.to_le_bytes(),
            &self.pool,
            &self.drive,
            &self.salt,
            &self.commitment.0,
            &self.after.0.to_le_bytes(),
        ];
        let mut at = 0;
        for field in fields {
            if let Some(place) = bytes.get_mut(at..at + field.len()) {
                place.copy_from_slice(field);
            }
            at += field.len();
        }
        let checksum = xxh3_64(&bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the header of the segment in the file of `number`.
    pub fn decode(bytes: &[u8; SEGMENT_HEADER_LENGTH], number: SegmentNumber) -> Result<Self, PoolError> {
        let wrong = |what| PoolError::SegmentHeader { segment: number, what };
        let mut at = 0;
        let mut take = |length: usize| {
            let field = &bytes[at..at + length];
            at += length;
            field
        };
        if take(8) != MAGIC {
            return Err(wrong("it does not start with the mark of a segment"));
        }
        if xxh3_64(&bytes[..CHECKSUM_AT]).to_le_bytes() != bytes[CHECKSUM_AT..] {
            return Err(wrong("its checksum does not match"));
        }
        let version = u16::from_le_bytes(array(take(2)));
        if version != VERSION {
            return Err(PoolError::Version { what: "a segment", found: version, known: VERSION });
        }
        let kind = match u16::from_le_bytes(array(take(2))) {
            0 => SegmentKind::Data,
            1 => SegmentKind::Meta,
            _ => return Err(wrong("its kind is unknown")),
        };
        take(4);
        if SegmentNumber(u64::from_le_bytes(array(take(8)))) != number {
            return Err(wrong("it is that of another segment"));
        }
        Ok(Self {
            kind,
            number,
            pool: array(take(16)),
            drive: array(take(16)),
            salt: array(take(32)),
            commitment: Commitment(array(take(32))),
            after: CommitNumber(u64::from_le_bytes(array(take(8)))),
        })
    }

    /// What the key of the segment is bound to.
    #[must_use]
    pub const fn identity(&self) -> SegmentIdentity {
        SegmentIdentity { pool: self.pool, segment: self.number }
    }
}

/// The first `N` bytes of a field that has as many.
fn array<const N: usize>(field: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(field);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            kind: SegmentKind::Meta,
            number: SegmentNumber(0x1f),
            pool: [1; 16],
            drive: [2; 16],
            salt: [3; 32],
            commitment: Commitment([4; 32]),
            after: CommitNumber(9),
        }
    }

    #[test]
    fn a_header_survives_and_every_flip_is_seen() {
        let bytes = header().encode();
        assert_eq!(SegmentHeader::decode(&bytes, SegmentNumber(0x1f)).unwrap(), header());
        assert!(SegmentHeader::decode(&bytes, SegmentNumber(0x20)).is_err());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&flipped, SegmentNumber(0x1f)).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn file_names_are_numbers() {
        let path = segment_path(SegmentNumber(0x1f));
        assert_eq!(path, "segments/000000000000001f.seg");
        assert_eq!(segment_number("000000000000001f.seg"), Some(SegmentNumber(0x1f)));
        for bad in ["1f.seg", "000000000000001F.seg", "000000000000001f.tmp", "+00000000000001f.seg", ""] {
            assert_eq!(segment_number(bad), None, "{bad}");
        }
    }
}

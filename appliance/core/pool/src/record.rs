//! What records frames and index frames hold. FORMAT.md has the tables.
//!
//! A records frame holds records, or the mark of a commit. Records without a mark behind them do not count.

use chunk::Entry;
use minicbor::{Decode, Encode};
use model::codec::{CodecError, Fields, put_number};
use model::record::{Machine, Point, Source};
use model::{CommitNumber, MachineId, Name, SegmentNumber, SourceId, Time};

/// A fact that the pool keeps.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Record {
    /// A machine, new or changed.
    #[n(0)]
    Machine(#[n(0)] Machine),
    /// A source, new or changed.
    #[n(1)]
    Source(#[n(0)] Source),
    /// A new point.
    #[n(2)]
    Point(#[n(0)] Box<Point>),
    /// A setting, new or changed; without a value it is gone.
    #[n(3)]
    Setting {
        /// Its key.
        #[n(0)]
        key: String,
        /// Its value.
        #[cbor(n(1), with = "minicbor::bytes")]
        value: Option<Vec<u8>>,
    },
    /// Chunks that a machine sent although another machine's copy is kept: they are its own as well.
    #[n(4)]
    Adopted {
        /// Which machine.
        #[n(0)]
        machine: MachineId,
        /// Which chunks.
        #[n(1)]
        names: Vec<Name>,
    },
    /// A point that is taken out of history.
    #[n(5)]
    Dropped {
        /// Of which source.
        #[n(0)]
        source: SourceId,
        /// Its number.
        #[n(1)]
        number: u64,
    },
    /// Segments that are taken out of the pool: what is needed of them is elsewhere.
    #[n(6)]
    Removed {
        /// Which ones.
        #[n(0)]
        segments: Vec<SegmentNumber>,
    },
    /// Chunks that are gone, of which it was said that further machines own them.
    #[n(7)]
    Disowned {
        /// Which ones.
        #[n(0)]
        names: Vec<Name>,
    },
}

/// How far a segment is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SegmentLength {
    /// Which segment.
    #[n(0)]
    pub segment: SegmentNumber,
    /// Its valid bytes, from the start.
    #[n(1)]
    pub length: u64,
}

/// Makes everything before it valid.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CommitMark {
    /// Its number.
    #[n(0)]
    pub number: CommitNumber,
    /// BLAKE3 of the body of the records frame with the mark before; zeros for the first, and where it is not known.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub previous: [u8; 32],
    /// When it was made, by the appliance's clock.
    #[n(2)]
    pub at: Time,
    /// The segments that grew since the commit before, the one with this mark left out; and those of which something is
    /// stated again.
    #[n(3)]
    pub lengths: Vec<SegmentLength>,
    /// The last commit whose mark is gone for good: what counts of it and of those before was stated again behind it.
    #[n(4)]
    pub base: Option<CommitNumber>,
}

/// The body of a records frame.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RecordsBody {
    /// Records.
    #[n(0)]
    pub records: Vec<Record>,
    /// The mark of a commit; it has a frame to itself, the last of the commit.
    #[n(1)]
    pub mark: Option<CommitMark>,
}

/// Where the chunks of one data frame are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameIndex {
    /// In which segment.
    pub segment: SegmentNumber,
    /// At which byte of it the frame starts.
    pub offset: u64,
    /// Bytes of its sealed payload.
    pub sealed_length: u32,
    /// The machine that sent it.
    pub owner: MachineId,
    /// Its chunks, in order.
    pub entries: Vec<Entry>,
}

/// Appends the index of a data frame.
pub fn encode_frame_index(out: &mut Vec<u8>, index: &FrameIndex) {
    put_number(out, index.segment.0);
    put_number(out, index.offset);
    put_number(out, u64::from(index.sealed_length));
    put_number(out, index.owner.0);
    put_number(out, index.entries.len() as u64);
    for entry in &index.entries {
        put_number(out, u64::from(entry.length));
        out.extend_from_slice(&entry.name.0);
    }
}

/// Reads the body of an index frame: any number of data frames.
pub fn decode_frame_indexes(bytes: &[u8]) -> Result<Vec<FrameIndex>, CodecError> {
    const WHAT: &str = "index of a data frame";
    let mut indexes = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let mut fields = Fields::new(rest);
        let segment = SegmentNumber(fields.number(WHAT)?);
        let offset = fields.number(WHAT)?;
        let sealed_length = fields.number32(WHAT)?;
        let owner = MachineId(fields.number(WHAT)?);
        let count = fields.number(WHAT)?;
        let mut entries = Vec::new();
        for _ in 0..count {
            let length = fields.number32(WHAT)?;
            let name = fields.bytes(Name::LENGTH, WHAT)?;
            let name = Name(name.try_into().map_err(|_| CodecError::Short(WHAT))?);
            entries.push(Entry { name, length });
        }
        rest = fields.rest();
        indexes.push(FrameIndex { segment, offset, sealed_length, owner, entries });
    }
    Ok(indexes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn indexes_survive() {
        let index = |segment, count| FrameIndex {
            segment: SegmentNumber(segment),
            offset: 1 << 33,
            sealed_length: 77,
            owner: MachineId(3),
            entries: (1..=count).map(|i| Entry { name: Name([7; 32]), length: i }).collect(),
        };
        let all = vec![index(1, 3), index(2, 0), index(u64::MAX, 1)];
        let mut bytes = Vec::new();
        all.iter().for_each(|i| encode_frame_index(&mut bytes, i));
        assert_eq!(decode_frame_indexes(&bytes).unwrap(), all);
        assert!(decode_frame_indexes(&bytes[..bytes.len() - 1]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_frame_indexes(&bytes);
            let _ = minicbor::decode::<RecordsBody>(&bytes);
        }
    }
}

//! How far the catalog has read the segments.

use minicbor::{Decode, Encode};
use model::{CommitNumber, SegmentNumber};

/// How far the catalog has read the segments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Mark {
    /// The last commit in it.
    #[n(0)]
    pub commit: CommitNumber,
    /// BLAKE3 of the body with the mark of that commit.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub hash: [u8; 32],
    /// The meta segment that holds it.
    #[n(2)]
    pub segment: SegmentNumber,
    /// The first byte behind it.
    #[n(3)]
    pub offset: u64,
    /// Valid bytes of every segment, ascending by number.
    #[n(4)]
    pub lengths: Vec<(SegmentNumber, u64)>,
    /// Bytes of all chunks.
    #[n(5)]
    pub chunk_bytes: u64,
    /// The largest number that a segment had, also if it is gone: no other one gets it.
    #[n(6)]
    pub last_segment: SegmentNumber,
    /// The last commit whose mark is gone for good.
    #[n(7)]
    pub base: Option<CommitNumber>,
}

impl Mark {
    /// Valid bytes of a segment; none if no commit covers it.
    #[must_use]
    pub fn length_of(&self, segment: SegmentNumber) -> Option<u64> {
        let at = self.position(segment).ok()?;
        self.lengths.get(at).map(|(_, length)| *length)
    }

    /// Makes a segment valid up to `length` at least.
    pub(crate) fn cover(&mut self, segment: SegmentNumber, length: u64) {
        self.last_segment = self.last_segment.max(segment);
        match self.position(segment) {
            Ok(at) => {
                if let Some(known) = self.lengths.get_mut(at) {
                    known.1 = known.1.max(length);
                }
            }
            Err(at) => self.lengths.insert(at, (segment, length)),
        }
    }

    /// Takes a segment out.
    pub(crate) fn forget(&mut self, segment: SegmentNumber) {
        if let Ok(at) = self.position(segment) {
            self.lengths.remove(at);
        }
    }

    fn position(&self, segment: SegmentNumber) -> Result<usize, usize> {
        self.lengths.binary_search_by_key(&segment, |(number, _)| *number)
    }
}

//! Where chunks and pages are, and what is kept of them: the values of the tables `chunks` and `pages`.

use model::{MachineId, SegmentNumber, SourceId};

use super::holders::{HOLDERS_LENGTH, Holders};
use crate::segment::FramePlace;

/// Bytes of a place.
const PLACE_LENGTH: usize = 8 + 8 + 4 + 4 + 4 + 4;
/// Bytes of an entry.
pub(super) const ENTRY_LENGTH: usize = PLACE_LENGTH + 4 + HOLDERS_LENGTH;

/// Where a chunk or page is, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its frame.
    pub frame: FramePlace,
    /// Where it starts in the plaintext of the frame.
    pub start: u32,
    /// Its bytes.
    pub length: u32,
    /// The machine that sent it first; 0 for pages.
    pub owner: MachineId,
}

impl Place {
    fn encode(&self) -> [u8; ENTRY_LENGTH] {
        let mut out = [0; ENTRY_LENGTH];
        let owner = u32::try_from(self.owner.0).unwrap_or(u32::MAX);
        out[0..8].copy_from_slice(&self.frame.segment.0.to_le_bytes());
        out[8..16].copy_from_slice(&self.frame.offset.to_le_bytes());
        out[16..20].copy_from_slice(&self.frame.sealed_length.to_le_bytes());
        out[20..24].copy_from_slice(&self.start.to_le_bytes());
        out[24..28].copy_from_slice(&self.length.to_le_bytes());
        out[28..32].copy_from_slice(&owner.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8; ENTRY_LENGTH]) -> Self {
        let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let short = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let frame = FramePlace { segment: SegmentNumber(long(0)), offset: long(8), sealed_length: short(16) };
        Self { frame, start: short(20), length: short(24), owner: MachineId(u64::from(short(28))) }
    }
}

/// What the catalog keeps of a chunk or page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Where it is; none if something refers to it and it is not there.
    pub place: Option<Place>,
    /// How many runs of points hold it; see [`crate::Counted`].
    pub references: u32,
    /// Whose they are, of a chunk.
    pub holders: Holders,
}

impl Entry {
    pub(super) fn encode(&self) -> [u8; ENTRY_LENGTH] {
        // No segment has the number 0.
        let mut out = self.place.map_or([0; ENTRY_LENGTH], |place| place.encode());
        out[32..36].copy_from_slice(&self.references.to_le_bytes());
        out[36..].copy_from_slice(&self.holders.encode());
        out
    }

    pub(super) fn decode(bytes: &[u8; ENTRY_LENGTH]) -> Self {
        let place = Place::decode(bytes);
        let place = (place.frame.segment != SegmentNumber(0)).then_some(place);
        let references = u32::from_le_bytes(std::array::from_fn(|at| bytes[32 + at]));
        Self { place, references, holders: Holders::decode(&std::array::from_fn(|at| bytes[36 + at])) }
    }

    /// The segment that it keeps bytes alive in, and how many.
    pub(crate) fn live(&self) -> Option<(SegmentNumber, u64)> {
        let place = self.place.filter(|_| self.references > 0)?;
        Some((place.frame.segment, u64::from(place.length)))
    }

    /// The only source that it is held by, and how many bytes that source holds alone with it.
    pub(crate) fn own(&self) -> Option<(SourceId, u64)> {
        let (_, length) = self.live()?;
        Some((self.holders.only(self.references)?, length))
    }
}

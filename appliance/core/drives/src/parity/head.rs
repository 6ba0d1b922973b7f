//! The head of a parity file and its table of checksums. FORMAT.md has the tables.

use medium::{DiskError, File, Operation};
use minicbor::{Decode, Encode};
use model::SegmentNumber;

use super::BLOCK;
use crate::{DriveUuid, PoolUuid};

const MAGIC: [u8; 8] = *b"KFparity";
const HASH_LENGTH: usize = 32;
/// Where the table begins: the head is never longer.
pub(crate) const TABLE_AT: u64 = 4096;
/// Shards begin at a multiple of this.
pub(crate) const DATA_ALIGNMENT: u64 = 4096;
/// No shard is longer.
const LENGTH_MAX: u64 = 1 << 40;

/// A segment of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Slot {
    #[n(0)]
    pub(crate) segment: SegmentNumber,
    /// Its bytes; the shard goes on with zeros.
    #[n(1)]
    pub(crate) length: u64,
    /// The drive that held it when the group was made.
    #[n(2)]
    pub(crate) drive: DriveUuid,
}

/// What a parity file says of itself and of its group.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Head {
    #[n(0)]
    pub(crate) version: u16,
    #[n(1)]
    pub(crate) pool: PoolUuid,
    #[n(2)]
    pub(crate) group: u64,
    /// The group that this one stands in for.
    #[n(3)]
    pub(crate) replaces: Option<u64>,
    /// Which of the parity files it is.
    #[n(4)]
    pub(crate) index: u8,
    /// How many there are.
    #[n(5)]
    pub(crate) parity: u8,
    #[n(6)]
    pub(crate) block_length: u32,
    /// Blocks of each shard.
    #[n(7)]
    pub(crate) blocks: u64,
    /// One for each data shard; none where there is no segment.
    #[n(8)]
    pub(crate) slots: Vec<Option<Slot>>,
    /// BLAKE3 of the table.
    #[cbor(n(9), with = "minicbor::bytes")]
    pub(crate) table: [u8; HASH_LENGTH],
}

impl Head {
    /// The version that this program writes.
    pub(crate) const VERSION: u16 = 1;

    /// Bytes of the table: of each block, a checksum for each data shard and one for this file.
    pub(crate) fn table_length(blocks: u64, data: usize) -> u64 {
        blocks.saturating_mul(data as u64 + 1).saturating_mul(8)
    }

    /// Where the file's own shard begins.
    pub(crate) fn data_at(blocks: u64, data: usize) -> u64 {
        TABLE_AT + Self::table_length(blocks, data).next_multiple_of(DATA_ALIGNMENT)
    }

    /// The bytes of the head.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let body = minicbor::to_vec(self).unwrap_or_default();
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
        bytes.resize(bytes.len().max(usize::try_from(TABLE_AT).unwrap_or(0)), 0);
        bytes
    }

    /// Reads a head; nothing if it is not sound.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let (body, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        let text = bytes.get(..MAGIC.len() + 8 + body.len())?;
        if blake3::hash(text).as_bytes() != rest.first_chunk::<HASH_LENGTH>()? {
            return None;
        }
        let head: Self = minicbor::decode(body).ok()?;
        let shards = head.slots.len() + usize::from(head.parity);
        let shape = !head.slots.is_empty()
            && head.index < head.parity
            && shards <= usize::from(crate::Policy::DRIVES_MAX);
        let length = head.blocks.checked_mul(BLOCK as u64).filter(|length| *length <= LENGTH_MAX)?;
        let fits = head.slots.iter().flatten().all(|slot| slot.length <= length);
        let known = head.version == Self::VERSION && head.block_length as usize == BLOCK;
        (shape && fits && known).then_some(head)
    }

    /// Reads the head of a file.
    pub(crate) fn read(file: &dyn File) -> Result<Option<Self>, DiskError> {
        let length = file.length()?.min(TABLE_AT);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        file.read_at(0, &mut bytes)?;
        Ok(Self::decode(&bytes))
    }

    /// Reads the table of a file with this head.
    pub(crate) fn read_table(&self, file: &dyn File) -> Result<Vec<u64>, DiskError> {
        let length = Self::table_length(self.blocks, self.slots.len());
        let damaged = || {
            DiskError::failed(
                Operation::Read,
                crate::layout::PARITY,
                std::io::Error::other("the table is damaged"),
            )
        };
        if length > file.length()? {
            return Err(damaged());
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| damaged())?];
        file.read_at(TABLE_AT, &mut bytes)?;
        if *blake3::hash(&bytes).as_bytes() != self.table {
            return Err(damaged());
        }
        let (words, _) = bytes.as_chunks::<8>();
        Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn sample() -> Head {
        let slot =
            |n: u8| Slot { segment: SegmentNumber(n.into()), length: 70_000, drive: DriveUuid([n; 16]) };
        Head {
            version: 1,
            pool: PoolUuid([1; 16]),
            group: 9,
            replaces: Some(8),
            index: 1,
            parity: 2,
            block_length: 65_536,
            blocks: 2,
            slots: vec![Some(slot(3)), None, Some(slot(4))],
            table: [5; 32],
        }
    }

    #[test]
    fn every_flip_and_every_cut_is_seen() {
        let bytes = sample().encode();
        assert_eq!(Head::decode(&bytes), Some(sample()));
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        for bit in 0..used * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Head::decode(&flipped), None, "bit {bit}");
        }
        assert!((0..used).all(|length| Head::decode(&bytes[..length]).is_none()));
    }

    #[test]
    fn the_largest_head_fits() {
        let mut head = sample();
        let slot = Slot { segment: SegmentNumber(u64::MAX), length: LENGTH_MAX, drive: DriveUuid([9; 16]) };
        head.slots = vec![Some(slot); 31];
        (head.parity, head.index, head.blocks) = (1, 0, LENGTH_MAX / BLOCK as u64);
        (head.group, head.replaces) = (u64::MAX, Some(u64::MAX));
        assert_eq!(head.encode().len(), 4096);
        assert_eq!(Head::decode(&head.encode()), Some(head));
    }
}

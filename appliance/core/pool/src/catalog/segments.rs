//! What segments hold: the values of the table `segments`.

use crate::PoolError;

/// Bytes of a value.
pub(super) const USE_LENGTH: usize = 1 + 8 + 8;

/// What a segment is full of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Chunks.
    Chunks,
    /// Pages, and records and indexes besides.
    Pages,
}

/// What a segment holds, in bytes of plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// Of what.
    pub kind: Kind,
    /// Everything that was put into it.
    pub stored: u64,
    /// What something refers to, and is read from here.
    pub live: u64,
}

impl Use {
    pub(super) fn encode(&self) -> [u8; USE_LENGTH] {
        let mut out = [0; USE_LENGTH];
        out[0] = match self.kind {
            Kind::Chunks => 0,
            Kind::Pages => 1,
        };
        out[1..9].copy_from_slice(&self.stored.to_le_bytes());
        out[9..17].copy_from_slice(&self.live.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8; USE_LENGTH]) -> Result<Self, PoolError> {
        let kind = match bytes[0] {
            0 => Kind::Chunks,
            1 => Kind::Pages,
            _ => return Err(PoolError::CatalogValue("its segments")),
        };
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        Ok(Self { kind, stored: number(1), live: number(9) })
    }
}

//! How often what is stored is kept.

use medium::Redundancy;
use minicbor::{Decode, Encode};

use crate::DrivesError;

/// How segments are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Policy {
    /// Each on so many drives.
    #[n(0)]
    Copies(#[n(0)] u8),
    /// Each once, and parity over groups of them; until it is in a group, on one drive more than parity has.
    #[n(1)]
    Parity {
        /// Segments of a group.
        #[n(0)]
        data: u8,
        /// Parity files of a group: how many of its drives may be lost.
        #[n(1)]
        parity: u8,
    },
}

impl Policy {
    /// More copies, or drives of a group, make no sense.
    pub const DRIVES_MAX: u8 = Redundancy::DRIVES_MAX;

    /// Checks the numbers.
    pub fn check(self) -> Result<Self, DrivesError> {
        let wrong = |what| Err(DrivesError::Policy { what });
        match self {
            Self::Copies(0) => wrong("no copy at all was asked for"),
            Self::Copies(copies) if copies > Self::DRIVES_MAX => wrong("too many copies were asked for"),
            Self::Parity { data: 0, .. } | Self::Parity { parity: 0, .. } => {
                wrong("parity needs at least one segment and one parity file in a group")
            }
            Self::Parity { data, parity } if data.saturating_add(parity) > Self::DRIVES_MAX => {
                wrong("too many drives for a group were asked for")
            }
            policy => Ok(policy),
        }
    }

    /// Copies of what is not under parity.
    #[must_use]
    pub const fn copies(self) -> usize {
        match self {
            Self::Copies(copies) => copies as usize,
            Self::Parity { parity, .. } => parity as usize + 1,
        }
    }

    /// Segments and parity files of a group.
    #[must_use]
    pub const fn group(self) -> Option<(usize, usize)> {
        match self {
            Self::Copies(_) => None,
            Self::Parity { data, parity } => Some((data as usize, parity as usize)),
        }
    }

    /// Drives that one thing is spread over.
    #[must_use]
    pub const fn drives(self) -> usize {
        match self {
            Self::Copies(copies) => copies as usize,
            Self::Parity { data, parity } => data as usize + parity as usize,
        }
    }

    /// The most bytes that fit on drives with so many bytes free each. With `T` bytes of each kind of shard, a drive
    /// takes at most `T`, and there must be room for all shards.
    #[must_use]
    pub fn room(self, free: &[u64]) -> u64 {
        let fits = |drives: usize| {
            let enough = |each: u64| {
                let sum: u128 = free.iter().map(|bytes| u128::from(*bytes.min(&each))).sum();
                sum >= u128::from(each) * drives as u128
            };
            let (mut low, mut high) =
                (0, free.iter().copied().max().unwrap_or(0).saturating_mul(free.len() as u64));
            while low < high {
                let middle = low + (high - low).div_ceil(2);
                if enough(middle) { low = middle } else { high = middle - 1 }
            }
            low
        };
        let copies = self.copies().min(free.len()).max(1);
        match self.group() {
            Some((data, parity)) if free.len() >= data + parity => {
                fits(data + parity).saturating_mul(data as u64)
            }
            _ => fits(copies),
        }
    }
}

impl From<Policy> for Redundancy {
    fn from(policy: Policy) -> Self {
        let (data, parity) = match policy {
            Policy::Copies(copies) => (1, copies.saturating_sub(1)),
            Policy::Parity { data, parity } => (data, parity),
        };
        // Every one that was checked makes sense.
        Self::new(data, parity).unwrap_or(Self::ONE)
    }
}

impl From<Redundancy> for Policy {
    fn from(redundancy: Redundancy) -> Self {
        match (redundancy.data(), redundancy.parity()) {
            (1, parity) => Self::Copies(parity + 1),
            (data, parity) => Self::Parity { data, parity },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_what_fits_on_distinct_drives() {
        let two = Policy::Copies(2);
        for (free, expected) in [
            (vec![10, 10], 10),
            (vec![10, 4], 4),
            (vec![10, 6, 4], 10),
            (vec![100, 6, 4], 10),
            (vec![7], 7),
            (vec![], 0),
        ] {
            assert_eq!(two.room(&free), expected, "{free:?}");
        }
        assert_eq!(Policy::Copies(1).room(&[3, 4]), 7);
        let parity = Policy::Parity { data: 4, parity: 2 };
        assert_eq!(parity.room(&[10; 6]), 40);
        assert_eq!(parity.room(&[10; 12]), 80);
        assert_eq!(parity.room(&[10; 5]), 16, "too few for a group: three copies on five drives");
    }

    #[test]
    fn numbers_without_sense_are_refused() {
        let refused = [
            Policy::Copies(0),
            Policy::Copies(33),
            Policy::Parity { data: 0, parity: 1 },
            Policy::Parity { data: 1, parity: 0 },
            Policy::Parity { data: 31, parity: 2 },
        ];
        assert!(refused.iter().all(|policy| policy.check().is_err()));
        assert!(Policy::Parity { data: 4, parity: 2 }.check().is_ok() && Policy::Copies(1).check().is_ok());
    }
}

//! How files are to be kept, where a disk has a choice.

use std::cmp::Reverse;

/// With how much besides something is kept: so many shards that hold it, and so many drives more, any of which may be
/// lost. One shard and one drive more are two copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Redundancy {
    data: u8,
    parity: u8,
}

impl Redundancy {
    /// One copy.
    pub const ONE: Self = Self { data: 1, parity: 0 };
    /// More drives than that make no sense.
    pub const DRIVES_MAX: u8 = 32;

    /// Shards that hold something, and drives more; none if that makes no sense. Several shards without any more are no
    /// way to keep something: each of their drives would be one too many to lose.
    #[must_use]
    pub const fn new(data: u8, parity: u8) -> Option<Self> {
        let drives = data.saturating_add(parity);
        if data == 0 || drives > Self::DRIVES_MAX || (data > 1 && parity == 0) {
            return None;
        }
        Some(Self { data, parity })
    }

    /// Shards that hold something.
    #[must_use]
    pub const fn data(self) -> u8 {
        self.data
    }

    /// Drives that may be lost.
    #[must_use]
    pub const fn parity(self) -> u8 {
        self.parity
    }

    /// The one with which more drives may be lost; of equals, the one of fewer drives.
    #[must_use]
    pub fn or_stronger(self, other: Self) -> Self {
        std::cmp::max_by_key(self, other, |one| (one.parity, Reverse(one.data)))
    }
}

/// How those want a file kept who have something in it. By default nobody has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Demand {
    /// Somebody takes what everything gets.
    pub usual: bool,
    /// The most that somebody asks for.
    pub asked: Option<Redundancy>,
}

impl Demand {
    /// Of bytes that [`Self::encode`] makes.
    pub const LENGTH: usize = 3;

    /// That of one who asks for something, or takes what everything gets.
    #[must_use]
    pub const fn of(asked: Option<Redundancy>) -> Self {
        Self { usual: asked.is_none(), asked }
    }

    /// Both of them.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let asked = match (self.asked, other.asked) {
            (Some(one), Some(other)) => Some(one.or_stronger(other)),
            (one, other) => one.or(other),
        };
        Self { usual: self.usual || other.usual, asked }
    }

    /// Takes in another one.
    pub fn join(&mut self, other: Self) {
        *self = self.and(other);
    }

    /// Whether who asks for the other one gets it here.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.and(other) == self
    }

    /// What it comes to where everything gets `usual`.
    #[must_use]
    pub fn settle(self, usual: Redundancy) -> Redundancy {
        match self.asked {
            Some(asked) if self.usual => asked.or_stronger(usual),
            Some(asked) => asked,
            None => usual,
        }
    }

    /// Whether it is 1 or 0, then shards and drives more, zeros if nothing is asked for.
    #[must_use]
    pub fn encode(self) -> [u8; Self::LENGTH] {
        let (data, parity) = self.asked.map_or((0, 0), |asked| (asked.data, asked.parity));
        [u8::from(self.usual), data, parity]
    }

    /// Reads it back; none if that makes no sense.
    #[must_use]
    pub fn decode([usual, data, parity]: [u8; Self::LENGTH]) -> Option<Self> {
        let asked = if (data, parity) == (0, 0) { None } else { Some(Redundancy::new(data, parity)?) };
        (usual <= 1).then_some(Self { usual: usual == 1, asked })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redundancy(data: u8, parity: u8) -> Redundancy {
        Redundancy::new(data, parity).unwrap()
    }

    #[test]
    fn the_strongest_demand_counts() {
        let (one, two, six) = (redundancy(1, 0), redundancy(1, 1), redundancy(4, 2));
        assert_eq!(two.or_stronger(six), six);
        assert_eq!(two.or_stronger(redundancy(4, 1)), two, "of equals, fewer drives");
        let (usual, scratch, ledger) = (Demand::of(None), Demand::of(Some(one)), Demand::of(Some(six)));
        assert_eq!(usual.settle(two), two);
        assert_eq!(Demand::default().settle(two), two, "nobody has said anything");
        assert_eq!(scratch.settle(two), one, "who asks for less gets less");
        assert_eq!(scratch.and(usual).settle(two), two, "unless somebody else has something there");
        assert_eq!(scratch.and(ledger).settle(two), six);
        assert_eq!(ledger.and(usual).settle(two), six);
        assert!(ledger.and(usual).covers(usual) && ledger.covers(scratch) && !scratch.covers(ledger));
        assert!(!ledger.covers(usual), "the usual may be more one day");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (data, parity) in [(0, 0), (0, 1), (2, 0), (31, 2), (255, 255)] {
            assert_eq!(Redundancy::new(data, parity), None, "{data}+{parity}");
        }
        for demand in [
            Demand::default(),
            Demand::of(None),
            Demand::of(Some(redundancy(1, 0))),
            Demand::of(Some(redundancy(4, 2))).and(Demand::of(None)),
        ] {
            assert_eq!(Demand::decode(demand.encode()), Some(demand));
        }
        assert_eq!(Demand::decode([2, 0, 0]), None);
        assert_eq!(Demand::decode([1, 3, 0]), None);
    }
}

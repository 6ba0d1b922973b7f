//! Numbers from a seed: xoshiro256++, seeded by splitmix64 (Blackman and Vigna, public domain).
//!
//! For tests only: whoever sees some of them can foretell the rest.

use std::sync::{Mutex, PoisonError};

use crate::Entropy;

/// A deterministic stream of numbers.
#[derive(Clone, Debug)]
pub struct Random([u64; 4]);

impl Random {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        Self(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }))
    }

    /// The next number; all 64 bits are good.
    pub fn draw(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let drawn = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        drawn
    }

    /// A number in `0..end`; 0 if `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(end)) >> 64) as u64
    }

    /// An index in `0..end`; 0 if `end` is 0.
    #[expect(clippy::cast_possible_truncation, reason = "below a usize")]
    pub fn index(&mut self, end: usize) -> usize {
        self.below(end as u64) as usize
    }

    /// True in `percent` of 100 draws.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Fills a buffer.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for part in buffer.chunks_mut(8) {
            let drawn = self.draw().to_le_bytes();
            part.iter_mut().zip(drawn).for_each(|(to, from)| *to = from);
        }
    }

    /// An independent stream that is determined by this one.
    pub fn split(&mut self) -> Self {
        Self::new(self.draw())
    }
}

/// Entropy from a seed.
#[derive(Debug)]
pub struct SimEntropy(Mutex<Random>);

impl SimEntropy {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(Random::new(seed)))
    }
}

impl Entropy for SimEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        // xoshiro256++ from the state 1, 2, 3, 4: the first outputs of the reference implementation.
        let mut random = Random([1, 2, 3, 4]);
        let drawn: Vec<u64> = (0..4).map(|_| random.draw()).collect();
        assert_eq!(drawn, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
        // splitmix64 of the seed 1234567, as published with it.
        assert_eq!(Random::new(1_234_567).0[0], 6_457_827_717_110_365_317);
    }

    #[test]
    fn draws_stay_in_their_range_and_reach_all_of_it() {
        let mut random = Random::new(1);
        let mut seen = [0_u32; 7];
        for _ in 0..7_000 {
            seen[random.index(7)] += 1;
        }
        assert!(seen.iter().all(|n| (800..1_200).contains(n)), "{seen:?}");
        assert_eq!((random.below(0), random.below(1)), (0, 0));
        assert!(!random.chance(0) && random.chance(100));
    }

    #[test]
    fn entropy_repeats_with_its_seed() {
        let bytes = |seed| {
            let mut buffer = [0; 19];
            SimEntropy::new(seed).fill(&mut buffer);
            buffer
        };
        assert_eq!(bytes(7), bytes(7));
        assert_ne!(bytes(7), bytes(8));
    }
}

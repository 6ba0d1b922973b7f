//! Whether one source alone holds a chunk, and which: two sums over all of its references.
//!
//! The sums take in references in any order and let them go again, so they depend on what refers to the name and on
//! nothing that was before: a recount from the trees finds the same. If all references are of one source, the mean of
//! their numbers is the number of that source, and the second sum agrees. Of several sources it agrees once in four
//! thousand million; then what they share counts for a third one, and nothing depends on that but figures.

use model::SourceId;

/// Bytes of the sums.
pub(super) const HOLDERS_LENGTH: usize = 8 + 4;

/// Sums over the references to a chunk, or what is added to them. Of pages there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// Of the numbers of the sources.
    sum: u64,
    /// Of a hash of them.
    check: u32,
}

impl Holders {
    /// Adds references of a source, or takes some away.
    pub(crate) const fn add(&mut self, source: SourceId, references: i64) {
        let times = references.cast_unsigned();
        self.sum = self.sum.wrapping_add(source.0.wrapping_mul(times));
        // The low half of the count: the sum is one modulo 2^32.
        self.check = self.check.wrapping_add(hash(source).wrapping_mul((times & 0xffff_ffff) as u32));
    }

    /// Both sums together.
    pub(super) const fn plus(self, other: Self) -> Self {
        Self { sum: self.sum.wrapping_add(other.sum), check: self.check.wrapping_add(other.check) }
    }

    /// The only source that holds it, of so many references; none if that is not kept.
    pub(crate) fn only(self, references: u32) -> Option<SourceId> {
        let source = SourceId(self.sum.checked_div(u64::from(references)).filter(|source| *source > 0)?);
        let mut alone = Self::default();
        alone.add(source, i64::from(references));
        (alone == self).then_some(source)
    }

    pub(super) fn encode(self) -> [u8; HOLDERS_LENGTH] {
        let mut out = [0; HOLDERS_LENGTH];
        out[..8].copy_from_slice(&self.sum.to_le_bytes());
        out[8..].copy_from_slice(&self.check.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8; HOLDERS_LENGTH]) -> Self {
        let (sum, check) = bytes.split_at(8);
        let (mut long, mut short) = ([0; 8], [0; 4]);
        long.copy_from_slice(sum);
        short.copy_from_slice(check);
        Self { sum: u64::from_le_bytes(long), check: u32::from_le_bytes(short) }
    }
}

impl std::fmt::Display for Holders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}.{:x}", self.sum, self.check)
    }
}

/// A hash of the number of a source: neighbours differ in half of its bits.
const fn hash(source: SourceId) -> u32 {
    let mut x = source.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever was added and taken away in between, and in whatever order: one holder is found, and only one.
        #[test]
        fn one_holder_is_found_and_several_are_none(
            mut steps in prop::collection::vec((1_u64..50, 1_i64..9), 1..40),
            leaving in prop::collection::vec((1_u64..50, 1_i64..9), 0..40),
        ) {
            let mut left: BTreeMap<u64, i64> = BTreeMap::new();
            for (source, count) in &steps {
                *left.entry(*source).or_default() += count;
            }
            for (source, count) in leaving {
                let there = left.get(&source).copied().unwrap_or(0).min(count);
                *left.entry(source).or_default() -= there;
                steps.push((source, -there));
            }
            left.retain(|_, count| *count > 0);
            steps.reverse();
            let mut holders = Holders::default();
            steps.iter().for_each(|(source, count)| holders.add(SourceId(*source), *count));
            let references = u32::try_from(left.values().sum::<i64>()).unwrap();
            let expected = (left.len() == 1).then(|| SourceId(*left.keys().next().unwrap()));
            prop_assert_eq!(holders.only(references), expected);
            prop_assert!(!left.is_empty() || holders == Holders::default());
            prop_assert_eq!(Holders::decode(&holders.encode()), holders);
        }
    }
}

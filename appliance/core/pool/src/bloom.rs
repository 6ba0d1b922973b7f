//! Sets of names of which only so much is kept that nobody in them is missed.
//!
//! A Bloom filter in blocks of one cache line (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters).
//! Names are the output of a keyed hash, so their own bits say where they go.

use std::sync::atomic::{AtomicU64, Ordering};

use model::Name;

const WORDS_PER_BLOCK: usize = 8;
const BYTES_PER_BLOCK: usize = size_of::<[AtomicU64; WORDS_PER_BLOCK]>();
const BITS_PER_BLOCK: u64 = BYTES_PER_BLOCK as u64 * 8;
/// Bits that a name sets.
const BITS_SET: usize = 8;
/// A filter is made for no fewer names.
const NAMES_MIN: u64 = 1 << 16;

/// Names, each as a few bits.
pub(crate) struct Bits {
    blocks: Vec<[AtomicU64; WORDS_PER_BLOCK]>,
    /// Names that it is made for.
    capacity: u64,
    /// Names that were put in and were not there, as far as can be told.
    count: AtomicU64,
}

impl Bits {
    /// Room for twice as many names, with so many bits for each. With 12 of them one other name in about two hundred is taken
    /// for one that was put in, with 20 one in some thousands.
    pub(crate) fn for_names(count: u64, bits_per_name: u64) -> Self {
        let (capacity, blocks) = size_for(count, bits_per_name);
        let blocks = (0..blocks).map(|_| Default::default()).collect();
        Self { blocks, capacity, count: AtomicU64::new(0) }
    }

    /// Bytes that such a one takes.
    pub(crate) fn bytes_for_names(count: u64, bits_per_name: u64) -> usize {
        let (_, blocks) = size_for(count, bits_per_name);
        usize::try_from(blocks).unwrap_or(usize::MAX).saturating_mul(BYTES_PER_BLOCK)
    }

    /// The block of a name, and the places of its bits there.
    fn places(&self, name: &Name) -> (&[AtomicU64; WORDS_PER_BLOCK], impl Iterator<Item = (usize, u64)>) {
        let [first, second, third, _] = parts(name);
        let at = (u128::from(first) * self.blocks.len() as u128) >> u64::BITS;
        // It is smaller than the number of blocks.
        let block = &self.blocks[usize::try_from(at).unwrap_or(0)];
        let drawn = u128::from(second) | (u128::from(third) << u64::BITS);
        let bit = move |number: usize| {
            let bit = usize::try_from((drawn >> (9 * number)) & 0x1ff).unwrap_or(0);
            (bit / 64, 1 << (bit % 64))
        };
        (block, (0..BITS_SET).map(bit))
    }

    /// Puts a name in; whether it was not there, as far as can be told.
    pub(crate) fn insert(&self, name: &Name) -> bool {
        let (block, places) = self.places(name);
        let is_new = places.fold(false, |is_new, (word, bit)| {
            is_new | (block[word].fetch_or(bit, Ordering::Relaxed) & bit == 0)
        });
        self.count.fetch_add(u64::from(is_new), Ordering::Relaxed);
        is_new
    }

    /// Whether a name may have been put in; never no about one that was.
    pub(crate) fn may_have(&self, name: &Name) -> bool {
        let (block, mut places) = self.places(name);
        places.all(|(word, bit)| block[word].load(Ordering::Relaxed) & bit != 0)
    }

    /// Bytes that it takes.
    pub(crate) const fn bytes(&self) -> usize {
        self.blocks.len() * BYTES_PER_BLOCK
    }

    /// Names that it is made for.
    pub(crate) const fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Whether it has more names than it is made for.
    pub(crate) fn is_full(&self) -> bool {
        self.count.load(Ordering::Relaxed) > self.capacity
    }
}

/// Names that a filter for twice as many is made for, and its blocks.
fn size_for(count: u64, bits_per_name: u64) -> (u64, u64) {
    let capacity = count.saturating_mul(2).max(NAMES_MIN);
    (capacity, capacity.saturating_mul(bits_per_name).div_ceil(BITS_PER_BLOCK))
}

fn parts(name: &Name) -> [u64; 4] {
    std::array::from_fn(|part| u64::from_le_bytes(std::array::from_fn(|at| name.0[part * 8 + at])))
}

/// A name that looks as names do, for tests.
#[cfg(test)]
pub(crate) fn name(number: u64) -> Name {
    Name(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_were_put_in_are_found_and_few_others() {
        let bits = Bits::for_names(50_000, 12);
        let put = |number| bits.insert(&name(number));
        let new = (0..100_000).filter(|number| put(*number)).count();
        assert!(new > 98_000 && (0..100_000).filter(|number| put(*number)).count() == 0, "{new}");
        assert!((0..100_000).all(|number| bits.may_have(&name(number))) && !bits.is_full());
        let wrong = (0..100_000).filter(|number| bits.may_have(&name(1_000_000 + number))).count();
        assert!(wrong < 2_000, "{wrong} of 100,000 others are taken for known");
        assert!((100_000..105_000).filter(|number| put(*number)).count() > 4_800 && bits.is_full());
        let sharp = Bits::for_names(50_000, 20);
        (0..100_000).for_each(|number| {
            sharp.insert(&name(number));
        });
        let wrong = (100_000..200_000).filter(|number| sharp.may_have(&name(*number))).count();
        assert!(wrong < 100 && sharp.bytes() < 260_000, "{wrong} of 100,000");
        assert_eq!(sharp.bytes(), Bits::bytes_for_names(50_000, 20));
    }
}

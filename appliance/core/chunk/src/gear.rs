//! Where content is cut: the gear hash of FastCDC, looked for in several places at a time.
//!
//! At each byte the hash is shifted by a bit and gets the byte's value from a table. So it depends on the last 64 bytes
//! alone, and each step has to wait for the one before it. Here a stretch is divided into lanes, whose hashes begin 64 bytes
//! earlier, and a processor works on all of them at once. The cuts are those that one pass from the beginning would find.

use std::ops::Range;

use fastcdc::v2020::{Normalization, select_masks};
use zeroize::Zeroize;

use crate::cut::{CHUNK_LENGTH_MAX, CUT_LENGTH_AVERAGE, CUT_LENGTH_MIN};

const VALUES: usize = 256;
/// Bytes that a hash depends on: one for each of its bits.
const REACH: usize = 64;
const LANES: usize = 4;
const LANE: usize = 2048;

/// Finds the cuts of one dedup domain.
pub(crate) struct Gear {
    values: Box<[u64; VALUES]>,
    mask_strict: u64,
    mask_relaxed: u64,
}

impl Gear {
    /// Bytes that the values are made of.
    pub(crate) const SECRET_LENGTH: usize = VALUES * 8;

    pub(crate) fn new(secret: &[u8; Self::SECRET_LENGTH]) -> Self {
        let mut values = Box::new([0; VALUES]);
        for (value, bytes) in values.iter_mut().zip(secret.as_chunks::<8>().0) {
            *value = u64::from_le_bytes(*bytes);
        }
        let (mask_strict, mask_relaxed) = select_masks(CUT_LENGTH_AVERAGE, Normalization::Level1);
        Self { values, mask_strict, mask_relaxed }
    }

    /// Length of the first chunk of `window`, which holds all that is left or at least a longest chunk. Up to the average
    /// length a stricter mask decides than behind it. FastCDC looks at pairs of bytes: of an odd number the last one is no cut.
    pub(crate) fn first_length(&self, window: &[u8]) -> usize {
        let end = window.len().min(CHUNK_LENGTH_MAX);
        if end <= CUT_LENGTH_MIN {
            return end;
        }
        let pairs = |length: usize| length & !1;
        let center = pairs(end.min(CUT_LENGTH_AVERAGE));
        let found = self.find(window, CUT_LENGTH_MIN..center, self.mask_strict);
        found.or_else(|| self.find(window, center..pairs(end), self.mask_relaxed)).unwrap_or(end)
    }

    /// The first place in a range whose hash has none of the bits of a mask.
    fn find(&self, bytes: &[u8], range: Range<usize>, mask: u64) -> Option<usize> {
        let (blocks, rest) = bytes.get(range.clone())?.as_chunks::<{ LANES * LANE }>();
        let mut at = range.start;
        for block in blocks {
            let hashes = std::array::from_fn(|lane| self.hash_before(bytes, at + lane * LANE));
            if let Some(found) = self.find_in_lanes(block, hashes, mask) {
                return Some(at + found);
            }
            at += block.len();
        }
        let mut hash = self.hash_before(bytes, at);
        let is_cut = |byte: &u8| {
            hash = self.next(hash, *byte);
            hash & mask == 0
        };
        rest.iter().position(is_cut).map(|found| at + found)
    }

    const fn next(&self, hash: u64, byte: u8) -> u64 {
        (hash << 1).wrapping_add(self.values[byte as usize])
    }

    /// The hash of what is before a place.
    fn hash_before(&self, bytes: &[u8], at: usize) -> u64 {
        let from = at.saturating_sub(REACH).max(CUT_LENGTH_MIN);
        bytes[from..at].iter().fold(0, |hash, byte| self.next(hash, *byte))
    }

    fn find_in_lanes(
        &self,
        block: &[u8; LANES * LANE],
        mut hashes: [u64; LANES],
        mask: u64,
    ) -> Option<usize> {
        let lanes: &[[u8; LANE]; LANES] = block.as_chunks::<LANE>().0.as_array()?;
        let mut found = [None; LANES];
        for at in 0..LANE {
            for (hash, lane) in hashes.iter_mut().zip(lanes) {
                *hash = self.next(*hash, lane[at]);
            }
            if hashes.iter().any(|hash| hash & mask == 0) {
                for (found, hash) in found.iter_mut().zip(hashes) {
                    *found = found.or((hash & mask == 0).then_some(at));
                }
                if found[0].is_some() {
                    break;
                }
            }
        }
        found.iter().enumerate().find_map(|(lane, found)| found.map(|at| lane * LANE + at))
    }
}

impl Drop for Gear {
    fn drop(&mut self) {
        self.values.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use fastcdc::v2020::cut_gear;

    use super::*;

    fn gear() -> Gear {
        let mut secret = [0; Gear::SECRET_LENGTH];
        blake3::Hasher::new_derive_key("gear test").finalize_xof().fill(&mut secret);
        Gear::new(&secret)
    }

    /// Noise; of each byte only some bits, so that there are more and fewer cuts.
    fn noise(seed: u64, bits: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes.iter_mut().for_each(|byte| *byte &= bits);
        bytes
    }

    #[test]
    fn cuts_are_those_of_one_pass() {
        let gear = gear();
        let shifted = gear.values.map(|value| value << 1);
        let one_pass = |window: &[u8]| {
            let (strict, relaxed) = (gear.mask_strict, gear.mask_relaxed);
            let (min, average, max) = (CUT_LENGTH_MIN, CUT_LENGTH_AVERAGE, CHUNK_LENGTH_MAX);
            let values = &gear.values[..];
            let shifted_masks = (strict << 1, relaxed << 1);
            let (first, second) = shifted_masks;
            cut_gear(window, min, average, max, strict, relaxed, first, second, values, &shifted).1
        };
        let mut cuts = 0;
        for (seed, bits) in (0..).zip([0xff, 0xff, 0x7f, 0x3, 0x1, 0]) {
            let bytes = noise(seed, bits, 3 * CHUNK_LENGTH_MAX + 4321);
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let length = gear.first_length(rest);
                assert_eq!(length, one_pass(rest), "seed {seed}, {} bytes are left", rest.len());
                rest = &rest[length..];
                cuts += 1;
            }
        }
        assert!(cuts > 60, "{cuts}");
        for length in (0..300_000).step_by(4_999) {
            let bytes = noise(7, 0xff, length);
            assert_eq!(gear.first_length(&bytes), one_pass(&bytes), "{length} bytes");
        }
    }

    #[test]
    fn the_first_cut_is_found_whichever_lane_it_is_in() {
        let gear = gear();
        let bytes = noise(9, 0xff, CUT_LENGTH_MIN + 5 * LANES * LANE);
        for mask in [0x3ff << 20, 0x1fff << 30, 0xffff << 8] {
            let mut hash = 0;
            let is_cut = |at: &usize| {
                hash = gear.next(hash, bytes[*at]);
                hash & mask == 0
            };
            let cuts: Vec<usize> = (CUT_LENGTH_MIN..bytes.len()).filter(is_cut).collect();
            for from in (CUT_LENGTH_MIN..bytes.len()).step_by(97) {
                let first = cuts.iter().copied().find(|cut| *cut >= from);
                assert_eq!(gear.find(&bytes, from..bytes.len(), mask), first, "{mask:x} from {from}");
            }
        }
    }
}

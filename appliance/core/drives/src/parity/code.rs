//! Reed-Solomon over one block of each shard.
//!
//! The code works on each 64 bytes of a shard alone, so blocks can be encoded and reconstructed one by one.

use std::io;

use medium::{DiskError, Operation};
use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};

use super::BLOCK;
use crate::layout::PARITY;

/// Encodes block after block.
pub(crate) struct Encoder(ReedSolomonEncoder);

impl Encoder {
    /// For groups of so many data shards and parity files.
    pub(crate) fn new(data: usize, parity: usize) -> Result<Self, DiskError> {
        ReedSolomonEncoder::new(data, parity, BLOCK).map(Self).map_err(refused)
    }

    /// The blocks of the parity files from those of all data shards.
    pub(crate) fn encode(&mut self, data: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, DiskError> {
        for block in data {
            self.0.add_original_shard(block).map_err(refused)?;
        }
        let result = self.0.encode().map_err(refused)?;
        Ok(result.recovery_iter().map(<[u8]>::to_vec).collect())
    }
}

/// A range of one data shard from the same range of any others, as many as there are data shards. A call costs some two
/// milliseconds whatever its length, so ranges of many blocks are much cheaper than single ones.
pub(crate) fn decode(
    (data, parity): (usize, usize),
    wanted: usize,
    length: usize,
    have_data: &[(usize, Vec<u8>)],
    have_parity: &[(usize, Vec<u8>)],
) -> Result<Vec<u8>, DiskError> {
    let mut decoder = ReedSolomonDecoder::new(data, parity, length).map_err(refused)?;
    for (index, block) in have_data {
        decoder.add_original_shard(*index, block).map_err(refused)?;
    }
    for (index, block) in have_parity {
        decoder.add_recovery_shard(*index, block).map_err(refused)?;
    }
    let result = decoder.decode().map_err(refused)?;
    let block = result.restored_original(wanted).map(<[u8]>::to_vec);
    block.ok_or_else(|| {
        refused(reed_solomon_simd::Error::InvalidOriginalShardIndex { original_count: data, index: wanted })
    })
}

fn refused(source: reed_solomon_simd::Error) -> DiskError {
    DiskError::failed(Operation::Read, PARITY, io::Error::other(source))
}

#[cfg(test)]
mod tests {
    use medium::sim::Random;
    use reed_solomon_simd::encode;

    use super::*;

    fn shards(seed: u64, count: usize, length: usize) -> Vec<Vec<u8>> {
        let mut random = Random::new(seed);
        let shard = |_| {
            let mut shard = vec![0; length];
            random.fill(&mut shard);
            shard
        };
        (0..count).map(shard).collect()
    }

    #[test]
    fn ranges_at_multiples_of_64_are_encoded_alone() {
        for (data, parity) in [(4, 2), (1, 1), (10, 3), (3, 1), (2, 2)] {
            let whole = shards(1, data, 64 * 20);
            let expected = encode(data, parity, &whole).unwrap();
            for (start, end) in [(0, 64), (64, 192), (640, 1280), (1216, 1280), (0, 1280)] {
                let range: Vec<&[u8]> = whole.iter().map(|shard| &shard[start..end]).collect();
                let found = encode(data, parity, &range).unwrap();
                let same =
                    found.iter().zip(&expected).all(|(found, expected)| found[..] == expected[start..end]);
                assert!(same, "{data}+{parity}, {start}..{end}");
            }
        }
    }

    #[test]
    fn the_code_is_linear() {
        let (old, mut changed) = (shards(2, 4, 128), shards(2, 4, 128));
        let other = shards(3, 1, 128).remove(0);
        let delta: Vec<u8> = old[2].iter().zip(&other).map(|(a, b)| a ^ b).collect();
        changed[2] = other;
        let mut only = vec![vec![0; 128]; 4];
        only[2] = delta;
        let [old, changed, only] = [old, changed, only].map(|shards| encode(4, 2, &shards).unwrap());
        for index in 0..2 {
            let sum: Vec<u8> = old[index].iter().zip(&only[index]).map(|(a, b)| a ^ b).collect();
            assert_eq!(sum, changed[index]);
        }
    }

    #[test]
    fn any_shards_that_are_enough_give_the_others() {
        let data = shards(4, 4, BLOCK);
        let parity = Encoder::new(4, 2).unwrap().encode(&data).unwrap();
        for lost in 0..4 {
            for other in (0..6).filter(|other| *other != lost) {
                let have: Vec<_> =
                    (0..4).filter(|i| *i != lost && *i != other).map(|i| (i, data[i].clone())).collect();
                let rest: Vec<_> = (0..2)
                    .filter(|i| i + 4 != other)
                    .map(|i| (i, parity[i].clone()))
                    .take(4 - have.len())
                    .collect();
                assert!(
                    decode((4, 2), lost, BLOCK, &have, &rest).unwrap() == data[lost],
                    "{lost} and {other}"
                );
            }
        }
        assert!(decode((4, 2), 0, BLOCK, &[(1, data[1].clone())], &[(0, parity[0].clone())]).is_err());
    }
}

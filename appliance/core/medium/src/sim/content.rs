//! The bytes of a file in copy-on-write blocks, so that keeping several states of it costs little.
//!
//! Invariant: bytes of a block beyond the length are zeros; blocks that were never written are absent
//! and read as zeros.

use std::sync::Arc;

/// Bytes of a block.
pub(super) const BLOCK: usize = 4096;

type Block = Option<Arc<[u8; BLOCK]>>;

/// A sparse sequence of bytes; a clone shares everything until one of the two is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    length: u64,
    allocated: usize,
    blocks: Arc<Vec<Block>>,
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "offsets are bounded by the disk's capacity, which is in memory"
)]
impl Content {
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// Bytes of the blocks that are present.
    pub(super) const fn allocated(&self) -> u64 {
        (self.allocated * BLOCK) as u64
    }

    /// Bytes of the blocks that a write would add.
    pub(super) fn growth(&self, offset: u64, length: usize) -> u64 {
        if length == 0 {
            return 0;
        }
        let first = offset as usize / BLOCK;
        let last = (offset as usize + length - 1) / BLOCK;
        let absent = (first..=last).filter(|index| !matches!(self.blocks.get(*index), Some(Some(_)))).count();
        (absent * BLOCK) as u64
    }

    /// Fills the buffer from `offset`; false if that is beyond the end.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> bool {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.length) {
            return false;
        }
        let mut position = offset as usize;
        let mut rest = buffer;
        while !rest.is_empty() {
            let (index, skip) = (position / BLOCK, position % BLOCK);
            let (part, after) = rest.split_at_mut(rest.len().min(BLOCK - skip));
            match self.blocks.get(index) {
                Some(Some(block)) => part.copy_from_slice(&block[skip..skip + part.len()]),
                _ => part.fill(0),
            }
            position += part.len();
            rest = after;
        }
        true
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = offset as usize + bytes.len();
        let blocks = Arc::make_mut(&mut self.blocks);
        if blocks.len() < end.div_ceil(BLOCK) {
            blocks.resize(end.div_ceil(BLOCK), None);
        }
        let mut position = offset as usize;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (index, skip) = (position / BLOCK, position % BLOCK);
            let (part, after) = rest.split_at(rest.len().min(BLOCK - skip));
            let block = blocks[index].get_or_insert_with(|| {
                self.allocated += 1;
                Arc::new([0; BLOCK])
            });
            Arc::make_mut(block)[skip..skip + part.len()].copy_from_slice(part);
            position += part.len();
            rest = after;
        }
        self.length = self.length.max(end as u64);
    }

    /// Cuts, or extends with zeros.
    pub(super) fn set_length(&mut self, length: u64) {
        if length < self.length {
            let (whole, keep) = (length as usize / BLOCK, length as usize % BLOCK);
            let blocks = Arc::make_mut(&mut self.blocks);
            if keep > 0
                && let Some(Some(block)) = blocks.get_mut(whole)
            {
                Arc::make_mut(block)[keep..].fill(0);
            }
            blocks.truncate(whole + usize::from(keep > 0));
            self.allocated = blocks.iter().flatten().count();
        }
        self.length = length;
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length as usize];
        self.read(0, &mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Random;

    #[test]
    fn it_behaves_like_a_vector() {
        let mut random = Random::new(3);
        let (mut content, mut model) = (Content::default(), Vec::new());
        for _ in 0..2_000 {
            let kept = content.clone();
            let kept_model = model.clone();
            let offset = random.index(4 * BLOCK);
            if random.chance(20) {
                content.set_length(offset as u64);
                model.resize(offset, 0);
            } else {
                let mut bytes = vec![0; random.index(2 * BLOCK)];
                random.fill(&mut bytes);
                content.write(offset as u64, &bytes);
                if !bytes.is_empty() {
                    model.resize(model.len().max(offset + bytes.len()), 0);
                    model[offset..offset + bytes.len()].copy_from_slice(&bytes);
                }
            }
            assert_eq!(content.to_vec(), model);
            assert_eq!(kept.to_vec(), kept_model, "a clone changed with its original");
            assert_eq!(content.allocated, content.blocks.iter().flatten().count());
        }
    }

    #[test]
    fn a_read_beyond_the_end_is_refused() {
        let mut content = Content::default();
        content.write(10, b"abc");
        assert!(content.read(10, &mut [0; 3]));
        assert!(content.read(13, &mut []));
        assert!(!content.read(11, &mut [0; 3]));
        assert!(!content.read(u64::MAX, &mut [0; 3]));
        assert_eq!(content.growth(0, 5000), BLOCK as u64);
    }
}

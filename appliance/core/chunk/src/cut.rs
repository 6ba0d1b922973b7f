//! Cutting: where one chunk ends and the next begins.
//!
//! Ordinary files are cut by their content (FastCDC v2020), so that an insertion moves one or two cuts and not
//! all that follow; images and databases are cut into aligned blocks of one size, because they are changed in
//! place. Cuts depend on the bytes and the key of the domain alone, never on how the feed happens to deliver.
//!
//! The gear table of the rolling hash is drawn from the naming key: whoever sees the lengths of chunks cannot
//! test them against the lengths that a known file would give. Two domains cut the same file differently,
//! which costs nothing, since they share no names either.
//!
//! Memory is one buffer of [`CutBuffer::LENGTH`] per cutter at work; chunks are handed out as slices of it.

use std::io::{ErrorKind, Read};

use zeroize::Zeroize;

use crate::gear::Gear;
use crate::{ChunkError, NamingKey};

/// Most bytes of a chunk.
pub const CHUNK_LENGTH_MAX: usize = 1 << 20;

/// Where content cutting starts to look for a cut; a file up to this length is one chunk.
pub const CUT_LENGTH_MIN: usize = 32 << 10;

/// The length around which content cutting aims.
pub const CUT_LENGTH_AVERAGE: usize = 128 << 10;

/// The size of aligned blocks: a power of two from 4 KiB to 1 MiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockSize(u32);

impl BlockSize {
    /// Checks a size in bytes.
    ///
    /// # Errors
    /// [`ChunkError::BlockSize`] if it is no power of two in range.
    pub const fn new(bytes: u32) -> Result<Self, ChunkError> {
        if bytes.is_power_of_two() && bytes >= 4096 && bytes as usize <= CHUNK_LENGTH_MAX {
            Ok(Self(bytes))
        } else {
            Err(ChunkError::BlockSize { bytes })
        }
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.0 as usize
    }
}

impl Default for BlockSize {
    /// 64 KiB.
    fn default() -> Self {
        Self(64 << 10)
    }
}

/// How an object is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CutPlan {
    /// By content: ordinary files.
    Content,
    /// Into aligned blocks: volumes, disk images, databases.
    Fixed(BlockSize),
}

impl CutPlan {
    /// Bytes that must be in sight before a cut can be decided, unless the feed has ended.
    const fn window(self) -> usize {
        match self {
            Self::Content => CHUNK_LENGTH_MAX,
            Self::Fixed(size) => size.bytes(),
        }
    }
}

/// The buffer that a feed is read into; reused from object to object.
pub struct CutBuffer(Vec<u8>);

impl CutBuffer {
    /// Bytes of the buffer: four of the longest chunks, so that at most every third byte is moved once.
    pub const LENGTH: usize = 4 * CHUNK_LENGTH_MAX;

    /// A new buffer; its memory is touched only as far as objects are long.
    #[must_use]
    pub fn new() -> Self {
        Self(vec![0; Self::LENGTH])
    }
}

impl Default for CutBuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// Cuts objects of one dedup domain.
pub struct Cutter {
    gear: Gear,
}

impl Cutter {
    /// A cutter whose content cuts are those of the domain of `key`.
    #[must_use]
    pub fn new(key: &NamingKey) -> Self {
        let mut secret = [0; Gear::SECRET_LENGTH];
        key.fill_cut_secret(&mut secret);
        let gear = Gear::new(&secret);
        secret.zeroize();
        Self { gear }
    }

    /// Reads `feed` to its end and hands every chunk with its offset to `sink`; the length of the feed.
    ///
    /// # Errors
    /// [`ChunkError::Read`] if the feed fails, and whatever `sink` returns; chunks handed out before stay valid.
    pub fn cut<E: From<ChunkError>>(
        &self,
        feed: &mut dyn Read,
        plan: CutPlan,
        buffer: &mut CutBuffer,
        mut sink: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let bytes = &mut buffer.0;
        let (mut start, mut end, mut offset, mut ended) = (0, 0, 0u64, false);
        loop {
            if !ended && end - start < plan.window() {
                bytes.copy_within(start..end, 0);
                (start, end) = (0, end - start);
                (end, ended) = fill(feed, bytes, end, plan.window())
                    .map_err(|source| ChunkError::Read { offset: offset + end as u64, source })?;
            }
            if start == end {
                return Ok(offset);
            }
            let chunk = &bytes[start..end];
            let chunk = &chunk[..self.first_length(chunk, plan)];
            sink(offset, chunk)?;
            start += chunk.len();
            offset += chunk.len() as u64;
        }
    }

    /// Cuts an object that is in memory as a whole, with the cuts that [`Self::cut`] would make.
    pub fn cut_bytes<'a>(&'a self, bytes: &'a [u8], plan: CutPlan) -> impl Iterator<Item = &'a [u8]> + 'a {
        let mut rest = bytes;
        std::iter::from_fn(move || {
            let (chunk, after) = rest.split_at(self.first_length(rest, plan));
            rest = after;
            (!chunk.is_empty()).then_some(chunk)
        })
    }

    /// Length of the first chunk of `window`, which holds all that is left or at least a longest chunk.
    fn first_length(&self, window: &[u8], plan: CutPlan) -> usize {
        match plan {
            CutPlan::Fixed(size) => window.len().min(size.bytes()),
            CutPlan::Content => self.gear.first_length(window),
        }
    }
}

/// Reads behind `end` until at least `needed` bytes are there; the new end, and whether the feed has ended.
fn fill(
    feed: &mut dyn Read,
    bytes: &mut [u8],
    mut end: usize,
    needed: usize,
) -> std::io::Result<(usize, bool)> {
    while end < needed {
        let free = bytes.len() - end;
        match feed.read(&mut bytes[end..]) {
            Ok(0) => return Ok((end, true)),
            Ok(count) => end += count.min(free),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((end, false))
}

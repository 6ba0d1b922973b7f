//! Compressing: zstd with contexts that live long, and raw where zstd does not help.
//!
//! A compressed body is exactly one zstd frame that states its content size, has a window of at most
//! [`WINDOW_LOG_MAX`] and is shorter than its plaintext. Decompression writes into a buffer of exactly the
//! declared length, so a bomb is refused whatever it claims. What does not shrink by a thirty-second part is
//! stored raw; whether it would is judged by samples before the whole is tried.

use zstd::zstd_safe::{self, CParameter, DParameter};

use crate::ChunkError;

/// Most bytes that one body holds before compression.
pub const PLAIN_LENGTH_MAX: usize = 4 << 20;

/// Base-2 logarithm of the largest zstd window that is accepted.
pub const WINDOW_LOG_MAX: u32 = 22;

const SAMPLE_LENGTH: usize = 4096;
const SAMPLED_FROM: usize = 64 << 10;
const SAMPLE_EVERY: usize = 32 << 10;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// How a body is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Codec {
    /// As it is.
    Raw = 0,
    /// One zstd frame.
    Zstd = 1,
}

impl Codec {
    /// The codec of a stored byte.
    ///
    /// # Errors
    /// [`ChunkError::Unknown`] for a byte that stands for none.
    pub const fn decode(byte: u8) -> Result<Self, ChunkError> {
        match byte {
            0 => Ok(Self::Raw),
            1 => Ok(Self::Zstd),
            found => Err(ChunkError::Unknown { what: "codec", found }),
        }
    }

    /// Checks that a body of `found` bytes can hold `plain_length` bytes in this codec.
    pub(crate) const fn check_lengths(self, plain_length: u64, found: u64) -> Result<(), ChunkError> {
        match self {
            Self::Raw if found != plain_length => {
                Err(ChunkError::Length { what: "raw body", expected: plain_length, found })
            }
            Self::Zstd if found == 0 || found >= plain_length => Err(ChunkError::Limit {
                what: "length of compressed body",
                least: 1,
                most: plain_length.saturating_sub(1),
                found,
            }),
            _ => Ok(()),
        }
    }
}

/// A zstd level from -7 (fastest) to 19; 1 by default.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Level(i32);

impl Level {
    /// The nearest level in range.
    #[must_use]
    pub fn new(level: i32) -> Self {
        Self(level.clamp(-7, 19))
    }
}

impl Default for Level {
    fn default() -> Self {
        Self(1)
    }
}

/// A body as it is stored, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packed {
    /// How `body` is stored.
    pub codec: Codec,
    /// The stored bytes.
    pub body: Vec<u8>,
}

/// Compresses bodies one after the other; costs a megabyte of memory and belongs to one thread.
pub struct Compressor {
    context: zstd::bulk::Compressor<'static>,
    level: Level,
    scratch: Vec<u8>,
    mismatches: u64,
}

impl Compressor {
    /// A compressor with contexts of its own.
    #[must_use]
    pub fn new() -> Self {
        let level = Level::default();
        let mut context = zstd::bulk::Compressor::default();
        set_level(&mut context, level);
        Self { context, level, scratch: Vec::new(), mismatches: 0 }
    }

    /// Compresses `plain`, or copies it if it does not shrink enough.
    ///
    /// # Errors
    /// [`ChunkError::TooLong`] above [`PLAIN_LENGTH_MAX`], [`ChunkError::Compress`] if zstd fails.
    pub fn pack(&mut self, plain: &[u8], level: Level) -> Result<Packed, ChunkError> {
        Ok(match self.try_shrink(plain, level)? {
            Some(body) => Packed { codec: Codec::Zstd, body: body.to_vec() },
            None => Packed { codec: Codec::Raw, body: plain.to_vec() },
        })
    }

    /// Like [`Self::pack`], but what does not shrink enough is not copied: the buffer itself becomes the body, and an empty
    /// one takes its place.
    pub(crate) fn pack_taken(&mut self, plain: &mut Vec<u8>, level: Level) -> Result<Packed, ChunkError> {
        Ok(match self.try_shrink(plain, level)? {
            Some(body) => Packed { codec: Codec::Zstd, body: body.to_vec() },
            None => Packed { codec: Codec::Raw, body: std::mem::take(plain) },
        })
    }

    /// Like [`Self::pack`], and decompresses the result again: a body that does not come back is stored raw.
    ///
    /// # Errors
    /// Those of [`Self::pack`].
    pub fn pack_checked(
        &mut self,
        plain: &[u8],
        level: Level,
        decompressor: &mut Decompressor,
    ) -> Result<Packed, ChunkError> {
        let packed = self.pack(plain, level)?;
        Ok(self.checked(packed, plain, decompressor))
    }

    /// `packed` if it unpacks to `plain`, else `plain` as it is.
    fn checked(&mut self, packed: Packed, plain: &[u8], decompressor: &mut Decompressor) -> Packed {
        if decompressor.unpack(packed.codec, &packed.body, plain.len()).is_ok_and(|again| again == plain) {
            return packed;
        }
        self.mismatches += 1;
        Packed { codec: Codec::Raw, body: plain.to_vec() }
    }

    /// How often a compressed body did not come back: anything but 0 says that memory or processor are at fault.
    #[must_use]
    pub const fn mismatches(&self) -> u64 {
        self.mismatches
    }

    /// The compressed form of `plain` if it is worth having.
    pub(crate) fn try_shrink(&mut self, plain: &[u8], level: Level) -> Result<Option<&[u8]>, ChunkError> {
        if plain.len() > PLAIN_LENGTH_MAX {
            let (most, found) = (PLAIN_LENGTH_MAX as u64, plain.len() as u64);
            return Err(ChunkError::TooLong { what: "plaintext", most, found });
        }
        if self.level != level {
            set_level(&mut self.context, level);
            self.level = level;
        }
        if plain.len() > SAMPLED_FROM && !self.samples_shrink(plain)? {
            return Ok(None);
        }
        let length = self.compress(plain)?;
        Ok(if length <= worthwhile(plain.len()) { self.scratch.get(..length) } else { None })
    }

    /// Whether at least one sample shrinks by as much as the whole would have to.
    ///
    /// Samples are spread evenly from the first byte to the last, so closely that a run of 40 KiB that shrinks
    /// is always seen.
    fn samples_shrink(&mut self, plain: &[u8]) -> Result<bool, ChunkError> {
        let count = plain.len().div_ceil(SAMPLE_EVERY);
        let stride = (plain.len() - SAMPLE_LENGTH) / (count - 1);
        for index in 0..count {
            let start = index * stride;
            let sample = &plain[start..start + SAMPLE_LENGTH];
            if self.compress(sample)? <= worthwhile(SAMPLE_LENGTH) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn compress(&mut self, plain: &[u8]) -> Result<usize, ChunkError> {
        self.scratch.clear();
        self.scratch.reserve(zstd_safe::compress_bound(plain.len()));
        self.context
            .compress_to_buffer(plain, &mut self.scratch)
            .map_err(|source| ChunkError::Compress { length: plain.len(), source })
    }
}

impl Default for Compressor {
    fn default() -> Self {
        Self::new()
    }
}

/// Most bytes that compressing `plain_length` bytes may leave to be worth it: 31 of 32.
const fn worthwhile(plain_length: usize) -> usize {
    plain_length - plain_length.div_ceil(32)
}

fn set_level(context: &mut zstd::bulk::Compressor<'static>, level: Level) {
    context
        .set_parameter(CParameter::CompressionLevel(level.0))
        .expect("zstd takes every level of the range of `Level` between two frames");
}

/// Decompresses bodies one after the other into one buffer; belongs to one thread.
pub struct Decompressor {
    context: zstd::bulk::Decompressor<'static>,
    scratch: Vec<u8>,
}

impl Decompressor {
    /// A decompressor with a context of its own.
    #[must_use]
    pub fn new() -> Self {
        let mut context = zstd::bulk::Decompressor::default();
        context
            .set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))
            .expect("zstd takes every window limit from 10 to 31");
        Self { context, scratch: Vec::new() }
    }

    /// The plaintext of `body`: `body` itself if it is raw, otherwise this decompressor's buffer.
    ///
    /// # Errors
    /// Anything but exactly one well-formed body of `plain_length` bytes is an error.
    pub fn unpack<'a>(
        &'a mut self,
        codec: Codec,
        body: &'a [u8],
        plain_length: usize,
    ) -> Result<&'a [u8], ChunkError> {
        codec.check_lengths(plain_length as u64, body.len() as u64)?;
        if codec == Codec::Raw {
            return Ok(body);
        }
        decompress(&mut self.context, body, &mut self.scratch, plain_length)?;
        Ok(&self.scratch)
    }

    /// The plaintext of `body` in a buffer of its own; none if it is raw.
    pub(crate) fn unpack_new(
        &mut self,
        codec: Codec,
        body: &[u8],
        plain_length: usize,
    ) -> Result<Option<Vec<u8>>, ChunkError> {
        codec.check_lengths(plain_length as u64, body.len() as u64)?;
        if codec == Codec::Raw {
            return Ok(None);
        }
        let mut out = Vec::new();
        decompress(&mut self.context, body, &mut out, plain_length)?;
        Ok(Some(out))
    }
}

impl Default for Decompressor {
    fn default() -> Self {
        Self::new()
    }
}

/// Decompresses `body` into `out`, whose content goes.
fn decompress(
    context: &mut zstd::bulk::Decompressor<'static>,
    body: &[u8],
    out: &mut Vec<u8>,
    plain_length: usize,
) -> Result<(), ChunkError> {
    check_zstd_frame(body, plain_length)?;
    out.clear();
    out.reserve_exact(plain_length);
    let found = context.decompress_to_buffer(body, out).map_err(|source| ChunkError::Decompress {
        length: body.len(),
        plain_length,
        source,
    })?;
    if found != plain_length {
        let (what, expected) = ("decompressed body", plain_length as u64);
        return Err(ChunkError::Length { what, expected, found: found as u64 });
    }
    Ok(())
}

/// Checks, before anything is decompressed, that `body` is one zstd frame within the limits.
fn check_zstd_frame(body: &[u8], plain_length: usize) -> Result<(), ChunkError> {
    let wrong = |reason| Err(ChunkError::ZstdFrame { reason });
    if plain_length > PLAIN_LENGTH_MAX {
        return wrong("content is beyond the limit");
    }
    let Some((&descriptor, after)) = body.strip_prefix(&ZSTD_MAGIC).and_then(<[u8]>::split_first) else {
        return wrong("magic is missing");
    };
    let single_segment = descriptor & 0x20 != 0;
    if !single_segment && after.first().is_none_or(|&window| window_length(window) > 1 << WINDOW_LOG_MAX) {
        return wrong("window is beyond the limit");
    }
    if !matches!(zstd_safe::get_frame_content_size(body), Ok(Some(size)) if size == plain_length as u64) {
        return wrong("content size is not the declared one");
    }
    if zstd_safe::find_frame_compressed_size(body) != Ok(body.len()) {
        return wrong("its end is not the end of the body");
    }
    Ok(())
}

/// The window that a frame's window descriptor states (RFC 8878, 3.1.1.1.2): five bits of exponent, three of
/// mantissa.
const fn window_length(descriptor: u8) -> u64 {
    let base = 1u64 << (10 + (descriptor >> 3));
    base + base / 8 * (descriptor & 7) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_read_as_the_standard_says() {
        assert_eq!(window_length(0), 1 << 10);
        assert_eq!(window_length(1), (1 << 10) + (1 << 7));
        assert_eq!(window_length(12 << 3), 1 << WINDOW_LOG_MAX);
        assert!(window_length((12 << 3) + 1) > 1 << WINDOW_LOG_MAX);
        assert_eq!(window_length(0xff), (1 << 41) + 7 * (1 << 38));
    }

    #[test]
    fn a_thirty_second_part_is_worth_it() {
        assert_eq!([0, 1, 31, 32, 33, 64, 1 << 20].map(worthwhile), [0, 0, 30, 31, 31, 62, 31 << 15]);
    }

    #[test]
    fn a_body_that_does_not_come_back_is_stored_raw_and_counted() {
        let plain = vec![7; 10_000];
        let (mut compressor, mut decompressor) = (Compressor::new(), Decompressor::new());
        let packed = compressor.pack_checked(&plain, Level::default(), &mut decompressor).unwrap();
        assert_eq!((packed.codec, compressor.mismatches()), (Codec::Zstd, 0));
        let other = Packed {
            codec: Codec::Zstd,
            body: compressor.pack(&[8; 10_000], Level::default()).unwrap().body,
        };
        let cut = Packed { codec: Codec::Zstd, body: packed.body[1..].to_vec() };
        let raw = Packed { codec: Codec::Raw, body: vec![8; 10_000] };
        for (count, broken) in (1..).zip([other, cut, raw]) {
            let settled = compressor.checked(broken, &plain, &mut decompressor);
            assert_eq!(settled, Packed { codec: Codec::Raw, body: plain.clone() });
            assert_eq!(compressor.mismatches(), count);
        }
    }
}

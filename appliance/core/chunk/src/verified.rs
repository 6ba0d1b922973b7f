//! Verified bundles: the only ones that a pool stores.
//!
//! A [`VerifiedBundle`] says that every chunk decompresses to bytes that have the chunk's name. It is made by
//! [`Bundle::verify`] from what somebody sent, or by a [`VerifiedBuilder`], which computes the names itself and
//! decompresses what it compressed before it vouches for it. There is no other way to get one.

use model::Name;

use crate::{
    Bundle, BundleBuilder, BundleLimits, ChunkError, Codec, Compressor, Decompressor, Entry, Level, Naming,
    Table,
};

/// Chunks compressed together whose names are those of their bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedBundle(Bundle);

impl VerifiedBundle {
    /// Only for code of this crate that has just recomputed every name.
    pub(crate) const fn trust(bundle: Bundle) -> Self {
        Self(bundle)
    }

    /// Names and lengths.
    #[must_use]
    pub const fn table(&self) -> &Table {
        self.0.table()
    }

    /// How the body is stored.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        self.0.codec()
    }

    /// The stored body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.0.body()
    }

    /// The bytes of all chunks, one after the other.
    ///
    /// # Errors
    /// None but those of failing memory: the body has been decompressed before.
    pub fn plaintext<'a>(&'a self, decompressor: &'a mut Decompressor) -> Result<&'a [u8], ChunkError> {
        self.0.plaintext(decompressor)
    }

    /// Leaves out the chunks that `keep` rejects, compressing anew only if there are any; `None` if all are.
    ///
    /// `keep` is asked once for every entry, in order.
    ///
    /// # Errors
    /// [`ChunkError::Compress`] if zstd fails.
    pub fn retain(
        self,
        mut keep: impl FnMut(&Entry) -> bool,
        level: Level,
        compressor: &mut Compressor,
        decompressor: &mut Decompressor,
    ) -> Result<Option<Self>, ChunkError> {
        let kept: Vec<bool> = self.table().entries().iter().map(&mut keep).collect();
        if kept.iter().all(|&kept| kept) {
            return Ok(Some(self));
        }
        let plain = self.0.plaintext(decompressor)?;
        // Not a builder with limits: a part of a bundle is within them whatever they were.
        let (mut entries, mut rest) = (Vec::new(), Vec::new());
        for ((entry, range), _) in self.table().ranges().zip(&kept).filter(|&(_, &kept)| kept) {
            entries.push(*entry);
            rest.extend_from_slice(&plain[range]);
        }
        let Some(plain_length) = u32::try_from(rest.len()).ok().filter(|&length| length > 0) else {
            return Ok(None);
        };
        let packed = compressor.pack_checked(&rest, level, decompressor)?;
        Bundle::new(Table::new(entries, plain_length)?, packed).map(|bundle| Some(Self(bundle)))
    }

    /// The bundle without the promise, to send it on.
    #[must_use]
    pub fn into_bundle(self) -> Bundle {
        self.0
    }
}

/// Gathers chunks or pages of our own making and names them itself.
pub struct VerifiedBuilder(BundleBuilder);

impl VerifiedBuilder {
    /// An empty builder.
    #[must_use]
    pub fn new(limits: BundleLimits) -> Self {
        Self(BundleBuilder::new(limits))
    }

    /// Appends a chunk; its name.
    ///
    /// # Errors
    /// Those of [`BundleBuilder::push`].
    pub fn push(&mut self, key: &dyn Naming, bytes: &[u8]) -> Result<Name, ChunkError> {
        let name = key.name(bytes);
        self.0.push(name, bytes).map(|()| name)
    }

    /// Whether it is time to finish.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.is_full()
    }

    /// Whether nothing has been pushed since the last finish.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Chunks pushed so far.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        self.0.entries()
    }

    /// Bytes pushed so far: chunks that are not yet in a frame are read from here.
    #[must_use]
    pub fn plaintext(&self) -> &[u8] {
        self.0.plaintext()
    }

    /// Compresses what has been pushed, decompresses it again, and starts anew.
    ///
    /// # Errors
    /// Those of [`BundleBuilder::finish`].
    pub fn finish(
        &mut self,
        compressor: &mut Compressor,
        decompressor: &mut Decompressor,
        level: Level,
    ) -> Result<VerifiedBundle, ChunkError> {
        self.0.finish_with(|plain| compressor.pack_checked(plain, level, decompressor)).map(VerifiedBundle)
    }
}

impl Default for VerifiedBuilder {
    fn default() -> Self {
        Self::new(BundleLimits::default())
    }
}

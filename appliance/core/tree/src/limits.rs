//! How large keys, values and pages get.
//!
//! The maxima bound what a reader accepts and never change; [`PageLimits`] is what a writer aims at, and trees
//! written under different limits read the same.

/// Longest key, in bytes: an object, a kind and the longest name of an entry, with room to spare.
pub const KEY_LENGTH_MAX: usize = 300;
/// Longest value, in bytes: the longest extended attribute, with room to spare.
pub const VALUE_LENGTH_MAX: usize = 65 * 1024;
/// Longest page that a reader accepts, in bytes.
pub const PAGE_LENGTH_MAX: usize = 256 * 1024;
/// Most levels of a tree; with two children a page this is far more than can be stored.
pub const HEIGHT_MAX: u8 = 40;

/// The sizes that a writer aims at.
///
/// A page is split when it is longer than the target and both parts can reach a quarter of it, so it exceeds the
/// target only around a single very large value. A page under a quarter is joined with a neighbour, except the
/// last of its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimits {
    target: usize,
}

impl PageLimits {
    /// Pages of 16 to 32 KiB: what a single change rewrites, against what a range has to open.
    pub const DEFAULT: Self = Self::new(32 * 1024);

    /// Pages of at most `target` encoded bytes.
    ///
    /// # Panics
    /// If the target is not within 64 bytes and 128 KiB.
    #[must_use]
    pub const fn new(target: usize) -> Self {
        assert!(target >= 64 && target <= PAGE_LENGTH_MAX / 2, "the target of a page is 64 bytes to 128 KiB");
        Self { target }
    }

    /// The length that a page does not exceed if it can be split.
    #[must_use]
    pub const fn length_max(self) -> usize {
        self.target
    }

    /// The length below which a page is joined with a neighbour.
    #[must_use]
    pub const fn length_min(self) -> usize {
        self.target / 4
    }

    /// Whether a page of `level` with this many entries and bytes should be joined with a neighbour.
    pub(crate) const fn underfull(self, level: u8, count: usize, length: usize) -> bool {
        length < self.length_min() || (level > 0 && count < 2)
    }
}

impl Default for PageLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

//! Names: what makes two runs of bytes the same chunk.
//!
//! A name is the keyed BLAKE3-256 of plaintext. The key belongs to a dedup domain and comes from the secret of
//! the pool, so that nobody outside the domain can compute names or test guesses against them. Tree pages
//! are named under a key of their own: a chunk can never be passed off as a page. Keys are wiped when dropped.

use std::fmt;

use model::{DomainId, Name};
use zeroize::ZeroizeOnDrop;

const CHUNK_CONTEXT: &str = "keepfast 2026 chunk name v1";
const PAGE_CONTEXT: &str = "keepfast 2026 page name v1";
const CUT_CONTEXT: &str = "keepfast 2026 chunk cut v1";

/// What can name bytes: the key of a dedup domain, or the page key of the pool.
pub trait Naming {
    /// The name of `bytes`.
    fn name(&self, bytes: &[u8]) -> Name;
}

/// The key by which the chunks of one dedup domain are named.
#[derive(Clone, ZeroizeOnDrop)]
pub struct NamingKey([u8; 32]);

impl NamingKey {
    /// The key of `domain` in the pool that owns `pool_secret`.
    #[must_use]
    pub fn derive(pool_secret: &[u8; 32], domain: DomainId) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CHUNK_CONTEXT);
        hasher.update(pool_secret).update(&domain.0.to_le_bytes());
        Self(*hasher.finalize().as_bytes())
    }

    /// The key as an agent has received it from its pool.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key as it is handed to an agent of the domain; the caller keeps it secret.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The name of a chunk.
    #[must_use]
    pub fn name(&self, bytes: &[u8]) -> Name {
        Name(*blake3::keyed_hash(&self.0, bytes).as_bytes())
    }

    /// Secret bytes that steer where the domain's chunks are cut.
    pub(crate) fn fill_cut_secret(&self, out: &mut [u8]) {
        blake3::Hasher::new_derive_key(CUT_CONTEXT).update(&self.0).finalize_xof().fill(out);
    }
}

impl Naming for NamingKey {
    fn name(&self, bytes: &[u8]) -> Name {
        Self::name(self, bytes)
    }
}

impl fmt::Debug for NamingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NamingKey(..)")
    }
}

/// The key by which the tree pages of a pool are named.
#[derive(Clone, ZeroizeOnDrop)]
pub struct PageKey([u8; 32]);

impl PageKey {
    /// The page key of the pool that owns `pool_secret`.
    #[must_use]
    pub fn derive(pool_secret: &[u8; 32]) -> Self {
        Self(blake3::derive_key(PAGE_CONTEXT, pool_secret))
    }

    /// The name of a page.
    #[must_use]
    pub fn name(&self, bytes: &[u8]) -> Name {
        Name(*blake3::keyed_hash(&self.0, bytes).as_bytes())
    }
}

impl Naming for PageKey {
    fn name(&self, bytes: &[u8]) -> Name {
        Self::name(self, bytes)
    }
}

impl fmt::Debug for PageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PageKey(..)")
    }
}

//! The key of one segment, and what binds it to the segment.
//!
//! Every segment has a key of its own: HKDF-SHA256 over the master secret with a salt that is drawn for the
//! segment and stored in its header, and with pool and segment number as context. GCM does not commit to its
//! key, so a second output of the same derivation, the [`Commitment`], is stored beside the salt: a wrong
//! master secret is noticed before anything is opened, and no frame can be made that opens under two keys.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, Tag, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use model::SegmentNumber;
use zeroize::Zeroizing;

use crate::frame::{FRAME_HEADER_LENGTH, IDENTITY};
use crate::{ChunkError, FrameHeader, FrameNumber};

const KEY_INFO: &[u8] = b"keepfast 2026 segment key v1";
const COMMITMENT_INFO: &[u8] = b"keepfast 2026 segment commitment v1";
const POOL_LENGTH: usize = 16;
const AAD_LENGTH: usize = POOL_LENGTH + IDENTITY.end - IDENTITY.start;

/// Which segment of which pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentIdentity {
    /// The UUID of the pool.
    pub pool: [u8; POOL_LENGTH],
    /// The number of the segment in it.
    pub segment: SegmentNumber,
}

/// Salt for one segment, straight from the entropy source: it can be used once and cannot be copied.
pub struct FreshSalt([u8; 32]);

impl FreshSalt {
    /// Draws a salt; `fill` must fill its argument with randomness that never repeats.
    pub fn draw(fill: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut salt = [0; 32];
        fill(&mut salt);
        Self(salt)
    }

    pub(crate) const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What identifies the key of a segment without telling anything about it; stored in the segment's header.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Commitment(pub [u8; 32]);

impl fmt::Debug for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "Commitment({a:02x}{b:02x}{c:02x}{d:02x}..)")
    }
}

/// The key of a segment with all that its frames are bound to.
pub(crate) struct SegmentKey {
    cipher: LessSafeKey,
    commitment: Commitment,
    identity: SegmentIdentity,
}

impl SegmentKey {
    pub(crate) fn derive(master: &[u8; 32], salt: &[u8; 32], identity: SegmentIdentity) -> Self {
        let secret = Salt::new(HKDF_SHA256, salt).extract(master);
        let key = expand(&secret, KEY_INFO, &identity);
        let cipher = UnboundKey::new(&AES_256_GCM, &*key).expect("a key of AES-256 has 32 bytes");
        let commitment = Commitment(*expand(&secret, COMMITMENT_INFO, &identity));
        Self { cipher: LessSafeKey::new(cipher), commitment, identity }
    }

    pub(crate) const fn commitment(&self) -> &Commitment {
        &self.commitment
    }

    pub(crate) const fn identity(&self) -> &SegmentIdentity {
        &self.identity
    }

    /// Encrypts `text` in place; its tag. The caller answers for the frame number being new.
    pub(crate) fn seal(&self, header: &FrameHeader, text: &mut [u8]) -> Result<Tag, ChunkError> {
        let (nonce, aad) = (nonce(header.number), self.aad(header));
        let failed = |_| ChunkError::Seal { segment: header.segment, frame: header.number };
        self.cipher.seal_in_place_separate_tag(nonce, aad, text).map_err(failed)
    }

    /// Decrypts `text` into `out`, which has its length.
    pub(crate) fn open(
        &self,
        header: &FrameHeader,
        text: &[u8],
        tag: &[u8],
        out: &mut [u8],
    ) -> Result<(), ChunkError> {
        let (nonce, aad) = (nonce(header.number), self.aad(header));
        self.cipher.open_separate_gather(nonce, aad, text, tag, out).map_err(|_| unauthentic(header))
    }

    /// Decrypts `payload`, text and tag, in place; the text.
    pub(crate) fn open_in_place<'a>(
        &self,
        header: &FrameHeader,
        payload: &'a mut [u8],
    ) -> Result<&'a mut [u8], ChunkError> {
        let (nonce, aad) = (nonce(header.number), self.aad(header));
        self.cipher.open_in_place(nonce, aad, payload).map_err(|_| unauthentic(header))
    }

    /// The pool, then the identity fields of the header as they are stored.
    fn aad(&self, header: &FrameHeader) -> Aad<[u8; AAD_LENGTH]> {
        let mut aad = [0; AAD_LENGTH];
        let (pool, identity) = aad.split_at_mut(POOL_LENGTH);
        pool.copy_from_slice(&self.identity.pool);
        let header: [u8; FRAME_HEADER_LENGTH] = header.encode();
        identity.copy_from_slice(&header[IDENTITY]);
        Aad::from(aad)
    }
}

fn unauthentic(header: &FrameHeader) -> ChunkError {
    ChunkError::Unauthentic { segment: header.segment, frame: header.number }
}

/// The frame number as 96 bits, little-endian.
fn nonce(number: FrameNumber) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    let (low, _) = nonce.split_at_mut(size_of::<u32>());
    low.copy_from_slice(&number.0.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

struct Length32;

impl KeyType for Length32 {
    fn len(&self) -> usize {
        32
    }
}

fn expand(secret: &Prk, info: &[u8], identity: &SegmentIdentity) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    let segment = identity.segment.0.to_le_bytes();
    secret
        .expand(&[info, &identity.pool, &segment], Length32)
        .and_then(|okm| okm.fill(&mut *out))
        .expect("HKDF-SHA256 gives any 32 bytes");
    out
}

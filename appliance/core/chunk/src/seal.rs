//! Sealing: frames for one segment, each under a nonce that is used once.
//!
//! A [`Sealer`] is made from a [`FreshSalt`], so its key is new, and it owns the next frame number, which is
//! the nonce: it goes up before anything is encrypted and never down, whatever fails. There is no way to
//! resume a segment, so no frame number is given twice under one key. A frame counts only after it has been
//! opened again and compared with what went in: a fault of memory or processor is noticed while the plaintext
//! is still there.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::frame::{FRAME_HEADER_LENGTH, SEALED_LENGTH_MAX, TAG_LENGTH, padded_length};
use crate::key::SegmentKey;
use crate::{
    ChunkError, Codec, Commitment, FrameHeader, FrameKind, FrameNumber, FreshSalt, Opener, PLAIN_LENGTH_MAX,
    Packed, SealedFrame, SegmentIdentity, VerifiedBundle,
};

/// Is told of every use of a nonce, before it is used; a simulation proves with it that none is used twice.
pub trait NonceAudit: Send + Sync {
    /// Frame `number` of the key behind `commitment` is about to seal a text with this BLAKE3.
    fn sealing(&self, commitment: &Commitment, number: FrameNumber, text: &[u8; 32]);
}

/// A sealed frame: header, payload and padding in one piece, as they are written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    header: FrameHeader,
    bytes: Vec<u8>,
}

impl Frame {
    /// Its header.
    #[must_use]
    pub const fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// Its sealed payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[FRAME_HEADER_LENGTH..][..self.header.sealed_length as usize]
    }

    /// All that is written, a multiple of [`FRAME_ALIGNMENT`](crate::FRAME_ALIGNMENT).
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All that is written, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Seals the frames of one new segment.
pub struct Sealer {
    key: Arc<SegmentKey>,
    salt: FreshSalt,
    next: Option<FrameNumber>,
    audit: Option<Arc<dyn NonceAudit>>,
    scratch: Vec<u8>,
}

impl Sealer {
    /// A sealer for a segment that holds no frame.
    #[must_use]
    pub fn new(master: &[u8; 32], salt: FreshSalt, identity: SegmentIdentity) -> Self {
        let key = Arc::new(SegmentKey::derive(master, salt.bytes(), identity));
        Self { key, salt, next: Some(FrameNumber(0)), audit: None, scratch: Vec::new() }
    }

    /// Goes on from a frame, whatever was sealed before.
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn resumed_at(mut self, next: FrameNumber) -> Self {
        self.next = Some(next);
        self
    }

    /// Has every use of a nonce reported to `audit`.
    #[must_use]
    pub fn audited(mut self, audit: Arc<dyn NonceAudit>) -> Self {
        self.audit = Some(audit);
        self
    }

    /// The salt, for the header of the segment.
    #[must_use]
    pub const fn salt(&self) -> &[u8; 32] {
        self.salt.bytes()
    }

    /// The commitment to the key, for the header of the segment.
    #[must_use]
    pub fn commitment(&self) -> &Commitment {
        self.key.commitment()
    }

    /// The segment that is being sealed.
    #[must_use]
    pub fn identity(&self) -> &SegmentIdentity {
        self.key.identity()
    }

    /// The number of the next frame; `None` when the segment has no more.
    #[must_use]
    pub const fn next_number(&self) -> Option<FrameNumber> {
        self.next
    }

    /// An opener for the frames of this segment, also for those still to be sealed.
    #[must_use]
    pub fn opener(&self) -> Opener {
        Opener::of(Arc::clone(&self.key))
    }

    /// Seals a bundle of chunks or pages.
    ///
    /// # Errors
    /// Those of [`Self::seal`].
    pub fn seal_bundle(&mut self, kind: FrameKind, bundle: &VerifiedBundle) -> Result<Frame, ChunkError> {
        let mut table = Vec::new();
        bundle.table().encode(&mut table);
        self.seal(kind, &table, bundle.codec(), bundle.table().plain_length(), bundle.body())
    }

    /// Seals a packed body of `plain_length` bytes that has no table.
    ///
    /// # Errors
    /// Those of [`Self::seal`].
    pub fn seal_packed(
        &mut self,
        kind: FrameKind,
        packed: &Packed,
        plain_length: u32,
    ) -> Result<Frame, ChunkError> {
        self.seal(kind, &[], packed.codec, plain_length, &packed.body)
    }

    /// Seals `table` and `body`, where `body` stands for `plain_length` bytes under `codec`.
    ///
    /// # Errors
    /// [`ChunkError::TooLong`] or other lengths that no header allows, [`ChunkError::NoFrameNumber`], and
    /// [`ChunkError::SealMismatch`] if memory or processor fail.
    pub fn seal(
        &mut self,
        kind: FrameKind,
        table: &[u8],
        codec: Codec,
        plain_length: u32,
        body: &[u8],
    ) -> Result<Frame, ChunkError> {
        let sealed_length = check_lengths(table, codec, plain_length, body)?;
        let table_length = u32::try_from(table.len()).expect("the table is shorter than the payload");
        let number = self.take_number()?;
        let segment = self.key.identity().segment;
        let payload_checksum = 0;
        let mut header = FrameHeader {
            kind,
            codec,
            number,
            table_length,
            plain_length,
            sealed_length,
            segment,
            payload_checksum,
        };

        let padded_length = padded_length(sealed_length as usize);
        let mut bytes = Vec::with_capacity(padded_length);
        bytes.resize(FRAME_HEADER_LENGTH, 0);
        bytes.extend_from_slice(table);
        bytes.extend_from_slice(body);
        let (_, text) = bytes.split_at_mut(FRAME_HEADER_LENGTH);
        if let Some(audit) = &self.audit {
            audit.sealing(self.key.commitment(), number, blake3::hash(text).as_bytes());
        }
        let tag = self.key.seal(&header, text)?;
        bytes.extend_from_slice(tag.as_ref());
        header.payload_checksum = xxh3_64(&bytes[FRAME_HEADER_LENGTH..]);
        bytes[..FRAME_HEADER_LENGTH].copy_from_slice(&header.encode());
        bytes.resize(padded_length, 0);

        self.checked(header, bytes, table, body)
    }

    /// Opens what has been sealed as a reader would and compares it with what went in: the only way to a frame.
    fn checked(
        &mut self,
        header: FrameHeader,
        bytes: Vec<u8>,
        table: &[u8],
        body: &[u8],
    ) -> Result<Frame, ChunkError> {
        let frame = Frame { header, bytes };
        let (text, tag) = frame.payload().split_at(table.len() + body.len());
        if self.scratch.len() < text.len() {
            self.scratch.resize(text.len(), 0);
        }
        let (opened, _) = self.scratch.split_at_mut(text.len());
        let sound = SealedFrame::parse(&frame.bytes).is_ok_and(|sealed| *sealed.header() == frame.header)
            && self.key.open(&frame.header, text, tag, opened).is_ok()
            && opened.split_at(table.len()) == (table, body);
        if sound {
            Ok(frame)
        } else {
            Err(ChunkError::SealMismatch { segment: header.segment, frame: header.number })
        }
    }

    /// Hands out the next frame number, which is used up whatever becomes of the frame.
    fn take_number(&mut self) -> Result<FrameNumber, ChunkError> {
        let number = self.next.ok_or(ChunkError::NoFrameNumber { segment: self.key.identity().segment })?;
        #[cfg(feature = "planted-bugs")]
        if crate::planted::repeats_frame_numbers() {
            return Ok(number);
        }
        self.next = number.0.checked_add(1).map(FrameNumber);
        Ok(number)
    }
}

/// The length of the sealed payload, if a header can describe the frame.
fn check_lengths(table: &[u8], codec: Codec, plain_length: u32, body: &[u8]) -> Result<u32, ChunkError> {
    let too_long = |what, most: usize, found: usize| {
        let (most, found) = (most as u64, found as u64);
        if found <= most { Ok(()) } else { Err(ChunkError::TooLong { what, most, found }) }
    };
    let sealed_length = table.len() + body.len() + TAG_LENGTH;
    too_long("plaintext", PLAIN_LENGTH_MAX, plain_length as usize)?;
    too_long("sealed payload", SEALED_LENGTH_MAX, sealed_length)?;
    codec.check_lengths(u64::from(plain_length), body.len() as u64)?;
    Ok(u32::try_from(sealed_length).expect("the limit of a payload is below 4 GiB"))
}

#[cfg(test)]
mod tests {
    use model::SegmentNumber;

    use super::*;

    #[test]
    fn a_fault_while_sealing_is_noticed_wherever_it_strikes() {
        let identity = SegmentIdentity { pool: [1; 16], segment: SegmentNumber(2) };
        let mut sealer = Sealer::new(&[3; 32], FreshSalt::draw(&mut |salt| salt.fill(4)), identity);
        let (table, body) = (b"table", b"body of a frame");
        let frame = sealer.seal(FrameKind::Journal, table, Codec::Raw, 15, body).unwrap();
        let again = sealer.checked(frame.header, frame.bytes.clone(), table, body).unwrap();
        assert_eq!(again, frame);
        for bit in 0..frame.bytes.len() * 8 {
            let mut bytes = frame.bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = sealer.checked(frame.header, bytes, table, body).unwrap_err();
            assert!(
                matches!(error, ChunkError::SealMismatch { frame: FrameNumber(0), .. }),
                "bit {bit}: {error}"
            );
        }
        for (table, body) in [(b"tablf", body), (table, b"body of a framf")] {
            let error = sealer.checked(frame.header, frame.bytes.clone(), table, body).unwrap_err();
            assert_eq!(error.kind(), model::ErrorKind::Corrupt, "what went in was something else: {error}");
        }
    }

    #[test]
    fn a_segment_out_of_numbers_seals_no_more() {
        let identity = SegmentIdentity { pool: [1; 16], segment: SegmentNumber(2) };
        let mut sealer = Sealer::new(&[3; 32], FreshSalt::draw(&mut |salt| salt.fill(4)), identity);
        sealer.next = Some(FrameNumber(u32::MAX));
        let last = sealer.seal(FrameKind::Data, b"", Codec::Raw, 1, b"x").unwrap();
        assert_eq!((last.header().number(), sealer.next_number()), (FrameNumber(u32::MAX), None));
        let error = sealer.seal(FrameKind::Data, b"", Codec::Raw, 1, b"x").unwrap_err();
        assert_eq!(error.kind(), model::ErrorKind::Full);
    }
}

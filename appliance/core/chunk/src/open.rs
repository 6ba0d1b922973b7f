//! Opening: from a sealed frame back to its table and body.
//!
//! Opening proves that whoever sealed the frame had the key of this very segment and meant it to have this
//! kind, number and lengths. A frame that does not open is reported as rotten if its checksum says so, as not
//! authentic otherwise. The plaintext lands in the caller's buffer.

use std::ops::Range;
use std::sync::Arc;

use crate::frame::TAG_LENGTH;
use crate::key::SegmentKey;
use crate::{
    Bundle, ChunkError, Codec, Commitment, Decompressor, FrameHeader, FrameKind, FrameNumber, Packed,
    SegmentIdentity, Table,
};

/// Opens the frames of one segment; copies share the key.
#[derive(Clone)]
pub struct Opener(Arc<SegmentKey>);

impl Opener {
    /// An opener for the segment whose header holds `salt` and `commitment`.
    ///
    /// # Errors
    /// [`ChunkError::WrongKey`] if the segment was sealed under another master secret, salt or identity.
    pub fn new(
        master: &[u8; 32],
        salt: &[u8; 32],
        identity: SegmentIdentity,
        commitment: &Commitment,
    ) -> Result<Self, ChunkError> {
        let key = SegmentKey::derive(master, salt, identity);
        if key.commitment() != commitment {
            return Err(ChunkError::WrongKey { segment: identity.segment });
        }
        Ok(Self::of(Arc::new(key)))
    }

    pub(crate) const fn of(key: Arc<SegmentKey>) -> Self {
        Self(key)
    }

    /// The segment whose frames it opens.
    #[must_use]
    pub fn identity(&self) -> &SegmentIdentity {
        self.0.identity()
    }

    /// Opens `payload` into `buffer`, which grows to the longest frame and is reused.
    ///
    /// # Errors
    /// [`ChunkError::WrongSegment`], [`ChunkError::Length`], [`ChunkError::Checksum`] if the payload is rotten,
    /// [`ChunkError::Unauthentic`] if it is whole and still does not open.
    pub fn open<'a>(
        &self,
        header: &FrameHeader,
        payload: &[u8],
        buffer: &'a mut Vec<u8>,
    ) -> Result<Opened<'a>, ChunkError> {
        self.check_place(header, payload)?;
        let (text, tag) = payload.split_at(payload.len() - TAG_LENGTH);
        if buffer.len() < text.len() {
            buffer.resize(text.len(), 0);
        }
        let (out, _) = buffer.split_at_mut(text.len());
        match self.0.open(header, text, tag, out) {
            Ok(()) => Ok(Opened::new(header, out)),
            Err(error) => Err(header.check_payload(payload).err().unwrap_or(error)),
        }
    }

    /// Opens `payload` where it lies; after an error its contents are lost.
    ///
    /// # Errors
    /// Those of [`Self::open`], except that rot is reported as [`ChunkError::Unauthentic`] too.
    pub fn open_in_place<'a>(
        &self,
        header: &FrameHeader,
        payload: &'a mut [u8],
    ) -> Result<Opened<'a>, ChunkError> {
        self.check_place(header, payload)?;
        self.0.open_in_place(header, payload).map(|text| Opened::new(header, text))
    }

    fn check_place(&self, header: &FrameHeader, payload: &[u8]) -> Result<(), ChunkError> {
        let expected = self.0.identity().segment;
        if header.segment != expected {
            return Err(ChunkError::WrongSegment { frame: header.number, expected, found: header.segment });
        }
        header.check_payload_length(payload)
    }
}

/// Where the plaintext of a body is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kept {
    /// This part of what the frame was opened into.
    InPlace(Range<usize>),
    /// Here.
    Unpacked(Vec<u8>),
}

/// What was in a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opened<'a> {
    header: FrameHeader,
    table: &'a [u8],
    body: &'a [u8],
}

impl<'a> Opened<'a> {
    fn new(header: &FrameHeader, text: &'a [u8]) -> Self {
        let (table, body) = text.split_at(header.table_length as usize);
        Self { header: *header, table, body }
    }

    /// What the frame holds.
    #[must_use]
    pub const fn kind(&self) -> FrameKind {
        self.header.kind
    }

    /// Its place in the segment.
    #[must_use]
    pub const fn number(&self) -> FrameNumber {
        self.header.number
    }

    /// How the body is stored.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        self.header.codec
    }

    /// The encoded table.
    #[must_use]
    pub const fn table_bytes(&self) -> &'a [u8] {
        self.table
    }

    /// The stored body.
    #[must_use]
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Names and lengths, for frames that hold a bundle.
    ///
    /// # Errors
    /// Those of [`Table::decode`].
    pub fn table(&self) -> Result<Table, ChunkError> {
        Table::decode(self.table, self.header.plain_length)
    }

    /// The body before compression.
    ///
    /// # Errors
    /// Those of [`Decompressor::unpack`].
    pub fn plaintext<'b>(&'b self, decompressor: &'b mut Decompressor) -> Result<&'b [u8], ChunkError> {
        decompressor.unpack(self.header.codec, self.body, self.header.plain_length as usize)
    }

    /// The body before compression, for whoever keeps it: where it lies in the plaintext of the frame, if it is stored as it
    /// is, or in a buffer of its own.
    ///
    /// # Errors
    /// Those of [`Decompressor::unpack`].
    pub fn into_plaintext(self, decompressor: &mut Decompressor) -> Result<Kept, ChunkError> {
        let FrameHeader { codec, plain_length, .. } = self.header;
        let unpacked = decompressor.unpack_new(codec, self.body, plain_length as usize)?;
        let start = self.table.len();
        Ok(unpacked.map_or_else(|| Kept::InPlace(start..start + self.body.len()), Kept::Unpacked))
    }

    /// A copy as a bundle, to verify it or to move its chunks to another segment.
    ///
    /// # Errors
    /// Those of [`Table::decode`].
    pub fn to_bundle(&self) -> Result<Bundle, ChunkError> {
        Bundle::new(self.table()?, Packed { codec: self.header.codec, body: self.body.to_vec() })
    }
}

//! Frames: how messages and bulk bytes are told apart in a stream of bytes.
//!
//! A frame is a header of 16 bytes, a body of CBOR and bulk bytes. A [`Receiver`] takes the stream in pieces of any
//! size; that a frame is not complete yet is an ordinary outcome. Memory follows what has arrived, never what a
//! header announces, and a header beyond the [`Limits`] is refused before anything behind it is taken. Bulk bytes
//! are copied once on the way in and not at all on the way out.

use std::io::IoSlice;

use model::archive::SharedBytes;

use crate::WireError;
use crate::message::CHUNKS_BULK_MAX;

/// Bytes of a header.
pub const HEADER_LENGTH: usize = 16;
/// Longest body before the peer is known.
pub const BODY_MAX_UNKNOWN: usize = 4 << 10;
/// Longest body.
pub const BODY_MAX: usize = 4 << 20;
/// Most bulk bytes of a frame.
pub const BULK_MAX: usize = CHUNKS_BULK_MAX + (1 << 20);
/// What a frame without answer costs at least, in bytes of credit: it bounds how many of them can wait.
pub const COST_LEAST: u64 = 4096;

const _: () = assert!(HEADER_LENGTH == 3 * size_of::<u32>() + 2 * size_of::<u16>());

/// Who sends a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// The client.
    Request = 1,
    /// The appliance.
    Reply = 2,
}

/// How long the parts of a frame may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a body.
    pub body: usize,
    /// Most bulk bytes.
    pub bulk: usize,
    /// In which state they hold, for errors.
    pub when: &'static str,
}

impl Limits {
    /// Before the peer has proved who it is and greeted.
    pub const UNKNOWN: Self = Self { body: BODY_MAX_UNKNOWN, bulk: 0, when: "from an unknown peer" };
    /// From then on, and for replies.
    pub const KNOWN: Self = Self { body: BODY_MAX, bulk: BULK_MAX, when: "in a frame" };

    fn check(self, header: &Header) -> Result<(), WireError> {
        for (what, length, most) in
            [("body", header.body_length, self.body), ("bulk", header.bulk_length, self.bulk)]
        {
            if length as usize > most {
                let (length, most) = (u64::from(length), most as u64);
                return Err(WireError::TooLong { what, length, most, when: self.when });
            }
        }
        Ok(())
    }
}

/// A frame that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The id of its request; 0 without one.
    pub id: u32,
    /// The CBOR of its message.
    pub body: Vec<u8>,
    /// The bytes behind it.
    pub bulk: Vec<u8>,
}

/// What a frame without answer costs its sender, in bytes of credit.
#[must_use]
pub const fn cost(body_length: usize, bulk_length: usize) -> u64 {
    let length = (HEADER_LENGTH + body_length + bulk_length) as u64;
    if length < COST_LEAST { COST_LEAST } else { length }
}

#[derive(Clone, Copy, Debug)]
struct Header {
    body_length: u32,
    bulk_length: u32,
    id: u32,
}

impl Header {
    fn encode(self, kind: FrameKind) -> [u8; HEADER_LENGTH] {
        let mut bytes = [0; HEADER_LENGTH];
        let fields = [self.body_length, self.bulk_length, self.id, kind as u32];
        for (place, field) in bytes.chunks_exact_mut(size_of::<u32>()).zip(fields) {
            // The kind is 16 bits and the reserved field behind it 0: together one little-endian number.
            place.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: [u8; HEADER_LENGTH], expected: FrameKind) -> Result<Self, WireError> {
        let [a0, a1, a2, a3, b0, b1, b2, b3, i0, i1, i2, i3, k0, k1, r0, r1] = bytes;
        let (found, reserved) = (u16::from_le_bytes([k0, k1]), u16::from_le_bytes([r0, r1]));
        if found != expected as u16 {
            return Err(WireError::FrameKind { expected: expected as u16, found });
        }
        if reserved != 0 {
            return Err(WireError::Reserved { found: reserved });
        }
        Ok(Self {
            body_length: u32::from_le_bytes([a0, a1, a2, a3]),
            bulk_length: u32::from_le_bytes([b0, b1, b2, b3]),
            id: u32::from_le_bytes([i0, i1, i2, i3]),
        })
    }
}

/// Cuts what arrives into frames.
#[derive(Debug)]
pub struct Receiver {
    expected: FrameKind,
    limits: Limits,
    head: [u8; HEADER_LENGTH],
    head_length: usize,
    header: Option<Header>,
    body: Vec<u8>,
    bulk: Vec<u8>,
}

impl Receiver {
    /// For frames of one kind, within limits.
    #[must_use]
    pub const fn new(expected: FrameKind, limits: Limits) -> Self {
        let head = [0; HEADER_LENGTH];
        Self { expected, limits, head, head_length: 0, header: None, body: Vec::new(), bulk: Vec::new() }
    }

    /// Limits for the frames whose headers come from here on.
    pub const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes bytes off the front of `input` until a frame is complete; `None` means that all are taken and more
    /// are needed.
    ///
    /// # Errors
    /// A header that is none or is beyond the limits. The stream is of no use from there on.
    pub fn receive(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, WireError> {
        let header = match self.header {
            Some(header) => header,
            None => match self.receive_header(input)? {
                Some(header) => header,
                None => return Ok(None),
            },
        };
        let complete = take(&mut self.body, header.body_length as usize, input)
            && take(&mut self.bulk, header.bulk_length as usize, input);
        if !complete {
            return Ok(None);
        }
        (self.header, self.head_length) = (None, 0);
        let (body, bulk) = (std::mem::take(&mut self.body), std::mem::take(&mut self.bulk));
        Ok(Some(Frame { id: header.id, body, bulk }))
    }

    /// Whether the stream may end here without cutting a frame.
    #[must_use]
    pub const fn is_between_frames(&self) -> bool {
        self.header.is_none() && self.head_length == 0
    }

    /// Bytes of memory that the frame which is under way takes.
    #[must_use]
    pub const fn memory(&self) -> usize {
        self.body.capacity() + self.bulk.capacity()
    }

    fn receive_header(&mut self, input: &mut &[u8]) -> Result<Option<Header>, WireError> {
        let (_, open) = self.head.split_at_mut(self.head_length);
        let length = open.len().min(input.len());
        let (taken, rest) = input.split_at(length);
        open.iter_mut().zip(taken).for_each(|(to, from)| *to = *from);
        *input = rest;
        self.head_length += length;
        if self.head_length < HEADER_LENGTH {
            return Ok(None);
        }
        let header = Header::decode(self.head, self.expected)?;
        self.limits.check(&header)?;
        self.header = Some(header);
        Ok(Some(header))
    }
}

/// Fills `buffer` up to `length` from the front of `input`; whether it is full.
fn take(buffer: &mut Vec<u8>, length: usize, input: &mut &[u8]) -> bool {
    let missing = length - buffer.len();
    let (taken, rest) = input.split_at(missing.min(input.len()));
    if buffer.capacity() - buffer.len() < taken.len() {
        // Doubles like a vector does, but never beyond what the frame has.
        buffer.reserve_exact(buffer.len().max(taken.len()).min(missing));
    }
    buffer.extend_from_slice(taken);
    *input = rest;
    buffer.len() == length
}

/// A frame that is ready to be sent: header and body in one piece, bulk bytes as they are.
#[derive(Clone, Debug)]
pub struct Outgoing {
    head: Vec<u8>,
    bulk: Vec<SharedBytes>,
    bulk_length: usize,
}

impl Outgoing {
    /// Encodes a message and puts bulk bytes behind it.
    ///
    /// # Errors
    /// [`WireError::TooLong`] beyond [`Limits::KNOWN`].
    pub fn new<M: minicbor::Encode<()>>(
        kind: FrameKind,
        id: u32,
        message: &M,
        bulk: Vec<SharedBytes>,
    ) -> Result<Self, WireError> {
        let mut head = vec![0; HEADER_LENGTH];
        minicbor::encode(message, &mut head).expect("encoding into memory cannot fail");
        let bulk_length = bulk.iter().map(|part| part.len()).sum();
        let header = Header {
            body_length: u32::try_from(head.len() - HEADER_LENGTH).unwrap_or(u32::MAX),
            bulk_length: u32::try_from(bulk_length).unwrap_or(u32::MAX),
            id,
        };
        Limits::KNOWN.check(&header)?;
        head.iter_mut().zip(header.encode(kind)).for_each(|(place, byte)| *place = byte);
        Ok(Self { head, bulk, bulk_length })
    }

    /// Makes it the question or the answer with this id.
    pub fn set_id(&mut self, id: u32) {
        self.head
            .iter_mut()
            .skip(2 * size_of::<u32>())
            .zip(id.to_le_bytes())
            .for_each(|(to, from)| *to = from);
    }

    /// What it costs if it is a frame without answer.
    #[must_use]
    pub const fn cost(&self) -> u64 {
        cost(self.head.len() - HEADER_LENGTH, self.bulk_length)
    }

    /// Bytes of the whole frame.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.head.len() + self.bulk_length
    }

    /// The bytes from `start` on, in pieces for a vectored write: at most as many as `slices` has.
    ///
    /// Returns how many slices were filled: none behind the end.
    pub fn slices<'a>(&'a self, mut start: usize, slices: &mut [IoSlice<'a>]) -> usize {
        let parts = std::iter::once(&self.head[..]).chain(self.bulk.iter().map(|part| &part[..]));
        let mut filled = 0;
        for part in parts {
            if let Some(rest) = part.get(start..).filter(|rest| !rest.is_empty()) {
                let Some(slice) = slices.get_mut(filled) else { break };
                *slice = IoSlice::new(rest);
                filled += 1;
            }
            start = start.saturating_sub(part.len());
        }
        filled
    }

    /// All bytes in one piece.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = self.head.clone();
        self.bulk.iter().for_each(|part| bytes.extend_from_slice(part));
        bytes
    }
}

//! Runs of operations as bulk bytes: one CBOR array, checked field by field before anybody applies it.
//!
//! A run that decodes is within the limits of the model: every content fits its file offsets, every attribute its
//! kind. What the operations mean for a source is not judged here.

use minicbor::Decoder;
use model::SequenceNumber;
use model::item::{
    Attributes, CHUNK_LENGTH_MAX, LINK_TARGET_LENGTH_MAX, XATTR_NAME_LENGTH_MAX, XATTR_VALUE_LENGTH_MAX,
};
use model::operation::{Content, Operation};

use crate::WireError;
use crate::message::OPERATIONS_MAX;

/// Bytes at which a run counts as full.
pub const RUN_LENGTH_FULL: usize = 1 << 20;
/// Longest label of a mark, in bytes.
pub const MARK_LABEL_LENGTH_MAX: usize = 255;

const WHAT: &str = "operations";
/// An array whose count follows in two bytes: the count is filled in when it is known.
const ARRAY_16: u8 = 0x99;
const _: () = assert!(OPERATIONS_MAX <= u16::MAX as usize, "the count of a run has two bytes");

/// Encodes operations from the front on until a message is full; how many they are, and the bytes.
#[must_use]
pub fn encode(operations: &[Operation]) -> (u32, Vec<u8>) {
    let mut bytes = vec![ARRAY_16, 0, 0];
    let mut count = 0u16;
    for operation in operations.iter().take(OPERATIONS_MAX) {
        if bytes.len() >= RUN_LENGTH_FULL {
            break;
        }
        minicbor::encode(operation, &mut bytes).expect("encoding into memory cannot fail");
        count += 1;
    }
    bytes.iter_mut().skip(1).zip(count.to_be_bytes()).for_each(|(place, byte)| *place = byte);
    (u32::from(count), bytes)
}

/// Decodes an array of exactly `count` operations.
///
/// # Errors
/// Bytes that are no such array, or an operation with a value that it cannot have.
pub fn decode(bytes: &[u8], count: u32) -> Result<Vec<Operation>, WireError> {
    let wrong = |source| WireError::Decode { what: WHAT, source };
    if count as usize > OPERATIONS_MAX {
        let (most, found) = (OPERATIONS_MAX as u64, u64::from(count));
        return Err(WireError::TooMany { what: WHAT, most, found });
    }
    let mut decoder = Decoder::new(bytes);
    if decoder.array().map_err(wrong)? != Some(u64::from(count)) {
        return Err(WireError::Value { what: "count of operations" });
    }
    let mut operations = Vec::with_capacity((count as usize).min(bytes.len()));
    for _ in 0..count {
        let operation = decoder.decode().map_err(wrong)?;
        check(&operation)?;
        operations.push(operation);
    }
    match bytes.len() - decoder.position() {
        0 => Ok(operations),
        length => Err(WireError::Trailing { what: WHAT, length }),
    }
}

fn check(operation: &Operation) -> Result<(), WireError> {
    let problem = match operation {
        Operation::Make { attributes, .. } | Operation::SetAttributes { attributes, .. } => {
            attributes_problem(attributes)
        }
        Operation::Write { offset, content, .. } => content_problem(*offset, content),
        Operation::SetXattr { name, value, .. } if value.len() <= XATTR_VALUE_LENGTH_MAX => {
            xattr_name_problem(name)
        }
        Operation::SetXattr { .. } => Some("value of an extended attribute"),
        Operation::RemoveXattr { name, .. } => xattr_name_problem(name),
        Operation::Mark { label, .. } if label.len() > MARK_LABEL_LENGTH_MAX => Some("label of a mark"),
        Operation::Link { .. }
        | Operation::Remove { .. }
        | Operation::Rename { .. }
        | Operation::Truncate { .. }
        | Operation::Mark { .. } => None,
    };
    problem.map_or(Ok(()), |what| Err(WireError::Value { what }))
}

fn attributes_problem(attributes: &Attributes) -> Option<&'static str> {
    if attributes.mode > 0o7777 {
        return Some("mode of an object");
    }
    (attributes.target.len() > LINK_TARGET_LENGTH_MAX).then_some("target of a link")
}

fn content_problem(offset: u64, content: &Content) -> Option<&'static str> {
    let length = match *content {
        Content::Chunk { skip, length, .. } => {
            if u64::from(skip) + u64::from(length) > u64::from(CHUNK_LENGTH_MAX) {
                return Some("range of a chunk");
            }
            u64::from(length)
        }
        Content::Hole { length } => length,
    };
    (length == 0 || offset.checked_add(length).is_none()).then_some("range of a write")
}

fn xattr_name_problem(name: &[u8]) -> Option<&'static str> {
    (!(1..=XATTR_NAME_LENGTH_MAX).contains(&name.len())).then_some("name of an extended attribute")
}

/// Operations that have arrived; those that arrived before are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationRun {
    /// The sequence number of the first one that is new.
    pub first: SequenceNumber,
    pub(crate) repeated: u32,
    pub(crate) count: u32,
    pub(crate) bytes: Vec<u8>,
}

impl OperationRun {
    /// How many are new.
    #[must_use]
    pub const fn new_count(&self) -> u32 {
        self.count.saturating_sub(self.repeated)
    }

    /// The new ones.
    ///
    /// # Errors
    /// Those of [`decode`].
    pub fn decode(&self) -> Result<Vec<Operation>, WireError> {
        let mut operations = decode(&self.bytes, self.count)?;
        operations.drain(..operations.len().min(self.repeated as usize));
        Ok(operations)
    }
}

//! What can be wrong with bytes or behaviour of the other end.
//!
//! Every variant is one sentence that both the log of the appliance and the other end can show. None of them
//! carries a secret.

use model::{ErrorKind, SequenceNumber};

/// A breach of the protocol, or a token that is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A frame that is neither a request nor a reply, or the wrong one of the two.
    #[error("frame of kind {found}, expected {expected}")]
    FrameKind {
        /// The kind that this end receives.
        expected: u16,
        /// The kind received.
        found: u16,
    },
    /// The reserved field of a frame header is in use.
    #[error("reserved field of a frame header is {found}, not 0")]
    Reserved {
        /// The value received.
        found: u16,
    },
    /// A part of a frame is longer than it may be here.
    #[error("{what} of {length} bytes, at most {most} are allowed {when}")]
    TooLong {
        /// Which part.
        what: &'static str,
        /// Its length.
        length: u64,
        /// The limit.
        most: u64,
        /// In which state or for which request the limit holds.
        when: &'static str,
    },
    /// A body is not the CBOR of a message.
    #[error("cannot decode {what}")]
    Decode {
        /// What was expected.
        what: &'static str,
        /// What the decoder says.
        source: minicbor::decode::Error,
    },
    /// A body goes on behind its message.
    #[error("{what} is followed by {length} bytes that belong to nothing")]
    Trailing {
        /// The message.
        what: &'static str,
        /// How many bytes.
        length: usize,
    },
    /// A request that this version of the protocol does not have.
    #[error("request number {found} is unknown")]
    UnknownRequest {
        /// Its number.
        found: u32,
    },
    /// A field has a value that it cannot have.
    #[error("{what} has an impossible value")]
    Value {
        /// Which field.
        what: &'static str,
    },
    /// There are more of something than are allowed.
    #[error("{found} {what}, at most {most} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        most: u64,
        /// How many there are.
        found: u64,
    },
    /// The versions of the two ends have nothing in common.
    #[error("peer speaks version {found} of the protocol, this program version {known}")]
    Version {
        /// The highest version that the peer speaks.
        found: u16,
        /// The highest version that this program speaks.
        known: u16,
    },
    /// A message came when it may not.
    #[error("{what} {when}")]
    Order {
        /// Which message.
        what: &'static str,
        /// Why it may not come.
        when: &'static str,
    },
    /// A request without id, or a message without answer that has one.
    #[error("{what} with id {id}")]
    Id {
        /// Which message.
        what: &'static str,
        /// Its id.
        id: u32,
    },
    /// An id is used again before its answer, or is answered without having been asked.
    #[error("id {id} {problem}")]
    IdUse {
        /// The id.
        id: u32,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A message names a backup that was never begun on the connection.
    #[error("{what} names backup {session}, which was never begun")]
    Session {
        /// Which message.
        what: &'static str,
        /// The number of the backup.
        session: u64,
    },
    /// Bundles of a backup have a gap or come twice.
    #[error("bundle {found} of backup {session} follows bundle {last}")]
    BundleNumber {
        /// The number of the backup.
        session: u64,
        /// The last bundle received.
        last: u64,
        /// The bundle that came.
        found: u64,
    },
    /// Operations of a backup have a gap.
    #[error("operation {found} of backup {session} follows operation {last}")]
    OperationGap {
        /// The number of the backup.
        session: u64,
        /// The last operation received.
        last: SequenceNumber,
        /// The first operation of what came.
        found: SequenceNumber,
    },
    /// A backup is to end with an operation that is not the last one received.
    #[error("backup {session} ends with operation {found}, the last received is {last}")]
    LastOperation {
        /// The number of the backup.
        session: u64,
        /// The last operation received.
        last: SequenceNumber,
        /// The operation named.
        found: SequenceNumber,
    },
    /// A peer sends more than it has credit for.
    #[error("message costs {cost} bytes of credit, {left} are left")]
    Credit {
        /// What the message costs.
        cost: u64,
        /// What the peer has.
        left: u64,
    },
    /// Text that is not a token.
    #[error("not a join token: {0}")]
    Token(&'static str),
}

impl WireError {
    /// What a caller can do about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Version { .. } | Self::UnknownRequest { .. } => ErrorKind::Unsupported,
            Self::Decode { .. } | Self::Trailing { .. } | Self::Value { .. } => ErrorKind::Corrupt,
            _ => ErrorKind::Refused,
        }
    }
}

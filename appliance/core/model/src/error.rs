//! What a caller can do about an error: the one thing that every error type of the project answers.

use std::fmt;

/// The few kinds of failure that callers tell apart; texts are for people, kinds are for code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum ErrorKind {
    /// Stored or received bytes are not what they were.
    #[n(0)]
    Corrupt,
    /// What was asked for does not exist.
    #[n(1)]
    Missing,
    /// Somebody else holds it; trying later can help.
    #[n(2)]
    Busy,
    /// No space is left, or a limit is reached.
    #[n(3)]
    Full,
    /// Not allowed, or not acceptable as asked.
    #[n(4)]
    Refused,
    /// A version or feature that this program does not know.
    #[n(5)]
    Unsupported,
    /// The device, the kernel or the network failed.
    #[n(6)]
    Io,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Corrupt => "corrupt",
            Self::Missing => "missing",
            Self::Busy => "busy",
            Self::Full => "full",
            Self::Refused => "refused",
            Self::Unsupported => "unsupported",
            Self::Io => "input/output",
        })
    }
}

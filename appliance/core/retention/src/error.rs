//! What can go wrong with a policy: words that say nothing, and stored bytes that are none of ours.

use model::ErrorKind;
use thiserror::Error;

/// A text or a stored value that is not accepted.
#[derive(Debug, Error)]
pub enum RetentionError {
    /// A word is not of the form `key=value`.
    #[error("read the {what}: {word:?} is not of the form key=value, as in {example:?}")]
    Form {
        /// What was read.
        what: &'static str,
        /// The word.
        word: String,
        /// How it could look.
        example: &'static str,
    },
    /// A key that nobody knows.
    #[error("read the {what}: there is no key {key:?}; did you mean {nearest:?}? the keys are {known}")]
    UnknownKey {
        /// What was read.
        what: &'static str,
        /// The key.
        key: String,
        /// The known key that is most like it.
        nearest: &'static str,
        /// All keys.
        known: String,
    },
    /// A key that stands there twice.
    #[error("read the {what}: {key} is given twice; give it once")]
    Twice {
        /// What was read.
        what: &'static str,
        /// The key.
        key: String,
    },
    /// A value that the key cannot have.
    #[error("read the {what}: {key}={value} is not understood; expected {expected}")]
    Value {
        /// What was read.
        what: &'static str,
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What it could be.
        expected: &'static str,
    },
    /// The low-water mark lies above the high-water mark.
    #[error("read the bounds: the low-water mark {low} lies above the high-water mark {high}; lower it")]
    Marks {
        /// The low-water mark.
        low: String,
        /// The high-water mark.
        high: String,
    },
    /// Stored bytes are not what this program wrote.
    #[error("decode the {what}")]
    Decode {
        /// What was read.
        what: &'static str,
        /// Where it went wrong.
        #[source]
        source: minicbor::decode::Error,
    },
    /// Stored bytes go on behind their end.
    #[error("decode the {what}: {count} unknown bytes follow it")]
    Trailing {
        /// What was read.
        what: &'static str,
        /// How many.
        count: usize,
    },
}

impl RetentionError {
    /// What a caller can do about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Decode { .. } | Self::Trailing { .. } => ErrorKind::Corrupt,
            _ => ErrorKind::Refused,
        }
    }
}

/// Decodes the CBOR of `what`; nothing may follow it.
pub(crate) fn decode<'b, T: minicbor::Decode<'b, ()>>(
    what: &'static str,
    bytes: &'b [u8],
) -> Result<T, RetentionError> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let value = decoder.decode().map_err(|source| RetentionError::Decode { what, source })?;
    match bytes.len().saturating_sub(decoder.position()) {
        0 => Ok(value),
        count => Err(RetentionError::Trailing { what, count }),
    }
}

/// Encodes as CBOR.
pub(crate) fn encode<T: minicbor::Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("a vector takes every byte")
}

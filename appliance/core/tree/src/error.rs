//! What can go wrong with a tree, and with a single page.

use model::codec::CodecError;
use model::{ErrorKind, Name};
use thiserror::Error;

use crate::limits::{HEIGHT_MAX, KEY_LENGTH_MAX, VALUE_LENGTH_MAX};

/// Why bytes are not a page that can stand where it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Damage {
    /// A field cannot be read.
    #[error(transparent)]
    Field(#[from] CodecError),
    /// The page is of a version that this program does not know.
    #[error("version {0} is not known")]
    Version(u8),
    /// The page stands at another level than its parent says.
    #[error("level {found} stands where level {expected} belongs")]
    Level {
        /// What the parent, or the root, says.
        expected: u8,
        /// What the page says.
        found: u8,
    },
    /// A key is not greater than the one before it.
    #[error("keys are out of order")]
    Order,
    /// A key or value is longer than any can be.
    #[error("an entry is too long")]
    Length,
    /// The table of restart points does not point at the entries.
    #[error("a restart point is misplaced")]
    Restart,
    /// The page, or the parent, miscounts items.
    #[error("{found} items stand where {stated} are stated")]
    Count {
        /// What the parent, or the root, says.
        stated: u64,
        /// What the page holds.
        found: u64,
    },
}

/// The failure of an operation on a tree.
#[derive(Debug, Error)]
pub enum Error {
    /// The source could not deliver a page.
    #[error("cannot read page {name}")]
    Read {
        /// The page.
        name: Name,
        /// What the source says of its error.
        kind: ErrorKind,
        /// The error of the source.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The sink could not take a page.
    #[error("cannot write a page of level {level}")]
    Write {
        /// The level of the page.
        level: u8,
        /// What the sink says of its error.
        kind: ErrorKind,
        /// The error of the sink.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A page is not what it should be.
    #[error("page {name} is damaged")]
    Page {
        /// The page.
        name: Name,
        /// What is wrong with it.
        #[source]
        damage: Damage,
    },
    /// A page is sound, but the key or value of one of its items is not.
    #[error("item in page {name} cannot be read")]
    Item {
        /// The page.
        name: Name,
        /// What is wrong with the item.
        source: CodecError,
    },
    /// The schema cannot read what it encoded for a new item.
    #[error("new item cannot be read back")]
    Change {
        /// What is wrong with the item.
        source: CodecError,
    },
    /// A root that no tree can have.
    #[error("root of height {height} with {items} items is impossible, the highest is {HEIGHT_MAX}")]
    Root {
        /// The levels that the root states, or would need.
        height: u8,
        /// The number of items that it states.
        items: u64,
    },
    /// A key that is too long to be stored.
    #[error("key of change {position} has {length} bytes, the longest has {KEY_LENGTH_MAX}")]
    KeyTooLong {
        /// Which change of the batch, from 0.
        position: u64,
        /// Bytes of the key.
        length: usize,
    },
    /// A value that is too long to be stored.
    #[error("value of change {position} has {length} bytes, the longest has {VALUE_LENGTH_MAX}")]
    ValueTooLong {
        /// Which change of the batch, from 0.
        position: u64,
        /// Bytes of the value.
        length: usize,
    },
    /// A batch whose keys do not ascend.
    #[error("key of change {position} is not greater than the one before it")]
    Unsorted {
        /// Which change of the batch, from 0.
        position: u64,
    },
}

impl Error {
    /// What a caller can do about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { kind, .. } | Self::Write { kind, .. } => *kind,
            Self::Page { damage: Damage::Version(_), .. } => ErrorKind::Unsupported,
            Self::Page { .. } | Self::Item { .. } | Self::Root { .. } => ErrorKind::Corrupt,
            Self::Change { .. }
            | Self::KeyTooLong { .. }
            | Self::ValueTooLong { .. }
            | Self::Unsorted { .. } => ErrorKind::Refused,
        }
    }
}

//! What a view cannot give, each with what a caller can do about it.

use model::ErrorKind;
use model::archive::ArchiveError;
use thiserror::Error;

/// Something that a view could not give.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ViewError {
    /// There is no such entry, or no such node any more.
    #[error("there is nothing of this name")]
    Missing,
    /// Entries were looked for in what is no directory.
    #[error("this is not a directory")]
    NotDirectory,
    /// Content was asked of a directory.
    #[error("this is a directory")]
    IsDirectory,
    /// Something was asked that this kind of object does not have.
    #[error("this kind of object has no such thing")]
    WrongKind,
    /// The object has no such attribute.
    #[error("there is no such attribute")]
    NoAttribute,
    /// A position behind the end.
    #[error("there is nothing behind the end")]
    BehindEnd,
    /// The archive could not answer: damage, or a connection.
    #[error(transparent)]
    Archive(ArchiveError),
}

impl ViewError {
    /// What a caller can do about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing | Self::NoAttribute | Self::BehindEnd => ErrorKind::Missing,
            Self::NotDirectory | Self::IsDirectory | Self::WrongKind => ErrorKind::Refused,
            Self::Archive(error) => error.kind,
        }
    }

    /// Bytes or items of a point that are not as they must be.
    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self::Archive(ArchiveError { kind: ErrorKind::Corrupt, message: message.into() })
    }
}

impl From<ArchiveError> for ViewError {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

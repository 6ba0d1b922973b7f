//! A failure while something is written: of one path, or of everything.

use rustix::io::Errno;

use crate::error::{RestoreError, stops_everything};
use crate::ranges::CopyError;

/// What a failure costs.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The path; the words say why.
    Path(String),
    /// Everything: no other path will fare better.
    Target(std::io::Error),
    /// Everything, and it was said why.
    Restore(RestoreError),
}

impl Failure {
    /// Somebody else put something there.
    pub(crate) fn appeared() -> Self {
        Self::Path("another entry appeared under its name during the restore".to_owned())
    }

    /// A file that is there cannot be read, which costs nothing but that file.
    pub(crate) fn unreadable(error: &std::io::Error) -> Self {
        Self::Path(format!("the file that is there cannot be read: {error}"))
    }

    /// The words for a path, or the error that ends the restore.
    pub(crate) fn at(self, path: &[u8]) -> Result<String, RestoreError> {
        match self {
            Self::Path(message) => Ok(message),
            Self::Target(source) => Err(RestoreError::target("write", path, source)),
            Self::Restore(error) => Err(error),
        }
    }
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        std::io::Error::from(error).into()
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(errno) if stops_everything(errno) => Self::Target(error),
            Some(Errno::EXIST) => Self::appeared(),
            _ => Self::Path(error.to_string()),
        }
    }
}

impl From<CopyError> for Failure {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Read(error) => Self::unreadable(&error),
            CopyError::Write(error) => error.into(),
        }
    }
}

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Self {
        Self::Restore(error)
    }
}

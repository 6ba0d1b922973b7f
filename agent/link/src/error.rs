//! What can go wrong between this machine and the appliance.

use std::path::PathBuf;
use std::time::Duration;

use model::ErrorKind;
use model::archive::ArchiveError;
use wire::WireError;

/// An error of joining, connecting or asking.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// A file of the data directory could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file of the data directory could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// This machine has not joined an appliance.
    #[error("{} has no identity of a joined machine; join with a token first", dir.display())]
    NotJoined {
        /// The data directory.
        dir: PathBuf,
    },
    /// The file with the appliance's address is damaged.
    #[error("{} is damaged: {reason}", path.display())]
    Settings {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key or certificate of this machine cannot be made or used.
    #[error("cannot use the key of this machine: {reason}")]
    Key {
        /// Why.
        reason: String,
    },
    /// Nobody answers.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where.
        address: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// Whoever answers is not the appliance that the pin names, or cannot prove it.
    #[error("cannot trust {address}: {reason}")]
    Untrusted {
        /// Where.
        address: String,
        /// Why not.
        reason: String,
    },
    /// Something took longer than it may.
    #[error("{what} took longer than {} seconds", limit.as_secs())]
    Timeout {
        /// What.
        what: String,
        /// How long it may take.
        limit: Duration,
    },
    /// The connection has ended.
    #[error("connection to the appliance is lost: {cause}")]
    Broken {
        /// Why.
        cause: String,
    },
    /// The appliance breaks the protocol, or is asked for what the protocol does not have.
    #[error("protocol error")]
    Protocol(#[from] WireError),
    /// An answer that does not belong to its request.
    #[error("appliance answered {asked} with something else")]
    Answer {
        /// What was asked.
        asked: &'static str,
    },
    /// The appliance says no.
    #[error("appliance: {0}")]
    Appliance(ArchiveError),
    /// A background thread could not be started.
    #[error("cannot start a thread for the connection")]
    Thread(#[source] std::io::Error),
}

impl LinkError {
    /// What a caller can do about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { .. }
            | Self::Write { .. }
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Broken { .. }
            | Self::Thread(_) => ErrorKind::Io,
            Self::NotJoined { .. } => ErrorKind::Missing,
            Self::Settings { .. } | Self::Answer { .. } => ErrorKind::Corrupt,
            Self::Key { .. } | Self::Untrusted { .. } => ErrorKind::Refused,
            Self::Protocol(error) => error.kind(),
            Self::Appliance(error) => error.kind,
        }
    }
}

impl From<LinkError> for ArchiveError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Appliance(error) => error,
            other => Self::new(other.kind(), &other),
        }
    }
}

//! Why a door cannot be opened, and why a connection ended.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use model::ErrorKind;
use model::archive::ArchiveError;
use wire::WireError;

/// A listener that cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// The port is taken or the address is not ours.
    #[error("cannot listen on {address}")]
    Tcp {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The socket cannot be made.
    #[error("cannot listen on {}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Somebody serves the socket already.
    #[error("another keepfast serves {}", path.display())]
    InUse {
        /// Which socket.
        path: PathBuf,
    },
    /// The certificate authority cannot be loaded or stored.
    #[error("cannot {verb} the certificate authority")]
    Authority {
        /// What was to be done.
        verb: &'static str,
        /// What the appliance says.
        source: ArchiveError,
    },
    /// The certificate authority is damaged, or a certificate cannot be made.
    #[error("cannot make certificates: {reason}")]
    Certificate {
        /// Why.
        reason: String,
    },
    /// Threads cannot be started.
    #[error("cannot start threads")]
    Threads(#[source] io::Error),
}

impl ListenError {
    /// What a caller can do about it.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "every error says its kind; no caller tells these apart")
    )]
    pub(crate) const fn kind(&self) -> ErrorKind {
        match self {
            Self::Tcp { .. } | Self::Socket { .. } | Self::Threads(_) => ErrorKind::Io,
            Self::InUse { .. } => ErrorKind::Busy,
            Self::Authority { source, .. } => source.kind,
            Self::Certificate { .. } => ErrorKind::Corrupt,
        }
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ending {
    /// The peer is done.
    #[error("closed")]
    Closed,
    /// The appliance stops.
    #[error("the appliance is stopping")]
    Stopping,
    /// The network or the peer failed.
    #[error("lost")]
    Lost(#[source] io::Error),
    /// The peer takes no bytes.
    #[error("took no bytes for {} seconds", .0.as_secs())]
    Stuck(Duration),
    /// There are too many connections.
    #[error("there are {0} connections already")]
    Crowded(usize),
    /// There are too many connections from the peer's address.
    #[error("there are {0} unknown connections from its address already")]
    CrowdedAddress(usize),
    /// There are too many connections of the peer's machine.
    #[error("its machine has {0} connections already")]
    CrowdedMachine(usize),
    /// Another user of the appliance knocks at the operator's door.
    #[error("user {0} may not use the socket")]
    User(u32),
    /// No TLS came about.
    #[error("no TLS handshake")]
    Handshake(#[source] io::Error),
    /// The peer takes too long to say who it is.
    #[error("did not greet within {} seconds", .0.as_secs())]
    NoGreeting(Duration),
    /// An unknown peer has not joined in time.
    #[error("did not join within {} seconds", .0.as_secs())]
    NotJoined(Duration),
    /// The agent protocol without a key.
    #[error("speaks keepfast/1 but shows no certificate")]
    NoCertificate,
    /// A token was refused.
    #[error("cannot join: {0}")]
    Join(ArchiveError),
    /// The peer cannot be looked up.
    #[error("cannot be looked up: {0}")]
    Lookup(ArchiveError),
    /// The peer breaks the protocol.
    #[error("breaks the protocol")]
    Protocol(#[from] WireError),
    /// The agent was revoked while it was connected.
    #[error("its agent was shut out")]
    Revoked,
    /// A program error; the peer is innocent.
    #[error("an internal error")]
    Internal,
}

impl Ending {
    /// Whether the peer was refused: an operator wants to know.
    pub(crate) const fn is_refusal(&self) -> bool {
        !matches!(self, Self::Closed | Self::Stopping | Self::Lost(_) | Self::Internal)
    }

    /// What the peer is told, if it can still listen.
    pub(crate) fn farewell(&self) -> Option<ArchiveError> {
        let kind = match self {
            // A token that is refused is the answer to its request.
            Self::Closed | Self::Lost(_) | Self::Stuck(_) | Self::Handshake(_) | Self::Join(_) => {
                return None;
            }
            Self::Stopping | Self::Crowded(_) | Self::CrowdedAddress(_) | Self::CrowdedMachine(_) => {
                ErrorKind::Busy
            }
            Self::Lookup(error) => return Some(error.clone()),
            Self::Protocol(error) => error.kind(),
            Self::Internal => ErrorKind::Io,
            Self::User(_)
            | Self::NoGreeting(_)
            | Self::NotJoined(_)
            | Self::NoCertificate
            | Self::Revoked => ErrorKind::Refused,
        };
        Some(ArchiveError::new(kind, self))
    }
}

impl From<io::Error> for Ending {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

//! How much the peers may take. The defaults are those of PROTOCOL.md; tests lower them.

use std::time::Duration;

/// Bytes that a peer may send before its TLS handshake is done.
pub(crate) const HANDSHAKE_LENGTH_MAX: usize = 24 << 10;
/// Connections of operators at a time.
pub(crate) const LOCAL_MAX: usize = 64;
/// Backups at a time, over all connections: each has a thread.
pub(crate) const SESSIONS_MAX: usize = 128;
/// Backups of one machine at a time.
pub(crate) const SESSIONS_PER_MACHINE: usize = 8;
/// Connections of one machine at a time.
pub(crate) const CONNECTIONS_PER_MACHINE: usize = 64;
/// Questions of one connection that are worked on, or whose answers wait to be sent.
pub(crate) const READS_PER_PEER: usize = 4;
/// Requests of operators that are worked on at a time.
pub(crate) const ADMIN_MAX: usize = 32;
/// Short questions to the service that are worked on at a time: who somebody is, whether a backup can begin.
pub(crate) const LOOKUPS_MAX: usize = 16;
/// Frames that wait to be written to a peer.
pub(crate) const OUTBOX_MAX: usize = 4;

/// The limits of a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// From the first byte to the greeting.
    pub(crate) greeting: Duration,
    /// How long an unknown peer may stay.
    pub(crate) unknown: Duration,
    /// How long a peer may take no bytes while there are some for it.
    pub(crate) write: Duration,
    /// How often agents are looked up again, to notice those that were revoked.
    pub(crate) recheck: Duration,
    /// How often a peer that waits gets a sign of life.
    pub(crate) life: Duration,
    /// Connections.
    pub(crate) connections: usize,
    /// Connections of one address whose peer is unknown.
    pub(crate) unknown_per_address: usize,
    /// The same, of this machine itself.
    pub(crate) unknown_loopback: usize,
    /// How long stopping waits for connections and backups to end.
    pub(crate) stop: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            greeting: Duration::from_secs(10),
            unknown: Duration::from_secs(60),
            write: Duration::from_secs(60),
            recheck: Duration::from_secs(2),
            life: Duration::from_secs(15),
            connections: 10_000,
            unknown_per_address: 64,
            unknown_loopback: 6_000,
            stop: Duration::from_secs(30),
        }
    }
}

//! What the doors need of the appliance behind them.
//!
//! All methods block and are called from threads that may: they can wait for the pool.

use std::sync::Arc;

use chunk::VerifiedBundle;
use model::archive::{Archive, ArchiveError};
use model::operation::Operation;
use model::record::{Label, Machine, Point};
use model::{MachineId, Name, SequenceNumber};
use wire::{Finish, Peer, Reply, Request};

/// The appliance, as its peers see it.
pub(crate) trait Service: Send + Sync + 'static {
    /// The machine whose agent has this key; `None` if there is none or it was revoked.
    fn authorise(&self, key_hash: &[u8; 32]) -> Result<Option<Machine>, ArchiveError>;

    /// Makes a key that of the machine for which a token with this secret was made; its name.
    fn join(&self, secret: &[u8], key_hash: &[u8; 32], host: &str) -> Result<Label, ArchiveError>;

    /// The key of the chunk names of a machine.
    fn naming_key(&self, machine: &Machine) -> [u8; 32];

    /// What a peer may read, for as long as it is connected.
    fn reader(&self, peer: &Peer) -> Arc<dyn Reader>;

    /// Begins a backup of a source, which is made if it is new, and of which the agent may have said how large it is.
    fn backup(
        &self,
        machine: MachineId,
        source: &Label,
        continuity: Option<&[u8]>,
        size_bytes: Option<u64>,
    ) -> Result<(Begun, Box<dyn Backup>), ArchiveError>;

    /// Does what only the operator may ask for.
    fn admin(&self, request: Request) -> Result<Reply, ArchiveError>;

    /// Program and version.
    fn software(&self) -> String;

    /// Bytes that were kept under a name.
    fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, ArchiveError>;

    /// Keeps bytes under a name; durable when it returns.
    fn set_setting(&self, name: &str, value: &[u8]) -> Result<(), ArchiveError>;
}

/// What a peer may read.
pub(crate) trait Reader: Send + Sync {
    /// As it is at the moment. Points that were opened through one of them stay readable, a few at a time, until the
    /// reader is dropped.
    fn archive(&self) -> Arc<dyn Archive>;
}

/// How a backup begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    /// The last operation of the newest point, 0 without one.
    pub(crate) sequence: SequenceNumber,
    /// The agent's cache describes the newest point.
    pub(crate) matched: bool,
    /// The machine owns no chunk at all.
    pub(crate) empty: bool,
}

/// How a backup ends.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Finished {
    /// As a point.
    Point(Box<Point>),
    /// Not at all: operations name these chunks, which are not there.
    Lacking(Vec<Name>),
}

/// A backup that is under way; called by one thread, in the order of the agent's messages. Dropping it gives it up.
pub(crate) trait Backup: Send {
    /// Which of these chunks the machine owns.
    fn have(&mut self, names: &[Name]) -> Result<Vec<bool>, ArchiveError>;

    /// Takes a bundle.
    fn data(&mut self, number: u64, bundle: VerifiedBundle) -> Result<(), ArchiveError>;

    /// Takes operations, which follow those taken before.
    fn operations(&mut self, operations: Vec<Operation>) -> Result<(), ArchiveError>;

    /// The number of the last bundle that survives a power cut.
    fn durable(&mut self) -> u64;

    /// Makes a point; the backup is over either way.
    fn finish(&mut self, finish: Finish) -> Result<Finished, ArchiveError>;
}

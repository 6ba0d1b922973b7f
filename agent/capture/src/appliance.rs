//! The appliance as a backup sees it: seven calls that block.
//!
//! Calls of one session come from several threads at once (`have`); `data` and `operations` come from one thread,
//! in order, a bundle always before the operations that name its chunks. A call that is waiting for the network
//! must return an error when the connection ends or the caller of the backup gives up.

use chunk::Bundle;
use model::archive::ArchiveError;
use model::operation::Operation;
use model::record::{Exception, Label, Point, Totals};
use model::{Name, SequenceNumber, Time};

/// A backup that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Its number on this connection.
    pub session: u64,
    /// The last operation of the newest point, 0 without one.
    pub sequence: SequenceNumber,
    /// The token shown is that of the newest point.
    pub matched: bool,
    /// The machine owns no chunk, so asking which it has is idle.
    pub empty: bool,
}

/// What is said at the end of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finish {
    /// The last operation.
    pub last: SequenceNumber,
    /// When the scan began.
    pub started: Time,
    /// When it was done.
    pub finished: Time,
    /// Its figures.
    pub totals: Totals,
    /// What is not as it should be, at most `model::record::EXCEPTIONS_MAX`.
    pub exceptions: Vec<Exception>,
    /// How many there were.
    pub exceptions_count: u64,
}

/// What the appliance makes of a finished backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A point.
    Finished(Box<Point>),
    /// Nothing: operations name chunks that it does not have.
    Lacking(Vec<Name>),
}

/// What a backup asks of an appliance.
pub trait Appliance: Send + Sync {
    /// Begins a backup of a source, showing the token of the point that the cache describes, or else saying how many bytes
    /// there seem to be.
    fn begin(
        &self,
        source: &Label,
        continuity: Option<&[u8]>,
        size_bytes: Option<u64>,
    ) -> Result<Begun, ArchiveError>;

    /// Which of up to [`HAVE_MAX`] chunks the appliance has, in the order asked.
    fn have(&self, session: u64, names: &[Name]) -> Result<Vec<bool>, ArchiveError>;

    /// Sends a bundle; waits while the appliance takes no more.
    fn data(&self, session: u64, number: u64, bundle: Bundle) -> Result<(), ArchiveError>;

    /// Sends up to [`OPERATIONS_MAX`] operations, of which `first` is the number of the first.
    fn operations(
        &self,
        session: u64,
        first: SequenceNumber,
        operations: &[Operation],
    ) -> Result<(), ArchiveError>;

    /// Makes a point of what was sent.
    fn finish(&self, session: u64, finish: Finish) -> Result<Ending, ArchiveError>;

    /// The last bundle up to which all survive a power cut of the appliance, as far as it has said so.
    fn durable(&self, session: u64) -> u64;

    /// Gives the backup up, if the appliance can still be told.
    fn abort(&self, session: u64);
}

/// Most names in one [`Appliance::have`].
pub const HAVE_MAX: usize = 1000;
/// Most operations in one [`Appliance::operations`].
pub const OPERATIONS_MAX: usize = 4096;

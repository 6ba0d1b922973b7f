//! One backup, from its first operation to its point.
//!
//! It starts from the newest point of its source, or from nothing if the agent cannot show that it knows that point.
//! Until it finishes nothing of it is history; if it breaks off, the chunks that were sent stay known.

use std::sync::Arc;

use model::operation::{Content, Operation};
use model::record::{Exception, Point, Source, Totals};
use model::{ErrorKind, Name, ObjectId, SequenceNumber, Time};
use pool::{Lease, NewPoint, Pool, PoolError, Session, Shared};
use thiserror::Error;
use tree::Root;

use crate::{Fold, FoldError};

/// Most names of lacking chunks that are told.
const LACKING_MAX: usize = 4096;

/// A backup that cannot go on.
#[derive(Debug, Error)]
pub enum IngestError {
    /// Operation numbers have a gap or repeat.
    #[error("operation {expected} was expected, {found} came")]
    Sequence {
        /// The next number.
        expected: SequenceNumber,
        /// What came.
        found: SequenceNumber,
    },
    /// An operation does not fit.
    #[error("operation {sequence}")]
    Operation {
        /// Its number.
        sequence: SequenceNumber,
        /// Why.
        #[source]
        source: FoldError,
    },
    /// A write names bytes that its chunk does not have.
    #[error(
        "operation {sequence} puts bytes up to {end} of chunk {chunk} into object {object}; the chunk has {length}"
    )]
    BehindChunk {
        /// The number of the operation.
        sequence: SequenceNumber,
        /// The file.
        object: ObjectId,
        /// The chunk.
        chunk: Name,
        /// Bytes that the chunk has.
        length: u32,
        /// The end of the bytes that are named.
        end: u64,
    },
    /// Another backup of the source was finished meanwhile.
    #[error("another backup of this source was finished meanwhile; begin again")]
    Overtaken,
    /// The pool was opened again after a failure and has forgotten what was not durable, of this backup too.
    #[error("the pool was opened again meanwhile; begin again")]
    Reopened,
    /// What it had sent took room that was needed, and had to be given back.
    #[error("the backup was under way for too long and held up room that was needed; begin again")]
    Fenced,
    /// The tree cannot be written.
    #[error("write the tree of the point")]
    Fold(#[from] FoldError),
    /// The pool failed.
    #[error("pool")]
    Pool(#[from] PoolError),
}

impl IngestError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Sequence { .. } | Self::BehindChunk { .. } => ErrorKind::Refused,
            Self::Overtaken | Self::Reopened | Self::Fenced => ErrorKind::Busy,
            Self::Operation { source, .. } | Self::Fold(source) => source.kind(),
            Self::Pool(error) => error.kind(),
        }
    }
}

impl From<IngestError> for model::archive::ArchiveError {
    fn from(error: IngestError) -> Self {
        Self::new(error.kind(), &error)
    }
}

/// What became of a backup.
#[derive(Debug)]
pub enum Ingested {
    /// Its point.
    Point(Box<Point>),
    /// Operations name chunks that are not here; nothing was made.
    Lacking(Vec<Name>),
}

/// What the agent says at the end.
#[derive(Clone, Debug, Default)]
pub struct Closing {
    /// The last operation.
    pub last: SequenceNumber,
    /// When it began to read.
    pub started: Time,
    /// When it was done.
    pub finished: Time,
    /// Its figures.
    pub totals: Totals,
    /// What is not as it should be.
    pub exceptions: Vec<Exception>,
    /// How many there were.
    pub exceptions_count: u64,
}

/// One backup.
pub struct Ingest {
    shared: Arc<Shared>,
    openings: u64,
    /// Keeps what this backup was told of and has stored.
    session: Arc<Session>,
    source: Source,
    base: Option<u64>,
    /// Keeps what the point holds that it goes on from.
    _lease: Option<Lease>,
    begun_at: SequenceNumber,
    last: SequenceNumber,
    matched: bool,
    fold: Fold,
    lacking: Vec<Name>,
}

impl Ingest {
    /// Begins a backup of a source whose agent shows this continuity token. It does not go on from a point that is known to
    /// be damaged: then the agent says everything anew, and what was lost of it comes again.
    pub fn begin(
        shared: Arc<Shared>,
        source: Source,
        continuity: Option<&[u8]>,
    ) -> Result<Self, IngestError> {
        // Read before anything else of the pool: what is read after an opening in between must not be taken.
        let (openings, session) = (shared.openings(), Arc::new(shared.begin_session()));
        let newest = shared.registry(|r| r.points_of(source.id).next_back().cloned());
        let damaged = shared.damaged_points();
        let goes_on = |point: &&Arc<Point>| {
            continuity == Some(point.continuity.as_slice()) && !damaged.contains_key(&point.key())
        };
        // If it was dropped in between, there is nothing to go on from.
        let leased =
            newest.as_ref().filter(goes_on).and_then(|point| Some((point, shared.lease(point.key()).ok()?)));
        let (root, lease) = match leased {
            Some((point, lease)) => (pool::archive::tree_root(point)?, Some(lease)),
            None => (Root::EMPTY, None),
        };
        let matched = lease.is_some();
        let base = newest.as_ref().map(|point| point.number);
        let last = newest.map_or(SequenceNumber(0), |point| point.sequence);
        Ok(Self {
            shared,
            openings,
            session,
            source,
            base,
            _lease: lease,
            begun_at: last,
            last,
            matched,
            fold: Fold::new(root),
            lacking: Vec::new(),
        })
    }

    /// The last operation before this backup.
    #[must_use]
    pub const fn sequence(&self) -> SequenceNumber {
        self.begun_at
    }

    /// Whether it goes on from the newest point.
    #[must_use]
    pub const fn is_matched(&self) -> bool {
        self.matched
    }

    /// Sets how many bytes of changes may wait in memory.
    pub fn set_flush_bytes(&mut self, flush_bytes: usize) {
        self.fold.set_flush_bytes(flush_bytes);
    }

    /// What this backup holds, for bundles that are put for it.
    #[must_use]
    pub const fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Which chunks need not be sent: they are in the pool and known to the machine, and stay until this backup has ended.
    pub fn known(&self, names: &[Name]) -> Result<Vec<bool>, IngestError> {
        self.check()?;
        let lengths = self.shared.known_lengths(self.source.machine, names, &self.session)?;
        Ok(lengths.iter().map(Option::is_some).collect())
    }

    /// Takes operations in, the first of which has the number `first`, until a flush is wanted; how many it took.
    /// The others are to be handed over again after the flush, also if there are none: a removal may be left to do.
    pub fn operations(
        &mut self,
        first: SequenceNumber,
        operations: &[Operation],
    ) -> Result<usize, IngestError> {
        self.check()?;
        if first != self.last.next() {
            return Err(IngestError::Sequence { expected: self.last.next(), found: first });
        }
        self.fold.resume(&*self.shared)?;
        if self.wants_flush() {
            return Ok(0);
        }
        let names: Vec<Name> = operations.iter().filter_map(named).collect();
        let mut lengths = self.shared.known_lengths(self.source.machine, &names, &self.session)?.into_iter();
        for (taken, operation) in operations.iter().enumerate() {
            if self.wants_flush() {
                return Ok(taken);
            }
            let sequence = self.last.next();
            let wrong = |source| IngestError::Operation { sequence, source };
            self.fold.operation(&*self.shared, operation).map_err(wrong)?;
            if named(operation).is_some() {
                self.check_chunk(sequence, operation, lengths.next().flatten())?;
            }
            self.last = sequence;
        }
        Ok(operations.len())
    }

    /// Whether changes should become pages before more come.
    #[must_use]
    pub const fn wants_flush(&self) -> bool {
        self.fold.wants_flush()
    }

    /// Makes pages of what waits.
    pub fn flush(&mut self, pool: &mut Pool) -> Result<(), IngestError> {
        self.check()?;
        self.fold.flush(&mut pool.pages_for(&self.session))?;
        Ok(())
    }

    /// Fails if this backup cannot make a point any more: chunks and pages that it counts on may be gone if the pool was
    /// opened again, or gave room back that it could not wait for.
    pub fn check(&self) -> Result<(), IngestError> {
        if self.session.is_fenced() {
            return Err(IngestError::Fenced);
        }
        if self.shared.openings() == self.openings { Ok(()) } else { Err(IngestError::Reopened) }
    }

    /// Notes a chunk that is not here; of one that is, the bytes that an operation names must be there.
    fn check_chunk(
        &mut self,
        sequence: SequenceNumber,
        operation: &Operation,
        length: Option<u32>,
    ) -> Result<(), IngestError> {
        let Operation::Write { object, content: Content::Chunk { name, skip, length: part }, .. } =
            *operation
        else {
            return Ok(());
        };
        let end = u64::from(skip) + u64::from(part);
        match length {
            Some(length) if end > u64::from(length) => {
                Err(IngestError::BehindChunk { sequence, object, chunk: name, length, end })
            }
            None if self.lacking.len() < LACKING_MAX => {
                self.lacking.push(name);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Makes the point; durable when this returns.
    pub fn finish(mut self, pool: &mut Pool, closing: Closing) -> Result<Ingested, IngestError> {
        self.check()?;
        if closing.last != self.last {
            return Err(IngestError::Sequence { expected: self.last, found: closing.last });
        }
        if !self.lacking.is_empty() {
            return Ok(Ingested::Lacking(self.lacking));
        }
        let newest = self.shared.registry(|r| r.points_of(self.source.id).next_back().map(|p| p.number));
        if newest != self.base {
            return Err(IngestError::Overtaken);
        }
        let mut root = self.fold.flush(&mut pool.pages_for(&self.session))?;
        while self.fold.is_removing() {
            self.fold.resume(&*self.shared)?;
            root = self.fold.flush(&mut pool.pages_for(&self.session))?;
        }
        let new = NewPoint {
            source: self.source.id,
            sequence: self.last,
            started: closing.started,
            finished: closing.finished,
            root,
            totals: closing.totals,
            exceptions: closing.exceptions,
            exceptions_count: closing.exceptions_count,
        };
        Ok(Ingested::Point(Box::new(pool.commit_point(new)?)))
    }
}

/// The chunk that an operation names.
fn named(operation: &Operation) -> Option<Name> {
    match operation {
        Operation::Write { content: Content::Chunk { name, .. }, .. } => Some(*name),
        _ => None,
    }
}

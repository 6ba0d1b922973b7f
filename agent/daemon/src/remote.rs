//! The appliance at the other end of a connection, as a scan needs it.

use std::sync::Arc;

use capture::{Appliance, Begun, Ending, Finish};
use chunk::Bundle;
use link::{Connection, LinkError};
use model::archive::ArchiveError;
use model::operation::Operation;
use model::record::Label;
use model::{ErrorKind, Name, SequenceNumber};
use wire::{Reply, Request};

/// An appliance behind a connection.
pub(crate) struct Remote(pub(crate) Arc<Connection>);

fn failed(error: LinkError) -> ArchiveError {
    ArchiveError::new(error.kind(), &error)
}

fn unexpected() -> ArchiveError {
    ArchiveError { kind: ErrorKind::Unsupported, message: "the appliance answered something else".into() }
}

impl Remote {
    fn ask(&self, request: Request) -> Result<Reply, ArchiveError> {
        match self.0.request(request).map_err(failed)?.0 {
            Reply::Failed { error, .. } => Err(error),
            reply => Ok(reply),
        }
    }

    /// Asks something of a backup. If that has failed meanwhile, its cause says more than the refusal to answer.
    fn ask_of(&self, session: u64, request: Request) -> Result<Reply, ArchiveError> {
        self.ask(request).map_err(|error| self.0.failure(session).unwrap_or(error))
    }
}

impl Appliance for Remote {
    fn begin(
        &self,
        source: &Label,
        continuity: Option<&[u8]>,
        size_bytes: Option<u64>,
    ) -> Result<Begun, ArchiveError> {
        let continuity = continuity.map(<[u8]>::to_vec);
        match self.ask(Request::Begin { source: source.clone(), continuity, size_bytes })? {
            Reply::Begun { session, sequence, matched, empty } => {
                Ok(Begun { session, sequence, matched, empty })
            }
            _ => Err(unexpected()),
        }
    }

    fn have(&self, session: u64, names: &[Name]) -> Result<Vec<bool>, ArchiveError> {
        match self.ask_of(session, Request::Have { session, names: names.to_vec() })? {
            Reply::Had { bits } => {
                let bit = |at: usize| bits.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
                Ok((0..names.len()).map(bit).collect())
            }
            _ => Err(unexpected()),
        }
    }

    fn data(&self, session: u64, number: u64, bundle: Bundle) -> Result<(), ArchiveError> {
        self.0.send_bundle(session, number, bundle).map_err(failed)
    }

    fn operations(
        &self,
        session: u64,
        first: SequenceNumber,
        operations: &[Operation],
    ) -> Result<(), ArchiveError> {
        self.0.send_operations(session, first, operations).map(drop).map_err(failed)
    }

    fn finish(&self, session: u64, finish: Finish) -> Result<Ending, ArchiveError> {
        let Finish { last, started, finished, totals, exceptions, exceptions_count } = finish;
        let request =
            Request::Finish { session, last, started, finished, totals, exceptions, exceptions_count };
        match self.ask_of(session, request)? {
            Reply::Finished { point } => Ok(Ending::Finished(Box::new(point))),
            Reply::Lacking { names } => Ok(Ending::Lacking(names)),
            _ => Err(unexpected()),
        }
    }

    fn durable(&self, session: u64) -> u64 {
        self.0.durable(session)
    }

    fn abort(&self, session: u64) {
        self.0.abort(session);
    }
}

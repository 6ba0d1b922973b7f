//! A backup that an agent sends: bundles go to the pool, operations are folded, the end makes a point.

use std::sync::Arc;

use chunk::VerifiedBundle;
use journal::{Closing, Ingest, Ingested};
use model::archive::ArchiveError;
use model::operation::Operation;
use model::record::Source;
use model::{MachineId, Name, SequenceNumber, SourceId};
use pool::{Pool, PoolError};
use wire::Finish;

use crate::keeping::{Refusals, Trial};
use crate::listen::{Backup, Begun, Finished};
use crate::storage::Storage;

/// Bytes of bundles after which what came is made durable.
const DURABLE_BYTES: u64 = 256 << 20;

/// Bytes of changes that wait in memory, of all backups together while they are busy.
const WAITING_BYTES: usize = 128 << 20;
/// The same of one backup, however few there are.
const WAITING_BYTES_EACH: usize = 64 << 20;

/// What one backup of so many may hold.
fn share(backups: usize) -> usize {
    (WAITING_BYTES / backups.max(1)).min(WAITING_BYTES_EACH)
}

fn is_over() -> ArchiveError {
    crate::appliance::refused("the backup is over")
}

/// A backup under way.
pub(crate) struct Session {
    storage: Arc<Storage>,
    refusals: Arc<Refusals>,
    machine: MachineId,
    source: SourceId,
    ingest: Option<Ingest>,
    next: SequenceNumber,
    last_bundle: u64,
    durable: u64,
    waiting_bytes: u64,
    /// It is the first backup of its source.
    trial: Option<Trial>,
    _counted: Arc<()>,
}

impl Session {
    /// Begins a backup of a source whose agent shows this continuity token.
    pub(crate) fn begin(
        storage: Arc<Storage>,
        refusals: Arc<Refusals>,
        source: Source,
        continuity: Option<&[u8]>,
        trial: Option<Trial>,
    ) -> Result<(Begun, Self), ArchiveError> {
        let (machine, id) = (source.machine, source.id);
        let ingest = Ingest::begin(Arc::clone(storage.shared()), source, continuity)?;
        let (sequence, matched) = (ingest.sequence(), ingest.is_matched());
        let empty = !storage.shared().has_chunks(machine)?;
        let counted = storage.backup();
        let session = Self {
            storage,
            refusals,
            machine,
            source: id,
            ingest: Some(ingest),
            next: sequence.next(),
            last_bundle: 0,
            durable: 0,
            waiting_bytes: 0,
            trial,
            _counted: counted,
        };
        Ok((Begun { sequence, matched, empty }, session))
    }

    /// Does a change on the writer's thread.
    fn change<T: Send + 'static, E: Into<ArchiveError> + Send + 'static>(
        &self,
        change: impl FnOnce(&mut Pool) -> Result<T, E> + Send + 'static,
    ) -> Result<T, ArchiveError> {
        self.storage.change(change).map_err(|error| self.refusals.explain(self.source, error))
    }

    fn take_ingest(&mut self) -> Result<Ingest, ArchiveError> {
        self.ingest.take().ok_or_else(is_over)
    }
}

impl Backup for Session {
    fn have(&mut self, names: &[Name]) -> Result<Vec<bool>, ArchiveError> {
        let ingest = self.ingest.as_ref().ok_or_else(is_over)?;
        Ok(ingest.known(names)?)
    }

    fn data(&mut self, number: u64, bundle: VerifiedBundle) -> Result<(), ArchiveError> {
        let (machine, source, length) = (self.machine, self.source, bundle.body().len() as u64);
        if let Some(trial) = &mut self.trial {
            trial.take(self.storage.shared(), length, self.waiting_bytes)?;
        }
        let ingest = self.ingest.as_ref().ok_or_else(is_over)?;
        ingest.check()?;
        let session = Arc::clone(ingest.session());
        self.waiting_bytes += length;
        let settle = self.waiting_bytes >= DURABLE_BYTES;
        self.change(move |pool| {
            pool.put_bundle(&session, machine, source, bundle)?;
            if settle { pool.commit(Vec::new()) } else { Ok::<_, PoolError>(()) }
        })?;
        self.last_bundle = number;
        if settle {
            self.durable = number;
            self.waiting_bytes = 0;
        }
        Ok(())
    }

    fn operations(&mut self, operations: Vec<Operation>) -> Result<(), ArchiveError> {
        let mut rest = operations.as_slice();
        loop {
            let mut ingest = self.take_ingest()?;
            ingest.set_flush_bytes(share(self.storage.backup_count()));
            let taken = ingest.operations(self.next, rest)?;
            self.next = SequenceNumber(self.next.0.saturating_add(taken as u64));
            rest = rest.get(taken..).unwrap_or_default();
            if !ingest.wants_flush() {
                self.ingest = Some(ingest);
                return Ok(());
            }
            let flushed = self.change(move |pool| ingest.flush(pool).map(|()| ingest))?;
            self.ingest = Some(flushed);
        }
    }

    fn durable(&mut self) -> u64 {
        self.durable
    }

    fn finish(&mut self, finish: Finish) -> Result<Finished, ArchiveError> {
        let ingest = self.take_ingest()?;
        let Finish { last, started, finished, totals, exceptions, exceptions_count } = finish;
        let closing = Closing { last, started, finished, totals, exceptions, exceptions_count };
        match self.change(move |pool| ingest.finish(pool, closing))? {
            Ingested::Point(point) => {
                self.refusals.note_fit(self.source);
                self.durable = self.last_bundle;
                Ok(Finished::Point(point))
            }
            Ingested::Lacking(names) => Ok(Finished::Lacking(names)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_share_memory() {
        assert_eq!((share(1), share(2)), (WAITING_BYTES_EACH, WAITING_BYTES_EACH));
        assert!((2..1000).all(|count| share(count) * count <= WAITING_BYTES));
        assert!(share(128) >= 1 << 20, "pages are not written for a few changes");
    }
}

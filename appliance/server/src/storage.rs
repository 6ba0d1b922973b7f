//! The thread that writes to the pool: changes come through a bounded channel and are done one after the other.
//!
//! When nothing is to be done the catalog is brought up to date. After a failed write the pool is opened again before
//! the next change, so service returns by itself when the cause is gone.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use model::ErrorKind;
use model::archive::ArchiveError;
use pool::{Pool, Shared};
use tracing::{error, info};

/// Changes that may wait.
const WAITING_MAX: usize = 64;
/// How long nothing happens before the catalog is brought up to date.
const IDLE: Duration = Duration::from_millis(500);

type Change = Box<dyn FnOnce(&mut Pool) + Send>;

/// The way to the writer's thread.
pub(crate) struct Storage {
    shared: Arc<Shared>,
    /// Held once by every backup, so that they can be counted.
    backups: Arc<()>,
    changes: Option<SyncSender<Change>>,
    thread: Option<JoinHandle<()>>,
}

impl Storage {
    /// Hands a pool to a thread of its own.
    pub(crate) fn start(pool: Pool) -> std::io::Result<Self> {
        let shared = Arc::clone(pool.shared());
        let (changes, waiting) = sync_channel(WAITING_MAX);
        let builder = std::thread::Builder::new().name("pool-writer".into());
        let thread = builder.spawn(move || write(pool, &waiting))?;
        Ok(Self { shared, backups: Arc::new(()), changes: Some(changes), thread: Some(thread) })
    }

    /// What readers need.
    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Counts a backup while it is held.
    pub(crate) fn backup(&self) -> Arc<()> {
        Arc::clone(&self.backups)
    }

    /// How many backups are counted.
    pub(crate) fn backup_count(&self) -> usize {
        Arc::strong_count(&self.backups) - 1
    }

    /// Does a change on the writer's thread and waits for what it gives.
    pub(crate) fn change<T, E>(
        &self,
        change: impl FnOnce(&mut Pool) -> Result<T, E> + Send + 'static,
    ) -> Result<T, ArchiveError>
    where
        T: Send + 'static,
        E: Into<ArchiveError> + Send + 'static,
    {
        let (answer, answered) = channel();
        let gone = || ArchiveError { kind: ErrorKind::Io, message: "the appliance is stopping".into() };
        let change: Change = Box::new(move |pool| {
            // Whoever asked may be gone; the change is done all the same.
            let _ = answer.send(change(pool).map_err(Into::into));
        });
        self.changes.as_ref().ok_or_else(gone)?.send(change).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.changes = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the writer of the pool ended in a panic");
        }
    }
}

fn write(mut pool: Pool, waiting: &Receiver<Change>) {
    loop {
        match waiting.recv_timeout(IDLE) {
            Ok(change) => {
                reopen_if_failed(&mut pool);
                change(&mut pool);
            }
            Err(RecvTimeoutError::Timeout) => {
                if !pool.is_failed()
                    && let Err(cause) = pool.flush_catalog()
                {
                    error!(cause = %ArchiveError::from(cause), "the catalog could not be brought up to date");
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    if !pool.is_failed()
        && let Err(cause) = pool.flush_catalog()
    {
        error!(cause = %ArchiveError::from(cause), "the catalog could not be brought up to date");
    }
}

fn reopen_if_failed(pool: &mut Pool) {
    if !pool.is_failed() {
        return;
    }
    match pool.reopen() {
        Ok(()) => info!("the pool was opened again after a failed write"),
        Err(cause) => error!(cause = %ArchiveError::from(cause), "the pool cannot be opened again yet"),
    }
}

//! The thread that writes to the pool: changes come through a bounded channel and are done one after the other.
//!
//! When nothing is to be done the catalog is brought up to date. After a failed write, or a failed read of the catalog,
//! the pool is opened again: before the next change, and also when none comes, for those who read. So service returns
//! by itself when the cause is gone.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::ErrorKind;
use model::archive::ArchiveError;
use pool::{Pool, Shared};
use tracing::{error, info, warn};

use crate::keeping::Keeper;

/// Changes that may wait.
const WAITING_MAX: usize = 64;
/// How long nothing happens before the catalog is brought up to date.
const IDLE: Duration = Duration::from_millis(500);
/// How long changes may keep the keeper from its work.
const LATE_MAX: Duration = Duration::from_secs(2);
/// Shortest time in which changes are waited for.
const PAUSE: Duration = Duration::from_millis(1);
/// Longest time between two attempts to open the pool again; they start at [`IDLE`] and get twice as far apart.
const IDLE_MAX: Duration = Duration::from_secs(60);

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
    /// Hands a pool to a thread of its own, and to a keeper if it is to be kept within bounds.
    pub(crate) fn start(pool: Pool, keeper: Option<Keeper>) -> std::io::Result<Self> {
        let shared = Arc::clone(pool.shared());
        let (changes, waiting) = sync_channel(WAITING_MAX);
        let builder = std::thread::Builder::new().name("pool-writer".into());
        let thread = builder.spawn(move || write(pool, keeper, &waiting))?;
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

fn write(mut pool: Pool, mut keeper: Option<Keeper>, waiting: &Receiver<Change>) {
    let mut idle = IDLE;
    let mut due = Instant::now();
    loop {
        let until_due = keeper.as_ref().map_or(idle, |_| due.saturating_duration_since(Instant::now()));
        match waiting.recv_timeout(idle.min(until_due.max(PAUSE))) {
            Ok(change) => {
                reopen_if_failed(&mut pool);
                change(&mut pool);
                idle = IDLE;
                due = due.min(Instant::now() + IDLE);
                // Also while changes come without a pause.
                if due + LATE_MAX < Instant::now() {
                    due = work(keeper.as_mut(), &mut pool);
                }
            }
            Err(RecvTimeoutError::Timeout) if pool.is_failed() => {
                let is_back = reopen_if_failed(&mut pool);
                idle = if is_back { IDLE } else { (idle * 2).min(IDLE_MAX) };
            }
            Err(RecvTimeoutError::Timeout) => {
                flush(&mut pool);
                if due <= Instant::now() {
                    due = work(keeper.as_mut(), &mut pool);
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    if !pool.is_failed() {
        if let Some(keeper) = &mut keeper {
            keeper.end(&mut pool);
        }
        flush(&mut pool);
    }
}

/// Lets the keeper work; when it wants to again.
fn work(keeper: Option<&mut Keeper>, pool: &mut Pool) -> Instant {
    Instant::now() + keeper.map_or(IDLE_MAX, |keeper| keeper.work(pool))
}

fn flush(pool: &mut Pool) {
    if let Err(cause) = pool.flush_catalog() {
        error!(cause = %ArchiveError::from(cause), "the catalog could not be brought up to date");
    }
}

/// Whether the pool takes changes.
fn reopen_if_failed(pool: &mut Pool) -> bool {
    if !pool.is_failed() {
        return true;
    }
    match pool.reopen() {
        Ok(()) if pool.is_failed() => warn!("the drive is full; what is in the pool can be read"),
        Ok(()) => info!("the pool was opened again after a failure"),
        Err(cause) => error!(cause = %ArchiveError::from(cause), "the pool cannot be opened again yet"),
    }
    !pool.is_failed()
}

#[cfg(test)]
mod tests {
    use chunk::{BundleLimits, Compressor, Decompressor, Level, VerifiedBuilder};
    use medium::sim::{Fault, FaultPlan, SimClock, SimDisk, SimEntropy};
    use model::record::Label;
    use model::{MachineId, Name, SourceId, Time};
    use pool::keys::Unlock;
    use pool::{Options, World};
    use zeroize::Zeroizing;

    use super::*;

    /// A pool whose catalog has to be read from the disk.
    fn storage(disk: &SimDisk) -> Storage {
        let world = |seed| World {
            disk: Arc::new(disk.clone()),
            clock: Arc::new(SimClock::new(Time(1))),
            entropy: Arc::new(SimEntropy::new(seed)),
        };
        let key = Unlock::KeyFile(Zeroizing::new([7; 32]));
        let mut pool = Pool::create(world(1), std::slice::from_ref(&key), Options::default()).unwrap();
        let machine = pool.add_machine(&Label::new("web1").unwrap(), false).unwrap();
        let mut builder = VerifiedBuilder::new(BundleLimits::default());
        builder.push(&pool.shared().keys().naming(machine.domain), b"a chunk").unwrap();
        let (mut compressor, mut decompressor) = (Compressor::default(), Decompressor::default());
        let bundle = builder.finish(&mut compressor, &mut decompressor, Level::default()).unwrap();
        pool.put_bundle(&pool.shared().begin_session(), machine.id, SourceId(1), bundle).unwrap();
        pool.commit(Vec::new()).unwrap();
        pool.flush_catalog().unwrap();
        drop(pool);
        Storage::start(Pool::open(world(2), &key, Options::default()).unwrap(), None).unwrap()
    }

    fn read(storage: &Storage) -> Result<(), ErrorKind> {
        let known = storage.shared().known(MachineId(1), &[Name([3; 32])]);
        known.map(drop).map_err(|error| error.kind())
    }

    /// Waits for something that is to happen without a change.
    fn within_reason(happens: impl Fn() -> bool) -> bool {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            if happens() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    #[test]
    fn readers_get_the_catalog_back_although_nobody_writes() {
        let disk = SimDisk::new(1);
        let storage = storage(&disk);
        disk.fail(FaultPlan::once(Fault::Error, 0).on_reads().under("catalog.redb"));
        assert_eq!(read(&storage), Err(ErrorKind::Io));
        assert!(within_reason(|| read(&storage).is_ok()));
    }

    #[test]
    fn a_pool_that_cannot_be_opened_yet_is_tried_again() {
        let disk = SimDisk::new(1);
        let storage = storage(&disk);
        disk.fail(FaultPlan::lasting(Fault::Error, 0).on_reads());
        assert_eq!(read(&storage), Err(ErrorKind::Io));
        for _ in 0..2 {
            let reads = disk.reads();
            assert!(within_reason(|| disk.reads() > reads), "it is tried");
            assert_eq!(read(&storage), Err(ErrorKind::Io));
        }
        disk.clear_faults();
        assert!(within_reason(|| read(&storage).is_ok()));
    }
}

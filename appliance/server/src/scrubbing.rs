//! The scrub: a thread that has the whole pool read and checked, round after round, a little at a time.
//!
//! It rests nine times as long as it works, so it takes a tenth of the drive at most. Damage is said at once, noted in
//! the pool by point, and taken once more from the next backup that has it. A drive that does not answer is asked again
//! later; nothing is judged meanwhile.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::archive::ArchiveError;
use pool::ScrubEffort;
use tracing::{error, info, warn};

use crate::storage::Storage;

/// How many times as long as a step took the scrub rests after it.
const REST: u32 = 9;
/// How long it waits after a failure.
const RETRY: Duration = Duration::from_secs(60);
/// How long it waits between two rounds.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(24 * 3600);

/// The scrub of a pool; ends when it is dropped.
pub(crate) struct Scrubber {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Stop {
    is_asked_for: Mutex<bool>,
    asked: Condvar,
}

impl Stop {
    /// Waits for so long; whether it was asked to stop.
    fn wait(&self, time: Duration) -> bool {
        let asked = self.is_asked_for.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.asked.wait_timeout_while(asked, time, |asked| !*asked);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Scrubber {
    /// Begins, or goes on with the round in which the pool was left.
    pub(crate) fn start(storage: Arc<Storage>) -> std::io::Result<Self> {
        let stop = Arc::new(Stop::default());
        let watched = Arc::clone(&stop);
        let work = move || {
            let mut rest = Duration::ZERO;
            while !watched.wait(rest) {
                rest = step(&storage);
            }
        };
        let thread = std::thread::Builder::new().name("pool-scrub".into()).spawn(work)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Scrubber {
    fn drop(&mut self) {
        *self.stop.is_asked_for.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.asked.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the scrub ended in a panic");
        }
    }
}

/// Reads on; how long to rest.
fn step(storage: &Storage) -> Duration {
    let began = Instant::now();
    let step = match storage.shared().scrub(ScrubEffort::default()) {
        Ok(step) => step,
        Err(cause) => {
            warn!(cause = %ArchiveError::from(cause), "the scrub waits: nothing can be told of the drive");
            return RETRY;
        }
    };
    for damage in &step.damage {
        error!(damage, "the scrub found damage; the next backup that has it stores it again");
    }
    if step.mended > 0 {
        warn!(copies = step.mended, "the scrub mended copies that were damaged from others that were not");
    }
    if step.unmended > 0 {
        error!(places = step.unmended, "copies are damaged and could not be mended; others were read");
    }
    if storage.shared().has_damage_to_note()
        && let Err(cause) = storage.change(pool::Pool::note_damage)
    {
        warn!(%cause, "damage could not be noted; it is found again in the next round");
    }
    if step.is_done {
        let status = storage.shared().scrub_status();
        info!(round = status.round, damaged = status.damaged, "the whole pool has been read and checked");
        return BETWEEN_ROUNDS;
    }
    began.elapsed() * REST
}

//! The scrub: a thread that has the whole pool read and checked, round after round, a little at a time.
//!
//! It rests nine times as long as it works, so it takes a tenth of the drive at most. Damage is said at once, noted in
//! the pool by point, and taken once more from the next backup that has it. A drive that does not answer is asked again
//! later; nothing is judged meanwhile.
//!
//! Behind the segments comes the parity of several drives, which nobody reads otherwise while all is well.
//!
//! Segments that went with a drive, or came back with it, are checked at once: who is asked says which points that means.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::archive::ArchiveError;
use pool::ScrubEffort;
use tracing::{error, info, warn};

use crate::pace::Share;
use crate::rack::Rack;
use crate::storage::Storage;

/// Bytes of parity that are read at a time.
const PARITY_BYTES: u64 = 8 << 20;
/// How long it waits after a failure.
const RETRY: Duration = Duration::from_secs(60);
/// How long it waits between two rounds.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(24 * 3600);

/// The scrub of a pool; ends when it is dropped.
pub(crate) struct Scrubber {
    call: Arc<Call>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Call {
    asked_for: Mutex<Asked>,
    asked: Condvar,
}

/// What the scrub is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Asked {
    #[default]
    Nothing,
    /// To go on at once.
    Haste,
    Stop,
}

impl Call {
    /// Waits for so long, or until something is asked for; what it is.
    fn wait(&self, time: Duration) -> Asked {
        let asked = self.asked_for.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.asked.wait_timeout_while(asked, time, |asked| *asked == Asked::Nothing);
        let (mut asked, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *asked == Asked::Haste { std::mem::take(&mut asked) } else { *asked }
    }

    fn ask(&self, what: Asked) {
        let mut asked = self.asked_for.lock().unwrap_or_else(PoisonError::into_inner);
        if *asked != Asked::Stop {
            *asked = what;
        }
        self.asked.notify_all();
    }
}

/// Has the scrub go on at once.
#[derive(Clone)]
pub(crate) struct Waker(Arc<Call>);

impl Waker {
    /// Something is to be checked that cannot wait.
    pub(crate) fn wake(&self) {
        self.0.ask(Asked::Haste);
    }
}

impl Scrubber {
    /// Begins, or goes on with the round in which the pool was left.
    pub(crate) fn start(storage: Arc<Storage>, rack: Arc<Rack>) -> std::io::Result<Self> {
        let call = Arc::new(Call::default());
        let watched = Arc::clone(&call);
        let mut round = Round { storage, rack, is_in_parity: false };
        let work = move || {
            // When the next round begins.
            let mut due = Instant::now();
            let mut rest = Duration::ZERO;
            while watched.wait(rest) != Asked::Stop {
                rest = match round.step() {
                    After::Rest(rest) => rest,
                    After::Round => {
                        due = Instant::now() + BETWEEN_ROUNDS;
                        BETWEEN_ROUNDS
                    }
                    After::Extra => due.saturating_duration_since(Instant::now()),
                };
            }
        };
        let thread = std::thread::Builder::new().name("pool-scrub".into()).spawn(work)?;
        Ok(Self { call, thread: Some(thread) })
    }

    /// With which others have it go on at once.
    pub(crate) fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.call))
    }
}

/// What comes after a step.
enum After {
    /// To rest, and go on.
    Rest(Duration),
    /// The round is done.
    Round,
    /// What was urgent is done, beside the rounds.
    Extra,
}

impl Drop for Scrubber {
    fn drop(&mut self) {
        self.call.ask(Asked::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the scrub ended in a panic");
        }
    }
}

/// What is being checked.
struct Round {
    storage: Arc<Storage>,
    rack: Arc<Rack>,
    /// All segments were; parity comes now.
    is_in_parity: bool,
}

impl Round {
    /// Reads on.
    fn step(&mut self) -> After {
        let is_urgent = self.storage.shared().is_scrub_urgent();
        if self.is_in_parity && !is_urgent { self.check_parity() } else { self.check_segments() }
    }

    fn check_segments(&mut self) -> After {
        let began = Instant::now();
        let shared = self.storage.shared();
        let step = match shared.scrub(ScrubEffort::default()) {
            Ok(step) => step,
            Err(cause) => {
                warn!(cause = %ArchiveError::from(cause), "the scrub waits: nothing can be told of the drive");
                return After::Rest(RETRY);
            }
        };
        for damage in &step.damage {
            error!(damage, "the scrub found damage; the next backup that has it stores it again");
        }
        if step.mended > 0 {
            warn!(
                copies = step.mended,
                "the scrub mended copies that were damaged from others that were not"
            );
        }
        if step.unmended > 0 {
            error!(places = step.unmended, "copies are damaged and could not be mended; others were read");
        }
        if shared.has_damage_to_note()
            && let Err(cause) = self.storage.change(pool::Pool::note_damage)
        {
            warn!(%cause, "damage could not be noted; it is found again in the next round");
        }
        if step.is_done {
            let status = shared.scrub_status();
            info!(round = status.round, damaged = status.damaged, "the whole pool has been read and checked");
            self.is_in_parity = true;
        }
        if step.is_extra_done && !self.is_in_parity {
            return After::Extra;
        }
        // What cannot wait takes half of the drive.
        let share = if shared.is_scrub_urgent() { Share::Half } else { Share::Tenth };
        After::Rest(share.rest_after(began.elapsed()))
    }

    fn check_parity(&mut self) -> After {
        let Some(set) = self.rack.set() else {
            self.is_in_parity = false;
            return After::Round;
        };
        let began = Instant::now();
        let check = match set.check_parity(PARITY_BYTES) {
            Ok(check) => check,
            Err(cause) => {
                warn!(%cause, "the scrub waits: parity cannot be read at the moment");
                return After::Rest(RETRY);
            }
        };
        if check.mended > 0 {
            warn!(places = check.mended, "the scrub mended parity that was damaged");
        }
        if check.unmended > 0 {
            error!(
                places = check.unmended,
                "parity is damaged and could not be mended: it protects less than it should"
            );
        }
        if check.is_done {
            info!("all parity has been read and checked");
            self.is_in_parity = false;
            return After::Round;
        }
        After::Rest(Share::Tenth.rest_after(began.elapsed()))
    }
}

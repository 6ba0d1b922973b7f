//! The tender: a thread that says when a drive falls out or has gone, and lets the set work on copies and parity.
//!
//! Segments that are lost, or are there again, are checked by the scrub at once, which says what points that means.
//!
//! It rests as long as it works, so backups and restores have half of the drives. A drive that fails while nobody writes
//! is noticed by a file that is made and removed now and then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use drives::{DriveSet, DriveUuid, MemberState, Task};
use medium::Disk;
use model::{ErrorKind, SegmentNumber};
use tracing::{debug, error, info, warn};

use super::Rack;
use crate::pace::Share;
use crate::scrubbing::Waker;
use crate::storage::Storage;

/// Bytes that are copied or compared at a time.
const BYTES: u64 = 8 << 20;
/// How long it rests when there is nothing to do.
const IDLE: Duration = Duration::from_secs(1);
/// How long it waits after a failure.
const RETRY: Duration = Duration::from_secs(5);
/// How often what did not succeed is tried again.
const TRY_AGAIN_EVERY: Duration = Duration::from_secs(60);
/// How often it looks whether all drives take something.
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// The file with which it looks.
const PROBE: &str = "probe";

/// Looks after the drives of a pool; ends when it is dropped.
pub(crate) struct Tender {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

/// What it knows from the last time.
struct Round {
    rack: Arc<Rack>,
    storage: Arc<Storage>,
    scrub: Waker,
    states: BTreeMap<DriveUuid, MemberState>,
    /// Copies were lacking.
    is_short: bool,
    /// Segments that no drive gives.
    lost: BTreeSet<SegmentNumber>,
    probed: Option<Instant>,
    tried: Instant,
}

impl Tender {
    /// Begins.
    pub(crate) fn start(rack: Arc<Rack>, storage: Arc<Storage>, scrub: Waker) -> std::io::Result<Self> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let watched = Arc::clone(&stop);
        let (states, lost) = (BTreeMap::new(), BTreeSet::new());
        let mut round = Round {
            rack,
            storage,
            scrub,
            states,
            is_short: false,
            lost,
            probed: None,
            tried: Instant::now(),
        };
        let work = move || {
            let mut rest = Duration::ZERO;
            loop {
                let (asked, changed) = &*watched;
                let asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
                let waited = changed.wait_timeout_while(asked, rest, |asked| !*asked);
                if *waited.unwrap_or_else(PoisonError::into_inner).0 {
                    break;
                }
                rest = round.step();
            }
        };
        let thread = std::thread::Builder::new().name("drive-tender".into()).spawn(work)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Tender {
    fn drop(&mut self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the tender of the drives ended in a panic");
        }
    }
}

impl Round {
    /// Does a piece of work; how long to rest.
    fn step(&mut self) -> Duration {
        let Some(set) = self.rack.set() else { return IDLE };
        let began = Instant::now();
        if self.probed.is_none_or(|at| at.elapsed() >= PROBE_EVERY) {
            self.probed = Some(began);
            probe(&set);
            self.rack.unmount_leaving();
        }
        self.look(&set);
        let shared = Arc::clone(self.storage.shared());
        let rest = match set.step(BYTES, &|segment| shared.is_sealed(segment)) {
            Ok(step) => {
                if let Some(Task::Retired { drive }) = &step.task {
                    info!(%drive, "a drive holds nothing of the pool any more and is let go of");
                }
                match step.task {
                    Some(task) => {
                        debug!(?task, bytes = step.bytes, "working on the drives");
                        Share::Half.rest_after(began.elapsed())
                    }
                    None => {
                        self.conclude(&set);
                        if self.tried.elapsed() >= TRY_AGAIN_EVERY {
                            self.tried = Instant::now();
                            set.try_again();
                        }
                        IDLE
                    }
                }
            }
            Err(cause) => {
                warn!(%cause, "copies cannot be made at the moment");
                RETRY
            }
        };
        self.look(&set);
        if !self.lost.is_empty() {
            // What is there again is found piece by piece.
            self.look_for_losses(&set);
        }
        rest
    }

    /// Has the scrub check what is lost, or is there again, since the last time.
    fn look_for_losses(&mut self, set: &DriveSet) {
        let lost: BTreeSet<SegmentNumber> = set.lost().into_iter().collect();
        let changed: Vec<SegmentNumber> = lost.symmetric_difference(&self.lost).copied().collect();
        self.lost = lost;
        if !changed.is_empty() {
            self.storage.shared().scrub_first(changed);
            self.scrub.wake();
        }
    }

    /// Says what has become of the drives.
    fn look(&mut self, set: &DriveSet) {
        for member in set.members() {
            let (drive, state) = (member.drive, member.state);
            let before = self.states.insert(drive, state);
            if before == Some(state) {
                continue;
            }
            let at = self.rack.place_of(drive).unwrap_or_else(|| "an unknown place".to_owned());
            match state {
                MemberState::Out => {
                    let at_risk = set.at_risk();
                    let lost = at_risk.iter().filter(|one| one.copies == 0).count();
                    let few = at_risk.len() - lost;
                    error!(
                        %drive, at, few, lost,
                        "a drive is out of service: `few` segments have too few copies, which are made anew where there \
                         is room; of `lost` segments there is no other copy"
                    );
                    self.is_short = true;
                    self.look_for_losses(set);
                }
                MemberState::Retired => {
                    if let Err(cause) = self.rack.release(drive) {
                        warn!(%drive, "where a retired drive was is not forgotten: {cause:#}");
                        self.states.remove(&drive);
                    }
                }
                MemberState::InService if before.is_some() => {
                    info!(%drive, at, "a drive is in service again")
                }
                MemberState::Retiring => info!(%drive, at, "what a drive holds is moved to the others"),
                MemberState::InService => {}
            }
        }
    }

    /// Says when nothing is lacking any more, and what is lacking still.
    fn conclude(&mut self, set: &DriveSet) {
        if !std::mem::take(&mut self.is_short) {
            return;
        }
        match set.at_risk().len() {
            0 => info!("every segment has all its copies again"),
            few => warn!(few, "segments have too few copies, and there is no drive with room for more"),
        }
    }
}

/// Has every drive take something, so that one that does not falls out.
fn probe(set: &DriveSet) {
    let make = || match set.create(PROBE) {
        // Left by a crash.
        Err(error) if error.kind() == ErrorKind::Refused => Ok(()),
        made => made.map(drop),
    };
    if let Err(cause) = make().and_then(|()| set.remove(PROBE)) {
        debug!(%cause, "the drives do not take a probe");
    }
}

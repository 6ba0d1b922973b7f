//! The keeper: counts, folds and gives room back, a little at a time, on the thread that writes to the pool.
//!
//! Others wait for that thread, so a step is short, and the keeper rests three times as long as it worked; when room
//! is short it does not rest. Plans are drawn from the settings of the pool and carried out in rounds: after a few
//! folds the figures are looked at again.
//!
//! What nothing refers to is also what a backup has sent that was broken off, and that it need not send again. So room is
//! given back only after points went, after a backup was refused on its way, or when it is short.
//!
//! Time for floors is witnessed here, by the monotonic clock, and kept with the pool.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use medium::Clock;
use model::archive::{ArchiveError, PointKey};
use model::{ErrorKind, SourceId};
use pool::registry::Registry;
use pool::{Counted, Effort, Pool, Reclaimed, Shared, Thrift};
use retention::{BootId, Fold, Observation, Plan, Rounds, Verdict, Witness};
use tracing::{error, info, warn};

use super::figures::Figures;
use super::orders::{name_of, reason};
use super::picture::picture;
use super::refusals::Refusals;
use super::settings::{self, CLOCK_CONFIRMED, WITNESS};
use crate::pace::Share;

/// Names of the catalog that are passed over at a time.
const NAMES: usize = 200_000;
/// Births that are counted at a time.
const BIRTHS: usize = 20_000;
/// Bytes that are copied or freed at a time.
const BYTES: u64 = 64 << 20;
/// How often the keeper looks when nothing is to be done.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How often it looks when it waits for something.
const WAIT: Duration = Duration::from_secs(1);
/// How often it looks whether there is room at last.
const WAIT_TIGHT: Duration = Duration::from_secs(5);
/// The part of the room that is made free besides what has to be, each time that a backup did not fit; and as much more as
/// it takes until a point goes.
const WANT_SHARE: u64 = 10;
/// How often witnessed time is stored, if nothing else is.
const WITNESS_EVERY: Duration = Duration::from_secs(3600);
/// How long a pool stays above its high-water mark for what backups under way have sent.
const HOLD_UP_MAX: Duration = Duration::from_secs(3600);
/// What is worth giving back when room is short: down to a twentieth of a segment.
const THRIFTS_PRESSED: [Thrift; 3] = [Thrift(250), Thrift(125), Thrift(50)];

/// Keeps a pool within its bounds.
pub(crate) struct Keeper {
    clock: Arc<dyn Clock>,
    boot: BootId,
    witness: Witness,
    /// When the witness was stored last, and whether it is of any use.
    stored: Duration,
    is_stored: bool,
    is_frozen: bool,
    /// The pool is above its high-water mark.
    is_pressed: bool,
    /// Points went, or a backup was refused, whose room may not all have come back.
    has_folded: bool,
    /// When plans were drawn last, and over what.
    planned: Option<(Duration, u64)>,
    /// When it was found that backups hold up what is missing, and the backup that was the next then.
    waiting_since: Option<(Duration, u64)>,
    /// How often more room was wanted when that was looked at last.
    wanted: u64,
    rounds: Rounds,
    figures: Arc<Figures>,
    refusals: Arc<Refusals>,
}

impl Keeper {
    /// The keeper of a pool.
    pub(crate) fn new(
        shared: &Shared,
        clock: Arc<dyn Clock>,
        boot: [u8; 16],
        figures: Arc<Figures>,
        refusals: Arc<Refusals>,
    ) -> Self {
        let witness = shared.registry(settings::witness);
        // If it cannot be read, that is said when a plan is drawn.
        shared.set_capacity(shared.registry(settings::bounds).ok().and_then(|bounds| bounds.capacity_bytes));
        let stored = clock.monotonic();
        let (boot, is_frozen) = (BootId(boot), witness.now().frozen.is_some());
        let mut keeper = Self {
            clock,
            boot,
            witness,
            stored,
            is_stored: true,
            is_frozen,
            is_pressed: false,
            has_folded: shared.registry(|registry| !registry.dropped.is_empty()),
            planned: None,
            waiting_since: None,
            wanted: 0,
            rounds: Rounds::default(),
            figures,
            refusals,
        };
        keeper.look_at_clocks(shared);
        keeper
    }

    /// Does what is due, for a moment; how long until the next time.
    pub(crate) fn work(&mut self, pool: &mut Pool) -> Duration {
        if pool.is_failed() {
            return WAIT;
        }
        let began = self.clock.monotonic();
        let next = self.step(pool).unwrap_or_else(|cause| {
            error!(%cause, "room cannot be given back at the moment");
            // Another try may use the reserve.
            if cause.kind == ErrorKind::Full { WAIT } else { LOOK_EVERY }
        });
        let share = if self.is_pressed { Share::Whole } else { Share::Quarter };
        let rest = share.rest_after(self.clock.monotonic().saturating_sub(began));
        next.max(rest.min(LOOK_EVERY))
    }

    fn step(&mut self, pool: &mut Pool) -> Result<Duration, ArchiveError> {
        self.look_at_clocks(pool.shared());
        self.confirm_clock(pool)?;
        self.store_witness(pool)?;
        let is_tight = !pool.look_for_room()?;
        if is_tight && !std::mem::replace(&mut self.is_pressed, true) {
            self.planned = None;
        }
        if std::mem::replace(&mut self.wanted, self.refusals.wants()) != self.refusals.wants() {
            self.planned = None;
        }
        if pool.filter_names(NAMES)? == Counted::More {
            return Ok(Duration::ZERO);
        }
        if pool.count(BIRTHS)? == Counted::More {
            return Ok(Duration::ZERO);
        }
        if self.is_due(pool.shared()) && self.fold(pool)? {
            return Ok(Duration::ZERO);
        }
        self.has_folded |= self.refusals.has_left_room();
        if !self.is_pressed && !self.has_folded {
            if pool.place(BIRTHS)? == Counted::More {
                return Ok(Duration::ZERO);
            }
            self.refusals.note_end();
            return Ok(LOOK_EVERY);
        }
        match self.reclaim(pool)? {
            Reclaimed::Bytes { freed, copied } => {
                info!(freed, copied, "room was given back");
                self.waiting_since = None;
                self.planned = None;
                Ok(Duration::ZERO)
            }
            Reclaimed::Counting => Ok(Duration::ZERO),
            // What is left is what backups under way have sent.
            Reclaimed::Waiting if is_tight || self.is_pressed => {
                self.wait(pool, is_tight);
                Ok(if is_tight { WAIT } else { LOOK_EVERY })
            }
            Reclaimed::Waiting | Reclaimed::Nothing => {
                self.waiting_since = None;
                self.refusals.note_end();
                if std::mem::take(&mut self.has_folded) {
                    // Whether there is room for what comes can be told only when all has come back.
                    self.planned = None;
                    return Ok(Duration::ZERO);
                }
                Ok(if is_tight { WAIT_TIGHT } else { LOOK_EVERY })
            }
        }
    }

    /// One step of giving room back; when it is short, less and less has to be of no use in a segment for it to go.
    fn reclaim(&self, pool: &mut Pool) -> Result<Reclaimed, ArchiveError> {
        let effort = Effort { births: BIRTHS, bytes: BYTES };
        let further = if self.is_pressed { THRIFTS_PRESSED.as_slice() } else { &[] };
        let mut outcome = Reclaimed::Nothing;
        for thrift in std::iter::once(&Thrift::DEFAULT).chain(further) {
            match pool.reclaim(*thrift, effort)? {
                Reclaimed::Nothing => {}
                Reclaimed::Waiting => outcome = Reclaimed::Waiting,
                other => return Ok(other),
            }
        }
        Ok(outcome)
    }

    /// Believes the clock again if the operator has said that it is right.
    fn confirm_clock(&mut self, pool: &mut Pool) -> Result<(), ArchiveError> {
        if !pool.shared().registry(|registry| registry.settings.contains_key(CLOCK_CONFIRMED)) {
            return Ok(());
        }
        if self.witness.confirm(self.observation()).is_some() {
            info!("the operator has confirmed the clock; points are folded again");
        }
        self.is_frozen = false;
        self.planned = None;
        pool.set_setting(WITNESS, Some(self.witness.encode()))?;
        Ok(pool.set_setting(CLOCK_CONFIRMED, None)?)
    }

    /// Stores what has been witnessed, before the program ends.
    pub(crate) fn end(&mut self, pool: &mut Pool) {
        self.look_at_clocks(pool.shared());
        if let Err(cause) = pool.set_setting(WITNESS, Some(self.witness.encode())) {
            warn!(cause = %ArchiveError::from(cause), "the witnessed time could not be stored; floors last longer");
        }
    }

    fn observation(&self) -> Observation {
        Observation { wall: self.clock.now(), monotonic: self.clock.monotonic(), boot_id: self.boot }
    }

    fn look_at_clocks(&mut self, shared: &Shared) {
        let verdict = self.witness.observe(self.observation());
        let witnessed = self.witness.now().witnessed.0.as_nanos();
        shared.set_witnessed(u64::try_from(witnessed).unwrap_or(u64::MAX).max(1));
        if let Verdict::Frozen(freeze) = verdict
            && !std::mem::replace(&mut self.is_frozen, true)
        {
            self.is_stored = false;
            error!("{}", freeze.in_words());
        }
    }

    fn store_witness(&mut self, pool: &mut Pool) -> Result<(), ArchiveError> {
        let now = self.clock.monotonic();
        if !self.is_stored || now.saturating_sub(self.stored) >= WITNESS_EVERY {
            (self.stored, self.is_stored) = (now, true);
            pool.set_setting(WITNESS, Some(self.witness.encode()))?;
        }
        Ok(())
    }

    /// Whether a plan is to be drawn: there are other points or settings than the last time, or that was a while ago.
    fn is_due(&self, shared: &Shared) -> bool {
        let digest = shared.registry(settings::digest);
        let long_ago = |at: Duration| self.clock.monotonic().saturating_sub(at) >= LOOK_EVERY;
        self.planned.is_none_or(|(at, then)| digest != then || long_ago(at))
    }

    /// Draws a plan and carries a round of it out; whether anything went.
    fn fold(&mut self, pool: &mut Pool) -> Result<bool, ArchiveError> {
        // The figures are those of the catalog.
        pool.commit(Vec::new())?;
        pool.flush_catalog()?;
        let shared = Arc::clone(pool.shared());
        let (policies, bounds) =
            shared.registry(|registry| (settings::policies(registry), settings::bounds(registry)));
        let (policies, bounds, now) = (policies?, bounds?, self.witness.now());
        shared.set_capacity(bounds.capacity_bytes);
        let mut state = picture(&shared, &self.figures)?;
        let (drives_bytes, wants) = (state.drives_bytes, self.refusals.wants());
        if wants > 0 {
            state.drives_bytes = room_for(bounds.marks(drives_bytes).capacity_bytes, wants, |room| {
                state.drives_bytes = room;
                !retention::plan(&state, &policies, &bounds, &now).folds.is_empty()
            });
        }
        // What is on its way to be given back takes room still.
        self.is_pressed = shared.is_tight() || state.used_bytes > bounds.marks(state.drives_bytes).high_bytes;
        let round = self.rounds.draw(&state, &policies, &bounds, &now);
        let is_last = round.folds.is_empty() && !self.has_folded;
        match (is_last, wants) {
            (true, 0) => self.refuse(&shared, &round.plan),
            (true, _) => {
                state.drives_bytes = drives_bytes;
                self.refuse(&shared, &retention::plan(&state, &policies, &bounds, &now));
            }
            // Whether there is room is told when all that goes has gone.
            (false, _) => self.refusals.replace(BTreeMap::new()),
        }
        let kept =
            |registry: &Registry| round.plan.keeps_in_words(&|source| name_of(registry, source)).join(" ");
        self.refusals.set_kept((is_last && wants > 0).then(|| shared.registry(kept)));
        if round.goes_by_bytes && self.figures.measure(&shared, usize::MAX)? {
            // The next plan goes by what was measured.
            self.planned = None;
            return Ok(true);
        }
        if round.folds.is_empty() {
            self.planned = Some((self.clock.monotonic(), shared.registry(settings::digest)));
            return Ok(false);
        }
        self.carry_out(pool, &round.folds)?;
        self.planned = None;
        Ok(true)
    }

    /// Lets points go.
    fn carry_out(&mut self, pool: &mut Pool, folds: &[Fold]) -> Result<(), ArchiveError> {
        let keys: Vec<PointKey> =
            folds.iter().map(|fold| PointKey { source: fold.source, number: fold.number }).collect();
        pool.drop_points(&keys)?;
        self.refusals.note_folded(keys.len());
        self.has_folded = true;
        for fold in folds {
            let source = pool.shared().registry(|registry| name_of(registry, fold.source));
            info!(source, point = fold.number, reason = reason(fold.reason), "a point was folded");
        }
        Ok(())
    }

    /// Says from whom nothing more is taken.
    fn refuse(&self, shared: &Shared, plan: &Plan) {
        let sentences: BTreeMap<SourceId, String> = shared.registry(|registry| {
            let names = |source| name_of(registry, source);
            let refusal = |source: &SourceId| {
                let shortfall = plan.refusal(*source)?;
                Some((*source, shortfall.in_words(&names)))
            };
            registry.sources.keys().filter_map(refusal).collect()
        });
        for (source, sentence) in &sentences {
            let source = shared.registry(|registry| name_of(registry, *source));
            warn!(source, "nothing more is taken: {sentence}");
        }
        self.refusals.replace(sentences);
    }

    /// Backups hold room up; not for ever.
    fn wait(&mut self, pool: &mut Pool, is_tight: bool) {
        let now = self.clock.monotonic();
        let (since, next) = *self.waiting_since.get_or_insert_with(|| (now, pool.next_session()));
        // Where it is tight they wait themselves, for this.
        let limit = if is_tight { Duration::ZERO } else { HOLD_UP_MAX };
        if now.saturating_sub(since) >= limit {
            let count = pool.fence_sessions(next);
            warn!(count, "backups that were under way for too long have to begin again: they held up room");
            self.waiting_since = None;
        }
    }
}

/// The room that there is to be where backups did not fit although all was well, so many times: by a share of the capacity
/// less for each time, or by the least share from there on that is enough for a point to go.
fn room_for(capacity_bytes: u64, wants: u64, mut is_enough: impl FnMut(u64) -> bool) -> u64 {
    let room = |share| capacity_bytes.saturating_sub(capacity_bytes / WANT_SHARE * share);
    let mut rooms = (wants.min(WANT_SHARE)..=WANT_SHARE).map(room);
    rooms.find(|room| is_enough(*room)).unwrap_or_else(|| room(WANT_SHARE))
}

#[cfg(test)]
mod tests;

//! What bounds a pool, as steps of a history: points are dropped, references counted, room given back, while backups
//! and readers go on.

use std::sync::Arc;

use model::archive::PointKey;
use pool::{Counted, Effort, Lease, Pool, Reclaimed, ScrubEffort, ScrubStep, Thrift};

use crate::activity::Activity;
use crate::bays::failed;
use crate::history::{Failure, History};
use crate::oracle::{Intent, Kept};

/// Points that are read at once.
const READERS_MAX: usize = 3;

/// Somebody who has a point open.
pub(crate) struct Reader {
    pub(crate) kept: Kept,
    _lease: Lease,
}

/// Nothing was found, now or before.
fn no_damage(pool: &Pool, step: &ScrubStep, is_rotten: bool) -> Result<(), Failure> {
    let status = pool.shared().scrub_status();
    match step.damage.first() {
        Some(line) => Err(Failure::Breach(format!("the scrub speaks of damage: {line}"))),
        None if step.mended > 0 && !is_rotten => {
            Err(Failure::Breach("copies differ that nothing has damaged".into()))
        }
        None if (status.damaged, status.damaged_points) == (0, 0) => Ok(()),
        None => Err(Failure::Breach(format!("something counts as damaged: {status:?}"))),
    }
}

/// A round of the scrub from its beginning, or from where it is, to its end.
pub(crate) fn scrub_round(pool: &Pool, is_rotten: bool) -> Result<(), Failure> {
    loop {
        let step = pool.shared().scrub(ScrubEffort::default()).map_err(Failure::from)?;
        no_damage(pool, &step, is_rotten)?;
        if step.is_done {
            return Ok(());
        }
    }
}

impl History {
    /// Counts on for a while.
    pub(crate) fn count(&mut self) -> Result<(), Failure> {
        self.activity = Activity::Fold;
        let births = [1, 10, 1000][self.random.index(3)];
        self.pool()?.filter_names(births).map_err(Failure::from)?;
        self.pool()?.count(births).map_err(Failure::from)?;
        Ok(())
    }

    /// Drops some points, apart from the newest of each source.
    pub(crate) fn drop_points(&mut self) -> Result<(), Failure> {
        let newest = self.oracle.points.keys().map(|key| (key.source, key.number));
        let newest: std::collections::BTreeMap<_, _> = newest.collect();
        let older = self.oracle.points.keys().filter(|key| newest.get(&key.source) != Some(&key.number));
        let older: Vec<PointKey> = older.copied().collect();
        if older.is_empty() {
            return Ok(());
        }
        let chance = [20, 50, 100][self.random.index(3)];
        // Those that somebody reads above all.
        let read: Vec<PointKey> = self.readers.iter().map(|reader| reader.kept.point.key()).collect();
        let chance_of = |key: &PointKey| if read.contains(key) { chance.max(60) } else { chance };
        let chosen: Vec<PointKey> =
            older.into_iter().filter(|key| self.random.chance(chance_of(key))).collect();
        self.activity = Activity::Fold;
        while self.pool()?.count(1000).map_err(Failure::from)? == Counted::More {}
        self.oracle.intent = Some(Intent::Drop(chosen.clone()));
        self.pool()?.drop_points(&chosen).map_err(Failure::from)?;
        self.oracle.intent = None;
        chosen.iter().for_each(|key| drop(self.oracle.points.remove(key)));
        self.counts.dropped += chosen.len() as u64;
        Ok(())
    }

    /// One step of giving back room; sometimes the backups for which the rest stays are fenced off.
    pub(crate) fn reclaim(&mut self) -> Result<(), Failure> {
        let thrift = [Thrift(1), Thrift::DEFAULT][self.random.index(2)];
        let effort = Effort { births: 1000, bytes: [1, 1 << 20][self.random.index(2)] };
        let before = self.pool()?.copied_bytes();
        self.activity = Activity::Reclaim;
        let reclaimed = self.pool()?.reclaim(thrift, effort);
        if self.pool()?.copied_bytes() > before {
            self.activity = Activity::Compaction;
        }
        match reclaimed.map_err(Failure::from)? {
            Reclaimed::Bytes { freed, .. } => self.counts.freed += freed,
            Reclaimed::Waiting if self.random.chance(20) => {
                self.pool()?.fence_sessions(u64::MAX);
            }
            _ => {}
        }
        Ok(())
    }

    /// Somebody opens a point, or closes one.
    pub(crate) fn read_on(&mut self) -> Result<(), Failure> {
        if self.readers.len() >= READERS_MAX || self.random.chance(40) {
            let at = self.random.index(self.readers.len());
            if at < self.readers.len() {
                let reader = self.readers.swap_remove(at);
                return self.read_to_the_end(&reader);
            }
            return Ok(());
        }
        let all: Vec<Kept> = self.oracle.points.values().cloned().collect();
        let Some(kept) = all.get(self.random.index(all.len())).cloned() else { return Ok(()) };
        let lease = self.pool()?.shared().lease(kept.point.key()).map_err(Failure::from)?;
        self.readers.push(Reader { kept, _lease: lease });
        Ok(())
    }

    /// Whoever has a point open reads all of it, whatever became of it meanwhile.
    fn read_to_the_end(&mut self, reader: &Reader) -> Result<(), Failure> {
        if self.is_faulty || self.host.bays.has_crashed() {
            return Ok(());
        }
        let pool = self.pool.as_ref().ok_or_else(|| Failure::Breach("the pool is not open".into()))?;
        let read = self.oracle.check_readers(pool, std::iter::once(&reader.kept));
        read.map_err(Failure::Breach)
    }

    /// Some steps of the scrub, which finds no damage, whatever crashed, failed or went meanwhile.
    pub(crate) fn scrub(&mut self) -> Result<(), Failure> {
        self.activity = Activity::Scrub;
        let bytes = [1, 1 << 10, 1 << 20][self.random.index(3)];
        let effort = ScrubEffort { bytes, entries: [1, 1000][self.random.index(2)] };
        for _ in 0..=self.random.below(12) {
            let step = self.pool()?.shared().scrub(effort).map_err(Failure::from)?;
            self.counts.scrubbed += step.bytes;
            self.counts.rounds += u64::from(step.is_done);
            no_damage(self.pool()?, &step, false)?;
        }
        if let Some(set) = self.host.bays.set() {
            let check = set
                .check_parity(1 + self.random.below(1 << 20))
                .map_err(|error| Failure::Operating(failed(&error)))?;
            if check.mended > 0 && !self.is_faulty {
                return Err(Failure::Breach(format!("parity is damaged where nothing is: {check:?}")));
            }
        }
        if self.random.chance(8) {
            // How far it came is all that it writes.
            self.host.bays.cut_within(self.random.below(12));
        }
        self.pool()?.commit(Vec::new()).map_err(Failure::from)?;
        self.pool()?.flush_catalog().map_err(Failure::from)?;
        let is_noted = self.pool()?.note_damage().map_err(Failure::from)?;
        if is_noted { Err(Failure::Breach("damage is noted where there is none".into())) } else { Ok(()) }
    }

    /// A bit of a copy turns.
    pub(crate) fn rot(&mut self) -> Result<(), Failure> {
        let shared = Arc::clone(self.pool()?.shared());
        if !self.is_faulty {
            self.host.bays.rot(&mut self.random, &|segment| shared.is_sealed(segment));
        }
        Ok(())
    }

    /// Two rounds of the scrub, the second one from its beginning: the copy that is bad is mended, wherever the power goes.
    pub(crate) fn mend_rot(&mut self) -> Result<(), Failure> {
        self.activity = Activity::Mending;
        let effort = ScrubEffort { bytes: [1, 1 << 10, 1 << 20][self.random.index(3)], entries: 1000 };
        if self.random.chance(60) {
            // Few changes are made here.
            self.host.bays.cut_within(self.random.below(8));
        }
        let mut rounds = 0;
        while rounds < 2 {
            let step = self.pool()?.shared().scrub(effort).map_err(Failure::from)?;
            if let Some(line) = step.damage.first() {
                return Err(Failure::Breach(format!("one bad copy counts as damage: {line}")));
            }
            rounds += u64::from(step.is_done);
            self.counts.mended += step.mended;
        }
        if self.host.bays.has_crashed() {
            return Ok(());
        }
        let dump = self.pool()?.shared().dump().map_err(Failure::from)?;
        self.host.bays.end_rot(&|segment| dump.mark.length_of(segment)).map_err(Failure::Breach)
    }

    /// Counts everything anew.
    pub(crate) fn audit(&mut self) -> Result<(), Failure> {
        let audit = self.pool()?.audit().map_err(Failure::from)?;
        audit.wrong.into_iter().next().map_or(Ok(()), |wrong| Err(Failure::Breach(wrong)))
    }
}

//! What bounds a pool, as steps of a history: points are dropped, references counted, room given back, while backups
//! and readers go on.

use model::archive::PointKey;
use pool::{Counted, Effort, Lease, Reclaimed, Thrift};

use crate::history::{Failure, History};
use crate::oracle::{Intent, Kept};

/// Points that are read at once.
const READERS_MAX: usize = 3;

/// Somebody who has a point open.
pub(crate) struct Reader {
    pub(crate) kept: Kept,
    _lease: Lease,
}

impl History {
    /// Counts on for a while.
    pub(crate) fn count(&mut self) -> Result<(), Failure> {
        let births = [1, 10, 1000][self.random.index(3)];
        self.pool()?.count(births).map_err(Failure::from)?;
        Ok(())
    }

    /// Drops some points of a source, apart from the newest.
    pub(crate) fn drop_points(&mut self) -> Result<(), Failure> {
        let newest = self.oracle.points.keys().map(|key| (key.source, key.number));
        let newest: std::collections::BTreeMap<_, _> = newest.collect();
        let older = self.oracle.points.keys().filter(|key| newest.get(&key.source) != Some(&key.number));
        let older: Vec<PointKey> = older.copied().collect();
        if older.is_empty() {
            return Ok(());
        }
        let chance = [20, 50, 100][self.random.index(3)];
        let chosen: Vec<PointKey> = older.into_iter().filter(|_| self.random.chance(chance)).collect();
        while self.pool()?.count(1000).map_err(Failure::from)? == Counted::More {}
        self.oracle.intent = Some(Intent::Drop(chosen.clone()));
        self.pool()?.drop_points(&chosen).map_err(Failure::from)?;
        self.oracle.intent = None;
        chosen.iter().for_each(|key| drop(self.oracle.points.remove(key)));
        self.counts.dropped += chosen.len() as u64;
        Ok(())
    }

    /// One step of giving back room; sometimes the backups that it waits for are fenced off.
    pub(crate) fn reclaim(&mut self) -> Result<(), Failure> {
        let thrift = [Thrift(1), Thrift::DEFAULT][self.random.index(2)];
        let effort = Effort { births: 1000, bytes: [1, 1 << 20][self.random.index(2)] };
        match self.pool()?.reclaim(thrift, effort).map_err(Failure::from)? {
            Reclaimed::Bytes { freed, .. } => self.counts.freed += freed,
            Reclaimed::Waiting if self.random.chance(20) => {
                self.pool()?.fence_sessions();
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
                self.readers.swap_remove(at);
            }
            return Ok(());
        }
        let all: Vec<Kept> = self.oracle.points.values().cloned().collect();
        let Some(kept) = all.get(self.random.index(all.len())).cloned() else { return Ok(()) };
        let lease = self.pool()?.shared().lease(kept.point.key()).map_err(Failure::from)?;
        self.readers.push(Reader { kept, _lease: lease });
        Ok(())
    }

    /// Counts everything anew.
    pub(crate) fn audit(&mut self) -> Result<(), Failure> {
        let audit = self.pool()?.audit().map_err(Failure::from)?;
        audit.wrong.into_iter().next().map_or(Ok(()), |wrong| Err(Failure::Breach(wrong)))
    }
}

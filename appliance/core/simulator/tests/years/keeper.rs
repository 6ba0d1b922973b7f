//! The keeper of the appliance in small: counts, plans, folds a round at a time, and gives room back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::archive::PointKey;
use pool::{Counted, Effort, Pool, PoolError, Reclaimed, Thrift};
use retention::{
    Completeness, FoldReason, Holds, Now, Plan, PointState, Policies, PoolBounds, Round, Rounds, SourceState,
    State, Witnessed,
};

/// What is worth giving back when room is short.
const THRIFTS_PRESSED: [Thrift; 4] = [Thrift::DEFAULT, Thrift(250), Thrift(125), Thrift(50)];

/// The points before and behind a point.
type Neighbours = (Option<u64>, Option<u64>);

/// What keeps a pool within its bounds.
pub(crate) struct Keeper {
    pub(crate) policies: Policies,
    pub(crate) bounds: PoolBounds,
    rounds: Rounds,
    measured: BTreeMap<PointKey, (Neighbours, u64)>,
}

/// What was done in one go.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    /// Points that went.
    pub(crate) folded: u64,
    /// Some of them went for room of the pool.
    pub(crate) was_pressed: bool,
    /// Some of them went for a quota.
    pub(crate) was_over_quota: bool,
}

impl Keeper {
    pub(crate) fn new(policies: Policies, bounds: PoolBounds) -> Self {
        Self { policies, bounds, rounds: Rounds::default(), measured: BTreeMap::new() }
    }

    /// Counts and plans and folds and gives back until nothing is left to do.
    pub(crate) fn work(
        &mut self,
        pool: &mut Pool,
        now: Witnessed,
        done: &mut Done,
    ) -> Result<Plan, PoolError> {
        loop {
            let Round { plan, folds: round, .. } = self.draw(pool, now)?;
            let keys: Vec<PointKey> =
                round.iter().map(|fold| PointKey { source: fold.source, number: fold.number }).collect();
            if !keys.is_empty() {
                pool.drop_points(&keys)?;
                done.folded += keys.len() as u64;
                done.was_pressed |= round.iter().any(|fold| fold.reason == FoldReason::Pressure);
                done.was_over_quota |=
                    round.iter().any(|fold| matches!(fold.reason, FoldReason::Quota { .. }));
                continue;
            }
            if !self.give_back(pool)? {
                return Ok(plan);
            }
        }
    }

    fn draw(&mut self, pool: &mut Pool, now: Witnessed) -> Result<Round, PoolError> {
        while pool.count(10_000)? == Counted::More {}
        pool.commit(Vec::new())?;
        pool.flush_catalog()?;
        let now = Now { witnessed: now, frozen: None };
        let round = self.rounds.draw(&self.picture(pool)?, &self.policies, &self.bounds, &now);
        if !round.goes_by_bytes || !self.measure(pool, usize::MAX)? {
            return Ok(round);
        }
        Ok(self.rounds.draw(&self.picture(pool)?, &self.policies, &self.bounds, &now))
    }

    /// Gives room back once; whether any came.
    fn give_back(&self, pool: &mut Pool) -> Result<bool, PoolError> {
        let state = self.picture(pool)?;
        let is_pressed = state.used_bytes > self.bounds.marks(state.drives_bytes).high_bytes;
        let thrifts = if is_pressed { &THRIFTS_PRESSED[..] } else { &THRIFTS_PRESSED[..1] };
        for thrift in thrifts {
            if let Reclaimed::Bytes { .. } = pool.reclaim(*thrift, Effort::default())? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The pool as retention looks at it; of segments, those with data.
    pub(crate) fn picture(&self, pool: &Pool) -> Result<State, PoolError> {
        let shared = pool.shared();
        let (usage, used) = (shared.usage()?, shared.sources_in_use()?);
        let sources = shared.registry(|registry| {
            let state = |point: &Arc<model::record::Point>| PointState {
                number: point.number,
                received: point.received,
                witnessed: Witnessed(Duration::from_nanos(point.witnessed.unwrap_or(0))),
                completeness: Completeness::Complete,
                holds: Holds::default(),
                own_bytes: self.measured.get(&point.key()).map(|measured| measured.1),
            };
            let of = |source: &model::SourceId| {
                let own_bytes = used.get(source).map_or(0, |used| used.own_bytes);
                (*source, SourceState::new(own_bytes, registry.points_of(*source).map(state).collect()))
            };
            registry.sources.keys().map(of).collect()
        });
        Ok(State {
            sources,
            used_bytes: usage.data_bytes,
            reclaimable_bytes: usage.reclaimable_bytes,
            drives_bytes: u64::MAX,
        })
    }

    /// Measures the points whose neighbours are others, of the last `recent` of each source. Whether there were any.
    pub(crate) fn measure(&mut self, pool: &Pool, recent: usize) -> Result<bool, PoolError> {
        let shared = pool.shared();
        let wanted: Vec<(PointKey, Neighbours)> = shared.registry(|registry| {
            self.measured.retain(|key, _| registry.points.contains_key(&(key.source, key.number)));
            let mut wanted = Vec::new();
            for source in registry.sources.keys() {
                let row: Vec<u64> = registry.points_of(*source).map(|point| point.number).collect();
                let at = |at: usize| row.get(at).copied();
                let older = row.len().saturating_sub(1);
                for (place, number) in row.iter().enumerate().take(older).skip(older.saturating_sub(recent)) {
                    let neighbours = (place.checked_sub(1).and_then(at), at(place + 1));
                    let key = PointKey { source: *source, number: *number };
                    if self.measured.get(&key).is_none_or(|known| known.0 != neighbours) {
                        wanted.push((key, neighbours));
                    }
                }
            }
            wanted
        });
        for (key, neighbours) in &wanted {
            if let Some(bytes) = shared.own_bytes(*key)? {
                self.measured.insert(*key, (*neighbours, bytes));
            }
        }
        Ok(!wanted.is_empty())
    }
}

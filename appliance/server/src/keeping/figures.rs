//! What points hold alone, as measured: kept by the keeper, and looked at by whoever draws a plan or a forecast.
//!
//! A measure counts as long as the neighbours of its point are the same. Losing all of them costs measuring again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::archive::{ArchiveError, PointKey};
use pool::Shared;

/// Most points that are measured at a time.
const MEASURED_AT_A_TIME: usize = 64;
/// Most steps of measuring that somebody waits for.
const STEPS_MAX: usize = 32;

/// What a point holds alone, between the neighbours that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Measure {
    neighbours: Neighbours,
    bytes: u64,
}

/// The points before and behind a point.
type Neighbours = (Option<u64>, Option<u64>);

/// What was measured of points.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    measured: Mutex<BTreeMap<PointKey, Measure>>,
}

impl Figures {
    fn measured(&self) -> MutexGuard<'_, BTreeMap<PointKey, Measure>> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What points hold alone, of those that were measured.
    pub(super) fn own_bytes(&self) -> BTreeMap<PointKey, u64> {
        self.measured().iter().map(|(key, measure)| (*key, measure.bytes)).collect()
    }

    /// Measures as many points of the last `recent` of each source as somebody can wait for.
    pub(super) fn measure_some(&self, shared: &Arc<Shared>, recent: usize) -> Result<(), ArchiveError> {
        for _ in 0..STEPS_MAX {
            if !self.measure(shared, recent)? {
                break;
            }
        }
        Ok(())
    }

    /// Measures points that are not measured between the neighbours that they have, of the last `recent` of each source;
    /// a few at a time. Whether there were any.
    pub(super) fn measure(&self, shared: &Arc<Shared>, recent: usize) -> Result<bool, ArchiveError> {
        if !shared.is_counted() {
            // What is not counted yet would look as if it was held by fewer than it is.
            return Ok(false);
        }
        let mut wanted = Vec::new();
        shared.registry(|registry| {
            let mut measured = self.measured();
            measured.retain(|key, _| registry.points.contains_key(&(key.source, key.number)));
            for source in registry.sources.keys() {
                let row: Vec<u64> = registry.points_of(*source).map(|point| point.number).collect();
                let at = |at: usize| row.get(at).copied();
                let older = row.len().saturating_sub(1);
                for (place, number) in row.iter().enumerate().take(older).skip(older.saturating_sub(recent)) {
                    let key = PointKey { source: *source, number: *number };
                    let neighbours = (place.checked_sub(1).and_then(at), at(place + 1));
                    if measured.get(&key).is_none_or(|known| known.neighbours != neighbours) {
                        wanted.push((key, neighbours));
                    }
                }
            }
        });
        wanted.truncate(MEASURED_AT_A_TIME);
        for (key, neighbours) in &wanted {
            if let Some(bytes) = shared.own_bytes(*key)? {
                self.measured().insert(*key, Measure { neighbours: *neighbours, bytes });
            }
        }
        Ok(!wanted.is_empty())
    }
}

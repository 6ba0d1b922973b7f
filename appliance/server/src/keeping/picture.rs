//! The pool as retention looks at it.

use std::collections::BTreeMap;
use std::time::Duration;

use model::archive::{ArchiveError, PointKey};
use pool::Shared;
use retention::{Completeness, Holds, PointState, SourceState, State, Witnessed};

use super::settings;

/// What a point holds alone, as long as its neighbours are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Measure {
    pub(super) before: Option<u64>,
    pub(super) after: Option<u64>,
    pub(super) bytes: u64,
}

/// What was measured of points.
pub(super) type Measured = BTreeMap<PointKey, Measure>;

/// Every source with its points, and what they take. What points hold is known of those that were measured.
pub(super) fn picture(shared: &Shared, measured: &Measured) -> Result<State, ArchiveError> {
    let usage = shared.usage()?;
    let sources = shared.registry(|registry| {
        let holds = settings::holds(registry);
        let points = |source| {
            let state = |point: &std::sync::Arc<model::record::Point>| PointState {
                number: point.number,
                received: point.received,
                witnessed: Witnessed(Duration::from_nanos(point.witnessed.unwrap_or(0))),
                completeness: Completeness::Complete,
                holds: Holds {
                    leased: shared.is_read(point.key()),
                    ..holds.get(&(source, point.number)).copied().unwrap_or_default()
                },
                own_bytes: measured.get(&point.key()).map(|one| one.bytes),
            };
            registry.points_of(source).map(state).collect::<Vec<_>>()
        };
        registry.sources.keys().map(|source| (*source, SourceState::new(0, points(*source)))).collect()
    });
    Ok(State {
        sources,
        used_bytes: usage.segment_bytes,
        reclaimable_bytes: usage.reclaimable_bytes,
        drives_bytes: usage.segment_bytes.saturating_add(usage.available_bytes),
    })
}

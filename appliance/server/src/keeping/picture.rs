//! The pool as retention looks at it.

use std::time::Duration;

use model::SourceId;
use model::archive::ArchiveError;
use pool::Shared;
use retention::{Completeness, Holds, PointState, SourceState, State, Witnessed};

use super::figures::Figures;
use super::settings;

/// Every source with its points, and what it holds alone. What points hold is known of those that were measured.
pub(super) fn picture(shared: &Shared, figures: &Figures) -> Result<State, ArchiveError> {
    let (usage, used, own_bytes) = (shared.usage()?, shared.sources_in_use()?, figures.own_bytes());
    let damaged = shared.damaged_points();
    let sources = shared.registry(|registry| {
        let holds = settings::holds(registry);
        let points = |source| {
            let state = |point: &std::sync::Arc<model::record::Point>| PointState {
                number: point.number,
                received: point.received,
                witnessed: Witnessed(Duration::from_nanos(point.witnessed.unwrap_or(0))),
                completeness: match damaged.contains_key(&point.key()) {
                    true => Completeness::Partial,
                    false => Completeness::Complete,
                },
                holds: Holds {
                    leased: shared.is_read(point.key()),
                    ..holds.get(&(source, point.number)).copied().unwrap_or_default()
                },
                own_bytes: own_bytes.get(&point.key()).copied(),
            };
            registry.points_of(source).map(state).collect::<Vec<_>>()
        };
        let used = |source: &SourceId| used.get(source).map_or(0, |used| used.own_bytes);
        let of = |source: &SourceId| (*source, SourceState::new(used(source), points(*source)));
        registry.sources.keys().map(of).collect()
    });
    Ok(State {
        sources,
        used_bytes: usage.segment_bytes,
        reclaimable_bytes: usage.reclaimable_bytes,
        drives_bytes: usage.segment_bytes.saturating_add(usage.available_bytes),
    })
}

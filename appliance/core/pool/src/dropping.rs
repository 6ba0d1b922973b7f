//! Dropping points from history: the synthetic full.
//!
//! Every point is complete in itself, so to drop one is a record, whatever it holds; what only it held is counted out
//! and given back afterwards. The newest point of a source is never dropped.

use model::archive::PointKey;

use crate::PoolError;
use crate::notes::without_note;
use crate::pool::Pool;
use crate::record::Record;

impl Pool {
    /// Drops points; durable when this returns. All of them, or none: whoever reads one goes on reading it.
    ///
    /// # Errors
    /// A point that there is not, the newest of its source, or one that is not counted yet.
    pub fn drop_points(&mut self, points: &[PointKey]) -> Result<(), PoolError> {
        {
            let state = self.shared().state();
            for key in points {
                let (source, number) = (key.source, key.number);
                let newest = state.registry.points_of(source).next_back().map(|point| point.number);
                if !state.registry.points.contains_key(&(source, number)) {
                    return Err(PoolError::Missing(format!("point {number} of source {source}")));
                }
                if newest == Some(number) {
                    let what = format!("point {number} of source {source} is its newest; it is kept");
                    return Err(PoolError::Refused(what));
                }
                if !state.counted.contains(key) {
                    return Err(PoolError::Uncounted { source_id: source, number });
                }
            }
        }
        let dropped = |key: &PointKey| Record::Dropped { source: key.source, number: key.number };
        let without_note = self.shared().registry(|registry| {
            points.iter().filter_map(|key| without_note(registry, *key)).collect::<Vec<_>>()
        });
        self.commit(points.iter().map(dropped).chain(without_note).collect())
    }
}

//! What sources hold alone, and how they grew: the table `sources`.
//!
//! What a source holds alone follows from the trees, like references do. How it grew is measured when a point is
//! counted, and is not in the trees: points that went took their part of it along. A catalog that is made anew has
//! measured the points that there are.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use model::SourceId;
use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::{Catalog, failed};
use crate::PoolError;

const SOURCES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("sources");

/// Most measures that are kept of a source.
const MEASURES_MAX: usize = 160;
/// Measures are so far apart, in nanoseconds of witnessed time; of those between the last one counts.
const SPACING: u64 = 6 * 3_600_000_000_000;

/// A source in figures: what it holds alone, and how it grew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct SourceUse {
    /// Bytes of chunks that nothing but this source holds, before compression: what would come back if it went.
    #[n(0)]
    pub own_bytes: u64,
    /// What it has brought so far.
    #[n(1)]
    pub grown: Growth,
    /// The same at earlier moments, oldest first.
    #[n(2)]
    pub measures: Vec<Growth>,
}

/// What a source had brought at a moment, in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Growth {
    /// When the last point was received, in nanoseconds of witnessed time.
    #[n(0)]
    pub witnessed: u64,
    /// Points that were counted.
    #[n(1)]
    pub points: u64,
    /// Bytes of chunks that nobody held before.
    #[n(2)]
    pub born_bytes: u64,
    /// Bytes of files that points have and the points before them have not.
    #[n(3)]
    pub written_bytes: u64,
    /// Bytes of files that points have not and the points before them have.
    #[n(4)]
    pub removed_bytes: u64,
}

/// What one point brought, as it was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) source: SourceId,
    pub(crate) witnessed: u64,
    pub(crate) written_bytes: u64,
    pub(crate) removed_bytes: u64,
}

/// What changes of a source in one transaction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Change {
    /// What it holds alone.
    pub(super) own_bytes: i64,
    /// What it holds alone and nobody held before.
    pub(super) born_bytes: u64,
}

impl SourceUse {
    /// Takes in what was born and which points were counted meanwhile; those share it by what they have written.
    fn grow(&mut self, mut born_bytes: u64, steps: &[Step]) {
        let mut written: u64 = steps.iter().map(|step| step.written_bytes).sum();
        for (at, step) in steps.iter().enumerate() {
            let share = u128::from(born_bytes) * u128::from(step.written_bytes);
            let share = share.checked_div(u128::from(written)).unwrap_or(0);
            let share = if at + 1 == steps.len() { born_bytes } else { u64::try_from(share).unwrap_or(0) };
            (born_bytes, written) = (born_bytes - share, written - step.written_bytes);
            let Growth { witnessed, points, born_bytes, written_bytes, removed_bytes } = self.grown;
            self.grown = Growth {
                witnessed: witnessed.max(step.witnessed),
                points: points + 1,
                born_bytes: born_bytes.saturating_add(share),
                written_bytes: written_bytes.saturating_add(step.written_bytes),
                removed_bytes: removed_bytes.saturating_add(step.removed_bytes),
            };
            self.remember(step.witnessed);
        }
        self.grown.born_bytes = self.grown.born_bytes.saturating_add(born_bytes);
    }

    /// Keeps what there is as a measure, unless it is of an unknown moment.
    fn remember(&mut self, witnessed: u64) {
        if witnessed == 0 || self.measures.last().is_some_and(|last| witnessed < last.witnessed) {
            return;
        }
        let before = self.measures.len().checked_sub(2).and_then(|at| self.measures.get(at));
        if before.is_some_and(|before| witnessed <= before.witnessed.saturating_add(SPACING)) {
            self.measures.pop();
        }
        if self.measures.len() >= MEASURES_MAX {
            self.measures.remove(0);
        }
        self.measures.push(self.grown);
    }
}

/// Takes in what changed.
pub(super) fn write(
    write: &WriteTransaction,
    changes: &BTreeMap<SourceId, Change>,
    steps: &[Step],
) -> Result<(), PoolError> {
    let mut table = write.open_table(SOURCES).map_err(failed("open sources"))?;
    let mut by_source: BTreeMap<SourceId, Vec<Step>> = BTreeMap::new();
    for step in steps {
        by_source.entry(step.source).or_default().push(*step);
    }
    let sources: std::collections::BTreeSet<SourceId> =
        changes.keys().chain(by_source.keys()).copied().collect();
    for source in sources {
        let known = table.get(source.0).map_err(failed("read sources"))?;
        let known = known.map(|value| decode(value.value())).transpose()?;
        let mut used = known.unwrap_or_default();
        let change = changes.get(&source).copied().unwrap_or_default();
        let own_bytes = used.own_bytes.checked_add_signed(change.own_bytes);
        used.own_bytes = own_bytes.ok_or(PoolError::CatalogValue("its sources"))?;
        used.grow(change.born_bytes, by_source.get(&source).map_or(&[], Vec::as_slice));
        let value = minicbor::to_vec(&used).map_err(|_| PoolError::CatalogValue("its sources"))?;
        table.insert(source.0, value.as_slice()).map_err(failed("insert sources"))?;
    }
    Ok(())
}

fn decode(bytes: &[u8]) -> Result<SourceUse, PoolError> {
    minicbor::decode(bytes).map_err(|_| PoolError::CatalogValue("its sources"))
}

impl Catalog {
    /// What sources hold alone, and how they grew.
    pub fn sources(&self) -> Result<BTreeMap<SourceId, SourceUse>, PoolError> {
        self.read("its sources", |read| {
            let table = read.open_table(SOURCES).map_err(failed("read sources"))?;
            let mut all = BTreeMap::new();
            for entry in table.iter().map_err(failed("read sources"))? {
                let (source, value) = entry.map_err(failed("read sources"))?;
                all.insert(SourceId(source.value()), decode(value.value())?);
            }
            Ok(all)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000_000_000;

    fn step(witnessed: u64, written_bytes: u64) -> Step {
        Step { source: SourceId(1), witnessed, written_bytes, removed_bytes: 1 }
    }

    #[test]
    fn points_share_what_was_born_by_what_they_wrote() {
        let mut used = SourceUse::default();
        used.grow(100, &[step(HOUR, 30), step(2 * HOUR, 10), step(3 * HOUR, 0)]);
        let born: Vec<u64> = used.measures.iter().map(|measure| measure.born_bytes).collect();
        assert_eq!((born, used.grown.points), (vec![75, 100], 3), "the one between is too close");
        // A part of a point that is not counted to its end yet.
        used.grow(7, &[]);
        assert_eq!((used.grown.born_bytes, used.measures.len()), (107, 2));
        used.grow(0, &[step(4 * HOUR, 0)]);
        assert_eq!(used.grown.born_bytes, 107);
    }

    #[test]
    fn measures_are_apart_and_bounded_and_the_last_one_is_there() {
        let mut used = SourceUse::default();
        for hour in 1..5000 {
            used.grow(1, &[step(hour * HOUR, 1)]);
            assert_eq!(used.measures.last().unwrap().witnessed, hour * HOUR);
        }
        let gaps = used.measures.windows(2).map(|pair| (pair[1].witnessed - pair[0].witnessed) / HOUR);
        let gaps: Vec<u64> = gaps.collect();
        assert_eq!(used.measures.len(), MEASURES_MAX);
        assert!(gaps[..gaps.len() - 1].iter().all(|gap| (6..=7).contains(gap)), "{gaps:?}");
        used.grow(1, &[step(HOUR, 1), step(0, 1)]);
        assert_eq!(used.measures.last().unwrap().witnessed, 4999 * HOUR, "no step back");
    }
}

//! The records of a pool in memory: machines, sources, points and settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::record::{Label, Machine, Point, Source};
use model::{MachineId, SourceId};

use crate::PoolError;
use crate::catalog::Change;
use crate::keys::PoolKeys;
use crate::record::Record;

/// What the records say, up to the last commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    /// Machines.
    pub machines: BTreeMap<MachineId, Machine>,
    /// Sources.
    pub sources: BTreeMap<SourceId, Source>,
    /// Points without their exceptions, by source and number.
    pub points: BTreeMap<(SourceId, u64), Arc<Point>>,
    /// Points that were taken out of history and are not counted out yet, in the same way.
    pub dropped: BTreeMap<(SourceId, u64), Arc<Point>>,
    /// The highest number that a point of each source is known to have had, also if its record is lost.
    pub numbers: BTreeMap<SourceId, u64>,
    /// Settings.
    pub settings: BTreeMap<String, Vec<u8>>,
}

impl Registry {
    /// Takes a record in.
    pub fn apply(&mut self, record: &Record) {
        if let Some((source, number)) = match record {
            Record::Point(point) => Some((point.source, point.number)),
            Record::Dropped { source, number } => Some((*source, *number)),
            _ => None,
        } {
            let highest = self.numbers.entry(source).or_default();
            *highest = number.max(*highest);
        }
        match record {
            Record::Machine(machine) => {
                self.machines.insert(machine.id, machine.clone());
            }
            Record::Source(source) => {
                self.sources.insert(source.id, source.clone());
            }
            Record::Point(point) => {
                let mut point = (**point).clone();
                point.exceptions = Vec::new();
                self.points.insert((point.source, point.number), Arc::new(point));
            }
            Record::Setting { key, value: Some(value) } => {
                self.settings.insert(key.clone(), value.clone());
            }
            Record::Setting { key, value: None } => {
                self.settings.remove(key);
            }
            Record::Dropped { source, number } => {
                let key = (*source, *number);
                self.dropped.extend(self.points.remove(&key).map(|point| (key, point)));
            }
            Record::Adopted { .. } | Record::Removed { .. } | Record::Disowned { .. } => {}
        }
    }

    /// A machine by its name.
    #[must_use]
    pub fn machine(&self, label: &Label) -> Option<&Machine> {
        self.machines.values().find(|m| m.label == *label)
    }

    /// A source by its machine and name.
    #[must_use]
    pub fn source(&self, machine: MachineId, label: &Label) -> Option<&Source> {
        self.sources.values().find(|s| s.machine == machine && s.label == *label)
    }

    /// A source by the names of its machine and of itself.
    #[must_use]
    pub fn source_named(&self, machine: &Label, source: &Label) -> Option<&Source> {
        self.source(self.machine(machine)?.id, source)
    }

    /// A point, also if it was taken out of history and is not counted out yet.
    #[must_use]
    pub fn readable(&self, source: SourceId, number: u64) -> Option<&Arc<Point>> {
        let key = (source, number);
        self.points.get(&key).or_else(|| self.dropped.get(&key))
    }

    /// The points of a source, oldest first.
    pub fn points_of(&self, source: SourceId) -> impl DoubleEndedIterator<Item = &Arc<Point>> {
        self.points.range((source, 0)..=(source, u64::MAX)).map(|(_, point)| point)
    }

    /// The number for the next point of a source: that of no point before, and of none that was dropped.
    #[must_use]
    pub fn next_point(&self, source: SourceId) -> u64 {
        self.numbers.get(&source).map_or(1, |number| number + 1)
    }

    /// The number for the next machine.
    #[must_use]
    pub fn next_machine(&self) -> MachineId {
        self.machines.last_key_value().map_or(MachineId(1), |(id, _)| id.next())
    }

    /// The number for the next source.
    #[must_use]
    pub fn next_source(&self) -> SourceId {
        self.sources.last_key_value().map_or(SourceId(1), |(id, _)| id.next())
    }
}

/// The key under which the catalog keeps a record; none for what has a table of its own.
pub fn record_key(record: &Record) -> Option<Vec<u8>> {
    let numbered = |kind: &[u8], numbers: &[u64]| {
        let mut key = kind.to_vec();
        numbers.iter().for_each(|n| key.extend_from_slice(&n.to_be_bytes()));
        Some(key)
    };
    match record {
        Record::Machine(machine) => numbered(b"machine/", &[machine.id.0]),
        Record::Source(source) => numbered(b"source/", &[source.id.0]),
        Record::Point(point) => Some(point_key(point.source, point.number)),
        Record::Setting { key, .. } => Some([b"setting/", key.as_bytes()].concat()),
        Record::Dropped { source, number } => Some(dropped_key(*source, *number)),
        Record::Adopted { .. } | Record::Removed { .. } | Record::Disowned { .. } => None,
    }
}

/// The key of the record of a point.
pub fn point_key(source: SourceId, number: u64) -> Vec<u8> {
    [&b"point/"[..], &source.0.to_be_bytes(), &number.to_be_bytes()].concat()
}

/// The key of the record that drops a point; it comes behind that of the point.
pub fn dropped_key(source: SourceId, number: u64) -> Vec<u8> {
    [&*point_key(source, number), b"/dropped"].concat()
}

/// The entry of the catalog for a record; without a value it goes.
pub fn sealed_record(keys: &PoolKeys, record: &Record) -> Result<Option<Change>, PoolError> {
    let Some(key) = record_key(record) else { return Ok(None) };
    if matches!(record, Record::Setting { value: None, .. }) {
        return Ok(Some((key, None)));
    }
    let bytes = minicbor::to_vec(record).map_err(|_| PoolError::CatalogValue("a record"))?;
    let sealed = keys.seal_value(&key, &bytes);
    Ok(Some((key, Some(sealed))))
}

/// Reads a record back.
pub fn open_record(keys: &PoolKeys, key: &[u8], sealed: &[u8]) -> Result<Record, PoolError> {
    let bytes = keys.open_value(key, sealed)?;
    let record: Record = minicbor::decode(&bytes).map_err(|_| PoolError::CatalogValue("a record"))?;
    if record_key(&record).as_deref() == Some(key) {
        Ok(record)
    } else {
        Err(PoolError::CatalogValue("a record"))
    }
}

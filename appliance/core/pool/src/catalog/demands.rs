//! How segments are wanted kept by those who have something in them: the table `demands`.
//!
//! What is wanted of a segment only ever gets more, but where all who have something in it were looked for anew.

use std::collections::{BTreeMap, BTreeSet};

use medium::Demand;
use model::SegmentNumber;
use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::{Catalog, STATE, failed};
use crate::PoolError;
use crate::catalog::Entry;

const DEMANDS: TableDefinition<'_, u64, &[u8; Demand::LENGTH]> = TableDefinition::new("demands");
/// What the demands go by; nothing if nobody ever asked for anything.
const DEMANDED: &str = "demanded";

/// What segments are wanted kept as, after all who have something in them were looked for.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    /// All segments that were looked at.
    pub(crate) demands: BTreeMap<SegmentNumber, Demand>,
    /// What it goes by.
    pub(crate) by: [u8; 32],
}

/// What a batch changed of demands.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// What came to segments, whether they had it or not.
    pub(crate) found: BTreeMap<SegmentNumber, Demand>,
    /// How segments are wanted kept for which that is something else now.
    pub(crate) changed: BTreeMap<SegmentNumber, Demand>,
}

/// What comes to segments with what comes to lie in them, and with who gets it.
#[derive(Default)]
pub(super) struct Demands {
    found: BTreeMap<SegmentNumber, Demand>,
    /// From which segments to which something moves that is referred to.
    moves: BTreeSet<(SegmentNumber, SegmentNumber)>,
    anybody: Demand,
}

impl Demands {
    pub(super) fn new(found: &BTreeMap<SegmentNumber, Demand>, anybody: Demand) -> Self {
        Self { found: found.clone(), moves: BTreeSet::new(), anybody }
    }

    /// Notes the change of an entry, whose references come from those who want it kept so.
    pub(super) fn add(&mut self, before: &Entry, after: &Entry, demand: Demand) {
        let Some(place) = after.place else { return };
        let segment = place.frame.segment;
        let mut found = demand;
        if before.references > 0 {
            match before.place.map(|place| place.frame.segment) {
                // Who refers to what was not there is not known here.
                None => found.join(self.anybody),
                Some(other) if other != segment => drop(self.moves.insert((other, segment))),
                Some(_) => {}
            }
        }
        if found != Demand::default() {
            self.found.entry(segment).or_default().join(found);
        }
    }

    pub(super) fn write(
        mut self,
        write: &WriteTransaction,
        removed: &BTreeSet<SegmentNumber>,
        settled: Option<&Settled>,
    ) -> Result<Written, PoolError> {
        let mut table = write.open_table(DEMANDS).map_err(failed("open demands"))?;
        let stated = |table: &redb::Table<'_, u64, &[u8; Demand::LENGTH]>, segment: SegmentNumber| {
            let value = table.get(segment.0).map_err(failed("read demands"))?;
            value.map_or(Ok(Demand::default()), |value| decode(*value.value()))
        };
        for (from, to) in std::mem::take(&mut self.moves) {
            let taken = stated(&table, from)?.and(self.found.get(&from).copied().unwrap_or_default());
            self.found.entry(to).or_default().join(taken);
        }
        let mut changed = BTreeMap::new();
        let settling = settled.into_iter().flat_map(|settled| &settled.demands);
        let mut wanted: BTreeMap<SegmentNumber, Demand> =
            settling.map(|(at, demand)| (*at, *demand)).collect();
        for (segment, demand) in &self.found {
            let known = match wanted.get(segment) {
                Some(known) => *known,
                None => stated(&table, *segment)?,
            };
            wanted.insert(*segment, known.and(*demand));
        }
        for (segment, demand) in wanted {
            if stated(&table, segment)? != demand && !removed.contains(&segment) {
                table.insert(segment.0, &demand.encode()).map_err(failed("insert demands"))?;
                changed.insert(segment, demand);
            }
        }
        for segment in removed {
            table.remove(segment.0).map_err(failed("remove demands"))?;
        }
        if let Some(settled) = settled {
            let mut state = write.open_table(STATE).map_err(failed("open state"))?;
            state.insert(DEMANDED, settled.by.as_slice()).map_err(failed("insert its state"))?;
        }
        Ok(Written { found: self.found, changed })
    }
}

impl Catalog {
    /// How segments are wanted kept.
    pub(crate) fn demands(&self) -> Result<BTreeMap<SegmentNumber, Demand>, PoolError> {
        self.read("demands", |read| {
            let table = read.open_table(DEMANDS).map_err(failed("read demands"))?;
            let mut all = BTreeMap::new();
            for entry in table.iter().map_err(failed("read demands"))? {
                let (segment, value) = entry.map_err(failed("read demands"))?;
                all.insert(SegmentNumber(segment.value()), decode(*value.value())?);
            }
            Ok(all)
        })
    }

    /// How one segment is wanted kept.
    pub(crate) fn demand(&self, segment: SegmentNumber) -> Result<Demand, PoolError> {
        self.read("demands", |read| {
            let table = read.open_table(DEMANDS).map_err(failed("read demands"))?;
            let value = table.get(segment.0).map_err(failed("read demands"))?;
            value.map_or(Ok(Demand::default()), |value| decode(*value.value()))
        })
    }

    /// What they go by, if all who have something in segments were ever looked for.
    pub(crate) fn demanded(&self) -> Result<Option<[u8; 32]>, PoolError> {
        self.read("demands", |read| {
            let table = read.open_table(STATE).map_err(failed("read its state"))?;
            let value = table.get(DEMANDED).map_err(failed("read its state"))?;
            Ok(value.and_then(|value| value.value().try_into().ok()))
        })
    }
}

fn decode(value: [u8; Demand::LENGTH]) -> Result<Demand, PoolError> {
    Demand::decode(value).ok_or(PoolError::CatalogValue("its demands"))
}

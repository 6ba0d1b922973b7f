//! What goes into the catalog in one transaction, and how it goes in.
//!
//! References are added to what is there, so they and the note of how far they were counted go in together.

use std::collections::{BTreeMap, BTreeSet};

use medium::Demand;
use model::archive::PointKey;
use model::{MachineId, Name, SegmentNumber, SourceId};
use redb::{ReadableTable, Table, WriteTransaction};

use super::demands::{Demands, Settled, Written};
use super::growth::{self, Step};
use super::holders::Holders;
use super::place::{ENTRY_LENGTH, Entry, Place};
use super::{
    ADOPTED, ADOPTED_LENGTH, CHUNKS, COUNTED, COUNTING, Change, Kind, LEAVING, MARK, Mark, PAGES, RECORDS,
    SEGMENTS, STATE, UNSWEPT, Use, VERSION, VERSION_KNOWN, adopted_key, checks, counted_key, failed,
};
use crate::PoolError;
use crate::counting::Progress;
use crate::scrub::Rounds;

/// What changes of a chunk or page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryChange {
    /// Where it is from here on.
    pub place: Option<Place>,
    /// References that it gets, or loses.
    pub references: i64,
    /// Whose these are.
    pub holders: Holders,
    /// Its only copy is gone.
    pub is_gone: bool,
    /// Who owned it besides is forgotten.
    pub lost_owners: bool,
    /// How it is wanted kept by those who get references to it.
    pub demand: Demand,
}

/// What is to go into the catalog in one transaction.
#[derive(Default)]
pub struct Batch {
    /// Chunks by name, sorted.
    pub chunks: Vec<(Name, EntryChange)>,
    /// Pages by name, sorted.
    pub pages: Vec<(Name, EntryChange)>,
    /// Further owners.
    pub adopted: BTreeSet<(Name, MachineId)>,
    /// Sealed records by key; without a value they go.
    pub records: Vec<Change>,
    /// Bytes of chunks or pages that segments got.
    pub stored: BTreeMap<SegmentNumber, (Kind, u64)>,
    /// Segments that are gone.
    pub removed: BTreeSet<SegmentNumber>,
    /// Points that were counted, or counted out.
    pub counted: BTreeMap<PointKey, bool>,
    /// What is being counted.
    pub progress: Option<Progress>,
    /// Segments that are gone, whose chunks and pages may be in the tables still.
    pub unswept: BTreeSet<SegmentNumber>,
    /// Segments that are gone, whose files may be there still.
    pub leaving: BTreeSet<SegmentNumber>,
    /// When segments were checked.
    pub(crate) rounds: Rounds,
    /// Points that were counted, in order, with what they brought.
    pub(crate) steps: Vec<Step>,
    /// How segments are wanted kept by those who put something into them.
    pub(crate) demands: BTreeMap<SegmentNumber, Demand>,
    /// How segments are wanted kept, after all who have something in them were found.
    pub(crate) settled: Option<Settled>,
    /// What satisfies whoever it may be.
    pub(crate) anybody: Demand,
}

type EntryTable<'a> = Table<'a, &'static [u8; 32], &'static [u8; ENTRY_LENGTH]>;
/// What changes of segments and of sources with their chunks and pages.
#[derive(Default)]
struct Sums {
    /// Bytes that become live in segments; negative if they cease to be.
    live: BTreeMap<SegmentNumber, i64>,
    sources: BTreeMap<SourceId, growth::Change>,
    demands: Demands,
}

impl Sums {
    fn add(&mut self, before: &Entry, after: &Entry) {
        for (entry, sign) in [(before, -1), (after, 1)] {
            if let Some((segment, length)) = entry.live() {
                *self.live.entry(segment).or_default() += sign * length.cast_signed();
            }
            if let Some((source, length)) = entry.own() {
                self.sources.entry(source).or_default().own_bytes += sign * length.cast_signed();
            }
        }
        if before.references == 0
            && let Some((source, length)) = after.own()
        {
            self.sources.entry(source).or_default().born_bytes += length;
        }
    }
}

impl Batch {
    /// Puts everything in and moves the mark.
    pub(super) fn write(&self, write: &WriteTransaction, mark: &Mark) -> Result<Written, PoolError> {
        let mut sums = Sums { demands: Demands::new(&self.demands, self.anybody), ..Sums::default() };
        let mut chunks = write.open_table(CHUNKS).map_err(failed("open chunks"))?;
        self.chunks.iter().try_for_each(|(name, change)| {
            change_entry(&mut chunks, Kind::Chunks, name, change, &mut sums)
        })?;
        let mut pages = write.open_table(PAGES).map_err(failed("open pages"))?;
        self.pages
            .iter()
            .try_for_each(|(name, change)| change_entry(&mut pages, Kind::Pages, name, change, &mut sums))?;
        self.write_owners(write)?;
        self.write_segments(write, &sums.live)?;
        growth::write(write, &sums.sources, &self.steps)?;
        self.write_records(write)?;
        checks::write(write, &self.rounds, self.removed.iter())?;
        self.write_state(write, mark)?;
        sums.demands.write(write, &self.removed, self.settled.as_ref())
    }

    fn write_owners(&self, write: &WriteTransaction) -> Result<(), PoolError> {
        let mut adopted = write.open_table(ADOPTED).map_err(failed("open owners"))?;
        for (name, _) in self.chunks.iter().filter(|(_, change)| change.lost_owners) {
            let (first, last) = (adopted_key(name, MachineId(0)), adopted_key(name, MachineId(u64::MAX)));
            let all = adopted.retain_in::<&[u8; ADOPTED_LENGTH], _>(&first..=&last, |_, ()| false);
            all.map_err(failed("remove owners"))?;
        }
        for (name, machine) in &self.adopted {
            adopted.insert(&adopted_key(name, *machine), ()).map_err(failed("insert owners"))?;
        }
        Ok(())
    }

    fn write_segments(
        &self,
        write: &WriteTransaction,
        live: &BTreeMap<SegmentNumber, i64>,
    ) -> Result<(), PoolError> {
        let mut segments = write.open_table(SEGMENTS).map_err(failed("open segments"))?;
        let touched: BTreeSet<&SegmentNumber> = self.stored.keys().chain(live.keys()).collect();
        for segment in touched {
            let known = segments.get(segment.0).map_err(failed("read segments"))?;
            let known = known.map(|value| Use::decode(value.value())).transpose()?;
            let (kind, stored) = match (self.stored.get(segment), known) {
                (Some(stored), _) => *stored,
                (None, Some(known)) => (known.kind, 0),
                (None, None) => return Err(PoolError::CatalogValue("its segments")),
            };
            let known = known.unwrap_or(Use { kind, stored: 0, live: 0 });
            let change = live.get(segment).copied().unwrap_or(0);
            let live = known.live.checked_add_signed(change);
            let live = live.ok_or(PoolError::CatalogValue("its segments"))?;
            let used = Use { kind, stored: known.stored + stored, live };
            segments.insert(segment.0, &used.encode()).map_err(failed("insert segments"))?;
        }
        for segment in &self.removed {
            segments.remove(segment.0).map_err(failed("remove segments"))?;
        }
        Ok(())
    }

    fn write_records(&self, write: &WriteTransaction) -> Result<(), PoolError> {
        let mut records = write.open_table(RECORDS).map_err(failed("open records"))?;
        for (key, value) in &self.records {
            match value {
                Some(value) => records.insert(key.as_slice(), value.as_slice()).map(drop),
                None => records.remove(key.as_slice()).map(drop),
            }
            .map_err(failed("insert records"))?;
        }
        let mut counted = write.open_table(COUNTED).map_err(failed("open counted points"))?;
        for (point, is_counted) in &self.counted {
            let key = counted_key(*point);
            if *is_counted {
                counted.insert(&key, ()).map(drop).map_err(failed("insert counted points"))?;
            } else {
                counted.remove(&key).map(drop).map_err(failed("remove counted points"))?;
            }
        }
        Ok(())
    }

    fn write_state(&self, write: &WriteTransaction, mark: &Mark) -> Result<(), PoolError> {
        let mut state = write.open_table(STATE).map_err(failed("open state"))?;
        let wrong = PoolError::CatalogValue;
        let unswept: Vec<SegmentNumber> = self.unswept.iter().copied().collect();
        let leaving: Vec<SegmentNumber> = self.leaving.iter().copied().collect();
        let values = [
            (MARK, minicbor::to_vec(mark).map_err(|_| wrong("its mark"))?),
            (COUNTING, minicbor::to_vec(self.progress).map_err(|_| wrong("its count"))?),
            (UNSWEPT, minicbor::to_vec(unswept).map_err(|_| wrong("its segments"))?),
            (LEAVING, minicbor::to_vec(leaving).map_err(|_| wrong("its segments"))?),
            (VERSION, VERSION_KNOWN.to_le_bytes().to_vec()),
        ];
        for (key, value) in values {
            state.insert(key, value.as_slice()).map_err(failed("insert its state"))?;
        }
        Ok(())
    }
}

/// Changes an entry, and notes what becomes live by it and what ceases to be. Most names are new, so the change is put in as
/// that of a new name and mended if there was one.
fn change_entry(
    table: &mut EntryTable<'_>,
    kind: Kind,
    name: &Name,
    change: &EntryChange,
    sums: &mut Sums,
) -> Result<(), PoolError> {
    let wrong = || PoolError::CatalogValue("its references");
    if *change == (EntryChange { demand: change.demand, ..EntryChange::default() }) {
        let value = table.get(&name.0).map_err(failed("read entries"))?;
        let entry = value.map(|value| Entry::decode(value.value())).unwrap_or_default();
        sums.demands.add(&entry, &entry, change.demand);
        return Ok(());
    }
    let changed = |before: Entry| -> Result<Entry, PoolError> {
        let references = i64::from(before.references) + change.references;
        let references = u32::try_from(references).map_err(|_| wrong())?;
        let place = if change.is_gone { None } else { change.place.or(before.place) };
        let holders = before.holders.plus(change.holders);
        if references == 0 && holders != Holders::default() {
            return Err(wrong());
        }
        Ok(Entry { place, references, holders })
    };
    let mut put = |entry: &Entry| -> Result<Option<Entry>, PoolError> {
        let before = if *entry == Entry::default() {
            table.remove(&name.0).map_err(failed("remove entries"))
        } else {
            table.insert(&name.0, &entry.encode()).map_err(failed("insert entries"))
        };
        Ok(before?.map(|value| Entry::decode(value.value())))
    };
    let as_new = changed(Entry::default()).unwrap_or_default();
    let before = put(&as_new)?.unwrap_or_default();
    let after = changed(before)?;
    if after != as_new {
        put(&after)?;
    }
    sums.add(&before, &after);
    if kind == Kind::Chunks {
        sums.demands.add(&before, &after, change.demand);
    }
    Ok(())
}

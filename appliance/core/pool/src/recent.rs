//! What was put and counted since the catalog was brought up to date.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use medium::Demand;
use model::archive::PointKey;
use model::{MachineId, Name, SegmentNumber};

use crate::catalog::{EntryChange, Kind, Place, Settled, Step};

/// What the catalog does not have yet.
#[derive(Default)]
pub(crate) struct Recent {
    pub(crate) chunks: HashMap<Name, EntryChange>,
    pub(crate) pages: HashMap<Name, EntryChange>,
    pub(crate) staged: HashMap<Name, Arc<[u8]>>,
    pub(crate) adopted: BTreeSet<(Name, MachineId)>,
    pub(crate) records: Vec<crate::catalog::Change>,
    pub(crate) stored: BTreeMap<SegmentNumber, (Kind, u64)>,
    pub(crate) removed: BTreeSet<SegmentNumber>,
    pub(crate) counted: BTreeMap<PointKey, bool>,
    pub(crate) steps: Vec<Step>,
    pub(crate) demands: BTreeMap<SegmentNumber, Demand>,
    pub(crate) settled: Option<Settled>,
}

impl Recent {
    /// Notes that somebody has something in a segment who wants it kept so.
    pub(crate) fn want(&mut self, segment: SegmentNumber, demand: Demand) {
        self.demands.entry(segment).or_default().join(demand);
    }

    /// Entries that wait for the catalog.
    pub(crate) fn len(&self) -> usize {
        let entries = self.chunks.len() + self.pages.len() + self.adopted.len();
        let segments = self.removed.len() + self.demands.len() + usize::from(self.settled.is_some());
        entries + self.records.len() + segments + self.counted.len()
    }

    /// Puts a chunk at a place.
    pub(crate) fn put_chunk(&mut self, name: Name, place: Place) {
        let change = self.chunks.entry(name).or_default();
        (change.place, change.is_gone) = (Some(place), false);
    }

    /// Forgets further owners of a chunk.
    pub(crate) fn forget_owners(&mut self, name: &Name) {
        self.chunks.entry(*name).or_default().lost_owners = true;
        let of_chunk = (*name, MachineId(0))..=(*name, MachineId(u64::MAX));
        let known: Vec<_> = self.adopted.range(of_chunk).copied().collect();
        known.iter().for_each(|owner| {
            self.adopted.remove(owner);
        });
    }

    /// Takes a chunk out: nobody holds it, and its segment is gone.
    pub(crate) fn forget_chunk(&mut self, name: &Name) {
        self.forget_owners(name);
        let change = self.chunks.entry(*name).or_default();
        (change.place, change.is_gone) = (None, true);
    }

    /// Takes a page out: nothing refers to it, and its segment is gone.
    pub(crate) fn forget_page(&mut self, name: &Name) {
        let change = self.pages.entry(*name).or_default();
        (change.place, change.is_gone) = (None, true);
    }

    /// Puts a page at a place.
    pub(crate) fn put_page(&mut self, name: Name, place: Place) {
        let change = self.pages.entry(name).or_default();
        (change.place, change.is_gone) = (Some(place), false);
        self.note_stored(Kind::Pages, place);
    }

    /// Notes the bytes of a place that was written to.
    pub(crate) fn note_stored(&mut self, kind: Kind, place: Place) {
        let stored = self.stored.entry(place.frame.segment).or_insert((kind, 0));
        stored.1 += u64::from(place.length);
    }
}

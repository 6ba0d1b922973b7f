//! What readers and the writer of a pool share, and what changes with commits.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use medium::{Clock, Disk, Entropy};
use model::{MachineId, Name};

use crate::PoolError;
use crate::bad::BadPlaces;
use crate::catalog::{Batch, Catalog, Mark, Place};
use crate::header::PoolHeader;
use crate::keys::PoolKeys;
use crate::reader::FrameReader;
use crate::record::{FrameIndex, Record};
use crate::registry::{Registry, sealed_record};
use crate::replay::Replayed;
use crate::segment::FramePlace;

/// What a pool is opened with.
#[derive(Clone)]
pub struct World {
    /// The drive.
    pub disk: Arc<dyn Disk>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// What readers and the writer share.
pub struct Shared {
    pub(crate) world: World,
    pub(crate) keys: Arc<PoolKeys>,
    pub(crate) header: PoolHeader,
    pub(crate) frames: FrameReader,
    pub(crate) state: RwLock<State>,
}

/// What changes with commits.
pub(crate) struct State {
    pub(crate) catalog: Option<Catalog>,
    pub(crate) registry: Registry,
    pub(crate) recent: Recent,
    pub(crate) mark: Mark,
    pub(crate) damage: Vec<String>,
    /// Places that do not give what the catalog says.
    pub(crate) bad: Arc<BadPlaces>,
    /// The drive had no room for the catalog, which is in memory: nothing is taken until the pool is opened again.
    pub(crate) is_full: bool,
    /// How often the drive was read since the process began.
    pub(crate) openings: u64,
}

/// What the catalog does not have yet.
#[derive(Default)]
pub(crate) struct Recent {
    pub(crate) chunks: HashMap<Name, Place>,
    pub(crate) pages: HashMap<Name, Place>,
    pub(crate) staged: HashMap<Name, Arc<[u8]>>,
    pub(crate) adopted: HashSet<(Name, MachineId)>,
    pub(crate) records: Vec<crate::catalog::Change>,
}

impl Recent {
    /// Entries that wait for the catalog.
    pub(crate) fn len(&self) -> usize {
        self.chunks.len() + self.pages.len() + self.adopted.len() + self.records.len()
    }
}

impl Shared {
    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The identity of the pool.
    #[must_use]
    pub const fn pool(&self) -> &[u8; 16] {
        &self.header.pool
    }

    /// The keys of the pool.
    #[must_use]
    pub fn keys(&self) -> &PoolKeys {
        &self.keys
    }

    /// The drive that the pool lies on.
    #[must_use]
    pub fn disk(&self) -> &dyn Disk {
        &*self.world.disk
    }

    /// The clock that the pool goes by.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.world.clock
    }

    /// Where the pool gets its randomness.
    #[must_use]
    pub fn entropy(&self) -> &dyn Entropy {
        &*self.world.entropy
    }

    /// Everything that the catalog holds, to compare two of them.
    pub fn dump(&self) -> Result<crate::catalog::Dump, PoolError> {
        self.state().catalog()?.dump()
    }

    /// Damage that was found when the pool was opened, in words.
    #[must_use]
    pub fn damage(&self) -> Vec<String> {
        self.state().damage.clone()
    }

    /// Whether the drive was so full when the pool was opened that it can only be read.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.state().is_full
    }

    /// How often the pool was opened in this process. Each time everything that no commit covers is forgotten, so
    /// what was put before an opening is not there after it.
    #[must_use]
    pub fn openings(&self) -> u64 {
        self.state().openings
    }

    /// Looks at what the records say; the pool waits meanwhile.
    pub fn registry<T>(&self, look: impl FnOnce(&Registry) -> T) -> T {
        look(&self.state().registry)
    }
}

impl State {
    pub(crate) fn catalog(&self) -> Result<&Catalog, PoolError> {
        self.catalog.as_ref().ok_or(PoolError::Failed)
    }

    pub(crate) fn chunk(&self, name: &Name) -> Result<Option<Place>, PoolError> {
        match self.recent.chunks.get(name) {
            Some(place) => Ok(Some(*place)),
            None => self.catalog()?.chunk(name),
        }
    }

    pub(crate) fn page(&self, name: &Name) -> Result<Option<Place>, PoolError> {
        match self.recent.pages.get(name) {
            Some(place) => Ok(Some(*place)),
            None => self.catalog()?.page(name),
        }
    }

    /// Whether a machine may know that a chunk is here.
    pub(crate) fn owns(&self, machine: MachineId, name: &Name, place: &Place) -> Result<bool, PoolError> {
        Ok(place.owner == machine
            || self.recent.adopted.contains(&(*name, machine))
            || self.catalog()?.is_adopted(name, machine)?)
    }

    /// The places of those chunks that are here and that a machine may know of, however many in two queries.
    pub(crate) fn owned(&self, machine: MachineId, names: &[Name]) -> Result<Vec<Option<Place>>, PoolError> {
        let mut places: Vec<Option<Place>> =
            names.iter().map(|name| self.recent.chunks.get(name).copied()).collect();
        let unknown: Vec<Name> =
            names.iter().zip(&places).filter(|(_, p)| p.is_none()).map(|(n, _)| *n).collect();
        let found = if unknown.is_empty() { Vec::new() } else { self.catalog()?.chunks(&unknown)? };
        let mut found = found.into_iter();
        for place in places.iter_mut().filter(|place| place.is_none()) {
            *place = found.next().flatten();
        }
        let is_foreign = |name: &Name, place: &Option<Place>| {
            place.is_some_and(|place| place.owner != machine)
                && !self.recent.adopted.contains(&(*name, machine))
        };
        let foreign = names.iter().zip(&places).filter(|(name, place)| is_foreign(name, place));
        let foreign: Vec<Name> = foreign.map(|(name, _)| *name).collect();
        let adopted =
            if foreign.is_empty() { Vec::new() } else { self.catalog()?.adopted(&foreign, machine)? };
        let mut adopted = adopted.into_iter();
        for (name, place) in names.iter().zip(&mut places) {
            if is_foreign(name, place) && adopted.next() != Some(true) {
                *place = None;
            }
        }
        Ok(places)
    }

    /// Whether a chunk is to be read from a place and not from the one that is known. It is stored a second time only
    /// when the first place was bad, so the place behind counts unless that is known to be bad itself.
    fn is_better(&self, place: &Place, known: &Place) -> bool {
        let position = |place: &Place| (place.frame.segment, place.frame.offset);
        match (self.bad.has(place.frame), self.bad.has(known.frame)) {
            (false, true) => true,
            (true, false) => false,
            _ => position(place) > position(known),
        }
    }

    pub(crate) fn take(&mut self, keys: &PoolKeys, replayed: &Replayed) -> Result<(), PoolError> {
        for index in &replayed.indexes {
            for (name, place) in places(index) {
                let known = self.chunk(&name)?;
                if known.is_none() {
                    self.mark.chunk_bytes += u64::from(place.length);
                }
                if known.is_none_or(|known| self.is_better(&place, &known)) {
                    self.recent.chunks.insert(name, place);
                }
            }
        }
        self.recent.pages.extend(replayed.pages.iter().copied());
        for record in &replayed.records {
            self.registry.apply(record);
            self.recent.records.extend(sealed_record(keys, record)?);
            if let Record::Adopted { machine, names } = record {
                self.recent.adopted.extend(names.iter().map(|name| (*name, *machine)));
            }
        }
        Ok(())
    }

    /// Moves everything recent into the catalog.
    pub(crate) fn flush(&mut self) -> Result<(), PoolError> {
        let mut batch = Batch {
            chunks: self.recent.chunks.iter().map(|(n, p)| (*n, *p)).collect(),
            pages: self.recent.pages.iter().map(|(n, p)| (*n, *p)).collect(),
            adopted: self.recent.adopted.iter().copied().collect(),
            records: std::mem::take(&mut self.recent.records),
        };
        batch.chunks.sort_unstable_by_key(|(name, _)| *name);
        batch.pages.sort_unstable_by_key(|(name, _)| *name);
        batch.adopted.sort_unstable();
        if let Err(error) = self.catalog().and_then(|catalog| catalog.write(&batch, &self.mark)) {
            // Readers need them until they are in a catalog.
            self.recent.records = batch.records;
            return Err(error);
        }
        self.recent = Recent::default();
        Ok(())
    }
}

/// Names and places of the chunks of a data frame.
pub(crate) fn places(index: &FrameIndex) -> impl Iterator<Item = (Name, Place)> {
    let (segment, offset, sealed_length) = (index.segment, index.offset, index.sealed_length);
    let frame = FramePlace { segment, offset, sealed_length };
    let mut start = 0u32;
    index.entries.iter().map(move |entry| {
        let place = Place { frame, start, length: entry.length, owner: index.owner };
        start = start.saturating_add(entry.length);
        (entry.name, place)
    })
}

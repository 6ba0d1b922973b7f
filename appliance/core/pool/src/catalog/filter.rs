//! Which names are certainly not in the catalog, without reading it.
//!
//! A [Bloom filter](crate::bloom) of all names. It is made by passing over the tables once after an opening, a step at a
//! time; names that are written meanwhile are put in as well, so that at the end nothing is
//! missing. Names that go stay in it: whoever asks for one of these is sent to the catalog, which says no.

use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use model::Name;

use super::{Catalog, Kind};
use crate::PoolError;
use crate::bloom::Bits;

/// Bits for each name.
const BITS_PER_NAME: u64 = 12;

/// A filter that is being made.
pub(super) struct Making {
    bits: Bits,
    /// The table that is passed over, and where to go on.
    next: (Kind, Name),
}

/// The filter of a catalog.
#[derive(Default)]
pub(super) struct Filter {
    /// One that has all names.
    whole: RwLock<Option<Bits>>,
    /// The next one.
    making: Mutex<Option<Making>>,
}

const FIRST: Name = Name([0; Name::LENGTH]);

impl Filter {
    /// That of a catalog with nothing in it.
    pub(super) fn of_nothing() -> Self {
        Self { whole: RwLock::new(Some(Bits::for_names(0, BITS_PER_NAME))), making: Mutex::default() }
    }

    /// Which names may be in the catalog.
    pub(super) fn may_have(&self, names: &[Name]) -> Vec<bool> {
        let whole = self.whole();
        let may_have = |name| whole.as_ref().is_none_or(|bits| bits.may_have(name));
        names.iter().map(may_have).collect()
    }

    fn whole(&self) -> RwLockReadGuard<'_, Option<Bits>> {
        self.whole.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in names that are about to be written. Until what comes back is dropped nobody passes over the tables, which do
    /// not have them yet.
    pub(super) fn take<'n>(&self, names: impl Iterator<Item = &'n Name>) -> MutexGuard<'_, Option<Making>> {
        let (making, whole) = (self.making(), self.whole());
        for name in names {
            let making = making.as_ref().map(|making| &making.bits);
            whole.iter().chain(making).for_each(|bits| {
                bits.insert(name);
            });
        }
        making
    }

    fn making(&self) -> MutexGuard<'_, Option<Making>> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_wanted(&self) -> bool {
        self.whole().as_ref().is_none_or(Bits::is_full)
    }
}

impl Catalog {
    /// Goes on making the filter by as many names, if there is none, or if the one that is there has too many names; whether
    /// there is more to do.
    pub(crate) fn make_filter(&self, names_max: usize) -> Result<bool, PoolError> {
        let filter = &self.filter;
        let mut making = filter.making();
        if making.is_none() && !filter.is_wanted() {
            return Ok(false);
        }
        if making.is_none() {
            let bits = Bits::for_names(self.chunk_count()? + self.page_count()?, BITS_PER_NAME);
            *making = Some(Making { bits, next: (Kind::Chunks, FIRST) });
        }
        let Some(Making { bits, next: (kind, from) }) = making.as_mut() else { return Ok(false) };
        let mut left = names_max;
        let mut stopped = None;
        let mut put = |name, _| {
            if left == 0 {
                stopped = Some(name);
                return ControlFlow::Break(());
            }
            left -= 1;
            bits.insert(&name);
            ControlFlow::Continue(())
        };
        match kind {
            Kind::Chunks => self.each_chunk(*from, &mut put)?,
            Kind::Pages => self.each_page(*from, &mut put)?,
        }
        match stopped {
            Some(name) => *from = name,
            None if *kind == Kind::Chunks => (*kind, *from) = (Kind::Pages, FIRST),
            None => {
                let bits = making.take().map(|making| making.bits);
                *filter.whole.write().unwrap_or_else(PoisonError::into_inner) = bits;
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use medium::sim::SimDisk;
    use model::{MachineId, SegmentNumber};

    use super::*;
    use crate::bloom::name;
    use crate::catalog::{Batch, Check, Entry, EntryChange, Mark, Place};
    use crate::segment::FramePlace;

    #[test]
    fn what_is_written_while_it_is_made_is_in_it() {
        let disk = SimDisk::new(1);
        let write = |catalog: &Catalog, numbers: Range<u64>| {
            let place = FramePlace { segment: SegmentNumber(1), offset: 0, sealed_length: 1 };
            let place = Place { frame: place, start: 0, length: 1, owner: MachineId(1) };
            let entry = |number| (name(number), EntryChange { place: Some(place), ..EntryChange::default() });
            let mut chunks: Vec<_> = numbers.map(entry).collect();
            chunks.sort_by_key(|(name, _)| *name);
            let pages = chunks.split_off(chunks.len() / 2);
            catalog.write(&Batch { chunks, pages, ..Batch::default() }, &Mark::default()).unwrap();
        };
        let catalog = Catalog::open(&disk, Check::Whole).unwrap();
        assert!(!catalog.make_filter(10).unwrap(), "a new one has nothing to pass over");
        write(&catalog, 0..1000);
        drop(catalog);
        let catalog = Catalog::open(&disk, Check::Whole).unwrap();
        let mut written = 1000;
        while catalog.make_filter(10).unwrap() {
            assert_eq!(catalog.filter.may_have(&[name(1_000_000)]), [true], "it is not whole");
            write(&catalog, written..written + 10);
            written += 10;
        }
        let may_have = |name: &Name| catalog.filter.may_have(&[*name]) == [true];
        assert!((0..written).all(|number| may_have(&name(number))));
        let wrong = (0..1000).filter(|number| may_have(&name(1_000_000 + number))).count();
        assert!(written > 1500 && wrong < 20, "{written} {wrong}");
        let reads = disk.reads();
        let others = (0..1000).map(|number| name(2_000_000 + number));
        let unknown: Vec<Name> = others.filter(|name| !may_have(name)).collect();
        assert_eq!(catalog.chunks(&unknown).unwrap(), vec![Entry::default(); unknown.len()]);
        assert_eq!(disk.reads(), reads);
    }

    #[test]
    fn one_that_is_not_whole_says_no_to_nobody() {
        assert!(Filter::default().may_have(&[name(1)]) == [true] && Filter::default().is_wanted());
        let filter = Filter::of_nothing();
        assert!(filter.may_have(&[name(1)]) == [false] && !filter.is_wanted());
        drop(filter.take(std::iter::once(&name(1))));
        assert_eq!(filter.may_have(&[name(1), name(2)]), [true, false]);
    }
}

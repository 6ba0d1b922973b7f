//! Which names are certainly not in the catalog, without reading it.
//!
//! A Bloom filter in blocks of one cache line (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters).
//! Names are the output of a keyed hash, so their own bits say where they go. It is made by passing over the tables once
//! after an opening, a step at a time; names that are written meanwhile are put in as well, so that at the end nothing is
//! missing. Names that go stay in it: whoever asks for one of these is sent to the catalog, which says no.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use model::Name;

use super::{Catalog, Kind};
use crate::PoolError;

/// Bits for each name: with these and eight of them set, one name in about a hundred is looked for in vain.
const BITS_PER_NAME: u64 = 12;
const WORDS_PER_BLOCK: usize = 8;
const BITS_PER_BLOCK: u64 = 512;
/// Bits that a name sets.
const BITS_SET: usize = 8;
/// A filter is made for no fewer names.
const NAMES_MIN: u64 = 1 << 16;

/// Names, each as a few bits.
struct Bits {
    blocks: Vec<[AtomicU64; WORDS_PER_BLOCK]>,
    /// Names that it is made for.
    capacity: u64,
    /// Names that were put in and were not there, as far as can be told.
    count: AtomicU64,
}

impl Bits {
    /// Room for as many names again as there are.
    fn for_names(count: u64) -> Self {
        let capacity = count.saturating_mul(2).max(NAMES_MIN);
        let blocks = (capacity * BITS_PER_NAME).div_ceil(BITS_PER_BLOCK);
        let blocks = (0..blocks).map(|_| Default::default()).collect();
        Self { blocks, capacity, count: AtomicU64::new(0) }
    }

    /// The block of a name, and the places of its bits there.
    fn places(&self, name: &Name) -> (&[AtomicU64; WORDS_PER_BLOCK], impl Iterator<Item = (usize, u64)>) {
        let [first, second, third, _] = parts(name);
        let at = (u128::from(first) * self.blocks.len() as u128) >> u64::BITS;
        // It is smaller than the number of blocks.
        let block = &self.blocks[usize::try_from(at).unwrap_or(0)];
        let drawn = u128::from(second) | (u128::from(third) << u64::BITS);
        let bit = move |number: usize| {
            let bit = usize::try_from((drawn >> (9 * number)) & 0x1ff).unwrap_or(0);
            (bit / 64, 1 << (bit % 64))
        };
        (block, (0..BITS_SET).map(bit))
    }

    fn insert(&self, name: &Name) {
        let (block, places) = self.places(name);
        let is_new = places.fold(false, |is_new, (word, bit)| {
            is_new | (block[word].fetch_or(bit, Ordering::Relaxed) & bit == 0)
        });
        self.count.fetch_add(u64::from(is_new), Ordering::Relaxed);
    }

    fn may_have(&self, name: &Name) -> bool {
        let (block, mut places) = self.places(name);
        places.all(|(word, bit)| block[word].load(Ordering::Relaxed) & bit != 0)
    }

    fn is_full(&self) -> bool {
        self.count.load(Ordering::Relaxed) > self.capacity
    }
}

fn parts(name: &Name) -> [u64; 4] {
    std::array::from_fn(|part| u64::from_le_bytes(std::array::from_fn(|at| name.0[part * 8 + at])))
}

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
        Self { whole: RwLock::new(Some(Bits::for_names(0))), making: Mutex::default() }
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
            whole.iter().chain(making).for_each(|bits| bits.insert(name));
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
            let bits = Bits::for_names(self.chunk_count()? + self.page_count()?);
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
    use crate::catalog::{Batch, Entry, EntryChange, Mark, Place};
    use crate::segment::FramePlace;

    fn name(number: u64) -> Name {
        Name(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

    #[test]
    fn names_that_were_put_in_are_found_and_few_others() {
        let bits = Bits::for_names(50_000);
        (0..2).for_each(|_| (0..100_000).for_each(|number| bits.insert(&name(number))));
        assert!((0..100_000).all(|number| bits.may_have(&name(number))) && !bits.is_full());
        let wrong = (0..100_000).filter(|number| bits.may_have(&name(1_000_000 + number))).count();
        assert!(wrong < 2_000, "{wrong} of 100,000 others are taken for known");
        (100_000..105_000).for_each(|number| bits.insert(&name(number)));
        assert!(bits.is_full());
    }

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
        let catalog = Catalog::open(&disk).unwrap();
        assert!(!catalog.make_filter(10).unwrap(), "a new one has nothing to pass over");
        write(&catalog, 0..1000);
        drop(catalog);
        let catalog = Catalog::open(&disk).unwrap();
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

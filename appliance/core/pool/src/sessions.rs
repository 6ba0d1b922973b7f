//! Backups under way, and what stays for them.
//!
//! A backup counts on chunks and pages that it was told are here, or has stored, before any point refers to them. Each
//! of them is *promised* to it: it stays until the backup has ended, whatever becomes of its references, so that giving
//! room back waits for nobody. What is promised is kept as a filter of names; a few that it takes for promised as well stay
//! longer than they have to. The filters of all backups together are bounded: to a backup for which there is no room left
//! everything is promised, and nothing is given back until it has ended. A backup can be fenced off: what it was promised
//! may go, and it cannot make a point.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use model::{Name, SegmentNumber};

use crate::bloom::Bits;
use crate::catalog::Place;
use crate::reader::lock;

/// Bits for each name of a filter: many backups may have one, and what any of them takes for promised stays.
const BITS_PER_NAME: u64 = 20;
/// Bytes that the filters of all backups may take.
const BYTES_MAX: usize = 256 << 20;

/// Something that stays for a backup.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promised {
    pub(crate) name: Name,
    /// Where it is and its bytes, if nothing else keeps it.
    pub(crate) only: Option<(SegmentNumber, u64)>,
}

impl Promised {
    /// A chunk that has so many references, as far as is known.
    pub(crate) fn chunk(name: &Name, place: &Place, references: i64) -> Self {
        let only = (references <= 0).then(|| (place.frame.segment, u64::from(place.length)));
        Self { name: *name, only }
    }
}

/// Backups under way, in the order in which they began.
#[derive(Default)]
pub(crate) struct Sessions {
    open: Mutex<Open>,
    /// Bytes that all filters take.
    bytes: AtomicUsize,
}

#[derive(Default)]
struct Open {
    next: u64,
    promises: BTreeMap<u64, Arc<Promises>>,
}

/// A backup under way.
pub struct Session {
    sessions: Arc<Sessions>,
    number: u64,
    promises: Arc<Promises>,
}

/// What is promised to a backup.
#[derive(Default)]
struct Promises {
    is_fenced: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// Each twice as large as the one before it; only the last one takes more.
    names: Vec<Bits>,
    /// Bytes that only this backup keeps, by segment, as far as is known.
    bytes: BTreeMap<SegmentNumber, u64>,
    /// There was no room for a larger filter.
    has_all: bool,
}

impl Held {
    fn has(&self, name: &Name) -> bool {
        self.has_all || self.names.iter().any(|names| names.may_have(name))
    }

    /// Promises something; `taken` are the bytes of all filters.
    fn promise(&mut self, promised: &Promised, taken: &AtomicUsize) {
        if self.has(&promised.name) {
            return;
        }
        let larger = match self.names.last() {
            Some(last) if last.is_full() => Some(last.capacity()),
            Some(_) => None,
            None => Some(0),
        };
        if let Some(count) = larger {
            let bytes = Bits::bytes_for_names(count, BITS_PER_NAME);
            if taken.fetch_add(bytes, Ordering::Relaxed) + bytes > BYTES_MAX {
                taken.fetch_sub(bytes, Ordering::Relaxed);
                self.has_all = true;
                return;
            }
            self.names.push(Bits::for_names(count, BITS_PER_NAME));
        }
        self.names.last().map(|names| names.insert(&promised.name));
        if let Some((segment, bytes)) = promised.only {
            *self.bytes.entry(segment).or_default() += bytes;
        }
    }
}

impl Sessions {
    /// A backup begins.
    pub(crate) fn begin(self: &Arc<Self>) -> Session {
        let mut open = lock(&self.open);
        let (number, promises) = (open.next, Arc::<Promises>::default());
        open.next += 1;
        open.promises.insert(number, Arc::clone(&promises));
        Session { sessions: Arc::clone(self), number, promises }
    }

    /// The number of the next one.
    pub(crate) fn next(&self) -> u64 {
        lock(&self.open).next
    }

    /// Whether one is under way that began before that number was the next.
    pub(crate) fn any_before(&self, number: u64) -> bool {
        lock(&self.open).promises.first_key_value().is_some_and(|(first, _)| *first < number)
    }

    /// Nothing is promised to those that are under way any more: the pool is opened again, which they are told.
    pub(crate) fn end_all(&self) {
        lock(&self.open).promises.clear();
    }

    /// Whether a name is promised to anybody.
    pub(crate) fn is_promised(&self, name: &Name) -> bool {
        lock(&self.open).promises.values().any(|promises| lock(&promises.held).has(name))
    }

    /// Whether everything is promised to anybody.
    pub(crate) fn has_all(&self) -> bool {
        lock(&self.open).promises.values().any(|promises| lock(&promises.held).has_all)
    }

    /// Bytes that only backups keep, by segment, as far as is known: not those of what something referred to when it was
    /// promised.
    pub(crate) fn held_bytes(&self) -> BTreeMap<SegmentNumber, u64> {
        let mut all = BTreeMap::new();
        for promises in lock(&self.open).promises.values() {
            for (segment, bytes) in &lock(&promises.held).bytes {
                *all.entry(*segment).or_default() += bytes;
            }
        }
        all
    }

    /// Notes that chunks, each with its bytes, which only backups keep, are in another segment from here on.
    pub(crate) fn moved(&self, chunks: &[(Name, u64)], to: SegmentNumber) {
        for promises in lock(&self.open).promises.values() {
            let mut held = lock(&promises.held);
            let bytes: u64 = chunks.iter().filter(|(name, _)| held.has(name)).map(|(_, bytes)| bytes).sum();
            if bytes > 0 {
                *held.bytes.entry(to).or_default() += bytes;
            }
        }
    }

    /// Forgets segments that are gone.
    pub(crate) fn forget(&self, removed: &[SegmentNumber]) {
        for promises in lock(&self.open).promises.values() {
            lock(&promises.held).bytes.retain(|segment, _| !removed.contains(segment));
        }
    }

    /// Fences off all that began before that number was the next and for which anything stays that nothing else keeps: they
    /// make no point any more. How many there were.
    pub(crate) fn fence_holding(&self, before: u64) -> usize {
        let holds = |promises: &Arc<Promises>| {
            let held = lock(&promises.held);
            held.has_all || !held.bytes.is_empty()
        };
        let mut open = lock(&self.open);
        let fenced: Vec<_> = open.promises.extract_if(..before, |_, promises| holds(promises)).collect();
        fenced.iter().for_each(|(_, promises)| promises.is_fenced.store(true, Ordering::Release));
        fenced.len()
    }
}

impl Session {
    /// Whether what this backup counted on may be gone.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.promises.is_fenced.load(Ordering::Acquire)
    }

    /// Promises something to this backup. To be called in the same hold of the state in which it was found to be there.
    pub(crate) fn promise(&self, promised: impl IntoIterator<Item = Promised>) {
        let mut held = lock(&self.promises.held);
        promised.into_iter().for_each(|promised| held.promise(&promised, &self.sessions.bytes));
    }

    /// Whether something may be promised to this backup; never no about what is.
    pub(crate) fn has(&self, name: &Name) -> bool {
        lock(&self.promises.held).has(name)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        lock(&self.sessions.open).promises.remove(&self.number);
        let taken: usize = lock(&self.promises.held).names.iter().map(Bits::bytes).sum();
        self.sessions.bytes.fetch_sub(taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bloom::name;

    fn promised(number: u64, only: Option<(u64, u64)>) -> Promised {
        let only = only.map(|(segment, bytes)| (SegmentNumber(segment), bytes));
        Promised { name: name(number), only }
    }

    #[test]
    fn a_promise_lasts_as_long_as_its_backup() {
        let sessions = Arc::<Sessions>::default();
        let (first, second) = (sessions.begin(), sessions.begin());
        first.promise([promised(1, Some((7, 10))), promised(2, None), promised(1, Some((7, 10)))]);
        second.promise([promised(1, Some((7, 10)))]);
        assert!(first.has(&name(2)) && !second.has(&name(2)) && sessions.is_promised(&name(2)));
        assert_eq!(sessions.held_bytes(), BTreeMap::from([(SegmentNumber(7), 20)]));
        sessions.moved(&[(name(1), 10), (name(3), 5)], SegmentNumber(8));
        sessions.forget(&[SegmentNumber(7)]);
        assert_eq!(sessions.held_bytes(), BTreeMap::from([(SegmentNumber(8), 20)]));
        drop(first);
        assert!(!sessions.is_promised(&name(2)) && sessions.is_promised(&name(1)));
    }

    #[test]
    fn who_keeps_something_alone_is_fenced_off() {
        let sessions = Arc::<Sessions>::default();
        let (first, second) = (sessions.begin(), sessions.begin());
        let decided = sessions.next();
        let third = sessions.begin();
        first.promise([promised(1, Some((7, 10)))]);
        second.promise([promised(2, None)]);
        third.promise([promised(3, Some((7, 10)))]);
        assert_eq!(sessions.fence_holding(decided), 1);
        assert!(first.is_fenced() && !second.is_fenced() && !third.is_fenced());
        assert!(!sessions.is_promised(&name(1)) && sessions.is_promised(&name(2)));
        assert!(sessions.any_before(decided));
        drop((second, third));
        assert!(!sessions.any_before(u64::MAX));
    }

    #[test]
    fn a_backup_may_be_promised_very_much() {
        let sessions = Arc::<Sessions>::default();
        let session = sessions.begin();
        session.promise((0..300_000).map(|number| promised(number, None)));
        assert!((0..300_000).all(|number| session.has(&name(number))));
        let wrong = (300_000..400_000).filter(|number| session.has(&name(*number))).count();
        assert!(wrong < 300, "{wrong} of 100,000 others are taken for promised");
        let taken = sessions.bytes.load(Ordering::Relaxed);
        assert!((700_000..3_000_000).contains(&taken), "{taken} bytes");
        drop(session);
        assert_eq!(sessions.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn for_whom_no_filter_has_room_everything_stays() {
        let sessions = Arc::<Sessions>::default();
        let (first, second) = (sessions.begin(), sessions.begin());
        first.promise([promised(1, None)]);
        sessions.bytes.fetch_add(BYTES_MAX, Ordering::Relaxed);
        second.promise([promised(2, None)]);
        assert!(second.has(&name(3)) && !first.has(&name(3)) && sessions.has_all());
        assert_eq!(
            (sessions.fence_holding(u64::MAX), second.is_fenced(), sessions.has_all()),
            (1, true, false)
        );
    }
}

//! Backups under way, and what stays for them.
//!
//! A backup counts on chunks and pages that it was told are here, or has stored, before any point refers to them. Each
//! of them is *promised* to it: it stays until the backup has ended, whatever becomes of its references, so that giving
//! room back waits for nobody. What is promised is kept as a filter of names; a few that it takes for promised as well stay
//! longer than they have to. A backup can be fenced off: what it was promised may go, and it cannot make a point.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use model::{Name, SegmentNumber};

use crate::bloom::Bits;
use crate::catalog::Place;
use crate::reader::lock;

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
    /// Bytes that only this backup keeps, by segment; at least as many as there are.
    bytes: BTreeMap<SegmentNumber, u64>,
}

impl Held {
    fn has(&self, name: &Name) -> bool {
        self.names.iter().any(|names| names.may_have(name))
    }

    fn promise(&mut self, promised: &Promised) {
        if self.has(&promised.name) {
            return;
        }
        let larger = match self.names.last() {
            Some(last) if last.is_full() => Some(last.capacity()),
            Some(_) => None,
            None => Some(0),
        };
        self.names.extend(larger.map(Bits::for_names));
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

    /// Whether a name is promised to anybody.
    pub(crate) fn is_promised(&self, name: &Name) -> bool {
        lock(&self.open).promises.values().any(|promises| lock(&promises.held).has(name))
    }

    /// Bytes that only backups keep, by segment; at least as many as there are.
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

    /// Fences off all for which anything stays that nothing else keeps: they make no point any more. How many there were.
    pub(crate) fn fence_holding(&self) -> usize {
        let holds = |promises: &Arc<Promises>| !lock(&promises.held).bytes.is_empty();
        let mut open = lock(&self.open);
        let fenced: Vec<_> = open.promises.extract_if(.., |_, promises| holds(promises)).collect();
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
        promised.into_iter().for_each(|promised| held.promise(&promised));
    }

    /// Whether something may be promised to this backup; never no about what is.
    pub(crate) fn has(&self, name: &Name) -> bool {
        lock(&self.promises.held).has(name)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        lock(&self.sessions.open).promises.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u64) -> Name {
        Name(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

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
        first.promise([promised(1, Some((7, 10)))]);
        second.promise([promised(2, None)]);
        assert_eq!(sessions.fence_holding(), 1);
        assert!(first.is_fenced() && !second.is_fenced());
        assert!(!sessions.is_promised(&name(1)) && sessions.is_promised(&name(2)));
        assert!(sessions.any_before(decided));
        drop(second);
        assert!(!sessions.any_before(u64::MAX));
    }

    #[test]
    fn a_backup_may_be_promised_very_much() {
        let sessions = Arc::<Sessions>::default();
        let session = sessions.begin();
        session.promise((0..300_000).map(|number| promised(number, None)));
        assert!((0..300_000).all(|number| session.has(&name(number))));
        let wrong = (300_000..400_000).filter(|number| session.has(&name(*number))).count();
        assert!(wrong < 3_000, "{wrong} of 100,000 others are taken for promised");
    }
}

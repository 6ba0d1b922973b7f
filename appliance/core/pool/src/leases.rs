//! What keeps things from being given back while they are in use: leases on points, and backups under way.
//!
//! A point that is dropped while somebody reads it stays readable until the last lease on it ends. A backup counts on
//! chunks that it was told are here, before any point refers to them; so nothing is given back that was decided on
//! after a backup began, until that backup has ended or is fenced off, after which it cannot make a point.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use model::archive::PointKey;

use crate::reader::lock;

/// Points that are being read, and by how many.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    held: Mutex<BTreeMap<PointKey, usize>>,
}

/// Keeps a point readable until it is dropped.
#[derive(Debug)]
pub struct Lease {
    leases: Arc<Leases>,
    point: PointKey,
}

impl Leases {
    pub(crate) fn hold(self: &Arc<Self>, point: PointKey) -> Lease {
        *lock(&self.held).entry(point).or_default() += 1;
        Lease { leases: Arc::clone(self), point }
    }

    pub(crate) fn is_held(&self, point: PointKey) -> bool {
        lock(&self.held).contains_key(&point)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut held = lock(&self.leases.held);
        if let Some(count) = held.get_mut(&self.point) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.point);
            }
        }
    }
}

/// Backups under way, in the order in which they began.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    numbers: BTreeMap<u64, Arc<AtomicBool>>,
}

/// A backup under way.
#[derive(Debug)]
pub struct Session {
    sessions: Arc<Sessions>,
    number: u64,
    is_fenced: Arc<AtomicBool>,
}

impl Sessions {
    /// A backup begins.
    pub(crate) fn begin(self: &Arc<Self>) -> Session {
        let mut open = lock(&self.open);
        let (number, is_fenced) = (open.next, Arc::<AtomicBool>::default());
        open.next += 1;
        open.numbers.insert(number, Arc::clone(&is_fenced));
        Session { sessions: Arc::clone(self), number, is_fenced }
    }

    /// The number of the next one.
    pub(crate) fn next(&self) -> u64 {
        lock(&self.open).next
    }

    /// Whether one is under way that began before that number was the next.
    pub(crate) fn any_before(&self, number: u64) -> bool {
        lock(&self.open).numbers.first_key_value().is_some_and(|(first, _)| *first < number)
    }

    /// Fences off all that began before that number was the next: they make no point any more.
    pub(crate) fn fence_before(&self, number: u64) -> usize {
        let mut open = lock(&self.open);
        let kept = open.numbers.split_off(&number);
        let fenced = std::mem::replace(&mut open.numbers, kept);
        fenced.values().for_each(|is_fenced| is_fenced.store(true, Ordering::Release));
        fenced.len()
    }
}

impl Session {
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// Whether what this backup counted on may be gone.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.is_fenced.load(Ordering::Acquire)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        lock(&self.sessions.open).numbers.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use model::SourceId;

    use super::*;

    #[test]
    fn a_point_is_held_until_the_last_lease_ends() {
        let leases = Arc::new(Leases::default());
        let point = PointKey { source: SourceId(1), number: 2 };
        let (first, second) = (leases.hold(point), leases.hold(point));
        drop(first);
        assert!(leases.is_held(point) && !leases.is_held(PointKey { number: 3, ..point }));
        drop(second);
        assert!(!leases.is_held(point));
    }

    #[test]
    fn a_backup_holds_up_what_was_decided_after_it_began() {
        let sessions = Arc::new(Sessions::default());
        let first = sessions.begin();
        let decided = sessions.next();
        let second = sessions.begin();
        assert!(sessions.any_before(decided));
        assert_eq!(sessions.fence_before(decided), 1);
        assert!(first.is_fenced() && !second.is_fenced() && !sessions.any_before(decided));
        drop(first);
        assert!(sessions.any_before(sessions.next()));
        drop(second);
        assert!(!sessions.any_before(u64::MAX));
    }
}

//! Leases on points: one that is dropped while somebody reads it, or builds upon it, stays readable until the last lease on
//! it ends.

use std::collections::BTreeMap;
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
}

//! What must hold when all actors are through: whatever they did, and in whatever order.

use std::collections::BTreeSet;

use shuttle::sync::Arc;

use crate::{Name, Outcome, PointId, Pool, State};

impl Pool {
    /// Checks the pool as it is.
    pub fn audit(self: &Arc<Self>) {
        self.step(State::audit);
    }
}

impl State {
    /// Every point of history can be read, no sound place is marked bad, references are those of the points, and no
    /// name has its place in a removed segment.
    pub fn audit(&mut self) {
        self.drive.failures = 0;
        for (point, root) in self.catalog.points.clone() {
            for name in self.tree(root) {
                let found = self.place(name).map(|place| self.drive.look(name, place));
                let rotted = self.place(name).is_some_and(|place| self.drive.rotted.contains(&place));
                assert!(
                    matches!(found, Some(Outcome::Sound(_))) || rotted && found == Some(Outcome::Rotten),
                    "violation: {point:?} holds {name:?}, which is lost: {found:?}"
                );
            }
        }
        for place in &self.bad {
            let copy = self.drive.segments.get(&place.segment).and_then(|copies| copies.get(place.index));
            assert!(
                copy.is_none_or(|copy| !copy.is_sound),
                "violation: a sound copy at {place:?} counts as bad"
            );
        }
        while self.count_one() {}
        let mut references = self.catalog.ledger.references.clone();
        references.retain(|_, count| *count != 0);
        let recount = self.recount();
        assert!(
            references == recount,
            "violation: references {references:?} differ from a recount, {recount:?}"
        );
        let counted: BTreeSet<PointId> = self.catalog.ledger.counted.keys().copied().collect();
        let held = self.catalog.points.keys().chain(self.leases.keys()).copied().collect();
        assert!(counted == held, "violation: {counted:?} are counted and {held:?} are held");
    }

    /// All names that a tree holds, its root first.
    pub(crate) fn tree(&self, root: Name) -> Vec<Name> {
        let page = self.place(root).map(|place| self.drive.look(root, place));
        let refers = match page {
            Some(Outcome::Sound(refers)) => refers,
            _ => Vec::new(),
        };
        std::iter::once(root).chain(refers).collect()
    }

    /// Whether the copy of a name can be read where the catalog has it.
    #[must_use]
    pub fn is_sound(&self, name: Name) -> bool {
        self.place(name).is_some_and(|place| matches!(self.drive.look(name, place), Outcome::Sound(_)))
    }

    /// Whether files of removed segments are left.
    #[must_use]
    pub fn has_leftovers(&self) -> bool {
        self.drive.segments.keys().any(|segment| self.catalog.removed.contains(segment))
    }
}

//! The index over the log: places, history, what was removed, and the ledger of references. Derived, and flushed as a whole.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Event, Guards, Ledger, Name, Place, PointId, Record, SegmentNumber};

/// The catalog.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Catalog {
    /// Commits of the log that it has read.
    pub(crate) commits: usize,
    pub(crate) places: BTreeMap<Name, Place>,
    pub(crate) removed: BTreeSet<SegmentNumber>,
    /// Points in history and the roots of their trees.
    pub(crate) points: BTreeMap<PointId, Name>,
    pub(crate) ledger: Ledger,
    /// The highest number of a segment that a commit names.
    pub(crate) highest: u8,
}

impl Catalog {
    /// Takes the records of one commit. Places in removed segments stay until [`Self::settle`].
    pub(crate) fn apply(&mut self, commit: &[Record]) {
        self.commits += 1;
        for record in commit {
            match *record {
                Record::Index(name, place) => {
                    self.places.insert(name, place);
                    self.highest = self.highest.max(place.segment.0);
                }
                Record::Point(point, root) => {
                    self.points.insert(point, root);
                    self.ledger.queue.push_back(Event::Add(point, root));
                }
                Record::Drop(point) => {
                    self.points.remove(&point);
                    self.ledger.queue.push_back(Event::Remove(point));
                }
                Record::Removed(segment) => {
                    self.removed.insert(segment);
                    self.highest = self.highest.max(segment.0);
                }
            }
        }
    }

    /// Forgets places in removed segments. Sound only when everything is counted: until then the counter may need them.
    pub(crate) fn settle(&mut self, guards: &Guards) {
        if guards.removal_drops_places {
            self.places.retain(|_, place| !self.removed.contains(&place.segment));
        }
    }
}

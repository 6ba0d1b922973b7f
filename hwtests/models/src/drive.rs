//! What is on the drive: segments with their copies, the log of commits, and the catalog as it was last flushed.

use std::collections::{BTreeMap, BTreeSet};

use crate::Catalog;

/// The name of a chunk or a page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Name(pub u8);

/// The number of a segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SegmentNumber(pub u8);

/// A point: its source, and its place in the history of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PointId {
    /// The source.
    pub source: u8,
    /// Later points have higher numbers.
    pub number: u8,
}

/// Where a copy is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// The segment.
    pub segment: SegmentNumber,
    /// Which copy in it.
    pub index: usize,
}

/// A copy of a named chunk or page in a segment.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    pub(crate) name: Name,
    /// What a page refers to; a chunk refers to nothing.
    pub(crate) refers: Vec<Name>,
    pub(crate) is_sound: bool,
    pub(crate) is_durable: bool,
}

/// A durable fact.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record {
    /// A copy of a name is at a place.
    Index(Name, Place),
    /// A point whose tree has this root.
    Point(PointId, Name),
    /// A point is dropped from history.
    Drop(PointId),
    /// A segment holds nothing that is needed.
    Removed(SegmentNumber),
}

/// What came of reading a place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The copy, and what it refers to.
    Sound(Vec<Name>),
    /// Bytes that are not what the name says.
    Rotten,
    /// There is no such file, or it is too short.
    Gone,
    /// The device said that it could not read.
    Failed,
}

/// The drive.
#[derive(Default, Debug)]
pub struct Drive {
    pub(crate) segments: BTreeMap<SegmentNumber, Vec<Copy>>,
    /// Unlinked, but the directory is not synced: a crash may bring them back.
    pub(crate) unlinked: BTreeMap<SegmentNumber, Vec<Copy>>,
    pub(crate) log: Vec<Vec<Record>>,
    pub(crate) catalog: Catalog,
    /// Names that were known, with the number of removals of which it knew.
    pub(crate) cache: (usize, BTreeSet<Name>),
    /// Places whose bytes rotted where they lay.
    pub(crate) rotted: BTreeSet<Place>,
    /// How many reads may still fail for no reason.
    pub(crate) failures: u8,
}

impl Drive {
    /// Reads a place; may fail as long as [`Self::failures`] last.
    pub(crate) fn read(&mut self, name: Name, place: Place) -> Outcome {
        if self.failures > 0 && crate::check::chance() {
            self.failures -= 1;
            return Outcome::Failed;
        }
        self.look(name, place)
    }

    /// What is at a place, whatever the device does.
    pub(crate) fn look(&self, name: Name, place: Place) -> Outcome {
        match self.segments.get(&place.segment).and_then(|copies| copies.get(place.index)) {
            None => Outcome::Gone,
            Some(copy) if copy.is_sound && copy.name == name => Outcome::Sound(copy.refers.clone()),
            Some(_) => Outcome::Rotten,
        }
    }

    /// Appends a copy to a segment.
    pub(crate) fn append(&mut self, segment: SegmentNumber, copy: Copy) -> Place {
        let copies = self.segments.entry(segment).or_default();
        copies.push(copy);
        Place { segment, index: copies.len() - 1 }
    }

    /// Makes all copies durable.
    pub(crate) fn sync(&mut self) {
        for copy in self.segments.values_mut().flatten() {
            copy.is_durable = true;
        }
    }

    /// What a power cut leaves: durable copies, and unlinked files that the directory still holds.
    pub(crate) fn lose(&mut self, undoes_unlink: bool) {
        let back = std::mem::take(&mut self.unlinked);
        if undoes_unlink {
            for (segment, copies) in back {
                self.segments.entry(segment).or_insert(copies);
            }
        }
        for copies in self.segments.values_mut() {
            copies.retain(|copy| copy.is_durable);
        }
        self.segments.retain(|_, copies| !copies.is_empty());
    }
}

//! Places that do not give back what was put there, as far as that is known: from opening, from scrub and verification,
//! and from reads that failed.
//!
//! A chunk or page in such a place counts as absent to whoever could send it again, so the next backup that has it puts
//! it into another place. Notes in the pool keep what is known over an opening ([`crate::notes`]); where one is missing
//! it follows from the drive. It errs to the side of storing twice.

use std::collections::BTreeMap;
use std::sync::Mutex;

use chunk::padded_length;
use model::SegmentNumber;

use crate::reader::lock;
use crate::segment::FramePlace;

/// Most frames that are remembered one by one; beyond that a whole segment is given up for a frame.
const FRAMES_MAX: usize = 100_000;

/// What is known to be bad.
#[derive(Default)]
pub(crate) struct BadPlaces(Mutex<Known>);

/// What a frame was written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Chunks or pages, which are read from elsewhere once they are there.
    Names,
    /// Records or indexes, from which the catalog is made.
    Log,
}

/// What is bad of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BadSegment {
    /// From where on nothing of it can be read.
    pub(crate) from: Option<u64>,
    /// Frames, by their offsets.
    pub(crate) frames: BTreeMap<u64, Holds>,
}

impl BadSegment {
    /// How many places there are.
    pub(crate) fn count(&self) -> u64 {
        self.frames.len() as u64 + u64::from(self.from.is_some())
    }
}

#[derive(Default)]
struct Known {
    /// Segments that are bad from an offset on.
    segments: BTreeMap<SegmentNumber, u64>,
    /// Frames, by segment and offset.
    frames: BTreeMap<(SegmentNumber, u64), Holds>,
}

impl BadPlaces {
    /// Whether a frame is known to be bad.
    pub(crate) fn has(&self, frame: FramePlace) -> bool {
        let known = lock(&self.0);
        let end = frame.offset.saturating_add(padded_length(frame.sealed_length as usize) as u64);
        known.frames.contains_key(&(frame.segment, frame.offset))
            || known.segments.get(&frame.segment).is_some_and(|from| end > *from)
    }

    /// A frame of chunks or pages cannot be read.
    pub(crate) fn add(&self, segment: SegmentNumber, offset: u64) {
        self.add_frame(segment, offset, Holds::Names);
    }

    /// A frame cannot be read.
    pub(crate) fn add_frame(&self, segment: SegmentNumber, offset: u64, holds: Holds) {
        let mut known = lock(&self.0);
        if known.frames.len() < FRAMES_MAX || known.frames.contains_key(&(segment, offset)) {
            known.frames.insert((segment, offset), holds);
        } else {
            known.forget_frames(segment);
            known.segments.insert(segment, 0);
        }
    }

    /// A segment cannot be read from an offset on.
    pub(crate) fn add_segment(&self, segment: SegmentNumber, from: u64) {
        let mut known = lock(&self.0);
        let known = known.segments.entry(segment).or_insert(from);
        *known = from.min(*known);
    }

    /// A frame can be read.
    pub(crate) fn remove(&self, segment: SegmentNumber, offset: u64) {
        lock(&self.0).frames.remove(&(segment, offset));
    }

    /// A segment can be read, apart from frames that are known one by one.
    pub(crate) fn remove_segment(&self, segment: SegmentNumber) {
        lock(&self.0).segments.remove(&segment);
    }

    /// All of it, by segment.
    pub(crate) fn list(&self) -> BTreeMap<SegmentNumber, BadSegment> {
        let known = lock(&self.0);
        let mut all = BTreeMap::<SegmentNumber, BadSegment>::new();
        for (segment, from) in &known.segments {
            all.entry(*segment).or_default().from = Some(*from);
        }
        for ((segment, offset), holds) in &known.frames {
            all.entry(*segment).or_default().frames.insert(*offset, *holds);
        }
        all
    }

    /// A segment is made, whatever had its number before.
    pub(crate) fn forget(&self, segment: SegmentNumber) {
        let mut known = lock(&self.0);
        known.forget_frames(segment);
        known.segments.remove(&segment);
    }
}

impl Known {
    fn forget_frames(&mut self, segment: SegmentNumber) {
        self.frames.retain(|(number, _), _| *number != segment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(segment: u64, offset: u64) -> FramePlace {
        FramePlace { segment: SegmentNumber(segment), offset, sealed_length: 64 }
    }

    #[test]
    fn frames_are_bad_one_by_one_or_with_the_end_of_their_segment() {
        let bad = BadPlaces::default();
        bad.add(SegmentNumber(1), 192);
        assert!(bad.has(frame(1, 192)) && !bad.has(frame(1, 320)) && !bad.has(frame(2, 192)));
        bad.add_segment(SegmentNumber(2), 400);
        assert!(!bad.has(frame(2, 192)) && bad.has(frame(2, 320)) && bad.has(frame(2, 448)));
        bad.add_segment(SegmentNumber(2), 500);
        assert!(bad.has(frame(2, 320)), "the worse of the two holds");
        bad.remove_segment(SegmentNumber(2));
        bad.remove(SegmentNumber(1), 192);
        assert!(!bad.has(frame(1, 192)) && !bad.has(frame(2, 448)));
    }

    #[test]
    fn memory_is_bounded() {
        let bad = BadPlaces::default();
        let offsets = (0..).map(|n| 192 + n * 128);
        offsets.clone().take(FRAMES_MAX).for_each(|offset| bad.add(SegmentNumber(1), offset));
        offsets.take(3).for_each(|offset| bad.add(SegmentNumber(2), offset));
        assert!(bad.has(frame(1, 192)) && bad.has(frame(2, 1 << 30)));
        assert_eq!(lock(&bad.0).frames.len(), FRAMES_MAX);
        bad.forget(SegmentNumber(1));
        assert!(!bad.has(frame(1, 192)) && lock(&bad.0).frames.is_empty());
    }
}

//! Places that do not give back what was put there, as far as that is known: from opening, from verification, and from
//! reads that failed.
//!
//! A chunk or page in such a place counts as absent to whoever could send it again, so the next backup that has it puts
//! it into another place. It is kept in memory only: it follows from the drive, and errs to the side of storing twice.

use std::collections::{BTreeMap, BTreeSet};
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

#[derive(Default)]
struct Known {
    /// Segments that are bad from an offset on.
    segments: BTreeMap<SegmentNumber, u64>,
    /// Frames, by segment and offset.
    frames: BTreeSet<(SegmentNumber, u64)>,
}

impl BadPlaces {
    /// Whether a frame is known to be bad.
    pub(crate) fn has(&self, frame: FramePlace) -> bool {
        let known = lock(&self.0);
        let end = frame.offset.saturating_add(padded_length(frame.sealed_length as usize) as u64);
        known.frames.contains(&(frame.segment, frame.offset))
            || known.segments.get(&frame.segment).is_some_and(|from| end > *from)
    }

    /// A frame cannot be read.
    pub(crate) fn add(&self, segment: SegmentNumber, offset: u64) {
        let mut known = lock(&self.0);
        if known.frames.len() < FRAMES_MAX || known.frames.contains(&(segment, offset)) {
            known.frames.insert((segment, offset));
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

    /// A segment is made, whatever had its number before.
    pub(crate) fn forget(&self, segment: SegmentNumber) {
        let mut known = lock(&self.0);
        known.forget_frames(segment);
        known.segments.remove(&segment);
    }
}

impl Known {
    fn forget_frames(&mut self, segment: SegmentNumber) {
        self.frames.retain(|(number, _)| *number != segment);
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

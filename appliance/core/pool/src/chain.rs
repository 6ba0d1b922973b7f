//! Which commit marks count, when the segments hold more than one story.
//!
//! A meta segment says in its header after which commit it was made. Marks beyond that commit in older meta segments
//! are stale: at the opening that made the segment they could not be read, and another commit took their number. The
//! newest mark that is not stale ends the chain; each mark names the hash of the one before it, and where that one
//! can be found it counts, whatever else has its number.

use std::collections::HashMap;

use model::{CommitNumber, SegmentNumber};

/// A mark that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its meta segment.
    pub(crate) segment: SegmentNumber,
    /// Where its frame starts.
    pub(crate) offset: u64,
    /// Its commit.
    pub(crate) number: CommitNumber,
    /// BLAKE3 of the body that holds it.
    pub(crate) hash: [u8; 32],
    /// The hash that it says the mark before it has.
    pub(crate) previous: [u8; 32],
    /// The last commit before it whose mark is gone for good.
    pub(crate) base: Option<CommitNumber>,
}

/// The marks behind commit `base` that count, oldest first. `marks` come in the order of their places; `metas` are
/// meta segments, ascending, with the last commit before each was made.
pub(crate) fn choose(
    marks: &[Seen],
    metas: &[(SegmentNumber, CommitNumber)],
    base: CommitNumber,
) -> Vec<Seen> {
    let by_hash: HashMap<[u8; 32], usize> = marks.iter().enumerate().map(|(at, m)| (m.hash, at)).collect();
    let end = CommitNumber(u64::MAX);
    let mut chosen = Vec::new();
    let mut next = newest(marks, metas, SegmentNumber(u64::MAX), base, end);
    while let Some((at, mark)) = next.and_then(|at| marks.get(at).map(|mark| (at, *mark))) {
        chosen.push(mark);
        let named = by_hash.get(&mark.previous).filter(|found| {
            **found < at
                && marks.get(**found).is_some_and(|m| m.number.next() == mark.number && m.number > base)
        });
        let earlier = marks.get(..at).unwrap_or_default();
        next = named.copied().or_else(|| newest(earlier, metas, mark.segment, base, mark.number));
    }
    chosen.reverse();
    chosen
}

/// The last of `marks` between two commits that no meta segment up to `segment` makes stale.
fn newest(
    marks: &[Seen],
    metas: &[(SegmentNumber, CommitNumber)],
    segment: SegmentNumber,
    base: CommitNumber,
    end: CommitNumber,
) -> Option<usize> {
    let mut later = metas.iter().rev().skip_while(|(number, _)| *number > segment).peekable();
    let mut sound = CommitNumber(u64::MAX);
    marks.iter().enumerate().rev().find_map(|(at, mark)| {
        while let Some((_, after)) = later.next_if(|(number, _)| *number > mark.segment) {
            sound = sound.min(*after);
        }
        (base < mark.number && mark.number < end && mark.number <= sound).then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mark by its segment, its number, and letters for its own hash and the one before.
    fn seen(segment: u64, number: u64, hash: u8, previous: u8) -> Seen {
        let (segment, number) = (SegmentNumber(segment), CommitNumber(number));
        Seen {
            segment,
            offset: 192 + number.0 * 64,
            number,
            hash: [hash; 32],
            previous: [previous; 32],
            base: None,
        }
    }

    fn chosen(marks: &[Seen], metas: &[(u64, u64)], base: u64) -> Vec<(u64, u64)> {
        let metas: Vec<_> =
            metas.iter().map(|(n, after)| (SegmentNumber(*n), CommitNumber(*after))).collect();
        let chain = choose(marks, &metas, CommitNumber(base));
        chain.iter().map(|mark| (mark.segment.0, mark.number.0)).collect()
    }

    #[test]
    fn one_story_counts_whole_and_only_behind_the_base() {
        let marks = [seen(1, 1, b'a', 0), seen(1, 2, b'b', b'a'), seen(4, 3, b'c', b'b')];
        assert_eq!(chosen(&marks, &[(1, 0), (4, 2)], 0), [(1, 1), (1, 2), (4, 3)]);
        assert_eq!(chosen(&marks, &[(1, 0), (4, 2)], 2), [(4, 3)]);
        assert_eq!(chosen(&[], &[(1, 0)], 0), []);
    }

    #[test]
    fn a_mark_beyond_what_a_later_segment_follows_is_stale() {
        let marks = [seen(1, 1, b'a', 0), seen(1, 2, b'b', b'a'), seen(2, 2, b'x', b'a')];
        assert_eq!(chosen(&marks, &[(1, 0), (2, 1)], 0), [(1, 1), (2, 2)]);
        assert_eq!(chosen(&marks[..2], &[(1, 0), (2, 1)], 0), [(1, 1)], "although nothing took its number");
    }

    #[test]
    fn of_rivals_the_one_counts_that_the_next_mark_names() {
        let marks =
            [seen(1, 1, b'a', 0), seen(1, 2, b'b', b'a'), seen(2, 2, b'x', b'a'), seen(3, 3, b'c', b'b')];
        assert_eq!(chosen(&marks, &[(1, 0), (2, 1), (3, 2)], 0), [(1, 1), (1, 2), (3, 3)]);
    }

    #[test]
    fn a_gap_is_bridged_by_the_newest_mark_that_is_not_stale() {
        let marks = [seen(1, 1, b'a', 0), seen(1, 2, b'b', b'a'), seen(2, 4, b'd', b'c')];
        assert_eq!(chosen(&marks, &[(1, 0), (2, 3)], 0), [(1, 1), (1, 2), (2, 4)]);
        assert_eq!(chosen(&marks, &[(1, 0), (2, 1)], 0), [(1, 1), (2, 4)]);
    }
}

//! Which segments were checked when: the rounds of the scrub.
//!
//! A round takes the segments that are there when it begins, those first that were checked longest ago by the number of
//! the round; what is written meanwhile waits for the next one. The catalog keeps it. Whoever loses that begins
//! anew: nothing but the order of reading depends on it, and the times are for showing only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use model::{SegmentNumber, Time};

use crate::catalog::Mark;

/// What shows that the frames of a segment are as they were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// BLAKE3 of every frame, from the footer of a sealed segment.
    Hashes,
    /// The checksum in every frame: the segment was never sealed, or its footer is lost.
    Checksums,
    /// None: the segment cannot be read.
    Nothing,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hashes => "by the hashes in its footer",
            Self::Checksums => "by the checksums of its frames",
            Self::Nothing => "by nothing: it cannot be read",
        })
    }
}

/// The last check of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// In which round.
    pub round: u64,
    /// When it was done, by the appliance's clock.
    pub at: Time,
    /// What its frames were compared with.
    pub proof: Proof,
}

/// What was found in a round, as long as the process lives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Lines of damage.
    pub(crate) damage: Vec<String>,
    /// Bytes of the segment under way that are checked.
    pub(crate) progress: u64,
    /// Places that read well only the second time.
    pub(crate) repeated: u64,
    /// Copies that were mended.
    pub(crate) mended: u64,
}

/// Which segments were checked when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rounds {
    /// The number of the last round; 0 if there was none.
    pub(crate) round: u64,
    /// The last segment of the round, while it is under way.
    pub(crate) end: Option<SegmentNumber>,
    /// The last check of each segment.
    pub(crate) checked: BTreeMap<SegmentNumber, Checked>,
    /// What the catalog does not have yet.
    pub(crate) unsaved: BTreeSet<SegmentNumber>,
    /// It does not have something of all this.
    pub(crate) is_unsaved: bool,
    /// Segments that somebody wants to be checked before all others, round or not. The catalog does not keep them.
    pub(crate) urgent: BTreeSet<SegmentNumber>,
    /// What was found in the round. The catalog does not keep it.
    pub(crate) report: Report,
}

impl Rounds {
    /// The next round, over what there is.
    pub(crate) fn begin(&mut self, mark: &Mark) {
        self.round += 1;
        self.report = Report::default();
        self.end = mark.lengths.last().map(|(segment, _)| *segment);
        self.is_unsaved = true;
    }

    /// The round is at its end.
    pub(crate) fn finish(&mut self) {
        self.end = None;
        self.is_unsaved = true;
    }

    /// The segments of the round under way that are left.
    fn left<'a>(&'a self, mark: &'a Mark) -> impl Iterator<Item = (SegmentNumber, u64)> + 'a {
        let last = |segment: &SegmentNumber| self.checked.get(segment).map_or(0, |checked| checked.round);
        let all = mark.lengths.iter().copied();
        all.filter(move |(segment, _)| {
            self.end.is_some_and(|end| *segment <= end) && last(segment) < self.round
        })
    }

    /// The next segment and its valid bytes: an urgent one, or one of the round; none at its end.
    pub(crate) fn next(&self, mark: &Mark) -> Option<(SegmentNumber, u64)> {
        let urgent = self.urgent.iter().find_map(|segment| Some((*segment, mark.length_of(*segment)?)));
        urgent.or_else(|| self.next_of_round(mark))
    }

    fn next_of_round(&self, mark: &Mark) -> Option<(SegmentNumber, u64)> {
        let last = |segment| self.checked.get(&segment).map_or(0, |checked| checked.round);
        self.left(mark).min_by_key(|(segment, _)| (last(*segment), *segment))
    }

    /// How many segments of the round are left, and their bytes.
    pub(crate) fn rest(&self, mark: &Mark) -> (u64, u64) {
        self.left(mark).fold((0, 0), |(count, bytes), (_, length)| (count + 1, bytes + length))
    }

    /// A segment is checked.
    pub(crate) fn check(&mut self, segment: SegmentNumber, at: Time, proof: Proof) {
        self.urgent.remove(&segment);
        self.checked.insert(segment, Checked { round: self.round, at, proof });
        self.unsaved.insert(segment);
        self.is_unsaved = true;
    }

    /// A segment is gone.
    pub(crate) fn forget(&mut self, segment: SegmentNumber) {
        self.urgent.remove(&segment);
        self.checked.remove(&segment);
        self.unsaved.remove(&segment);
    }

    /// What the catalog does not have.
    pub(crate) fn changes(&self) -> Self {
        let get = |segment: &SegmentNumber| Some((*segment, *self.checked.get(segment)?));
        let checked = self.unsaved.iter().filter_map(get).collect();
        Self { round: self.round, end: self.end, checked, unsaved: self.unsaved.clone(), ..Self::default() }
    }

    /// Everything is in the catalog.
    pub(crate) fn saved(&mut self) {
        self.unsaved.clear();
        self.is_unsaved = false;
    }

    /// What goes on after the pool was opened again in the same process, with a catalog that may be another one.
    pub(crate) fn after_opening(self, of_catalog: Self, mark: &Mark) -> Self {
        if self.round < of_catalog.round || self.round == 0 {
            return Self { urgent: self.urgent, ..of_catalog };
        }
        let mut kept = self;
        kept.checked.retain(|segment, _| mark.length_of(*segment).is_some());
        kept.unsaved = kept.checked.keys().copied().collect();
        kept.is_unsaved = true;
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(segments: impl IntoIterator<Item = u64>) -> Mark {
        let lengths = segments.into_iter().map(|number| (SegmentNumber(number), 100)).collect();
        Mark { lengths, ..Mark::default() }
    }

    /// The segments of a round in its order, each of which is checked.
    fn go(rounds: &mut Rounds, mark: &Mark) -> Vec<u64> {
        let mut order = Vec::new();
        while let Some((segment, _)) = rounds.next(mark) {
            rounds.check(segment, Time(7), Proof::Hashes);
            order.push(segment.0);
        }
        order
    }

    #[test]
    fn those_that_were_checked_longest_ago_come_first() {
        let mut rounds = Rounds::default();
        assert_eq!(rounds.next(&mark([1])), None, "no round is under way");
        rounds.begin(&mark([1, 2, 5]));
        assert_eq!(rounds.rest(&mark([1, 2, 5])), (3, 300));
        assert_eq!(
            go(&mut rounds, &mark([1, 2, 5, 6, 7])),
            [1, 2, 5],
            "what came later is of the next round"
        );
        rounds.finish();
        rounds.begin(&mark([1, 2, 5, 6, 7]));
        rounds.check(SegmentNumber(6), Time(8), Proof::Hashes);
        rounds.begin(&mark([1, 2, 5, 6, 7]));
        assert_eq!(go(&mut rounds, &mark([1, 5, 6, 7])), [7, 1, 5, 6], "one of them went meanwhile");
    }

    #[test]
    fn an_opening_goes_on_with_what_the_process_knows() {
        let mut rounds = Rounds::default();
        rounds.begin(&mark([1, 2]));
        rounds.check(SegmentNumber(1), Time(8), Proof::Hashes);
        rounds.saved();
        let kept = rounds.clone().after_opening(Rounds::default(), &mark([1, 2]));
        assert_eq!((kept.next(&mark([1, 2])), kept.unsaved.len()), (Some((SegmentNumber(2), 100)), 1));
        let kept = Rounds::default().after_opening(rounds, &mark([1, 2]));
        assert_eq!((kept.round, kept.is_unsaved), (1, false));
    }
}

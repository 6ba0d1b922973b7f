//! Which bytes of data segments indexes name, and which they leave out.

use std::collections::BTreeMap;

use model::SegmentNumber;

/// Bytes of segments that indexes named, as ranges that do not touch each other.
#[derive(Default)]
pub(super) struct Named(BTreeMap<SegmentNumber, BTreeMap<u64, u64>>);

impl Named {
    /// Notes bytes that an index named.
    pub(super) fn add(&mut self, segment: SegmentNumber, mut from: u64, mut to: u64) {
        let ranges = self.0.entry(segment).or_default();
        while let Some((&start, &end)) = ranges.range(..=to).next_back()
            && end >= from
        {
            ranges.remove(&start);
            (from, to) = (from.min(start), to.max(end));
        }
        ranges.insert(from, to);
    }

    /// The bytes between two of a segment that no index named, ascending.
    pub(super) fn holes(&self, segment: SegmentNumber, from: u64, to: u64) -> Vec<(u64, u64)> {
        let mut holes = Vec::new();
        let mut at = from;
        for (&start, &end) in self.0.get(&segment).into_iter().flatten() {
            if at < start.min(to) {
                holes.push((at, start.min(to)));
            }
            at = at.max(end);
        }
        if at < to {
            holes.push((at, to));
        }
        holes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn holes_are_what_was_not_named(
            named in proptest::collection::vec((0u64..60, 1u64..9), 0..20),
            from in 0u64..30,
            length in 0u64..40,
        ) {
            let mut ranges = Named::default();
            named.iter().for_each(|(at, length)| ranges.add(SegmentNumber(1), *at, at + length));
            let is_named = |byte: u64| named.iter().any(|(at, length)| (*at..at + length).contains(&byte));
            let holes = ranges.holes(SegmentNumber(1), from, from + length);
            for byte in from..from + length {
                prop_assert_eq!(holes.iter().any(|(a, b)| (*a..*b).contains(&byte)), !is_named(byte));
            }
            prop_assert!(holes.iter().all(|(a, b)| from <= *a && a < b && *b <= from + length));
            prop_assert!(holes.windows(2).all(|pair| pair[0].1 < pair[1].0));
            prop_assert_eq!(ranges.holes(SegmentNumber(2), 3, 5), vec![(3, 5)]);
        }
    }
}

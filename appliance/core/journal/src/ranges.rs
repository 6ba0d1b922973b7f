//! Ranges of keys: a set of intervals that neither overlap nor touch.
//!
//! Ranges are end-exclusive. Asking and inserting cost a few look-ups; intervals that an insertion swallows were
//! inserted before, so that all insertions together cost what was inserted.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use model::item::ItemKey;

use crate::overlay::key_bytes;

/// Keys of a tree, as ranges.
#[derive(Debug, Default)]
pub(crate) struct KeyRanges {
    /// Ends by starts.
    ranges: BTreeMap<ItemKey, ItemKey>,
    bytes: usize,
}

impl KeyRanges {
    /// Memory that the ranges take, about.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds `start..end`.
    pub(crate) fn insert(&mut self, mut start: ItemKey, mut end: ItemKey) {
        if start >= end {
            return;
        }
        if let Some((before, reach)) = self.ranges.range(..=&start).next_back()
            && *reach >= start
        {
            if *reach >= end {
                return;
            }
            start = before.clone();
        }
        while let Some((key, _)) = self.ranges.range(&start..=&end).next() {
            let key = key.clone();
            let Some(reach) = self.ranges.remove(&key) else { break };
            self.bytes -= weight(&key, &reach);
            end = end.max(reach);
        }
        self.bytes += weight(&start, &end);
        self.ranges.insert(start, end);
    }

    /// Whether a key is in one of the ranges.
    pub(crate) fn contains(&self, key: &ItemKey) -> bool {
        self.ranges.range(..=key).next_back().is_some_and(|(_, end)| key < end)
    }

    /// What of `from..to` is in none of the ranges, ascending.
    pub(crate) fn gaps<'a>(
        &'a self,
        from: &'a ItemKey,
        to: &'a ItemKey,
    ) -> impl Iterator<Item = (&'a ItemKey, &'a ItemKey)> {
        let to = to.max(from);
        let first = self.ranges.range(..=from).next_back().map_or(from, |(_, end)| end.max(from));
        let inside = self.ranges.range(from..to).filter(move |(start, _)| *start != from);
        let starts = std::iter::once(first).chain(inside.clone().map(|(_, end)| end));
        let ends = inside.map(|(start, _)| start).chain(std::iter::once(to));
        starts.zip(ends).filter(|(start, end)| start < end)
    }

    /// The ranges that hold keys behind `last`, ascending; without one, all of them.
    pub(crate) fn behind<'a>(
        &'a self,
        last: Option<&'a ItemKey>,
    ) -> impl Iterator<Item = (&'a ItemKey, &'a ItemKey)> {
        let around = last.and_then(|last| self.ranges.range(..=last).next_back());
        let around = around.filter(move |(_, end)| last.is_some_and(|last| *end > last));
        let rest = self.ranges.range((last.map_or(Unbounded, Excluded), Unbounded));
        around.into_iter().chain(rest)
    }
}

/// Memory of a range: maps are about half full.
fn weight(start: &ItemKey, end: &ItemKey) -> usize {
    2 * size_of::<(ItemKey, ItemKey)>() + key_bytes(start) + key_bytes(end)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use model::ObjectId;
    use proptest::prelude::*;

    use super::*;

    fn key(offset: u64) -> ItemKey {
        ItemKey::extent(ObjectId(7), offset)
    }

    proptest! {
        #[test]
        fn ranges_are_a_set_of_keys(
            all in proptest::collection::vec((0u64..40, 0u64..12), 0..30),
            (from, to) in (0u64..50, 0u64..50),
            last in proptest::option::of(0u64..50),
        ) {
            let mut ranges = KeyRanges::default();
            let mut expected = BTreeSet::new();
            for (start, length) in all {
                ranges.insert(key(start), key(start + length));
                expected.extend(start..start + length);
            }
            let held = |at: u64| expected.contains(&at);
            prop_assert!((0..60).all(|at| ranges.contains(&key(at)) == held(at)));
            let within = |start: &ItemKey, end: &ItemKey, at| (start..end).contains(&&key(at));
            for at in 0..60 {
                let gap = ranges.gaps(&key(from), &key(to)).any(|(start, end)| within(start, end, at));
                prop_assert_eq!(gap, (from..to).contains(&at) && !held(at));
                let last = last.map(key);
                let behind = ranges.behind(last.as_ref()).any(|(start, end)| within(start, end, at));
                prop_assert!(behind || !held(at) || last.is_some_and(|last| key(at) <= last));
                prop_assert!(!behind || held(at));
            }
            // Intervals neither overlap nor touch, and their weight is that of what is there.
            let kept: Vec<_> = ranges.behind(None).collect();
            prop_assert!(kept.windows(2).all(|pair| pair[0].1 < pair[1].0));
            prop_assert_eq!(ranges.bytes(), kept.iter().map(|(start, end)| weight(start, end)).sum::<usize>());
        }
    }
}

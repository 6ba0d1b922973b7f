//! Which points hold which bytes: a model for simulation, exact under its assumptions.
//!
//! Bytes are born with a point and die with a later one. While they live every later point holds them; dead bytes are
//! held by the points from their birth up to their death, and are given back when none of those is left. That is what
//! the pool does with references; here bytes have no content, only amounts.
//!
//! Which bytes die is what makes histories cheap or dear. Bytes that die *young* were new in the points just before:
//! logs, temporary files, tables that are written again and again. One or few points hold them. Bytes that die *old*
//! are the oldest there are; all points since then hold them, and only dropping the oldest ones gives them back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The point that bytes were born with, and how many they are.
type Born = (u64, u64);

/// The bytes of a source.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    kept: BTreeSet<u64>,
    /// Living bytes by the point that they were born with, oldest first.
    living: VecDeque<Born>,
    living_bytes: u64,
    /// Dead bytes by the first and the last point that hold them.
    dead: BTreeMap<(u64, u64), u64>,
    dead_bytes: u64,
}

/// What comes and goes with a point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) new_bytes: u64,
    pub(crate) dying_young_bytes: u64,
    pub(crate) dying_old_bytes: u64,
}

impl Ledger {
    /// Everything that is taken.
    pub(crate) const fn used_bytes(&self) -> u64 {
        self.living_bytes.saturating_add(self.dead_bytes)
    }

    /// A point arrives; its number is above all others.
    pub(crate) fn arrive(&mut self, number: u64, change: Change) {
        self.die(change.dying_young_bytes, VecDeque::pop_back, VecDeque::push_back);
        self.die(change.dying_old_bytes, VecDeque::pop_front, VecDeque::push_front);
        self.kept.insert(number);
        self.live(number, change.new_bytes);
    }

    /// Bytes that live and were born with a point.
    pub(crate) fn live(&mut self, number: u64, bytes: u64) {
        if bytes > 0 {
            self.living.push_back((number, bytes));
            self.living_bytes = self.living_bytes.saturating_add(bytes);
        }
    }

    /// A point that is there already, and dead bytes that it holds alone.
    pub(crate) fn take_over(&mut self, number: u64, own_bytes: u64) {
        self.kept.insert(number);
        self.bury(number, number, own_bytes);
    }

    /// Dead bytes that the kept points from `first` to `last` hold, both included; gone at once if there are none.
    pub(crate) fn bury(&mut self, first: u64, last: u64, bytes: u64) {
        let (Some(first), Some(last)) =
            (self.kept.range(first..).next().copied(), self.kept.range(..=last).next_back().copied())
        else {
            return;
        };
        if first <= last && bytes > 0 {
            let held = self.dead.entry((first, last)).or_default();
            *held = held.saturating_add(bytes);
            self.dead_bytes = self.dead_bytes.saturating_add(bytes);
        }
    }

    /// Drops a point; gives what that gave back.
    pub(crate) fn fold(&mut self, number: u64) -> u64 {
        let before = self.dead_bytes;
        self.kept.remove(&number);
        let held = |(first, last): &(u64, u64)| *first == number || *last == number;
        let moved: Vec<(u64, u64)> = self.dead.keys().filter(|key| held(key)).copied().collect();
        for key @ (first, last) in moved {
            let bytes = self.dead.remove(&key).unwrap_or(0);
            self.dead_bytes = self.dead_bytes.saturating_sub(bytes);
            self.bury(first, last, bytes);
        }
        before.saturating_sub(self.dead_bytes)
    }

    /// What dropping a point alone would give back.
    pub(crate) fn own_bytes(&self, number: u64) -> u64 {
        self.dead.get(&(number, number)).copied().unwrap_or(0)
    }

    fn die(
        &mut self,
        mut bytes: u64,
        take: fn(&mut VecDeque<Born>) -> Option<Born>,
        put: fn(&mut VecDeque<Born>, Born),
    ) {
        let last = self.kept.last().copied().unwrap_or(0);
        while bytes > 0
            && let Some((born, living)) = take(&mut self.living)
        {
            let dying = living.min(bytes);
            bytes -= dying;
            if living > dying {
                put(&mut self.living, (born, living - dying));
            }
            self.living_bytes = self.living_bytes.saturating_sub(dying);
            self.bury(born, last, dying);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change(new_bytes: u64, dying_young_bytes: u64, dying_old_bytes: u64) -> Change {
        Change { new_bytes, dying_young_bytes, dying_old_bytes }
    }

    #[test]
    fn what_dies_is_held_by_those_that_saw_it() {
        let mut ledger = Ledger::default();
        ledger.arrive(1, change(100, 0, 0));
        ledger.arrive(2, change(10, 0, 5));
        ledger.arrive(3, change(10, 10, 5));
        // Of the first hundred, 5 died with point 2 and 5 with point 3; the ten of point 2 died with point 3.
        assert_eq!((ledger.living_bytes, ledger.used_bytes()), (100, 120));
        assert_eq!([1, 2, 3].map(|number| ledger.own_bytes(number)), [5, 10, 0]);
        assert_eq!(ledger.fold(1), 5);
        assert_eq!(ledger.own_bytes(2), 15);
        assert_eq!(ledger.fold(2), 15);
        assert_eq!(ledger.used_bytes(), 100);
    }

    proptest! {
        /// The same as following every single byte.
        #[test]
        fn amounts_are_those_of_single_bytes(
            changes in prop::collection::vec((0..30_u64, 0..20_u64, 0..20_u64), 1..20),
            folds in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut ledger = Ledger::default();
            let mut bytes: Vec<(u64, Option<u64>)> = Vec::new();
            let mut kept = BTreeSet::new();
            for (number, (new, young, old)) in (1..).zip(changes) {
                ledger.arrive(number, change(new, young, old));
                let limit = usize::try_from(young).unwrap();
                bytes.iter_mut().rev().filter(|byte| byte.1.is_none()).take(limit).for_each(|byte| byte.1 = Some(number));
                let limit = usize::try_from(old).unwrap();
                bytes.iter_mut().filter(|byte| byte.1.is_none()).take(limit).for_each(|byte| byte.1 = Some(number));
                bytes.extend((0..new).map(|_| (number, None)));
                kept.insert(number);
            }
            let newest = *kept.last().unwrap();
            for index in folds {
                let number = *kept.iter().nth(index.index(kept.len())).unwrap();
                if number == newest {
                    continue;
                }
                let own = ledger.own_bytes(number);
                prop_assert_eq!(ledger.fold(number), own);
                kept.remove(&number);
                let held = bytes.iter().filter(|(born, died)| {
                    died.is_none_or(|died| kept.range(*born..died).next().is_some())
                });
                prop_assert_eq!(ledger.used_bytes(), held.count() as u64);
            }
        }
    }
}

//! References, counted later than commits and drops, in steps.
//!
//! A name has one reference for each run of points that holds it: neighbours of one source that hold it share one. The
//! counted points are those whose commit is counted and whose drop is not. Runs are told among them alone, so it
//! does not matter how far history has gone on meanwhile, and all their pages have references and can be read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{Name, PointId, State};

/// What waits to be counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A point was committed.
    Add(PointId, Name),
    /// A point was dropped.
    Remove(PointId),
}

/// The references and how far they are counted.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Ledger {
    pub(crate) references: BTreeMap<Name, i32>,
    pub(crate) counted: BTreeMap<PointId, Name>,
    pub(crate) queue: VecDeque<Event>,
    /// Changes of the first event of the queue that are applied.
    pub(crate) done: usize,
    /// Dropped points that somebody has open; they wait outside of the queue.
    pub(crate) parked: BTreeSet<PointId>,
}

impl Ledger {
    pub(crate) fn references(&self, name: Name) -> i32 {
        self.references.get(&name).copied().unwrap_or(0)
    }

    /// Leaves out points that were committed and dropped behind the cursor: nobody can need their pages any more, and
    /// they may be gone. A point that a reader still has open keeps its references.
    pub(crate) fn cancel(&mut self, is_leased: impl Fn(PointId) -> bool) {
        let is_begun = |event: &Event| self.done > 0 && self.queue.front() == Some(event);
        let dropped: BTreeSet<PointId> = self
            .queue
            .iter()
            .filter(|event| !is_begun(event))
            .filter_map(|event| match *event {
                Event::Add(point, _) if self.queue.contains(&Event::Remove(point)) && !is_leased(point) => {
                    Some(point)
                }
                _ => None,
            })
            .collect();
        self.queue.retain(|event| match event {
            Event::Add(point, _) | Event::Remove(point) => !dropped.contains(point),
        });
    }
}

impl State {
    /// Whether everything is counted, apart from drops of points that somebody has open.
    pub(crate) fn is_counted(&self) -> bool {
        let ledger = &self.catalog.ledger;
        let half = usize::from(!self.guards.half_counted_is_uncounted && ledger.done > 0);
        ledger.queue.len() <= half
    }

    /// Moves leased drops at the head of the queue aside; the event that is next, if there is one to be counted.
    fn next_event(&mut self) -> Option<Event> {
        if !self.guards.counts_in_order && self.catalog.ledger.done == 0 {
            self.catalog.ledger.queue.make_contiguous().sort_by_key(|event| matches!(event, Event::Add(..)));
        }
        loop {
            let event = *self.catalog.ledger.queue.front()?;
            let is_begun = self.catalog.ledger.done > 0;
            match event {
                Event::Remove(point)
                    if self.guards.lease_holds_references && self.is_leased(point) && !is_begun =>
                {
                    if !self.guards.leased_are_parked {
                        return None;
                    }
                    self.catalog.ledger.queue.pop_front();
                    self.catalog.ledger.parked.insert(point);
                }
                event => return Some(event),
            }
        }
    }

    /// Applies one change; whether there may be more to count.
    pub(crate) fn count_one(&mut self) -> bool {
        self.count_change();
        self.move_cursor()
    }

    /// The first half of a step: one change of one reference.
    pub(crate) fn count_change(&mut self) {
        let Some(event) = self.next_event() else { return };
        let Some((name, change)) = self.changes(event).get(self.catalog.ledger.done).copied() else { return };
        let references = self.catalog.ledger.references.entry(name).or_default();
        *references += change;
        assert!(*references >= 0, "violation: negative references of {name:?}");
    }

    /// The second half of a step; whether there may be more to count.
    pub(crate) fn move_cursor(&mut self) -> bool {
        let Some(event) = self.next_event() else { return false };
        let changes = self.changes(event).len();
        let ledger = &mut self.catalog.ledger;
        ledger.done += 1;
        if ledger.done >= changes {
            match event {
                Event::Add(point, root) => drop(ledger.counted.insert(point, root)),
                Event::Remove(point) => drop(ledger.counted.remove(&point)),
            }
            ledger.queue.pop_front();
            ledger.done = 0;
        }
        true
    }

    /// How references change with an event, in the order of names. The same at every step of it.
    fn changes(&self, event: Event) -> Vec<(Name, i32)> {
        let ledger = &self.catalog.ledger;
        let (point, root, sign) = match event {
            Event::Add(point, root) => (point, root, 1),
            Event::Remove(point) => {
                let root = ledger.counted.get(&point);
                (
                    point,
                    *root.unwrap_or_else(|| panic!("violation: {point:?} is removed before it is counted")),
                    -1,
                )
            }
        };
        let line = if self.guards.neighbours_are_counted { &ledger.counted } else { &self.catalog.points };
        let held = |root: Option<&Name>| root.map(|&root| self.held(root)).unwrap_or_default();
        let same = |other: &PointId| other.source == point.source && *other != point;
        let before = held(line.range(..point).rev().find(|(id, _)| same(id)).map(|(_, root)| root));
        let after = held(line.range(point..).find(|(id, _)| same(id)).map(|(_, root)| root));
        let own = self.held(root);
        let names: BTreeSet<Name> = own.iter().chain(&before).chain(&after).copied().collect();
        names
            .into_iter()
            .map(|name| {
                let (first, middle, last) =
                    (before.contains(&name), own.contains(&name), after.contains(&name));
                (name, sign * (runs([first, middle, last]) - runs([first, last])))
            })
            .filter(|(_, change)| *change != 0)
            .collect()
    }

    /// Every name that a tree holds, its root among them. The counter reads pages.
    fn held(&self, root: Name) -> BTreeSet<Name> {
        let page = self.place(root).map(|place| self.drive.look(root, place));
        match page {
            Some(crate::Outcome::Sound(refers)) => refers.into_iter().chain([root]).collect(),
            other => panic!("violation: the counter cannot read {root:?}: {other:?}"),
        }
    }

    /// The references as the counted points have them.
    pub(crate) fn recount(&self) -> BTreeMap<Name, i32> {
        let mut line: Vec<(PointId, BTreeSet<Name>)> = Vec::new();
        for (&point, &root) in &self.catalog.ledger.counted {
            line.push((point, self.held(root)));
        }
        let mut references = BTreeMap::new();
        for (index, (point, names)) in line.iter().enumerate() {
            let before = index.checked_sub(1).and_then(|index| line.get(index));
            let before = before.filter(|(other, _)| other.source == point.source);
            for name in names {
                if before.is_none_or(|(_, names)| !names.contains(name)) {
                    *references.entry(*name).or_default() += 1;
                }
            }
        }
        references
    }
}

/// How many runs of neighbours hold something.
fn runs<const N: usize>(holds: [bool; N]) -> i32 {
    let mut before = false;
    let mut count = 0;
    for now in holds {
        count += i32::from(now && !before);
        before = now;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_a_run() {
        assert_eq!(runs([false, false]), 0);
        assert_eq!(runs([true, true]), 1);
        assert_eq!(runs([true, false, true]), 2);
        assert_eq!(runs([false, true, true]), 1);
    }
}

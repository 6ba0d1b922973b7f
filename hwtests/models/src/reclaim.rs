//! Giving a sealed segment back: condemn it, copy what is needed, decide, remove it in a commit, flush, unlink.
//!
//! A copy is stored like anything else: its name moves to it at once, and the next commit covers it. So the removal
//! needs no list of copies; it only looks whether a name that is needed still has its place in the segment.

use std::collections::BTreeSet;

use crate::session::Writer;
use crate::{Actor, Name, Outcome, Place, PointId, Record, SegmentNumber, State, Stopped};

/// What came of an attempt to give a segment back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reclaimed {
    /// It is gone.
    Removed,
    /// Somebody was in the way for too long; it stays and is condemned no more.
    Busy,
    /// It holds something needed that cannot be read; it stays.
    Damaged,
}

/// A condemnation: what the removal will need.
struct Warrant {
    segment: SegmentNumber,
    epoch: u32,
    /// The points at the time of the condemnation.
    points: BTreeSet<PointId>,
    /// What it could not read and goes on without; nothing, if the guard is on.
    skipped: BTreeSet<Name>,
}

impl State {
    fn condemn(&mut self, segment: SegmentNumber) -> Option<Warrant> {
        let is_sealed = self.drive.segments.contains_key(&segment) && self.open != Some(segment);
        let is_sealed = is_sealed || !self.guards.condemns_only_sealed;
        if !is_sealed || self.condemned.contains_key(&segment) || self.catalog.removed.contains(&segment) {
            return None;
        }
        self.epoch += 1;
        self.condemned.insert(segment, self.epoch);
        if self.guards.condemnation_empties_cache {
            self.cached.clear();
        }
        Some(Warrant {
            segment,
            epoch: self.epoch,
            points: self.catalog.points.keys().copied().collect(),
            skipped: BTreeSet::new(),
        })
    }

    /// Names that are needed and have their place in the segment.
    fn needed(&self, warrant: &Warrant) -> Vec<(Name, Place)> {
        let marked = (!self.guards.decides_at_removal).then(|| self.marked(&warrant.points));
        let names: BTreeSet<Name> = self.catalog.places.keys().chain(self.recent.keys()).copied().collect();
        names
            .into_iter()
            .filter_map(|name| self.place(name).map(|place| (name, place)))
            .filter(|(name, place)| place.segment == warrant.segment && !warrant.skipped.contains(name))
            .filter(|(name, _)| match &marked {
                Some(marked) => marked.contains(name),
                None => self.catalog.ledger.references(*name) > 0 || self.promised.contains_key(name),
            })
            .collect()
    }

    /// What a mark phase finds that goes through a list of points, some of which are dropped meanwhile.
    fn marked(&self, points: &BTreeSet<PointId>) -> BTreeSet<Name> {
        let listed = self.catalog.points.iter().filter(|(point, _)| points.contains(point));
        listed.flat_map(|(_, &root)| self.tree(root)).collect()
    }

    /// Moves a name to a copy, if it is still where the copy was read.
    fn take_copy(&mut self, name: Name, from: Place, refers: &[Name], is_sound: bool) {
        if self.place(name) == Some(from) {
            self.append(name, refers, is_sound, Writer::Pool);
            self.saw("copied");
        }
    }

    fn check(&self, warrant: &Warrant) -> Result<(), Stopped> {
        let is_lifted = self.condemned.get(&warrant.segment) != Some(&warrant.epoch);
        if self.guards.removal_needs_condemnation && is_lifted { Err(Stopped::Refused) } else { Ok(()) }
    }

    /// Decides that all that has its place in the segment goes, if nothing of it is needed.
    fn decide(&mut self, warrant: &Warrant) -> Result<bool, Stopped> {
        self.check(warrant)?;
        let guards = self.guards;
        let waits_for = |began: u32| guards.waits_for_older_sessions && began < warrant.epoch;
        if self.sessions.values().any(|session| waits_for(session.began))
            || guards.waits_for_counting && !self.is_counted()
            || !self.needed(warrant).is_empty()
        {
            return Ok(false);
        }
        let names = self.catalog.places.keys().chain(self.recent.keys());
        let goes = |name: &&Name| self.place(**name).is_some_and(|place| place.segment == warrant.segment);
        let going: Vec<Name> = names.filter(goes).copied().collect();
        self.going.extend(going.into_iter().map(|name| (name, warrant.segment)));
        Ok(true)
    }

    /// What was decided is recorded.
    fn remove(&mut self, warrant: &Warrant) -> Result<(), Stopped> {
        self.check(warrant)?;
        let guards = self.guards;
        if guards.flushes_before_removal {
            self.flush();
        }
        if guards.copies_precede_removal {
            self.commit(Writer::Pool, &[Record::Removed(warrant.segment)]);
        } else {
            let removal = vec![Record::Removed(warrant.segment)];
            self.catalog.apply(&removal);
            self.drive.log.push(removal);
        }
        self.catalog.settle(&guards);
        self.condemned.remove(&warrant.segment);
        self.going.retain(|_, segment| *segment != warrant.segment);
        self.saw("removed");
        Ok(())
    }

    /// Unlinks the files of removed segments.
    pub(crate) fn unlink(&mut self) {
        for segment in &self.catalog.removed {
            if let Some(copies) = self.drive.segments.remove(segment) {
                self.drive.unlinked.insert(*segment, copies);
            }
        }
    }
}

impl Actor {
    /// Tries to give a segment back; gives up after some attempts.
    pub fn reclaim(&self, segment: SegmentNumber, attempts: usize) -> Result<Reclaimed, Stopped> {
        let Some(mut warrant) = self.step(|state| state.condemn(segment))? else {
            return Ok(Reclaimed::Busy);
        };
        for _ in 0..attempts {
            self.count()?;
            if !self.copy(&mut warrant)? {
                self.acquit(&warrant)?;
                return Ok(Reclaimed::Damaged);
            }
            if self.step(|state| state.decide(&warrant))?? {
                self.step(|state| state.remove(&warrant))??;
                self.unlink()?;
                return Ok(Reclaimed::Removed);
            }
            shuttle::thread::yield_now();
        }
        self.acquit(&warrant)?;
        Ok(Reclaimed::Busy)
    }

    fn acquit(&self, warrant: &Warrant) -> Result<(), Stopped> {
        self.step(|state| {
            if state.condemned.get(&warrant.segment) == Some(&warrant.epoch) {
                state.condemned.remove(&warrant.segment);
            }
        })
    }

    /// Copies what is needed; whether all of it could be read.
    fn copy(&self, warrant: &mut Warrant) -> Result<bool, Stopped> {
        let guards = self.step(|state| state.guards)?;
        for (name, place) in self.step(|state| state.needed(warrant))? {
            match self.step(|state| state.drive.read(name, place))? {
                Outcome::Sound(refers) => self.step(|state| state.take_copy(name, place, &refers, true))?,
                Outcome::Rotten if !guards.copies_are_verified => {
                    self.step(|state| state.take_copy(name, place, &[], false))?;
                }
                _ if self.step(|state| state.place(name) != Some(place))? => {}
                _ if !guards.unread_keeps_segment => {
                    warrant.skipped.insert(name);
                }
                _ => {
                    self.step(|state| state.saw("unread"))?;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// What follows a removal.
    fn unlink(&self) -> Result<(), Stopped> {
        let guards = self.step(|state| state.guards)?;
        if !guards.flushes_before_unlink {
            self.step(State::unlink)?;
        }
        if !guards.copies_precede_removal {
            self.step(|state| state.commit(Writer::Pool, &[]))?;
        }
        self.flush()?;
        self.step(State::unlink)?;
        self.step(|state| state.drive.unlinked.clear())
    }
}

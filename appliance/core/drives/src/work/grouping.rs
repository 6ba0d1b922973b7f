//! Parity over segments, for the first time, without one that leaves, or a file of it that was lost.
//!
//! Order: all files of a group are written under other names, with their heads last, and are durable and read back before
//! the first of them gets its name. From then on the group counts; whoever opens the set gives the others theirs. What it
//! replaces goes after that, and the bytes of segments that left go last. So at any moment the segments that stay are
//! covered by one group or the other, with all of its files.

use std::collections::BTreeSet;
use std::sync::Arc;

use medium::DiskError;
use model::ErrorKind;

use super::encoding::{Encoding, Stop};
use super::{Shared, Step, Work};
use crate::copies::{making_path, publish};
use crate::layout::{LEAVING, PARITY, segment_name};
use crate::parity::{Group, Slot, leaving_name, parity_path};
use crate::planted::{self, Bug};
use crate::set::{State, locked};
use crate::superblock::remove_if_there;

impl Shared {
    /// Goes on with parity, and ends it if it is whole or does not succeed.
    pub(super) fn go_on_encoding(
        self: &Arc<Self>,
        work: &mut Work,
        mut encoding: Encoding,
        budget: u64,
    ) -> Result<Step, DiskError> {
        let mut bytes = 0;
        let task = Some(encoding.task());
        let stop = match encoding.advance(budget.max(1), &mut bytes) {
            Ok(false) => {
                work.encoding = Some(encoding);
                return Ok(Step { task, bytes });
            }
            Ok(true) => match self.finish_encoding(&encoding) {
                Ok(true) => return Ok(Step { task, bytes }),
                Ok(false) => None,
                Err(error) => Some(Stop::Disk(error)),
            },
            Err(stop) => Some(stop),
        };
        let _names = locked(&self.names);
        self.give_up(work, &encoding, stop)?;
        Ok(Step { task, bytes })
    }

    /// Ends parity that does not succeed, so that it is not tried again and again.
    pub(super) fn give_up(
        &self,
        work: &mut Work,
        encoding: &Encoding,
        stop: Option<Stop>,
    ) -> Result<(), DiskError> {
        encoding.abandon();
        let in_vain = match stop {
            // Something is not what it was when the work began: it is planned anew.
            None => false,
            Some(Stop::Disagree(slot)) => {
                // Who can judge is to mend it; the others may be grouped without it.
                work.ungrouped
                    .extend(encoding.group.slots.get(slot).copied().flatten().map(|slot| slot.segment));
                false
            }
            Some(Stop::Disk(error) | Stop::Target(_, error)) if error.kind() == ErrorKind::Full => {
                encoding.group.replaces.map_or(Ok(()), |old| self.dissolve(old))?;
                true
            }
            Some(Stop::Target(member, error)) => {
                if error.kind() == ErrorKind::Io && member.serves() {
                    self.fail_behind(&member)?;
                }
                member.serves()
            }
            Some(Stop::Disk(_)) => true,
        };
        if in_vain {
            work.barred.insert(encoding.group.replaces.unwrap_or(encoding.id));
            if encoding.group.replaces.is_none() && !encoding.restoring {
                work.ungrouped.extend(encoding.group.segments().map(|(_, slot)| slot.segment));
            }
        }
        Ok(())
    }

    /// Gives the files of a group their names, and takes away what it replaces; false if something changed meanwhile.
    fn finish_encoding(self: &Arc<Self>, encoding: &Encoding) -> Result<bool, DiskError> {
        let _names = locked(&self.names);
        if !self.may_finish(encoding) {
            return Ok(false);
        }
        if planted::has(Bug::RemoveParityEarly) {
            encoding.group.replaces.map_or(Ok(()), |old| self.remove_group(old))?;
        }
        let (mut published, mut failed, mut failure) = (Vec::new(), Vec::new(), None);
        for target in &encoding.targets {
            let path = parity_path(encoding.id, target.index);
            match publish(&target.member, &making_path(&path), &path) {
                Ok(()) => published.push(target),
                Err(error) => {
                    failed.push(target.member.clone());
                    failure = Some(error);
                }
            }
        }
        if let (Some(error), true) = (failure, published.is_empty()) {
            return Err(error);
        }
        self.fall_out(&failed)?;
        let mut state = self.state();
        let group = state.groups.entry(encoding.id).or_insert_with(|| encoding.group.clone());
        for target in published {
            group.files.entry(target.index).or_default().insert(target.member.index);
        }
        let slots: Vec<_> = encoding.group.segments().collect();
        for (slot, segment) in slots {
            if let Some(segment) = state.segments.get_mut(&segment.segment) {
                segment.group = Some((encoding.id, slot));
            }
        }
        drop(state);
        match encoding.group.replaces {
            Some(old) => self.remove_group(old).map(|()| true),
            None => Ok(true),
        }
    }

    /// Whether what a group covers is still what it was when the work began.
    fn may_finish(&self, encoding: &Encoding) -> bool {
        let state = self.state();
        let serving = encoding.targets.iter().all(|target| target.member.serves());
        if encoding.restoring {
            return serving && state.groups.contains_key(&encoding.id);
        }
        if let Some(old) = encoding.group.replaces {
            let leaving =
                state.groups.get(&old).map(|group| group.leaving.keys().copied().collect::<BTreeSet<_>>());
            return serving && leaving.as_ref() == Some(&encoding.leaving);
        }
        serving
            && encoding.group.segments().all(|(_, slot)| {
                let marked = state.marked.contains(&segment_name(slot.segment));
                let member = state.index_of(slot.drive);
                let held = |segment: &crate::set::Segment| {
                    segment.group.is_none()
                        && !segment.uneven
                        && member.is_some_and(|m| segment.holders.contains(&m))
                };
                !marked && state.segments.get(&slot.segment).is_some_and(held)
            })
    }

    /// Removes the parity of a group, then the bytes of segments that left, then the notes that they did.
    pub(crate) fn remove_group(&self, id: u64) -> Result<(), DiskError> {
        let Some(group) = self.state().groups.remove(&id) else { return Ok(()) };
        let serving = self.state().serving();
        self.on_each(&serving, |member| {
            (0..group.parity)
                .try_for_each(|index| remove_if_there(&*member.disk, &parity_path(id, index)))?;
            member.disk.sync_directory(PARITY)
        })?;
        self.on_each(&serving, |member| {
            for slot in 0..group.slots.len() {
                remove_if_there(&*member.disk, &leaving_name(id, slot))?;
            }
            member.disk.sync_directory(LEAVING)
        })?;
        self.on_each(&serving, |member| {
            for slot in 0..group.slots.len() {
                remove_if_there(&*member.disk, &format!("{}.gone", leaving_name(id, slot)))?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Without room for other parity, or if it protects nothing, gives up that of a group: its segments stay, at risk until
    /// they are copied or in another group.
    pub(super) fn dissolve(&self, id: u64) -> Result<(), DiskError> {
        self.dissolve_if(id, |_, _| true)
    }

    /// The same, if that may be at this moment.
    pub(super) fn dissolve_if(&self, id: u64, may: impl Fn(&State, &Group) -> bool) -> Result<(), DiskError> {
        let mut state = self.state();
        let Some(group) = state.groups.get(&id).filter(|group| may(&state, group)).cloned() else {
            return Ok(());
        };
        let held = |slot: &Slot| state.segments.get(&slot.segment).is_some_and(|s| !s.holders.is_empty());
        if !group.segments().all(|(_, slot)| held(&slot)) {
            // Some can be read by parity only.
            return Ok(());
        }
        for (_, slot) in group.segments() {
            if let Some(segment) = state.segments.get_mut(&slot.segment) {
                segment.group = None;
            }
        }
        drop(state);
        self.remove_group(id)
    }
}

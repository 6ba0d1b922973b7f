//! Parity that is given up because its segments are to be kept otherwise: first they get the copies that they should have
//! without it, then it goes. One group at a time, and none while segments wait for a group, so that it takes little room.

use std::sync::Arc;

use medium::DiskError;

use super::{Shared, Step, Task, Work};
use crate::member::Member;
use crate::parity::{BLOCK, Group, Slot};
use crate::set::{Segment, State, locked};

impl State {
    /// The group that a segment is kept by, and its slot; none while that is being given up.
    pub(crate) fn group_of(&self, segment: &Segment) -> Option<(&Group, usize)> {
        let (id, slot) = segment.group.filter(|(id, _)| self.converting != Some(*id))?;
        Some((self.groups.get(&id)?, slot))
    }

    /// Whether a segment of a group is to be kept otherwise.
    fn is_outdated(&self, group: &Group) -> bool {
        let kind = Some((group.slots.len(), group.parity));
        group.segments().any(|(_, slot)| self.policy_of(slot.segment).group() != kind)
    }

    /// For each segment of a group, how many copies it misses of those that it should have without the group, and the
    /// members that may take them.
    fn missing_copies(&self, group: &Group) -> Vec<(usize, Vec<Arc<Member>>)> {
        let missing = |slot: Slot| {
            let holders = self.segments.get(&slot.segment).map(|segment| &segment.holders);
            let holds = |member: &Arc<Member>| holders.is_some_and(|all| all.contains(&member.index));
            let (safe, others): (Vec<_>, Vec<_>) = self.staying().into_iter().partition(holds);
            (self.copies_wanted(slot.segment).saturating_sub(safe.len()), others)
        };
        group.segments().map(|(_, slot)| missing(slot)).collect()
    }

    /// Whether the segments of a group have the copies that they should have without it.
    fn is_copied(&self, group: &Group) -> bool {
        self.missing_copies(group).iter().all(|(count, _)| *count == 0)
    }

    /// Whether there may be room for them, and all of them can be made as far as is known.
    fn has_room_without(&self, group: &Group) -> bool {
        let missing = self.missing_copies(group);
        let is_readable = |slot: Slot| {
            let segment = self.segments.get(&slot.segment);
            segment.is_none_or(|segment| segment.unreadable.is_empty())
        };
        let needed = group.blocks.saturating_mul(BLOCK as u64 * group.slots.len() as u64);
        let fits = |member: &&Arc<Member>| member.free() > needed && !member.is_avoided();
        let is_copied = missing.iter().all(|(count, _)| *count == 0);
        (is_copied || group.segments().all(|(_, slot)| is_readable(slot)))
            && missing.iter().all(|(count, others)| others.iter().filter(fits).count() >= *count)
    }
}

impl Shared {
    /// Takes up the next group whose segments are to be kept otherwise; whether there is one.
    pub(super) fn convert_next(&self, work: &mut Work) -> bool {
        let mut state = self.state();
        let from = work.converted.map_or(0, |id| id.saturating_add(1));
        let mut left = state.groups.range(from..).filter(|_| state.may_reduce());
        let is_next = |group| state.is_outdated(group) && state.has_room_without(group);
        let next = left.find(|(_, group)| is_next(group)).map(|(id, _)| *id);
        state.converting = next;
        work.converted = next.or(work.converted);
        next.is_some()
    }

    /// Gives a group up whose segments have their copies, or that is to stay after all.
    pub(super) fn finish_converting(&self) -> Result<Option<Step>, DiskError> {
        let _names = locked(&self.names);
        let mut state = self.state();
        let Some(id) = state.converting else { return Ok(None) };
        let outdated = state.groups.get(&id).filter(|group| state.is_outdated(group));
        let is_copied = outdated.map(|group| state.is_copied(group));
        if is_copied != Some(false) {
            state.converting = None;
        }
        drop(state);
        if is_copied != Some(true) {
            return Ok(None);
        }
        self.dissolve_if(id, State::is_copied)?;
        Ok(Some(Step { task: Some(Task::Dissolving { group: id }), bytes: 0 }))
    }
}

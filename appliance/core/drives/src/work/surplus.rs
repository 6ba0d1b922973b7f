//! Copies that are too many, and members that hold nothing any more.

use std::sync::Arc;

use medium::DiskError;
use model::SegmentNumber;

use super::{Shared, Step, Task};
use crate::layout::{SEGMENTS, segment_path};
use crate::member::Member;
use crate::opening::lock;
use crate::parity::parity_path;
use crate::planted::{self, Bug};
use crate::set::locked;
use crate::superblock::{MemberState, remove_if_there};

/// Copies that one step removes.
const REMOVALS_MAX: usize = 64;

impl Shared {
    /// Removes copies that are not needed, those on retiring members first; lets go of one that holds nothing.
    pub(super) fn remove_surplus(self: &Arc<Self>) -> Result<Option<Step>, DiskError> {
        let _names = locked(&self.names);
        let serving = self.state().serving();
        let retiring =
            |member: &&Arc<Member>| self.state().entry_state(member.index) == Some(MemberState::Retiring);
        let (leaving, staying): (Vec<&Arc<Member>>, Vec<&Arc<Member>>) = serving.iter().partition(retiring);
        for member in leaving.iter().chain(&staying) {
            if !member.serves() || self.remove_moved_parity(member)?.is_none() {
                continue;
            }
            let surplus = self.surplus_of(member);
            if surplus.is_empty() {
                continue;
            }
            self.on_one(member, |_| {
                surplus.iter().try_for_each(|number| self.remove_copy(member, *number))?;
                member.disk.sync_directory(SEGMENTS)
            })?;
            return Ok(Some(Step { task: Some(Task::Removing { from: member.drive }), bytes: 0 }));
        }
        for member in leaving {
            if self.holds_nothing(member) {
                self.let_retired_go(member)?;
                return Ok(Some(Step { task: Some(Task::Retired { drive: member.drive }), bytes: 0 }));
            }
        }
        Ok(None)
    }

    /// Segments whose copy on a member is not needed.
    fn surplus_of(&self, member: &Member) -> Vec<SegmentNumber> {
        let state = self.state();
        let staying: Vec<usize> = state.staying().iter().map(|member| member.index).collect();
        let early = planted::has(Bug::RemoveBeforeParity);
        if !state.may_reduce() {
            return Vec::new();
        }
        let surplus = state.segments.iter().filter(|(number, segment)| {
            let wanted = if early { 1 } else { state.policy_of(**number).copies() };
            if let Some((group, slot)) = state.group_of(segment) {
                let keeper = state.keepers(group).and_then(|keepers| keepers.get(&slot).copied());
                return segment.holders.contains(&member.index)
                    && keeper.is_some_and(|keeper| keeper != member.index);
            }
            let safe = staying.iter().filter(|i| **i != member.index && segment.holders.contains(i)).count();
            segment.holders.contains(&member.index) && safe >= wanted && !segment.uneven
        });
        surplus.map(|(number, _)| *number).take(REMOVALS_MAX).collect()
    }

    /// Removes parity files from a member whose place another one has taken.
    fn remove_moved_parity(&self, member: &Arc<Member>) -> Result<Option<()>, DiskError> {
        let state = self.state();
        let mut moved = Vec::new();
        for (id, group) in &state.groups {
            let Some(keepers) = state.keepers(group) else { continue };
            for (index, members) in &group.files {
                let keeper = keepers.get(&(group.slots.len() + index));
                if members.contains(&member.index) && keeper.is_some_and(|keeper| *keeper != member.index) {
                    moved.push((*id, *index));
                }
            }
        }
        drop(state);
        for (id, index) in moved {
            if let Some(members) =
                self.state().groups.get_mut(&id).and_then(|group| group.files.get_mut(&index))
            {
                members.remove(&member.index);
            }
            if self
                .on_one(member, |member| remove_if_there(&*member.disk, &parity_path(id, index)))?
                .is_none()
            {
                return Ok(None);
            }
        }
        Ok(Some(()))
    }

    fn remove_copy(&self, member: &Arc<Member>, number: SegmentNumber) -> Result<(), DiskError> {
        let path = segment_path(number);
        let node = self.state().node(&path);
        if let Some(node) = &node {
            let mut state = node.state();
            node.remove_holder(&mut state, member.index);
        }
        if let Some(segment) = self.state().segments.get_mut(&number) {
            segment.holders.remove(&member.index);
        }
        remove_if_there(&*member.disk, &path)
    }

    /// Whether a member is not needed. What every member has is on it as well, so somebody else has to stay.
    fn holds_nothing(&self, member: &Member) -> bool {
        let state = self.state();
        if state.staying().is_empty() {
            return false;
        }
        let wanted = state.catalogs_wanted();
        let homes = state.homes().iter().filter(|home| home.index != member.index).count();
        let held = state.segments.values().any(|segment| segment.holders.contains(&member.index));
        let parity = state.groups.values().any(|group| {
            group.leaving.values().any(|place| *place == Some(member.index))
                || group.files.values().any(|members| members.contains(&member.index))
        });
        (!held && !parity && homes >= wanted) || planted::has(Bug::RetireEarly)
    }

    /// The others learn first that it is retired, then it learns itself. What every member has is removed from it.
    fn let_retired_go(&self, member: &Arc<Member>) -> Result<(), DiskError> {
        let mut state = self.state();
        let disk = member.detachable.attached();
        state.take_out(member.index);
        state.record.set_state(member.index, MemberState::Retired);
        self.commit_members(&mut state)?;
        // If it does not learn it, the others know.
        let Some(disk) = disk else { return Ok(()) };
        let Ok(held) = lock(&*disk, member.drive) else { return Ok(()) };
        let member = &Member::new(member.drive, member.index, disk, held);
        for copy in 0..3 {
            if self.write_superblock(&state, member, copy).is_err() {
                // The others know.
                return Ok(());
            }
        }
        drop(state);
        let names = member.disk.list("").unwrap_or_default();
        for name in names.iter().filter(|name| !name.starts_with("member.")) {
            // What stays is of no use to anybody without the others.
            let _ = crate::evening::remove_tree(member, name);
        }
        Ok(())
    }
}

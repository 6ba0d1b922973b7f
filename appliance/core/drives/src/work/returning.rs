//! What a member held when it fell out, and set aside when it came back.
//!
//! Where the set lacks a copy and the one set aside says the same as another, or is the only one, it is taken over by a
//! rename; everything else is removed. Old copies of what the others changed are not among it: they went at its return.

use std::sync::Arc;

use medium::{Access, DiskError};
use model::SegmentNumber;

use super::{Shared, Step, Task};
use crate::copies::{same, segments_in};
use crate::layout::{CHANGED, Class, SEGMENTS, STALE, segment_name, segment_path};
use crate::member::Member;
use crate::set::locked;
use crate::superblock::{MemberState, remove_if_there};

impl Shared {
    /// Deals with one segment that is set aside.
    pub(super) fn compare_one(self: &Arc<Self>) -> Result<Option<Step>, DiskError> {
        let _names = locked(&self.names);
        let serving = self.state().serving();
        let mut left = false;
        for member in &serving {
            let Ok(names) = member.disk.list(STALE) else { continue };
            for name in names {
                let path = format!("{STALE}/{name}");
                if !member.serves() {
                    break;
                }
                let Some(number) = crate::layout::segment_number(&name) else {
                    self.on_one(member, |member| remove_if_there(&*member.disk, &path))?;
                    continue;
                };
                match self.compare(member, number, &path)? {
                    Some(bytes) => {
                        let task = Some(Task::Comparing { segment: number, on: member.drive });
                        return Ok(Some(Step { task, bytes }));
                    }
                    None => left = true,
                }
            }
        }
        if !left && !self.state().somebody_is_out() {
            self.forget_changes(&serving)?;
        }
        Ok(None)
    }

    /// Takes a segment over or removes it; nothing if that has to wait.
    fn compare(
        &self,
        member: &Arc<Member>,
        number: SegmentNumber,
        path: &str,
    ) -> Result<Option<u64>, DiskError> {
        let (holders, wanted, out) = {
            let state = self.state();
            let holders = state.segments.get(&number).map(|s| s.holders.clone()).unwrap_or_default();
            (
                holders,
                state.policy_of(number).copies(),
                state.record.members.iter().any(|e| e.state == MemberState::Out),
            )
        };
        let Some(changed) = self.on_one(member, |member| segments_in(member, CHANGED))? else {
            return Ok(None);
        };
        let changed = changed.contains(&number);
        if holders.is_empty() && out && !changed {
            return Ok(None);
        }
        let mut bytes = 0;
        let needed = holders.len() < wanted && !holders.contains(&member.index) && !changed;
        let equal = needed && (holders.is_empty() || self.equals_another(member, number, path, &mut bytes));
        if !equal {
            self.on_one(member, |member| remove_if_there(&*member.disk, path))?;
            return Ok(Some(bytes));
        }
        let taken = self.on_one(member, |member| {
            member.disk.rename(path, &segment_path(number))?;
            member.disk.sync_directory(SEGMENTS)?;
            member.disk.sync_directory(STALE)
        })?;
        if taken.is_none() {
            return Ok(Some(bytes));
        }
        let mut state = self.state();
        state.segments.entry(number).or_default().holders.insert(member.index);
        let node = state.node(&segment_path(number));
        drop(state);
        if let Some(node) = node {
            let mut state = node.state();
            node.add_holder(&mut state, member.clone());
        }
        Ok(Some(bytes))
    }

    /// Whether a copy set aside says the same as one in service, and nobody writes that.
    fn equals_another(&self, member: &Member, number: SegmentNumber, path: &str, bytes: &mut u64) -> bool {
        if self.state().marked.contains(&segment_name(number)) {
            return false;
        }
        let Ok(own) = member.disk.open(path, Access::Read) else { return false };
        self.members_of(Class::Segment(number)).iter().any(|other| {
            let Ok(file) = other.disk.open(&segment_path(number), Access::Read) else { return false };
            *bytes += file.length().unwrap_or(0);
            same(&*file, &*own).unwrap_or(false)
        })
    }

    /// With nobody out, nobody can come back with an old copy.
    fn forget_changes(&self, serving: &[Arc<Member>]) -> Result<(), DiskError> {
        // What was set aside must not come back when the notes of what became of it are gone.
        for member in serving {
            if self.on_one(member, |member| member.disk.sync_directory(STALE))?.is_none() {
                return Ok(());
            }
        }
        self.state().aside = false;
        for member in serving {
            self.on_one(member, |member| {
                let names = member.disk.list(CHANGED)?;
                names.iter().try_for_each(|name| remove_if_there(&*member.disk, &format!("{CHANGED}/{name}")))
            })?;
        }
        Ok(())
    }
}

//! Names of segments: each lies on some members, chosen when it is made.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use medium::{Access, DiskError, File, Operation};
use model::{ErrorKind, SegmentNumber};

use crate::file::SetFile;
use crate::layout::{Class, LEAVING, SEGMENTS, WRITING, segment_name, segment_path};
use crate::member::Member;
use crate::names::error;
use crate::parity::leaving_name;
use crate::set::{Segment, Shared, no_copy};
use crate::superblock::remove_if_there;

impl Shared {
    /// Members for a segment's copies, the best first: most free bytes; equals take turns.
    pub(crate) fn candidates(&self, number: SegmentNumber) -> Vec<Arc<Member>> {
        let state = self.state();
        let mut members = state.taking();
        drop(state);
        let count = members.len().max(1) as u64;
        members.sort_by_cached_key(|member| {
            let turn = (member.index as u64).wrapping_add(number.0) % count;
            (member.is_avoided(), Reverse(member.free()), turn)
        });
        members
    }

    /// Members for the copies of a segment that is made: those that are to be emptied come last, and are better than none.
    fn takers(&self, number: SegmentNumber) -> Vec<Arc<Member>> {
        let mut members = self.candidates(number);
        let serving = self.state().serving();
        let left = serving.into_iter().filter(|one| !members.iter().any(|member| Arc::ptr_eq(member, one)));
        let left: Vec<_> = left.collect();
        members.extend(left);
        members
    }

    /// Makes the file of a segment on as many members as it should be.
    pub(crate) fn create_segment(
        self: &Arc<Self>,
        number: SegmentNumber,
        path: &str,
    ) -> Result<Arc<dyn File>, DiskError> {
        let known = self.state().segments.get(&number).cloned().unwrap_or_default();
        if self.state().ways(&known) > 0 {
            return Err(error(Operation::Create, path, io::ErrorKind::AlreadyExists));
        }
        if let Some((id, slot)) = known.group {
            // It is lost, and what is left of its group must not be taken for this one.
            self.note_gone(id, slot, None)?;
        }
        let takers = self.takers(number);
        let wanted = self.state().policy_of(number).copies().min(takers.len()).max(1);
        let name = segment_name(number);
        self.note_change(&name)?;
        let (mut files, mut failed, mut last) = (Vec::new(), Vec::new(), None);
        for member in takers {
            if files.len() == wanted {
                break;
            }
            let made = member.note(WRITING, &name).and_then(|()| member.disk.create(path));
            match made {
                Ok(file) => files.push((member, file)),
                Err(error) => {
                    if error.kind() == ErrorKind::Io {
                        failed.push(member);
                    }
                    let healthy = |known: &DiskError| known.kind() != ErrorKind::Io;
                    last = last.filter(healthy).or(Some(error));
                }
            }
        }
        let full = last.as_ref().is_some_and(|error| error.kind() == ErrorKind::Full) && files.len() < wanted;
        if files.is_empty() || full {
            for (member, _) in files {
                // What is left of it is marked, and found at the next opening.
                let _ = member.disk.remove(path);
            }
            failed.iter().for_each(|member| member.avoid());
            return Err(last.unwrap_or_else(|| no_copy(Operation::Create, path)));
        }
        let mut state = self.state();
        state.marked.insert(name);
        state.unsynced_names.insert(number);
        let holders: BTreeSet<usize> = files.iter().map(|(member, _)| member.index).collect();
        state.segments.insert(number, Segment { holders, ..Segment::default() });
        drop(state);
        if !failed.is_empty() {
            self.fall_out(&failed)?;
        }
        let holders = files.iter().map(|(member, _)| member.clone()).collect();
        let node = self.node_at(Class::Segment(number), path, holders);
        Ok(Arc::new(SetFile::new(self, node, path, Access::ReadWrite, files)))
    }

    pub(crate) fn remove_segment(&self, number: SegmentNumber, path: &str) -> Result<(), DiskError> {
        let members = self.members_of(Class::Segment(number));
        let known = self.state().segments.get(&number).cloned().unwrap_or_default();
        if self.state().ways(&known) == 0 {
            return Err(error(Operation::Remove, path, io::ErrorKind::NotFound));
        }
        self.note_change(&segment_name(number))?;
        self.state().unsynced_names.insert(number);
        if let Some((id, slot)) = known.group {
            self.leave_group(id, slot, &members, path)?;
            self.forget_path(path);
            self.state().forget(number);
            return Ok(());
        }
        let mut any = false;
        self.on_each(&members, |member| match member.disk.remove(path) {
            Err(error) if error.kind() == ErrorKind::Missing => Ok(()),
            result => result.map(|()| any = true),
        })?;
        self.forget_path(path);
        self.state().forget(number);
        if any { Ok(()) } else { Err(error(Operation::Remove, path, io::ErrorKind::NotFound)) }
    }

    /// Takes the name from a segment that is under parity: its bytes stay until parity is without them.
    fn leave_group(
        &self,
        id: u64,
        slot: usize,
        members: &[Arc<Member>],
        path: &str,
    ) -> Result<(), DiskError> {
        let mut keeper = None;
        for member in members {
            let left = self.on_one(member, |member| {
                if keeper.is_some() {
                    return remove_if_there(&*member.disk, path);
                }
                match member.disk.rename(path, &leaving_name(id, slot)) {
                    Err(error) if error.kind() == ErrorKind::Missing => return Ok(()),
                    result => result?,
                }
                member.disk.sync_directory(LEAVING)?;
                keeper = Some(member.index);
                Ok(())
            })?;
            if left.is_none() && member.serves() {
                return Err(no_copy(Operation::Remove, path));
            }
        }
        self.note_gone(id, slot, keeper)
    }

    /// Notes on all members that a segment of a group is gone, wherever its bytes are.
    pub(crate) fn note_gone(&self, id: u64, slot: usize, keeper: Option<usize>) -> Result<(), DiskError> {
        if let Some(group) = self.state().groups.get_mut(&id) {
            group.leaving.insert(slot, keeper);
        }
        let serving = self.state().serving();
        let name = format!("{}.gone", leaving_name(id, slot));
        let name = name.rsplit('/').next().unwrap_or_default();
        self.on_each(&serving, |member| member.note(LEAVING, name)).map(drop)
    }

    /// Syncs the directory of segments. A member may fail and fall out only if it is not the one that has a name which
    /// is to be durable.
    pub(crate) fn sync_segments(&self) -> Result<(), DiskError> {
        let serving = self.state().serving();
        let results: Vec<_> =
            serving.into_iter().map(|member| (member.disk.sync_directory(SEGMENTS), member)).collect();
        let good: BTreeSet<usize> = results.iter().filter(|(r, _)| r.is_ok()).map(|(_, m)| m.index).collect();
        let names = self.state().unsynced_names.clone();
        let covered = names.iter().all(|number| {
            let state = self.state();
            state.segments.get(number).is_none_or(|s| s.holders.is_empty() || !s.holders.is_disjoint(&good))
        });
        let mut failed = Vec::new();
        let mut first = None;
        for (result, member) in results {
            if let Err(error) = result {
                failed.push(member);
                first = first.or(Some(error));
            }
        }
        if let Some(error) = first {
            if !covered || good.is_empty() {
                failed.iter().filter(|_| error.kind() == ErrorKind::Io).for_each(|member| member.avoid());
                return Err(error);
            }
            self.fall_out(&failed)?;
        }
        for number in names {
            self.state().unsynced_names.remove(&number);
            if !self.state().segments.contains_key(&number) {
                self.unmark(&segment_name(number));
            }
            self.state().closed.insert(segment_path(number));
        }
        Ok(())
    }
}

//! Marks of files whose copies may differ after a crash.
//!
//! A mark is durable on all members that have the file before any copy is changed, and goes when all copies are known to
//! be equal and durable, with their names. After a crash, what is marked is compared before it is read; what is not marked
//! needs no look.

use std::sync::Arc;

use medium::{DiskError, Operation};
use model::ErrorKind;

use crate::layout::{CATALOG_MARK, CHANGED, Class, WRITING, segment_name, segment_number};
use crate::member::Member;
use crate::node::{Node, NodeState};
use crate::set::{Segment, Shared, no_copy};
use crate::superblock::remove_if_there;

/// The mark of a file of this class, if it needs one.
pub(crate) fn mark_name(class: Class) -> Option<String> {
    match class {
        Class::Segment(number) => Some(segment_name(number)),
        Class::Catalog => Some(CATALOG_MARK.to_owned()),
        Class::Everywhere => None,
    }
}

impl Shared {
    /// Marks an open file as one that is being changed.
    pub(crate) fn mark(&self, node: &Node, state: &NodeState) -> Result<(), DiskError> {
        if let Class::Segment(number) = node.class
            && self.state().segments.get(&number).is_some_and(|segment| segment.group.is_some())
        {
            // Whoever said that it is sealed has it that way.
            return Err(DiskError::failed(
                Operation::Write,
                &state.path,
                std::io::ErrorKind::ReadOnlyFilesystem,
            ));
        }
        match mark_name(node.class) {
            Some(name) => self.mark_on(&name, &state.serving()),
            None => Ok(()),
        }
    }

    /// Marks a file on members; those that fail fall out unless all do.
    pub(crate) fn mark_on(&self, name: &str, members: &[Arc<Member>]) -> Result<(), DiskError> {
        if self.state().marked.contains(name) {
            return Ok(());
        }
        self.on_each(members, |member| member.note(WRITING, name))?;
        self.note_change(name)?;
        self.state().marked.insert(name.to_owned());
        Ok(())
    }

    /// Notes that a segment is changed or removed, if a member is out that will not know.
    pub(crate) fn note_change(&self, name: &str) -> Result<(), DiskError> {
        let state = self.state();
        if !state.notes_changes() || segment_number(name).is_none() {
            return Ok(());
        }
        let serving = state.serving();
        drop(state);
        self.on_each(&serving, |member| member.note(CHANGED, name)).map(drop)
    }

    /// A writer lets go of a file.
    pub(crate) fn let_go(&self, class: Class, path: String, uneven: bool) {
        let mut state = self.state();
        match class {
            Class::Segment(number) if uneven => {
                state.segments.entry(number).and_modify(|segment| segment.uneven = true);
            }
            _ if uneven => drop(state.uneven.insert(path.clone())),
            _ => {}
        }
        state.closed.insert(path);
    }

    /// Takes marks away from files that nobody writes any more. The caller holds `names`.
    pub(crate) fn settle_closed(&self) {
        let closed = std::mem::take(&mut self.state().closed);
        for path in closed {
            if !self.settle(&path) {
                self.state().closed.insert(path);
            }
        }
    }

    /// Takes the mark of one file away; false if it must be tried again later.
    fn settle(&self, path: &str) -> bool {
        let class = Class::of(path);
        let Some(name) = mark_name(class) else { return true };
        let state = self.state();
        let nodes: Vec<Arc<Node>> = match class {
            Class::Catalog => state.nodes.values().filter_map(std::sync::Weak::upgrade).collect(),
            _ => state.node(path).into_iter().collect(),
        };
        if !state.marked.contains(&name) {
            return true;
        }
        let uneven = match class {
            Class::Segment(number) => {
                state.unsynced_names.contains(&number)
                    || state.segments.get(&number).is_some_and(|s| s.uneven)
            }
            _ => state.uneven.iter().any(|path| Class::of(path) == class),
        };
        drop(state);
        for node in nodes.iter().filter(|node| mark_name(node.class).as_ref() == Some(&name)) {
            let state = node.state();
            if state.writers > 0 {
                // Whoever lets go of it last comes here again.
                return true;
            }
            if state.unsynced || state.uneven || state.growing.is_some() {
                return state.removed;
            }
        }
        if uneven {
            return false;
        }
        self.unmark(&name);
        true
    }

    /// Takes a mark away from all members. One that stays costs a comparison, no more.
    pub(crate) fn unmark(&self, name: &str) {
        let serving = {
            let mut state = self.state();
            state.marked.remove(name);
            state.serving()
        };
        for member in serving {
            if remove_if_there(&*member.disk, &format!("{WRITING}/{name}"))
                .is_err_and(|e| e.kind() == ErrorKind::Io)
            {
                member.count_write_error();
            }
        }
    }

    /// What was done on a member; nothing if it failed.
    pub(crate) fn on_one<T>(
        &self,
        member: &Arc<Member>,
        act: impl FnOnce(&Member) -> Result<T, DiskError>,
    ) -> Result<Option<T>, DiskError> {
        match act(member) {
            Err(error) if error.kind() == ErrorKind::Io => self.fail_behind(member).map(|()| None),
            result => result.map(Some),
        }
    }

    /// A member failed while nobody waited for it: it falls out, unless it has the only copy of something.
    pub(crate) fn fail_behind(&self, member: &Arc<Member>) -> Result<(), DiskError> {
        let state = self.state();
        let alone = |segment: &Segment| segment.holders.contains(&member.index) && state.ways(segment) < 2;
        let needed = state.serving().len() < 2 || state.segments.values().any(alone);
        drop(state);
        if needed {
            member.count_write_error();
            member.avoid();
            return Ok(());
        }
        self.fall_out(std::slice::from_ref(member))
    }

    /// What was done on each member that it did not fail on. Those that failed fall out, unless all did, or one is full:
    /// then nothing is said to be done, and the error comes out.
    pub(crate) fn on_each<T>(
        &self,
        members: &[Arc<Member>],
        mut act: impl FnMut(&Member) -> Result<T, DiskError>,
    ) -> Result<Vec<(Arc<Member>, T)>, DiskError> {
        let (mut done, mut failed, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for member in members.iter().filter(|member| member.serves()) {
            match act(member) {
                Ok(value) => done.push((member.clone(), value)),
                Err(error) => {
                    failed.push(member.clone());
                    errors.push(error);
                }
            }
        }
        if let Some(full) = errors.iter().position(|error| error.kind() == ErrorKind::Full) {
            return Err(errors.swap_remove(full));
        }
        if done.is_empty() {
            // A healthy member's answer says more than that of one that does not answer.
            let healthy = errors.iter().position(|error| error.kind() != ErrorKind::Io).unwrap_or(0);
            return match errors.is_empty() {
                true if members.is_empty() => Ok(done),
                true => Err(no_copy(Operation::Write, "")),
                false => Err(errors.swap_remove(healthy)),
            };
        }
        if !failed.is_empty() {
            self.fall_out(&failed)?;
        }
        Ok(done)
    }
}

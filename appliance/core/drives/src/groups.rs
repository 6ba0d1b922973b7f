//! Finding the groups of segments when a set is opened, and putting in order what a crash left of them.
//!
//! A group counts as soon as one of its files has its name, since all of them are whole by then: those that have not are
//! given theirs. A group that is replaced by one that counts goes.

use std::sync::Arc;

use medium::{Access, DiskError};

use crate::copies::publish;
use crate::layout::{LEAVING, MAKING, PARITY};
use crate::member::Member;
use crate::parity::{Group, Head, leaving_slot, parity_path};
use crate::set::{Shared, State};
use crate::superblock::remove_if_there;

impl Shared {
    /// Reads the heads of all parity files.
    pub(crate) fn load_groups(self: &Arc<Self>) -> Result<(), DiskError> {
        let serving = self.state().serving();
        for (member, heads) in self.on_each(&serving, |member| heads_in(member, PARITY))? {
            let mut state = self.state();
            for (name, head) in heads {
                if head.pool == self.pool
                    && parity_path(head.group, head.index.into()) == format!("{PARITY}/{name}")
                {
                    state.enter_file(&head, member.index);
                }
            }
        }
        self.publish_rest()?;
        self.load_leaving()?;
        let replaced: Vec<u64> = {
            let state = self.state();
            let old = state.groups.values().filter_map(|group| group.replaces);
            old.filter(|old| state.groups.contains_key(old)).collect()
        };
        replaced.into_iter().try_for_each(|old| self.remove_group(old))?;
        let mut state = self.state();
        let State { groups, segments, .. } = &mut *state;
        for (id, group) in groups {
            for (slot, segment) in group.segments() {
                segments.entry(segment.segment).or_default().group = Some((*id, slot));
            }
        }
        Ok(())
    }

    /// Gives files their names that are whole, and others of whose group have theirs.
    fn publish_rest(&self) -> Result<(), DiskError> {
        let serving = self.state().serving();
        for (member, heads) in self.on_each(&serving, |member| heads_in(member, MAKING))? {
            for (name, head) in heads {
                let path = parity_path(head.group, head.index.into());
                let known = self.state().groups.contains_key(&head.group);
                if known && head.pool == self.pool && name == path.replace('/', ".") {
                    match publish(&member, &format!("{MAKING}/{name}"), &path) {
                        Ok(()) => self.state().enter_file(&head, member.index),
                        // It is made anew by a later step.
                        Err(_) => member.count_write_error(),
                    }
                }
            }
        }
        Ok(())
    }

    /// Finds the segments that were removed and that parity needs still.
    fn load_leaving(&self) -> Result<(), DiskError> {
        let serving = self.state().serving();
        let lists = self.on_each(&serving, |member| member.disk.list(LEAVING))?;
        let mut slots = Vec::new();
        for (member, names) in lists {
            for name in names {
                let parsed = leaving_slot(&name);
                let mut state = self.state();
                let group = parsed.and_then(|(id, _, _)| state.groups.get_mut(&id));
                match (parsed, group) {
                    (Some((id, slot, gone)), Some(group)) => {
                        let place = group.leaving.entry(slot).or_insert(None);
                        if !gone {
                            *place = Some(member.index);
                        }
                        slots.push((id, slot));
                    }
                    _ => {
                        drop(state);
                        remove_if_there(&*member.disk, &format!("{LEAVING}/{name}"))?;
                    }
                }
            }
        }
        for (id, slot) in slots {
            let keeper =
                self.state().groups.get(&id).and_then(|group| group.leaving.get(&slot).copied().flatten());
            self.note_gone(id, slot, keeper)?;
        }
        Ok(())
    }
}

impl State {
    /// Enters a parity file that a member has.
    fn enter_file(&mut self, head: &Head, member: usize) {
        let group = self.groups.entry(head.group).or_insert_with(|| Group::of(head));
        group.files.entry(head.index.into()).or_default().insert(member);
    }
}

/// The sound heads in a directory; files without one are not counted as there.
pub(crate) fn heads_in(member: &Member, directory: &str) -> Result<Vec<(String, Head)>, DiskError> {
    let mut heads = Vec::new();
    for name in member.disk.list(directory)? {
        let Ok(file) = member.disk.open(&format!("{directory}/{name}"), Access::Read) else { continue };
        match Head::read(&*file) {
            Ok(Some(head)) => heads.push((name, head)),
            Ok(None) => {}
            Err(_) => member.count_read_error(),
        }
    }
    Ok(heads)
}

//! Changes of the members: who falls out, and how all others learn of it.
//!
//! Order: what a member that is out does not know of is noted on the others, then the next epoch is written to them, one
//! copy on all, then the second, then the third. Only then does the call that found the failure succeed. A member that
//! fails at this falls out as well, by another epoch. The last member never falls out.

use std::sync::Arc;

use medium::{DiskError, Operation};
use model::SegmentNumber;

use crate::DrivesError;
use crate::layout::{CHANGED, segment_name, segment_number};
use crate::member::Member;
use crate::planted::{self, Bug};
use crate::set::{Shared, State, no_copy};
use crate::superblock::{Superblock, write_copy};

impl Shared {
    /// Lets go of members on which a change failed.
    pub(crate) fn fall_out(&self, failed: &[Arc<Member>]) -> Result<(), DiskError> {
        let mut state = self.state();
        let mut fresh = false;
        for member in failed {
            member.count_write_error();
            if !member.serves() {
                continue;
            }
            if state.serving().len() == 1 {
                member.avoid();
                return Err(no_copy(Operation::Write, "member.0"));
            }
            state.take_out(member.index);
            fresh = true;
        }
        let is_written = fresh && !planted::has(Bug::FallOutUnwritten);
        if is_written { self.commit_members(&mut state) } else { Ok(()) }
    }

    /// Makes a change of the members durable on all that are in service.
    pub(crate) fn commit_members(&self, state: &mut State) -> Result<(), DiskError> {
        loop {
            let serving = state.serving();
            if serving.is_empty() {
                return Err(no_copy(Operation::Write, "member.0"));
            }
            let mut failed = note_changed(state, &serving);
            if failed.is_empty() {
                state.give_catalog_a_home();
                state.record.push_epoch(self.draw_epoch(), self.world.clock.now());
                failed = self.write_superblocks(state, &serving);
            }
            if failed.is_empty() {
                return Ok(());
            }
            for member in failed {
                member.count_write_error();
                if state.serving().len() == 1 {
                    return Err(no_copy(Operation::Write, "member.0"));
                }
                state.take_out(member.index);
            }
        }
    }

    /// Makes the change durable that takes a member into service. That member learns of it first, so that nobody can know
    /// of a member that does not.
    pub(crate) fn commit_with(&self, state: &mut State, index: usize) -> Result<(), DrivesError> {
        state.record.push_epoch(self.draw_epoch(), self.world.clock.now());
        let Some(member) = state.members.get(index).cloned().flatten() else { return Ok(()) };
        if let Err(error) = self.write_superblock(state, &member, 0) {
            state.take_out(index);
            self.commit_members(state)?;
            return Err(error);
        }
        let serving = state.serving();
        let failed = self.write_superblocks(state, &serving);
        if failed.is_empty() {
            return Ok(());
        }
        for member in failed {
            member.count_write_error();
            state.take_out(member.index);
        }
        Ok(self.commit_members(state)?)
    }

    /// Writes the record to members, copy by copy; who failed.
    pub(crate) fn write_superblocks(&self, state: &State, members: &[Arc<Member>]) -> Vec<Arc<Member>> {
        let mut failed: Vec<Arc<Member>> = Vec::new();
        for copy in 0..3 {
            for member in members {
                let known = failed.iter().any(|other| Arc::ptr_eq(other, member));
                if !known && self.write_superblock(state, member, copy).is_err() {
                    failed.push(member.clone());
                }
            }
        }
        failed
    }

    /// Writes a copy of the record to a member.
    pub(crate) fn write_superblock(
        &self,
        state: &State,
        member: &Member,
        copy: usize,
    ) -> Result<(), DrivesError> {
        let set = state.record.clone();
        let superblock =
            Superblock { version: Superblock::VERSION, pool: self.pool, drive: member.drive, set };
        Ok(write_copy(&*member.disk, copy, &superblock.encode()?)?)
    }
}

/// Notes the segments of which a member that is out may have an old copy; who failed.
fn note_changed(state: &State, serving: &[Arc<Member>]) -> Vec<Arc<Member>> {
    if !state.notes_changes() {
        return Vec::new();
    }
    let names: Vec<String> = state.changing().map(segment_name).collect();
    let mut failed = serving.to_vec();
    failed.retain(|member| names.iter().any(|name| member.note(CHANGED, name).is_err()));
    failed
}

impl State {
    /// Segments that are being changed, made or removed. One of which only a member that is out has a copy cannot be
    /// changed.
    pub(crate) fn changing(&self) -> impl Iterator<Item = SegmentNumber> {
        let held = |number: &SegmentNumber| self.segments.get(number).is_none_or(|s| !s.holders.is_empty());
        let marked = self.marked.iter().filter_map(|name| segment_number(name)).filter(held);
        marked.chain(self.unsynced_names.iter().copied())
    }

    /// The catalog always has a home, if only an empty one.
    fn give_catalog_a_home(&mut self) {
        if !self.homes().is_empty() {
            return;
        }
        let mut members = self.taking();
        members.sort_by_key(|member| std::cmp::Reverse(member.free()));
        if let Some(entry) = members.first().and_then(|member| self.record.members.get_mut(member.index)) {
            entry.catalog = true;
        }
    }
}

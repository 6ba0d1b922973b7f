//! Drives that are added, taken away, and that come back.

use std::collections::BTreeSet;
use std::sync::Arc;

use medium::{Disk, DiskError};
use model::{ErrorKind, SegmentNumber};

use crate::copies::segments_in;
use crate::judge::judge_return;
use crate::layout::{CHANGED, LEAVING, MAKING, PARITY, SEGMENTS, STALE, WRITING, segment_name};
use crate::member::Member;
use crate::opening::{check_empty, lock, make_directories};
use crate::planted::{self, Bug};
use crate::set::{Shared, locked};
use crate::superblock::{MemberEntry, MemberState, load, remove_if_there};
use crate::{DriveSet, DriveUuid, DrivesError, Policy};

impl DriveSet {
    /// Takes an empty drive into service.
    pub fn add(&self, disk: Arc<dyn Disk>) -> Result<DriveUuid, DrivesError> {
        let _names = locked(&self.shared.names);
        self.shared.settle_closed();
        check_empty(&*disk)?;
        let drive = DriveUuid::draw(&*self.shared.world.entropy);
        let index = self.shared.state().members.len();
        if index == usize::from(u8::MAX) {
            return Err(DrivesError::Policy { what: "the set has had too many drives" });
        }
        let member = Member::new(drive, index, disk.clone(), lock(&*disk, drive)?);
        make_directories(&*disk)?;
        let serving = self.shared.state().serving();
        self.shared.furnish(&serving, &member)?;
        self.shared.tell_gone(&member)?;
        let mut state = self.shared.state();
        let since = state.record.epoch().number.saturating_add(1);
        state.record.members.push(MemberEntry {
            drive,
            state: MemberState::InService,
            since,
            catalog: false,
        });
        state.members.push(Some(member));
        // What did not succeed may with one drive more.
        state.segments.values_mut().for_each(|segment| segment.unreadable.clear());
        self.shared.commit_with(&mut state, index)?;
        drop(state);
        self.shared.hold_everywhere(index);
        Ok(drive)
    }

    /// Keeps what is stored another way from here on, except for what is asked to be kept otherwise; later steps make the
    /// copies and the parity, and remove what is too many.
    pub fn set_policy(&self, policy: Policy) -> Result<(), DrivesError> {
        let policy = policy.check()?;
        let _names = locked(&self.shared.names);
        self.shared.settle_closed();
        let mut state = self.shared.state();
        if policy == state.record.policy {
            return Ok(());
        }
        if state.staying().len() < policy.drives() {
            return Err(DrivesError::Policy { what: "there are too few drives for it" });
        }
        state.record.policy = policy;
        Ok(self.shared.commit_members(&mut state)?)
    }

    /// Begins to move what a member holds to others; it is let go of, as retired, by later steps.
    pub fn retire(&self, drive: DriveUuid) -> Result<(), DrivesError> {
        let _names = locked(&self.shared.names);
        self.shared.settle_closed();
        let mut state = self.shared.state();
        let index = state.index_of(drive).ok_or(DrivesError::Unknown { drive })?;
        match state.entry_state(index) {
            Some(MemberState::InService) if state.staying().len() == 1 => {
                Err(DrivesError::LastMember { drive })
            }
            Some(MemberState::InService) => {
                let catalog = state.record.members[index].catalog;
                state.record.set_state(index, MemberState::Retiring);
                state.record.members[index].catalog = catalog;
                Ok(self.shared.commit_members(&mut state)?)
            }
            // One that is out has nothing that is missed; it does not come back.
            Some(MemberState::Out) => {
                state.record.set_state(index, MemberState::Retired);
                Ok(self.shared.commit_members(&mut state)?)
            }
            _ => Ok(()),
        }
    }

    /// Lets go of a member at once: it is neither read nor written from here on.
    pub fn drop_out(&self, drive: DriveUuid) -> Result<(), DrivesError> {
        let _names = locked(&self.shared.names);
        self.shared.settle_closed();
        let mut state = self.shared.state();
        let index = state.index_of(drive).ok_or(DrivesError::Unknown { drive })?;
        if state.members[index].is_none() {
            return Ok(());
        }
        if state.serving().len() == 1 {
            return Err(DrivesError::LastMember { drive });
        }
        state.take_out(index);
        Ok(self.shared.commit_members(&mut state)?)
    }

    /// Takes a member back that was out. What it holds is set aside and compared, or copied anew, before it is read. It
    /// must have been mounted anew since it fell out: after a failed sync the kernel's memory of it is not what is on it.
    pub fn rejoin(&self, disk: Arc<dyn Disk>) -> Result<DriveUuid, DrivesError> {
        let _names = locked(&self.shared.names);
        self.shared.settle_closed();
        let loaded = load(&*disk)?;
        let drive = loaded.superblock.drive;
        let index = judge_return(&loaded, self.shared.pool, &self.shared.state().record)?;
        if self.shared.state().members[index].is_some() {
            return Err(DrivesError::Cloned { drive });
        }
        let member = Member::new(drive, index, disk.clone(), lock(&*disk, drive)?);
        let changed = self.shared.changed()?;
        make_directories(&*disk)?;
        self.shared.set_aside(&member, &changed)?;
        let serving = self.shared.state().serving();
        self.shared.furnish(&serving, &member)?;
        self.shared.tell_gone(&member)?;
        let kept = segments_in(&member, SEGMENTS)?;
        let mut state = self.shared.state();
        state.record.set_state(index, MemberState::InService);
        state.members[index] = Some(member);
        for number in kept {
            state.marked.remove(&segment_name(number));
            state.segments.entry(number).or_default().holders.insert(index);
        }
        state.segments.values_mut().for_each(|segment| segment.unreadable.clear());
        state.aside = true;
        self.shared.commit_with(&mut state, index)?;
        drop(state);
        self.shared.hold_everywhere(index);
        Ok(drive)
    }
}

impl Shared {
    /// Segments of which a member that is out may have an old copy.
    fn changed(&self) -> Result<BTreeSet<SegmentNumber>, DiskError> {
        let serving = self.state().serving();
        let lists = self.on_each(&serving, |member| segments_in(member, CHANGED))?;
        let mut changed: BTreeSet<SegmentNumber> =
            lists.into_iter().flat_map(|(_, numbers)| numbers).collect();
        changed.extend(self.state().changing());
        Ok(changed)
    }

    /// Sets aside all that a member holds but what only it can have: segments of which nobody has a copy, that were not
    /// changed since it fell out, and that no other member that is out may know better.
    fn set_aside(&self, member: &Member, changed: &BTreeSet<SegmentNumber>) -> Result<(), DiskError> {
        let disk = &*member.disk;
        for name in disk.list(WRITING)?.iter().chain(&disk.list(MAKING)?) {
            remove_if_there(disk, &format!("{WRITING}/{name}"))?;
            remove_if_there(disk, &format!("{MAKING}/{name}"))?;
        }
        for directory in [CHANGED, LEAVING] {
            for name in disk.list(directory)? {
                remove_if_there(disk, &format!("{directory}/{name}"))?;
            }
        }
        let newest = {
            let state = self.state();
            let since = |index: usize| state.record.members.get(index).map_or(0, |entry| entry.since);
            let out = state.record.members.iter().filter(|entry| entry.state == MemberState::Out);
            out.map(|entry| entry.since).max().unwrap_or(0) <= since(member.index)
        };
        for number in segments_in(member, SEGMENTS)? {
            let name = segment_name(number);
            let (path, aside) = (format!("{SEGMENTS}/{name}"), format!("{STALE}/{name}"));
            let known = self
                .state()
                .segments
                .get(&number)
                .is_some_and(|s| !s.holders.is_empty() || s.group.is_some());
            if planted::has(Bug::BelieveReturned) {
                continue;
            }
            if changed.contains(&number) {
                disk.remove(&path)?;
            } else if known || !newest {
                disk.rename(&path, &aside)?;
            }
        }
        for name in disk.list(PARITY)? {
            disk.rename(&format!("{PARITY}/{name}"), &format!("{STALE}/{name}"))?;
        }
        for directory in [WRITING, MAKING, CHANGED, LEAVING, PARITY, STALE] {
            disk.sync_directory(directory)?;
        }
        match disk.sync_directory(SEGMENTS) {
            Err(error) if error.kind() == ErrorKind::Missing => Ok(()),
            result => result,
        }
    }

    /// Tells a member that comes into service which segments have left their groups.
    fn tell_gone(&self, member: &Member) -> Result<(), DiskError> {
        let groups: Vec<_> =
            self.state().groups.iter().map(|(id, group)| (*id, group.leaving.clone())).collect();
        for (id, leaving) in groups {
            for slot in leaving.keys() {
                member.note(LEAVING, &format!("{id:016x}-{slot}.gone"))?;
            }
        }
        Ok(())
    }

    /// Files of the classes that every member has are in the hands of a member from here on, if they are open.
    fn hold_everywhere(&self, index: usize) {
        let state = self.state();
        let Some(member) = state.members.get(index).cloned().flatten() else { return };
        let nodes: Vec<_> = state.nodes.values().filter_map(std::sync::Weak::upgrade).collect();
        drop(state);
        for node in nodes.iter().filter(|node| node.class == crate::layout::Class::Everywhere) {
            let mut inner = node.state();
            if !inner.removed && inner.since(&member).is_none() {
                node.add_holder(&mut inner, member.clone());
            }
        }
    }
}

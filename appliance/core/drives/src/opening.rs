//! Making a set, taking a single directory into one, and opening one.
//!
//! Opening: every drive is judged by its superblock; those that are in use by nobody else are locked; members that are not
//! there are out from here on, which is written down first; then what a crash left is put in order.

use std::sync::{Arc, Mutex};

use medium::{Disk, DiskError, Lock};
use model::{ErrorKind, SegmentNumber};

use crate::copies::segments_in;
use crate::judge::{Judgement, judge};
use crate::layout::{
    DIRECTORIES, MAKING, MEMBER_LOCK, SEGMENTS, STALE, SUPERBLOCKS, WRITING, segment_number,
};
use crate::member::Member;
use crate::set::{DriveSet, Shared, State, World};
use crate::superblock::{MemberEntry, MemberState, SetRecord, load, remove_if_there};
use crate::{DriveUuid, DrivesError, Policy, PoolUuid};

/// A set that is open, and the drives that are not part of it.
#[derive(Debug)]
pub struct Opened {
    /// The set.
    pub set: DriveSet,
    /// Drives that were handed in and are part of it, by their place.
    pub used: Vec<(usize, DriveUuid)>,
    /// Drives that were handed in and are not used, by their place, with the reason.
    pub refused: Vec<(usize, DrivesError)>,
    /// Members that should be there and are not; they are out of service.
    pub missing: Vec<DriveUuid>,
}

impl DriveSet {
    /// Makes a set of empty drives.
    pub fn create(
        disks: &[Arc<dyn Disk>],
        pool: PoolUuid,
        policy: Policy,
        world: World,
    ) -> Result<Self, DrivesError> {
        let policy = policy.check()?;
        if disks.len() < policy.drives() {
            return Err(DrivesError::Policy { what: "there are too few drives for it" });
        }
        disks.iter().try_for_each(|disk| check_empty(&**disk))?;
        let drives: Vec<_> = disks.iter().map(|_| DriveUuid::draw(&*world.entropy)).collect();
        Self::make(disks, &drives, pool, policy, world)
    }

    /// Takes a pool in a single directory as the first member of a set; nothing of it is moved.
    pub fn adopt(
        disk: Arc<dyn Disk>,
        drive: DriveUuid,
        pool: PoolUuid,
        policy: Policy,
        world: World,
    ) -> Result<Self, DrivesError> {
        let policy = policy.check()?;
        check_not_member(&*disk)?;
        Self::make(&[disk], &[drive], pool, policy, world)
    }

    fn make(
        disks: &[Arc<dyn Disk>],
        drives: &[DriveUuid],
        pool: PoolUuid,
        policy: Policy,
        world: World,
    ) -> Result<Self, DrivesError> {
        let entry = |(index, drive): (usize, &DriveUuid)| MemberEntry {
            drive: *drive,
            state: MemberState::InService,
            since: 1,
            catalog: index < policy.copies(),
        };
        let members = drives.iter().enumerate().map(entry).collect();
        let mut record = SetRecord { lineage: Vec::new(), members, policy, is_asked: false };
        record.push_epoch(crate::EpochId::draw(&*world.entropy), world.clock.now());
        let mut state = State::new(record);
        for (index, (disk, drive)) in disks.iter().zip(drives).enumerate() {
            state.members[index] = Some(Member::new(*drive, index, disk.clone(), lock(&**disk, *drive)?));
        }
        let set = Self::of(pool, world, state);
        set.shared.prepare()?;
        let state = set.shared.state();
        for copy in 0..3 {
            for member in state.serving() {
                set.shared.write_superblock(&state, &member, copy)?;
            }
        }
        drop(state);
        set.shared.put_in_order()?;
        Ok(set)
    }

    /// Opens a set of drives in any order, some of which may be missing or not belong to it. `pool` says which one is
    /// meant, if there may be drives of several.
    pub fn open(
        disks: &[Arc<dyn Disk>],
        pool: Option<PoolUuid>,
        world: World,
    ) -> Result<Opened, DrivesError> {
        let found = disks.iter().map(|disk| load(&**disk)).collect();
        let Judgement { pool, head, usable, complete, mut refused } = judge(found, pool)?;
        let (mut state, mut used) = (State::new(head), Vec::new());
        for one in usable {
            let disk = &disks[one.disk];
            let drive = state.record.members[one.member].drive;
            match lock(&**disk, drive) {
                Ok(lock) => {
                    state.members[one.member] = Some(Member::new(drive, one.member, disk.clone(), lock));
                    used.push((one.disk, drive));
                }
                Err(DrivesError::Disk(error)) => refused.push((one.disk, error.into())),
                Err(error) => return Err(error),
            }
        }
        let absent = |entry: &MemberEntry, member: &Option<Arc<Member>>| entry.serves() && member.is_none();
        let list = state.record.members.iter().zip(&state.members);
        let missing: Vec<DriveUuid> =
            list.filter(|(e, m)| absent(e, m)).map(|(entry, _)| entry.drive).collect();
        let set = Self::of(pool, world, state);
        set.shared.prepare()?;
        set.shared.settle_members(&missing, complete)?;
        set.shared.put_in_order()?;
        Ok(Opened { set, used, refused, missing })
    }

    fn of(pool: PoolUuid, world: World, state: State) -> Self {
        let (names, state, work) = (Mutex::new(()), Mutex::new(state), Mutex::default());
        Self { shared: Arc::new(Shared { pool, world, names, state, work }) }
    }
}

impl Shared {
    /// Makes the set's own directories, and learns which files were being changed.
    fn prepare(&self) -> Result<(), DiskError> {
        let serving = self.state().serving();
        self.gather(&serving, |member| make_directories(&*member.disk))?;
        for names in self.gather(&serving, |member| member.disk.list(WRITING))? {
            self.state().marked.extend(names);
        }
        for names in self.gather(&serving, |member| member.disk.list(STALE))? {
            self.state().aside |= !names.is_empty();
        }
        Ok(())
    }

    /// Asks all members; those that fail are out, unless all fail. Nothing of that is written down yet.
    fn gather<T>(
        &self,
        members: &[Arc<Member>],
        ask: impl Fn(&Member) -> Result<T, DiskError>,
    ) -> Result<Vec<T>, DiskError> {
        let (mut answers, mut failed, mut failure) = (Vec::new(), Vec::new(), None);
        for member in members.iter().filter(|member| member.serves()) {
            match ask(member) {
                Ok(answer) => answers.push(answer),
                Err(error) => {
                    failed.push(member.index);
                    failure = failure.or(Some(error));
                }
            }
        }
        match failure {
            Some(error) if answers.is_empty() => Err(error),
            _ => {
                failed.iter().for_each(|index| self.state().take_out(*index));
                Ok(answers)
            }
        }
    }

    /// Writes down who is out, and completes a change that was interrupted.
    fn settle_members(&self, missing: &[DriveUuid], complete: bool) -> Result<(), DrivesError> {
        let mut state = self.state();
        for drive in missing {
            if let Some(index) = state.index_of(*drive) {
                state.take_out(index);
            }
        }
        let epoch = state.record.epoch().number;
        let changed = state.record.members.iter().any(|entry| entry.since > epoch);
        if changed {
            return Ok(self.commit_members(&mut state)?);
        }
        if complete {
            return Ok(());
        }
        let serving = state.serving();
        let failed = self.write_superblocks(&state, &serving);
        drop(state);
        Ok(self.fall_out(&failed)?)
    }

    /// What is in a group was equal and durable when that was made: a mark of it is one that came back.
    fn even_groups(&self) {
        let mut state = self.state();
        let uneven =
            state.segments.iter_mut().filter(|(_, segment)| segment.uneven && segment.group.is_some());
        let marks: Vec<_> = uneven
            .map(|(number, segment)| {
                segment.uneven = false;
                crate::layout::segment_name(*number)
            })
            .collect();
        drop(state);
        marks.iter().for_each(|name| self.unmark(name));
    }

    /// Puts in order what a crash left.
    fn put_in_order(self: &Arc<Self>) -> Result<(), DiskError> {
        self.even_names()?;
        let serving = self.state().serving();
        let held = self.on_each(&serving, |member| segments_in(member, SEGMENTS))?;
        let mut state = self.state();
        for (member, numbers) in held.iter().filter(|(member, _)| member.serves()) {
            for number in numbers {
                state.segments.entry(*number).or_default().holders.insert(member.index);
            }
        }
        let marked: Vec<SegmentNumber> =
            state.marked.iter().filter_map(|name| segment_number(name)).collect();
        let mut gone = Vec::new();
        for number in marked {
            match state.segments.get_mut(&number) {
                Some(segment) => segment.uneven = true,
                None => gone.push(number),
            }
        }
        drop(state);
        gone.into_iter().for_each(|number| self.unmark(&crate::layout::segment_name(number)));
        self.unmark(crate::layout::CATALOG_MARK);
        self.load_groups()?;
        self.even_groups();
        let serving = self.state().serving();
        self.on_each(&serving, |member| {
            let names = member.disk.list(MAKING)?;
            names.iter().try_for_each(|name| remove_if_there(&*member.disk, &format!("{MAKING}/{name}")))
        })?;
        Ok(())
    }
}

/// Makes the directories of the set's own.
pub(crate) fn make_directories(disk: &dyn Disk) -> Result<(), DiskError> {
    DIRECTORIES.iter().try_for_each(|path| disk.make_directory(path))?;
    disk.sync_directory(crate::layout::SET)?;
    disk.sync_directory("")
}

/// Takes a member for this process.
pub(crate) fn lock(disk: &dyn Disk, drive: DriveUuid) -> Result<Box<dyn Lock>, DrivesError> {
    match disk.lock(MEMBER_LOCK) {
        Err(error) if error.kind() == ErrorKind::Busy => Err(DrivesError::InUse { drive }),
        lock => Ok(lock?),
    }
}

/// Refuses a drive that has a superblock, sound or not.
fn check_not_member(disk: &dyn Disk) -> Result<(), DrivesError> {
    let names = disk.list("")?;
    match names.into_iter().find(|name| SUPERBLOCKS.contains(&name.as_str())) {
        Some(name) => Err(DrivesError::NotEmpty { name }),
        None => Ok(()),
    }
}

/// Refuses a drive that holds something of a pool or of a set.
pub(crate) fn check_empty(disk: &dyn Disk) -> Result<(), DrivesError> {
    let ours = |name: &String| {
        SUPERBLOCKS.contains(&name.as_str())
            || name == SEGMENTS
            || name.starts_with("header.")
            || name.starts_with("catalog.redb")
            || [crate::layout::PARITY, crate::layout::SET].contains(&name.as_str())
    };
    match disk.list("")?.into_iter().find(ours) {
        Some(name) => Err(DrivesError::NotEmpty { name }),
        None => Ok(()),
    }
}

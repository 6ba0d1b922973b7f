//! Drives of a set whose appliance is gone, read as one: all that they give together, copies or parity.
//!
//! Nothing on them changes, and none is refused: a drive that was out when the others went on comes behind those, and what
//! it has of groups counts where checksums say that it is right.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use medium::{Access, Disk, DiskError, File, Lock, Operation, Space, Union};
use model::SegmentNumber;

use crate::groups::heads_in;
use crate::layout::{Class, LEAVING, PARITY, SEGMENTS, segment_name};
use crate::member::Member;
use crate::parity::{Group, GroupReader, leaving_slot};
use crate::superblock::{Superblock, load};
use crate::{DrivesError, PoolUuid};

/// The drives of a set, for reading only.
pub struct Salvage {
    union: Union,
    members: Vec<Arc<Member>>,
    groups: BTreeMap<u64, Group>,
    /// The group of each segment that is under parity, and its place in it.
    places: BTreeMap<SegmentNumber, (u64, usize)>,
}

impl Salvage {
    /// Takes what drives there are; nothing if none of them says that it is of a set. Whoever asks holds their locks.
    ///
    /// # Errors
    /// [`DrivesError::Version`] if a drive says so in a way that this program does not know.
    pub fn of(disks: &[Arc<dyn Disk>]) -> Result<Option<Self>, DrivesError> {
        let mut found = Vec::new();
        for disk in disks {
            found.push(match load(&**disk) {
                Ok(loaded) => Some(loaded),
                Err(error @ DrivesError::Version { .. }) => return Err(error),
                Err(_) => None,
            });
        }
        let newest =
            found.iter().flatten().max_by_key(|one| (one.superblock.set.epoch().number, one.confirmed));
        let Some(head) = newest.map(|one| one.superblock.clone()) else { return Ok(None) };
        let superblocks: Vec<_> = found.into_iter().map(|one| one.map(|one| one.superblock)).collect();
        let ranks = superblocks.iter().map(|superblock| rank(superblock.as_ref(), &head));
        let union = Union::ranked(ranks.zip(disks.iter().cloned()).collect());
        let members = superblocks.iter().zip(disks).enumerate().map(|(index, (superblock, disk))| {
            let drive = superblock.as_ref().map_or(head.drive, |superblock| superblock.drive);
            Member::new(drive, index, Arc::clone(disk), Box::new(HeldElsewhere))
        });
        let members: Vec<_> = members.collect();
        let groups = groups(&members, head.pool);
        let mut places = BTreeMap::new();
        for (id, group) in &groups {
            places.extend(group.segments().map(|(slot, segment)| (segment.segment, (*id, slot))));
        }
        Ok(Some(Self { union, members, groups, places }))
    }

    /// What parity gives of a segment, if there is enough of its group.
    fn parts_of(&self, number: SegmentNumber) -> Option<Parts> {
        let (id, slot) = *self.places.get(&number)?;
        let group = self.groups.get(&id)?;
        let shards = (0..group.slots.len() + group.parity)
            .flat_map(|shard| (0..self.members.len()).map(move |member| (shard, member)));
        let reader = GroupReader::open(id, group.clone(), shards, &self.members);
        let length = group.slots.get(slot)?.as_ref()?.length;
        reader.gives(slot).then_some(Parts { reader, slot, length })
    }
}

/// How far behind a drive is: what was in service to the end is not.
fn rank(superblock: Option<&Superblock>, head: &Superblock) -> u32 {
    let Some(superblock) = superblock else { return u32::MAX };
    let own = superblock.set.epoch();
    let behind = head.set.epoch().number.saturating_sub(own.number);
    let serves = head.set.entry(superblock.drive).is_some_and(crate::superblock::MemberEntry::serves);
    // An interrupted change did not reach one that is an epoch behind.
    if serves && behind <= 1 && head.set.descends_from(own) {
        return 0;
    }
    u32::try_from(behind.saturating_add(1)).unwrap_or(u32::MAX)
}

/// The groups that drives have parity of. One that replaces another stands in for it.
fn groups(members: &[Arc<Member>], pool: PoolUuid) -> BTreeMap<u64, Group> {
    let mut groups: BTreeMap<u64, Group> = BTreeMap::new();
    for member in members {
        for (_, head) in heads_in(member, PARITY).unwrap_or_default() {
            if head.pool == pool {
                groups.entry(head.group).or_insert_with(|| Group::of(&head));
            }
        }
    }
    let replaced: BTreeSet<u64> = groups.values().filter_map(|group| group.replaces).collect();
    groups.retain(|id, _| !replaced.contains(id));
    for member in members {
        for name in member.disk.list(LEAVING).unwrap_or_default() {
            if let Some((id, slot, _)) = leaving_slot(&name)
                && let Some(group) = groups.get_mut(&id)
            {
                group.leaving.insert(slot, None);
            }
        }
    }
    groups
}

/// The lock of a drive is held by who reads it.
#[derive(Debug)]
struct HeldElsewhere;

impl Lock for HeldElsewhere {}

/// A segment from the others of its group.
struct Parts {
    reader: GroupReader,
    slot: usize,
    length: u64,
}

impl Disk for Salvage {
    fn create(&self, path: &str) -> Result<Arc<dyn File>, DiskError> {
        self.union.create(path)
    }

    fn open(&self, path: &str, access: Access) -> Result<Arc<dyn File>, DiskError> {
        let copies = self.union.open(path, access);
        let Class::Segment(number) = Class::of(path) else { return copies };
        match (copies, self.parts_of(number)) {
            (copies, None) => copies,
            (copies, Some(parts)) => {
                Ok(Arc::new(SalvagedFile { copies: copies.ok(), parts, path: path.into() }))
            }
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.union.rename(from, to)
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.union.remove(path)
    }

    fn make_directory(&self, path: &str) -> Result<(), DiskError> {
        self.union.make_directory(path)
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        let mut names: BTreeSet<String> = self.union.list(directory)?.into_iter().collect();
        if directory == SEGMENTS {
            let given = self.places.keys().filter(|number| !names.contains(&segment_name(**number)));
            let given: Vec<_> = given.filter(|number| self.parts_of(**number).is_some()).collect();
            names.extend(given.into_iter().map(|number| segment_name(*number)));
        }
        Ok(names.into_iter().collect())
    }

    fn sync_directory(&self, path: &str) -> Result<(), DiskError> {
        self.union.sync_directory(path)
    }

    fn lock(&self, path: &str) -> Result<Box<dyn Lock>, DiskError> {
        self.union.lock(path)
    }

    fn space(&self) -> Result<Space, DiskError> {
        self.union.space()
    }
}

/// A segment that is under parity.
struct SalvagedFile {
    copies: Option<Arc<dyn File>>,
    parts: Parts,
    path: Box<str>,
}

impl SalvagedFile {
    fn reconstruct(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.parts.reader.reconstruct(self.parts.slot, offset, buffer)
    }

    fn refused<T>(&self, operation: Operation) -> Result<T, DiskError> {
        Err(DiskError::failed(operation, &*self.path, std::io::ErrorKind::ReadOnlyFilesystem))
    }
}

impl std::fmt::Debug for SalvagedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SalvagedFile({})", self.path)
    }
}

impl File for SalvagedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let copy = self.copies.as_ref().map(|copies| copies.read_at(offset, buffer));
        if copy.is_some_and(|read| read.is_ok()) { Ok(()) } else { self.reconstruct(offset, buffer) }
    }

    fn write_at(&self, _: u64, _: &[u8]) -> Result<(), DiskError> {
        self.refused(Operation::Write)
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        Ok(())
    }

    fn forget_cached(&self) -> Result<(), DiskError> {
        self.copies.as_ref().map_or(Ok(()), |copies| copies.forget_cached())
    }

    /// That of a sealed segment is in the head of its group.
    fn length(&self) -> Result<u64, DiskError> {
        Ok(self.parts.length)
    }

    fn set_length(&self, _: u64) -> Result<(), DiskError> {
        self.refused(Operation::SetLength)
    }

    fn copies(&self) -> u32 {
        self.whole_copies().saturating_add(1)
    }

    fn whole_copies(&self) -> u32 {
        self.copies.as_ref().map_or(0, |copies| copies.copies())
    }

    fn read_copy(&self, copy: u32, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        match &self.copies {
            Some(copies) if copy < copies.copies() => copies.read_copy(copy, offset, buffer),
            _ => self.reconstruct(offset, buffer),
        }
    }
}

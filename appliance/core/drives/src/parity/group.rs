//! What is known of a group, and the names of its files.

use std::collections::{BTreeMap, BTreeSet};

use model::SegmentNumber;

use super::{BLOCK, Head, Slot};
use crate::layout::{LEAVING, PARITY, hexadecimal};
use crate::set::{Segment, State};

/// A group of segments with parity.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) replaces: Option<u64>,
    /// Parity files there should be.
    pub(crate) parity: usize,
    /// Blocks of each shard.
    pub(crate) blocks: u64,
    pub(crate) slots: Vec<Option<Slot>>,
    /// The members that have a parity file, by its index.
    pub(crate) files: BTreeMap<usize, BTreeSet<usize>>,
    /// Slots whose segment is removed, with the member that has its bytes still.
    pub(crate) leaving: BTreeMap<usize, Option<usize>>,
}

impl Group {
    pub(crate) fn of(head: &Head) -> Self {
        Self {
            replaces: head.replaces,
            parity: usize::from(head.parity),
            blocks: head.blocks,
            slots: head.slots.clone(),
            files: BTreeMap::new(),
            leaving: BTreeMap::new(),
        }
    }

    /// Segments of the group that are not removed, with their slots.
    pub(crate) fn segments(&self) -> impl Iterator<Item = (usize, Slot)> {
        let slots = self.slots.iter().enumerate().filter_map(|(at, slot)| slot.map(|slot| (at, slot)));
        slots.filter(|(at, _)| !self.leaving.contains_key(at))
    }

    /// Bytes of a parity file.
    pub(crate) fn file_length(&self) -> u64 {
        Head::data_at(self.blocks, self.slots.len()) + self.blocks * BLOCK as u64
    }
}

impl State {
    /// Members in service that have a shard of a group, with what it is: a slot, or behind those a parity file.
    pub(crate) fn shards(&self, group: &Group) -> Vec<(usize, usize)> {
        let serves = |index: &usize| self.members.get(*index).is_some_and(Option::is_some);
        let mut shards = Vec::new();
        for (slot, segment) in group.slots.iter().enumerate() {
            let Some(segment) = segment else { continue };
            match group.leaving.get(&slot) {
                Some(member) => shards.extend(member.iter().filter(|i| serves(i)).map(|i| (slot, *i))),
                None => {
                    let holders = self.segments.get(&segment.segment).map(|segment| &segment.holders);
                    shards.extend(holders.into_iter().flatten().filter(|i| serves(i)).map(|i| (slot, *i)));
                }
            }
        }
        for (index, members) in &group.files {
            shards.extend(members.iter().filter(|i| serves(i)).map(|i| (group.slots.len() + index, *i)));
        }
        shards
    }

    /// Shards of a group that are there, empty slots among them.
    fn shards_there(&self, group: &Group) -> usize {
        let there: BTreeSet<usize> = self.shards(group).into_iter().map(|(shard, _)| shard).collect();
        there.len() + group.slots.iter().filter(|slot| slot.is_none()).count()
    }

    /// How many shards of a group may be lost from here on; none if some cannot be reconstructed.
    pub(crate) fn spare_shards(&self, group: &Group) -> Option<usize> {
        self.shards_there(group).checked_sub(group.slots.len())
    }

    /// A member for each shard of a group, on members of their own among these: as many shards as can have one, each on
    /// the member that its slot names if that is possible.
    fn placed(&self, group: &Group, members: &BTreeSet<usize>) -> BTreeMap<usize, usize> {
        let mut choices: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (shard, member) in self.shards(group).into_iter().filter(|(_, member)| members.contains(member)) {
            let named = group.slots.get(shard).copied().flatten().and_then(|slot| self.index_of(slot.drive));
            let members = choices.entry(shard).or_default();
            let at = if named == Some(member) { 0 } else { members.len() };
            members.insert(at, member);
        }
        let mut taken = BTreeMap::new();
        for shard in choices.keys() {
            place(&choices, *shard, &mut taken, &mut BTreeSet::new());
        }
        taken.into_iter().map(|(member, shard)| (shard, member)).collect()
    }

    fn staying_places(&self) -> BTreeSet<usize> {
        self.staying().iter().map(|member| member.index).collect()
    }

    /// The member for each shard of a group, if all are there on members of their own that stay: the one that the slot
    /// names, or any other.
    pub(crate) fn keepers(&self, group: &Group) -> Option<BTreeMap<usize, usize>> {
        let needed = group.slots.iter().flatten().count() + group.parity;
        let keepers = self.placed(group, &self.staying_places());
        (keepers.len() == needed).then_some(keepers)
    }

    /// Shards that have no member of their own that stays: they are lost, or beside another shard.
    pub(crate) fn unplaced(&self, group: &Group) -> BTreeSet<usize> {
        let placed = self.placed(group, &self.staying_places());
        let slots = group.slots.iter().enumerate().filter(|(_, slot)| slot.is_some()).map(|(at, _)| at);
        let files = (0..group.parity).map(|index| group.slots.len() + index);
        slots.chain(files).filter(|shard| !placed.contains_key(shard)).collect()
    }

    /// Members that are the place of a shard of a group. Others may get one, also if they have a copy of a shard that is
    /// in its place elsewhere: that copy goes when all shards are in their places.
    pub(crate) fn taken(&self, group: &Group) -> BTreeSet<usize> {
        self.placed(group, &self.staying_places()).into_values().collect()
    }

    /// How many members may be lost from here on, whichever they are, with all of a group left; none if some of it cannot
    /// be reconstructed. Shards beside each other go together.
    fn spare_members(&self, group: &Group) -> Option<usize> {
        self.spare_shards(group)?;
        let serving = self.serving().iter().map(|member| member.index).collect();
        let empty = group.slots.iter().filter(|slot| slot.is_none()).count();
        Some((self.placed(group, &serving).len() + empty).saturating_sub(group.slots.len()))
    }

    /// Members that can be lost before a segment is lost, and one: copies, or what parity allows.
    pub(crate) fn ways(&self, segment: &Segment) -> usize {
        let group = segment.group.and_then(|(id, _)| self.groups.get(&id));
        let spare = group.and_then(|group| self.spare_members(group));
        segment.holders.len().max(spare.map_or(0, |spare| spare + 1))
    }

    /// The group that can give a segment without any copy of it.
    pub(crate) fn group_giving(&self, number: SegmentNumber) -> Option<(u64, usize)> {
        let (id, slot) = self.segments.get(&number)?.group?;
        let group = self.groups.get(&id)?;
        let shards: BTreeSet<usize> =
            self.shards(group).into_iter().map(|(shard, _)| shard).filter(|shard| *shard != slot).collect();
        let empty = group.slots.iter().filter(|slot| slot.is_none()).count();
        (shards.len() + empty >= group.slots.len()).then_some((id, slot))
    }
}

/// Gives a shard a member of its own, moving others to another of theirs if need be.
fn place(
    choices: &BTreeMap<usize, Vec<usize>>,
    shard: usize,
    taken: &mut BTreeMap<usize, usize>,
    seen: &mut BTreeSet<usize>,
) -> bool {
    for member in choices.get(&shard).into_iter().flatten() {
        if !seen.insert(*member) {
            continue;
        }
        let other = taken.get(member).copied();
        if other.is_none_or(|other| place(choices, other, taken, seen)) {
            taken.insert(*member, shard);
            return true;
        }
    }
    false
}

/// The path of a parity file.
pub(crate) fn parity_path(group: u64, index: usize) -> String {
    format!("{PARITY}/{group:016x}-{index}.par")
}

/// The path of the bytes of a removed segment that parity needs still.
pub(crate) fn leaving_name(group: u64, slot: usize) -> String {
    format!("{LEAVING}/{group:016x}-{slot}")
}

/// The group, the slot, and whether it is but the note that the segment is gone, of a name in that directory.
pub(crate) fn leaving_slot(name: &str) -> Option<(u64, usize, bool)> {
    let (name, gone) = name.strip_suffix(".gone").map_or((name, false), |name| (name, true));
    let (group, slot) = name.split_once('-')?;
    Some((hexadecimal(group)?, slot.parse().ok()?, gone))
}

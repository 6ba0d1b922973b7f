//! Which parity is made next, of which segments, and on which members.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use medium::{Access, DiskError};
use model::SegmentNumber;

use super::encoding::{Encoding, Source};
use super::{Shared, Work};
use crate::Policy;
use crate::layout::{segment_name, segment_path};
use crate::member::Member;
use crate::parity::{BLOCK, Encoder, Group, Slot};

/// Parity and the members that its files go to.
type Planned = (Encoding, Vec<(usize, Arc<Member>)>);

/// Segments that are looked at for one group.
const CANDIDATES_MAX: usize = 256;

impl Shared {
    /// A parity file that was lost, or a group that a segment leaves; or groups of which nothing is left, at once.
    pub(super) fn plan_repair(self: &Arc<Self>, work: &mut Work) -> Result<Option<Encoding>, DiskError> {
        let groups: Vec<(u64, Group)> =
            self.state().groups.iter().map(|(id, group)| (*id, group.clone())).collect();
        for (id, group) in groups {
            if work.barred.contains(&id) {
                continue;
            }
            if group.segments().next().is_none() {
                self.remove_group(id)?;
                continue;
            }
            let restored = group.leaving.is_empty();
            let planned = if restored { self.restore(id, &group)? } else { self.replace(id, &group)? };
            if let Some((encoding, targets)) = planned
                && let Some(encoding) = self.begin_all(work, encoding, targets)?
            {
                return Ok(Some(encoding));
            }
        }
        Ok(None)
    }

    /// Members that a shard of a group may go to, the best first.
    fn strangers(&self, id: u64, group: &Group) -> Vec<Arc<Member>> {
        let taken = self.state().taken(group);
        let mut members = self.candidates(SegmentNumber(id));
        members.retain(|member| !taken.contains(&member.index) && !member.is_avoided());
        members
    }

    fn restore(&self, id: u64, group: &Group) -> Result<Option<Planned>, DiskError> {
        let unplaced = self.state().unplaced(group);
        let is_unplaced = |index: &usize| unplaced.contains(&(group.slots.len() + index));
        let Some(index) = (0..group.parity).find(is_unplaced) else { return Ok(None) };
        if self.state().spare_shards(group).is_none() {
            return Ok(None);
        }
        let Some(member) = self.strangers(id, group).into_iter().next() else { return Ok(None) };
        let source = Source::Group(Box::new(self.group_reader(id)?));
        let encoder = Encoder::new(group.slots.len(), group.parity)?;
        let mut encoding =
            Encoding::new(self.pool, id, Group { files: BTreeMap::new(), ..group.clone() }, source, encoder);
        encoding.restoring = true;
        Ok(Some((encoding, vec![(index, member)])))
    }

    fn replace(&self, old: u64, group: &Group) -> Result<Option<Planned>, DiskError> {
        if self.state().spare_shards(group).is_none() {
            return Ok(None);
        }
        let leaving: BTreeSet<usize> = group.leaving.keys().copied().collect();
        let stays = |(at, slot): (usize, &Option<Slot>)| slot.filter(|_| !leaving.contains(&at));
        let slots: Vec<_> = group.slots.iter().enumerate().map(stays).collect();
        let (files, none) = (BTreeMap::new(), BTreeMap::new());
        let made = Group { replaces: Some(old), slots, files, leaving: none, ..group.clone() };
        let source = Source::Group(Box::new(self.group_reader(old)?));
        let encoder = Encoder::new(group.slots.len(), group.parity)?;
        let mut strangers = self.strangers(old, group).into_iter();
        let mut encoding = Encoding::new(self.pool, self.draw_group(), made, source, encoder);
        encoding.leaving = leaving;
        let mut targets = Vec::new();
        for index in 0..group.parity {
            let members =
                group.files.get(&index).map(|places| self.state().serving_of(places)).unwrap_or_default();
            let member = members.into_iter().find(|member| !member.is_avoided()).or_else(|| strangers.next());
            targets.extend(member.map(|member| (index, member)));
        }
        Ok((!targets.is_empty()).then_some((encoding, targets)))
    }

    /// Begins the files of parity; nothing if a drive does not take one.
    fn begin_all(
        &self,
        work: &mut Work,
        mut encoding: Encoding,
        targets: Vec<(usize, Arc<Member>)>,
    ) -> Result<Option<Encoding>, DiskError> {
        for (index, member) in targets {
            if let Err(stop) = encoding.begin(index, member) {
                self.give_up(work, &encoding, Some(stop))?;
                return Ok(None);
            }
        }
        Ok(Some(encoding))
    }

    pub(super) fn draw_group(&self) -> u64 {
        let mut bytes = [0; 8];
        self.world.entropy.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Sealed segments that can be put under parity.
    pub(super) fn plan_group(
        self: &Arc<Self>,
        work: &mut Work,
        is_sealed: &dyn Fn(SegmentNumber) -> bool,
    ) -> Result<Option<Encoding>, DiskError> {
        let kinds: Vec<_> = {
            let state = self.state();
            let policies = if state.may_reduce() { state.policies() } else { Vec::new() };
            policies.into_iter().filter_map(Policy::group).collect()
        };
        for kind in kinds {
            if let Some(planned) = self.plan_group_of(work, kind, is_sealed)? {
                return Ok(Some(planned));
            }
        }
        Ok(None)
    }

    /// Segments that can be put under parity of one kind.
    fn plan_group_of(
        self: &Arc<Self>,
        work: &mut Work,
        (data, parity): (usize, usize),
        is_sealed: &dyn Fn(SegmentNumber) -> bool,
    ) -> Result<Option<Encoding>, DiskError> {
        let state = self.state();
        let staying: Vec<usize> = state.staying().iter().map(|member| member.index).collect();
        if staying.len() < data + parity {
            return Ok(None);
        }
        let loose = state.segments.iter().filter(|(number, segment)| {
            let marked = state.marked.contains(&segment_name(**number));
            let is_of_kind = state.policy_of(**number).group() == Some((data, parity));
            is_of_kind
                && segment.group.is_none()
                && !segment.uneven
                && !marked
                && !work.ungrouped.contains(number)
        });
        let loose: Vec<_> = loose
            .map(|(number, s)| {
                (*number, s.holders.iter().copied().filter(|i| staying.contains(i)).collect::<Vec<_>>())
            })
            .filter(|(number, holders)| !holders.is_empty() && is_sealed(*number))
            .take(CANDIDATES_MAX)
            .collect();
        drop(state);
        if loose.len() < data {
            return Ok(None);
        }
        let mut sized = Vec::new();
        for (number, holders) in loose {
            let file = self.open_file(&segment_path(number), Access::Read)?;
            sized.push((medium::File::length(&file)?, number, holders));
        }
        let Some(chosen) = choose(sized, data) else { return Ok(None) };
        let (encoding, targets) = self.new_group(chosen, parity, &staying)?;
        self.begin_all(work, encoding, targets)
    }

    fn new_group(
        &self,
        chosen: Vec<(u64, SegmentNumber, usize)>,
        parity: usize,
        staying: &[usize],
    ) -> Result<Planned, DiskError> {
        let longest = chosen.iter().map(|(length, _, _)| *length).max().unwrap_or(0);
        let used: BTreeSet<usize> = chosen.iter().map(|(_, _, member)| *member).collect();
        let (mut slots, mut copies) = (Vec::new(), Vec::new());
        for (length, segment, place) in chosen {
            let state = self.state();
            let drive = state.record.members[place].drive;
            let holders =
                state.segments.get(&segment).map(|s| state.serving_of(&s.holders)).unwrap_or_default();
            drop(state);
            let open = |member: Arc<Member>| {
                let file = member.disk.open(&segment_path(segment), Access::Read)?;
                Ok((member, file))
            };
            copies.push(holders.into_iter().map(open).collect::<Result<Vec<_>, DiskError>>()?);
            slots.push(Some(Slot { segment, length, drive }));
        }
        let encoder = Encoder::new(slots.len(), parity)?;
        let blocks = longest.div_ceil(BLOCK as u64).max(1);
        let (files, leaving) = (BTreeMap::new(), BTreeMap::new());
        let group = Group { replaces: None, parity, blocks, slots, files, leaving };
        let encoding = Encoding::new(self.pool, self.draw_group(), group, Source::Segments(copies), encoder);
        let mut members = self.candidates(SegmentNumber(encoding.id));
        members.retain(|member| staying.contains(&member.index) && !used.contains(&member.index));
        Ok((encoding, members.into_iter().take(parity).enumerate().collect()))
    }
}

/// Segments of similar length with a member of its own for each; those of unlike length if many are waiting.
fn choose(
    mut sized: Vec<(u64, SegmentNumber, Vec<usize>)>,
    data: usize,
) -> Option<Vec<(u64, SegmentNumber, usize)>> {
    let class = |length: u64| length.max(1).ilog2();
    let classes: BTreeSet<u32> = sized.iter().map(|(length, _, _)| class(*length)).collect();
    for wanted in classes.iter().rev() {
        let alike: Vec<_> =
            sized.iter().filter(|(length, _, _)| class(*length) == *wanted).cloned().collect();
        if let Some(chosen) = match_members(&alike, data) {
            return Some(chosen);
        }
    }
    if sized.len() < 3 * data {
        return None;
    }
    sized.sort_by_key(|(length, number, _)| (std::cmp::Reverse(*length), *number));
    match_members(&sized, data)
}

/// The first segments that can each be given a member that holds it and no other of them.
fn match_members(
    segments: &[(u64, SegmentNumber, Vec<usize>)],
    count: usize,
) -> Option<Vec<(u64, SegmentNumber, usize)>> {
    let mut taken: BTreeMap<usize, usize> = BTreeMap::new();
    for at in 0..segments.len() {
        if taken.len() == count {
            break;
        }
        give_member(segments, at, &mut taken, &mut BTreeSet::new());
    }
    if taken.len() < count {
        return None;
    }
    let mut chosen: Vec<_> =
        taken.into_iter().map(|(member, at)| (segments[at].0, segments[at].1, member)).collect();
    chosen.sort_by_key(|(_, number, _)| *number);
    Some(chosen)
}

/// Gives a segment a member, moving others to another of theirs if need be.
fn give_member(
    segments: &[(u64, SegmentNumber, Vec<usize>)],
    at: usize,
    taken: &mut BTreeMap<usize, usize>,
    seen: &mut BTreeSet<usize>,
) -> bool {
    for member in &segments[at].2 {
        if !seen.insert(*member) {
            continue;
        }
        let other = taken.get(member).copied();
        if other.is_none_or(|other| give_member(segments, other, taken, seen)) {
            taken.insert(*member, at);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_segment_gets_a_member_of_its_own() {
        let segment = |number: u64, holders: &[usize]| (1_000, SegmentNumber(number), holders.to_vec());
        let segments = [segment(1, &[0, 1]), segment(2, &[0]), segment(3, &[0, 1]), segment(4, &[1, 2])];
        let chosen = match_members(&segments, 3).unwrap();
        assert_eq!(
            chosen,
            [(1_000, SegmentNumber(1), 1), (1_000, SegmentNumber(2), 0), (1_000, SegmentNumber(4), 2)]
        );
        assert_eq!(match_members(&segments, 4), None);
    }

    #[test]
    fn segments_of_like_length_go_together() {
        let segment = |number: u64, length: u64| {
            (length, SegmentNumber(number), vec![usize::try_from(number % 2).unwrap()])
        };
        let mixed = vec![segment(1, 1_000), segment(2, 100_000), segment(3, 120_000)];
        let chosen: Vec<_> = choose(mixed, 2).unwrap().into_iter().map(|(_, number, _)| number.0).collect();
        assert_eq!(chosen, [2, 3]);
        assert_eq!(
            choose(vec![segment(1, 1_000), segment(2, 100_000)], 2),
            None,
            "they wait for better company"
        );
    }
}

//! Checking parity: all of it is read now and then, because it is read otherwise only when something else is lost.
//!
//! A block that is not what its checksum says is computed anew from the segments and written in its place: the rest of the
//! file may be all that some segment has. A file whose table cannot be used protects nothing, and is made anew as if it were
//! lost. A drive that answers nothing is no damage.

use std::sync::Arc;

use medium::{Access, DiskError};
use xxhash_rust::xxh3::xxh3_64;

use super::{Shared, Work};
use crate::DriveSet;
use crate::member::Member;
use crate::parity::{BLOCK, Encoder, GroupReader, Head, parity_path};
use crate::set::locked;
use crate::superblock::load;

/// What a step of checking parity came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParityCheck {
    /// Bytes that were read.
    pub bytes: u64,
    /// Blocks that were written anew, and files that are made anew.
    pub mended: u64,
    /// Blocks that are damaged and could not be computed or written.
    pub unmended: u64,
    /// Everything was read since the last time that this was so.
    pub is_done: bool,
}

/// How far a round has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checked {
    /// The number at which it began: any, so that rounds which do not end leave out others each time.
    first: u64,
    /// How far behind that the group is which is next, or comes before the next.
    turn: u64,
    /// The parity file that is next, and its block.
    index: usize,
    block: u64,
}

impl DriveSet {
    /// Reads on in the parity files, about so many bytes.
    pub fn check_parity(&self, budget_bytes: u64) -> Result<ParityCheck, DiskError> {
        let mut work = locked(&self.shared.work);
        let begin = || Checked { first: self.shared.draw_group(), turn: 0, index: 0, block: 0 };
        let (mut check, mut at) = (ParityCheck::default(), work.checked.take().unwrap_or_else(begin));
        while check.bytes < budget_bytes.max(1) {
            let Some((group, turn)) = self.shared.next_group(at) else {
                check.is_done = true;
                return Ok(check);
            };
            if turn != at.turn {
                at = Checked { turn, index: 0, block: 0, ..at };
            }
            if !self.shared.check_group(&mut work, group, &mut at, budget_bytes, &mut check)? {
                continue;
            }
            let Some(turn) = turn.checked_add(1) else {
                check.is_done = true;
                return Ok(check);
            };
            at = Checked { turn, index: 0, block: 0, ..at };
        }
        work.checked = Some(at);
        Ok(check)
    }
}

impl Shared {
    /// The group that is next in a round, if one is left, and how far behind the first one it is.
    fn next_group(&self, at: Checked) -> Option<(u64, u64)> {
        let state = self.state();
        let turns = state.groups.keys().map(|id| (*id, id.wrapping_sub(at.first)));
        turns.filter(|(_, turn)| *turn >= at.turn).min_by_key(|(_, turn)| *turn)
    }

    /// Goes on in one group; whether all of it was read.
    fn check_group(
        &self,
        work: &mut Work,
        group: u64,
        at: &mut Checked,
        budget_bytes: u64,
        check: &mut ParityCheck,
    ) -> Result<bool, DiskError> {
        let reader = self.group_reader(group)?;
        while at.index < reader.group.parity {
            let members = self.parity_holders(group, at.index);
            if at.block == 0 && !reader.has_parity(at.index) {
                for member in &members {
                    check.mended += u64::from(self.forget_unusable(work, group, at.index, member)?);
                }
            }
            while at.block < reader.group.blocks && reader.has_parity(at.index) && !members.is_empty() {
                if check.bytes >= budget_bytes.max(1) {
                    return Ok(false);
                }
                check.bytes += BLOCK as u64;
                // A read that failed once may succeed.
                let is_right = || reader.parity_block(at.index, at.block).is_some();
                if !is_right() && !is_right() {
                    check.bytes += (reader.group.slots.len() * BLOCK) as u64;
                    match self.mend_parity(&reader, (at.index, at.block), &members) {
                        Some(mended) => check.mended += mended,
                        None => check.unmended += 1,
                    }
                }
                at.block += 1;
            }
            (at.index, at.block) = (at.index + 1, 0);
        }
        Ok(true)
    }

    fn parity_holders(&self, id: u64, index: usize) -> Vec<Arc<Member>> {
        let state = self.state();
        let places = state.groups.get(&id).and_then(|group| group.files.get(&index));
        places.map(|places| state.serving_of(places)).unwrap_or_default()
    }

    /// Writes a block of a parity file as it should be; how many copies were written, if it is known how it should be.
    fn mend_parity(
        &self,
        reader: &GroupReader,
        (index, block): (usize, u64),
        members: &[Arc<Member>],
    ) -> Option<u64> {
        let slots = 0..reader.group.slots.len();
        let data: Result<Vec<_>, DiskError> = slots.map(|slot| reader.block(slot, block)).collect();
        let mut encoder = Encoder::new(reader.group.slots.len(), reader.group.parity).ok()?;
        let bytes = encoder.encode(&data.ok()?).ok()?.into_iter().nth(index)?;
        if reader.parity_checksum(index, block) != Some(xxh3_64(&bytes)) {
            return None;
        }
        let offset = Head::data_at(reader.group.blocks, reader.group.slots.len()) + block * BLOCK as u64;
        let path = parity_path(reader.id, index);
        let write = |member: &Arc<Member>| -> Result<(), DiskError> {
            let file = member.disk.open(&path, Access::ReadWrite)?;
            file.write_at(offset, &bytes)?;
            file.sync_data()?;
            file.forget_cached()
        };
        let mut mended = 0;
        for member in members {
            match write(member) {
                Ok(()) => mended += 1,
                Err(_) => member.count_write_error(),
            }
        }
        // What was written is read back.
        (mended > 0 && reader.parity_block(index, block).is_some()).then_some(mended)
    }

    /// Takes a parity file for lost whose head or table cannot be used, if the drive answers; whether it was one.
    fn forget_unusable(
        &self,
        work: &mut Work,
        group: u64,
        index: usize,
        member: &Arc<Member>,
    ) -> Result<bool, DiskError> {
        let path = parity_path(group, index);
        let is_usable = || -> Result<bool, DiskError> {
            let file = member.disk.open(&path, Access::Read)?;
            let head = Head::read(&*file)?;
            Ok(head.is_some_and(|head| head.group == group && head.read_table(&*file).is_ok()))
        };
        if is_usable().unwrap_or(false) || load(&*member.disk).is_err() {
            return Ok(false);
        }
        let _names = locked(&self.names);
        let mut state = self.state();
        let files = state.groups.get_mut(&group).and_then(|group| group.files.get_mut(&index));
        let was_there = files.is_some_and(|members| members.remove(&member.index));
        drop(state);
        work.barred.remove(&group);
        if was_there {
            // What is left of it counts for nothing; a step makes it anew.
            let _ = member.disk.remove(&path);
        }
        Ok(was_there)
    }
}

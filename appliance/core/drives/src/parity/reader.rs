//! Reading shards of a group, and reconstructing those that cannot be read.
//!
//! Every block is compared with its checksum before it is used, and so is what comes out. What is reconstructed costs as many
//! reads as the group has data shards, and memory for as many runs of at most 1 MiB.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use medium::{Access, DiskError, File, Operation};
use model::SegmentNumber;
use xxhash_rust::xxh3::xxh3_64;

use super::{BLOCK, Group, Head, decode, leaving_name, parity_path};
use crate::copies::{OpenCopy, part};
use crate::layout::{PARITY, segment_path};
use crate::member::Member;
use crate::set::{Shared, locked};

/// Blocks that are reconstructed at once, at most.
const RUN_MAX: u64 = 16;

/// A parity file that is open.
struct ParityFile {
    index: usize,
    copy: OpenCopy,
    table: Vec<u64>,
}

/// A group that is open.
pub(crate) struct GroupReader {
    pub(crate) id: u64,
    pub(crate) group: Group,
    /// Copies of each data shard.
    data: Vec<Vec<OpenCopy>>,
    parity: Vec<ParityFile>,
    /// The last block that was reconstructed, with its slot and number: most reads are of less than a block.
    last: Mutex<Option<(usize, u64, Vec<u8>)>>,
}

impl Shared {
    /// Opens what there is of a group.
    pub(crate) fn group_reader(&self, id: u64) -> Result<GroupReader, DiskError> {
        let lost = || DiskError::failed(Operation::Open, PARITY, std::io::ErrorKind::NotFound);
        let state = self.state();
        let group = state.groups.get(&id).cloned().ok_or_else(lost)?;
        let shards = state.shards(&group);
        let members = state.serving();
        drop(state);
        Ok(GroupReader::open(id, group, shards, &members))
    }
}

/// A parity file whose head and table are sound.
fn open_parity(index: usize, copy: OpenCopy) -> Option<ParityFile> {
    let head = Head::read(&*copy.1).ok().flatten();
    let table = head.and_then(|head| head.read_table(&*copy.1).ok());
    if table.is_none() {
        copy.0.count_read_error();
    }
    Some(ParityFile { index, copy, table: table? })
}

impl GroupReader {
    /// Opens shards of a group that members, named by their places, have or may have.
    pub(crate) fn open(
        id: u64,
        group: Group,
        shards: impl IntoIterator<Item = (usize, usize)>,
        members: &[Arc<Member>],
    ) -> Self {
        let data = group.slots.iter().map(|_| Vec::new()).collect();
        let mut reader = Self { id, data, parity: Vec::new(), last: Mutex::default(), group };
        for (shard, place) in shards {
            let Some(member) = members.iter().find(|member| member.index == place) else { continue };
            let path = match reader.group.slots.get(shard) {
                None => parity_path(id, shard - reader.group.slots.len()),
                Some(_) if reader.group.leaving.contains_key(&shard) => leaving_name(id, shard),
                Some(Some(slot)) => segment_path(slot.segment),
                Some(None) => continue,
            };
            let Ok(file) = member.disk.open(&path, Access::Read) else {
                member.count_read_error();
                continue;
            };
            let copy: OpenCopy = (member.clone(), file);
            match reader.data.get_mut(shard) {
                Some(copies) => copies.push(copy),
                None => reader.parity.extend(open_parity(shard - reader.group.slots.len(), copy)),
            }
        }
        reader
    }

    /// Whether enough is open to reconstruct a data shard.
    pub(crate) fn gives(&self, slot: usize) -> bool {
        let is_there = |(at, copies): &(usize, &Vec<OpenCopy>)| {
            *at != slot && (!copies.is_empty() || matches!(self.group.slots.get(*at), Some(None)))
        };
        let data = self.data.iter().enumerate().filter(is_there).count();
        let parity: BTreeSet<usize> = self.parity.iter().map(|file| file.index).collect();
        data + parity.len() >= self.group.slots.len()
    }

    /// Whether a parity file is open whose table can be used.
    pub(crate) fn has_parity(&self, index: usize) -> bool {
        self.parity.iter().any(|file| file.index == index)
    }

    /// The checksum that a block of a parity file should have.
    pub(crate) fn parity_checksum(&self, index: usize, block: u64) -> Option<u64> {
        let file = self.parity.iter().find(|file| file.index == index)?;
        self.entry(&file.table, self.group.slots.len(), block)
    }

    /// A block of a parity file, if it can be read and is right.
    pub(crate) fn parity_block(&self, index: usize, block: u64) -> Option<Vec<u8>> {
        self.parity.iter().filter(|file| file.index == index).find_map(|file| self.read_parity(file, block))
    }

    /// The checksum that a block of a data shard should have.
    pub(crate) fn checksum(&self, slot: usize, block: u64) -> Option<u64> {
        let file = self.parity.first()?;
        self.entry(&file.table, slot, block)
    }

    fn entry(&self, table: &[u64], column: usize, block: u64) -> Option<u64> {
        let row = usize::try_from(block).ok()?.checked_mul(self.group.slots.len() + 1)?;
        table.get(row + column).copied()
    }

    /// Fills a buffer from a data shard without reading the shard itself.
    pub(crate) fn reconstruct(&self, slot: usize, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let length = self.group.slots.get(slot).and_then(Option::as_ref).map_or(0, |slot| slot.length);
        let end = offset.saturating_add(buffer.len() as u64);
        if end > length {
            let path =
                self.group.slots.get(slot).copied().flatten().map_or(SegmentNumber(0), |slot| slot.segment);
            return Err(DiskError::UnexpectedEnd { path: segment_path(path), start: offset, end, length });
        }
        let (mut at, mut filled) = (offset, 0);
        while at < end {
            let first = at / BLOCK as u64;
            let count = (end.div_ceil(BLOCK as u64) - first).min(RUN_MAX);
            let skip = usize::try_from(at % BLOCK as u64).unwrap_or(0);
            let bytes = self.rebuild_or_recall(slot, first, count)?;
            let length = (bytes.len() - skip).min(buffer.len() - filled);
            buffer[filled..filled + length].copy_from_slice(&bytes[skip..skip + length]);
            filled += length;
            at += length as u64;
        }
        Ok(())
    }

    /// What [`Self::rebuild`] says, without doing it again for the last block of before.
    fn rebuild_or_recall(&self, slot: usize, first: u64, count: u64) -> Result<Vec<u8>, DiskError> {
        let last = locked(&self.last).take();
        if let Some((_, _, bytes)) =
            last.as_ref().filter(|last| count == 1 && (last.0, last.1) == (slot, first))
        {
            let bytes = bytes.clone();
            *locked(&self.last) = last;
            return Ok(bytes);
        }
        let bytes = self.rebuild(slot, first, count)?;
        let block = bytes.len().checked_sub(BLOCK).and_then(|at| bytes.get(at..)).map(<[u8]>::to_vec);
        *locked(&self.last) = block.map(|block| (slot, first + count - 1, block));
        Ok(bytes)
    }

    /// Blocks of a data shard from the others: all at once from the same shards if those are right in all of them, else
    /// each from those that are right in it.
    fn rebuild(&self, wanted: usize, first: u64, count: u64) -> Result<Vec<u8>, DiskError> {
        if count > 1
            && let Ok(bytes) = self.rebuild_run(wanted, first, count)
        {
            return Ok(bytes);
        }
        let mut bytes = Vec::new();
        for block in first..first + count {
            bytes.extend(self.rebuild_run(wanted, block, 1)?);
        }
        Ok(bytes)
    }

    /// A block of a data shard as it was, from the shard if that can be read and is right, else from the others.
    pub(crate) fn block(&self, slot: usize, block: u64) -> Result<Vec<u8>, DiskError> {
        match self.read_data(slot, block) {
            Some(bytes) => Ok(bytes),
            None => self.rebuild(slot, block, 1),
        }
    }

    /// Blocks of a data shard from others that are right in all of them.
    fn rebuild_run(&self, wanted: usize, first: u64, count: u64) -> Result<Vec<u8>, DiskError> {
        let needed = self.group.slots.len();
        let run = |read: &dyn Fn(u64) -> Option<Vec<u8>>| -> Option<Vec<u8>> {
            let blocks: Option<Vec<_>> = (first..first + count).map(read).collect();
            Some(blocks?.concat())
        };
        let (mut data, mut parity) = (Vec::new(), Vec::new());
        for slot in (0..needed).filter(|slot| *slot != wanted) {
            data.extend(run(&|block| self.read_data(slot, block)).map(|bytes| (slot, bytes)));
        }
        for file in &self.parity {
            let known = parity.iter().any(|(index, _): &(usize, Vec<u8>)| *index == file.index);
            if data.len() + parity.len() < needed && !known {
                parity.extend(run(&|block| self.read_parity(file, block)).map(|bytes| (file.index, bytes)));
            }
        }
        let lost = |what: &str| DiskError::failed(Operation::Read, PARITY, std::io::Error::other(what));
        if data.len() + parity.len() < needed {
            return Err(lost("too few shards of the group can be read"));
        }
        let length = usize::try_from(count).unwrap_or(1) * BLOCK;
        let bytes = decode((needed, self.group.parity), wanted, length, &data, &parity)?;
        let right = (first..)
            .zip(bytes.chunks(BLOCK))
            .all(|(block, bytes)| self.checksum(wanted, block) == Some(xxh3_64(bytes)));
        if right { Ok(bytes) } else { Err(lost("what the group gives does not match its checksum")) }
    }

    fn read_data(&self, slot: usize, block: u64) -> Option<Vec<u8>> {
        let Some(segment) = self.group.slots.get(slot)? else { return Some(vec![0; BLOCK]) };
        // Without any parity there are no checksums either, and what can be read is all there is.
        let expected = if self.parity.is_empty() { None } else { Some(self.checksum(slot, block)?) };
        self.data.get(slot)?.iter().filter(|(member, _)| member.serves()).find_map(|(member, file)| {
            let bytes = read_padded(&**file, segment.length, block).ok();
            let bytes = bytes.filter(|bytes| expected.is_none_or(|expected| xxh3_64(bytes) == expected));
            if bytes.is_none() {
                member.count_read_error();
            }
            bytes
        })
    }

    fn read_parity(&self, file: &ParityFile, block: u64) -> Option<Vec<u8>> {
        let (member, bytes) = (&file.copy.0, &mut vec![0; BLOCK]);
        if !member.serves() {
            return None;
        }
        let at = Head::data_at(self.group.blocks, self.group.slots.len()) + block * BLOCK as u64;
        let read = file.copy.1.read_at(at, bytes);
        if read.is_err() || self.entry(&file.table, self.group.slots.len(), block) != Some(xxh3_64(bytes)) {
            member.count_read_error();
            return None;
        }
        Some(std::mem::take(bytes))
    }
}

/// A block of a segment, with zeros behind its end.
pub(crate) fn read_padded(file: &dyn File, length: u64, block: u64) -> Result<Vec<u8>, DiskError> {
    let mut bytes = vec![0; BLOCK];
    let start = block * BLOCK as u64;
    if start < length {
        file.read_at(start, part(&mut bytes, length - start))?;
    }
    Ok(bytes)
}

//! Computing parity block by block, and writing its files under other names.
//!
//! All copies of a segment that is put under parity for the first time are read and must agree. A segment that leaves is
//! taken out with its own bytes and the parity files alone, where those can be read.

use std::collections::BTreeSet;
use std::sync::Arc;

use medium::{DiskError, File};
use xxhash_rust::xxh3::xxh3_64;

use super::Task;
use crate::PoolUuid;
use crate::copies::{OpenCopy, making_path};
use crate::layout::{MAKING, PARITY};
use crate::member::Member;
use crate::parity::{BLOCK, Encoder, Group, GroupReader, Head, Slot, TABLE_AT, parity_path, read_padded};
use crate::superblock::remove_if_there;

/// Where the blocks of the data shards come from.
pub(super) enum Source {
    /// Segments that are in no group: all copies, which must agree.
    Segments(Vec<Vec<OpenCopy>>),
    /// A group of which a segment leaves, or a file was lost.
    Group(Box<GroupReader>),
}

/// A parity file that is being written.
pub(super) struct Target {
    pub(super) index: usize,
    pub(super) member: Arc<Member>,
    pub(super) file: Arc<dyn File>,
    checksums: Vec<u64>,
}

/// Parity that is being made.
pub(super) struct Encoding {
    pub(super) pool: PoolUuid,
    pub(super) id: u64,
    pub(super) group: Group,
    /// Slots of the group that it replaces whose segments leave.
    pub(super) leaving: BTreeSet<usize>,
    /// Only a file of a group that is there.
    pub(super) restoring: bool,
    pub(super) source: Source,
    pub(super) encoder: Encoder,
    pub(super) targets: Vec<Target>,
    /// Checksums of the data shards, block by block.
    checksums: Vec<u64>,
    written: u64,
    compared: u64,
}

/// Why parity is not made.
pub(super) enum Stop {
    /// A drive failed or is full.
    Disk(DiskError),
    /// A drive that is written fails.
    Target(Arc<Member>, DiskError),
    /// The copies of the segment in this slot say different things.
    Disagree(usize),
}

impl From<DiskError> for Stop {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

impl Encoding {
    pub(super) fn new(pool: PoolUuid, id: u64, group: Group, source: Source, encoder: Encoder) -> Self {
        let (leaving, targets, checksums) = (BTreeSet::new(), Vec::new(), Vec::new());
        let (restoring, written, compared) = (false, 0, 0);
        Self { pool, id, group, leaving, restoring, source, encoder, targets, checksums, written, compared }
    }

    /// Begins a parity file on a member.
    pub(super) fn begin(&mut self, index: usize, member: Arc<Member>) -> Result<(), Stop> {
        let path = making_path(&parity_path(self.id, index));
        let made = remove_if_there(&*member.disk, &path).and_then(|()| member.disk.create(&path));
        match made {
            Ok(file) => self.targets.push(Target { index, member, file, checksums: Vec::new() }),
            Err(error) => return Err(Stop::Target(member, error)),
        }
        Ok(())
    }

    pub(super) fn abandon(&self) {
        for target in &self.targets {
            // What stays is removed at the next opening.
            let _ = target.member.disk.remove(&making_path(&parity_path(self.id, target.index)));
        }
    }

    pub(super) fn task(&self) -> Task {
        Task::Parity {
            group: self.id,
            segments: self.group.segments().map(|(_, slot)| slot.segment).collect(),
        }
    }

    /// Does about so many bytes; true if all is durable and read back.
    pub(super) fn advance(&mut self, budget: u64, done: &mut u64) -> Result<bool, Stop> {
        let data_at = Head::data_at(self.group.blocks, self.group.slots.len());
        while self.written < self.group.blocks {
            if *done >= budget {
                return Ok(false);
            }
            let (row, parity) = self.encode(self.written)?;
            for target in &mut self.targets {
                let Some(block) = parity.get(target.index) else { continue };
                let written = target.file.write_at(data_at + self.written * BLOCK as u64, block);
                written.map_err(|error| Stop::Target(target.member.clone(), error))?;
                target.checksums.push(xxh3_64(block));
            }
            self.checksums.extend(row);
            self.written += 1;
            *done += (self.group.slots.len() * BLOCK) as u64;
            if self.written == self.group.blocks {
                self.write_heads()?;
            }
        }
        while self.compared < self.group.blocks {
            if *done >= budget {
                return Ok(false);
            }
            for target in &self.targets {
                let mut found = vec![0; BLOCK];
                let read = target.file.read_at(data_at + self.compared * BLOCK as u64, &mut found);
                read.map_err(|error| Stop::Target(target.member.clone(), error))?;
                if target.checksums.get(usize::try_from(self.compared).unwrap_or(0)) != Some(&xxh3_64(&found))
                {
                    let source = std::io::Error::other("what was written reads back differently");
                    let error = DiskError::failed(medium::Operation::Write, PARITY, source);
                    return Err(Stop::Target(target.member.clone(), error));
                }
                *done += BLOCK as u64;
            }
            self.compared += 1;
        }
        Ok(true)
    }

    /// Checksums of a block of all data shards, and the blocks of the parity files.
    fn encode(&mut self, block: u64) -> Result<(Vec<u64>, Vec<Vec<u8>>), Stop> {
        let zeros = vec![0; BLOCK];
        let mut data = Vec::new();
        match &self.source {
            Source::Segments(copies) => {
                for (slot, (copies, segment)) in copies.iter().zip(&self.group.slots).enumerate() {
                    data.push(match segment {
                        Some(segment) => agreed(copies, segment, block)?.ok_or(Stop::Disagree(slot))?,
                        None => zeros.clone(),
                    });
                }
            }
            Source::Group(reader) => {
                if let Some(result) = self.without_leaving(reader, block) {
                    let (row, leaving, old) = result;
                    let delta = self.encoder.encode(&leaving)?;
                    let changed = old.iter().zip(&delta).map(|(old, delta)| xor(old, delta)).collect();
                    return Ok((row, changed));
                }
                for (slot, segment) in self.group.slots.iter().enumerate() {
                    data.push(if segment.is_some() { reader.block(slot, block)? } else { zeros.clone() });
                }
            }
        }
        let row = data.iter().map(|block| xxh3_64(block)).collect();
        Ok((row, self.encoder.encode(&data)?))
    }

    /// What is needed to take leaving segments out of parity without reading those that stay, if all of it can be read.
    #[expect(clippy::type_complexity, reason = "checksums, leaving shards, and parity as it is")]
    fn without_leaving(
        &self,
        reader: &GroupReader,
        block: u64,
    ) -> Option<(Vec<u64>, Vec<Vec<u8>>, Vec<Vec<u8>>)> {
        if self.restoring {
            return None;
        }
        let zeros = vec![0; BLOCK];
        let (mut row, mut leaving) = (Vec::new(), Vec::new());
        for (slot, segment) in self.group.slots.iter().enumerate() {
            let stays = segment.is_some();
            row.push(if stays { reader.checksum(slot, block)? } else { xxh3_64(&zeros) });
            let leaves = self.leaving.contains(&slot);
            leaving.push(if leaves { reader.block(slot, block).ok()? } else { zeros.clone() });
        }
        let old: Option<Vec<_>> =
            (0..self.group.parity).map(|index| reader.parity_block(index, block)).collect();
        Some((row, leaving, old?))
    }

    /// Tables first, heads when those are durable: a sound head says that all is there.
    fn write_heads(&mut self) -> Result<(), Stop> {
        let columns = self.group.slots.len();
        for target in &self.targets {
            let mut table = Vec::new();
            for (row, own) in self.checksums.chunks(columns).zip(&target.checksums) {
                row.iter().chain([own]).for_each(|checksum| table.extend_from_slice(&checksum.to_le_bytes()));
            }
            let head = Head {
                version: Head::VERSION,
                pool: self.pool,
                group: self.id,
                replaces: self.group.replaces,
                index: u8::try_from(target.index).unwrap_or(u8::MAX),
                parity: u8::try_from(self.group.parity).unwrap_or(u8::MAX),
                block_length: u32::try_from(BLOCK).unwrap_or(0),
                blocks: self.group.blocks,
                slots: self.group.slots.clone(),
                table: *blake3::hash(&table).as_bytes(),
            };
            let length = self.group.file_length();
            let put = || {
                target.file.write_at(TABLE_AT, &table)?;
                target.file.set_length(length)?;
                target.file.sync_data()?;
                target.file.write_at(0, &head.encode())?;
                target.file.sync_data()?;
                target.file.forget_cached()?;
                target.member.disk.sync_directory(MAKING)
            };
            put().map_err(|error| Stop::Target(target.member.clone(), error))?;
        }
        Ok(())
    }
}

/// A block of a segment that all copies give alike; nothing if they do not.
fn agreed(copies: &[OpenCopy], segment: &Slot, block: u64) -> Result<Option<Vec<u8>>, DiskError> {
    let mut known: Option<Vec<u8>> = None;
    for (member, file) in copies {
        let bytes = read_padded(&**file, segment.length, block).inspect_err(|_| member.count_read_error())?;
        if known.as_ref().is_some_and(|known| *known != bytes) {
            return Ok(None);
        }
        known = Some(bytes);
    }
    Ok(known)
}

fn xor(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter().zip(other).map(|(one, other)| one ^ other).collect()
}

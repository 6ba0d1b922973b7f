//! What a broken backup has left: files that were read and whose chunks the appliance has called durable.
//!
//! A file is taken from here only with the very stamp that it was read with, and only if that stamp was settled.
//! The appliance checks every name at the end, so that a wrong memory costs a second pass and never a file.

use std::collections::BTreeMap;

use model::Time;
use model::codec::{Fields, put_number, put_signed};
use model::item::FileKind;
use redb::Table;

use super::snapshot::{Snapshot, place_key};
use super::{RESUME, SourceCache, remove};
use crate::CacheError;
use crate::log::{LogReader, Update};
use crate::record::{Content, Record, Run, decode_piece, decode_runs, encode_piece, encode_runs, open, seal};
use crate::stat::Stamp;

/// The number under which the stamp of a file stands, behind all its pieces.
const STAMP_NUMBER: u32 = u32::MAX;
/// Bytes that are gathered and sorted before they go into the database.
const BATCH_LENGTH: usize = 16 << 20;

fn resume_key(place: (u64, u64), number: u32) -> Vec<u8> {
    let mut key = place_key(place).to_vec();
    key.extend_from_slice(&number.to_be_bytes());
    key
}

impl SourceCache {
    /// Takes what is usable of the log of a broken backup into the cache, and removes the log.
    pub(crate) fn take_in_log(&self) -> Result<(), CacheError> {
        let base = self.header()?.continuity;
        if let Some(mut reader) = LogReader::open(&self.paths.log, base.as_deref())? {
            let mut durable = 0;
            while let Some(block) = reader.next()? {
                if block.payload.is_empty() {
                    durable = durable.max(block.bundle);
                }
            }
            if let Some(reader) = LogReader::open(&self.paths.log, base.as_deref())? {
                self.take_in(reader, durable)?;
            }
        }
        remove(&self.paths.log)?;
        Ok(())
    }

    fn take_in(&self, mut reader: LogReader, durable: u64) -> Result<(), CacheError> {
        let mut transaction = self.database.get()?.begin_write()?;
        transaction.set_two_phase_commit(true);
        {
            let mut table = transaction.open_table(RESUME)?;
            let mut batch = Batch::default();
            while let Some(block) = reader.next()? {
                if block.bundle > durable {
                    continue;
                }
                Update::each(&block.payload, &mut |update| batch.add(&update))?;
                if batch.length >= BATCH_LENGTH {
                    std::mem::take(&mut batch).write(&mut table)?;
                }
            }
            batch.write(&mut table)?;
        }
        transaction.commit()?;
        Ok(())
    }
}

/// Sorted changes of the table; none stands for a key that goes.
#[derive(Default)]
struct Batch {
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    length: usize,
}

impl Batch {
    fn add(&mut self, update: &Update<'_>) -> Result<(), CacheError> {
        match *update {
            Update::Piece { place, number, runs, .. } => {
                if number == 0 {
                    // The pieces of another reading of the file are overwritten: its stamp must not vouch for them.
                    self.insert(resume_key(place, STAMP_NUMBER), None);
                }
                let key = resume_key(place, number);
                let runs = decode_runs(&mut Fields::new(runs))?;
                let value = encode_piece(&key, &runs);
                self.insert(key, Some(value));
            }
            Update::Put { key, value } => {
                let record = Record::decode(key, value)?;
                if record.attributes.kind == FileKind::File && record.settled && !record.alias {
                    let (key, value) = encode_stamp(&record);
                    self.insert(key, Some(value));
                }
            }
            Update::Delete { .. } | Update::DeleteTree { .. } => {}
        }
        Ok(())
    }

    fn insert(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.length += key.len() + value.as_ref().map_or(0, Vec::len);
        self.changes.insert(key, value);
    }

    fn write(self, table: &mut Table<'_, &'static [u8], &'static [u8]>) -> Result<(), CacheError> {
        for (key, value) in self.changes {
            match value {
                Some(value) => table.insert(key.as_slice(), value.as_slice())?,
                None => table.remove(key.as_slice())?,
            };
        }
        Ok(())
    }
}

fn encode_stamp(record: &Record) -> (Vec<u8>, Vec<u8>) {
    let key = resume_key((record.device, record.inode), STAMP_NUMBER);
    let mut value = vec![0; 4];
    put_number(&mut value, record.size);
    put_signed(&mut value, record.attributes.modified.0);
    put_signed(&mut value, record.attributes.changed.0);
    value.push(u8::from(record.attributes.image));
    match &record.content {
        Content::Inline(runs) => {
            value.push(0);
            encode_runs(runs, &mut value);
        }
        Content::Apart { pieces } => {
            value.push(1);
            put_number(&mut value, u64::from(*pieces));
        }
    }
    seal(&key, &mut value);
    (key, value)
}

impl Snapshot {
    /// The content of a file that a broken backup has read with this stamp and sent.
    pub(crate) fn resumed(&self, stamp: &Stamp, image: bool) -> Result<Option<Content>, CacheError> {
        const WHAT: &str = "stamp";
        let Some(table) = &self.resume else { return Ok(None) };
        let key = resume_key((stamp.device, stamp.inode), STAMP_NUMBER);
        let Some(found) = table.get(key.as_slice())? else { return Ok(None) };
        let mut fields = Fields::new(open(&key, found.value())?);
        let size = fields.number(WHAT)?;
        let modified = Time(fields.signed(WHAT)?);
        let changed = Time(fields.signed(WHAT)?);
        let was_image = fields.byte(WHAT)? != 0;
        if (size, modified, changed) != (stamp.size, stamp.modified, stamp.changed) || was_image != image {
            return Ok(None);
        }
        Ok(Some(match fields.byte(WHAT)? {
            0 => Content::Inline(decode_runs(&mut fields)?),
            _ => Content::Apart { pieces: fields.number32(WHAT)? },
        }))
    }

    /// A piece of such a content.
    pub(crate) fn resumed_piece(&self, stamp: &Stamp, number: u32) -> Result<Vec<Run>, CacheError> {
        let key = resume_key((stamp.device, stamp.inode), number);
        let found = self.resume.as_ref().map(|table| table.get(key.as_slice())).transpose()?.flatten();
        let found = found.ok_or(CacheError::Damaged("a piece of a file"))?;
        Ok(decode_piece(&key, found.value())?)
    }
}

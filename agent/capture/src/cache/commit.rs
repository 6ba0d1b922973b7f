//! The new state of a cache: the updates of a finished backup, in one transaction.
//!
//! Order: entries that went, directories that went with all below them, then everything that is new or different,
//! sorted in batches. An entry that went and came back under the same key is there at the end.

use std::collections::BTreeMap;

use model::ObjectId;
use model::codec::Fields;
use model::item::FileKind;
use redb::{ReadableTable, Table as OpenTable, WriteTransaction};

use super::snapshot::{piece_key, place_key};
use super::{
    CONTENTS, DIRECTORIES, ENTRIES, HEADER, HEADER_KEY, Header, LINKED, RESUME, SourceCache, TABLES, Table,
    remove,
};
use crate::CacheError;
use crate::log::{LogReader, LogWriter, Update};
use crate::record::{Content, Record, decode_runs, encode_piece, entry_key};

/// Bytes that are gathered and sorted before they go into the database.
const BATCH_LENGTH: usize = 16 << 20;

type Bytes<'a> = OpenTable<'a, &'static [u8], &'static [u8]>;

impl SourceCache {
    /// Makes what `log` says the state, under a new header; of a void state everything old goes first.
    pub(crate) fn commit(&self, log: LogWriter, header: &Header, void: bool) -> Result<(), CacheError> {
        let base = self.header()?.continuity;
        let mut log = log;
        log.flush()?;
        let has_log = !log.is_empty();
        drop(log);
        let mut transaction = self.database.get()?.begin_write()?;
        transaction.set_two_phase_commit(true);
        transaction.set_quick_repair(true);
        let stale: &[Table] = if void { &TABLES } else { &[RESUME] };
        for table in stale {
            transaction.delete_table(*table)?;
            transaction.open_table(*table)?;
        }
        if has_log {
            let open = || {
                LogReader::open(&self.paths.log, base.as_deref())?
                    .ok_or(CacheError::Damaged("the log of this backup"))
            };
            let mut state = Writer::open(&transaction)?;
            if !void {
                state.remove(open()?)?;
            }
            state.put(open()?)?;
        }
        transaction.open_table(HEADER)?.insert(HEADER_KEY, header.encode().as_slice())?;
        transaction.commit()?;
        remove(&self.paths.log)?;
        Ok(())
    }
}

struct Writer<'a> {
    entries: Bytes<'a>,
    contents: Bytes<'a>,
    directories: Bytes<'a>,
    linked: Bytes<'a>,
}

impl<'a> Writer<'a> {
    fn open(transaction: &'a WriteTransaction) -> Result<Self, CacheError> {
        Ok(Self {
            entries: transaction.open_table(ENTRIES)?,
            contents: transaction.open_table(CONTENTS)?,
            directories: transaction.open_table(DIRECTORIES)?,
            linked: transaction.open_table(LINKED)?,
        })
    }

    fn remove(&mut self, mut log: LogReader) -> Result<(), CacheError> {
        let mut trees = Vec::new();
        while let Some(block) = log.next()? {
            Update::each(&block.payload, &mut |update| {
                match update {
                    Update::Delete { key } => self.remove_entry(key)?,
                    Update::DeleteTree { object } => trees.push(object),
                    Update::Put { .. } | Update::Piece { .. } => {}
                }
                Ok(())
            })?;
        }
        // Ends: every directory is in one place of the tree, and its entries are removed when it is visited.
        while let Some(directory) = trees.pop() {
            let (start, end) = (entry_key(directory, b""), entry_key(directory.next(), b""));
            let mut keys = Vec::new();
            for entry in self.entries.range(start.as_slice()..end.as_slice())? {
                let (key, value) = entry?;
                let record = Record::decode(key.value(), value.value())?;
                if record.is_directory() {
                    trees.push(record.object);
                }
                keys.push(key.value().to_vec());
            }
            for key in keys {
                self.remove_entry(&key)?;
            }
        }
        Ok(())
    }

    fn put(&mut self, mut log: LogReader) -> Result<(), CacheError> {
        let mut entries = BTreeMap::new();
        let mut pieces = BTreeMap::new();
        let mut length = 0;
        while let Some(block) = log.next()? {
            Update::each(&block.payload, &mut |update| {
                match update {
                    Update::Put { key, value } => {
                        length += key.len() + value.len();
                        entries.insert(key.to_vec(), value.to_vec());
                    }
                    Update::Piece { object, number, runs, .. } => {
                        let key = piece_key(object, number);
                        let value = encode_piece(&key, &decode_runs(&mut Fields::new(runs))?);
                        length += key.len() + value.len();
                        pieces.insert(key, value);
                    }
                    Update::Delete { .. } | Update::DeleteTree { .. } => {}
                }
                Ok(())
            })?;
            if length >= BATCH_LENGTH {
                self.put_batch(std::mem::take(&mut entries), std::mem::take(&mut pieces))?;
                length = 0;
            }
        }
        self.put_batch(entries, pieces)
    }

    fn put_batch(
        &mut self,
        entries: BTreeMap<Vec<u8>, Vec<u8>>,
        pieces: BTreeMap<[u8; 12], Vec<u8>>,
    ) -> Result<(), CacheError> {
        for (key, value) in pieces {
            self.contents.insert(key.as_slice(), value.as_slice())?;
        }
        for (key, value) in entries {
            self.put_entry(&key, &value)?;
        }
        Ok(())
    }

    fn put_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), CacheError> {
        let new = Record::decode(key, value)?;
        let old = self.entries.insert(key, value)?.map(|old| Record::decode(key, old.value())).transpose()?;
        if new.is_directory() {
            self.directories.insert(place_key((new.device, new.inode)).as_slice(), key)?;
        }
        if is_linked(&new) {
            self.linked.insert(linked_key(new.object, key).as_slice(), [].as_slice())?;
        }
        match old {
            Some(old) => self.forget(key, &old, Some(&new)),
            None => Ok(()),
        }
    }

    fn remove_entry(&mut self, key: &[u8]) -> Result<(), CacheError> {
        let old = self.entries.remove(key)?.map(|old| Record::decode(key, old.value())).transpose()?;
        match old {
            Some(old) => self.forget(key, &old, None),
            None => Ok(()),
        }
    }

    /// Removes what the other tables hold because of an old record.
    fn forget(&mut self, key: &[u8], old: &Record, new: Option<&Record>) -> Result<(), CacheError> {
        let place = place_key((old.device, old.inode));
        let is_same_place = new.is_some_and(|new| new.is_inode(&old.stamp()));
        if old.is_directory() && !is_same_place {
            let points_here =
                self.directories.get(place.as_slice())?.is_some_and(|found| found.value() == key);
            if points_here {
                self.directories.remove(place.as_slice())?;
            }
        }
        let new = new.filter(|new| new.object == old.object);
        if is_linked(old) && !new.is_some_and(is_linked) {
            self.linked.remove(linked_key(old.object, key).as_slice())?;
        }
        if !is_linked(old) && !matches!(old.content, Content::Apart { .. }) {
            return Ok(());
        }
        let kept = match new {
            Some(Record { alias: true, .. }) => return Ok(()),
            Some(Record { content: Content::Apart { pieces }, .. }) => *pieces,
            None if is_linked(old) && self.has_names(old.object)? => return Ok(()),
            Some(_) | None => 0,
        };
        self.remove_pieces(old.object, kept)
    }

    fn has_names(&self, object: ObjectId) -> Result<bool, CacheError> {
        let (start, end) = (linked_key(object, b""), linked_key(object.next(), b""));
        Ok(self.linked.range(start.as_slice()..end.as_slice())?.next().transpose()?.is_some())
    }

    fn remove_pieces(&mut self, object: ObjectId, from: u32) -> Result<(), CacheError> {
        let (start, end) = (piece_key(object, from), piece_key(object.next(), 0));
        self.contents.retain_in(start.as_slice()..end.as_slice(), |_, _| false)?;
        Ok(())
    }
}

fn is_linked(record: &Record) -> bool {
    record.attributes.kind == FileKind::File && record.links > 1
}

fn linked_key(object: ObjectId, entry: &[u8]) -> Vec<u8> {
    entry_key(object, entry)
}

//! Reading a cache: bulk reads by directory, in the order of names.

use model::ObjectId;
use redb::{ReadOnlyTable, ReadableDatabase, ReadableTable};

use super::{CONTENTS, DIRECTORIES, ENTRIES, Header, RESUME, SourceCache};
use crate::CacheError;
use crate::record::{Record, Run, decode_piece, entry_key};

pub(super) type BytesTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// A cache as it was when the backup began; threads share it.
pub(crate) struct Snapshot {
    /// The tables of the state; none if it is void.
    state: Option<State>,
    /// What a broken backup has sent; none if there was none.
    pub(super) resume: Option<BytesTable>,
    /// What the cache says of itself; of a void state, that of an empty cache.
    pub(crate) header: Header,
}

struct State {
    entries: BytesTable,
    contents: BytesTable,
    directories: BytesTable,
}

/// The entries of a directory, in the order of their names.
pub(crate) struct Entries<'a>(Option<redb::Range<'a, &'static [u8], &'static [u8]>>);

impl SourceCache {
    /// The state for comparison if it `matched` the newest point, and in any case what can be resumed.
    pub(crate) fn snapshot(&self, matched: bool) -> Result<Snapshot, CacheError> {
        let transaction = self.database.get()?.begin_read()?;
        let resume = transaction.open_table(RESUME)?;
        let resume = if resume.first()?.is_some() { Some(resume) } else { None };
        if !matched {
            return Ok(Snapshot { state: None, resume, header: Header::void() });
        }
        let state = State {
            entries: transaction.open_table(ENTRIES)?,
            contents: transaction.open_table(CONTENTS)?,
            directories: transaction.open_table(DIRECTORIES)?,
        };
        Ok(Snapshot { state: Some(state), resume, header: self.header()? })
    }
}

impl Snapshot {
    /// Whether there is nothing to compare with.
    pub(crate) const fn is_void(&self) -> bool {
        self.state.is_none()
    }

    /// The entries of a directory.
    pub(crate) fn entries(&self, directory: ObjectId) -> Result<Entries<'_>, CacheError> {
        let Some(state) = &self.state else { return Ok(Entries(None)) };
        let (start, end) = (entry_key(directory, b""), entry_key(directory.next(), b""));
        Ok(Entries(Some(state.entries.range(start.as_slice()..end.as_slice())?)))
    }

    /// One entry.
    pub(crate) fn entry(&self, directory: ObjectId, name: &[u8]) -> Result<Option<Record>, CacheError> {
        let Some(state) = &self.state else { return Ok(None) };
        let key = entry_key(directory, name);
        let found = state.entries.get(key.as_slice())?;
        Ok(found.map(|value| Record::decode(&key, value.value())).transpose()?)
    }

    /// Where the directory with this device and inode stood, and its record.
    pub(crate) fn directory(
        &self,
        place: (u64, u64),
    ) -> Result<Option<(ObjectId, Vec<u8>, Record)>, CacheError> {
        let Some(state) = &self.state else { return Ok(None) };
        let Some(found) = state.directories.get(place_key(place).as_slice())? else { return Ok(None) };
        let (parent, name) =
            found.value().split_first_chunk().ok_or(CacheError::Damaged("place of a directory"))?;
        let parent = ObjectId(u64::from_be_bytes(*parent));
        let record = self.entry(parent, name)?;
        let record = record.filter(|found| found.is_directory() && (found.device, found.inode) == place);
        Ok(record.map(|record| (parent, name.to_vec(), record)))
    }

    /// A piece of the content of a file; none behind the last.
    pub(crate) fn piece(&self, object: ObjectId, number: u32) -> Result<Option<Vec<Run>>, CacheError> {
        let Some(state) = &self.state else { return Ok(None) };
        let key = piece_key(object, number);
        let found = state.contents.get(key.as_slice())?;
        Ok(found.map(|value| decode_piece(&key, value.value())).transpose()?)
    }
}

impl Entries<'_> {
    /// The entries of a directory that the last point does not have.
    pub(crate) const fn none() -> Self {
        Self(None)
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<(Vec<u8>, Record), CacheError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.0.as_mut()?.next()?;
        Some(next.map_err(CacheError::from).and_then(|(key, value)| {
            let key = key.value();
            let (_, name) = key.split_first_chunk::<8>().ok_or(CacheError::Damaged("key of an entry"))?;
            Ok((name.to_vec(), Record::decode(key, value.value())?))
        }))
    }
}

/// The key of an inode.
pub(super) fn place_key((device, inode): (u64, u64)) -> [u8; 16] {
    let mut key = [0; 16];
    let (head, tail) = key.split_at_mut(8);
    head.copy_from_slice(&device.to_be_bytes());
    tail.copy_from_slice(&inode.to_be_bytes());
    key
}

/// The key of a piece of an object.
pub(super) fn piece_key(object: ObjectId, number: u32) -> [u8; 12] {
    let mut key = [0; 12];
    let (head, tail) = key.split_at_mut(8);
    head.copy_from_slice(&object.0.to_be_bytes());
    tail.copy_from_slice(&number.to_be_bytes());
    key
}

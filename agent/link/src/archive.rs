//! What the appliance stores, read over a connection.
//!
//! Answers come in parts that fit a frame; this puts them together. Little is taken on trust: items come in order
//! and within what was asked, and a chunk has its name as far as this machine has the key of the names, which is
//! for all sources in its own dedup domain. An operator's connection has no key: the appliance has checked there. Chunks
//! of one answer share its buffer; who keeps some of them for long copies them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use chunk::NamingKey;
use model::archive::{Archive, ArchiveError, Change, PointKey, SharedBytes};
use model::item::{CHUNK_LENGTH_MAX, Item, ItemKey};
use model::record::{Machine, Point, Source};
use model::{ErrorKind, Name, SourceId};
use wire::message::{ChunkResult, ITEMS_MAX, NAMES_MAX, StoredChange, StoredItem};
use wire::{Reply, Request};

use crate::{Connection, LinkError};

/// An archive at the other end of a connection.
#[derive(Debug)]
pub struct RemoteArchive {
    connection: Arc<Connection>,
    /// Chunks are compared with their names here.
    checks: bool,
    /// Which sources have chunks that are named under the key of this machine.
    own_key: Mutex<BTreeMap<SourceId, bool>>,
}

/// The points of a source, and how much is damaged of which.
type PointsMarked = (Vec<Point>, BTreeMap<u64, u64>);

type ChunkResults = Vec<Result<SharedBytes, ArchiveError>>;

fn corrupt(message: impl Into<String>) -> ArchiveError {
    ArchiveError { kind: ErrorKind::Corrupt, message: message.into() }
}

fn mixed_up(asked: &'static str) -> ArchiveError {
    LinkError::Answer { asked }.into()
}

fn undecodable(error: &model::codec::CodecError) -> ArchiveError {
    corrupt(format!("appliance sent an item that cannot be decoded: {error}"))
}

impl RemoteArchive {
    /// What can be read over a connection.
    #[must_use]
    pub const fn new(connection: Arc<Connection>) -> Self {
        Self { connection, checks: true, own_key: Mutex::new(BTreeMap::new()) }
    }

    /// The same for who compares chunks with their names himself, as a restore does: naming is most of what a chunk costs.
    #[must_use]
    pub const fn unchecked(connection: Arc<Connection>) -> Self {
        Self { connection, checks: false, own_key: Mutex::new(BTreeMap::new()) }
    }

    /// The connection.
    #[must_use]
    pub const fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    fn ask(&self, request: Request) -> Result<(Reply, Vec<u8>), ArchiveError> {
        Ok(self.connection.request(request)?)
    }

    fn ask_items(&self, request: Request) -> Result<(Vec<StoredItem>, bool), ArchiveError> {
        match self.ask(request)?.0 {
            Reply::Items { items, more } => Ok((items, more)),
            _ => Err(mixed_up("items")),
        }
    }

    /// The key of the names of a source's chunks, if this machine has it. Chunks that are read are checked with it.
    pub fn naming_key(&self, source: SourceId) -> Result<Option<&NamingKey>, ArchiveError> {
        let welcome = self.connection.welcome();
        let (Some(key), Some(own)) = (&welcome.naming_key, &welcome.machine) else { return Ok(None) };
        let known = self.own_key.lock().unwrap_or_else(PoisonError::into_inner).get(&source).copied();
        let is_own = match known {
            Some(is_own) => is_own,
            None => self.learn_keys(source, own.as_str())?,
        };
        Ok(is_own.then_some(key))
    }

    /// Finds out which sources share the key of the machine `own`; whether `source` does.
    fn learn_keys(&self, source: SourceId, own: &str) -> Result<bool, ArchiveError> {
        let machines = self.machines()?;
        let own_domain =
            machines.iter().find(|machine| machine.label.as_str() == own).map(|machine| machine.domain);
        let domains: BTreeMap<_, _> = machines.iter().map(|machine| (machine.id, machine.domain)).collect();
        let sources = self.sources()?;
        let mut own_key = self.own_key.lock().unwrap_or_else(PoisonError::into_inner);
        for source in sources {
            let domain = domains.get(&source.machine);
            own_key.insert(source.id, domain.is_some() && domain == own_domain.as_ref());
        }
        Ok(own_key.get(&source).copied().unwrap_or(false))
    }

    /// The points of a source, with how much is damaged of which.
    fn points_marked(&self, source: SourceId) -> Result<PointsMarked, ArchiveError> {
        let mut all: Vec<Point> = Vec::new();
        let mut marked = BTreeMap::new();
        loop {
            let from = all.last().map_or(0, |point| point.number.saturating_add(1));
            let Reply::Points { points, more, damaged } = self.ask(Request::Points { source, from })?.0
            else {
                return Err(mixed_up("points"));
            };
            let in_order = points.is_sorted_by(|a, b| a.number < b.number);
            if !in_order || points.first().is_some_and(|point| point.number < from) {
                return Err(corrupt("appliance sent points out of order"));
            }
            if more && points.is_empty() {
                return Err(mixed_up("points"));
            }
            all.extend(points);
            marked.extend(damaged.into_iter().flatten().map(|point| (point.number, point.count)));
            if !more {
                return Ok((all, marked));
            }
        }
    }

    /// The plaintext of some chunks from the front of `names`, at least one.
    fn some_chunks(
        &self,
        point: PointKey,
        names: &[Name],
        key: Option<&NamingKey>,
    ) -> Result<ChunkResults, ArchiveError> {
        let (reply, bulk) = self.ask(Request::Chunks { point, names: names.to_vec() })?;
        let Reply::Chunks { results } = reply else { return Err(mixed_up("chunks")) };
        if results.is_empty() || results.len() > names.len() {
            return Err(mixed_up("chunks"));
        }
        let bulk = Arc::new(bulk);
        let mut end = 0;
        let mut found = ChunkResults::with_capacity(results.len());
        for (name, result) in names.iter().zip(results) {
            found.push(match result {
                ChunkResult::Failed { error } => Err(error),
                ChunkResult::Bytes { length } => {
                    let start = end;
                    end += length as usize;
                    let bytes = bulk.get(start..end).ok_or_else(|| mixed_up("chunks"))?;
                    check_chunk(name, bytes, key).map(|()| SharedBytes::new(Arc::clone(&bulk), start..end))
                }
            });
        }
        if end != bulk.len() {
            return Err(mixed_up("chunks"));
        }
        Ok(found)
    }
}

fn check_chunk(name: &Name, bytes: &[u8], key: Option<&NamingKey>) -> Result<(), ArchiveError> {
    if bytes.is_empty() || bytes.len() > CHUNK_LENGTH_MAX as usize {
        return Err(corrupt(format!("chunk {name} arrived with {} bytes", bytes.len())));
    }
    match key.map(|key| key.name(bytes)).filter(|found| found != name) {
        Some(found) => Err(corrupt(format!("chunk {name} arrived with bytes that are named {found}"))),
        None => Ok(()),
    }
}

fn decode_item(stored: &StoredItem) -> Result<(ItemKey, Item), ArchiveError> {
    let key = ItemKey::decode(&stored.key).map_err(|error| undecodable(&error))?;
    let item = Item::decode(&key, &stored.value).map_err(|error| undecodable(&error))?;
    Ok((key, item))
}

fn decode_change(stored: &StoredChange) -> Result<Change, ArchiveError> {
    let key = ItemKey::decode(&stored.key).map_err(|error| undecodable(&error))?;
    let decode = |value: &Option<Vec<u8>>| {
        value.as_ref().map(|value| Item::decode(&key, value)).transpose().map_err(|error| undecodable(&error))
    };
    let (before, after) = (decode(&stored.before)?, decode(&stored.after)?);
    Ok(Change { key, before, after })
}

/// Collects a listing that comes in parts, each of which starts behind the last key of the one before.
fn collect<S, T>(
    from: &[u8],
    limit: usize,
    mut part: impl FnMut(Vec<u8>, u32) -> Result<(Vec<S>, bool), ArchiveError>,
    key: impl Fn(&S) -> &[u8],
    decode: impl Fn(&S) -> Result<T, ArchiveError>,
) -> Result<Vec<T>, ArchiveError> {
    let mut found = Vec::new();
    let mut next = from.to_vec();
    while found.len() < limit {
        let asked = (limit - found.len()).min(ITEMS_MAX);
        let (stored, more) = part(next.clone(), u32::try_from(asked).unwrap_or(u32::MAX))?;
        if stored.len() > asked || (more && stored.is_empty()) {
            return Err(mixed_up("a listing"));
        }
        for one in &stored {
            if key(one) < &next[..] {
                return Err(corrupt("appliance sent items out of order"));
            }
            // The least key behind a key is the key with a zero byte.
            next = [key(one), &[0]].concat();
            found.push(decode(one)?);
        }
        if !more {
            break;
        }
    }
    Ok(found)
}

impl Archive for RemoteArchive {
    fn machines(&self) -> Result<Vec<Machine>, ArchiveError> {
        match self.ask(Request::Machines)?.0 {
            Reply::Machines { machines } => Ok(machines),
            _ => Err(mixed_up("machines")),
        }
    }

    fn sources(&self) -> Result<Vec<Source>, ArchiveError> {
        match self.ask(Request::Sources)?.0 {
            Reply::Sources { sources } => Ok(sources),
            _ => Err(mixed_up("sources")),
        }
    }

    fn points(&self, source: SourceId) -> Result<Vec<Point>, ArchiveError> {
        Ok(self.points_marked(source)?.0)
    }

    fn damaged(&self, source: SourceId) -> Result<BTreeMap<u64, u64>, ArchiveError> {
        Ok(self.points_marked(source)?.1)
    }

    fn point(&self, key: PointKey) -> Result<Point, ArchiveError> {
        match self.ask(Request::Point { point: key })?.0 {
            Reply::Point { point } if point.key() == key => Ok(point),
            _ => Err(mixed_up("a point")),
        }
    }

    fn item(&self, point: PointKey, key: &ItemKey) -> Result<Option<Item>, ArchiveError> {
        let bytes = key.encode();
        let (items, _) = self.ask_items(Request::Item { point, key: bytes.clone() })?;
        match &*items {
            [] => Ok(None),
            [stored] if stored.key == bytes => decode_item(stored).map(|(_, item)| Some(item)),
            _ => Err(mixed_up("an item")),
        }
    }

    fn items(
        &self,
        point: PointKey,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(ItemKey, Item)>, ArchiveError> {
        let part = |from, limit| self.ask_items(Request::Items { point, from, to: to.to_vec(), limit });
        let decode = |stored: &StoredItem| match &*stored.key < to {
            true => decode_item(stored),
            false => Err(corrupt("appliance sent items beyond those asked for")),
        };
        collect(from, limit, part, |stored| &stored.key, decode)
    }

    fn item_at_or_before(
        &self,
        point: PointKey,
        from: &[u8],
        at: &[u8],
    ) -> Result<Option<(ItemKey, Item)>, ArchiveError> {
        let request = Request::ItemAtOrBefore { point, from: from.to_vec(), at: at.to_vec() };
        let (items, _) = self.ask_items(request)?;
        match &*items {
            [] => Ok(None),
            [stored] if (from..=at).contains(&&*stored.key) => decode_item(stored).map(Some),
            _ => Err(mixed_up("an item")),
        }
    }

    fn changes(
        &self,
        before: PointKey,
        after: PointKey,
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<Change>, ArchiveError> {
        let part = |from, limit| match self.ask(Request::Changes { before, after, from, limit })?.0 {
            Reply::Changes { changes, more } => Ok((changes, more)),
            _ => Err(mixed_up("changes")),
        };
        collect(from, limit, part, |stored: &StoredChange| &stored.key, decode_change)
    }

    fn chunks(&self, point: PointKey, names: &[Name]) -> Result<ChunkResults, ArchiveError> {
        let key = if self.checks { self.naming_key(point.source)? } else { None };
        let mut found = ChunkResults::with_capacity(names.len());
        while let Some(rest) = names.get(found.len()..).filter(|rest| !rest.is_empty()) {
            let asked = rest.get(..NAMES_MAX).unwrap_or(rest);
            found.extend(self.some_chunks(point, asked, key)?);
        }
        Ok(found)
    }

    fn places(&self, point: PointKey, names: &[Name]) -> Result<Vec<u64>, ArchiveError> {
        let mut found = Vec::with_capacity(names.len());
        for names in names.chunks(NAMES_MAX) {
            match self.ask(Request::Places { point, names: names.to_vec() })?.0 {
                Reply::Places { places } if places.len() == names.len() => found.extend(places),
                _ => return Err(mixed_up("places")),
            }
        }
        Ok(found)
    }
}

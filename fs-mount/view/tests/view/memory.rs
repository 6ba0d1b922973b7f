//! An archive in memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use model::archive::{Archive, ArchiveError, Change, PointKey, SharedBytes};
use model::item::{Attributes, Extent, FileKind, Inode, Item, ItemKey};
use model::record::{Label, Machine, Point, Source, Totals, TreeRoot};
use model::{DomainId, EntryName, ErrorKind, MachineId, Name, ObjectId, SequenceNumber, SourceId, Time};
use view::{Options, View};

pub(crate) const SOURCE: SourceId = SourceId(7);
pub(crate) const NOW: Time = Time(1_800_000_000_000_000_000);

#[derive(Default)]
struct State {
    points: Vec<Point>,
    items: BTreeMap<(u64, Vec<u8>), (ItemKey, Item)>,
    chunks: HashMap<Name, Arc<Vec<u8>>>,
    /// Chunks and keys that cannot be read.
    damaged_chunks: HashSet<Name>,
    damaged_keys: HashSet<Vec<u8>>,
    /// Chunks that were asked for.
    fetched: Vec<Name>,
}

/// One machine with one source, whose points are made by hand.
#[derive(Default, Clone)]
pub(crate) struct Memory(Arc<Mutex<State>>);

pub(crate) fn name_of(bytes: &[u8]) -> Name {
    Name(*blake3::hash(bytes).as_bytes())
}

pub(crate) fn attributes(kind: FileKind) -> Attributes {
    let mode = if kind == FileKind::Directory { 0o755 } else { 0o644 };
    let time = Time(1_600_000_000_123_456_789);
    let (modified, changed) = (time, Time(time.0 + 5));
    Attributes { uid: 3, gid: 4, modified, changed, ..Attributes::new(kind, mode) }
}

fn damaged() -> ArchiveError {
    ArchiveError { kind: ErrorKind::Corrupt, message: "damaged".into() }
}

impl Memory {
    /// A new point, finished so many seconds before [`NOW`], with an empty root.
    pub(crate) fn point(&self, seconds_ago: i64, sequence: u64) -> u64 {
        let finished = Time(NOW.0 - seconds_ago * 1_000_000_000);
        let mut state = self.0.lock().unwrap();
        let number = state.points.len() as u64 + 1;
        let id = finished.folder_name();
        let same = state.points.iter().filter(|point| point.id.starts_with(&id)).count();
        state.points.push(Point {
            source: SOURCE,
            number,
            id: if same == 0 { id } else { format!("{id}-{}", same + 1) },
            sequence: SequenceNumber(sequence),
            started: finished,
            finished,
            received: finished,
            continuity: Default::default(),
            root: TreeRoot::default(),
            totals: Totals::default(),
            exceptions: Vec::new(),
            exceptions_count: 0,
            witnessed: None,
        });
        drop(state);
        self.inode(number, 1, attributes(FileKind::Directory), 0);
        number
    }

    pub(crate) fn put(&self, point: u64, key: ItemKey, item: Item) {
        self.0.lock().unwrap().items.insert((point, key.encode()), (key, item));
    }

    pub(crate) fn inode(&self, point: u64, object: u64, attributes: Attributes, size: u64) {
        let inode = Inode { attributes, size, stored: size, links: 1 };
        self.put(point, ItemKey::inode(ObjectId(object)), Item::Inode(inode));
    }

    pub(crate) fn entry(&self, point: u64, directory: u64, name: &[u8], object: u64, kind: FileKind) {
        let key = ItemKey::entry(ObjectId(directory), EntryName::new(name).unwrap());
        self.put(point, key, Item::Entry(ObjectId(object), kind));
    }

    pub(crate) fn chunk(&self, bytes: &[u8]) -> Name {
        let name = name_of(bytes);
        self.0.lock().unwrap().chunks.insert(name, Arc::new(bytes.to_vec()));
        name
    }

    /// A file below the root of a point, of chunks of so many bytes.
    pub(crate) fn file(&self, point: u64, object: u64, name: &[u8], content: &[u8], chunk: usize) {
        self.entry(point, 1, name, object, FileKind::File);
        self.inode(point, object, attributes(FileKind::File), content.len() as u64);
        let mut at = 0;
        for bytes in content.chunks(chunk) {
            let length = u32::try_from(bytes.len()).unwrap();
            let extent = Extent::Chunk { name: self.chunk(bytes), skip: 0, length };
            self.put(point, ItemKey::extent(ObjectId(object), at), Item::Extent(extent));
            at += bytes.len() as u64;
        }
    }

    pub(crate) fn damage_chunk(&self, name: Name) {
        self.0.lock().unwrap().damaged_chunks.insert(name);
    }

    pub(crate) fn damage_key(&self, key: &ItemKey) {
        self.0.lock().unwrap().damaged_keys.insert(key.encode());
    }

    pub(crate) fn repair(&self) {
        let mut state = self.0.lock().unwrap();
        state.damaged_chunks.clear();
        state.damaged_keys.clear();
    }

    /// What was asked for since the last time.
    pub(crate) fn fetched(&self) -> Vec<Name> {
        std::mem::take(&mut self.0.lock().unwrap().fetched)
    }

    /// A view that fetches nothing ahead.
    pub(crate) fn view(&self) -> View {
        self.view_with(0)
    }

    pub(crate) fn view_with(&self, threads: usize) -> View {
        let options = Options { cache_bytes: 8 << 20, threads, ..Options::default() };
        View::new(Arc::new(self.clone()), || NOW, options).unwrap()
    }
}

impl Archive for Memory {
    fn machines(&self) -> Result<Vec<Machine>, ArchiveError> {
        let label = Label::new("web1").unwrap();
        Ok(vec![Machine { id: MachineId(2), label, domain: DomainId(1), added: Time(0), agent: None }])
    }

    fn sources(&self) -> Result<Vec<Source>, ArchiveError> {
        let label = Label::new("home").unwrap();
        Ok(vec![Source { id: SOURCE, machine: MachineId(2), label, added: Time(0) }])
    }

    fn points(&self, _: SourceId) -> Result<Vec<Point>, ArchiveError> {
        Ok(self.0.lock().unwrap().points.clone())
    }

    fn point(&self, key: PointKey) -> Result<Point, ArchiveError> {
        let points = self.points(key.source)?;
        points.into_iter().find(|p| p.key() == key).ok_or_else(|| ArchiveError::missing("the point"))
    }

    fn item(&self, point: PointKey, key: &ItemKey) -> Result<Option<Item>, ArchiveError> {
        let state = self.0.lock().unwrap();
        if state.damaged_keys.contains(&key.encode()) {
            return Err(damaged());
        }
        Ok(state.items.get(&(point.number, key.encode())).map(|(_, item)| item.clone()))
    }

    fn items(
        &self,
        point: PointKey,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(ItemKey, Item)>, ArchiveError> {
        let state = self.0.lock().unwrap();
        let bounds =
            (Bound::Included((point.number, from.to_vec())), Bound::Excluded((point.number, to.to_vec())));
        let found = state.items.range(bounds).take(limit);
        let read = |((_, key), item): (&(u64, Vec<u8>), &(ItemKey, Item))| {
            if state.damaged_keys.contains(key) { Err(damaged()) } else { Ok(item.clone()) }
        };
        found.map(read).collect()
    }

    fn item_at_or_before(
        &self,
        point: PointKey,
        from: &[u8],
        at: &[u8],
    ) -> Result<Option<(ItemKey, Item)>, ArchiveError> {
        let state = self.0.lock().unwrap();
        let range = (point.number, from.to_vec())..=(point.number, at.to_vec());
        match state.items.range(range).next_back() {
            Some(((_, key), _)) if state.damaged_keys.contains(key) => Err(damaged()),
            found => Ok(found.map(|(_, item)| item.clone())),
        }
    }

    fn changes(&self, _: PointKey, _: PointKey, _: &[u8], _: usize) -> Result<Vec<Change>, ArchiveError> {
        Ok(Vec::new())
    }

    fn chunks(
        &self,
        _: PointKey,
        names: &[Name],
    ) -> Result<Vec<Result<SharedBytes, ArchiveError>>, ArchiveError> {
        let mut state = self.0.lock().unwrap();
        state.fetched.extend_from_slice(names);
        let read = |name: &Name| match state.chunks.get(name) {
            Some(bytes) if !state.damaged_chunks.contains(name) => {
                Ok(SharedBytes::new(Arc::clone(bytes), 0..bytes.len()))
            }
            _ => Err(damaged()),
        };
        Ok(names.iter().map(read).collect())
    }

    fn places(&self, _: PointKey, names: &[Name]) -> Result<Vec<u64>, ArchiveError> {
        Ok(names.iter().map(|name| name.prefix()).collect())
    }
}

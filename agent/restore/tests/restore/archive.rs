//! An archive in memory, filled from a directory or by hand, that counts what is asked of it.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use model::archive::{Archive, ArchiveError, Change, PointKey, SharedBytes};
use model::item::{Attributes, Extent, FileKind, Inode, Item, ItemKey};
use model::record::{Machine, Point, Source, Totals, TreeRoot};
use model::{EntryName, ErrorKind, Name, ObjectId, SequenceNumber, SourceId, Time};
use rustix::fs::{SeekFrom, seek};

pub(crate) const POINT: PointKey = PointKey { source: SourceId(1), number: 1 };
/// Bytes of a chunk.
pub(crate) const CHUNK: usize = 64 << 10;

pub(crate) fn name_of(bytes: &[u8]) -> Name {
    Name(*blake3::hash(bytes).as_bytes())
}

#[derive(Default)]
pub(crate) struct Memory {
    items: BTreeMap<Vec<u8>, (ItemKey, Item)>,
    chunks: HashMap<Name, (u64, Arc<Vec<u8>>)>,
    next: u64,
    /// Most items of an answer, whatever is asked for.
    pub(crate) items_max: Option<usize>,
    /// Objects whose items cannot be read.
    pub(crate) unreadable: Vec<ObjectId>,
    /// Answers with bytes that are not those of the name.
    pub(crate) lies_about: Option<Name>,
    pub(crate) item_calls: AtomicUsize,
    pub(crate) chunks_fetched: AtomicUsize,
    /// The places of the chunks of each call.
    pub(crate) calls: Mutex<Vec<Vec<u64>>>,
}

pub(crate) fn attributes(kind: FileKind) -> Attributes {
    let mode = if kind == FileKind::Directory { 0o755 } else { 0o644 };
    let time = Time(1_600_000_000_123_456_789);
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let (modified, changed) = (time, time);
    Attributes { uid, gid, modified, changed, ..Attributes::new(kind, mode) }
}

impl Memory {
    /// A point with an empty root directory.
    pub(crate) fn new() -> Self {
        let mut memory = Self { next: 1, ..Self::default() };
        memory.put_inode(1, attributes(FileKind::Directory), 0, 1);
        memory
    }

    pub(crate) fn put(&mut self, key: ItemKey, item: Item) {
        self.items.insert(key.encode(), (key, item));
    }

    pub(crate) fn put_inode(&mut self, object: u64, attributes: Attributes, size: u64, links: u32) {
        self.put(
            ItemKey::inode(ObjectId(object)),
            Item::Inode(Inode { attributes, size, stored: size, links }),
        );
    }

    pub(crate) fn put_entry(&mut self, directory: u64, name: &[u8], object: u64, kind: FileKind) {
        let key = ItemKey::entry(ObjectId(directory), EntryName::new(name).unwrap());
        self.put(key, Item::Entry(ObjectId(object), kind));
    }

    pub(crate) fn put_xattr(&mut self, object: u64, name: &[u8], value: &[u8]) {
        self.put(ItemKey::xattr(ObjectId(object), name), Item::Xattr(value.to_vec()));
    }

    pub(crate) fn put_extent(&mut self, object: u64, offset: u64, extent: Extent) {
        self.put(ItemKey::extent(ObjectId(object), offset), Item::Extent(extent));
    }

    pub(crate) fn put_chunk(&mut self, bytes: &[u8]) -> Name {
        let name = name_of(bytes);
        // Places that have nothing to do with the order in which chunks are needed.
        let place = name.prefix() >> 8;
        self.chunks.entry(name).or_insert_with(|| (place, Arc::new(bytes.to_vec())));
        name
    }

    /// Forgets a chunk, as a lost drive would.
    pub(crate) fn lose(&mut self, name: Name) {
        self.chunks.remove(&name).unwrap();
    }

    /// A number that no object has.
    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn directory(&mut self, parent: u64, name: &[u8]) -> u64 {
        let object = self.number();
        self.put_inode(object, attributes(FileKind::Directory), 0, 1);
        self.put_entry(parent, name, object, FileKind::Directory);
        object
    }

    pub(crate) fn file(&mut self, parent: u64, name: &[u8], content: &[u8]) -> u64 {
        let object = self.number();
        self.put_inode(object, attributes(FileKind::File), content.len() as u64, 1);
        self.put_entry(parent, name, object, FileKind::File);
        self.content(object, 0, content);
        object
    }

    pub(crate) fn symlink(&mut self, parent: u64, name: &[u8], target: &[u8]) -> u64 {
        let object = self.number();
        let attributes = Attributes { target: target.to_vec(), ..attributes(FileKind::Symlink) };
        self.put_inode(object, attributes, 0, 1);
        self.put_entry(parent, name, object, FileKind::Symlink);
        object
    }

    pub(crate) fn content(&mut self, object: u64, offset: u64, content: &[u8]) {
        let mut at = offset;
        for bytes in content.chunks(CHUNK) {
            let name = self.put_chunk(bytes);
            let length = u32::try_from(bytes.len()).unwrap();
            self.put_extent(object, at, Extent::Chunk { name, skip: 0, length });
            at += bytes.len() as u64;
        }
    }

    /// The tree below a directory, as an agent would store it.
    pub(crate) fn capture(path: &Path) -> Self {
        let mut memory = Self::new();
        let metadata = path.metadata().unwrap();
        memory.put_inode(1, read_attributes(path, &metadata), 0, 1);
        memory.put_xattrs(1, path);
        memory.capture_below(1, path, &mut HashMap::new());
        memory
    }

    fn capture_below(&mut self, directory: u64, path: &Path, seen: &mut HashMap<u64, u64>) {
        let mut paths: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            let metadata = path.symlink_metadata().unwrap();
            let attributes = read_attributes(&path, &metadata);
            let kind = attributes.kind;
            let name = path.file_name().unwrap().as_bytes();
            if let Some(object) = seen.get(&metadata.ino()) {
                self.put_entry(directory, name, *object, kind);
                continue;
            }
            let object = self.number();
            let size = if kind == FileKind::File { metadata.len() } else { 0 };
            let links =
                if kind == FileKind::Directory { 1 } else { u32::try_from(metadata.nlink()).unwrap() };
            self.put_inode(object, attributes, size, links);
            self.put_entry(directory, name, object, kind);
            if links > 1 {
                seen.insert(metadata.ino(), object);
            }
            self.put_xattrs(object, &path);
            match kind {
                FileKind::Directory => self.capture_below(object, &path, seen),
                FileKind::File => self.capture_content(object, &path, size),
                _ => {}
            }
        }
    }

    fn put_xattrs(&mut self, object: u64, path: &Path) {
        for (name, value) in crate::snapshot::xattrs(path) {
            self.put_xattr(object, &name, &value);
        }
    }

    fn capture_content(&mut self, object: u64, path: &Path, size: u64) {
        let file = std::fs::File::open(path).unwrap();
        let mut at = 0;
        while at < size {
            let data = seek(&file, SeekFrom::Data(at)).unwrap_or(size);
            if data > at {
                self.put_extent(object, at, Extent::Hole { length: data - at });
            }
            at = data;
            if at < size {
                let end = seek(&file, SeekFrom::Hole(at)).unwrap();
                let mut bytes = vec![0; usize::try_from(end - at).unwrap()];
                std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, at).unwrap();
                self.content(object, at, &bytes);
                at = end;
            }
        }
    }

    pub(crate) fn fetched(&self) -> usize {
        self.chunks_fetched.load(Ordering::Relaxed)
    }

    fn read(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(ItemKey, Item)>, ArchiveError> {
        let limit = self.items_max.map_or(limit, |max| max.min(limit));
        let found: Vec<_> =
            self.items.range(from.to_vec()..to.to_vec()).take(limit).map(|(_, item)| item.clone()).collect();
        match found.iter().find(|(key, _)| self.unreadable.contains(&key.object)) {
            Some((key, _)) => Err(corrupt(&format!("object {} cannot be read", key.object))),
            None => Ok(found),
        }
    }
}

pub(crate) fn corrupt(message: &str) -> ArchiveError {
    ArchiveError { kind: ErrorKind::Corrupt, message: message.to_owned() }
}

fn read_attributes(path: &Path, metadata: &std::fs::Metadata) -> Attributes {
    let file_type = metadata.file_type();
    let kind = match () {
        () if file_type.is_dir() => FileKind::Directory,
        () if file_type.is_symlink() => FileKind::Symlink,
        () if file_type.is_fifo() => FileKind::Fifo,
        () if file_type.is_socket() => FileKind::Socket,
        () if file_type.is_char_device() => FileKind::CharacterDevice,
        () if file_type.is_block_device() => FileKind::BlockDevice,
        () => FileKind::File,
    };
    let target = match kind {
        FileKind::Symlink => std::fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec(),
        _ => Vec::new(),
    };
    Attributes {
        kind,
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        modified: Time::from_parts(metadata.mtime(), u32::try_from(metadata.mtime_nsec()).unwrap()),
        changed: Time::from_parts(metadata.ctime(), u32::try_from(metadata.ctime_nsec()).unwrap()),
        rdev: if file_type.is_char_device() || file_type.is_block_device() { metadata.rdev() } else { 0 },
        target,
        image: false,
    }
}

impl Archive for Memory {
    fn machines(&self) -> Result<Vec<Machine>, ArchiveError> {
        Ok(Vec::new())
    }

    fn sources(&self) -> Result<Vec<Source>, ArchiveError> {
        Ok(Vec::new())
    }

    fn points(&self, _: SourceId) -> Result<Vec<Point>, ArchiveError> {
        Ok(Vec::new())
    }

    fn point(&self, key: PointKey) -> Result<Point, ArchiveError> {
        let inodes = self.items.values().filter_map(|(_, item)| match item {
            Item::Inode(inode) if inode.attributes.kind == FileKind::File => Some(inode),
            _ => None,
        });
        let files = inodes.clone().map(|inode| u64::from(inode.links)).sum();
        let bytes = inodes.fold(0, |sum: u64, inode| sum.saturating_add(inode.size));
        Ok(Point {
            source: key.source,
            number: key.number,
            id: "2026-11-20T10-32-11Z".to_owned(),
            sequence: SequenceNumber(1),
            started: Time(0),
            finished: Time(0),
            received: Time(0),
            root: TreeRoot::default(),
            totals: Totals { files, bytes, ..Totals::default() },
            exceptions: Vec::new(),
            exceptions_count: 0,
            continuity: Vec::new(),
            witnessed: None,
        })
    }

    fn item(&self, _: PointKey, key: &ItemKey) -> Result<Option<Item>, ArchiveError> {
        Ok(self.items.get(&key.encode()).map(|(_, item)| item.clone()))
    }

    fn items(
        &self,
        _: PointKey,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(ItemKey, Item)>, ArchiveError> {
        self.item_calls.fetch_add(1, Ordering::Relaxed);
        self.read(from, to, limit)
    }

    fn item_at_or_before(
        &self,
        _: PointKey,
        from: &[u8],
        at: &[u8],
    ) -> Result<Option<(ItemKey, Item)>, ArchiveError> {
        Ok(self.items.range(from.to_vec()..=at.to_vec()).next_back().map(|(_, item)| item.clone()))
    }

    fn changes(&self, _: PointKey, _: PointKey, _: &[u8], _: usize) -> Result<Vec<Change>, ArchiveError> {
        Ok(Vec::new())
    }

    fn chunks(
        &self,
        _: PointKey,
        names: &[Name],
    ) -> Result<Vec<Result<SharedBytes, ArchiveError>>, ArchiveError> {
        self.chunks_fetched.fetch_add(names.len(), Ordering::Relaxed);
        let places = names.iter().filter_map(|name| self.chunks.get(name)).map(|(place, _)| *place).collect();
        self.calls.lock().unwrap().push(places);
        let chunk = |name: &Name| match self.chunks.get(name) {
            Some((_, bytes)) if self.lies_about == Some(*name) => {
                Ok(SharedBytes::from(vec![0xee; bytes.len()]))
            }
            Some((_, bytes)) => Ok(SharedBytes::new(Arc::clone(bytes), 0..bytes.len())),
            None => Err(corrupt("chunk is lost")),
        };
        Ok(names.iter().map(chunk).collect())
    }

    fn places(&self, _: PointKey, names: &[Name]) -> Result<Vec<u64>, ArchiveError> {
        Ok(names.iter().map(|name| self.chunks.get(name).map_or(0, |(place, _)| *place)).collect())
    }
}

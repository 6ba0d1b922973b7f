//! Points: every item of a tree, whether the items fit each other, and whether the chunks are there.
//!
//! Items come by object: the inode, then entries, attributes and content, so content is compared with the size as it
//! goes by. Entries lead anywhere; that each leads to an inode and each inode has as many names as it says is told
//! by two sums, and looked for one by one only if those differ. Paths are looked for only if there is damage.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chunk::NamingKey;
use model::item::{Extent, FileKind, Inode, Item, ItemKey, ItemPart};
use model::record::Point;
use model::{EntryName, ErrorKind, MachineId, Name, ObjectId};
use tree::{ItemTree, PageSource, Root};

use super::{DAMAGE_MAX, Examination, Judging, Verdicts};
use crate::PoolError;
use crate::archive::{tree_error, tree_root};
use crate::catalog::Place;
use crate::segment::FramePlace;

/// Chunks whose verdict is remembered.
const VERDICTS_MAX: usize = 250_000;
/// Objects whose parents are remembered when paths are looked for.
const PARENTS_MAX: usize = 1_000_000;
/// Directories above each other in a path that is shown.
const DEPTH_MAX: usize = 4096;

impl PageSource for Examination<'_> {
    type Error = PoolError;

    fn read(&self, name: &Name) -> Result<Arc<[u8]>, PoolError> {
        match self.judging {
            Judging::ByReading => self.shared.written_page(&self.frames, name),
            Judging::ByPlace => {
                let place = self.shared.state().page(name)?;
                place.map_or(Ok(()), |place| self.placed("page", name, place.frame))?;
                PageSource::read(self.shared, name)
            }
        }
    }

    fn kind(error: &PoolError) -> ErrorKind {
        error.kind()
    }
}

/// The object whose items go by.
struct Current {
    object: ObjectId,
    inode: Option<Inode>,
    /// Where its content has come to, and the bytes of it that were in no hole.
    end: u64,
    stored: u64,
    is_damaged: bool,
}

/// The walk over the tree of a point.
#[derive(Default)]
struct Walk {
    current: Option<Current>,
    /// What is wrong with which objects.
    damage: Vec<(ObjectId, String)>,
    damage_count: u64,
    items: u64,
    /// Sums over what entries name, and over what inodes say of their names.
    named: u64,
    expected: u64,
    has_root: bool,
}

impl Walk {
    /// One thing is said of each object.
    fn damaged(&mut self, what: String) {
        let Some(current) = self.current.as_mut().filter(|current| !current.is_damaged) else { return };
        current.is_damaged = true;
        let object = current.object;
        self.damage_count += 1;
        if self.damage.len() < DAMAGE_MAX {
            self.damage.push((object, what));
        }
    }

    /// Takes the next item in; the chunk that it refers to, and the byte of it behind the last one that is meant.
    fn item(&mut self, key: &ItemKey, item: &Item) -> Option<(Name, u64)> {
        self.items += 1;
        if self.current.as_ref().is_none_or(|current| current.object != key.object) {
            self.end_of_object();
            let object = key.object;
            self.current = Some(Current { object, inode: None, end: 0, stored: 0, is_damaged: false });
            if key.part != ItemPart::Inode {
                self.damaged("it has no inode".into());
            }
        }
        match (&key.part, item) {
            (_, Item::Inode(inode)) => self.inode(key.object, inode),
            (_, Item::Entry(object, kind)) => {
                self.named = self.named.wrapping_add(token(*object, *kind));
                self.expect(FileKind::Directory, "it is no directory and has entries");
            }
            (ItemPart::Extent(offset), Item::Extent(extent)) => return self.extent(*offset, extent),
            _ => {}
        }
        None
    }

    fn inode(&mut self, object: ObjectId, inode: &Inode) {
        let mut names = u64::from(inode.links);
        if object == ObjectId::ROOT {
            self.has_root = true;
            // The root counts as having a name.
            names = names.saturating_sub(1);
        }
        let share = token(object, inode.attributes.kind).wrapping_mul(names);
        self.expected = self.expected.wrapping_add(share);
        if let Some(current) = &mut self.current {
            current.inode = Some(inode.clone());
        }
    }

    fn extent(&mut self, offset: u64, extent: &Extent) -> Option<(Name, u64)> {
        self.expect(FileKind::File, "it is no file and has content");
        let end = self.current.as_ref().map_or(0, |current| current.end);
        if offset > end {
            self.damaged(format!("its content lacks bytes {end}..{offset}"));
        } else if offset < end {
            self.damaged(format!("its content has bytes {offset}..{end} twice"));
        }
        if let Some(current) = &mut self.current {
            current.end = offset.saturating_add(extent.length());
            if matches!(extent, Extent::Chunk { .. }) {
                current.stored = current.stored.saturating_add(extent.length());
            }
        }
        match *extent {
            Extent::Chunk { name, skip, length } => Some((name, u64::from(skip) + u64::from(length))),
            Extent::Hole { .. } => None,
        }
    }

    fn expect(&mut self, kind: FileKind, what: &str) {
        let inode = self.current.as_ref().and_then(|current| current.inode.as_ref());
        if inode.is_some_and(|inode| inode.attributes.kind != kind) {
            self.damaged(what.into());
        }
    }

    /// All of an object has gone by.
    fn end_of_object(&mut self) {
        let Some(Current { inode: Some(inode), end, stored, .. }) = &self.current else { return };
        let (end, size, found, stored) = (*end, inode.size, *stored, inode.stored);
        if inode.attributes.kind == FileKind::File && end != size {
            self.damaged(format!("its content ends at {end}, its size is {size}"));
        } else if inode.attributes.kind == FileKind::File && found != stored {
            self.damaged(format!("{found} bytes of its content are in no hole, not {stored}"));
        }
    }
}

impl Examination<'_> {
    /// Walks the tree of a point.
    pub(super) fn point(&mut self, point: &Point) -> Result<(), PoolError> {
        self.report.points += 1;
        let machine = match self.shared.machine_of(point.source) {
            Ok(machine) => machine,
            Err(error) => return self.note(&format!("point {} of source {}", point.id, point.source), error),
        };
        let source = self.shared.registry(|r| r.sources.get(&point.source).map(|s| s.label.to_string()));
        let title = format!("{}/{}@{}", machine.label, source.unwrap_or_default(), point.id);
        let root = match tree_root(point) {
            Ok(root) => root,
            Err(error) => return self.note(&title, error),
        };
        let mut verdicts = std::mem::take(&mut self.verdicts);
        if verdicts.machine != machine.id {
            verdicts = Verdicts { machine: machine.id, chunks: HashMap::new() };
        }
        let key = self.shared.keys.naming(machine.domain);
        let mut walk = Walk::default();
        let mut broken = None;
        for item in ItemTree::default().range(&*self, &root, ..) {
            let (item_key, item) = match item {
                Ok(item) => item,
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            };
            let Some((name, end)) = walk.item(&item_key, &item) else { continue };
            match self.verdict(&mut verdicts, &key, &name)? {
                Ok(length) if end <= u64::from(length) => {}
                Ok(length) => {
                    walk.damaged(format!("it needs {end} bytes of chunk {name}, which has {length}"))
                }
                Err(cause) => walk.damaged(cause),
            }
        }
        self.verdicts = verdicts;
        match broken {
            Some(error) => {
                let error = page_error(error);
                self.note(&format!("{title}: part of its tree cannot be read"), error)?;
            }
            None => self.whole(&title, &root, &mut walk)?,
        }
        self.say(&title, &root, walk)
    }

    /// The length of a chunk that a machine may read, or why it cannot be read.
    fn verdict(
        &self,
        verdicts: &mut Verdicts,
        key: &NamingKey,
        name: &Name,
    ) -> Result<Result<u32, String>, PoolError> {
        if let Some(verdict) = verdicts.chunks.get(name) {
            return Ok(verdict.clone());
        }
        let mut place = self.owned_place(verdicts.machine, name)?;
        let found = loop {
            let found = match place {
                None => Err(PoolError::Absent { what: "chunk", name: *name }),
                Some(place) if self.judging == Judging::ByPlace => {
                    self.placed("chunk", name, place.frame).map(|()| place.length)
                }
                Some(place) if self.sound.has(place.frame) => Ok(place.length),
                Some(place) => self.shared.chunk_at(&self.frames, key, name, &place).map(|_| place.length),
            };
            let known = if found.is_ok() { place } else { self.owned_place(verdicts.machine, name)? };
            if known == place {
                break found;
            }
            // It was copied elsewhere meanwhile.
            place = known;
        };
        let verdict = match found {
            Ok(length) => Ok(length),
            Err(error) if error.is_damage() => Err(error.in_words()),
            Err(error) => return Err(error),
        };
        if verdicts.chunks.len() >= VERDICTS_MAX {
            verdicts.chunks.clear();
        }
        verdicts.chunks.insert(*name, verdict.clone());
        Ok(verdict)
    }

    /// Where a chunk is, if a machine may read it.
    fn owned_place(&self, machine: MachineId, name: &Name) -> Result<Option<Place>, PoolError> {
        let state = self.shared.state();
        match state.chunk(name)? {
            Some(place) if state.owns(machine, name, &place)? => Ok(Some(place)),
            _ => Ok(None),
        }
    }

    /// Goes by what is known of a place.
    fn placed(&self, what: &'static str, name: &Name, frame: FramePlace) -> Result<(), PoolError> {
        let FramePlace { segment, offset, .. } = frame;
        let lost = PoolError::Lost { what, name: *name, segment, offset };
        if self.shared.frames.bad().has(frame) { Err(lost) } else { Ok(()) }
    }

    /// What can be told of a tree when all of it has gone by.
    fn whole(&mut self, title: &str, root: &Root, walk: &mut Walk) -> Result<(), PoolError> {
        walk.end_of_object();
        if walk.items != root.items() {
            let (found, stated) = (walk.items, root.items());
            self.report.damaged(format!("{title}: its tree has {found} items and should have {stated}"));
        }
        if walk.items > 0 && !walk.has_root {
            self.report.damaged(format!("{title}: it has no root directory"));
        }
        if walk.named != walk.expected && !self.name_astray(title, root)? {
            self.report.damaged(format!("{title}: some object has more or fewer names than it should have"));
        }
        Ok(())
    }

    /// Says which entries lead to no inode of their kind; whether there are any.
    fn name_astray(&mut self, title: &str, root: &Root) -> Result<bool, PoolError> {
        let tree = ItemTree::default();
        let mut astray = Vec::new();
        for item in tree.range(&*self, root, ..) {
            let (key, item) = item.map_err(page_error)?;
            let Item::Entry(object, kind) = item else { continue };
            let target = tree.get(&*self, root, &ItemKey::inode(object)).map_err(page_error)?;
            if !matches!(target, Some(Item::Inode(inode)) if inode.attributes.kind == kind)
                && astray.len() < DAMAGE_MAX
                && let ItemPart::Entry(name) = key.part
            {
                astray.push((key.object, name));
            }
        }
        let paths = self.paths(root, &astray.iter().map(|(directory, _)| *directory).collect())?;
        for (directory, name) in &astray {
            let path = paths.of(*directory);
            let separator = if path.is_empty() { "" } else { "/" };
            self.report.damaged(format!("{title}:{path}{separator}{name}: it leads to nothing of its kind"));
        }
        Ok(!astray.is_empty())
    }

    /// Puts what is wrong with objects into the report.
    fn say(&mut self, title: &str, root: &Root, walk: Walk) -> Result<(), PoolError> {
        if walk.damage.is_empty() {
            return Ok(());
        }
        self.report.damage_count += walk.damage_count - walk.damage.len() as u64;
        let paths = self.paths(root, &walk.damage.iter().map(|(object, _)| *object).collect())?;
        for (object, cause) in &walk.damage {
            let path = paths.of(*object);
            if path.is_empty() {
                self.report.damaged(format!("{title}: object {object}: {cause}"));
            } else {
                self.report.damaged(format!("{title}:{path}: {cause}"));
            }
        }
        Ok(())
    }

    /// The parents of some objects and of all directories, as far as the tree can be read.
    fn paths(&self, root: &Root, wanted: &HashSet<ObjectId>) -> Result<Paths, PoolError> {
        let mut paths = Paths::default();
        for item in ItemTree::default().range(self, root, ..) {
            let (key, item) = match item.map_err(page_error) {
                Ok(item) => item,
                Err(error) if error.is_damage() => break,
                Err(error) => return Err(error),
            };
            if let (ItemPart::Entry(name), Item::Entry(object, kind)) = (key.part, item)
                && (kind == FileKind::Directory || wanted.contains(&object))
                && paths.0.len() < PARENTS_MAX
            {
                paths.0.entry(object).or_insert((key.object, name));
            }
        }
        Ok(paths)
    }
}

/// Directory and name of objects.
#[derive(Default)]
struct Paths(HashMap<ObjectId, (ObjectId, EntryName)>);

impl Paths {
    /// The path of an object, as far as it is known.
    fn of(&self, object: ObjectId) -> String {
        let mut names = Vec::new();
        let mut at = object;
        while let Some((directory, name)) = self.0.get(&at)
            && names.len() < DEPTH_MAX
        {
            names.push(name.to_string());
            at = *directory;
        }
        names.reverse();
        names.join("/")
    }
}

/// What a page that cannot be read says: the pool's own error, if it is one.
pub(crate) fn page_error(error: tree::Error) -> PoolError {
    match error {
        tree::Error::Read { source, .. } if source.is::<PoolError>() => {
            source.downcast().map_or(PoolError::Failed, |error| *error)
        }
        error => tree_error(error),
    }
}

/// What an entry adds to a sum. Sums of equal tokens are equal in any order; others are not but by a collision.
fn token(object: ObjectId, kind: FileKind) -> u64 {
    let mut bytes = [0; 9];
    bytes[..8].copy_from_slice(&object.0.to_le_bytes());
    bytes[8] = kind.code();
    let hash = blake3::hash(&bytes);
    hash.as_bytes().first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

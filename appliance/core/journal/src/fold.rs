//! Operations as changes of a tree.
//!
//! Changes are gathered in memory over a base tree, and applied in one sorted batch. Operations of an agent are
//! hostile: one that does not fit the state is refused, and the state stays as it was before it.

use std::collections::{BTreeMap, HashSet};

use model::item::{
    Attributes, Extent, FileKind, Inode, Item, ItemKey, ItemPart, ItemRange, LINK_TARGET_LENGTH_MAX,
};
use model::item::{CHUNK_LENGTH_MAX, XATTR_NAME_LENGTH_MAX, XATTR_VALUE_LENGTH_MAX};
use model::operation::Operation;
use model::{EntryName, ErrorKind, ObjectId, Time};
use thiserror::Error;
use tree::{ItemTree, PageSink, PageSource, Root};

/// Most directories below each other that one removal walks down.
const REMOVE_OBJECTS_MAX: usize = 50_000_000;

/// An operation that does not fit the state, or a tree that cannot be read.
#[derive(Debug, Error)]
pub enum FoldError {
    /// It names an object that does not exist.
    #[error("object {0} does not exist")]
    NoObject(ObjectId),
    /// It makes an object whose number is taken.
    #[error("object {0} exists already")]
    ObjectExists(ObjectId),
    /// It names an entry that does not exist.
    #[error("directory {0} has no entry {1}")]
    NoEntry(ObjectId, EntryName),
    /// It treats an object as what it is not.
    #[error("object {0} is not a {1}")]
    Kind(ObjectId, &'static str),
    /// A length, offset or attribute is out of bounds.
    #[error("{0} is out of bounds")]
    Bounds(&'static str),
    /// The tree cannot be read or written.
    #[error("tree of the point")]
    Tree(#[from] tree::Error),
}

impl FoldError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Tree(error) => error.kind(),
            _ => ErrorKind::Refused,
        }
    }
}

/// Operations on top of a tree, not yet applied to it.
pub struct Fold {
    tree: ItemTree,
    base: Root,
    changes: BTreeMap<ItemKey, Option<Item>>,
    fresh: HashSet<ObjectId>,
}

impl Fold {
    /// Nothing yet, on top of a tree. A tree without items gets a root directory.
    #[must_use]
    pub fn new(base: Root) -> Self {
        let mut fold =
            Self { tree: ItemTree::default(), base, changes: BTreeMap::new(), fresh: HashSet::new() };
        if base.is_empty() {
            let attributes = Attributes {
                kind: FileKind::Directory,
                mode: 0o755,
                uid: 0,
                gid: 0,
                modified: Time::default(),
                changed: Time::default(),
                rdev: 0,
                target: Vec::new(),
                image: false,
            };
            let root = Inode { attributes, size: 0, links: 1 };
            fold.put(ItemKey::inode(ObjectId::ROOT), Item::Inode(root));
        }
        fold
    }

    /// Changes that wait in memory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Applies what waits; the tree as it is then.
    pub fn flush<S: PageSink>(&mut self, sink: &mut S) -> Result<Root, FoldError> {
        if !self.changes.is_empty() {
            let changes = std::mem::take(&mut self.changes);
            self.fresh.clear();
            self.base = self.tree.apply(sink, &self.base, changes)?.root;
        }
        Ok(self.base)
    }

    /// Takes an operation in.
    pub fn operation<S: PageSource>(&mut self, source: &S, operation: &Operation) -> Result<(), FoldError> {
        match operation {
            Operation::Make { directory, name, object, attributes } => {
                self.make(source, *directory, name, *object, attributes)
            }
            Operation::Link { directory, name, object } => self.link(source, *directory, name, *object),
            Operation::Remove { directory, name } => self.remove(source, *directory, name),
            Operation::Rename { directory, name, to_directory, to_name } => {
                self.rename(source, (*directory, name), (*to_directory, to_name))
            }
            Operation::Write { object, offset, content } => {
                self.write(source, *object, *offset, Extent::from(*content))
            }
            Operation::Truncate { object, size } => self.truncate(source, *object, *size),
            Operation::SetAttributes { object, attributes } => {
                self.set_attributes(source, *object, attributes)
            }
            Operation::SetXattr { object, name, value } => self.set_xattr(source, *object, name, value),
            Operation::RemoveXattr { object, name } => {
                self.inode(source, *object)?;
                self.delete(ItemKey::xattr(*object, name));
                Ok(())
            }
            Operation::Mark { .. } => Ok(()),
        }
    }

    fn put(&mut self, key: ItemKey, item: Item) {
        self.changes.insert(key, Some(item));
    }

    fn delete(&mut self, key: ItemKey) {
        if self.fresh.contains(&key.object) {
            self.changes.remove(&key);
        } else {
            self.changes.insert(key, None);
        }
    }

    fn get<S: PageSource>(&self, source: &S, key: &ItemKey) -> Result<Option<Item>, FoldError> {
        match self.changes.get(key) {
            Some(item) => Ok(item.clone()),
            None if self.fresh.contains(&key.object) => Ok(None),
            None => Ok(self.tree.get(source, &self.base, key)?),
        }
    }

    fn inode<S: PageSource>(&self, source: &S, object: ObjectId) -> Result<Inode, FoldError> {
        match self.get(source, &ItemKey::inode(object))? {
            Some(Item::Inode(inode)) => Ok(inode),
            _ => Err(FoldError::NoObject(object)),
        }
    }

    fn put_inode(&mut self, object: ObjectId, inode: Inode) {
        self.put(ItemKey::inode(object), Item::Inode(inode));
    }

    fn entry<S: PageSource>(
        &self,
        source: &S,
        directory: ObjectId,
        name: &EntryName,
    ) -> Result<Option<(ObjectId, FileKind)>, FoldError> {
        match self.get(source, &ItemKey::entry(directory, name.clone()))? {
            Some(Item::Entry(object, kind)) => Ok(Some((object, kind))),
            _ => Ok(None),
        }
    }

    fn expect_directory<S: PageSource>(&self, source: &S, object: ObjectId) -> Result<(), FoldError> {
        if self.inode(source, object)?.attributes.kind == FileKind::Directory {
            Ok(())
        } else {
            Err(FoldError::Kind(object, "directory"))
        }
    }

    /// All items of an object in a range, with what waits in memory.
    fn items<S: PageSource>(
        &self,
        source: &S,
        object: ObjectId,
        range: ItemRange,
    ) -> Result<Vec<(ItemKey, Item)>, FoldError> {
        let (start, end) = (range.start(), range.end());
        let mut all = BTreeMap::new();
        if !self.fresh.contains(&object) && !self.base.is_empty() {
            for item in self.tree.range_bytes(source, &self.base, &start, Some(&end)) {
                let (key, item) = item?;
                all.insert(key, item);
            }
        }
        let from = ItemKey::inode(object);
        for (key, change) in self.changes.range(from..ItemKey::inode(object.next())) {
            let bytes = key.encode();
            if bytes < start || bytes >= end {
                continue;
            }
            match change {
                Some(item) => drop(all.insert(key.clone(), item.clone())),
                None => drop(all.remove(key)),
            }
        }
        Ok(all.into_iter().collect())
    }

    fn make<S: PageSource>(
        &mut self,
        source: &S,
        directory: ObjectId,
        name: &EntryName,
        object: ObjectId,
        attributes: &Attributes,
    ) -> Result<(), FoldError> {
        check_attributes(attributes)?;
        self.expect_directory(source, directory)?;
        if object.0 == 0 || self.get(source, &ItemKey::inode(object))?.is_some() {
            return Err(FoldError::ObjectExists(object));
        }
        if self.entry(source, directory, name)?.is_some() {
            self.remove(source, directory, name)?;
        }
        // Items of the number's former bearer went with it, but as deletions that wait: those must stay.
        let prior =
            self.changes.range(ItemKey::inode(object)..ItemKey::inode(object.next())).next().is_some();
        if self.base.is_empty() || !prior {
            self.fresh.insert(object);
        }
        self.put_inode(object, Inode { attributes: attributes.clone(), size: 0, links: 1 });
        self.put(ItemKey::entry(directory, name.clone()), Item::Entry(object, attributes.kind));
        Ok(())
    }

    fn link<S: PageSource>(
        &mut self,
        source: &S,
        directory: ObjectId,
        name: &EntryName,
        object: ObjectId,
    ) -> Result<(), FoldError> {
        self.expect_directory(source, directory)?;
        let kind = self.inode(source, object)?.attributes.kind;
        if kind == FileKind::Directory {
            return Err(FoldError::Kind(object, "thing that can have two names"));
        }
        match self.entry(source, directory, name)? {
            Some((known, _)) if known == object => return Ok(()),
            Some(_) => self.remove(source, directory, name)?,
            None => {}
        }
        let mut inode = self.inode(source, object)?;
        inode.links = inode.links.checked_add(1).ok_or(FoldError::Bounds("number of links"))?;
        self.put_inode(object, inode);
        self.put(ItemKey::entry(directory, name.clone()), Item::Entry(object, kind));
        Ok(())
    }

    fn remove<S: PageSource>(
        &mut self,
        source: &S,
        directory: ObjectId,
        name: &EntryName,
    ) -> Result<(), FoldError> {
        let no_entry = || FoldError::NoEntry(directory, name.clone());
        let (object, _) = self.entry(source, directory, name)?.ok_or_else(no_entry)?;
        self.delete(ItemKey::entry(directory, name.clone()));
        let mut waiting = vec![object];
        let mut removed = 0;
        while let Some(object) = waiting.pop() {
            removed += 1;
            if removed > REMOVE_OBJECTS_MAX {
                return Err(FoldError::Bounds("number of objects removed at once"));
            }
            let Some(Item::Inode(mut inode)) = self.get(source, &ItemKey::inode(object))? else { continue };
            if inode.links > 1 {
                inode.links -= 1;
                self.put_inode(object, inode);
                continue;
            }
            for (key, item) in self.items(source, object, ItemRange::object(object))? {
                if let Item::Entry(child, _) = item {
                    waiting.push(child);
                }
                self.delete(key);
            }
        }
        Ok(())
    }

    fn rename<S: PageSource>(
        &mut self,
        source: &S,
        (directory, name): (ObjectId, &EntryName),
        (to_directory, to_name): (ObjectId, &EntryName),
    ) -> Result<(), FoldError> {
        self.expect_directory(source, to_directory)?;
        let no_entry = || FoldError::NoEntry(directory, name.clone());
        let (object, kind) = self.entry(source, directory, name)?.ok_or_else(no_entry)?;
        if (directory, name) == (to_directory, to_name) {
            return Ok(());
        }
        match self.entry(source, to_directory, to_name)? {
            // Two names of one object: the first one goes, as rename(2) of Linux would not do but a scan means.
            Some((target, _)) if target == object => return self.remove(source, directory, name),
            Some(_) => {
                self.remove(source, to_directory, to_name)?;
                // A directory that takes the place of one above it would go with that one.
                self.inode(source, object)?;
            }
            None => {}
        }
        self.delete(ItemKey::entry(directory, name.clone()));
        self.put(ItemKey::entry(to_directory, to_name.clone()), Item::Entry(object, kind));
        Ok(())
    }

    fn expect_file<S: PageSource>(&self, source: &S, object: ObjectId) -> Result<Inode, FoldError> {
        let inode = self.inode(source, object)?;
        if inode.attributes.kind == FileKind::File { Ok(inode) } else { Err(FoldError::Kind(object, "file")) }
    }

    fn write<S: PageSource>(
        &mut self,
        source: &S,
        object: ObjectId,
        offset: u64,
        extent: Extent,
    ) -> Result<(), FoldError> {
        let mut inode = self.expect_file(source, object)?;
        let end = check_extent(offset, &extent)?;
        if offset > inode.size {
            let gap = Extent::Hole { length: offset - inode.size };
            self.put(ItemKey::extent(object, inode.size), Item::Extent(gap));
        } else if offset < inode.size {
            self.clear(source, object, offset, end)?;
        }
        self.put(ItemKey::extent(object, offset), Item::Extent(extent));
        if end > inode.size {
            inode.size = end;
            self.put_inode(object, inode);
        }
        Ok(())
    }

    fn truncate<S: PageSource>(&mut self, source: &S, object: ObjectId, size: u64) -> Result<(), FoldError> {
        let mut inode = self.expect_file(source, object)?;
        if size > i64::MAX as u64 {
            return Err(FoldError::Bounds("length of a file"));
        }
        if size > inode.size {
            let gap = Extent::Hole { length: size - inode.size };
            self.put(ItemKey::extent(object, inode.size), Item::Extent(gap));
        } else if size < inode.size {
            self.clear(source, object, size, inode.size)?;
        }
        inode.size = size;
        self.put_inode(object, inode);
        Ok(())
    }

    /// Takes the content of `start..end` away; extents that reach over an edge keep what is outside.
    fn clear<S: PageSource>(
        &mut self,
        source: &S,
        object: ObjectId,
        start: u64,
        end: u64,
    ) -> Result<(), FoldError> {
        for (key, item) in self.overlapping(source, object, start, end)? {
            let (ItemPart::Extent(at), Item::Extent(extent)) = (&key.part, item) else { continue };
            let (at, stop) = (*at, at.saturating_add(extent.length()));
            self.delete(key);
            if at < start {
                self.put(ItemKey::extent(object, at), Item::Extent(part(&extent, 0, start - at)));
            }
            if stop > end {
                let rest = part(&extent, end - at, stop - end);
                self.put(ItemKey::extent(object, end), Item::Extent(rest));
            }
        }
        Ok(())
    }

    /// The extents that hold any byte of `start..end`.
    fn overlapping<S: PageSource>(
        &self,
        source: &S,
        object: ObjectId,
        start: u64,
        end: u64,
    ) -> Result<Vec<(ItemKey, Item)>, FoldError> {
        let mut found = BTreeMap::new();
        let first = ItemKey::extent(object, 0);
        let (from, to) = (ItemKey::extent(object, start), ItemKey::extent(object, end));
        if !self.fresh.contains(&object) && !self.base.is_empty() {
            let mut before = from.clone();
            // The last extent at or before the start that is not deleted in memory.
            while let Some((key, item)) = self.tree.floor(source, &self.base, &before)? {
                if key < first {
                    break;
                }
                match self.changes.get(&key) {
                    None => {
                        found.insert(key, item);
                        break;
                    }
                    // Replaced in memory, where it is found below.
                    Some(Some(_)) => break,
                    Some(None) => {}
                }
                let ItemPart::Extent(at @ 1..) = key.part else { break };
                before = ItemKey::extent(object, at - 1);
            }
            for item in self.tree.range(source, &self.base, from.clone()..to.clone()) {
                let (key, item) = item?;
                found.insert(key, item);
            }
        }
        let last_before = self.changes.range(first..from.clone()).rev().find(|(_, change)| change.is_some());
        for (key, change) in last_before.into_iter().chain(self.changes.range(from..to)) {
            match change {
                Some(item) => drop(found.insert(key.clone(), item.clone())),
                None => drop(found.remove(key)),
            }
        }
        let reaches = |key: &ItemKey, item: &Item| match (&key.part, item) {
            (ItemPart::Extent(at), Item::Extent(extent)) => at.saturating_add(extent.length()) > start,
            _ => false,
        };
        Ok(found.into_iter().filter(|(key, item)| reaches(key, item)).collect())
    }

    fn set_attributes<S: PageSource>(
        &mut self,
        source: &S,
        object: ObjectId,
        attributes: &Attributes,
    ) -> Result<(), FoldError> {
        check_attributes(attributes)?;
        let mut inode = self.inode(source, object)?;
        if inode.attributes.kind != attributes.kind {
            return Err(FoldError::Kind(object, "thing of the kind that it is said to be"));
        }
        inode.attributes = attributes.clone();
        self.put_inode(object, inode);
        Ok(())
    }

    fn set_xattr<S: PageSource>(
        &mut self,
        source: &S,
        object: ObjectId,
        name: &[u8],
        value: &[u8],
    ) -> Result<(), FoldError> {
        if name.is_empty() || name.len() > XATTR_NAME_LENGTH_MAX || name.contains(&0) {
            return Err(FoldError::Bounds("name of an extended attribute"));
        }
        if value.len() > XATTR_VALUE_LENGTH_MAX {
            return Err(FoldError::Bounds("value of an extended attribute"));
        }
        self.inode(source, object)?;
        self.put(ItemKey::xattr(object, name), Item::Xattr(value.to_vec()));
        Ok(())
    }
}

fn check_attributes(attributes: &Attributes) -> Result<(), FoldError> {
    if attributes.mode > 0o7777 {
        return Err(FoldError::Bounds("mode of an object"));
    }
    let target = &attributes.target;
    let is_link = attributes.kind == FileKind::Symlink;
    if target.len() > LINK_TARGET_LENGTH_MAX || target.contains(&0) || target.is_empty() == is_link {
        return Err(FoldError::Bounds("target of a link"));
    }
    Ok(())
}

/// The end of an extent that is to stand at `offset`.
fn check_extent(offset: u64, extent: &Extent) -> Result<u64, FoldError> {
    const WHAT: FoldError = FoldError::Bounds("range of a write");
    if let Extent::Chunk { skip, length, .. } = extent
        && u64::from(*skip) + u64::from(*length) > u64::from(CHUNK_LENGTH_MAX)
    {
        return Err(WHAT);
    }
    let end = offset.checked_add(extent.length()).filter(|end| *end <= i64::MAX as u64);
    if extent.length() == 0 { Err(WHAT) } else { end.ok_or(WHAT) }
}

/// `length` bytes of an extent from `skip` on; both lie inside of it.
fn part(extent: &Extent, from: u64, part_length: u64) -> Extent {
    match *extent {
        Extent::Hole { .. } => Extent::Hole { length: part_length },
        Extent::Chunk { name, skip, length } => {
            let from = u32::try_from(from).unwrap_or(length);
            let part_length = u32::try_from(part_length).unwrap_or(length);
            Extent::Chunk { name, skip: skip.saturating_add(from), length: part_length }
        }
    }
}

#[cfg(test)]
mod tests;

//! Reading the items of a point in few calls.
//!
//! An agent numbers objects as it finds them, so what a walk asks for next mostly follows what it asked for last.
//! Each call therefore reads on past the object in question, further when that proved right, and the answers are kept
//! for a while. An answer that is shorter than its limit is not taken for the end: only an empty one is.
//!
//! Where reading on meets damage, the object is read alone, so that damage costs the objects that it hit.

use std::collections::VecDeque;

use model::archive::{Archive, ArchiveError, PointKey};
use model::item::{Extent, FileKind, Inode, Item, ItemKey, ItemPart, ItemRange};
use model::{EntryName, ObjectId};

use crate::error::{corrupt, is_damage};
use crate::xattrs::Xattr;

/// Answers that are kept.
const WINDOWS_MAX: usize = 8;
/// Fewest and most items of a call.
const ITEMS_MIN: usize = 128;
const ITEMS_MAX: usize = 2048;
/// An object this close behind the last answer counts as the next one.
const STRIDE: u64 = 1024;
/// Bytes of attribute values in one answer beyond which calls become small again.
const VALUES_MAX: usize = 4 << 20;
/// Most extended attributes of an object, and most bytes of their values.
const XATTRS_MAX: usize = 4096;
const XATTR_BYTES_MAX: usize = 4 << 20;
/// Behind every key.
const END: [u8; 10] = [0xff; 10];

/// A place between keys: before a key, or right behind it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    key: ItemKey,
    behind: bool,
}

impl Position {
    fn before(key: ItemKey) -> Self {
        Self { key, behind: false }
    }

    fn behind(key: ItemKey) -> Self {
        Self { key, behind: true }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.key.encode();
        if self.behind {
            bytes.push(0);
        }
        bytes
    }

    fn is_before(&self, key: &ItemKey) -> bool {
        if self.behind { *key > self.key } else { *key >= self.key }
    }
}

/// What is known of the keys behind the last item of an answer.
#[derive(Clone, Copy)]
enum Rest {
    Unknown,
    /// No more items of this object.
    ObjectEnds(ObjectId),
    /// No more items at all.
    Ends,
}

/// One answer: all items from a position to the last one in it.
struct Window {
    from: Position,
    items: Vec<(ItemKey, Item)>,
    rest: Rest,
}

impl Window {
    /// Where the items at or behind a position begin, if the window knows.
    fn find(&self, start: &Position) -> Option<usize> {
        if self.from > *start {
            return None;
        }
        let index = self.items.partition_point(|(key, _)| !start.is_before(key));
        let is_known = index < self.items.len()
            || match self.rest {
                Rest::Unknown => false,
                Rest::ObjectEnds(object) => start.key.object == object,
                Rest::Ends => true,
            };
        is_known.then_some(index)
    }
}

/// Names of a directory, up to some limit.
pub(crate) struct Entries {
    pub(crate) list: Vec<(EntryName, ObjectId, FileKind)>,
    /// More may follow the last one.
    pub(crate) has_more: bool,
}

/// Reads the items of one point.
pub(crate) struct Items<'a> {
    archive: &'a dyn Archive,
    point: PointKey,
    windows: VecDeque<Window>,
    /// Of the next call.
    limit: usize,
    /// The last object of the newest answer.
    reached: u64,
}

impl<'a> Items<'a> {
    pub(crate) fn new(archive: &'a dyn Archive, point: PointKey) -> Self {
        Self { archive, point, windows: VecDeque::new(), limit: ITEMS_MIN, reached: 0 }
    }

    /// The object itself.
    pub(crate) fn inode(&mut self, object: ObjectId) -> Result<Option<Inode>, ArchiveError> {
        let key = ItemKey::inode(object);
        match self.from(&Position::before(key.clone()))?.first() {
            Some((found, Item::Inode(inode))) if *found == key => Ok(Some(inode.clone())),
            _ => Ok(None),
        }
    }

    /// One entry of a directory.
    pub(crate) fn entry(
        &self,
        directory: ObjectId,
        name: &EntryName,
    ) -> Result<Option<(ObjectId, FileKind)>, ArchiveError> {
        match self.archive.item(self.point, &ItemKey::entry(directory, name.clone()))? {
            Some(Item::Entry(object, kind)) => Ok(Some((object, kind))),
            _ => Ok(None),
        }
    }

    /// Entries of a directory in the order of their names, behind `after`.
    pub(crate) fn entries(
        &mut self,
        directory: ObjectId,
        after: Option<&EntryName>,
        limit: usize,
    ) -> Result<Entries, ArchiveError> {
        let mut list = Vec::new();
        let mut position = match after {
            None => Position::behind(ItemKey::inode(directory)),
            Some(name) => Position::behind(ItemKey::entry(directory, name.clone())),
        };
        while list.len() < limit {
            let run = self.from(&position)?;
            let room = limit - list.len();
            for (key, item) in run.iter().take(room) {
                match (&key.part, item) {
                    (ItemPart::Entry(name), Item::Entry(object, kind)) if key.object == directory => {
                        list.push((name.clone(), *object, *kind));
                    }
                    _ => return Ok(Entries { list, has_more: false }),
                }
            }
            match run.iter().take(room).next_back() {
                Some((key, _)) => position = Position::behind(key.clone()),
                None => return Ok(Entries { list, has_more: false }),
            }
        }
        Ok(Entries { list, has_more: true })
    }

    /// All extended attributes of an object; more than a filesystem could hold are damage.
    pub(crate) fn xattrs(&mut self, object: ObjectId) -> Result<Vec<Xattr>, ArchiveError> {
        let mut list: Vec<Xattr> = Vec::new();
        let mut bytes = 0;
        let mut position = Position::before(ItemKey::xattr(object, b""));
        loop {
            let run = self.from(&position)?;
            for (key, item) in run {
                match (&key.part, item) {
                    (ItemPart::Xattr(name), Item::Xattr(value)) if key.object == object => {
                        bytes += value.len();
                        list.push(Xattr { name: name.clone(), value: value.clone() });
                    }
                    _ => return Ok(list),
                }
            }
            let Some((key, _)) = run.last() else { return Ok(list) };
            position = Position::behind(key.clone());
            if list.len() > XATTRS_MAX || bytes > XATTR_BYTES_MAX {
                return Err(corrupt("there are more extended attributes than a file can have"));
            }
        }
    }

    /// Extents of a file from an offset on, at least one if there is any, at most `limit`.
    pub(crate) fn extents(
        &mut self,
        object: ObjectId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Extent)>, ArchiveError> {
        let run = self.from(&Position::before(ItemKey::extent(object, from)))?;
        let extents = run.iter().take(limit).map_while(|(key, item)| match (&key.part, item) {
            (ItemPart::Extent(offset), Item::Extent(extent)) if key.object == object => {
                Some((*offset, *extent))
            }
            _ => None,
        });
        Ok(extents.collect())
    }

    /// The items at and behind a position, as many as one answer holds; none only if the object has no more.
    fn from(&mut self, start: &Position) -> Result<&[(ItemKey, Item)], ArchiveError> {
        let found = self.windows.iter().position(|window| window.find(start).is_some());
        match found {
            Some(index) => {
                if index + 1 < self.windows.len()
                    && let Some(window) = self.windows.remove(index)
                {
                    self.windows.push_back(window);
                }
            }
            None => {
                let window = self.fetch(start)?;
                if self.windows.len() == WINDOWS_MAX {
                    self.windows.pop_front();
                }
                self.windows.push_back(window);
            }
        }
        let window = self.windows.back();
        Ok(window.and_then(|w| w.items.get(w.find(start)?..)).unwrap_or_default())
    }

    fn fetch(&mut self, start: &Position) -> Result<Window, ArchiveError> {
        let object = start.key.object;
        let is_next = object.0 >= self.reached && object.0 - self.reached <= STRIDE;
        self.limit = if is_next { (self.limit * 2).min(ITEMS_MAX) } else { (self.limit / 2).max(ITEMS_MIN) };
        let from = start.to_bytes();
        let (items, rest) = match self.archive.items(self.point, &from, &END, self.limit) {
            Ok(items) => (items, Rest::Ends),
            // Something that was read along is damaged, or the object itself: read no further than its end.
            Err(error) if is_damage(&error) => {
                let end = ItemRange::object(object).end();
                (self.archive.items(self.point, &from, &end, ITEMS_MIN)?, Rest::ObjectEnds(object))
            }
            Err(error) => return Err(error),
        };
        let rest = if items.is_empty() { rest } else { Rest::Unknown };
        self.accept(start, items, rest)
    }

    /// Checks an answer: keys ascend from the position on, and each has an item of its kind.
    fn accept(
        &mut self,
        start: &Position,
        items: Vec<(ItemKey, Item)>,
        rest: Rest,
    ) -> Result<Window, ArchiveError> {
        let starts_right = items.first().is_none_or(|(key, _)| start.is_before(key));
        if !starts_right || !items.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Err(corrupt("items came in a wrong order"));
        }
        self.reached = items.last().map_or(start.key.object.0, |(key, _)| key.object.0);
        let values: usize = items.iter().map(|(_, i)| if let Item::Xattr(v) = i { v.len() } else { 0 }).sum();
        if values > VALUES_MAX {
            self.limit = ITEMS_MIN;
        }
        Ok(Window { from: start.clone(), items, rest })
    }
}

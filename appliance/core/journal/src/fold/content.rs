//! The content of files: extents that follow each other without gap or overlap, from the start to the size.
//!
//! A change costs what it covers. An extent that the tree has is looked at once, when something is put over it: from
//! then on its range counts as gone.

use model::ObjectId;
use model::item::{CHUNK_LENGTH_MAX, Extent, FileKind, Inode, Item, ItemKey, ItemPart};
use tree::PageSource;

use super::{Fold, FoldError};

/// Extents that are looked at together.
const PART_EXTENTS: usize = 1024;

/// An extent and where it starts.
type Placed = (u64, Extent);

fn stop_of((at, extent): Placed) -> u64 {
    at.saturating_add(extent.length())
}

/// Bytes of an extent within `start..end`; none if it is a hole.
fn stored_within((at, extent): Placed, start: u64, end: u64) -> u64 {
    match extent {
        Extent::Hole { .. } => 0,
        Extent::Chunk { .. } => stop_of((at, extent)).min(end).saturating_sub(at.max(start)),
    }
}

impl Fold {
    fn expect_file<S: PageSource>(&self, source: &S, object: ObjectId) -> Result<Inode, FoldError> {
        let inode = self.inode(source, object)?;
        if inode.attributes.kind == FileKind::File { Ok(inode) } else { Err(FoldError::Kind(object, "file")) }
    }

    fn put_extent(&mut self, object: ObjectId, at: u64, extent: Extent) {
        self.state.put(ItemKey::extent(object, at), Item::Extent(extent));
    }

    /// Puts content at an offset.
    pub(super) fn write<S: PageSource>(
        &mut self,
        source: &S,
        object: ObjectId,
        offset: u64,
        extent: &Extent,
    ) -> Result<(), FoldError> {
        let mut inode = self.expect_file(source, object)?;
        let end = check_extent(offset, extent)?;
        if offset > inode.size {
            self.put_extent(object, inode.size, Extent::Hole { length: offset - inode.size });
        } else if offset < inode.size {
            let cleared = self.clear(source, object, offset, end.min(inode.size))?;
            inode.stored = inode.stored.saturating_sub(cleared);
        }
        self.put_extent(object, offset, *extent);
        inode.size = inode.size.max(end);
        if matches!(extent, Extent::Chunk { .. }) {
            inode.stored = inode.stored.saturating_add(extent.length()).min(inode.size);
        }
        // Also when it is as it was: the next write finds it in memory.
        self.put_inode(object, inode);
        Ok(())
    }

    /// Sets the length of a file.
    pub(super) fn truncate<S: PageSource>(
        &mut self,
        source: &S,
        object: ObjectId,
        size: u64,
    ) -> Result<(), FoldError> {
        let mut inode = self.expect_file(source, object)?;
        if size > i64::MAX as u64 {
            return Err(FoldError::Bounds("length of a file"));
        }
        if size > inode.size {
            self.put_extent(object, inode.size, Extent::Hole { length: size - inode.size });
        } else if size < inode.size {
            let cleared = self.clear(source, object, size, inode.size)?;
            inode.stored = inode.stored.saturating_sub(cleared).min(size);
        }
        inode.size = size;
        self.put_inode(object, inode);
        Ok(())
    }

    /// Takes the content of `start..end` away, of which the file has all; extents that reach over an edge keep what is
    /// outside. How many of the bytes were in no hole.
    fn clear<S: PageSource>(
        &mut self,
        source: &S,
        object: ObjectId,
        start: u64,
        end: u64,
    ) -> Result<u64, FoldError> {
        let to = ItemKey::extent(object, end);
        let first = self.extent_at(source, object, start)?;
        let mut last = first;
        let mut cleared = first.map_or(0, |first| stored_within(first, start, end));
        let mut reached = first.map_or(start, stop_of);
        while reached < end {
            let items = self.state.items(source, &ItemKey::extent(object, reached), &to, PART_EXTENTS)?;
            let is_all = items.len() < PART_EXTENTS;
            for (key, item) in items {
                if let (ItemPart::Extent(at), Item::Extent(extent)) = (key.part, item) {
                    last = Some((at, extent));
                    cleared += stored_within((at, extent), start, end);
                    reached = stop_of((at, extent));
                }
            }
            if is_all {
                break;
            }
        }
        self.state.delete_range(ItemKey::extent(object, start), to);
        if let Some((at, extent)) = first
            && at < start
        {
            self.put_extent(object, at, part(&extent, 0, start - at));
        }
        if let Some((at, extent)) = last {
            let stop = stop_of((at, extent));
            if stop > end {
                self.put_extent(object, end, part(&extent, end - at, stop - end));
            }
        }
        Ok(cleared)
    }

    /// The extent that holds the byte at an offset.
    fn extent_at<S: PageSource>(
        &self,
        source: &S,
        object: ObjectId,
        offset: u64,
    ) -> Result<Option<Placed>, FoldError> {
        let key = ItemKey::extent(object, offset);
        let holds = |key: &ItemKey, item: &Item| match (&key.part, item) {
            (ItemPart::Extent(at), Item::Extent(extent)) => {
                let is_held = key.object == object && at.saturating_add(extent.length()) > offset;
                is_held.then_some((*at, *extent))
            }
            _ => None,
        };
        // Extents do not overlap: if one in memory holds the byte, the tree need not be asked.
        if let Some(found) = self.state.changed_before(&key).and_then(|(key, item)| holds(key, item)) {
            return Ok(Some(found));
        }
        let found = self.state.unchanged_before(source, &key)?;
        Ok(found.and_then(|(key, item)| holds(&key, &item)))
    }
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

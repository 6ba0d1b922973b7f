//! Finding things in a point by name, through any archive.

use crate::archive::{Archive, ArchiveError, PointKey};
use crate::item::{FileKind, Inode, Item, ItemKey, ItemPart, ItemRange};
use crate::{EntryName, ObjectId};

/// Items asked for at once.
const PAGE: usize = 1024;

/// The object at a path below the root of a point.
pub fn find(
    archive: &dyn Archive,
    point: PointKey,
    path: &[EntryName],
) -> Result<(ObjectId, Inode), ArchiveError> {
    let mut object = ObjectId::ROOT;
    for name in path {
        match archive.item(point, &ItemKey::entry(object, name.clone()))? {
            Some(Item::Entry(child, _)) => object = child,
            _ => return Err(ArchiveError::missing(format!("{name} in the point"))),
        }
    }
    Ok((object, inode(archive, point, object)?))
}

/// An object itself.
pub fn inode(archive: &dyn Archive, point: PointKey, object: ObjectId) -> Result<Inode, ArchiveError> {
    match archive.item(point, &ItemKey::inode(object))? {
        Some(Item::Inode(inode)) => Ok(inode),
        _ => Err(ArchiveError::missing(format!("object {object} of the point"))),
    }
}

/// Calls `each` for the items of a range, a page at a time.
pub fn each_item<E: From<ArchiveError>>(
    archive: &dyn Archive,
    point: PointKey,
    range: ItemRange,
    mut each: impl FnMut(ItemKey, Item) -> Result<(), E>,
) -> Result<(), E> {
    let (mut from, to) = (range.start(), range.end());
    loop {
        let items = archive.items(point, &from, &to, PAGE)?;
        let Some((last, _)) = items.last() else { return Ok(()) };
        from = last.encode();
        from.push(0);
        for (key, item) in items {
            each(key, item)?;
        }
    }
}

/// The entries of a directory, in the order of their names.
pub fn entries(
    archive: &dyn Archive,
    point: PointKey,
    directory: ObjectId,
) -> Result<Vec<(EntryName, ObjectId, FileKind)>, ArchiveError> {
    let mut all = Vec::new();
    each_item(archive, point, ItemRange::entries(directory), |key, item| {
        if let (ItemPart::Entry(name), Item::Entry(object, kind)) = (key.part, item) {
            all.push((name, object, kind));
        }
        Ok::<_, ArchiveError>(())
    })?;
    Ok(all)
}

//! Finding and reading single files of a point.

use std::io::Write;

use anyhow::{Context, bail};
use model::archive::{Archive, PointKey};
use model::item::{Extent, FileKind, Inode, Item, ItemKey, ItemPart, ItemRange};
use model::{EntryName, ObjectId};

/// Items asked for at once.
const PAGE: usize = 1024;
/// Chunks asked for at once.
const CHUNKS: usize = 16;

/// The object at a path below the root of a point.
pub(crate) fn find(
    archive: &dyn Archive,
    point: PointKey,
    path: &[EntryName],
) -> anyhow::Result<(ObjectId, Inode)> {
    let mut object = ObjectId::ROOT;
    for name in path {
        match archive.item(point, &ItemKey::entry(object, name.clone()))? {
            Some(Item::Entry(child, _)) => object = child,
            _ => bail!("there is no {name} in the point"),
        }
    }
    Ok((object, inode(archive, point, object)?))
}

/// An object itself.
pub(crate) fn inode(archive: &dyn Archive, point: PointKey, object: ObjectId) -> anyhow::Result<Inode> {
    match archive.item(point, &ItemKey::inode(object))? {
        Some(Item::Inode(inode)) => Ok(inode),
        _ => bail!("the point has no object {object}"),
    }
}

/// Calls `each` for the items of a range, a page at a time.
pub(crate) fn each_item(
    archive: &dyn Archive,
    point: PointKey,
    range: ItemRange,
    mut each: impl FnMut(ItemKey, Item) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
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

/// The entries of a directory.
pub(crate) fn entries(
    archive: &dyn Archive,
    point: PointKey,
    directory: ObjectId,
) -> anyhow::Result<Vec<(EntryName, ObjectId, FileKind)>> {
    let mut all = Vec::new();
    each_item(archive, point, ItemRange::entries(directory), |key, item| {
        if let (ItemPart::Entry(name), Item::Entry(object, kind)) = (key.part, item) {
            all.push((name, object, kind));
        }
        Ok(())
    })?;
    Ok(all)
}

/// Writes the content of a file.
pub(crate) fn copy_out(
    archive: &dyn Archive,
    point: PointKey,
    object: ObjectId,
    size: u64,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut waiting = Vec::new();
    let mut at = 0;
    each_item(archive, point, ItemRange::extents(object), |key, item| {
        let (ItemPart::Extent(offset), Item::Extent(extent)) = (key.part, item) else { return Ok(()) };
        if offset != at {
            bail!("bytes {at} to {offset} of the file are missing in the point");
        }
        at = offset.saturating_add(extent.length());
        waiting.push(extent);
        if waiting.len() >= CHUNKS {
            write_extents(archive, point, &std::mem::take(&mut waiting), out)?;
        }
        Ok(())
    })?;
    write_extents(archive, point, &waiting, out)?;
    if at != size {
        bail!("bytes {at} to {size} of the file are missing in the point");
    }
    Ok(())
}

fn write_extents(
    archive: &dyn Archive,
    point: PointKey,
    extents: &[Extent],
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let name = |extent: &Extent| match extent {
        Extent::Chunk { name, .. } => Some(*name),
        Extent::Hole { .. } => None,
    };
    let names: Vec<_> = extents.iter().filter_map(name).collect();
    let mut chunks = archive.chunks(point, &names)?.into_iter();
    for extent in extents {
        match *extent {
            Extent::Hole { length } => {
                std::io::copy(&mut std::io::Read::take(std::io::repeat(0), length), out)?;
            }
            Extent::Chunk { skip, length, .. } => {
                let bytes = chunks.next().context("fewer chunks came than were asked for")??;
                let range = skip as usize..skip as usize + length as usize;
                out.write_all(bytes.get(range).context("an extent reaches out of its chunk")?)?;
            }
        }
    }
    Ok(())
}

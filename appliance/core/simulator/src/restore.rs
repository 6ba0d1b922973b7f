//! A point read back through the archive into plain files, with every rule checked that a tree must keep.

use std::collections::BTreeMap;

use model::archive::{Archive, ArchiveError, PointKey};
use model::item::{Extent, FileKind, Item, ItemPart};
use model::{Name, ObjectId};

use crate::files::{Files, Object};

/// More items than any simulated source has.
const ITEMS_MAX: usize = 100_000;

/// Everything that a point holds.
pub(crate) fn restore(archive: &dyn Archive, point: PointKey) -> Result<Files, String> {
    let words = |error: ArchiveError| format!("{point:?} cannot be read: {error}");
    let items = archive.items(point, &[], &[0xff; 9], ITEMS_MAX).map_err(words)?;
    let mut files = Files::default();
    let mut sizes = BTreeMap::new();
    let mut kinds = Vec::new();
    let mut extents = Vec::new();
    for (key, item) in items {
        let id = key.object;
        let lost = || format!("{point:?} has {key:?} without its object");
        match (key.part.clone(), item) {
            (ItemPart::Inode, Item::Inode(inode)) => {
                sizes.insert(id, (inode.size, inode.stored, inode.links));
                files.objects.insert(id, Object::new(inode.attributes));
            }
            (ItemPart::Entry(name), Item::Entry(to, kind)) => {
                kinds.push((to, kind));
                files.objects.get_mut(&id).ok_or_else(lost)?.entries.insert(name, to);
            }
            (ItemPart::Xattr(name), Item::Xattr(value)) => {
                files.objects.get_mut(&id).ok_or_else(lost)?.xattrs.insert(name.into(), value);
            }
            (ItemPart::Extent(offset), Item::Extent(extent)) => extents.push((id, offset, extent)),
            (part, item) => return Err(format!("{point:?} has {item:?} under {part:?}")),
        }
    }
    fill(archive, point, &mut files, &extents)?;
    check_holes(&sizes, &extents).map_err(|what| format!("{point:?}: {what}"))?;
    check(&files, &sizes, &kinds).map_err(|what| format!("{point:?}: {what}"))?;
    Ok(files)
}

/// Puts the content of all extents into their files.
fn fill(
    archive: &dyn Archive,
    point: PointKey,
    files: &mut Files,
    extents: &[(ObjectId, u64, Extent)],
) -> Result<(), String> {
    let chunk = |extent: &Extent| match extent {
        Extent::Chunk { name, .. } => Some(*name),
        Extent::Hole { .. } => None,
    };
    let names: Vec<Name> = extents.iter().filter_map(|(_, _, extent)| chunk(extent)).collect();
    let read = archive.chunks(point, &names).map_err(|error| format!("{point:?}: {error}"))?;
    let mut read = read.into_iter();
    for (id, offset, extent) in extents {
        let object =
            files.objects.get_mut(id).ok_or_else(|| format!("{point:?}: content of no object {id}"))?;
        if object.content.len() as u64 != *offset {
            return Err(format!("{point:?}: extents of {id} have a gap or overlap at {offset}"));
        }
        match *extent {
            Extent::Hole { length } => {
                let end = object.content.len() as u64 + length;
                object.content.resize(usize::try_from(end).unwrap_or(usize::MAX), 0);
            }
            Extent::Chunk { name, skip, length } => {
                let bytes = read.next().ok_or("an answer is missing")?;
                let bytes = bytes.map_err(|error| format!("{point:?}: chunk {name}: {error}"))?;
                let part = bytes.get(skip as usize..skip as usize + length as usize);
                object.content.extend_from_slice(part.ok_or_else(|| format!("chunk {name} is short"))?);
            }
        }
    }
    Ok(())
}

/// What an object says of its length, of the bytes that are in no hole, and of its links.
type Sizes = BTreeMap<ObjectId, (u64, u64, u32)>;

/// Bytes that are in no hole are those of extents with data.
fn check_holes(sizes: &Sizes, extents: &[(ObjectId, u64, Extent)]) -> Result<(), String> {
    let mut found: BTreeMap<ObjectId, u64> = BTreeMap::new();
    for (id, _, extent) in extents {
        if matches!(extent, Extent::Chunk { .. }) {
            *found.entry(*id).or_default() += extent.length();
        }
    }
    for (id, (_, stored, _)) in sizes {
        let found = found.get(id).copied().unwrap_or_default();
        if found != *stored {
            return Err(format!("object {id} has {found} bytes in no hole and says {stored}"));
        }
    }
    Ok(())
}

/// Lengths, counts of links and kinds are those that follow from the rest.
fn check(files: &Files, sizes: &Sizes, kinds: &[(ObjectId, FileKind)]) -> Result<(), String> {
    for (id, (size, _, links)) in sizes {
        let content = files.objects.get(id).map_or(0, |object| object.content.len() as u64);
        if content != *size {
            return Err(format!("object {id} has {content} bytes and says {size}"));
        }
        if files.links(*id) != *links as usize {
            return Err(format!("object {id} has {} names and says {links}", files.links(*id)));
        }
    }
    for (id, kind) in kinds {
        if files.objects.get(id).map(|object| object.attributes.kind) != Some(*kind) {
            return Err(format!("an entry says that object {id} is a {kind:?}"));
        }
    }
    Ok(())
}

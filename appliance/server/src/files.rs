//! Reading single files of a point.

use std::io::Write;

use anyhow::{Context, bail};
use model::ObjectId;
use model::archive::{Archive, PointKey};
use model::browse::each_item;
use model::item::{Extent, Item, ItemPart, ItemRange};

/// Chunks asked for at once.
const CHUNKS: usize = 16;

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
    each_item(archive, point, ItemRange::extents(object), |key, item| -> anyhow::Result<()> {
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

//! `keepfast ls` and `keepfast cat`.

use std::io::{BufWriter, Write};

use anyhow::bail;
use model::archive::{Archive, PointKey};
use model::item::FileKind;
use model::{EntryName, Place, browse};
use terminal::{Done, ENTRY_COLUMNS};

use crate::access::Access;
use crate::cli::{Data, Listing};
use crate::files;

pub(crate) fn ls(place: &Place, listing: &Listing) -> anyhow::Result<Done> {
    let access = Access::open(&listing.data.data)?;
    let rows = terminal::entry_rows(&*access.archive(), access.find(place)?, &place.path)?;
    terminal::print(listing.json, &ENTRY_COLUMNS, &rows)?;
    Ok(Done::Whole)
}

pub(crate) fn cat(place: &Place, data: &Data) -> anyhow::Result<Done> {
    let access = Access::open(&data.data)?;
    print_file(&*access.archive(), access.find(place)?, &place.path)
}

/// Writes the file at a path of a point to standard output.
pub(super) fn print_file(archive: &dyn Archive, point: PointKey, path: &[EntryName]) -> anyhow::Result<Done> {
    let (object, inode) = browse::find(archive, point, path)?;
    if inode.attributes.kind != FileKind::File {
        bail!("this is not a file; `keepfast ls` lists directories");
    }
    let mut out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    files::copy_out(archive, point, object, inode.size, &mut out)?;
    out.flush()?;
    Ok(Done::Whole)
}

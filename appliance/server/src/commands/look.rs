//! `keepfast ls` and `keepfast cat`.

use std::io::{BufWriter, Write};

use anyhow::bail;
use host::HostClock;
use medium::Clock;
use model::item::FileKind;
use model::{Escaped, browse};
use serde_json::{Value, json};

use crate::access::{Access, Place};
use crate::cli::{Data, Listing};
use crate::commands::{Done, print_rows, text};
use crate::files;

pub(crate) fn ls(place: &Place, listing: &Listing) -> anyhow::Result<Done> {
    let access = Access::open(&listing.data.data)?;
    let archive = access.archive();
    let point = place.find(&*archive, HostClock.now())?.key();
    let (object, inode) = browse::find(&*archive, point, &place.path)?;
    let row = |name: &str, bytes: &[u8], inode: &model::item::Inode| {
        let attributes = &inode.attributes;
        json!({
            "name": name,
            "name_bytes": (std::str::from_utf8(bytes).is_err()).then(|| bytes.to_vec()),
            "kind": attributes.kind.letter().to_string(),
            "mode": format!("{:04o}", attributes.mode),
            "uid": attributes.uid,
            "gid": attributes.gid,
            "size": inode.size,
            "modified": attributes.modified.to_string(),
            "target": (attributes.kind == FileKind::Symlink).then(|| Escaped(&attributes.target).to_string()),
        })
    };
    let mut rows: Vec<Value> = Vec::new();
    if inode.attributes.kind == FileKind::Directory {
        for (name, child, _) in browse::entries(&*archive, point, object)? {
            let inode = browse::inode(&*archive, point, child)?;
            rows.push(row(&name.to_string(), name.as_bytes(), &inode));
        }
    } else if let Some(name) = place.path.last() {
        rows.push(row(&name.to_string(), name.as_bytes(), &inode));
    }
    print_rows(listing.json, &rows, |row| {
        let columns = ["mode", "uid", "gid", "size", "modified", "name"];
        format!("{}{}", text(row, "kind"), columns.map(|column| text(row, column)).join("\t"))
    })?;
    Ok(Done::Whole)
}

pub(crate) fn cat(place: &Place, data: &Data) -> anyhow::Result<Done> {
    let access = Access::open(&data.data)?;
    let archive = access.archive();
    let point = place.find(&*archive, HostClock.now())?.key();
    let (object, inode) = browse::find(&*archive, point, &place.path)?;
    if inode.attributes.kind != FileKind::File {
        bail!("this is not a file; `keepfast ls` lists directories");
    }
    let mut out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    files::copy_out(&*archive, point, object, inode.size, &mut out)?;
    out.flush()?;
    Ok(Done::Whole)
}

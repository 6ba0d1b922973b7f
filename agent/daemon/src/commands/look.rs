//! `keepfast-agent points` and `ls`.

use std::io::Write;
use std::path::Path;

use model::Escaped;
use model::archive::Archive;
use model::browse;
use model::item::{FileKind, Inode};
use serde_json::json;

use crate::commands::{Done, archive};
use crate::place::Place;

pub(crate) fn points(data: &Path, only: Option<&str>, json: bool) -> anyhow::Result<Done> {
    let (archive, own) = archive(data)?;
    let machines = archive.machines()?;
    let Some(machine) = machines.iter().find(|machine| machine.label == own) else {
        anyhow::bail!(
            "this agent may not read points; the operator allows it with `keepfast token create {own} --allow-restore`"
        );
    };
    let mut rows = Vec::new();
    for source in archive.sources()?.into_iter().filter(|source| source.machine == machine.id) {
        if only.is_some_and(|only| only != source.label.as_str()) {
            continue;
        }
        for point in archive.points(source.id)? {
            rows.push((source.label.clone(), point));
        }
    }
    let mut out = std::io::stdout().lock();
    if json {
        let row = |(source, point): &(model::record::Label, model::record::Point)| {
            json!({
                "source": source.as_str(),
                "point": point.id,
                "sequence": point.sequence.0,
                "started": point.started.to_string(),
                "finished": point.finished.to_string(),
                "files": point.totals.files,
                "bytes": point.totals.bytes,
                "exceptions": point.exceptions_count,
            })
        };
        serde_json::to_writer_pretty(&mut out, &rows.iter().map(row).collect::<Vec<_>>())?;
        writeln!(out)?;
    } else {
        for (source, point) in rows {
            let (files, bytes, exceptions) = (point.totals.files, point.totals.bytes, point.exceptions_count);
            writeln!(out, "{source}\t{}\t{}\t{files}\t{bytes}\t{exceptions}", point.id, point.sequence)?;
        }
    }
    Ok(Done::Whole)
}

pub(crate) fn ls(data: &Path, place: &str, json: bool) -> anyhow::Result<Done> {
    let place = Place::parse(place)?;
    let (archive, own) = archive(data)?;
    let point = place.find(&archive, &own)?.key();
    let (object, inode) = browse::find(&archive, point, &place.path)?;
    let mut rows: Vec<(String, Inode)> = Vec::new();
    if inode.attributes.kind == FileKind::Directory {
        for (name, child, _) in browse::entries(&archive, point, object)? {
            rows.push((name.to_string(), browse::inode(&archive, point, child)?));
        }
    } else if let Some(name) = place.path.last() {
        rows.push((name.to_string(), inode));
    }
    let mut out = std::io::stdout().lock();
    if json {
        let row = |(name, inode): &(String, Inode)| {
            let attributes = &inode.attributes;
            json!({
                "name": name,
                "kind": attributes.kind.letter().to_string(),
                "mode": format!("{:04o}", attributes.mode),
                "uid": attributes.uid,
                "gid": attributes.gid,
                "size": inode.size,
                "modified": attributes.modified.to_string(),
                "target": (!attributes.target.is_empty()).then(|| Escaped(&attributes.target).to_string()),
            })
        };
        serde_json::to_writer_pretty(&mut out, &rows.iter().map(row).collect::<Vec<_>>())?;
        writeln!(out)?;
    } else {
        for (name, inode) in rows {
            let at = &inode.attributes;
            let (kind, mode, size) = (at.kind.letter(), at.mode, inode.size);
            writeln!(out, "{kind}{mode:04o}\t{}\t{}\t{size}\t{}\t{name}", at.uid, at.gid, at.modified)?;
        }
    }
    Ok(Done::Whole)
}

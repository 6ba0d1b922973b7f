//! Listings: JSON, lines with tabs, or a table for people.

use std::io::{self, IsTerminal, Write};

use model::archive::{Archive, ArchiveError, PointKey};
use model::item::{FileKind, Inode};
use model::record::Point;
use model::{EntryName, Escaped, browse};
use serde_json::{Value, json};

/// A column of a listing.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// What stands above it.
    pub title: &'static str,
    /// The field of a row that it shows.
    pub field: &'static str,
}

impl Column {
    /// A column with the field's name above it.
    #[must_use]
    pub const fn of(field: &'static str) -> Self {
        Self { title: field, field }
    }
}

/// How entries of a directory are listed.
pub const ENTRY_COLUMNS: [Column; 6] = [
    Column { title: "mode", field: "kind_mode" },
    Column::of("uid"),
    Column::of("gid"),
    Column::of("size"),
    Column::of("modified"),
    Column::of("name"),
];

/// How points are listed.
pub const POINT_COLUMNS: [Column; 7] = [
    Column::of("source"),
    Column::of("point"),
    Column::of("sequence"),
    Column::of("files"),
    Column::of("bytes"),
    Column::of("exceptions"),
    Column::of("damaged"),
];

/// A point as a row, with how much of it is known to be damaged.
#[must_use]
pub fn point_row(source: &str, point: &Point, damaged: u64) -> Value {
    json!({
        "source": source,
        "point": point.id,
        "sequence": point.sequence.0,
        "started": point.started.to_string(),
        "finished": point.finished.to_string(),
        "files": point.totals.files,
        "bytes": point.totals.bytes,
        "sent": point.totals.bytes_sent,
        "exceptions": point.exceptions_count,
        "damaged": damaged,
    })
}

/// What is at a path of a point, as rows: the entries of a directory, or the one thing that it is.
pub fn entry_rows(
    archive: &dyn Archive,
    point: PointKey,
    path: &[EntryName],
) -> Result<Vec<Value>, ArchiveError> {
    let (object, inode) = browse::find(archive, point, path)?;
    if inode.attributes.kind != FileKind::Directory {
        return Ok(path.last().map(|name| entry_row(name, &inode)).into_iter().collect());
    }
    let entries = browse::entries(archive, point, object)?;
    let row = |(name, child, _)| Ok(entry_row(&name, &browse::inode(archive, point, child)?));
    entries.into_iter().map(row).collect()
}

fn entry_row(name: &EntryName, inode: &Inode) -> Value {
    let attributes = &inode.attributes;
    let (kind, mode) = (attributes.kind.letter().to_string(), format!("{:04o}", attributes.mode));
    let is_link = attributes.kind == FileKind::Symlink;
    json!({
        "name": name.to_string(),
        // What JSON cannot hold, byte by byte.
        "name_bytes": std::str::from_utf8(name.as_bytes()).is_err().then(|| name.as_bytes().to_vec()),
        "kind_mode": format!("{kind}{mode}"),
        "kind": kind,
        "mode": mode,
        "uid": attributes.uid,
        "gid": attributes.gid,
        "size": inode.size,
        "modified": attributes.modified.to_string(),
        "target": is_link.then(|| Escaped(&attributes.target).to_string()),
    })
}

/// Prints rows: as JSON if asked, as a table on a terminal, else one in a line.
pub fn print(json: bool, columns: &[Column], rows: &[Value]) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    if json {
        serde_json::to_writer_pretty(&mut out, rows)?;
        writeln!(out)?;
    } else if io::stdout().is_terminal() {
        print_table(&mut out, columns, rows)?;
    } else {
        for row in rows {
            let cells: Vec<String> = columns.iter().map(|column| cell(row, column)).collect();
            writeln!(out, "{}", cells.join("\t"))?;
        }
    }
    out.flush()
}

/// Titles, and below them columns in line; numbers stand to the right.
fn print_table(out: &mut dyn Write, columns: &[Column], rows: &[Value]) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "nothing yet");
    }
    let titles: Vec<String> = columns.iter().map(|column| column.title.to_owned()).collect();
    let lines: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|column| cell(row, column)).collect()).collect();
    let width = |at: usize| {
        let all = lines.iter().chain([&titles]);
        all.filter_map(|line| line.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let right: Vec<bool> = columns
        .iter()
        .map(|column| rows.iter().all(|row| row.get(column.field).is_some_and(Value::is_number)))
        .collect();
    for line in [&titles].into_iter().chain(&lines) {
        let mut text = String::new();
        for ((cell, width), right) in line.iter().zip(&widths).zip(&right) {
            let padding = " ".repeat(width - cell.chars().count());
            let (before, after) = if *right { (&*padding, "") } else { ("", &*padding) };
            text.extend([before, cell, after, "  "]);
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

fn cell(row: &Value, column: &Column) -> String {
    match row.get(column.field) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "-".into(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_stands_in_line() {
        let rows = [
            json!({ "name": "a", "size": 5, "more": null }),
            json!({ "name": "longer", "size": 1234, "more": "x" }),
        ];
        let mut out = Vec::new();
        print_table(&mut out, &["name", "size", "more"].map(Column::of), &rows).unwrap();
        let expected = "name    size  more\na          5  -\nlonger  1234  x\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let mut out = Vec::new();
        print_table(&mut out, &["name"].map(Column::of), &[]).unwrap();
        assert_eq!(out, b"nothing yet\n");
    }
}

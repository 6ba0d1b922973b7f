//! `keepfast diff`: what was added, removed and changed between two points, by path.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use model::archive::{Archive, PointKey};
use model::browse;
use model::item::{Item, ItemPart};
use model::path::EntryName;
use model::{Escaped, ObjectId, Place};
use serde_json::{Value, json};
use terminal::{Column, Done};

use crate::access::Access;
use crate::cli::Listing;

/// Differences asked for at once.
const PAGE: usize = 2048;

/// What differs, by object and by entry.
#[derive(Default)]
struct Differences {
    changed: BTreeSet<ObjectId>,
    added: BTreeMap<(ObjectId, EntryName), ObjectId>,
    removed: BTreeMap<(ObjectId, EntryName), ObjectId>,
}

pub(crate) fn run(before: &Place, after: &Place, listing: &Listing) -> anyhow::Result<Done> {
    let access = Access::open(&listing.data.data)?;
    let archive = access.archive();
    let (before, after) = (access.find(before)?, access.find(after)?);
    if before.source != after.source {
        bail!("these are points of different sources; only points of one source can be compared");
    }
    let differences = gather(&*archive, before, after)?;
    let (old, new) = (Paths::of(&*archive, before)?, Paths::of(&*archive, after)?);
    let rows: Vec<Value> = differences.describe(&old, &new).into_iter().map(row).collect();
    terminal::print(listing.json, &["change", "path", "from"].map(Column::of), &rows)?;
    Ok(Done::Whole)
}

/// What happened to what is at a path.
#[derive(Debug, PartialEq)]
enum Happened {
    Added,
    Removed,
    Changed,
    /// It had another path before, and perhaps another content.
    Renamed {
        from: Vec<u8>,
        changed: bool,
    },
}

fn row((path, happened): (Vec<u8>, Happened)) -> Value {
    let path = Escaped(if path.is_empty() { b"/" } else { &path }).to_string();
    match happened {
        Happened::Added => json!({ "change": "added", "path": path }),
        Happened::Removed => json!({ "change": "removed", "path": path }),
        Happened::Changed => json!({ "change": "changed", "path": path }),
        Happened::Renamed { from, changed } => {
            let change = if changed { "renamed and changed" } else { "renamed" };
            json!({ "change": change, "path": path, "from": Escaped(&from).to_string() })
        }
    }
}

impl Differences {
    /// By path: what is new under its old name is changed, an object that went from one name to another is renamed.
    fn describe(&self, old: &Paths, new: &Paths) -> BTreeMap<Vec<u8>, Happened> {
        let mut rows = BTreeMap::new();
        let mut gone: BTreeMap<ObjectId, Vec<Vec<u8>>> = BTreeMap::new();
        for ((directory, name), object) in &self.removed {
            if !self.added.contains_key(&(*directory, name.clone())) {
                gone.entry(*object).or_default().push(old.path(*directory, name));
            }
        }
        for (entry, object) in &self.added {
            let before = self.removed.get(entry);
            if before == Some(object) {
                continue;
            }
            let happened = match gone.get_mut(object).and_then(Vec::pop) {
                Some(from) if before.is_none() => Happened::Renamed { from, changed: false },
                Some(from) => {
                    rows.insert(from, Happened::Removed);
                    Happened::Changed
                }
                None if before.is_some() => Happened::Changed,
                None => Happened::Added,
            };
            rows.insert(new.path(entry.0, &entry.1), happened);
        }
        rows.extend(gone.into_values().flatten().map(|path| (path, Happened::Removed)));
        for object in &self.changed {
            let (Some(path), Some(_)) = (new.of_object(*object), old.of_object(*object)) else { continue };
            if let Happened::Renamed { changed, .. } = rows.entry(path).or_insert(Happened::Changed) {
                *changed = true;
            }
        }
        rows
    }
}

fn gather(archive: &dyn Archive, before: PointKey, after: PointKey) -> anyhow::Result<Differences> {
    let mut found = Differences::default();
    let mut from = Vec::new();
    loop {
        let changes = archive.changes(before, after, &from, PAGE)?;
        let Some(last) = changes.last() else { return Ok(found) };
        from = last.key.encode();
        from.push(0);
        for change in changes {
            let object = change.key.object;
            let ItemPart::Entry(name) = change.key.part else {
                found.changed.insert(object);
                continue;
            };
            if let Some(Item::Entry(child, _)) = change.before {
                found.removed.insert((object, name.clone()), child);
            }
            if let Some(Item::Entry(child, _)) = change.after {
                found.added.insert((object, name), child);
            }
        }
    }
}

/// The paths of all objects of a point, by walking its directories once.
struct Paths(BTreeMap<ObjectId, Vec<u8>>);

impl Paths {
    fn of(archive: &dyn Archive, point: PointKey) -> anyhow::Result<Self> {
        let mut paths = BTreeMap::from([(ObjectId::ROOT, Vec::new())]);
        let mut waiting = vec![ObjectId::ROOT];
        while let Some(directory) = waiting.pop() {
            let above = paths.get(&directory).cloned().unwrap_or_default();
            for (name, object, kind) in browse::entries(archive, point, directory)? {
                if paths.contains_key(&object) {
                    continue;
                }
                paths.insert(object, join(&above, &name));
                if kind == model::item::FileKind::Directory {
                    waiting.push(object);
                }
            }
        }
        Ok(Self(paths))
    }

    fn path(&self, directory: ObjectId, name: &EntryName) -> Vec<u8> {
        join(self.0.get(&directory).map_or(&[][..], Vec::as_slice), name)
    }

    fn of_object(&self, object: ObjectId) -> Option<Vec<u8>> {
        self.0.get(&object).cloned()
    }
}

fn join(above: &[u8], name: &EntryName) -> Vec<u8> {
    [above, b"/", name.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> EntryName {
        EntryName::new(text.as_bytes()).unwrap()
    }

    /// Entries of the root; objects below it are numbered.
    fn entries(of: &[(&str, u64)]) -> (BTreeMap<(ObjectId, EntryName), ObjectId>, Paths) {
        let entries = of.iter().map(|(text, object)| ((ObjectId::ROOT, name(text)), ObjectId(*object)));
        let mut paths = BTreeMap::from([(ObjectId::ROOT, Vec::new())]);
        paths.extend(of.iter().map(|(text, object)| (ObjectId(*object), format!("/{text}").into_bytes())));
        (entries.collect(), Paths(paths))
    }

    #[test]
    fn renames_replacements_and_changes_are_told_apart() {
        let (mut removed, old) = entries(&[
            ("gone", 10),
            ("kept", 11),
            ("moved", 12),
            ("moved too", 13),
            ("saved", 14),
            ("a", 16),
        ]);
        let (mut added, new) = entries(&[
            ("kept", 11),
            ("here", 12),
            ("here too", 13),
            ("saved", 15),
            ("new", 17),
            ("gone", 16),
        ]);
        // An entry that stays is in neither set.
        removed.remove(&(ObjectId::ROOT, name("kept")));
        added.remove(&(ObjectId::ROOT, name("kept")));
        let changed = [ObjectId::ROOT, ObjectId(11), ObjectId(13), ObjectId(17)].into();
        let rows = Differences { changed, added, removed }.describe(&old, &new);
        let renamed = |from: &str, changed| Happened::Renamed { from: from.into(), changed };
        let expected = [
            ("", Happened::Changed),
            ("/a", Happened::Removed),
            ("/gone", Happened::Changed),
            ("/here", renamed("/moved", false)),
            ("/here too", renamed("/moved too", true)),
            ("/kept", Happened::Changed),
            ("/new", Happened::Added),
            ("/saved", Happened::Changed),
        ];
        let expected: BTreeMap<Vec<u8>, Happened> =
            expected.into_iter().map(|(path, happened)| (path.as_bytes().to_vec(), happened)).collect();
        assert_eq!(rows, expected);
    }
}

//! `keepfast diff`: what was added, removed and changed between two points, by path.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use model::archive::{Archive, ArchiveError, PointKey};
use model::browse;
use model::item::{Attributes, Inode, Item, ItemPart, ItemRange};
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
    let is_alike = |old, new| is_alike(&*archive, (before, old), (after, new));
    let rows: Vec<Value> = differences.describe(&old, &new, is_alike)?.into_iter().map(row).collect();
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
    /// By path. An object that went from one path to another is renamed. What is at its path as another object is changed,
    /// unless `is_alike` says of the two that nobody could tell them apart: an agent that has lost its cache numbers
    /// all objects anew.
    fn describe<E>(
        &self,
        old: &Paths,
        new: &Paths,
        is_alike: impl Fn(ObjectId, ObjectId) -> Result<bool, E>,
    ) -> Result<BTreeMap<Vec<u8>, Happened>, E> {
        let mut rows = BTreeMap::new();
        let (mut gone, mut come) = (BTreeMap::new(), BTreeMap::new());
        for (entry, object) in &self.removed {
            match self.added.get(entry) {
                Some(after) if after == object => {}
                Some(after) => {
                    if !is_alike(*object, *after)? {
                        rows.insert(new.path(entry.0, &entry.1), Happened::Changed);
                    }
                }
                None => drop(gone.insert(old.path(entry.0, &entry.1), *object)),
            }
        }
        for (entry, object) in self.added.iter().filter(|(entry, _)| !self.removed.contains_key(entry)) {
            let path = new.path(entry.0, &entry.1);
            match gone.remove(&path) {
                Some(before) if before == *object || is_alike(before, *object)? => {}
                Some(_) => drop(rows.insert(path, Happened::Changed)),
                None => drop(come.insert(path, *object)),
            }
        }
        let mut names: BTreeMap<ObjectId, Vec<Vec<u8>>> = BTreeMap::new();
        gone.into_iter().for_each(|(path, object)| names.entry(object).or_default().push(path));
        for (path, object) in come {
            let from = names.get_mut(&object).and_then(Vec::pop);
            let renamed = |from| Happened::Renamed { from, changed: false };
            rows.insert(path, from.map_or(Happened::Added, renamed));
        }
        rows.extend(names.into_values().flatten().map(|path| (path, Happened::Removed)));
        for object in &self.changed {
            let (Some(path), Some(_)) = (new.of_object(*object), old.of_object(*object)) else { continue };
            if let Happened::Renamed { changed, .. } = rows.entry(path).or_insert(Happened::Changed) {
                *changed = true;
            }
        }
        Ok(rows)
    }
}

/// An object of a point.
type Of = (PointKey, ObjectId);

/// Whether two objects are the same to whoever looks at them: kind, attributes and content; not the entries of
/// directories, and neither how many names they have nor when the number of names changed.
fn is_alike(archive: &dyn Archive, before: Of, after: Of) -> Result<bool, ArchiveError> {
    let (old, new) = (browse::inode(archive, before.0, before.1)?, browse::inode(archive, after.0, after.1)?);
    let changed = old.attributes.changed;
    let same =
        Inode { links: old.links, attributes: Attributes { changed, ..new.attributes.clone() }, ..new };
    if old != same
        || content(archive, before, ItemRange::xattrs)? != content(archive, after, ItemRange::xattrs)?
    {
        return Ok(false);
    }
    Ok(content(archive, before, ItemRange::extents)? == content(archive, after, ItemRange::extents)?)
}

/// The items of an object in a range, without the number of the object.
fn content(
    archive: &dyn Archive,
    (point, object): Of,
    range: fn(ObjectId) -> ItemRange,
) -> Result<Vec<(ItemPart, Item)>, ArchiveError> {
    let mut found = Vec::new();
    browse::each_item(archive, point, range(object), |key, item| {
        found.push((key.part, item));
        Ok::<_, ArchiveError>(())
    })?;
    Ok(found)
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
        let differences = Differences { changed, added, removed };
        let rows = differences.describe(&old, &new, |_, _| Ok::<_, ()>(false)).unwrap();
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
    #[test]
    fn objects_that_were_numbered_anew_are_compared() {
        let (removed, old) = entries(&[("kept", 10), ("edited", 11), ("gone", 12)]);
        let (added, new) = entries(&[("kept", 20), ("edited", 21), ("new", 22)]);
        let changed = [10, 11, 12, 20, 21, 22].map(ObjectId).into();
        let is_alike = |old: ObjectId, new: ObjectId| Ok::<_, ()>(old.0 == 10 && new.0 == 20);
        let rows = Differences { changed, added, removed }.describe(&old, &new, is_alike).unwrap();
        let expected =
            [("/edited", Happened::Changed), ("/gone", Happened::Removed), ("/new", Happened::Added)];
        assert_eq!(rows, expected.into_iter().map(|(path, what)| (path.as_bytes().to_vec(), what)).collect());
    }
}

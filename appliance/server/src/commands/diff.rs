//! `keepfast diff`: what was added, removed and changed between two points, by path.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use host::HostClock;
use medium::Clock;
use model::archive::{Archive, PointKey};
use model::browse;
use model::item::{Item, ItemPart};
use model::path::EntryName;
use model::{Escaped, ObjectId};
use serde_json::{Value, json};

use crate::access::{Access, Place};
use crate::cli::Listing;
use crate::commands::{Done, print_rows, text};

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
    let now = HostClock.now();
    let before = before.find(&*archive, now)?.key();
    let after = after.find(&*archive, now)?.key();
    if before.source != after.source {
        bail!("these are points of different sources; only points of one source can be compared");
    }
    let differences = gather(&*archive, before, after)?;
    let mut rows = BTreeMap::new();
    let old = Paths::of(&*archive, before)?;
    let new = Paths::of(&*archive, after)?;
    for (directory, name) in differences.removed.keys() {
        if !differences.added.contains_key(&(*directory, name.clone())) {
            rows.insert(old.path(*directory, name), "removed");
        }
    }
    for ((directory, name), object) in &differences.added {
        let known = differences.removed.get(&(*directory, name.clone()));
        let word = if known.is_some_and(|known| known != object) { "changed" } else { "added" };
        rows.insert(new.path(*directory, name), word);
    }
    for object in &differences.changed {
        if let (Some(path), true) = (new.of_object(*object), old.of_object(*object).is_some()) {
            rows.entry(path).or_insert("changed");
        }
    }
    let row =
        |(path, change): (Vec<u8>, &str)| json!({ "change": change, "path": Escaped(&path).to_string() });
    let rows: Vec<Value> = rows.into_iter().map(row).collect();
    print_rows(listing.json, &rows, |row| format!("{}\t{}", text(row, "change"), text(row, "path")))?;
    Ok(Done::Whole)
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

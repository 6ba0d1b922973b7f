//! The names of a simulated disk: as the program sees them, as the platter has them, and the changes
//! between the two.
//!
//! A change is *pending* until a directory that it touches is synced. Changes of the same name reach the
//! platter in their order: to keep one means to keep the earlier ones of the same names, so a name never
//! leads to something it did not lead to at some time, and no step of a rotation loses a file.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use super::crash::Keep;
use super::random::Random;
use crate::DiskPath;

/// A file or directory, whatever its name. A directory has a greater number than the one that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Node(pub(super) u64);

/// The directory that has no name.
pub(super) const ROOT: Node = Node(0);

/// A name in a directory.
type Key = (Node, Arc<str>);

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) node: Node,
    pub(super) directory: bool,
}

type Table = BTreeMap<Key, Entry>;

#[derive(Clone, Debug)]
enum Change {
    Add { key: Key, entry: Entry },
    Remove { key: Key },
    Rename { from: Key, to: Key, entry: Entry },
}

impl Change {
    fn keys(&self) -> [&Key; 2] {
        match self {
            Self::Add { key, .. } | Self::Remove { key } => [key, key],
            Self::Rename { from, to, .. } => [from, to],
        }
    }

    fn touches(&self, directory: Node) -> bool {
        self.keys().iter().any(|key| key.0 == directory)
    }

    fn apply(&self, table: &mut Table) {
        match self {
            Self::Add { key, entry } => drop(table.insert(key.clone(), *entry)),
            Self::Remove { key } => drop(table.remove(key)),
            Self::Rename { from, to, entry } => {
                table.insert(to.clone(), *entry);
                // After a failed sync the old name may lead elsewhere on the platter.
                if table.get(from).is_some_and(|e| e.node == entry.node) {
                    table.remove(from);
                }
            }
        }
    }
}

/// All names of a disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    live: Table,
    durable: Table,
    /// The number of the operation, and what it changed; in order.
    pending: Vec<(u64, Change)>,
}

impl Names {
    /// What a path leads to.
    pub(super) fn find(&self, path: DiskPath<'_>) -> io::Result<Entry> {
        let mut entry = Entry { node: ROOT, directory: true };
        for name in path.components() {
            if !entry.directory {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            entry = *self.live.get(&(entry.node, name.into())).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(entry)
    }

    pub(super) fn file(&self, path: DiskPath<'_>) -> io::Result<Node> {
        match self.find(path)? {
            Entry { directory: true, .. } => Err(io::ErrorKind::IsADirectory.into()),
            entry => Ok(entry.node),
        }
    }

    pub(super) fn directory(&self, path: DiskPath<'_>) -> io::Result<Node> {
        match self.find(path)? {
            Entry { directory: false, .. } => Err(io::ErrorKind::NotADirectory.into()),
            entry => Ok(entry.node),
        }
    }

    fn key(&self, path: DiskPath<'_>) -> io::Result<Key> {
        Ok((self.directory(path.parent())?, path.name().into()))
    }

    pub(super) fn add(&mut self, number: u64, path: DiskPath<'_>, entry: Entry) -> io::Result<()> {
        let key = self.key(path)?;
        if self.live.contains_key(&key) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.change(number, Change::Add { key, entry });
        Ok(())
    }

    pub(super) fn remove(&mut self, number: u64, path: DiskPath<'_>) -> io::Result<()> {
        let key = self.key(path)?;
        let entry = self.find(path)?;
        if entry.directory && self.children(entry.node).next().is_some() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.change(number, Change::Remove { key });
        Ok(())
    }

    pub(super) fn rename(&mut self, number: u64, from: DiskPath<'_>, to: DiskPath<'_>) -> io::Result<()> {
        let node = self.file(from)?;
        let (from, to) = (self.key(from)?, self.key(to)?);
        if self.live.get(&to).is_some_and(|e| e.directory) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if from != to {
            self.change(number, Change::Rename { from, to, entry: Entry { node, directory: false } });
        }
        Ok(())
    }

    fn change(&mut self, number: u64, change: Change) {
        change.apply(&mut self.live);
        self.pending.push((number, change));
    }

    fn children(&self, directory: Node) -> impl Iterator<Item = &Arc<str>> {
        let keys = self.live.range((directory, "".into())..).map(|(key, _)| key);
        keys.take_while(move |key| key.0 == directory).map(|key| &key.1)
    }

    pub(super) fn list(&self, directory: Node) -> Vec<String> {
        self.children(directory).map(|name| name.to_string()).collect()
    }

    pub(super) fn sync(&mut self, directory: Node) {
        let kept = self.with_earlier(|_, change| change.touches(directory));
        let mut kept = kept.into_iter();
        let durable = &mut self.durable;
        self.pending.retain(|(_, change)| {
            let keep = kept.next().unwrap_or(false);
            if keep {
                change.apply(durable);
            }
            !keep
        });
    }

    /// The sync failed: some changes may have reached the platter, the others of this directory never will.
    pub(super) fn fail_sync(&mut self, directory: Node, random: &mut Random) {
        let some = random.chance(50);
        let kept = self.with_earlier(|_, change| some && change.touches(directory) && random.chance(50));
        let mut kept = kept.into_iter();
        let durable = &mut self.durable;
        self.pending.retain(|(_, change)| {
            let keep = kept.next().unwrap_or(false);
            if keep {
                change.apply(durable);
            }
            !keep && !change.touches(directory)
        });
    }

    /// Which pending changes reach the platter: the selected ones, and the earlier ones of the same names.
    fn with_earlier(&self, mut select: impl FnMut(u64, &Change) -> bool) -> Vec<bool> {
        let mut needed = BTreeSet::new();
        let mut kept = vec![false; self.pending.len()];
        for ((number, change), keep) in self.pending.iter().zip(&mut kept).rev() {
            let selected = select(*number, change);
            if selected || change.keys().iter().any(|key| needed.contains(key)) {
                needed.extend(change.keys());
                *keep = true;
            }
        }
        kept
    }

    pub(super) fn pending_numbers(&self) -> impl Iterator<Item = u64> {
        self.pending.iter().map(|(number, _)| *number)
    }

    /// The names that a crash leaves; what lies in a lost directory is lost with it.
    pub(super) fn image(&self, keep: Keep, random: &mut Random) -> Self {
        let kept = self.with_earlier(|number, _| match keep {
            Keep::Nothing => false,
            Keep::Everything | Keep::Lengths => true,
            Keep::Before(cut) => number < cut,
            Keep::Operations(percent) | Keep::Sectors(percent) => random.chance(percent),
        });
        let mut table = self.durable.clone();
        for ((_, change), _) in self.pending.iter().zip(kept).filter(|(_, keep)| *keep) {
            change.apply(&mut table);
        }
        // A directory's number is greater than its parent's, so parents come first.
        let mut reachable = BTreeSet::from([ROOT]);
        table.retain(|key, entry| {
            let keep = reachable.contains(&key.0);
            if keep && entry.directory {
                reachable.insert(entry.node);
            }
            keep
        });
        Self { live: table.clone(), durable: table, pending: Vec::new() }
    }

    /// Every file that the program sees, with its path.
    pub(super) fn files(&self) -> Vec<(String, Node)> {
        let mut paths = BTreeMap::from([(ROOT, String::new())]);
        let mut files = Vec::new();
        for ((parent, name), entry) in &self.live {
            let path = match paths.get(parent).map(String::as_str) {
                None => continue,
                Some("") => name.to_string(),
                Some(parent) => format!("{parent}/{name}"),
            };
            if entry.directory {
                paths.insert(entry.node, path);
            } else {
                files.push((path, entry.node));
            }
        }
        files
    }

    /// Every node that a name leads to, could lead to after a crash, or once led to before a sync.
    pub(super) fn nodes(&self) -> BTreeSet<Node> {
        let tables = self.live.values().chain(self.durable.values()).map(|e| e.node);
        let pending = self.pending.iter().filter_map(|(_, change)| match change {
            Change::Add { entry, .. } | Change::Rename { entry, .. } => Some(entry.node),
            Change::Remove { .. } => None,
        });
        tables.chain(pending).collect()
    }

    /// Every node that the program can reach by a name.
    pub(super) fn named(&self) -> impl Iterator<Item = Node> {
        self.live.values().map(|e| e.node)
    }
}

//! Names that are given and taken away, and removing what has no name any more.
//!
//! A file goes at once: one range of keys. Directories that have lost their name wait in the tree itself, as entries
//! of an object that no agent can name, until everything below them is gone; so a removal takes no memory of its own,
//! can stop wherever a flush is wanted, and goes on behind it.

use model::item::{FileKind, Inode, Item, ItemKey};
use model::{EntryName, ObjectId};
use tree::PageSource;

use super::{Fold, FoldError};

/// Its entries are the directories that are being removed. An agent cannot make it.
pub(super) const REMOVED: ObjectId = ObjectId(0);

/// Entries of a directory that are removed together.
const PART_ENTRIES: usize = 1024;

/// An object that is to get a name, once what had the name is gone.
pub(super) struct Naming {
    directory: ObjectId,
    name: EntryName,
    object: ObjectId,
    kind: FileKind,
    how: How,
    /// Whether something else had the name.
    replaces: bool,
}

/// What gets the name.
pub(super) enum How {
    /// A new object.
    Make(Inode),
    /// An object that keeps its other names.
    Link,
    /// An object that loses this entry for it.
    Rename(ItemKey),
}

impl Naming {
    /// What is to be done for an object to get a name.
    pub(super) fn new(
        directory: ObjectId,
        name: &EntryName,
        object: ObjectId,
        kind: FileKind,
        how: How,
    ) -> Self {
        Self { directory, name: name.clone(), object, kind, how, replaces: false }
    }
}

/// All keys of an object, as `start..end`.
fn keys_of(object: ObjectId) -> (ItemKey, ItemKey) {
    (ItemKey::inode(object), ItemKey::inode(object.next()))
}

/// The entry that says that a directory is being removed.
fn removed_entry(directory: ObjectId) -> ItemKey {
    let name = format!("{:016x}", directory.0);
    ItemKey::entry(REMOVED, EntryName::new(name.as_bytes()).expect("sixteen digits are a name"))
}

impl Fold {
    /// Gives an object a name, and removes what has the name.
    pub(super) fn set_name<S: PageSource>(
        &mut self,
        source: &S,
        mut naming: Naming,
    ) -> Result<(), FoldError> {
        naming.replaces = self.entry(source, naming.directory, &naming.name)?.is_some();
        if naming.replaces {
            self.detach(source, naming.directory, &naming.name)?;
        }
        self.naming = Some(naming);
        self.resume(source)
    }

    /// Takes a name away, and what it stands for if that was its last name; directories are left to be removed.
    pub(super) fn detach<S: PageSource>(
        &mut self,
        source: &S,
        directory: ObjectId,
        name: &EntryName,
    ) -> Result<(), FoldError> {
        let no_entry = || FoldError::NoEntry(directory, name.clone());
        let (object, _) = self.entry(source, directory, name)?.ok_or_else(no_entry)?;
        self.state.delete(ItemKey::entry(directory, name.clone()));
        self.unlink(source, object)
    }

    fn unlink<S: PageSource>(&mut self, source: &S, object: ObjectId) -> Result<(), FoldError> {
        let found = self.state.get(source, &ItemKey::inode(object))?;
        let Some(Item::Inode(mut inode)) = found else { return Ok(()) };
        if inode.links > 1 {
            inode.links -= 1;
            self.put_inode(object, inode);
        } else if inode.attributes.kind == FileKind::Directory {
            self.state.put(removed_entry(object), Item::Entry(object, FileKind::Directory));
            self.removing = true;
        } else {
            let (from, to) = keys_of(object);
            self.state.delete_range(from, to);
        }
        Ok(())
    }

    /// Removes directories that wait for it, until none is left or as much waits in memory.
    pub(super) fn remove_up_to<S: PageSource>(
        &mut self,
        source: &S,
        waiting_bytes: usize,
    ) -> Result<(), FoldError> {
        while self.removing {
            if self.state.bytes() >= waiting_bytes {
                return Ok(());
            }
            self.remove_part(source)?;
        }
        self.naming.take().map_or(Ok(()), |naming| self.apply_name(source, naming))
    }

    /// Removes some entries of the first directory that waits.
    fn remove_part<S: PageSource>(&mut self, source: &S) -> Result<(), FoldError> {
        let (all, end) = keys_of(REMOVED);
        let mut waiting = self.state.items(source, &all, &end, 2)?.into_iter();
        let Some((_, Item::Entry(directory, _))) = waiting.next() else {
            self.removing = false;
            return Ok(());
        };
        let (from, to) = keys_of(directory);
        let behind_entries = ItemKey::xattr(directory, &[]);
        let mut entries = self.state.items(source, &from, &behind_entries, PART_ENTRIES + 1)?;
        let next = if entries.len() > PART_ENTRIES { entries.pop() } else { None };
        match next {
            // The range reaches to the next entry, so that what is gone is one range, however many parts it took.
            Some((next, _)) => self.state.delete_range(from, next),
            None => {
                self.state.delete_range(from, to);
                let next = waiting.next().map_or(end, |(next, _)| next);
                self.state.delete_range(all, next);
            }
        }
        for (_, item) in entries {
            if let Item::Entry(object, _) = item {
                self.unlink(source, object)?;
            }
        }
        Ok(())
    }

    fn apply_name<S: PageSource>(&mut self, source: &S, naming: Naming) -> Result<(), FoldError> {
        let Naming { directory, name, object, kind, how, replaces } = naming;
        if replaces {
            // It may have been below what had the name.
            self.expect_directory(source, directory)?;
        }
        match how {
            How::Make(inode) => {
                let (from, to) = keys_of(object);
                self.state.delete_range(from, to);
                self.put_inode(object, inode);
            }
            How::Link => {
                let mut inode = self.inode(source, object)?;
                inode.links = inode.links.checked_add(1).ok_or(FoldError::Bounds("number of links"))?;
                self.put_inode(object, inode);
            }
            How::Rename(from) => {
                if replaces {
                    // A directory that takes the place of one above it went with that one.
                    self.inode(source, object)?;
                }
                self.state.delete(from);
            }
        }
        self.state.put(ItemKey::entry(directory, name), Item::Entry(object, kind));
        Ok(())
    }
}

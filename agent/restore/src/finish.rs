//! The end of a restore: links and the like, what the point does not have, attributes of directories, durability.

use rustix::fs::{fstat, fsync, syncfs};

use crate::attributes::{self, Now, Surplus};
use crate::batch::{Deferred, Other, OtherKind};
use crate::directories::DirectoryId;
use crate::error::RestoreError;
use crate::failure::Failure;
use crate::items::Items;
use crate::job::Job;
use crate::marker::Held;
use crate::others::{FirstName, Making};
use crate::remove;
use crate::request::Outcome;
use crate::walk::readable;
use crate::write::Writer;
use crate::xattrs;

impl Writer<'_, '_> {
    /// Does what comes after all files, and makes everything durable.
    pub(crate) fn finish(mut self, held: Held) -> Result<Outcome, RestoreError> {
        let mut items = self.job.items();
        while let Some(other) = self.others.pop_front() {
            self.job.check_stop()?;
            self.other(other, &mut items)?;
        }
        if self.job.request.delete_extra {
            self.sweep()?;
        }
        // Directories were made before those in them, so backwards is deepest first; the target comes last.
        for id in (1..self.records.len()).rev() {
            self.job.check_stop()?;
            self.set_attributes(id, &mut items)?;
        }
        self.sync(held, &mut items)?;
        Ok(self.outcome)
    }

    fn other(&mut self, mut other: Other, items: &mut Items<'_>) -> Result<(), RestoreError> {
        let made = read_again(self.job, &mut other, items).and_then(|()| self.make_other(&other));
        let Other { directory, name, object, is_linked, what, .. } = other;
        let messages = match made {
            Ok(problems) => {
                if matches!(what, Deferred::Held(OtherKind::Link)) {
                    self.link_is_there();
                } else {
                    self.outcome.others += 1;
                    if is_linked {
                        self.first_names.insert(object, (directory, name.clone()));
                    }
                }
                problems
            }
            Err(failure) => vec![failure.at(&self.directories.path(directory, Some(&name)))?],
        };
        for message in messages {
            self.problem(self.directories.path(directory, Some(&name)), message);
        }
        Ok(())
    }

    fn make_other(&mut self, other: &Other) -> Result<Vec<String>, Failure> {
        let Deferred::Held(what) = &other.what else { return Ok(Vec::new()) };
        let is_link = matches!(what, OtherKind::Link);
        let first = match self.first_names.get(&other.object) {
            Some((directory, name)) if is_link => Some((self.directories.open(*directory)?, name.clone())),
            None if is_link => return Err(Failure::Path("its first name was not restored".to_owned())),
            _ => None,
        };
        let directory = self.directories.open(other.directory)?;
        let making = Making {
            directory: &directory,
            name: other.name.as_bytes(),
            object: other.object,
            what,
            wanted: &other.wanted,
            first: first.as_ref().map(|(directory, name)| FirstName { directory, name: name.as_bytes() }),
        };
        making.make(self.job)
    }

    /// Removes what the point does not have from directories that were there.
    fn sweep(&mut self) -> Result<(), RestoreError> {
        for id in 0..self.records.len() {
            let Some(record) = self.records.get(id) else { continue };
            if record.is_fresh || record.is_lost || !record.is_wanted {
                continue;
            }
            let object = record.object;
            let swept = self
                .directories
                .open(id)
                .map_err(Failure::from)
                .and_then(|directory| remove::sweep(self.job, &directory, object, id == 0));
            match swept {
                Ok(swept) => {
                    self.outcome.removed += swept.removed;
                    for (name, message) in swept.problems {
                        self.problem(self.directories.path(id, Some(&name)), message);
                    }
                }
                Err(failure) => {
                    let path = self.directories.path(id, None);
                    let message = failure.at(&path)?;
                    self.problem(path, message);
                }
            }
        }
        Ok(())
    }

    fn set_attributes(&mut self, id: DirectoryId, items: &mut Items<'_>) -> Result<(), RestoreError> {
        let Some(record) = self.records.get_mut(id) else { return Ok(()) };
        if !record.is_set || record.is_lost {
            return Ok(());
        }
        if record.has_stored_xattrs {
            match readable(items.xattrs(record.object))? {
                Ok(stored) => record.wanted.xattrs = xattrs::permitted(stored, self.job.owners),
                Err(message) => self.problem(self.directories.path(id, None), message),
            }
        }
        let Some(record) = self.records.get_mut(id) else { return Ok(()) };
        let has_foreign = record.inherits || self.job.replaces();
        let surplus = if has_foreign { Surplus::Remove } else { Surplus::Keep };
        let set = self.directories.open(id).and_then(|directory| {
            let now = Now::from(&fstat(&directory)?);
            Ok(attributes::apply(&directory, now, &record.wanted, surplus))
        });
        record.wanted.xattrs = Vec::new();
        let path = self.directories.path(id, None);
        let problems = match set {
            Ok(problems) => problems,
            Err(error) => vec![Failure::from(error).at(&path)?],
        };
        for message in problems {
            self.problem(path.clone(), message);
        }
        Ok(())
    }

    /// Data first, then the end of the marker, then the attributes of the target: whoever finds no marker finds all.
    fn sync(&mut self, held: Held, items: &mut Items<'_>) -> Result<(), RestoreError> {
        let failed = |error| RestoreError::target("sync", b".", error);
        let root = self.directories.open(0).map_err(failed)?;
        for filesystem in self.filesystems.values() {
            syncfs(filesystem).map_err(failed)?;
        }
        syncfs(&root).map_err(failed)?;
        held.remove(&root).map_err(|error| RestoreError::target("remove", b".keepfast-restore", error))?;
        self.set_attributes(0, items)?;
        fsync(&root).map_err(failed)
    }
}

/// Reads what was too large to hold.
fn read_again(job: &Job<'_>, other: &mut Other, items: &mut Items<'_>) -> Result<(), Failure> {
    if matches!(other.what, Deferred::Held(_)) {
        return Ok(());
    }
    let stored = items.inode(other.object).and_then(|inode| Ok((inode, items.xattrs(other.object)?)));
    let (inode, stored) = readable(stored)?.map_err(Failure::Path)?;
    let inode = inode.ok_or_else(|| Failure::Path("it is not in the point any more".to_owned()))?;
    other.wanted.xattrs = xattrs::permitted(stored, job.owners);
    other.what = Deferred::Held(OtherKind::of(inode.attributes));
    Ok(())
}

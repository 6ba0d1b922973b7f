//! The end of a restore: links and the like, what the point does not have, attributes of directories, durability.

use rustix::fs::{fstat, fsync, syncfs};

use crate::attributes::{self, Now, Surplus};
use crate::batch::{Other, OtherKind};
use crate::directories::DirectoryId;
use crate::error::RestoreError;
use crate::failure::Failure;
use crate::marker::Held;
use crate::others::{FirstName, Making};
use crate::remove;
use crate::request::Outcome;
use crate::write::Writer;

impl Writer<'_, '_> {
    /// Does what comes after all files, and makes everything durable.
    pub(crate) fn finish(mut self, held: Held) -> Result<Outcome, RestoreError> {
        while let Some(other) = self.others.pop_front() {
            self.job.check_stop()?;
            self.other(&other)?;
        }
        if self.job.request.delete_extra {
            self.sweep()?;
        }
        // Directories were made before those in them, so backwards is deepest first; the target comes last.
        for id in (1..self.records.len()).rev() {
            self.job.check_stop()?;
            self.set_attributes(id)?;
        }
        self.sync(held)?;
        Ok(self.outcome)
    }

    fn other(&mut self, other: &Other) -> Result<(), RestoreError> {
        match self.make_other(other) {
            Ok(problems) => {
                if matches!(other.what, OtherKind::Link) {
                    self.link_is_there();
                } else {
                    self.outcome.others += 1;
                }
                if other.is_linked && !matches!(other.what, OtherKind::Link) {
                    self.first_names.insert(other.object, (other.directory, other.name.clone()));
                }
                for message in problems {
                    self.problem(self.directories.path(other.directory, Some(&other.name)), message);
                }
            }
            Err(failure) => {
                let path = self.directories.path(other.directory, Some(&other.name));
                let message = failure.at(&path)?;
                self.problem(path, message);
            }
        }
        Ok(())
    }

    fn make_other(&mut self, other: &Other) -> Result<Vec<String>, Failure> {
        let is_link = matches!(other.what, OtherKind::Link);
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
            what: &other.what,
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

    fn set_attributes(&mut self, id: DirectoryId) -> Result<(), RestoreError> {
        let Some(record) = self.records.get(id) else { return Ok(()) };
        if !record.is_set || record.is_lost {
            return Ok(());
        }
        let has_foreign = record.inherits || self.job.replaces();
        let surplus = if has_foreign { Surplus::Remove } else { Surplus::Keep };
        let set = self.directories.open(id).and_then(|directory| {
            let now = Now::from(&fstat(&directory)?);
            Ok(attributes::apply(&directory, now, &record.wanted, surplus))
        });
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
    fn sync(&mut self, held: Held) -> Result<(), RestoreError> {
        let failed = |error| RestoreError::target("sync", b".", error);
        let root = self.directories.open(0).map_err(failed)?;
        for filesystem in self.filesystems.values() {
            syncfs(filesystem).map_err(failed)?;
        }
        syncfs(&root).map_err(failed)?;
        held.remove(&root).map_err(|error| RestoreError::target("remove", b".keepfast-restore", error))?;
        self.set_attributes(0)?;
        fsync(&root).map_err(failed)
    }
}

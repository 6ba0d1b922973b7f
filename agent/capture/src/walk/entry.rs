//! One entry of a directory: is it in the source, and is it what the last point has?

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use model::item::FileKind;
use model::operation::Operation;
use model::path::EntryName;
use model::record::ExceptionCause;
use model::{Escaped, ObjectId};
use rustix::fs::{AtFlags, readlinkat, statat};

use super::{Child, WalkError, Walker, Was};
use crate::record::Record;
use crate::source::Selection;
use crate::stat::Seen;
use crate::task::{Before, Counters, Directory, FileJob, Step};

impl Walker<'_> {
    /// Handles an entry that exists; a directory is added to `children`.
    pub(super) fn entry(
        &mut self,
        directory: &Arc<Directory>,
        name: &EntryName,
        seen: Seen,
        before: Option<Record>,
        selection: &Selection,
        children: &mut Vec<Child>,
    ) -> Result<(), WalkError> {
        let is_directory = seen.kind == FileKind::Directory;
        let chosen = match selection {
            Selection::All => None,
            Selection::Some(names) => names.get(name.as_bytes()),
        };
        if chosen.is_none() && self.filter.excludes_any() {
            let path = directory.path_of(name.as_bytes());
            if self.filter.excludes(&path, is_directory) {
                if let Some(old) = before {
                    self.displace(directory.object, name, &old, true);
                }
                return Ok(());
            }
        }
        self.found |= chosen == Some(&Selection::All);
        if is_directory {
            children.push(self.subdirectory(directory, name, seen, before, chosen)?);
            return Ok(());
        }
        match chosen {
            Some(Selection::Some(_)) => {
                let path = directory.path_of(name.as_bytes());
                let detail = "a protected path leads through it, but it is no directory";
                self.remark(path, ExceptionCause::Unreadable, detail);
            }
            Some(Selection::All) if seen.kind == FileKind::Symlink => {
                if let Some(target) = directory_behind(directory, name) {
                    let target = Escaped(&target);
                    let detail = format!(
                        "is a link to a directory, which is not followed; protect its target {target}"
                    );
                    self.remark(directory.path_of(name.as_bytes()), ExceptionCause::Unreadable, &detail);
                }
            }
            Some(Selection::All) | None => {}
        }
        if seen.links > 1 {
            self.linked(directory, name, &seen, before)?;
        } else if seen.kind == FileKind::File {
            self.file(directory, name, &seen, before)?;
        } else {
            self.leaf(directory, name, &seen, before);
        }
        Ok(())
    }

    fn subdirectory(
        &mut self,
        directory: &Arc<Directory>,
        name: &EntryName,
        seen: Seen,
        before: Option<Record>,
        chosen: Option<&Selection>,
    ) -> Result<Child, WalkError> {
        Counters::add(&self.counters.directories, 1);
        let is_same = |old: &Record| old.is_directory() && old.is_inode(&seen.stamp);
        let (object, was) = match before {
            Some(old) if is_same(&old) && self.moves.claim(old.object) => {
                let object = old.object;
                let is_unchanged = self.is_unchanged(&old, &seen.stamp);
                (object, if is_unchanged { Was::Unchanged } else { Was::Changed(Box::new(old)) })
            }
            before => {
                if let Some(old) = before {
                    self.displace(directory.object, name, &old, false);
                }
                self.moved_or_made(directory, name, &seen)?
            }
        };
        let selection = chosen.cloned().unwrap_or(Selection::All);
        let (parent, is_chosen) = (directory.object, chosen.is_some());
        Ok(Child { parent, name: name.as_bytes().into(), object, seen, was, selection, is_chosen })
    }

    fn moved_or_made(
        &mut self,
        directory: &Directory,
        name: &EntryName,
        seen: &Seen,
    ) -> Result<(ObjectId, Was), WalkError> {
        let place = (seen.stamp.device, seen.stamp.inode);
        if let Some(record) = self.claim_moved(place, directory.object, name)? {
            return Ok((record.object, Was::Changed(Box::new(record))));
        }
        let object = self.draw_object();
        self.moves.claim(object);
        let attributes = seen.attributes(Vec::new(), false);
        let name = name.clone();
        let made = attributes.clone();
        self.operation(Operation::Make { directory: directory.object, name, object, attributes });
        Ok((object, Was::New(Some(made))))
    }

    /// A regular file: unchanged, or to be read; the object that it is.
    pub(super) fn file(
        &mut self,
        directory: &Arc<Directory>,
        name: &EntryName,
        seen: &Seen,
        before: Option<Record>,
    ) -> Result<ObjectId, WalkError> {
        let image = self.filter.images_any() && self.filter.is_image(&directory.path_of(name.as_bytes()));
        // A file that was replaced by another one of its name, as editors do, stays the same object: only what
        // differs is sent. Not so if either has further names, which would show the other's content.
        let is_same = |old: &Record| {
            old.attributes.kind == FileKind::File
                && !old.alias
                && (old.is_inode(&seen.stamp) || (old.links == 1 && seen.links == 1))
        };
        let (object, before) = match before {
            Some(old) if is_same(&old) => {
                if old.attributes.image == image && self.is_unchanged(&old, &seen.stamp) {
                    self.count(&self.counters.files, seen.stamp.size);
                    return Ok(old.object);
                }
                (old.object, Before::Same(Box::new(old)))
            }
            Some(old) if old.is_directory() => {
                self.displace(directory.object, name, &old, false);
                (self.draw_object(), Before::Nothing)
            }
            Some(old) => (self.draw_object(), Before::Other { stays: old.stands_for(&seen.stamp) }),
            None => (self.draw_object(), Before::Nothing),
        };
        let (directory, name) = (Arc::clone(directory), name.clone());
        self.sink.push(Step::File(Box::new(FileJob { directory, name, object, seen: *seen, before, image })));
        Ok(object)
    }

    pub(super) fn count(&self, counter: &AtomicU64, bytes: u64) {
        Counters::add(counter, 1);
        Counters::add(&self.counters.bytes, bytes);
    }
}

/// Where a symbolic link leads, if that is a directory.
fn directory_behind(directory: &Directory, name: &EntryName) -> Option<Vec<u8>> {
    let behind = Seen::new(&statat(&directory.fd, name.as_bytes(), AtFlags::empty()).ok()?)?;
    if behind.kind != FileKind::Directory {
        return None;
    }
    // Only for people: a link that leads nowhere by its path is named as it is written.
    let path = PathBuf::from(OsString::from_vec(directory.path_of(name.as_bytes())));
    let whole = path.canonicalize().map(|path| path.into_os_string().into_vec()).ok();
    whole.or_else(|| Some(readlinkat(&directory.fd, name.as_bytes(), Vec::new()).ok()?.into_bytes()))
}

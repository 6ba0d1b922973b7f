//! Entries that are neither file nor directory: links, devices, pipes, sockets. They are never opened.

use std::sync::Arc;

use model::item::FileKind;
use model::operation::Operation;
use model::path::EntryName;
use rustix::io::Errno;

use super::Walker;
use crate::list::look_up;
use crate::record::Record;
use crate::stat::Seen;
use crate::task::{Directory, cause_of};
use crate::xattr::{Xattr, difference};

impl Walker<'_> {
    /// Compares such an entry and sends what differs; none if it could not be read.
    pub(super) fn leaf(
        &mut self,
        directory: &Arc<Directory>,
        name: &EntryName,
        seen: &Seen,
        before: Option<Record>,
    ) -> Option<Record> {
        let is_same = |old: &Record| old.attributes.kind == seen.kind && old.is_inode(&seen.stamp);
        let same = before.as_ref().filter(|old| is_same(old));
        if let Some(old) = same
            && self.is_unchanged(old, &seen.stamp)
        {
            self.count(&self.counters.others, 0);
            return before;
        }
        let (target, xattrs, is_steady) = match self.read_leaf(directory, name, seen) {
            Ok(found) => found,
            Err(error) => {
                let cause = cause_of(error);
                if let (model::record::ExceptionCause::Vanished, Some(old)) = (cause, &before) {
                    self.displace(directory.object, name, old, true);
                }
                self.problem(directory.path_of(name.as_bytes()), cause, error);
                return None;
            }
        };
        self.count(&self.counters.others, 0);
        let attributes = seen.attributes(target, false);
        let mut operations = Vec::new();
        let (object, known) = match same {
            Some(old) => {
                if !old.has_attributes(&attributes) {
                    let attributes = attributes.clone();
                    operations.push(Operation::SetAttributes { object: old.object, attributes });
                }
                (old.object, old.xattrs.as_slice())
            }
            None => {
                if let Some(old) = &before {
                    self.displace(directory.object, name, old, false);
                }
                let (object, attributes) = (self.draw_object(), attributes.clone());
                let (directory, name) = (directory.object, name.clone());
                operations.push(Operation::Make { directory, name, object, attributes });
                (object, [].as_slice())
            }
        };
        let kept = difference(object, known, xattrs, &mut operations);
        operations.into_iter().for_each(|operation| self.operation(operation));
        let mut record = Record::new(object, seen, attributes, kept);
        record.settled = is_steady && self.is_settled(&seen.stamp, directory.filesystem);
        self.put(directory.object, name.as_bytes(), &record);
        Some(record)
    }

    /// The target of a link, the extended attributes, and whether the inode stayed the same meanwhile.
    fn read_leaf(
        &mut self,
        directory: &Directory,
        name: &EntryName,
        seen: &Seen,
    ) -> Result<(Vec<u8>, Vec<Xattr>, bool), Errno> {
        let name = name.as_bytes();
        let target = if seen.kind == FileKind::Symlink {
            match rustix::fs::readlinkat(&directory.fd, name, Vec::new()) {
                // Another kind of file took its place.
                Err(Errno::INVAL) => return Err(Errno::NOENT),
                other => other?.into_bytes(),
            }
        } else {
            Vec::new()
        };
        let xattrs = self.xattrs.of_entry(&directory.fd, name)?;
        let after = look_up(&directory.fd, name)?;
        Ok((target, xattrs, after.is_some_and(|after| after.stamp == seen.stamp)))
    }
}

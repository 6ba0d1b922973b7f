//! Hard links: one object with several names, told by device and inode.
//!
//! The first name that a walk sees stands for the inode: it keeps the object that the last point has under that
//! very name, or makes a new one. Every further name is linked to it. If the inode cannot be read, each name keeps
//! what the last point has under it. Names are counted down, so that the table
//! holds only inodes of which a name is still to come, or lies outside the source.

use std::collections::HashMap;
use std::sync::Arc;

use model::ObjectId;
use model::item::FileKind;
use model::operation::Operation;
use model::path::EntryName;

use super::{WalkError, Walker};
use crate::log::Updates;
use crate::record::{Record, entry_key};
use crate::stat::Seen;
use crate::task::{Directory, Link, Step};

/// The inodes with several names of which one was seen.
#[derive(Default)]
pub(super) struct Links(HashMap<(u64, u64), Linked>);

struct Linked {
    object: ObjectId,
    left: u64,
    /// What the cache keeps under every name; none for files, whose content is read later.
    record: Option<Record>,
}

impl Walker<'_> {
    /// An entry that is no directory, of an inode with several names.
    pub(super) fn linked(
        &mut self,
        directory: &Arc<Directory>,
        name: &EntryName,
        seen: &Seen,
        before: Option<Record>,
    ) -> Result<(), WalkError> {
        let place = (seen.stamp.device, seen.stamp.inode);
        if let Some(linked) = self.links.0.get_mut(&place) {
            linked.left = linked.left.saturating_sub(1);
            let (object, record, left) = (linked.object, linked.record.clone(), linked.left);
            if left == 0 {
                self.links.0.remove(&place);
            }
            self.further_name(directory, name, seen, before, object, record);
            return Ok(());
        }
        let is_file = seen.kind == FileKind::File;
        let (object, record) = if is_file {
            (Some(self.file(directory, name, seen, before)?), None)
        } else {
            let record = self.leaf(directory, name, seen, before);
            (record.as_ref().map(|record| record.object), record)
        };
        if let Some(object) = object {
            self.links.0.insert(place, Linked { object, left: seen.links - 1, record });
        }
        Ok(())
    }

    fn further_name(
        &mut self,
        directory: &Arc<Directory>,
        name: &EntryName,
        seen: &Seen,
        before: Option<Record>,
        object: ObjectId,
        record: Option<Record>,
    ) {
        let key = entry_key(directory.object, name.as_bytes());
        let alias = || {
            let attributes = seen.attributes(Vec::new(), false);
            Record { alias: true, settled: false, ..Record::new(object, seen, attributes, Vec::new()) }
        };
        let record = record.unwrap_or_else(alias);
        if let Some(old) = &before
            && old.object == object
        {
            let is_noted = old.alias && old.stamp() == seen.stamp;
            if !is_noted && !self.is_unchanged(old, &seen.stamp) {
                self.sink.updates().put(&key, &record.encode(&key));
            }
            return;
        }
        let (mut sent, mut removal) = (Updates::default(), None);
        match &before {
            Some(old) if !old.is_directory() && old.stands_for(&seen.stamp) => {
                sent.delete(directory.object, name.as_bytes());
                removal = Some(Operation::Remove { directory: directory.object, name: name.clone() });
            }
            Some(old) => self.displace(directory.object, name, old, true),
            None => {}
        }
        sent.put(&key, &record.encode(&key));
        self.sink.push(Step::Link(Box::new(Link {
            object,
            removal,
            operation: Operation::Link { directory: directory.object, name: name.clone(), object },
            sent,
            path: directory.path_of(name.as_bytes()),
        })));
    }
}

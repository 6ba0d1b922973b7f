//! Directories that were renamed: one operation, whatever they hold.
//!
//! A directory that is not where it was may turn up later in the walk. Until then it is *parked*: renamed into a
//! directory of the backup's own under the root, which is removed in the end with everything that nobody claimed.
//! A directory that turns up under a new name before its old place is reached is renamed from there. Every object
//! is claimed at most once in a walk, so that bind mounts, which show a directory twice, cannot make a loop.

use std::collections::HashSet;

use model::ObjectId;
use model::item::{Attributes, FileKind};
use model::operation::Operation;
use model::path::EntryName;

use super::{WalkError, Walker};
use crate::record::Record;

/// Which directories have moved.
#[derive(Default)]
pub(super) struct Moves {
    /// The directory of parked ones, once there is one.
    parking: Option<(ObjectId, EntryName)>,
    parked: HashSet<ObjectId>,
    claimed: HashSet<ObjectId>,
}

impl Moves {
    /// Says that the directory has its place in the new tree; false if it has one already.
    pub(super) fn claim(&mut self, object: ObjectId) -> bool {
        self.claimed.insert(object)
    }

    /// Whether the directory has its place in the new tree.
    pub(super) fn is_claimed(&self, object: ObjectId) -> bool {
        self.claimed.contains(&object)
    }
}

fn parked_name(object: ObjectId) -> EntryName {
    EntryName::new(object.to_string().as_bytes()).expect("digits are a name")
}

impl Walker<'_> {
    /// Takes an entry of the last point away that is not there any more, or not the same.
    ///
    /// What is no directory is removed only if asked: a new object under its name unlinks it anyway.
    pub(super) fn displace(&mut self, directory: ObjectId, name: &EntryName, old: &Record, remove: bool) {
        if old.is_directory() {
            if !self.moves.is_claimed(old.object) {
                self.park(directory, name, old.object);
            }
            return;
        }
        if remove {
            self.operation(Operation::Remove { directory, name: name.clone() });
        }
        self.sink.updates().delete(directory, name.as_bytes());
    }

    fn park(&mut self, directory: ObjectId, name: &EntryName, object: ObjectId) {
        let parking = match &self.moves.parking {
            Some((parking, _)) => *parking,
            None => self.make_parking(),
        };
        let (name, to_name) = (name.clone(), parked_name(object));
        self.sink.updates().delete(directory, name.as_bytes());
        self.operation(Operation::Rename { directory, name, to_directory: parking, to_name });
        self.moves.parked.insert(object);
    }

    fn make_parking(&mut self) -> ObjectId {
        let object = self.draw_object();
        let name = format!(".keepfast-moved-{:016x}", self.scan.0);
        let name = EntryName::new(name.as_bytes()).expect("digits and letters are a name");
        let attributes = Attributes::new(FileKind::Directory, 0o700);
        let directory = ObjectId::ROOT;
        self.operation(Operation::Make { directory, name: name.clone(), object, attributes });
        self.moves.parking = Some((object, name));
        object
    }

    /// Finds the directory with this device and inode under the name that it had, and moves it to a new one.
    pub(super) fn claim_moved(
        &mut self,
        place: (u64, u64),
        to_directory: ObjectId,
        to_name: &EntryName,
    ) -> Result<Option<Record>, WalkError> {
        if self.snapshot.is_void() {
            return Ok(None);
        }
        let Some((parent, name, record)) = self.snapshot.directory(place)? else { return Ok(None) };
        let Ok(name) = EntryName::new(&name) else { return Ok(None) };
        if record.object == ObjectId::ROOT || !self.moves.claim(record.object) {
            return Ok(None);
        }
        let parked = self.moves.parked.remove(&record.object);
        let (directory, name) = match &self.moves.parking {
            Some((parking, _)) if parked => (*parking, parked_name(record.object)),
            _ => {
                self.sink.updates().delete(parent, name.as_bytes());
                (parent, name)
            }
        };
        self.operation(Operation::Rename { directory, name, to_directory, to_name: to_name.clone() });
        Ok(Some(record))
    }

    /// Removes the directories that went and did not turn up again.
    pub(super) fn remove_parked(&mut self) -> Result<(), WalkError> {
        let Some((_, name)) = self.moves.parking.take() else { return Ok(()) };
        let mut parked: Vec<ObjectId> = self.moves.parked.drain().collect();
        parked.sort_unstable();
        for object in parked {
            self.sink.updates().delete_tree(object);
        }
        self.operation(Operation::Remove { directory: ObjectId::ROOT, name });
        Ok(())
    }
}

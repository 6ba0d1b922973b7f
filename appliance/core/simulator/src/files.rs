//! A plain filesystem in memory: what a source holds at one moment, as whole bytes and maps.
//!
//! It shares no code with the fold and the tree that it is compared with. Links are counted, and objects that no
//! name leads to are dropped, by walking everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::item::{Attributes, FileKind};
use model::operation::{Content, Operation};
use model::{EntryName, Name, ObjectId};

/// The bytes of chunks by name.
pub(crate) type ChunkBytes = BTreeMap<Name, Arc<[u8]>>;

/// One object with all that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) attributes: Attributes,
    pub(crate) content: Vec<u8>,
    pub(crate) entries: BTreeMap<EntryName, ObjectId>,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Object {
    pub(crate) const fn new(attributes: Attributes) -> Self {
        Self { attributes, content: Vec::new(), entries: BTreeMap::new(), xattrs: BTreeMap::new() }
    }
}

/// All objects of a source.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Files {
    pub(crate) objects: BTreeMap<ObjectId, Object>,
}

impl Files {
    /// A root directory and nothing else.
    pub(crate) fn empty() -> Self {
        let root = Object::new(Attributes::new(FileKind::Directory, 0o755));
        Self { objects: BTreeMap::from([(ObjectId::ROOT, root)]) }
    }

    /// Objects of a kind.
    pub(crate) fn of_kind(&self, kind: FileKind) -> Vec<ObjectId> {
        let fits = |object: &Object| object.attributes.kind == kind;
        self.objects.iter().filter(|(_, object)| fits(object)).map(|(id, _)| *id).collect()
    }

    /// Every name: its directory, itself and what it leads to.
    pub(crate) fn names(&self) -> Vec<(ObjectId, EntryName, ObjectId)> {
        let of = |(directory, object): (&ObjectId, &Object)| {
            let directory = *directory;
            let names = object.entries.iter().map(move |(name, to)| (directory, name.clone(), *to));
            names.collect::<Vec<_>>()
        };
        self.objects.iter().flat_map(of).collect()
    }

    /// How many names lead to an object; the root has one that no directory holds.
    pub(crate) fn links(&self, object: ObjectId) -> usize {
        let names = self.objects.values().flat_map(|o| o.entries.values());
        names.filter(|to| **to == object).count() + usize::from(object == ObjectId::ROOT)
    }

    /// Everything that can be reached from an object, itself included.
    pub(crate) fn below(&self, object: ObjectId) -> BTreeSet<ObjectId> {
        let mut found = BTreeSet::new();
        let mut waiting = vec![object];
        while let Some(object) = waiting.pop() {
            if found.insert(object)
                && let Some(object) = self.objects.get(&object)
            {
                waiting.extend(object.entries.values());
            }
        }
        found
    }

    /// Takes in an operation that fits; false if it does not.
    pub(crate) fn apply(&mut self, operation: &Operation, chunks: &ChunkBytes) -> bool {
        let done = self.change(operation, chunks).is_some();
        let reached = self.below(ObjectId::ROOT);
        self.objects.retain(|id, _| reached.contains(id));
        done
    }

    fn change(&mut self, operation: &Operation, chunks: &ChunkBytes) -> Option<()> {
        match operation {
            Operation::Make { directory, name, object, attributes } => {
                self.objects.insert(*object, Object::new(attributes.clone()));
                self.objects.get_mut(directory)?.entries.insert(name.clone(), *object);
            }
            Operation::Link { directory, name, object } => {
                self.objects.get_mut(directory)?.entries.insert(name.clone(), *object);
            }
            Operation::Remove { directory, name } => {
                self.objects.get_mut(directory)?.entries.remove(name)?;
            }
            Operation::Rename { directory, name, to_directory, to_name } => {
                let object = self.objects.get_mut(directory)?.entries.remove(name)?;
                self.objects.get_mut(to_directory)?.entries.insert(to_name.clone(), object);
            }
            Operation::Write { object, offset, content } => {
                let bytes = match content {
                    Content::Hole { length } => vec![0; usize::try_from(*length).ok()?],
                    Content::Chunk { name, skip, length } => {
                        let from = *skip as usize;
                        chunks.get(name)?.get(from..from + *length as usize)?.to_vec()
                    }
                };
                let start = usize::try_from(*offset).ok()?;
                let file = &mut self.objects.get_mut(object)?.content;
                file.resize(file.len().max(start + bytes.len()), 0);
                file.get_mut(start..start + bytes.len())?.copy_from_slice(&bytes);
            }
            Operation::Truncate { object, size } => {
                self.objects.get_mut(object)?.content.resize(usize::try_from(*size).ok()?, 0);
            }
            Operation::SetAttributes { object, attributes } => {
                self.objects.get_mut(object)?.attributes = attributes.clone();
            }
            Operation::SetXattr { object, name, value } => {
                self.objects.get_mut(object)?.xattrs.insert(name.clone(), value.clone());
            }
            Operation::RemoveXattr { object, name } => {
                self.objects.get_mut(object)?.xattrs.remove(name);
            }
            Operation::Mark { .. } => {}
        }
        Some(())
    }
}

//! The tree that operations make: strict, so that an operation that makes no sense fails the test.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use model::item::{Attributes, FileKind};
use model::operation::{Content, Operation};
use model::path::EntryName;
use model::{Name, ObjectId};

use super::real::{File, Files};

#[derive(Clone, Debug)]
struct Object {
    attributes: Option<Attributes>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    content: Vec<u8>,
    entries: BTreeMap<EntryName, ObjectId>,
    links: usize,
}

/// All objects of a source.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    objects: HashMap<ObjectId, Object>,
}

impl Default for Tree {
    fn default() -> Self {
        Self { objects: HashMap::from([(ObjectId::ROOT, Object::new(None))]) }
    }
}

impl Object {
    fn new(attributes: Option<Attributes>) -> Self {
        let (xattrs, entries) = (BTreeMap::new(), BTreeMap::new());
        Self { attributes, xattrs, content: Vec::new(), entries, links: 0 }
    }

    fn kind(&self) -> FileKind {
        self.attributes.as_ref().map_or(FileKind::Directory, |attributes| attributes.kind)
    }
}

impl Tree {
    fn object(&mut self, object: ObjectId) -> &mut Object {
        self.objects.get_mut(&object).unwrap_or_else(|| panic!("object {object} does not exist"))
    }

    fn directory(&mut self, object: ObjectId) -> &mut Object {
        let found = self.object(object);
        assert_eq!(found.kind(), FileKind::Directory, "object {object}");
        found
    }

    fn file(&mut self, object: ObjectId) -> &mut Object {
        let found = self.object(object);
        assert_eq!(found.kind(), FileKind::File, "object {object}");
        found
    }

    fn unlink(&mut self, object: ObjectId) {
        let found = self.object(object);
        found.links -= 1;
        if found.links == 0 {
            let gone = self.objects.remove(&object).unwrap();
            gone.entries.into_values().for_each(|child| self.unlink(child));
        }
    }

    fn enter(&mut self, directory: ObjectId, name: &EntryName, object: ObjectId) {
        self.object(object).links += 1;
        if let Some(old) = self.directory(directory).entries.insert(name.clone(), object) {
            self.unlink(old);
        }
    }

    fn is_below(&self, object: ObjectId, above: ObjectId) -> bool {
        object == above || self.objects[&above].entries.values().any(|child| self.is_below(object, *child))
    }

    /// Applies an operation; chunks are taken from `chunks`.
    pub(crate) fn apply(&mut self, operation: &Operation, chunks: &HashMap<Name, Vec<u8>>) {
        match operation {
            Operation::Make { directory, name, object, attributes } => {
                assert!(!self.objects.contains_key(object), "object {object} exists: {operation:?}");
                self.objects.insert(*object, Object::new(Some(attributes.clone())));
                self.enter(*directory, name, *object);
            }
            Operation::Link { directory, name, object } => {
                assert_ne!(self.object(*object).kind(), FileKind::Directory);
                let taken = self.directory(*directory).entries.contains_key(name);
                assert!(!taken, "{operation:?}: the name is taken");
                self.enter(*directory, name, *object);
            }
            Operation::Remove { directory, name } => {
                let object = self.directory(*directory).entries.remove(name);
                self.unlink(object.unwrap_or_else(|| panic!("{operation:?}: no such name")));
            }
            Operation::Rename { directory, name, to_directory, to_name } => {
                let object = self.directory(*directory).entries.remove(name);
                let object = object.unwrap_or_else(|| panic!("{operation:?}: no such name"));
                assert!(!self.is_below(*to_directory, object), "{operation:?}: into itself");
                self.enter(*to_directory, to_name, object);
                self.object(object).links -= 1;
            }
            Operation::Write { object, offset, content } => {
                let bytes = match *content {
                    Content::Hole { length } => vec![0; usize::try_from(length).unwrap()],
                    Content::Chunk { name, skip, length } => {
                        let chunk = &chunks[&name];
                        chunk[skip as usize..skip as usize + length as usize].to_vec()
                    }
                };
                let start = usize::try_from(*offset).unwrap();
                let file = &mut self.file(*object).content;
                assert!(start <= file.len(), "{operation:?}: a gap behind {}", file.len());
                let end = start + bytes.len();
                if file.len() < end {
                    file.resize(end, 0);
                }
                file[start..end].copy_from_slice(&bytes);
            }
            Operation::Truncate { object, size } => {
                self.file(*object).content.resize(usize::try_from(*size).unwrap(), 0);
            }
            Operation::SetAttributes { object, attributes } => {
                let found = self.object(*object);
                assert_eq!(found.kind(), attributes.kind, "{operation:?}");
                found.attributes = Some(attributes.clone());
            }
            Operation::SetXattr { object, name, value } => {
                self.object(*object).xattrs.insert(name.clone(), value.clone());
            }
            Operation::RemoveXattr { object, name } => {
                assert!(self.object(*object).xattrs.remove(name).is_some(), "{operation:?}");
            }
            Operation::Mark { .. } => {}
        }
    }

    fn find(&self, path: &Path) -> Option<ObjectId> {
        let names = model::path::split_path(path.as_os_str().as_bytes()).unwrap();
        names.iter().try_fold(ObjectId::ROOT, |at, name| self.objects[&at].entries.get(name).copied())
    }

    /// Whether anything stands at a path.
    pub(crate) fn has(&self, path: &Path) -> bool {
        self.find(path).is_some()
    }

    /// The names at the root.
    pub(crate) fn root_names(&self) -> Vec<String> {
        self.objects[&ObjectId::ROOT].entries.keys().map(ToString::to_string).collect()
    }

    /// How many objects there are.
    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    /// The number of the object at a path.
    pub(crate) fn number(&self, path: &Path) -> ObjectId {
        self.find(path).unwrap_or_else(|| panic!("{} is not in the tree", path.display()))
    }

    /// Everything from a path on.
    pub(crate) fn files(&self, path: &Path) -> Files {
        let mut files = Files::new();
        let mut firsts = HashMap::new();
        self.collect(self.number(path), path.to_owned(), &mut files, &mut firsts);
        files
    }

    fn collect(
        &self,
        number: ObjectId,
        path: PathBuf,
        files: &mut Files,
        firsts: &mut HashMap<ObjectId, PathBuf>,
    ) {
        let object = &self.objects[&number];
        let first = firsts.entry(number).or_insert_with(|| path.clone()).clone();
        let attributes = object.attributes.clone().expect("attributes are set");
        let (xattrs, content) = (object.xattrs.clone(), object.content.clone());
        files.insert(path.clone(), File { attributes, xattrs, content, first });
        for (name, child) in &object.entries {
            let name = std::ffi::OsString::from_vec(name.as_bytes().to_vec());
            self.collect(*child, path.join(name), files, firsts);
        }
    }
}

//! Inodes and the names of their attributes, read together with those of their neighbours.
//!
//! Objects that were found one after the other have numbers one after the other, and so have their items. Whoever lists a
//! directory asks for them in this order, so one question to the archive answers for many.

use std::sync::{Arc, Mutex, PoisonError};

use model::archive::{Archive, PointKey};
use model::browse::each_item;
use model::item::{FileKind, Inode, Item, ItemKey, ItemPart, ItemRange};
use model::{LruCache, ObjectId};

use crate::ViewError;

/// Items asked for at once.
const NEIGHBOURS: usize = 64;
/// Objects that are remembered.
const OBJECTS_MAX: usize = 1 << 15;

/// An object without its content.
#[derive(Debug)]
pub(crate) struct Object {
    /// Itself.
    pub(crate) inode: Inode,
    /// The names of its attributes, where they are known.
    names: Option<Vec<Box<[u8]>>>,
}

/// Objects that were read lately.
pub(crate) struct Objects(Mutex<LruCache<(PointKey, ObjectId), Arc<Object>>>);

impl Objects {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(LruCache::new(OBJECTS_MAX)))
    }

    /// An object.
    pub(crate) fn get(
        &self,
        archive: &dyn Archive,
        point: PointKey,
        object: ObjectId,
    ) -> Result<Arc<Object>, ViewError> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&(point, object)).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let from = ItemKey::inode(object).encode();
        let found = match archive.items(point, &from, &[0xff; 9], NEIGHBOURS) {
            Ok(items) => group(items),
            // Perhaps only a neighbour cannot be read.
            Err(_) => {
                let alone = archive.item(point, &ItemKey::inode(object))?;
                group(alone.map(|item| (ItemKey::inode(object), item)).into_iter().collect())
            }
        };
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted = None;
        for (id, found) in found {
            let found = Arc::new(found);
            if id == object {
                wanted = Some(Arc::clone(&found));
            }
            if id == object || !cache.contains(&(point, id)) {
                cache.insert((point, id), found, 1);
            }
        }
        wanted.ok_or_else(|| ViewError::corrupt(format!("object {object} is not in the point")))
    }

    /// The names of an object's attributes.
    pub(crate) fn names(
        &self,
        archive: &dyn Archive,
        point: PointKey,
        object: ObjectId,
    ) -> Result<Vec<Box<[u8]>>, ViewError> {
        let known = self.get(archive, point, object)?;
        if let Some(names) = &known.names {
            return Ok(names.clone());
        }
        let mut names = Vec::new();
        each_item(archive, point, ItemRange::xattrs(object), |key, _| {
            if let ItemPart::Xattr(name) = key.part {
                names.push(name);
            }
            Ok::<_, ViewError>(())
        })?;
        let whole = Object { inode: known.inode.clone(), names: Some(names.clone()) };
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.insert((point, object), Arc::new(whole), 1);
        Ok(names)
    }
}

/// The objects whose inodes are among consecutive items.
fn group(items: Vec<(ItemKey, Item)>) -> Vec<(ObjectId, Object)> {
    let mut found: Vec<(ObjectId, Object)> = Vec::new();
    let mut names = Vec::new();
    for (key, item) in items {
        let is_behind = |last: &(ObjectId, Object)| {
            last.0 != key.object || matches!(key.part, ItemPart::Extent(_) | ItemPart::Inode)
        };
        // What stands behind the attributes of an object ends them.
        if let Some(last) = found.last_mut()
            && is_behind(last)
            && last.1.names.is_none()
        {
            last.1.names = Some(std::mem::take(&mut names));
        }
        match (key.part, item) {
            (ItemPart::Inode, Item::Inode(inode)) => {
                names.clear();
                found.push((key.object, Object { inode, names: None }));
            }
            (ItemPart::Xattr(name), _) => names.push(name),
            _ => {}
        }
    }
    found
}

impl Object {
    /// Whether it is a directory.
    pub(crate) fn is_directory(&self) -> bool {
        self.inode.attributes.kind == FileKind::Directory
    }
}

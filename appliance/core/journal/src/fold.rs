//! Operations as changes of a tree.
//!
//! Changes are gathered in memory over a base tree, and applied in one sorted batch. Operations of an agent are
//! hostile: one that does not fit the state is refused, and whoever sent it has to begin again.
//!
//! What waits is bounded by its bytes: [`Fold::wants_flush`] says when it should become pages. Removing a directory
//! can take more than fits; then the removal stops, and goes on after the flush.

mod content;
mod removal;

use model::item::{
    Attributes, Extent, FileKind, Inode, Item, ItemKey, LINK_TARGET_LENGTH_MAX, XATTR_NAME_LENGTH_MAX,
    XATTR_VALUE_LENGTH_MAX,
};
use model::operation::Operation;
use model::{EntryName, ErrorKind, ObjectId};
use thiserror::Error;
use tree::{PageSink, PageSource, Root};

use crate::overlay::Overlay;
use removal::{How, Naming, REMOVED};

/// Bytes of changes that wait in memory before they should become pages, if nobody says otherwise.
const FLUSH_BYTES: usize = 32 << 20;

/// An operation that does not fit the state, or a tree that cannot be read.
#[derive(Debug, Error)]
pub enum FoldError {
    /// It names an object that does not exist.
    #[error("object {0} does not exist")]
    NoObject(ObjectId),
    /// It makes an object whose number is taken.
    #[error("object {0} exists already")]
    ObjectExists(ObjectId),
    /// It names an entry that does not exist.
    #[error("directory {0} has no entry {1}")]
    NoEntry(ObjectId, EntryName),
    /// It treats an object as what it is not.
    #[error("object {0} is not a {1}")]
    Kind(ObjectId, &'static str),
    /// A length, offset or attribute is out of bounds.
    #[error("{0} is out of bounds")]
    Bounds(&'static str),
    /// The tree cannot be read or written.
    #[error("tree of the point")]
    Tree(#[from] tree::Error),
}

impl FoldError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Tree(error) => error.kind(),
            _ => ErrorKind::Refused,
        }
    }
}

/// Operations on top of a tree, not yet applied to it.
pub struct Fold {
    state: Overlay,
    flush_bytes: usize,
    /// Whether directories wait for what is below them to be removed.
    removing: bool,
    /// What is done when they are gone.
    naming: Option<Naming>,
}

impl Fold {
    /// Nothing yet, on top of a tree. A tree without items gets a root directory.
    #[must_use]
    pub fn new(base: Root) -> Self {
        let state = Overlay::new(base, FLUSH_BYTES);
        let mut fold = Self { state, flush_bytes: FLUSH_BYTES, removing: false, naming: None };
        if base.is_empty() {
            let attributes = Attributes::new(FileKind::Directory, 0o755);
            fold.put_inode(ObjectId::ROOT, Inode { attributes, size: 0, stored: 0, links: 1 });
        }
        fold
    }

    /// Sets how many bytes may wait in memory.
    pub fn set_flush_bytes(&mut self, flush_bytes: usize) {
        self.flush_bytes = flush_bytes.max(1);
        self.state.set_flush_bytes(self.flush_bytes);
    }

    /// Memory that what waits takes, about.
    #[must_use]
    pub const fn waiting_bytes(&self) -> usize {
        self.state.bytes()
    }

    /// Whether what waits should become pages before more comes.
    #[must_use]
    pub const fn wants_flush(&self) -> bool {
        self.is_removing() || self.state.bytes() >= self.flush_bytes
    }

    /// Whether a removal stopped to be flushed, and has to go on before the tree is that of the operations.
    #[must_use]
    pub const fn is_removing(&self) -> bool {
        self.removing || self.naming.is_some()
    }

    /// Applies what waits; the tree as it is then.
    pub fn flush<S: PageSink>(&mut self, sink: &mut S) -> Result<Root, FoldError> {
        Ok(self.state.flush(sink)?)
    }

    /// Takes an operation in. A removal that is under way is completed first, without regard to memory.
    pub fn operation<S: PageSource>(&mut self, source: &S, operation: &Operation) -> Result<(), FoldError> {
        self.remove_up_to(source, usize::MAX)?;
        match operation {
            Operation::Make { directory, name, object, attributes } => {
                self.make(source, *directory, name, *object, attributes)
            }
            Operation::Link { directory, name, object } => self.link(source, *directory, name, *object),
            Operation::Remove { directory, name } => {
                self.detach(source, *directory, name)?;
                self.resume(source)
            }
            Operation::Rename { directory, name, to_directory, to_name } => {
                self.rename(source, (*directory, name), (*to_directory, to_name))
            }
            Operation::Write { object, offset, content } => {
                self.write(source, *object, *offset, &Extent::from(*content))
            }
            Operation::Truncate { object, size } => self.truncate(source, *object, *size),
            Operation::SetAttributes { object, attributes } => {
                self.set_attributes(source, *object, attributes)
            }
            Operation::SetXattr { object, name, value } => self.set_xattr(source, *object, name, value),
            Operation::RemoveXattr { object, name } => {
                self.inode(source, *object)?;
                self.state.delete(ItemKey::xattr(*object, name));
                Ok(())
            }
            Operation::Mark { .. } => Ok(()),
        }
    }

    /// Goes on with a removal that stopped, until it is done or a flush is wanted again.
    pub fn resume<S: PageSource>(&mut self, source: &S) -> Result<(), FoldError> {
        self.remove_up_to(source, self.flush_bytes)
    }

    fn inode<S: PageSource>(&self, source: &S, object: ObjectId) -> Result<Inode, FoldError> {
        match self.state.get(source, &ItemKey::inode(object))? {
            Some(Item::Inode(inode)) => Ok(inode),
            _ => Err(FoldError::NoObject(object)),
        }
    }

    fn put_inode(&mut self, object: ObjectId, inode: Inode) {
        self.state.put(ItemKey::inode(object), Item::Inode(inode));
    }

    fn entry<S: PageSource>(
        &self,
        source: &S,
        directory: ObjectId,
        name: &EntryName,
    ) -> Result<Option<(ObjectId, FileKind)>, FoldError> {
        match self.state.get(source, &ItemKey::entry(directory, name.clone()))? {
            Some(Item::Entry(object, kind)) => Ok(Some((object, kind))),
            _ => Ok(None),
        }
    }

    fn expect_directory<S: PageSource>(&self, source: &S, object: ObjectId) -> Result<(), FoldError> {
        if self.inode(source, object)?.attributes.kind == FileKind::Directory {
            Ok(())
        } else {
            Err(FoldError::Kind(object, "directory"))
        }
    }

    fn make<S: PageSource>(
        &mut self,
        source: &S,
        directory: ObjectId,
        name: &EntryName,
        object: ObjectId,
        attributes: &Attributes,
    ) -> Result<(), FoldError> {
        check_attributes(attributes)?;
        self.expect_directory(source, directory)?;
        if object.next() == object {
            return Err(FoldError::Bounds("number of an object"));
        }
        if object == REMOVED || self.state.get(source, &ItemKey::inode(object))?.is_some() {
            return Err(FoldError::ObjectExists(object));
        }
        let inode = Inode { attributes: attributes.clone(), size: 0, stored: 0, links: 1 };
        self.set_name(source, Naming::new(directory, name, object, attributes.kind, How::Make(inode)))
    }

    fn link<S: PageSource>(
        &mut self,
        source: &S,
        directory: ObjectId,
        name: &EntryName,
        object: ObjectId,
    ) -> Result<(), FoldError> {
        self.expect_directory(source, directory)?;
        let kind = self.inode(source, object)?.attributes.kind;
        if kind == FileKind::Directory {
            return Err(FoldError::Kind(object, "thing that can have two names"));
        }
        match self.entry(source, directory, name)? {
            Some((known, _)) if known == object => Ok(()),
            _ => self.set_name(source, Naming::new(directory, name, object, kind, How::Link)),
        }
    }

    fn rename<S: PageSource>(
        &mut self,
        source: &S,
        (directory, name): (ObjectId, &EntryName),
        (to_directory, to_name): (ObjectId, &EntryName),
    ) -> Result<(), FoldError> {
        self.expect_directory(source, to_directory)?;
        let no_entry = || FoldError::NoEntry(directory, name.clone());
        let (object, kind) = self.entry(source, directory, name)?.ok_or_else(no_entry)?;
        if (directory, name) == (to_directory, to_name) {
            return Ok(());
        }
        match self.entry(source, to_directory, to_name)? {
            // Two names of one object: the first one goes, as rename(2) of Linux would not do but a scan means.
            Some((target, _)) if target == object => {
                self.detach(source, directory, name)?;
                self.resume(source)
            }
            _ => {
                let how = How::Rename(ItemKey::entry(directory, name.clone()));
                self.set_name(source, Naming::new(to_directory, to_name, object, kind, how))
            }
        }
    }

    fn set_attributes<S: PageSource>(
        &mut self,
        source: &S,
        object: ObjectId,
        attributes: &Attributes,
    ) -> Result<(), FoldError> {
        check_attributes(attributes)?;
        let mut inode = self.inode(source, object)?;
        if inode.attributes.kind != attributes.kind {
            return Err(FoldError::Kind(object, "thing of the kind that it is said to be"));
        }
        inode.attributes = attributes.clone();
        self.put_inode(object, inode);
        Ok(())
    }

    fn set_xattr<S: PageSource>(
        &mut self,
        source: &S,
        object: ObjectId,
        name: &[u8],
        value: &[u8],
    ) -> Result<(), FoldError> {
        if name.is_empty() || name.len() > XATTR_NAME_LENGTH_MAX || name.contains(&0) {
            return Err(FoldError::Bounds("name of an extended attribute"));
        }
        if value.len() > XATTR_VALUE_LENGTH_MAX {
            return Err(FoldError::Bounds("value of an extended attribute"));
        }
        self.inode(source, object)?;
        self.state.put(ItemKey::xattr(object, name), Item::Xattr(value.to_vec()));
        Ok(())
    }
}

fn check_attributes(attributes: &Attributes) -> Result<(), FoldError> {
    if attributes.mode > 0o7777 {
        return Err(FoldError::Bounds("mode of an object"));
    }
    let target = &attributes.target;
    let is_link = attributes.kind == FileKind::Symlink;
    if target.len() > LINK_TARGET_LENGTH_MAX || target.contains(&0) || target.is_empty() == is_link {
        return Err(FoldError::Bounds("target of a link"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! The directories of a target, by number, with a few of them open.
//!
//! Each is known by its parent and its name and opened anew when it is needed again, so that neither the number of
//! directories nor their depth is bounded by descriptors. A directory is reached from the nearest one above it that
//! is open, with paths no longer than the kernel takes.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use model::EntryName;
use rustix::io::{Errno, Result};

use crate::beneath;

/// Directories that are kept open.
const OPEN_MAX: usize = 64;
/// Bytes of one path given to the kernel; `PATH_MAX` is 4096 with the zero byte.
const PATH_MAX: usize = 4000;
/// Directories on the way to a deep one that are kept open: every so many.
const STRIDE: usize = 64;

/// Number of a directory; the target itself is 0.
pub(crate) type DirectoryId = usize;

struct Node {
    parent: DirectoryId,
    name: Option<EntryName>,
}

/// Directories below a target.
pub(crate) struct Directories {
    nodes: Vec<Node>,
    root: Arc<OwnedFd>,
    /// Most recently used last.
    open: VecDeque<(DirectoryId, Arc<OwnedFd>)>,
}

impl Directories {
    pub(crate) fn new(root: Arc<OwnedFd>) -> Self {
        Self { nodes: vec![Node { parent: 0, name: None }], root, open: VecDeque::new() }
    }

    /// The number of a directory that is in another one.
    pub(crate) fn add(&mut self, parent: DirectoryId, name: EntryName) -> DirectoryId {
        self.nodes.push(Node { parent, name: Some(name) });
        self.nodes.len() - 1
    }

    /// Forgets the newest directory.
    pub(crate) fn pop(&mut self) {
        if self.nodes.len() > 1 {
            self.nodes.pop();
        }
        self.open.retain(|(id, _)| *id < self.nodes.len());
    }

    /// Remembers a descriptor that was opened elsewhere.
    pub(crate) fn keep(&mut self, id: DirectoryId, descriptor: Arc<OwnedFd>) {
        if self.open.len() == OPEN_MAX {
            self.open.pop_front();
        }
        self.open.push_back((id, descriptor));
    }

    /// The descriptor of a directory.
    pub(crate) fn open(&mut self, id: DirectoryId) -> Result<Arc<OwnedFd>> {
        if let Some(descriptor) = self.find(id) {
            return Ok(descriptor);
        }
        let mut names = Vec::new();
        let mut at = id;
        let mut descriptor = loop {
            if at == 0 {
                break Arc::clone(&self.root);
            }
            let Node { parent, name: Some(name) } = self.nodes.get(at).ok_or(Errno::NOENT)? else {
                return Err(Errno::NOENT);
            };
            names.push((at, name));
            if let Some((_, open)) = self.open.iter().find(|(open, _)| open == parent) {
                break Arc::clone(open);
            }
            at = *parent;
        };
        let mut path: Vec<u8> = Vec::new();
        let mut opened = Vec::new();
        while let Some((at, name)) = names.pop() {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.as_bytes());
            let next = names.last().map_or(0, |(_, name)| name.as_bytes().len());
            if names.len().is_multiple_of(STRIDE) || path.len() + 1 + next > PATH_MAX {
                descriptor = Arc::new(beneath::open_directory(&descriptor, &path)?);
                opened.push((at, Arc::clone(&descriptor)));
                path.clear();
            }
        }
        for (at, descriptor) in opened {
            self.keep(at, descriptor);
        }
        Ok(descriptor)
    }

    fn find(&mut self, id: DirectoryId) -> Option<Arc<OwnedFd>> {
        if id == 0 {
            return Some(Arc::clone(&self.root));
        }
        let index = self.open.iter().rposition(|(open, _)| *open == id)?;
        if index + 1 < self.open.len() {
            let used = self.open.remove(index)?;
            self.open.push_back(used);
        }
        self.open.back().map(|(_, descriptor)| Arc::clone(descriptor))
    }

    /// The name of a directory in the one above it; empty for the target.
    pub(crate) fn name(&self, id: DirectoryId) -> &[u8] {
        self.nodes.get(id).and_then(|node| node.name.as_ref()).map_or(b"", EntryName::as_bytes)
    }

    /// The path of an entry of a directory, as the point has it.
    pub(crate) fn path(&self, id: DirectoryId, name: Option<&EntryName>) -> Vec<u8> {
        let mut names: Vec<&[u8]> = name.iter().map(|name| name.as_bytes()).collect();
        let mut at = id;
        while let Some(Node { parent, name: Some(name) }) = self.nodes.get(at) {
            names.push(name.as_bytes());
            at = *parent;
        }
        names.reverse();
        names.join(&b'/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_deeper_than_a_path_is_reached() {
        let folder = tempfile::tempdir().unwrap();
        let root: Arc<OwnedFd> = Arc::new(std::fs::File::open(folder.path()).unwrap().into());
        let mut directories = Directories::new(root);
        let name = EntryName::new(&[b'd'; 200]).unwrap();
        let mut id = 0;
        for _ in 0..100 {
            let parent = directories.open(id).unwrap();
            rustix::fs::mkdirat(&parent, name.as_bytes(), rustix::fs::Mode::RWXU).unwrap();
            id = directories.add(id, name.clone());
        }
        directories.open.clear();
        assert!(directories.open(id).is_ok());
        assert_eq!(directories.path(id, None).len(), 100 * 201 - 1);
        directories.pop();
        assert_eq!(directories.open(id).unwrap_err(), Errno::NOENT);
    }
}

//! Extended attributes, POSIX ACLs among them: every name that the kernel shows and lets read.

use std::os::fd::{AsFd, AsRawFd};

use model::ObjectId;
use model::item::XATTR_VALUE_LENGTH_MAX;
use model::operation::Operation;
use rustix::fs::{fgetxattr, flistxattr, getxattr, lgetxattr, listxattr, llistxattr};
use rustix::io::Errno;

/// Longest list of names that the kernel gives (`XATTR_LIST_MAX`).
const LIST_LENGTH_MAX: usize = 65_536;

/// An extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Xattr {
    pub(crate) name: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// What a cache keeps of an extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct XattrDigest {
    pub(crate) name: Vec<u8>,
    pub(crate) digest: [u8; 16],
}

impl Xattr {
    fn digest(&self) -> XattrDigest {
        let hash = blake3::hash(&self.value);
        let (digest, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
        XattrDigest { name: self.name.clone(), digest: *digest }
    }
}

/// The inode whose attributes are read.
enum Place<'a> {
    Open(&'a rustix::fd::OwnedFd),
    /// Through `/proc/self/fd`: for directories that are open only as places.
    Directory(Vec<u8>),
    /// A name below a directory, not followed.
    Name(Vec<u8>),
}

impl Place<'_> {
    fn list(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(fd) => flistxattr(fd, buffer),
            Self::Directory(path) => listxattr(path.as_slice(), buffer),
            Self::Name(path) => llistxattr(path.as_slice(), buffer),
        }
    }

    fn value(&self, name: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(fd) => fgetxattr(fd, name, buffer),
            Self::Directory(path) => getxattr(path.as_slice(), name, buffer),
            Self::Name(path) => lgetxattr(path.as_slice(), name, buffer),
        }
    }
}

/// Reads attributes with one buffer.
pub(crate) struct XattrReader {
    names: Vec<u8>,
    value: Vec<u8>,
}

impl XattrReader {
    pub(crate) fn new() -> Self {
        Self { names: vec![0; 1024], value: Vec::new() }
    }

    /// All attributes of an open file or directory.
    pub(crate) fn of_open(&mut self, fd: &rustix::fd::OwnedFd) -> Result<Vec<Xattr>, Errno> {
        self.read(&Place::Open(fd))
    }

    /// All attributes of a directory that was opened as a place (`O_PATH`).
    pub(crate) fn of_place(&mut self, fd: &rustix::fd::OwnedFd) -> Result<Vec<Xattr>, Errno> {
        self.read(&Place::Directory(format!("/proc/self/fd/{}", fd.as_raw_fd()).into_bytes()))
    }

    /// All attributes of an entry that is not opened: a link, device, pipe or socket.
    pub(crate) fn of_entry(&mut self, directory: impl AsFd, name: &[u8]) -> Result<Vec<Xattr>, Errno> {
        let mut path = format!("/proc/self/fd/{}/", directory.as_fd().as_raw_fd()).into_bytes();
        path.extend_from_slice(name);
        self.read(&Place::Name(path))
    }

    fn read(&mut self, place: &Place<'_>) -> Result<Vec<Xattr>, Errno> {
        let length = match place.list(&mut self.names) {
            Err(Errno::RANGE) => {
                self.names.resize(LIST_LENGTH_MAX, 0);
                place.list(&mut self.names)?
            }
            Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(Vec::new()),
            other => other?,
        };
        if length == 0 {
            return Ok(Vec::new());
        }
        self.value.resize(XATTR_VALUE_LENGTH_MAX, 0);
        let mut found = Vec::new();
        for name in self.names.get(..length).unwrap_or_default().split(|byte| *byte == 0) {
            if name.is_empty() {
                continue;
            }
            match place.value(name, &mut self.value) {
                Ok(length) => {
                    let value = self.value.get(..length).unwrap_or_default().to_vec();
                    found.push(Xattr { name: name.to_vec(), value });
                }
                // Removed since it was listed, or shown without being readable.
                Err(Errno::NODATA | Errno::NOTSUP) => {}
                Err(error) => return Err(error),
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }
}

/// Digests for the cache.
pub(crate) fn digests(xattrs: &[Xattr]) -> Vec<XattrDigest> {
    xattrs.iter().map(Xattr::digest).collect()
}

/// Appends the operations that turn the attributes `before` into `after`; what stands in the cache afterwards.
pub(crate) fn difference(
    object: ObjectId,
    before: &[XattrDigest],
    after: Vec<Xattr>,
    out: &mut Vec<Operation>,
) -> Vec<XattrDigest> {
    let kept = digests(&after);
    for gone in before.iter().filter(|old| !kept.iter().any(|new| new.name == old.name)) {
        out.push(Operation::RemoveXattr { object, name: gone.name.clone() });
    }
    for (xattr, digest) in after.into_iter().zip(&kept) {
        if !before.contains(digest) {
            out.push(Operation::SetXattr { object, name: xattr.name, value: xattr.value });
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xattr(name: &str, value: &str) -> Xattr {
        Xattr { name: name.into(), value: value.into() }
    }

    #[test]
    fn only_differences_become_operations() {
        let before = digests(&[xattr("user.a", "1"), xattr("user.b", "2"), xattr("user.c", "3")]);
        let mut out = Vec::new();
        let after = vec![xattr("user.a", "1"), xattr("user.b", "20"), xattr("user.d", "4")];
        let kept = difference(ObjectId(7), &before, after.clone(), &mut out);
        assert_eq!(kept, digests(&after));
        let set = |name: &str, value: &str| Operation::SetXattr {
            object: ObjectId(7),
            name: name.into(),
            value: value.into(),
        };
        let remove = Operation::RemoveXattr { object: ObjectId(7), name: "user.c".into() };
        assert_eq!(out, [remove, set("user.b", "20"), set("user.d", "4")]);
    }
}

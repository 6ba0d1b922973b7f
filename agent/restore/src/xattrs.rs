//! Extended attributes of entries of the target, access control lists and capabilities among them.
//!
//! Of what an entry has and the point does not, only what a restore would set is judged: labels that a security module
//! gives to every file are nobody's surplus. What cannot be set here, for want of rights or because the filesystem
//! does not know such attributes, is said and is no difference, or a restore would never find its own work done.

use std::os::fd::{BorrowedFd, OwnedFd};

use model::Escaped;
use rustix::fs::{
    XattrFlags, fgetxattr, fgetxattr_query, flistxattr, flistxattr_query, fremovexattr, fsetxattr, getxattr,
    listxattr, listxattr_query, removexattr, setxattr,
};
use rustix::io::{Errno, Result};
use rustix::thread::{CapabilitySet, capabilities};

use crate::beneath::path_of;

/// Bytes of a list of names (`XATTR_LIST_MAX` of Linux).
const LIST_MAX: usize = 65_536;
const USER: &[u8] = b"user.";
const TRUSTED: &[u8] = b"trusted.";
const SECURITY: &[u8] = b"security.";
const CAPABILITY: &[u8] = b"security.capability";
/// Signs an inode with its number, so that it is never that of another one.
const EVM: &[u8] = b"security.evm";
const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";

/// An extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Xattr {
    pub(crate) name: Box<[u8]>,
    pub(crate) value: Vec<u8>,
}

impl Xattr {
    /// Whether the kernel takes it only from who may write the content.
    pub(crate) fn needs_write(&self) -> bool {
        self.name.starts_with(USER)
    }
}

fn is_reserved(name: &[u8]) -> bool {
    name.starts_with(SECURITY) || name.starts_with(TRUSTED)
}

/// The attributes that a restore sets: those that only root may set, only with `owners`.
pub(crate) fn permitted(mut xattrs: Vec<Xattr>, owners: bool) -> Vec<Xattr> {
    xattrs.retain(|xattr| owners || !is_reserved(&xattr.name));
    xattrs
}

/// What kind of descriptor leads to an entry.
#[derive(Clone, Copy)]
pub(crate) enum Handle<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// An `O_PATH` descriptor.
    Reference(BorrowedFd<'a>),
}

impl Handle<'_> {
    /// Sets an attribute.
    pub(crate) fn set(self, xattr: &Xattr) -> Result<()> {
        let Xattr { name, value } = xattr;
        match self {
            Handle::Open(file) => fsetxattr(file, &name[..], value, XattrFlags::empty()),
            Handle::Reference(path) => setxattr(path_of(path), &name[..], value, XattrFlags::empty()),
        }
    }

    /// Removes an attribute.
    pub(crate) fn remove(self, name: &[u8]) -> Result<()> {
        match self {
            Handle::Open(file) => fremovexattr(file, name),
            Handle::Reference(path) => removexattr(path_of(path), name),
        }
    }

    /// Whether it has just this attribute.
    pub(crate) fn has(self, xattr: &Xattr) -> Result<bool> {
        // A longer value does not fit.
        let mut value = vec![0; xattr.value.len() + 1];
        let length = match self {
            Handle::Open(file) => fgetxattr(file, &xattr.name[..], &mut value[..]),
            Handle::Reference(path) => getxattr(path_of(path), &xattr.name[..], &mut value[..]),
        };
        match length {
            Ok(length) => Ok(value.get(..length) == Some(&xattr.value)),
            Err(Errno::NODATA | Errno::RANGE) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn names(self) -> Result<Vec<u8>> {
        let length = match self {
            Handle::Open(file) => flistxattr_query(file),
            Handle::Reference(path) => listxattr_query(path_of(path)),
        };
        let mut names = match length {
            Ok(0) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
            Ok(_) => vec![0; LIST_MAX],
            Err(error) => return Err(error),
        };
        let length = match self {
            Handle::Open(file) => flistxattr(file, &mut names[..])?,
            Handle::Reference(path) => listxattr(path_of(path), &mut names[..])?,
        };
        names.truncate(length);
        Ok(names)
    }

    /// The names of attributes that are not wanted and that a restore would set if they were.
    pub(crate) fn surplus(self, wanted: &[Xattr], owners: bool) -> Result<Vec<Vec<u8>>> {
        let is_handled = |name: &[u8]| match name {
            ACL_ACCESS | ACL_DEFAULT => true,
            CAPABILITY => owners,
            _ => name.starts_with(USER) || (owners && name.starts_with(TRUSTED)),
        };
        let names = self.names()?;
        let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty() && is_handled(name));
        let is_wanted = |name: &[u8]| wanted.iter().any(|xattr| *xattr.name == *name);
        Ok(names.filter(|name| !is_wanted(name)).map(<[u8]>::to_vec).collect())
    }
}

/// How the attributes of an entry compare with those that are wanted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Same,
    Different,
    /// They are what can be had here; the words say what is missing.
    Unattainable(Vec<String>),
}

/// Compares the attributes of an entry with those that are wanted.
pub(crate) fn compare(handle: Handle<'_>, wanted: &[Xattr], owners: bool) -> Result<Comparison> {
    let mut missing = Vec::new();
    for xattr in wanted.iter().filter(|xattr| *xattr.name != *EVM) {
        let reason = match handle.has(xattr) {
            Ok(true) => continue,
            Ok(false) if may_set(&xattr.name) => return Ok(Comparison::Different),
            Ok(false) => Errno::PERM,
            Err(error @ (Errno::OPNOTSUPP | Errno::NOSYS)) => error,
            Err(error) => return Err(error),
        };
        missing.push(not_set(&xattr.name, reason));
    }
    if !handle.surplus(wanted, owners)?.is_empty() {
        return Ok(Comparison::Different);
    }
    Ok(if missing.is_empty() { Comparison::Same } else { Comparison::Unattainable(missing) })
}

/// The words for an attribute that cannot be set.
pub(crate) fn not_set(name: &[u8], error: Errno) -> String {
    format!("extended attribute {} was not set: {error}", Escaped(name))
}

/// Whether this process has the right to set an attribute of files that it may write.
fn may_set(name: &[u8]) -> bool {
    let needed = match name {
        CAPABILITY => CapabilitySet::SETFCAP,
        _ if is_reserved(name) => CapabilitySet::SYS_ADMIN,
        _ => return true,
    };
    capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

/// Whether new entries of a directory inherit an access control list.
pub(crate) fn has_default_acl(directory: &OwnedFd) -> bool {
    fgetxattr_query(directory, ACL_DEFAULT).is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    fn xattr(name: &[u8], value: &[u8]) -> Xattr {
        Xattr { name: name.into(), value: value.to_vec() }
    }

    #[test]
    fn attributes_are_compared_by_name_and_value() {
        let file = tempfile::tempfile().unwrap();
        let handle = Handle::Open(file.as_fd());
        let (a, b) = (xattr(b"user.a", b"value"), xattr(b"user.b", b""));
        for there in [&a, &b] {
            handle.set(there).unwrap();
        }
        let label = xattr(EVM, b"of another inode");
        for (wanted, expected) in [
            (vec![a.clone(), b.clone()], Comparison::Same),
            (vec![a.clone(), b.clone(), label], Comparison::Same),
            (vec![a.clone()], Comparison::Different),
            (vec![a.clone(), b.clone(), xattr(b"user.c", b"")], Comparison::Different),
            (vec![xattr(b"user.a", b"valu"), b.clone()], Comparison::Different),
            (vec![xattr(b"user.a", b"value and more"), b.clone()], Comparison::Different),
            (vec![xattr(b"user.a", b"other"), b], Comparison::Different),
        ] {
            assert_eq!(compare(handle, &wanted, false).unwrap(), expected, "{wanted:?}");
        }
    }

    #[test]
    fn what_a_filesystem_cannot_hold_is_said_and_no_difference() {
        // A filesystem without any such attributes.
        let file = File::open("/proc/self/status").unwrap();
        let found = compare(Handle::Open(file.as_fd()), &[xattr(b"user.a", b"x")], false).unwrap();
        let Comparison::Unattainable(words) = found else { panic!("{found:?}") };
        assert!(
            words.len() == 1 && words[0].starts_with("extended attribute user.a was not set"),
            "{words:?}"
        );
        assert_eq!(compare(Handle::Open(file.as_fd()), &[], false).unwrap(), Comparison::Same);
    }
}

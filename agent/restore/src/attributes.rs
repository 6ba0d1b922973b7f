//! What an object shall look like besides its content, and making it so through a descriptor.
//!
//! The order is owner, mode, extended attributes, times: a change of owner clears setuid and capabilities, and the
//! time of the last modification comes last, so that an object that has it is complete. What cannot be set is said
//! and the rest goes on; without its owner an object gets no setuid or setgid.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use model::item::{Attributes, FileKind};
use model::{Escaped, Time};
use rustix::fs::{
    AtFlags, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmod, chownat, fchmod,
    fchown, fgetxattr_query, flistxattr, fremovexattr, fsetxattr, futimens, setxattr, utimensat,
};
use rustix::io::Errno;

use crate::beneath::{mode_of, path_of};

/// Bytes of a list of names of extended attributes (`XATTR_LIST_MAX` of Linux).
const XATTR_LIST_MAX: usize = 65_536;
const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";
/// Stands for "leave it" where an owner is set.
const NO_ID: u32 = u32::MAX;

/// An extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Xattr {
    pub(crate) name: Box<[u8]>,
    pub(crate) value: Vec<u8>,
}

/// What an object shall look like.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) mode: u32,
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) modified: Time,
    pub(crate) xattrs: Vec<Xattr>,
}

impl Wanted {
    /// What of the stored attributes is set; the parts that only root may set, only with `owners`.
    pub(crate) fn new(attributes: &Attributes, xattrs: Vec<Xattr>, owners: bool) -> Self {
        let permitted = match attributes.kind {
            _ if owners => 0o7777,
            FileKind::Directory => 0o1777,
            _ => 0o777,
        };
        Self {
            mode: attributes.mode & permitted,
            owner: owners.then_some((attributes.uid, attributes.gid)),
            modified: attributes.modified,
            xattrs: Self::permitted(xattrs, owners),
        }
    }

    /// The attributes that may be set.
    pub(crate) fn permitted(mut xattrs: Vec<Xattr>, owners: bool) -> Vec<Xattr> {
        let is_reserved =
            |xattr: &Xattr| xattr.name.starts_with(b"security.") || xattr.name.starts_with(b"trusted.");
        xattrs.retain(|xattr| owners || !is_reserved(xattr));
        xattrs
    }

    /// Whether an object has this mode, owner and time.
    pub(crate) fn is_met(&self, stat: &Stat) -> bool {
        let now = Now::from(stat);
        now.mode == self.mode && self.owner_is_met(now) && modified(stat) == self.modified
    }

    fn owner_is_met(&self, now: Now) -> bool {
        self.owner.is_none_or(|owner| owner == (now.uid, now.gid))
    }

    pub(crate) fn timestamps(&self) -> Timestamps {
        Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec {
                tv_sec: self.modified.seconds(),
                tv_nsec: self.modified.nanoseconds().into(),
            },
        }
    }
}

/// When content changed last.
pub(crate) fn modified(stat: &Stat) -> Time {
    // The kernel keeps nanoseconds below 10^9.
    Time::from_parts(stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0))
}

/// What happens to extended attributes that an object has and the point does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surplus {
    /// They stay.
    Keep,
    /// They go, as far as the restore sets such attributes at all.
    Remove,
}

/// What an object looks like, as far as that saves setting it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl From<&Stat> for Now {
    fn from(stat: &Stat) -> Self {
        Self { mode: mode_of(stat), uid: stat.st_uid, gid: stat.st_gid }
    }
}

/// Where attributes are set.
#[derive(Clone, Copy)]
enum Handle<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// An `O_PATH` descriptor.
    Reference(BorrowedFd<'a>),
}

/// Makes an open file or directory look as wanted; answers what could not be set.
pub(crate) fn apply(file: impl AsFd, now: Now, wanted: &Wanted, surplus: Surplus) -> Vec<String> {
    let file = file.as_fd();
    let mut problems = Vec::new();
    if surplus == Surplus::Remove {
        remove_surplus(file, wanted, &mut problems);
    }
    set(Handle::Open(file), now, wanted, &mut problems);
    problems
}

/// Makes a pipe, socket or device look as wanted; answers what could not be set.
pub(crate) fn apply_special(reference: impl AsFd, now: Now, wanted: &Wanted) -> Vec<String> {
    let mut problems = Vec::new();
    set(Handle::Reference(reference.as_fd()), now, wanted, &mut problems);
    problems
}

/// Makes a symbolic link look as wanted; it has no mode of its own.
pub(crate) fn apply_link(directory: impl AsFd, name: &[u8], wanted: &Wanted) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some((uid, gid)) = wanted.owner {
        note(&mut problems, "owner", change_owner_of_link(&directory, name, uid, gid));
    }
    if !wanted.xattrs.is_empty() {
        match crate::beneath::refer(&directory, name) {
            Ok(link) => set_xattrs(Handle::Reference(link.as_fd()), &wanted.xattrs, &mut problems),
            Err(error) => note(&mut problems, "extended attributes", Err(error)),
        }
    }
    let times = utimensat(&directory, name, &wanted.timestamps(), AtFlags::SYMLINK_NOFOLLOW);
    note(&mut problems, "time", times);
    problems
}

fn change_owner_of_link(directory: impl AsFd, name: &[u8], uid: u32, gid: u32) -> rustix::io::Result<()> {
    let (uid, gid) = owner_ids(uid, gid)?;
    chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

/// The ids, unless they are the number that means "leave it".
fn owner_ids(uid: u32, gid: u32) -> rustix::io::Result<(Uid, Gid)> {
    if uid == NO_ID || gid == NO_ID {
        return Err(Errno::INVAL);
    }
    Ok((Uid::from_raw(uid), Gid::from_raw(gid)))
}

fn set(handle: Handle<'_>, now: Now, wanted: &Wanted, problems: &mut Vec<String>) {
    let mut mode = wanted.mode;
    let mut is_mode_met = now.mode == mode;
    if let Some((uid, gid)) = wanted.owner
        && !wanted.owner_is_met(now)
    {
        let changed = owner_ids(uid, gid).and_then(|(uid, gid)| match handle {
            Handle::Open(file) => fchown(file, Some(uid), Some(gid)),
            Handle::Reference(path) => chownat(path, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH),
        });
        if changed.is_err() {
            mode &= !0o6000;
        }
        is_mode_met &= mode & 0o6000 == 0;
        note(problems, "owner", changed);
    }
    if !is_mode_met {
        let bits = Mode::from_raw_mode(mode);
        let changed = match handle {
            Handle::Open(file) => fchmod(file, bits),
            Handle::Reference(path) => chmod(path_of(path), bits),
        };
        note(problems, "mode", changed);
    }
    set_xattrs(handle, &wanted.xattrs, problems);
    let changed = match handle {
        Handle::Open(file) => futimens(file, &wanted.timestamps()),
        Handle::Reference(path) => utimensat(path, "", &wanted.timestamps(), AtFlags::EMPTY_PATH),
    };
    note(problems, "time", changed);
}

fn set_xattrs(handle: Handle<'_>, xattrs: &[Xattr], problems: &mut Vec<String>) {
    for Xattr { name, value } in xattrs {
        let changed = match handle {
            Handle::Open(file) => fsetxattr(file, &name[..], value, XattrFlags::empty()),
            Handle::Reference(path) => setxattr(path_of(path), &name[..], value, XattrFlags::empty()),
        };
        if let Err(error) = changed {
            problems.push(format!("extended attribute {} was not set: {error}", Escaped(name)));
        }
    }
}

fn remove_surplus(file: BorrowedFd<'_>, wanted: &Wanted, problems: &mut Vec<String>) {
    let mut buffer = vec![0_u8; XATTR_LIST_MAX];
    let length = match flistxattr(file, &mut buffer[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return,
        Err(error) => return note(problems, "extended attributes", Err(error)),
    };
    let names = buffer.get(..length).unwrap_or_default();
    for name in names.split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let is_root_only = name.starts_with(b"trusted.") || name == b"security.capability";
        let is_ours = name.starts_with(b"user.") || name == ACL_ACCESS || name == ACL_DEFAULT;
        let is_handled = is_ours || (wanted.owner.is_some() && is_root_only);
        if is_handled
            && !wanted.xattrs.iter().any(|xattr| *xattr.name == *name)
            && let Err(error) = fremovexattr(file, name)
        {
            problems.push(format!("extended attribute {} was not removed: {error}", Escaped(name)));
        }
    }
}

/// Whether new entries of a directory inherit an access control list.
pub(crate) fn has_default_acl(directory: &OwnedFd) -> bool {
    fgetxattr_query(directory, ACL_DEFAULT).is_ok()
}

fn note(problems: &mut Vec<String>, what: &str, changed: rustix::io::Result<()>) {
    if let Err(error) = changed {
        problems.push(format!("{what} was not set: {error}"));
    }
}

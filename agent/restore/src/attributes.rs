//! What an object shall look like besides its content, and making it so through a descriptor.
//!
//! The order is `user.` attributes, owner, mode, other attributes, times. The kernel takes the first only from who may
//! write the object, which its mode may forbid; a change of owner clears setuid and capabilities, and one of the mode
//! cuts access control lists, so these come later; the time of the last modification comes last, so that an object
//! that has it is complete. What cannot be set is said and the rest goes on; without its owner an object gets no
//! setuid or setgid.

use std::os::fd::AsFd;

use model::item::{Attributes, FileKind};
use model::{Escaped, Time};
use rustix::fs::{
    AtFlags, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, chmod, chownat, fchmod, fchown,
    futimens, utimensat,
};
use rustix::io::Errno;

use crate::beneath::{mode_of, path_of};
use crate::xattrs::{self, Comparison, Handle, Xattr};

/// Stands for "leave it" where an owner is set.
const NO_ID: u32 = u32::MAX;

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
            xattrs: xattrs::permitted(xattrs, owners),
        }
    }

    /// Whether an object has this mode, owner and time.
    pub(crate) fn is_met(&self, stat: &Stat) -> bool {
        let now = Now::from(stat);
        now.mode == self.mode && self.owner_is_met(now) && modified(stat) == self.modified
    }

    /// How the extended attributes of an object compare with these.
    pub(crate) fn compare_xattrs(&self, object: Handle<'_>) -> rustix::io::Result<Comparison> {
        xattrs::compare(object, &self.xattrs, self.owner.is_some())
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

/// Makes an open file or directory look as wanted; answers what could not be set.
pub(crate) fn apply(file: impl AsFd, now: Now, wanted: &Wanted, surplus: Surplus) -> Vec<String> {
    Setting { handle: Handle::Open(file.as_fd()), now, problems: Vec::new() }.set(wanted, surplus)
}

/// Makes a pipe, socket or device look as wanted; answers what could not be set.
pub(crate) fn apply_special(
    reference: impl AsFd,
    now: Now,
    wanted: &Wanted,
    surplus: Surplus,
) -> Vec<String> {
    Setting { handle: Handle::Reference(reference.as_fd()), now, problems: Vec::new() }.set(wanted, surplus)
}

/// Makes a symbolic link look as wanted; it has no mode of its own.
pub(crate) fn apply_link(
    directory: impl AsFd,
    name: &[u8],
    wanted: &Wanted,
    surplus: Surplus,
) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some((uid, gid)) = wanted.owner {
        note(&mut problems, "owner", change_owner_of_link(&directory, name, uid, gid));
    }
    if !wanted.xattrs.is_empty() || surplus == Surplus::Remove {
        match crate::beneath::refer(&directory, name) {
            Ok(link) => {
                // No mode that forbids anything, and none that could be changed.
                let now = Now { mode: 0o777, uid: 0, gid: 0 };
                let mut link = Setting { handle: Handle::Reference(link.as_fd()), now, problems };
                link.remove_surplus(wanted, surplus);
                wanted.xattrs.iter().for_each(|xattr| link.set_xattr(xattr));
                problems = link.problems;
            }
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

/// An object that is being made to look as wanted.
struct Setting<'h> {
    handle: Handle<'h>,
    now: Now,
    problems: Vec<String>,
}

impl Setting<'_> {
    fn set(mut self, wanted: &Wanted, surplus: Surplus) -> Vec<String> {
        self.remove_surplus(wanted, surplus);
        wanted.xattrs.iter().filter(|xattr| xattr.needs_write()).for_each(|xattr| self.set_xattr(xattr));
        let mut mode = wanted.mode;
        let mut is_mode_met = self.now.mode == mode;
        if let Some((uid, gid)) = wanted.owner
            && !wanted.owner_is_met(self.now)
        {
            let changed = owner_ids(uid, gid).and_then(|(uid, gid)| match self.handle {
                Handle::Open(file) => fchown(file, Some(uid), Some(gid)),
                Handle::Reference(path) => chownat(path, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH),
            });
            if changed.is_err() {
                mode &= !0o6000;
            }
            is_mode_met &= mode & 0o6000 == 0;
            note(&mut self.problems, "owner", changed);
        }
        if !is_mode_met {
            let changed = self.change_mode(mode);
            note(&mut self.problems, "mode", changed);
        }
        wanted.xattrs.iter().filter(|xattr| !xattr.needs_write()).for_each(|xattr| self.set_xattr(xattr));
        let changed = match self.handle {
            Handle::Open(file) => futimens(file, &wanted.timestamps()),
            Handle::Reference(path) => utimensat(path, "", &wanted.timestamps(), AtFlags::EMPTY_PATH),
        };
        note(&mut self.problems, "time", changed);
        self.problems
    }

    fn change_mode(&self, mode: u32) -> rustix::io::Result<()> {
        let bits = Mode::from_raw_mode(mode);
        match self.handle {
            Handle::Open(file) => fchmod(file, bits),
            Handle::Reference(path) => chmod(path_of(path), bits),
        }
    }

    fn set_xattr(&mut self, xattr: &Xattr) {
        let handle = self.handle;
        if let Err(error) = self.opened_up(|| handle.set(xattr))
            && !handle.has(xattr).unwrap_or(false)
        {
            self.problems.push(xattrs::not_set(&xattr.name, error));
        }
    }

    fn remove_surplus(&mut self, wanted: &Wanted, surplus: Surplus) {
        if surplus == Surplus::Keep {
            return;
        }
        let handle = self.handle;
        let names = match handle.surplus(&wanted.xattrs, wanted.owner.is_some()) {
            Ok(names) => names,
            Err(error) => return note(&mut self.problems, "extended attributes", Err(error)),
        };
        for name in names {
            if let Err(error) = self.opened_up(|| handle.remove(&name)) {
                let name = Escaped(&name);
                self.problems.push(format!("extended attribute {name} was not removed: {error}"));
            }
        }
    }

    /// Does something that a mode without write permission may forbid to its owner: he gets it for a while.
    fn opened_up(&mut self, act: impl Fn() -> rustix::io::Result<()>) -> rustix::io::Result<()> {
        match act() {
            Err(Errno::ACCESS) if self.now.mode & 0o200 == 0 => {
                let mode = self.now.mode | 0o200;
                if self.change_mode(mode).is_err() {
                    return Err(Errno::ACCESS);
                }
                self.now.mode = mode;
                act()
            }
            answer => answer,
        }
    }
}

fn note(problems: &mut Vec<String>, what: &str, changed: rustix::io::Result<()>) {
    if let Err(error) = changed {
        problems.push(format!("{what} was not set: {error}"));
    }
}

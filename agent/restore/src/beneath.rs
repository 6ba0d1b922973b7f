//! System calls below a directory that cannot leave it.
//!
//! Whatever lies on the way, a path is resolved beneath the descriptor that it starts from and through no symbolic
//! link. Objects that must not be opened (links, pipes, devices) are reached through `O_PATH` descriptors.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use model::{EntryName, ObjectId};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat, fstat, linkat, openat2,
    renameat_with, statat, unlinkat,
};
use rustix::io::{Errno, Result};

/// How every path is resolved.
const RESOLVE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
/// The kernel answers "try again" when something on the way is renamed meanwhile.
const OPEN_ATTEMPTS_MAX: usize = 64;
/// Names tried for a temporary file.
const TEMPORARY_ATTEMPTS_MAX: usize = 16;
/// How the names of our own unfinished files begin.
const TEMPORARY_PREFIX: &str = ".keepfast-restore-";

/// Opens a path beneath a directory.
pub(crate) fn open(directory: impl AsFd, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut attempts = 0;
    loop {
        match openat2(&directory, path, flags, mode, RESOLVE) {
            Err(Errno::AGAIN | Errno::INTR) if attempts < OPEN_ATTEMPTS_MAX => attempts += 1,
            answer => return answer,
        }
    }
}

/// Opens a directory beneath a directory.
pub(crate) fn open_directory(directory: impl AsFd, path: &[u8]) -> Result<OwnedFd> {
    open(directory, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

/// Opens a regular file for reading; anything else is refused without waiting for it.
pub(crate) fn open_file(directory: impl AsFd, name: &[u8]) -> Result<(OwnedFd, Stat)> {
    let file = open(directory, name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty())?;
    let stat = fstat(&file)?;
    match file_type(&stat) {
        FileType::RegularFile => Ok((file, stat)),
        _ => Err(Errno::INVAL),
    }
}

/// Refers to whatever has a name, without opening it.
pub(crate) fn refer(directory: impl AsFd, name: &[u8]) -> Result<OwnedFd> {
    open(directory, name, OFlags::PATH, Mode::empty())
}

/// A path that leads to the object of a descriptor, whatever names it has.
pub(crate) fn path_of(descriptor: impl AsFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd())
}

/// What has a name, if anything has; links are not followed.
pub(crate) fn stat(directory: impl AsFd, name: &[u8]) -> Result<Option<Stat>> {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The permission bits with setuid, setgid and sticky.
pub(crate) fn mode_of(stat: &Stat) -> u32 {
    stat.st_mode & 0o7777
}

/// The names in a directory, without `.` and `..`, in order.
pub(crate) fn names(directory: impl AsFd) -> Result<Vec<EntryName>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        if let Ok(name) = EntryName::new(entry?.file_name().to_bytes()) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// A name for the unfinished state of an object.
pub(crate) fn temporary_name(object: ObjectId, attempt: usize) -> Vec<u8> {
    match attempt {
        0 => format!("{TEMPORARY_PREFIX}{object}"),
        _ => format!("{TEMPORARY_PREFIX}{object}-{attempt}"),
    }
    .into_bytes()
}

/// Whether a name can be one of our own unfinished files.
pub(crate) fn is_temporary(name: &[u8]) -> bool {
    name.strip_prefix(TEMPORARY_PREFIX.as_bytes())
        .is_some_and(|rest| !rest.is_empty() && rest.iter().all(|b| b.is_ascii_digit() || *b == b'-'))
}

/// Makes something under a free temporary name.
pub(crate) fn make_temporary<T>(
    object: ObjectId,
    mut make: impl FnMut(&[u8]) -> Result<T>,
) -> Result<(T, Vec<u8>)> {
    for attempt in 0..TEMPORARY_ATTEMPTS_MAX {
        let name = temporary_name(object, attempt);
        match make(&name) {
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
            Ok(made) => return Ok((made, name)),
        }
    }
    Err(Errno::EXIST)
}

/// Gives a finished object its name; fails if the name is taken.
pub(crate) fn publish_new(directory: impl AsFd, temporary: &[u8], name: &[u8]) -> Result<()> {
    match renameat_with(&directory, temporary, &directory, name, RenameFlags::NOREPLACE) {
        // Not every filesystem knows the flag; a hard link refuses a name that is taken just as well.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            linkat(&directory, temporary, &directory, name, AtFlags::empty())?;
            unlinkat(&directory, temporary, AtFlags::empty())
        }
        answer => answer,
    }
}

/// Gives a finished object its name, instead of what has it.
pub(crate) fn publish_over(directory: impl AsFd, temporary: &[u8], name: &[u8]) -> Result<()> {
    renameat_with(&directory, temporary, &directory, name, RenameFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_temporary() {
        for ours in [temporary_name(ObjectId(7), 0), temporary_name(ObjectId(7), 3)] {
            assert!(is_temporary(&ours));
        }
        for other in [&b".keepfast-restore"[..], b".keepfast-restore-", b".keepfast-restore-x", b"a"] {
            assert!(!is_temporary(other));
        }
    }

    #[test]
    fn no_path_leads_out() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("inside")).unwrap();
        std::os::unix::fs::symlink("/etc", folder.path().join("link")).unwrap();
        let root = std::fs::File::open(folder.path()).unwrap();
        assert!(open_directory(&root, b"inside").is_ok());
        for path in [&b"link"[..], b"link/ssl", b"..", b"inside/../..", b"/etc"] {
            assert!(open_directory(&root, path).is_err(), "{}", model::Escaped(path));
        }
    }
}

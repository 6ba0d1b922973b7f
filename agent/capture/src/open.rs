//! Opening files to read them without leaving a trace.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

/// Opens `name` in a directory, without touching its access time if the kernel lets us.
pub(crate) fn open_quietly(directory: impl AsFd, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    match openat(&directory, name, flags | OFlags::NOATIME, Mode::empty()) {
        // Only the owner may ask for that.
        Err(Errno::PERM) => openat(&directory, name, flags, Mode::empty()),
        other => other,
    }
}

/// Opens what was a regular file when it was listed: no link is followed, and a pipe or device in its place is not
/// waited for.
pub(crate) fn open_file(directory: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    open_quietly(directory, name, flags)
}

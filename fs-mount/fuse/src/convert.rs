//! Kinds, times, attributes and errors in the words of the kernel.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{Errno, FileAttr, FileType, INodeNo};
use model::item::FileKind;
use model::{ErrorKind, Time};
use view::{Attributes, Lasting, ViewError};

/// What is good always: the kernel counts in seconds, a day is as good.
const ALWAYS: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) const fn duration(lasting: Lasting) -> Duration {
    match lasting {
        Lasting::Always => ALWAYS,
        Lasting::For(duration) => duration,
    }
}

pub(crate) const fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::CharacterDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
    }
}

fn system_time(time: Time) -> SystemTime {
    let distance = Duration::from_nanos(time.0.unsigned_abs());
    if time.0 < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

pub(crate) fn attributes(of: &Attributes) -> FileAttr {
    let (modified, changed) = (system_time(of.modified), system_time(of.changed));
    FileAttr {
        ino: INodeNo(of.number),
        size: of.size,
        blocks: of.stored.div_ceil(512),
        atime: modified,
        mtime: modified,
        ctime: changed,
        crtime: modified,
        kind: file_type(of.kind),
        perm: u16::try_from(of.mode & 0o7777).unwrap_or_default(),
        nlink: of.links,
        uid: of.uid,
        gid: of.gid,
        // The kernel's encoding is the low half of the C library's.
        rdev: u32::try_from(of.rdev & u64::from(u32::MAX)).unwrap_or_default(),
        blksize: 128 << 10,
        flags: 0,
    }
}

/// Of an object of which only the kind is known.
pub(crate) fn unknown(number: u64, kind: FileKind) -> FileAttr {
    let (time, links) = (Time(0), 1);
    let (mode, uid, gid, size, stored, rdev) = (0, 0, 0, 0, 0, 0);
    let (modified, changed) = (time, time);
    attributes(&Attributes { number, kind, mode, uid, gid, size, stored, links, rdev, modified, changed })
}

pub(crate) const fn errno(error: &ViewError) -> Errno {
    match error {
        ViewError::Missing => Errno::ENOENT,
        ViewError::NotDirectory => Errno::ENOTDIR,
        ViewError::IsDirectory => Errno::EISDIR,
        ViewError::WrongKind => Errno::EINVAL,
        ViewError::NoAttribute => Errno::NO_XATTR,
        ViewError::BehindEnd => Errno::ENXIO,
        ViewError::Archive(error) => match error.kind {
            ErrorKind::Refused => Errno::EACCES,
            ErrorKind::Busy => Errno::EAGAIN,
            _ => Errno::EIO,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_those_of_what_is_in_no_hole() {
        let blocks = |size, stored| {
            let (kind, number, mode, uid, gid, links, rdev) = (FileKind::File, 5, 0, 0, 0, 1, 0);
            let (modified, changed) = (Time(0), Time(0));
            let of =
                Attributes { number, kind, mode, uid, gid, size, stored, links, rdev, modified, changed };
            attributes(&of).blocks
        };
        assert_eq!([blocks(0, 0), blocks(1, 1), blocks(1 << 30, 0), blocks(1 << 30, 5000)], [0, 1, 0, 10]);
        assert_eq!(blocks(1 << 30, 1 << 30), 1 << 21);
    }

    #[test]
    fn times_before_1970_keep_their_nanoseconds() {
        for nanoseconds in [0, 1, -1, 1_700_000_000_123_456_789, -5_000_000_001, i64::MIN, i64::MAX] {
            let time = system_time(Time(nanoseconds));
            let back = match time.duration_since(UNIX_EPOCH) {
                Ok(after) => i128::try_from(after.as_nanos()).unwrap(),
                Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap(),
            };
            assert_eq!(back, i128::from(nanoseconds));
        }
    }
}

//! What the filesystem says of an inode, and when that proves that nothing changed.

use model::Time;
use model::item::{Attributes, FileKind};
use rustix::fs::{FileType, Stat};
use rustix::time::ClockId;

use crate::filter::Filesystem;

/// How much older than the last scan the times of a local file must be before they are believed.
///
/// Times are stamped from a clock that ticks every few milliseconds, on some filesystems every two seconds: a
/// file that is changed again within the tick in which it was read keeps its times.
const GUARD_NANOSECONDS: i64 = 2_000_000_000;
/// The same for filesystems whose clock is another machine's, and may be wrong.
const GUARD_REMOTE_NANOSECONDS: i64 = 3_600_000_000_000;

/// What must be equal for a file to count as unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    pub(crate) modified: Time,
    pub(crate) changed: Time,
}

impl Stamp {
    /// Whether the times lie so far before `scan` that a later change must have moved them.
    pub(crate) fn is_settled(&self, scan: Time, filesystem: Filesystem) -> bool {
        let guard = match filesystem {
            Filesystem::Local => GUARD_NANOSECONDS,
            Filesystem::Remote | Filesystem::Pseudo => GUARD_REMOTE_NANOSECONDS,
        };
        let newest = self.modified.max(self.changed);
        newest.0.saturating_add(guard) < scan.0
    }
}

/// What `stat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) stamp: Stamp,
    pub(crate) kind: FileKind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) rdev: u64,
    pub(crate) links: u64,
    pub(crate) blocks: u64,
}

impl Seen {
    /// Reads an answer of the kernel; none for kinds that have no name here.
    #[expect(
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        clippy::unnecessary_cast,
        clippy::useless_conversion,
        reason = "the types of the fields differ between architectures; their values fit"
    )]
    pub(crate) fn new(stat: &Stat) -> Option<Self> {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => FileKind::File,
            FileType::Directory => FileKind::Directory,
            FileType::Symlink => FileKind::Symlink,
            FileType::CharacterDevice => FileKind::CharacterDevice,
            FileType::BlockDevice => FileKind::BlockDevice,
            FileType::Fifo => FileKind::Fifo,
            FileType::Socket => FileKind::Socket,
            FileType::Unknown => return None,
        };
        let is_device = matches!(kind, FileKind::CharacterDevice | FileKind::BlockDevice);
        let stamp = Stamp {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: if kind == FileKind::File { stat.st_size.max(0) as u64 } else { 0 },
            modified: Time::from_parts(stat.st_mtime as i64, stat.st_mtime_nsec as u32),
            changed: Time::from_parts(stat.st_ctime as i64, stat.st_ctime_nsec as u32),
        };
        Some(Self {
            stamp,
            kind,
            mode: u32::from(stat.st_mode) & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            rdev: if is_device { stat.st_rdev as u64 } else { 0 },
            links: stat.st_nlink as u64,
            blocks: stat.st_blocks.max(0) as u64,
        })
    }

    /// Whether the file may have holes.
    pub(crate) const fn is_sparse(&self) -> bool {
        self.blocks.saturating_mul(512) < self.stamp.size
    }

    /// The attributes to send.
    pub(crate) const fn attributes(&self, target: Vec<u8>, image: bool) -> Attributes {
        Attributes {
            kind: self.kind,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            modified: self.stamp.modified,
            changed: self.stamp.changed,
            rdev: self.rdev,
            target,
            image,
        }
    }
}

/// The clock that local filesystems stamp their times from.
pub(crate) fn filesystem_clock() -> Time {
    let time = rustix::time::clock_gettime(ClockId::RealtimeCoarse);
    Time::from_parts(time.tv_sec, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_believed_when_they_are_old_enough() {
        let stamp = |modified, changed| Stamp {
            device: 1,
            inode: 1,
            size: 0,
            modified: Time(modified),
            changed: Time(changed),
        };
        let scan = Time(10_000_000_000);
        for (modified, changed, expected) in [
            (0, 7_999_999_999, true),
            (0, 8_000_000_000, false),
            (8_000_000_000, 0, false),
            (0, i64::MAX, false),
            (i64::MIN, i64::MIN, true),
        ] {
            assert_eq!(stamp(modified, changed).is_settled(scan, Filesystem::Local), expected);
        }
        assert!(!stamp(0, 0).is_settled(scan, Filesystem::Remote));
    }
}

//! Which FUSE filesystems are mounts of Keepfast itself: what they show is a backup already.
//!
//! The kernel tells FUSE filesystems apart by their types and sources only, in `/proc/self/mountinfo`. A list that
//! cannot be read or understood names none, so that a filesystem is rather backed up twice than not at all.

use std::fs::File;
use std::io::Read;

use rustix::fs::{major, minor};

const MOUNTINFO: &str = "/proc/self/mountinfo";
/// Most bytes of the list that are read.
const LENGTH_MAX: u64 = 64 << 20;
/// What the mounts of Keepfast give as their source and as the kind of FUSE filesystem that they are.
const OURS: &[u8] = b"keepfast";
/// Fields of a line in front of those that only some lines have, and which of them is the device.
const FIELDS_FIXED: usize = 6;
const FIELD_DEVICE: usize = 2;

/// Whether the FUSE filesystem with this device is a mount of Keepfast.
pub(crate) fn is_ours(device: u64) -> bool {
    let mut list = Vec::new();
    let read = File::open(MOUNTINFO).and_then(|file| file.take(LENGTH_MAX).read_to_end(&mut list));
    match read {
        Ok(_) => names_ours(&list, (major(device), minor(device))),
        Err(error) => {
            tracing::warn!(%error, "{MOUNTINFO} cannot be read; FUSE filesystems are entered unseen");
            false
        }
    }
}

/// Whether a list of mounts says that a device is one of ours.
fn names_ours(list: &[u8], (major, minor): (u32, u32)) -> bool {
    let device = format!("{major}:{minor}");
    list.split(|byte| *byte == b'\n').any(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let mut fixed = fields.by_ref().take(FIELDS_FIXED);
        if fixed.nth(FIELD_DEVICE) != Some(device.as_bytes()) {
            return false;
        }
        fixed.for_each(drop);
        let mut behind = fields.skip_while(|field| *field != b"-").skip(1).map(unescaped);
        let (Some(kind), Some(source)) = (behind.next(), behind.next()) else { return false };
        // Root mounts without saying which kind of FUSE it is.
        match kind.strip_prefix(b"fuse") {
            Some(b"") => source == OURS,
            Some([b'.', kind @ ..]) => kind == OURS || source == OURS,
            _ => false,
        }
    })
}

/// A field without the octal numbers that stand for white space and backslashes.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, behind @ ..] = rest {
        let (byte, behind) = match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', behind @ ..] => {
                ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), behind)
            }
            _ => (*first, behind),
        };
        plain.push(byte);
        rest = behind;
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &[u8] = b"\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 253:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
90 27 0:50 / /mnt/points ro,nosuid,nodev,noatime shared:40 master:2 - fuse keepfast ro,user_id=0,group_id=0
91 27 0:51 / /home/me/my\\040points ro,nosuid - fuse.keepfast keepfast ro,user_id=1000
92 27 0:52 / /mnt/sshfs rw - fuse.sshfs me@host:/keepfast rw
93 27 0:53 / /mnt/-\\040fuse\\040keepfast rw - fuse.mergerfs a:b rw
94 27 8:17 / /mnt/stick rw shared:9 - fuseblk /dev/sdb1 rw
95 27 0:55 / /mnt/odd rw - fuse.keep\\146ast some\\134thing rw
96 27 0:56 / /mnt/keepfast rw - nfs keepfast rw
97 27 0:57 / /mnt/cut rw - fuse
98 27 0:58 / /mnt/cut rw
\xff\xfe 0:59 - fuse keepfast
99 27 0:500 / /mnt/more rw - fuse keepfast rw
";

    #[test]
    fn mounts_of_keepfast_are_told_from_others() {
        for (device, expected) in [
            ((0, 50), true),
            ((0, 51), true),
            ((0, 55), true),
            ((0, 500), true),
            ((0, 21), false),
            ((253, 0), false),
            ((0, 52), false),
            ((0, 53), false),
            ((8, 17), false),
            ((0, 56), false),
            ((0, 57), false),
            ((0, 58), false),
            ((0, 59), false),
            ((0, 5), false),
            ((50, 0), false),
        ] {
            assert_eq!(names_ours(LIST, device), expected, "{device:?}");
        }
        for length in 0..LIST.len() {
            // No list is a reason to fail.
            names_ours(&LIST[..length], (0, 50));
        }
    }

    #[test]
    fn octal_numbers_stand_for_bytes() {
        for (field, expected) in [
            (&b"plain"[..], &b"plain"[..]),
            (b"a\\040b\\011\\134", b"a b\t\\"),
            (b"\\377\\400\\38\\", b"\xff\\400\\38\\"),
            (b"", b""),
        ] {
            assert_eq!(unescaped(field), expected, "{}", model::Escaped(field));
        }
    }

    #[test]
    fn the_root_of_this_machine_is_not_ours() {
        assert!(!is_ours(rustix::fs::stat("/").unwrap().st_dev));
    }
}

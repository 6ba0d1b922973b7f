//! The superblock of an XFS, as far as it says which drive it is. Nothing but bytes: a disk can claim anything.
//!
//! A drive is known by the UUID of its filesystem, which is its own, and shown by the label, which is the first four
//! bytes of it.

use std::fmt;

/// Bytes of a superblock that are looked at.
pub(crate) const LENGTH: usize = 512;
const MAGIC: &[u8; 4] = b"XFSB";
const UUID_AT: usize = 32;
const LABEL_AT: usize = 108;
const LABEL_LENGTH: usize = 12;
/// Not zero while the filesystem is being made.
const UNFINISHED_AT: usize = 126;
/// What labels of drives begin with.
const PREFIX: &str = "kf-";

/// The UUID of a drive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DriveId(pub [u8; 16]);

impl DriveId {
    /// The label of its filesystem: `kf-` and eight hexadecimal digits.
    #[must_use]
    pub fn label(self) -> String {
        let digits: String = self.0.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        format!("{PREFIX}{digits}")
    }
}

impl fmt::Display for DriveId {
    /// As UUIDs are written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for DriveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DriveId({self})")
    }
}

/// The filesystem of a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) drive: DriveId,
    /// Making it was interrupted.
    pub(crate) is_unfinished: bool,
}

/// Reads a superblock; nothing if it is none of a drive.
pub(crate) fn parse(bytes: &[u8]) -> Option<Superblock> {
    let bytes: &[u8; LENGTH] = bytes.get(..LENGTH)?.try_into().ok()?;
    let uuid: [u8; 16] = bytes.get(UUID_AT..UUID_AT + 16)?.try_into().ok()?;
    let label = bytes.get(LABEL_AT..LABEL_AT + LABEL_LENGTH)?;
    let drive = DriveId(uuid);
    let expected = drive.label();
    let is_ours = label.strip_prefix(expected.as_bytes())?.iter().all(|byte| *byte == 0);
    let is_unfinished = bytes.get(UNFINISHED_AT).is_some_and(|byte| *byte != 0);
    (bytes.starts_with(MAGIC) && is_ours).then_some(Superblock { drive, is_unfinished })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn superblock(drive: DriveId) -> Vec<u8> {
        let mut bytes = vec![0; LENGTH];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[UUID_AT..UUID_AT + 16].copy_from_slice(&drive.0);
        bytes[LABEL_AT..LABEL_AT + 11].copy_from_slice(drive.label().as_bytes());
        bytes
    }

    #[test]
    fn a_drive_is_known_by_its_uuid_and_a_label_that_fits_it() {
        let drive = DriveId(std::array::from_fn(|i| u8::try_from(i * 17).unwrap()));
        assert_eq!(drive.label(), "kf-00112233");
        assert_eq!(drive.to_string(), "00112233-4455-6677-8899-aabbccddeeff");
        let good = superblock(drive);
        assert_eq!(parse(&good), Some(Superblock { drive, is_unfinished: false }));
        let mut unfinished = good.clone();
        unfinished[UNFINISHED_AT] = 1;
        assert!(parse(&unfinished).unwrap().is_unfinished);
        for wrong in [0, UUID_AT, LABEL_AT, LABEL_AT + 3, LABEL_AT + 11] {
            let mut bytes = good.clone();
            bytes[wrong] ^= 1;
            assert_eq!(parse(&bytes), None, "byte {wrong}");
        }
        assert_eq!(parse(&good[..LENGTH - 1]), None);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1000)) {
            let _ = parse(&bytes);
        }
    }
}

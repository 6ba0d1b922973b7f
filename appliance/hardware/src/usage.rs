//! Where devices are mounted, and what is used for swap, as the kernel tells it.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::sysfs::{Hardware, Number};

/// Most lines that are looked at.
const LINES_MAX: usize = 65_536;

/// A filesystem that is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountPoint {
    /// The device, if it is one.
    pub(crate) number: Number,
    pub(crate) path: PathBuf,
    /// What it was mounted from; some filesystems have numbers of their own.
    pub(crate) source: PathBuf,
}

/// Reads `/proc/self/mountinfo`.
pub(crate) fn parse_mounts(text: &[u8]) -> Vec<MountPoint> {
    let mount = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b' ');
        let number = Number::parse(std::str::from_utf8(fields.nth(2)?).ok()?)?;
        let path = unescaped(fields.nth(1)?);
        let source = fields.skip_while(|field| *field != b"-").nth(2).map(unescaped).unwrap_or_default();
        Some(MountPoint { number, path, source })
    };
    text.split(|byte| *byte == b'\n').take(LINES_MAX).filter_map(mount).collect()
}

/// Reads `/proc/swaps`: files and devices.
pub(crate) fn parse_swaps(text: &[u8]) -> Vec<PathBuf> {
    let lines = text.split(|byte| *byte == b'\n').skip(1).take(LINES_MAX);
    let paths = lines.filter_map(|line| line.split(|byte| matches!(byte, b' ' | b'\t')).next());
    paths.filter(|path| path.starts_with(b"/")).map(unescaped).collect()
}

/// Takes back the octal numbers that the kernel writes for blanks and the like.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut plain = Vec::with_capacity(field.len());
    let mut at = 0;
    while let Some(byte) = field.get(at) {
        let digits = field.get(at + 1..at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
        let number = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match number.filter(|_| *byte == b'\\') {
            Some(number) => {
                plain.push(number);
                at += 4;
            }
            None => {
                plain.push(*byte);
                at += 1;
            }
        }
    }
    std::ffi::OsString::from_vec(plain).into()
}

impl Hardware {
    pub(crate) fn mounts(&self) -> Vec<MountPoint> {
        parse_mounts(&self.proc("self/mountinfo").unwrap_or_default())
    }

    /// Devices that are used for swap.
    pub(crate) fn swaps(&self) -> Vec<Number> {
        let paths = parse_swaps(&self.proc("swaps").unwrap_or_default());
        paths.iter().filter_map(|path| fs::metadata(path).ok()).map(|data| Number::of(data.rdev())).collect()
    }
}

impl MountPoint {
    /// Whether it is of a device, by its number or by what it was mounted from.
    pub(crate) fn is_of(&self, number: Number) -> bool {
        let of_source = || {
            let data = fs::metadata(&self.source).ok()?;
            (data.mode() & 0o170_000 == 0o060_000).then(|| Number::of(data.rdev()))
        };
        self.number == number || of_source() == Some(number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn recorded_tables_are_read() {
        let text = b"22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
            30 22 0:27 /@home /home\\040of\\134me rw - btrfs /dev/sdb2 rw,subvol=/@home\n\
            31 22 0:5 / /dev rw master:2 propagate_from:1 - devtmpfs devtmpfs rw\nnonsense\n\n";
        let mounts = parse_mounts(text);
        let number = |major, minor| Number { major, minor };
        let expected = [
            (number(254, 0), "/", "/dev/vda"),
            (number(0, 27), "/home of\\me", "/dev/sdb2"),
            (number(0, 5), "/dev", "devtmpfs"),
        ];
        let expected = expected.map(|(number, path, source)| MountPoint {
            number,
            path: path.into(),
            source: source.into(),
        });
        assert_eq!(mounts, expected);
        let swaps =
            b"Filename\t\t\t\tType\t\tSize\n/dev/zram0  partition\t1024\n/swap\\040file file 1\n(deleted)\n";
        assert_eq!(parse_swaps(swaps), ["/dev/zram0", "/swap file"].map(PathBuf::from));
    }

    proptest! {
        #[test]
        fn nothing_makes_them_panic(text in proptest::collection::vec(any::<u8>(), 0..500)) {
            let _ = (parse_mounts(&text), parse_swaps(&text));
        }
    }
}

//! What `blkid -p` says of a device: parsed as what it is, text from somebody else's disk.

use std::fs::File;
use std::path::Path;

use crate::HardwareError;
use crate::printable::some_printable;
use crate::program::{BLKID, Program};

/// Most lines that are looked at.
const LINES_MAX: usize = 256;
/// Nothing was found.
const NOTHING: i32 = 2;
/// What was found contradicts itself.
const AMBIVALENT: i32 = 8;

/// What is on a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Probe {
    /// The kind of filesystem, swap, RAID or LVM member.
    pub(crate) kind: Option<String>,
    /// What it is used for: `filesystem`, `raid`, `crypto`, `other`.
    pub(crate) usage: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) uuid: Option<String>,
    /// The kind of partition table.
    pub(crate) table: Option<String>,
    /// The label of the partition that it is.
    pub(crate) partition_label: Option<String>,
    /// There are several signatures, of which one at most is right.
    pub(crate) is_ambivalent: bool,
}

/// Looks at a device.
pub(crate) fn probe(device: &Path) -> Result<Probe, HardwareError> {
    probe_with(BLKID, device)
}

fn probe_with(program: Program, device: &Path) -> Result<Probe, HardwareError> {
    // It says of a device that it cannot open what it says of an empty one.
    drop(File::open(device).map_err(HardwareError::io("open", device))?);
    let arguments = ["-p", "-o", "export", "--"].map(str::to_owned).into_iter();
    let arguments: Vec<String> = arguments.chain([device.display().to_string()]).collect();
    let ended = program.run_to_any_end(&arguments, "")?;
    match ended.code {
        Some(0) => Ok(parse(&ended.out)),
        Some(NOTHING) => Ok(Probe::default()),
        Some(AMBIVALENT) => Ok(Probe { is_ambivalent: true, ..Probe::default() }),
        _ => Err(program.failed(&arguments, &ended)),
    }
}

/// Reads lines of `KEY=value`. Keys that are not known are passed over; of a key that comes twice the first counts.
pub(crate) fn parse(output: &[u8]) -> Probe {
    let mut probe = Probe::default();
    for line in output.split(|byte| *byte == b'\n').take(LINES_MAX) {
        let Some(at) = line.iter().position(|byte| *byte == b'=') else { continue };
        let (key, value) = (&line[..at], &line[at + 1..]);
        let field = match key {
            b"TYPE" => &mut probe.kind,
            b"USAGE" => &mut probe.usage,
            b"LABEL" => &mut probe.label,
            b"UUID" => &mut probe.uuid,
            b"PTTYPE" => &mut probe.table,
            b"PART_ENTRY_NAME" => &mut probe.partition_label,
            _ => continue,
        };
        if field.is_none() {
            *field = some_printable(&unescaped(value));
        }
    }
    probe
}

/// Takes back the backslashes that `blkid` puts before what a shell would take for something.
fn unescaped(value: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(value.len());
    let mut bytes = value.iter().copied();
    while let Some(byte) = bytes.next() {
        plain.extend(if byte == b'\\' { bytes.next() } else { Some(byte) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn recorded_outputs_are_read() {
        let ext4 =
            b"DEVNAME=/dev/sdb1\nLABEL=my\\ disk\nUUID=5b1c\nVERSION=1.0\nTYPE=ext4\nUSAGE=filesystem\n\
            PART_ENTRY_SCHEME=gpt\nPART_ENTRY_NAME=primary\nPART_ENTRY_NUMBER=1\n";
        let expected = Probe {
            kind: some("ext4"),
            usage: some("filesystem"),
            label: some("my disk"),
            uuid: some("5b1c"),
            partition_label: some("primary"),
            ..Probe::default()
        };
        assert_eq!(parse(ext4), expected);
        let table = parse(b"DEVNAME=/dev/sdb\nPTUUID=01\nPTTYPE=gpt\n");
        assert_eq!(table, Probe { table: some("gpt"), ..Probe::default() });
        let raid = parse(b"UUID=f3\nLABEL=nas:0\nTYPE=linux_raid_member\nUSAGE=raid\n");
        assert_eq!((raid.kind, raid.usage), (some("linux_raid_member"), some("raid")));
    }

    #[test]
    fn hostile_outputs_are_bounded_and_made_printable() {
        let hostile = parse(b"LABEL=\x1b]0;gone\x07\nLABEL=second\nTYPE=\n=\nTYPE=xfs\\");
        assert_eq!((hostile.label, hostile.kind), (some("]0;gone"), some("xfs")));
        let long = [b"LABEL=".as_slice(), &[b'a'; 100_000]].concat();
        assert!(parse(&long).label.is_some_and(|label| label.len() <= 256));
        let many = b"X=1\n".repeat(100_000);
        assert_eq!(parse(&[&many[..], b"TYPE=ext4"].concat()), Probe::default());
    }

    #[test]
    fn a_program_that_fails_is_an_error_and_not_a_blank_disk() {
        let ending = |name| {
            let program = Program { name, package: "x", time_max: Duration::from_secs(5), ..BLKID };
            probe_with(program, Path::new("/dev/null"))
        };
        assert_eq!(ending("true").unwrap(), Probe::default());
        let failed = ending("false").unwrap_err();
        assert!(failed.to_string().contains("is left as it is"), "{failed}");
        let gone = probe(Path::new("/dev/no-such-disk")).unwrap_err();
        assert!(gone.to_string().contains("/dev/no-such-disk"), "{gone}");
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(output in proptest::collection::vec(any::<u8>(), 0..500)) {
            let _ = parse(&output);
            let with_key = [b"LABEL=".as_slice(), &output].concat();
            if let Some(label) = parse(&with_key).label {
                prop_assert!(label.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            }
        }
    }
}

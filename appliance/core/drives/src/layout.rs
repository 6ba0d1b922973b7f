//! What lies where on a member, and which files are kept on which members. FORMAT.md has the table.

use model::SegmentNumber;

/// The copies of a superblock.
pub(crate) const SUPERBLOCKS: [&str; 3] = ["member.0", "member.1", "member.2"];
/// Locked while a set is open.
pub(crate) const MEMBER_LOCK: &str = "member.lock";
/// Segments.
pub(crate) const SEGMENTS: &str = "segments";
/// Parity files.
pub(crate) const PARITY: &str = "parity";
/// Everything else that only the set sees.
pub(crate) const SET: &str = "set";
/// Files that are being made, under the names that they will have, with `/` as `.`.
pub(crate) const MAKING: &str = "set/making";
/// A name for each file whose copies may differ.
pub(crate) const WRITING: &str = "set/writing";
/// A name for each segment of which a member that is out may have an old copy.
pub(crate) const CHANGED: &str = "set/changed";
/// Segments and parity files of a member that came back, until they are compared.
pub(crate) const STALE: &str = "set/stale";
/// Segments that are removed and that parity still needs, named GROUP-SLOT.
pub(crate) const LEAVING: &str = "set/leaving";
/// Directories of the set's own, parents first.
pub(crate) const DIRECTORIES: [&str; 7] = [PARITY, SET, MAKING, WRITING, CHANGED, STALE, LEAVING];
/// The name in [`WRITING`] that stands for the catalog's files.
pub(crate) const CATALOG_MARK: &str = "catalog";

/// Which members have a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// As many as the policy says.
    Segment(SegmentNumber),
    /// Those that are a home of the catalog.
    Catalog,
    /// All that are in service.
    Everywhere,
}

impl Class {
    /// The class of a path that has been parsed.
    pub(crate) fn of(path: &str) -> Self {
        if let Some(number) = path.strip_prefix("segments/").and_then(segment_number) {
            return Self::Segment(number);
        }
        if path.starts_with("catalog.redb") && !path.contains('/') { Self::Catalog } else { Self::Everywhere }
    }
}

/// Whether the first component of a path is the set's own, so that nobody else sees it.
pub(crate) fn is_reserved(path: &str) -> bool {
    let first = path.split('/').next().unwrap_or_default();
    first == PARITY || first == SET || first.starts_with("member.")
}

/// The file of a segment.
pub(crate) fn segment_path(number: SegmentNumber) -> String {
    format!("{SEGMENTS}/{}", segment_name(number))
}

/// The file's name in its directory.
pub(crate) fn segment_name(number: SegmentNumber) -> String {
    format!("{:016x}.seg", number.0)
}

/// The number of the segment in a file of this name.
pub(crate) fn segment_number(name: &str) -> Option<SegmentNumber> {
    hexadecimal(name.strip_suffix(".seg")?).map(SegmentNumber)
}

/// Sixteen lower-case digits.
pub(crate) fn hexadecimal(digits: &str) -> Option<u64> {
    let lower = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (digits.len() == 16 && lower).then(|| u64::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_class() {
        let number = SegmentNumber(0x1f);
        assert_eq!(Class::of(&segment_path(number)), Class::Segment(number));
        for path in ["catalog.redb", "catalog.redb.new", "catalog.redb.damaged-3"] {
            assert_eq!(Class::of(path), Class::Catalog, "{path}");
        }
        for path in [
            "header.0",
            "segments/x.seg",
            "segments/00000000000000AB.seg",
            "a/catalog.redb",
            "0000000000000001.seg",
        ] {
            assert_eq!(Class::of(path), Class::Everywhere, "{path}");
        }
        assert!(is_reserved("member.0") && is_reserved("set/making/x") && is_reserved("parity"));
        assert!(!is_reserved("members") && !is_reserved("segments/set") && !is_reserved(""));
    }
}

//! Paths on a drive, parsed once.
//!
//! A path is relative and `/`-separated. Nothing that could lead out of the drive, or that could be
//! written in two ways, is a path: no `..`, no `.`, no empty component, no leading or trailing `/`, no NUL.

use crate::DiskError;

/// A path on a drive; `""` is its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskPath<'a>(&'a str);

impl<'a> DiskPath<'a> {
    /// The longest component, in bytes.
    pub const NAME_LENGTH_MAX: usize = 255;
    /// The longest path, in bytes.
    pub const LENGTH_MAX: usize = 4095;

    /// Checks a text; says why it is no path.
    pub fn parse(path: &'a str) -> Result<Self, DiskError> {
        match Self::objection(path) {
            None => Ok(Self(path)),
            Some(reason) => Err(DiskError::Path { path: path.to_owned(), reason }),
        }
    }

    fn objection(path: &str) -> Option<&'static str> {
        if path.is_empty() {
            return None;
        }
        if path.len() > Self::LENGTH_MAX {
            return Some("is too long");
        }
        if path.starts_with('/') {
            return Some("is absolute");
        }
        if path.contains('\0') {
            return Some("contains NUL");
        }
        path.split('/').find_map(|name| match name {
            "" => Some("has an empty component"),
            "." | ".." => Some("leads to itself or upwards"),
            _ if name.len() > Self::NAME_LENGTH_MAX => Some("has a component that is too long"),
            _ => None,
        })
    }

    /// Parses the path of something that has a name: anything but the root.
    pub fn parse_entry(path: &'a str) -> Result<Self, DiskError> {
        if path.is_empty() {
            return Err(DiskError::Path { path: String::new(), reason: "is the root" });
        }
        Self::parse(path)
    }

    /// The text.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// The directory that holds it; the root holds itself.
    #[must_use]
    pub fn parent(self) -> Self {
        Self(self.0.rsplit_once('/').map_or("", |(parent, _)| parent))
    }

    /// The last component; empty for the root.
    #[must_use]
    pub fn name(self) -> &'a str {
        self.0.rsplit_once('/').map_or(self.0, |(_, name)| name)
    }

    /// The components from the root down.
    pub fn components(self) -> impl Iterator<Item = &'a str> {
        self.0.split('/').filter(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use model::ErrorKind;

    use super::*;

    #[test]
    fn what_leads_out_or_is_ambiguous_is_no_path() {
        let long = "x".repeat(256);
        let longer = "x/".repeat(2048) + "x";
        for text in ["/", "/a", "a/", "a//b", "..", "a/../b", ".", "./a", "a/.", "a\0b", &long, &longer] {
            assert_eq!(DiskPath::parse(text).map_err(|e| e.kind()), Err(ErrorKind::Refused), "{text:?}");
        }
        assert_eq!(DiskPath::parse_entry("").map_err(|e| e.kind()), Err(ErrorKind::Refused));
    }

    #[test]
    fn a_path_falls_into_parent_and_name() {
        for (text, parent, name, depth) in
            [("", "", "", 0), ("a", "", "a", 1), ("a/b", "a", "b", 2), ("a/..b/c.seg", "a/..b", "c.seg", 3)]
        {
            let path = DiskPath::parse(text).unwrap();
            assert_eq!((path.parent().as_str(), path.name()), (parent, name));
            assert_eq!(path.components().count(), depth);
        }
    }
}

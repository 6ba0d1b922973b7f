//! Names inside directories, and paths as lists of them: bytes, not text.

use std::fmt;

use thiserror::Error;

/// Longest name of a directory entry, in bytes (`NAME_MAX` of Linux).
pub const ENTRY_NAME_LENGTH_MAX: usize = 255;
/// Longest path that is accepted from outside, in bytes (`PATH_MAX` of Linux).
pub const PATH_LENGTH_MAX: usize = 4096;

/// A name that no filesystem entry can have.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum EntryNameError {
    /// Empty, `.` or `..`.
    #[error("{0:?} is not a name of an entry")]
    Reserved(String),
    /// Contains `/` or NUL.
    #[error("name {0:?} contains a slash or a zero byte")]
    Separator(String),
    /// Longer than [`ENTRY_NAME_LENGTH_MAX`].
    #[error("name of {0} bytes is longer than 255")]
    TooLong(usize),
}

/// A checked name of a directory entry: 1 to 255 bytes, not `.` or `..`, without `/` and NUL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryName(Box<[u8]>);

impl EntryName {
    /// Checks bytes from outside.
    pub fn new(bytes: &[u8]) -> Result<Self, EntryNameError> {
        let shown = || Escaped(bytes).to_string();
        if bytes.len() > ENTRY_NAME_LENGTH_MAX {
            return Err(EntryNameError::TooLong(bytes.len()));
        }
        if matches!(bytes, b"" | b"." | b"..") {
            return Err(EntryNameError::Reserved(shown()));
        }
        if bytes.iter().any(|b| matches!(b, b'/' | 0)) {
            return Err(EntryNameError::Separator(shown()));
        }
        Ok(Self(bytes.into()))
    }

    /// The bytes as the filesystem has them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Escaped(&self.0))
    }
}

impl fmt::Debug for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl<C> minicbor::Encode<C> for EntryName {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for EntryName {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes = d.bytes()?;
        Self::new(bytes).map_err(|e| minicbor::decode::Error::custom(e).at(d.position()))
    }
}

/// Splits a path into checked names; empty parts and `.` are dropped, `..` is refused.
pub fn split_path(path: &[u8]) -> Result<Vec<EntryName>, EntryNameError> {
    if path.len() > PATH_LENGTH_MAX {
        return Err(EntryNameError::TooLong(path.len()));
    }
    path.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b".")).map(EntryName::new).collect()
}

/// Bytes for people: UTF-8 as it is, control, bidirectional and invalid bytes escaped as `\xNN` or `\u{N}`.
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.utf8_chunks() {
            for c in part.valid().chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    '\n' => f.write_str("\\n")?,
                    '\t' => f.write_str("\\t")?,
                    c if is_unsafe_to_print(c) => write!(f, "\\u{{{:x}}}", u32::from(c))?,
                    c => write!(f, "{c}")?,
                }
            }
            for byte in part.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Control characters, and the marks that change the direction or order of what follows.
fn is_unsafe_to_print(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_escape_are_refused() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0b", &[b'x'; 256]] {
            assert!(EntryName::new(bad).is_err(), "{}", Escaped(bad));
        }
        for good in [&b"-rf"[..], b"...", b"\xff\xfe", b"new\nline", b"\x1b]0;x", &[b'x'; 255]] {
            assert_eq!(EntryName::new(good).unwrap().as_bytes(), good);
        }
    }

    #[test]
    fn paths_are_split_without_dots() {
        let names = split_path(b"//usr/./share/").unwrap();
        assert_eq!(names.iter().map(EntryName::as_bytes).collect::<Vec<_>>(), [&b"usr"[..], b"share"]);
        assert!(split_path(b"usr/../etc").is_err());
        assert!(split_path(&[b'x'; 5000]).is_err());
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(Escaped(b"a\x1b]0;b\n\xff\\").to_string(), "a\\u{1b}]0;b\\n\\xff\\\\");
        assert_eq!(Escaped("\u{e9}\u{202e}x".as_bytes()).to_string(), "\u{e9}\\u{202e}x");
    }
}

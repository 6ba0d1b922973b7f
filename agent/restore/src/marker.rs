//! The marker that stands in a target while a restore is not done.
//!
//! It is written and synced before anything else changes and removed after everything is synced. It names the point
//! and the request, so that the same request is known to go on, and the directories that were there before, so that
//! all others are known to be ours. A marker without its last line was never complete, so nothing followed it. It is
//! locked for as long as a restore runs.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use model::SourceId;
use model::archive::PointKey;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, fstat, unlinkat};
use rustix::io::Errno;

use crate::beneath;
use crate::request::{Overwrite, Request};

/// Its name in the target.
pub(crate) const MARKER: &[u8] = b".keepfast-restore";
const HEAD: &str = "keepfast-restore 1\n";
const END: &str = "end\n";
const ADD: &str = "add";
const REPLACE: &str = "replace";
/// Most bytes of a marker that are read.
const LENGTH_MAX: u64 = 256 << 20;

/// What a marker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) point: PointKey,
    /// Whether it may replace what differs.
    pub(crate) replaces: bool,
    /// A hash of the paths that were asked for.
    pub(crate) paths: String,
    /// Objects of directories that were there before.
    pub(crate) kept: BTreeSet<u64>,
}

/// What is under the name of the marker.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    /// A marker that was broken off itself.
    Incomplete,
    Marker(Marker),
    /// Something that we did not write.
    Foreign,
}

impl Marker {
    /// The marker of a request, before it is known what is there.
    pub(crate) fn of(request: &Request<'_>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for path in &request.paths {
            for name in path {
                hasher.update(b"/").update(name.as_bytes());
            }
            hasher.update(b"\0");
        }
        let paths = hasher.finalize().to_hex().to_string();
        let replaces = request.overwrite == Overwrite::Differing;
        Self { point: request.point, replaces, paths, kept: BTreeSet::new() }
    }

    /// Whether a restore that left this marker is gone on with by that request.
    pub(crate) fn is_of(&self, other: &Self) -> bool {
        self.point == other.point && self.replaces == other.replaces && self.paths == other.paths
    }

    /// Whether both speak of the same directories: objects keep their numbers within a source.
    pub(crate) fn is_comparable(&self, other: &Self) -> bool {
        self.point.source == other.point.source && self.paths == other.paths
    }

    fn encode(&self) -> String {
        let PointKey { source, number } = self.point;
        let verb = if self.replaces { REPLACE } else { ADD };
        let mut text = format!("{HEAD}point {source} {number}\n{verb} {}\n", self.paths);
        for object in &self.kept {
            // Writing to a string does not fail.
            let _ = writeln!(text, "kept {object}");
        }
        text + END
    }

    fn decode(text: &str) -> Found {
        let Some(body) = text.strip_prefix(HEAD) else {
            return if HEAD.starts_with(text) { Found::Incomplete } else { Found::Foreign };
        };
        let Some(lines) = body.strip_suffix(END) else { return Found::Incomplete };
        Self::decode_lines(lines).map_or(Found::Foreign, Found::Marker)
    }

    fn decode_lines(lines: &str) -> Option<Self> {
        let mut lines = lines.lines();
        let (source, number) = lines.next()?.strip_prefix("point ")?.split_once(' ')?;
        let point = PointKey { source: SourceId(source.parse().ok()?), number: number.parse().ok()? };
        let (verb, paths) = lines.next()?.split_once(' ')?;
        let replaces = [ADD, REPLACE].iter().position(|known| *known == verb)? == 1;
        let kept = lines.map(|line| line.strip_prefix("kept ")?.parse().ok()).collect::<Option<_>>()?;
        Some(Self { point, replaces, paths: paths.to_owned(), kept })
    }
}

/// Looks for a marker.
pub(crate) fn look(root: &OwnedFd) -> io::Result<Found> {
    match beneath::open_file(root, MARKER) {
        Ok((file, _)) => read(&File::from(file)),
        Err(Errno::NOENT) => Ok(Found::Nothing),
        Err(Errno::LOOP | Errno::INVAL | Errno::NXIO) => Ok(Found::Foreign),
        Err(error) => Err(error.into()),
    }
}

fn read(file: &File) -> io::Result<Found> {
    let mut bytes = Vec::new();
    file.take(LENGTH_MAX).read_to_end(&mut bytes)?;
    Ok(str::from_utf8(&bytes).map_or(Found::Foreign, Marker::decode))
}

/// A marker that is locked by this restore.
pub(crate) struct Held {
    _file: File,
}

impl Held {
    /// Locks the marker and makes it say `marker`, durably; none if another restore has it.
    pub(crate) fn place(root: &OwnedFd, marker: &Marker) -> io::Result<Option<Self>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK;
        let file = File::from(beneath::open(root, MARKER, flags, Mode::RUSR | Mode::WUSR)?);
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // Whoever held the lock may have been done and removed the file.
        if fstat(&file)?.st_nlink == 0 {
            return Ok(None);
        }
        if read(&file)? != Found::Marker(marker.clone()) {
            file.set_len(0)?;
            file.write_all_at(marker.encode().as_bytes(), 0)?;
            file.sync_all()?;
            rustix::fs::fsync(root)?;
        }
        Ok(Some(Self { _file: file }))
    }

    /// Removes the marker: the restore is done.
    pub(crate) fn remove(self, root: &OwnedFd) -> io::Result<()> {
        Ok(unlinkat(root, MARKER, AtFlags::empty())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker() -> Marker {
        let point = PointKey { source: SourceId(3), number: 17 };
        Marker { point, replaces: true, paths: "abc".to_owned(), kept: BTreeSet::from([1, 12]) }
    }

    #[test]
    fn a_marker_is_read_as_written_and_broken_off_anywhere_is_incomplete() {
        let text = marker().encode();
        assert_eq!(Marker::decode(&text), Found::Marker(marker()));
        for length in 0..text.len() {
            assert_eq!(Marker::decode(&text[..length]), Found::Incomplete, "{length}");
        }
    }

    #[test]
    fn what_others_wrote_is_not_taken_for_ours() {
        for text in ["hello", "keepfast-restore 2\nend\n", "keepfast-restore 1\npoint x 1\nend\n"] {
            assert_eq!(Marker::decode(text), Found::Foreign, "{text}");
        }
    }

    #[test]
    fn a_second_restore_is_kept_out() {
        let folder = tempfile::tempdir().unwrap();
        let root: OwnedFd = File::open(folder.path()).unwrap().into();
        let held = Held::place(&root, &marker()).unwrap().unwrap();
        assert!(Held::place(&root, &marker()).unwrap().is_none());
        assert_eq!(look(&root).unwrap(), Found::Marker(marker()));
        held.remove(&root).unwrap();
        assert_eq!(look(&root).unwrap(), Found::Nothing);
    }
}

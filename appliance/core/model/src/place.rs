//! `[MACHINE/]SOURCE[@WHEN][:PATH]`: how people name a point, and what is in it.

use thiserror::Error;

use crate::archive::{Archive, ArchiveError, resolve};
use crate::error::ErrorKind;
use crate::path::{EntryName, EntryNameError, Escaped, split_path};
use crate::record::{Label, Point};
use crate::time::{Time, When};

/// A point of a source, and a path in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose source; the one that asks, if it is not said.
    pub machine: Option<Label>,
    /// Which source.
    pub source: Label,
    /// Which of its points; the newest, if it is not said.
    pub when: When,
    /// Below the root of the point.
    pub path: Vec<EntryName>,
}

/// A text that names no place.
#[derive(Debug, Error)]
pub enum PlaceError {
    /// Machine or source are not UTF-8.
    #[error("{0:?} is not of the form [MACHINE/]SOURCE[@WHEN][:PATH]")]
    Form(String),
    /// A machine or a source cannot have this name.
    #[error("no machine or source has such a name: {0}")]
    Label(EntryNameError),
    /// What follows the `@` is no moment.
    #[error(
        "{0:?} is not a moment; say latest, 2026-11-20T10:32:11Z, 5m-ago, seq:N or a point id such as 2026-11-20T10-32-11Z"
    )]
    When(String),
    /// The path cannot be in a point.
    #[error("no point has such a path: {0}")]
    Path(EntryNameError),
}

/// A place that is not there.
#[derive(Debug, Error)]
pub enum FindError {
    /// The place has no machine, and whoever asks is none.
    #[error("it is not said whose source {0} is; say MACHINE/{0}")]
    Whose(Label),
    /// The machine does not exist, or its points are not for whoever asks.
    #[error("there is no machine {0}")]
    Machine(Label),
    /// The machine has no such source.
    #[error("machine {machine} has no source {source_label}")]
    Source {
        /// Of which machine.
        machine: Label,
        /// Which source.
        source_label: Label,
    },
    /// The source has no such point.
    #[error("{machine}/{source_label} has no such point; `points` lists those that there are")]
    Point {
        /// Of which machine.
        machine: Label,
        /// Of which source.
        source_label: Label,
    },
    /// Nothing could be found out.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

impl FindError {
    /// What a caller can do about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Archive(error) => error.kind,
            _ => ErrorKind::Missing,
        }
    }
}

impl Place {
    /// Reads it. Only the path may be other than UTF-8; labels have no `/`, `@` or `:`.
    pub fn parse(text: &[u8]) -> Result<Self, PlaceError> {
        let form = || PlaceError::Form(Escaped(text).to_string());
        let end = text.iter().position(|b| matches!(b, b'@' | b':')).unwrap_or(text.len());
        let (labels, rest) = text.split_at(end);
        let labels = std::str::from_utf8(labels).map_err(|_| form())?;
        let (machine, source) = match labels.split_once('/') {
            Some((machine, source)) => (Some(Label::new(machine).map_err(PlaceError::Label)?), source),
            None => (None, labels),
        };
        let source = Label::new(source).map_err(PlaceError::Label)?;
        let (when, path) = match rest.split_first() {
            Some((b'@', rest)) => Self::parse_when(rest)?,
            Some((_, path)) => (When::Latest, path),
            None => (When::Latest, rest),
        };
        Ok(Self { machine, source, when, path: split_path(path).map_err(PlaceError::Path)? })
    }

    /// An instant and `seq:N` have colons of their own: the longest part that is a moment is it.
    fn parse_when(text: &[u8]) -> Result<(When, &[u8]), PlaceError> {
        let colons = text.iter().enumerate().filter(|(_, b)| **b == b':').map(|(at, _)| at);
        let read = |at: usize| {
            let when = When::parse(std::str::from_utf8(text.get(..at)?).ok()?)?;
            Some((when, text.get(at + 1..).unwrap_or_default()))
        };
        let mut ends: Vec<usize> = colons.take(COLONS_MAX).collect();
        ends.push(text.len());
        let found = ends.into_iter().rev().find_map(read);
        found.ok_or_else(|| PlaceError::When(Escaped(text).to_string()))
    }

    /// The point that is meant, among those that can be read; `own` is the machine that asks.
    pub fn find(&self, archive: &dyn Archive, own: Option<&Label>, now: Time) -> Result<Point, FindError> {
        let Some(label) = self.machine.as_ref().or(own) else {
            return Err(FindError::Whose(self.source.clone()));
        };
        let machine = archive.machines()?.into_iter().find(|m| m.label == *label);
        let machine = machine.ok_or_else(|| FindError::Machine(label.clone()))?;
        let (of, source_label) = (machine.label, self.source.clone());
        let source =
            archive.sources()?.into_iter().find(|s| s.machine == machine.id && s.label == source_label);
        let Some(source) = source else { return Err(FindError::Source { machine: of, source_label }) };
        let points = archive.points(source.id)?;
        let point = resolve(&points, &self.when, now).cloned();
        point.ok_or(FindError::Point { machine: of, source_label })
    }
}

/// Colons behind which a moment can end: an instant with an offset has three.
const COLONS_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Place {
        Place::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn path(place: &Place) -> Vec<&[u8]> {
        place.path.iter().map(EntryName::as_bytes).collect()
    }

    #[test]
    fn moments_end_where_they_end() {
        let instant = When::Instant(Time::parse("2026-11-20T10:32:11.5Z").unwrap());
        for (text, when, names) in [
            ("web1/home@latest", When::Latest, &[][..]),
            ("web1/home", When::Latest, &[]),
            ("web1/home:/etc/a@b:c", When::Latest, &[&b"etc"[..], b"a@b:c"]),
            ("web1/home@2026-11-20T10:32:11.5Z", instant.clone(), &[]),
            ("web1/home@2026-11-20T10:32:11.5Z:etc", instant.clone(), &[b"etc"]),
            ("web1/home@2026-11-20T12:32:11.5+02:00:1:2", instant, &[b"1:2"]),
            ("web1/home@seq:12:a:b", When::Sequence(crate::SequenceNumber(12)), &[b"a:b"]),
            ("web1/home@2026-11-20T10-32-11Z-2:x", When::Point("2026-11-20T10-32-11Z-2".into()), &[b"x"]),
        ] {
            let place = parse(text);
            assert_eq!((&place.when, path(&place).as_slice()), (&when, names), "{text}");
        }
        let own = parse("home@5m-ago");
        assert!(own.machine.is_none() && own.source.as_str() == "home");
    }

    #[test]
    fn paths_may_have_any_bytes_and_labels_may_not() {
        let place = Place::parse(b"web1/home@latest:/\xff\n/-rf").unwrap();
        assert_eq!(path(&place), [&b"\xff\n"[..], b"-rf"]);
        for bad in [
            &b""[..],
            b"a/b/c@latest",
            b"web1/\xff@latest",
            b"web1/home@yesterday",
            b"web1/home@",
            b"web1/home@latest:../x",
            b"/@latest",
            b"@latest",
        ] {
            assert!(Place::parse(bad).is_err(), "{}", Escaped(bad));
        }
    }
}

//! What can be read of a pool, wherever it is: the one door of views, restores and listings.
//!
//! The pool answers it directly; a connection answers it by asking the appliance. Every byte that comes out was
//! checked against its name, and what cannot be read is an error, never zeros.

use std::collections::BTreeMap;
use std::ops::{Deref, Range};
use std::sync::Arc;

use thiserror::Error;

use crate::error::ErrorKind;
use crate::item::{Item, ItemKey};
use crate::record::{Machine, Point, Source};
use crate::{Name, SourceId};

/// A request that an archive could not answer.
#[derive(Clone, Debug, Error, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[error("{message}")]
pub struct ArchiveError {
    /// What a caller can do about it.
    #[n(0)]
    pub kind: ErrorKind,
    /// What happened, for people.
    #[n(1)]
    pub message: String,
}

impl ArchiveError {
    /// An error of a kind, with the words of `cause` and of all causes behind it.
    #[must_use]
    pub fn new(kind: ErrorKind, cause: &dyn std::error::Error) -> Self {
        let mut message = cause.to_string();
        let mut next = cause.source();
        while let Some(error) = next {
            message = format!("{message}: {error}");
            next = error.source();
        }
        Self { kind, message }
    }

    /// Says that something does not exist.
    #[must_use]
    pub fn missing(what: impl std::fmt::Display) -> Self {
        Self { kind: ErrorKind::Missing, message: format!("{what} does not exist") }
    }
}

/// Names a point: its source and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
pub struct PointKey {
    /// Of which source.
    #[n(0)]
    pub source: SourceId,
    /// Which of its points.
    #[n(1)]
    pub number: u64,
}

impl Point {
    /// The key of the point.
    #[must_use]
    pub const fn key(&self) -> PointKey {
        PointKey { source: self.source, number: self.number }
    }
}

/// Bytes that share one buffer: a chunk inside an opened frame.
#[derive(Clone, Debug)]
pub struct SharedBytes {
    buffer: Arc<Vec<u8>>,
    range: Range<usize>,
}

impl SharedBytes {
    /// The bytes `range` of a buffer; a range outside of it gives none.
    #[must_use]
    pub fn new(buffer: Arc<Vec<u8>>, range: Range<usize>) -> Self {
        let range = if buffer.get(range.clone()).is_some() { range } else { 0..0 };
        Self { buffer, range }
    }

    /// A part of these bytes; none if it reaches out of them.
    #[must_use]
    pub fn part(&self, range: Range<usize>) -> Option<Self> {
        self.get(range.clone())?;
        let (start, end) = (self.range.start + range.start, self.range.start + range.end);
        Some(Self { buffer: Arc::clone(&self.buffer), range: start..end })
    }

    /// How many bytes stay in memory because of these.
    #[must_use]
    pub fn held(&self) -> usize {
        self.buffer.capacity()
    }

    /// Whether these bytes and others are in one buffer.
    #[must_use]
    pub fn shares_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.buffer, &other.buffer)
    }
}

impl From<Vec<u8>> for SharedBytes {
    fn from(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Self { buffer: Arc::new(bytes), range }
    }
}

impl Deref for SharedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buffer.get(self.range.clone()).unwrap_or_default()
    }
}

/// One difference between two points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub key: ItemKey,
    /// What the first point has.
    pub before: Option<Item>,
    /// What the second point has.
    pub after: Option<Item>,
}

/// What can be read of a pool.
pub trait Archive: Send + Sync {
    /// All machines that the caller may see.
    fn machines(&self) -> Result<Vec<Machine>, ArchiveError>;

    /// All sources of these machines.
    fn sources(&self) -> Result<Vec<Source>, ArchiveError>;

    /// The points of a source, oldest first; exceptions are left out.
    fn points(&self, source: SourceId) -> Result<Vec<Point>, ArchiveError>;

    /// The points of a source of which something is known to be damaged, by number, and how much; none where nobody
    /// checks.
    fn damaged(&self, _: SourceId) -> Result<BTreeMap<u64, u64>, ArchiveError> {
        Ok(BTreeMap::new())
    }

    /// A point with its exceptions.
    fn point(&self, key: PointKey) -> Result<Point, ArchiveError>;

    /// One item of a point.
    fn item(&self, point: PointKey, key: &ItemKey) -> Result<Option<Item>, ArchiveError>;

    /// Up to `limit` items of a point with key bytes in `from..to`, in order.
    fn items(
        &self,
        point: PointKey,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(ItemKey, Item)>, ArchiveError>;

    /// The last item of a point with key bytes in `from..=at`.
    fn item_at_or_before(
        &self,
        point: PointKey,
        from: &[u8],
        at: &[u8],
    ) -> Result<Option<(ItemKey, Item)>, ArchiveError>;

    /// Up to `limit` differences between two points of one source, from key bytes `from` on, in order.
    fn changes(
        &self,
        before: PointKey,
        after: PointKey,
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<Change>, ArchiveError>;

    /// The plaintext of chunks that the point's machine owns, in the order asked; each answers for itself.
    fn chunks(
        &self,
        point: PointKey,
        names: &[Name],
    ) -> Result<Vec<Result<SharedBytes, ArchiveError>>, ArchiveError>;

    /// A number for each chunk that grows with its place in the pool, so that readers can ask in pool order.
    fn places(&self, point: PointKey, names: &[Name]) -> Result<Vec<u64>, ArchiveError>;
}

/// The point that `when` means, among the points of a source, oldest first.
///
/// An instant means the newest point that was finished by then, a sequence number the newest that ends by then.
#[must_use]
pub fn resolve<'a>(points: &'a [Point], when: &crate::When, now: crate::Time) -> Option<&'a Point> {
    use crate::When;
    let by = |time: crate::Time| points.iter().rev().find(|point| point.finished <= time);
    match when {
        When::Latest => points.last(),
        When::Instant(time) => by(*time),
        When::Ago(duration) => by(now.before(*duration)),
        When::Sequence(sequence) => points.iter().rev().find(|point| point.sequence <= *sequence),
        When::Point(id) => points.iter().find(|point| point.id == *id),
    }
}

//! Listing directories, a window at a time: however large one is, a few thousand of its entries are in memory.

use std::sync::{Mutex, PoisonError};

use model::archive::{Archive, PointKey};
use model::item::{FileKind, Item, ItemPart, ItemRange};
use model::{EntryName, ObjectId};

use crate::ViewError;
use crate::node::Node;

/// Entries in memory for each directory that is open.
const WINDOW: usize = 2048;

/// An entry as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The number of its node.
    pub number: u64,
    /// Its name.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: FileKind,
}

/// A directory that is open.
#[derive(Debug)]
pub struct Directory {
    of: Of,
    window: Mutex<Window>,
}

#[derive(Debug)]
enum Of {
    /// Everything was in the window from the start.
    Fixed,
    /// A directory of a point.
    Point(PointKey, ObjectId),
}

/// Consecutive entries.
#[derive(Debug, Default)]
struct Window {
    /// Position of the first one.
    first: u64,
    entries: Vec<(EntryName, Node, FileKind)>,
    /// Where to go on; nowhere if all are here.
    next: Option<Vec<u8>>,
}

impl Window {
    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }
}

impl Directory {
    /// A directory with these entries.
    pub(crate) fn fixed(entries: Vec<(EntryName, Node, FileKind)>) -> Self {
        Self { of: Of::Fixed, window: Mutex::new(Window { first: 0, entries, next: None }) }
    }

    /// A directory of a point.
    pub(crate) fn of_point(point: PointKey, object: ObjectId) -> Self {
        let next = Some(ItemRange::entries(object).start());
        Self { of: Of::Point(point, object), window: Mutex::new(Window { next, ..Window::default() }) }
    }

    /// The entries from a position on, as many as are at hand; none at the end.
    pub(crate) fn read(
        &self,
        archive: &dyn Archive,
        position: u64,
    ) -> Result<Vec<(EntryName, Node, FileKind)>, ViewError> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if let Of::Point(point, object) = self.of {
            if position < window.first {
                *window = Window { next: Some(ItemRange::entries(object).start()), ..Window::default() };
            }
            while position >= window.end() {
                let Some(next) = window.next.clone() else { break };
                *window = load(archive, point, object, &next, window.end())?;
            }
        }
        let skip = usize::try_from(position.saturating_sub(window.first)).unwrap_or(usize::MAX);
        Ok(window.entries.get(skip..).unwrap_or_default().to_vec())
    }
}

fn load(
    archive: &dyn Archive,
    point: PointKey,
    object: ObjectId,
    from: &[u8],
    first: u64,
) -> Result<Window, ViewError> {
    let items = archive.items(point, from, &ItemRange::entries(object).end(), WINDOW)?;
    let next = items.last().map(|(key, _)| {
        let mut next = key.encode();
        next.push(0);
        next
    });
    let mut entries = Vec::with_capacity(items.len());
    for (key, item) in items {
        if let (ItemPart::Entry(name), Item::Entry(child, kind)) = (key.part, item) {
            entries.push((name, Node::Object(point, child), kind));
        }
    }
    Ok(Window { first, entries, next })
}

//! Reading files: extents through a window, contents through the loader, and what a sequential reader will want next.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use model::archive::{Archive, ArchiveError, PointKey};
use model::item::{Extent, Item, ItemKey, ItemPart, ItemRange};
use model::{Name, ObjectId};

use crate::loader::{Job, Loader};
use crate::{View, ViewError};

/// Extents asked for at once.
const WINDOW: usize = 512;
/// Bytes that one read gives at most.
const READ_MAX: u64 = 8 << 20;
/// Bytes that a reader must have read one after the other before others are fetched for it.
const AHEAD_AFTER: u64 = 256 << 10;
/// Bytes that are fetched in one go, about.
const AHEAD_STEP: u64 = 1 << 20;

/// What is looked for in a file with holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whence {
    /// The next byte that is stored.
    Data,
    /// The next byte that is not; the end of the file counts as one.
    Hole,
}

/// A file that is open.
#[derive(Debug)]
pub struct OpenFile {
    point: PointKey,
    object: ObjectId,
    size: u64,
    reader: Mutex<Reader>,
}

/// Where a reader is.
#[derive(Debug, Default)]
struct Reader {
    window: Window,
    /// Where the last read ended, and how much was read in one go up to there.
    at: u64,
    run: u64,
    /// Up to where was fetched ahead.
    ahead: u64,
    /// The same as `at`, for those who fetch ahead.
    place: Arc<AtomicU64>,
}

/// Consecutive extents.
#[derive(Clone, Debug, Default)]
struct Window {
    extents: Vec<(u64, Extent)>,
}

impl Window {
    fn end(&self) -> u64 {
        self.extents.last().map_or(0, |(offset, extent)| offset.saturating_add(extent.length()))
    }

    /// The extent that covers an offset, and all behind it.
    fn from(&self, offset: u64) -> Option<&[(u64, Extent)]> {
        let at = self.extents.partition_point(|(start, _)| *start <= offset).checked_sub(1)?;
        let rest = self.extents.get(at..)?;
        let (start, extent) = rest.first()?;
        (offset - start < extent.length()).then_some(rest)
    }
}

/// A part of a read: bytes of a chunk, or zeros.
struct Piece {
    chunk: Option<(Name, usize)>,
    length: usize,
}

impl OpenFile {
    /// A file of so many bytes.
    pub(crate) fn new(point: PointKey, object: ObjectId, size: u64) -> Self {
        Self { point, object, size, reader: Mutex::default() }
    }

    /// Up to `length` bytes from `offset` on; none at the end. Fewer come in front of bytes that cannot be read; at them
    /// there is an error.
    pub fn read(&self, view: &View, offset: u64, length: u64) -> Result<Vec<u8>, ViewError> {
        let end = offset.saturating_add(length.min(READ_MAX)).min(self.size);
        if offset >= end {
            return Ok(Vec::new());
        }
        let (pieces, trouble) = self.plan(view, offset, end);
        let names: Vec<Name> = pieces.iter().filter_map(|piece| piece.chunk.map(|(name, _)| name)).collect();
        let mut chunks = view.loader().get(self.point, &names).into_iter();
        let mut out = Vec::with_capacity(usize::try_from(end - offset).unwrap_or_default());
        for piece in pieces {
            let Some((_, skip)) = piece.chunk else {
                out.resize(out.len() + piece.length, 0);
                continue;
            };
            let fetched = chunks.next().unwrap_or_else(|| Err(ArchiveError::missing("a chunk")));
            let fetched = fetched.map_err(ViewError::from).and_then(|bytes| {
                let part = bytes.get(skip..skip + piece.length).map(|part| out.extend_from_slice(part));
                part.ok_or_else(|| ViewError::corrupt("an extent reaches out of its chunk"))
            });
            match fetched {
                Ok(()) => {}
                Err(error) if out.is_empty() => return Err(error),
                Err(_) => return Ok(out),
            }
        }
        match trouble {
            Some(error) if out.is_empty() => Err(error),
            _ => Ok(out),
        }
    }

    /// The next data or hole at or behind an offset.
    pub fn seek(&self, view: &View, offset: u64, whence: Whence) -> Result<u64, ViewError> {
        if offset >= self.size {
            return Err(ViewError::BehindEnd);
        }
        let mut at = offset;
        while at < self.size {
            let window = self.load(view.archive(), at)?;
            for (start, extent) in window.from(at).unwrap_or_default() {
                let is_hole = matches!(extent, Extent::Hole { .. });
                if is_hole == (whence == Whence::Hole) {
                    return Ok(offset.max(*start).min(self.size));
                }
            }
            at = window.end();
        }
        match whence {
            Whence::Data => Err(ViewError::BehindEnd),
            Whence::Hole => Ok(self.size),
        }
    }

    /// What a read consists of, and why it ends early, if it does; asks for what will be wanted next.
    fn plan(&self, view: &View, offset: u64, end: u64) -> (Vec<Piece>, Option<ViewError>) {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut pieces, mut at) = (Vec::new(), offset);
        while at < end {
            if reader.window.from(at).is_none() {
                match self.load(view.archive(), at) {
                    Ok(window) => reader.window = window,
                    Err(error) => return (pieces, Some(error)),
                }
            }
            for (start, extent) in reader.window.from(at).unwrap_or_default() {
                if at >= end {
                    break;
                }
                let into = at - start;
                let length = usize::try_from((extent.length() - into).min(end - at)).unwrap_or(usize::MAX);
                let chunk = match extent {
                    Extent::Hole { .. } => None,
                    Extent::Chunk { name, skip, .. } => {
                        Some((*name, usize::try_from(u64::from(*skip) + into).unwrap_or(usize::MAX)))
                    }
                };
                pieces.push(Piece { chunk, length });
                at += length as u64;
            }
        }
        reader.run = if offset == reader.at { reader.run + (end - offset) } else { end - offset };
        reader.at = end;
        reader.place.store(end, Ordering::Release);
        self.look_ahead(&mut reader, view.loader());
        (pieces, None)
    }

    /// Has fetched what a reader who goes on like this will want.
    fn look_ahead(&self, reader: &mut Reader, loader: &Loader) {
        if reader.run < AHEAD_AFTER {
            reader.ahead = 0;
            return;
        }
        let until = reader.at.saturating_add(loader.ahead_bytes.min(reader.run)).min(self.size);
        let mut from = reader.ahead.max(reader.at);
        if until < from.saturating_add(AHEAD_STEP) && until < self.size {
            return;
        }
        let (mut names, mut bytes) = (Vec::new(), 0);
        for (start, extent) in reader.window.from(from).unwrap_or_default() {
            if *start >= until {
                break;
            }
            from = start.saturating_add(extent.length());
            if let Extent::Chunk { name, length, .. } = extent {
                names.push(*name);
                bytes += u64::from(*length);
            }
            if bytes >= AHEAD_STEP {
                loader.prepare(self.job(reader, std::mem::take(&mut names), from));
                bytes = 0;
            }
        }
        if !names.is_empty() {
            loader.prepare(self.job(reader, names, from));
        }
        reader.ahead = from;
    }

    fn job(&self, reader: &Reader, names: Vec<Name>, until: u64) -> Job {
        Job { point: self.point, names, reader: Arc::clone(&reader.place), until }
    }

    /// Extents from the one that covers an offset on.
    fn load(&self, archive: &dyn Archive, offset: u64) -> Result<Window, ViewError> {
        let gap = || ViewError::corrupt(format!("nothing is known of byte {offset} of the file"));
        let range = ItemRange::extents(self.object);
        let at = ItemKey::extent(self.object, offset);
        let first = archive.item_at_or_before(self.point, &range.start(), &at.encode())?.ok_or_else(gap)?;
        let mut behind = first.0.encode();
        behind.push(0);
        // If what follows cannot be read, this one can all the same.
        let more = archive.items(self.point, &behind, &range.end(), WINDOW).unwrap_or_default();
        let mut window = Window::default();
        for (key, item) in std::iter::once(first).chain(more) {
            let (ItemPart::Extent(start), Item::Extent(extent)) = (key.part, item) else { break };
            let follows = window.extents.is_empty() || start == window.end();
            if !follows || extent.length() == 0 || start.checked_add(extent.length()).is_none() {
                break;
            }
            window.extents.push((start, extent));
        }
        if window.from(offset).is_some() { Ok(window) } else { Err(gap()) }
    }
}

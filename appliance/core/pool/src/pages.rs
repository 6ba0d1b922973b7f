//! Pages of trees, read from the pool or written to it.

use std::sync::Arc;

use chunk::FrameKind;
use model::{ErrorKind, Name};
use tree::{PageSink, PageSource};

use crate::PoolError;
use crate::catalog::Place;
use crate::keys::PoolKeys;
use crate::pool::Pool;
use crate::reader::FrameReader;
use crate::sessions::{Promised, Session};
use crate::state::Shared;

impl Shared {
    fn page_place(&self, name: &Name) -> Result<Option<Place>, PoolError> {
        self.state().page(name)
    }

    pub(crate) fn has_page(&self, name: &Name) -> Result<bool, PoolError> {
        let state = self.state();
        let is_sound = |place: Place| !state.bad.has(place.frame) && !state.is_condemned(&place);
        Ok(state.recent.staged.contains_key(name) || state.page(name)?.is_some_and(is_sound))
    }

    /// A page that was written, named anew. Its segment may go while it is being read: then it is elsewhere.
    pub(crate) fn written_page(&self, frames: &FrameReader, name: &Name) -> Result<Arc<[u8]>, PoolError> {
        let place = || self.page_place(name)?.ok_or(PoolError::Absent { what: "page", name: *name });
        let mut known = place()?;
        loop {
            let read = page_at(frames, &self.keys, name, &known);
            let Err(error) = read else { return read };
            let place = place()?;
            if place == known {
                return Err(error);
            }
            known = place;
        }
    }
}

/// The page at a place, named anew.
pub(crate) fn page_at(
    frames: &FrameReader,
    keys: &PoolKeys,
    name: &Name,
    place: &Place,
) -> Result<Arc<[u8]>, PoolError> {
    let plaintext = frames.plaintext(place.frame, FrameKind::Pages)?;
    let range = place.start as usize..place.start as usize + place.length as usize;
    match plaintext.get(range) {
        Some(bytes) if keys.page().name(bytes) == *name => Ok(bytes.into()),
        _ => {
            let (segment, offset) = (place.frame.segment, place.frame.offset);
            frames.bad().add(segment, offset);
            Err(PoolError::Name { what: "page", name: *name, segment, offset })
        }
    }
}

impl PageSource for Shared {
    type Error = PoolError;

    fn read(&self, name: &Name) -> Result<Arc<[u8]>, PoolError> {
        if let Some(bytes) = self.state().recent.staged.get(name) {
            return Ok(Arc::clone(bytes));
        }
        self.written_page(&self.frames, name)
    }

    fn kind(error: &PoolError) -> ErrorKind {
        error.kind()
    }
}

impl PageSource for Pool {
    type Error = PoolError;

    fn read(&self, name: &Name) -> Result<Arc<[u8]>, PoolError> {
        self.shared().read(name)
    }

    fn kind(error: &PoolError) -> ErrorKind {
        error.kind()
    }
}

impl PageSink for Pool {
    fn write(&mut self, bytes: Vec<u8>) -> Result<Name, PoolError> {
        self.put_page(bytes)
    }
}

/// A pool that pages are written to which stay until a backup has ended.
pub struct PagesFor<'p> {
    pool: &'p mut Pool,
    session: &'p Session,
}

impl Pool {
    /// Writes pages for a backup.
    pub const fn pages_for<'p>(&'p mut self, session: &'p Session) -> PagesFor<'p> {
        PagesFor { pool: self, session }
    }
}

impl PageSource for PagesFor<'_> {
    type Error = PoolError;

    fn read(&self, name: &Name) -> Result<Arc<[u8]>, PoolError> {
        self.pool.read(name)
    }

    fn kind(error: &PoolError) -> ErrorKind {
        error.kind()
    }
}

impl PageSink for PagesFor<'_> {
    fn write(&mut self, bytes: Vec<u8>) -> Result<Name, PoolError> {
        let name = self.pool.put_page(bytes)?;
        // Nobody gives room back meanwhile, since that is done by who has the pool.
        self.session.promise([Promised { name, only: None }]);
        Ok(name)
    }
}

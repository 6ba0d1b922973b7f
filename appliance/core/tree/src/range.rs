//! Items in key order, read as they are asked for.

use std::marker::PhantomData;

use crate::cursor::Cursor;
use crate::error::Error;
use crate::page::Page;
use crate::root::Root;
use crate::schema::{ItemOf, Schema};
use crate::source::PageSource;
use crate::walker::{Place, Walker};

/// Iterates over the items of a range of keys.
///
/// The first item costs one page a level, every further leaf one page. Ends after the first error.
pub struct Range<C, S> {
    walker: Walker<S>,
    /// Where to start, until the first item was asked for.
    start: Option<Vec<u8>>,
    end: Option<Vec<u8>>,
    schema: PhantomData<fn() -> C>,
}

impl<C: Schema, S: PageSource> Range<C, S> {
    pub(crate) fn new(source: S, root: &Root, start: Vec<u8>, end: Option<Vec<u8>>) -> Self {
        Self { walker: Walker::new(source, root), start: Some(start), end, schema: PhantomData }
    }

    fn step(&mut self) -> Result<Option<ItemOf<C>>, Error> {
        match self.start.take() {
            Some(start) => self.walker.seek(&start)?,
            None => self.walker.advance()?,
        }
        while let Place::Page(child, _) = self.walker.place() {
            if self.is_behind(&child.separator) {
                return Ok(None);
            }
            self.walker.open()?;
        }
        match self.walker.place() {
            Place::Item(cursor) if !self.is_behind(cursor.key()) => decode::<C>(cursor).map(Some),
            _ => Ok(None),
        }
    }

    fn is_behind(&self, key: &[u8]) -> bool {
        self.end.as_ref().is_some_and(|end| key >= end.as_slice())
    }
}

impl<C: Schema, S: PageSource> Iterator for Range<C, S> {
    type Item = Result<ItemOf<C>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.step().transpose();
        if !matches!(item, Some(Ok(_))) {
            self.walker.stop();
        }
        item
    }
}

/// Iterates over the items of a single leaf. Ends after the first error.
pub struct Leaf<C> {
    cursor: Option<Cursor>,
    schema: PhantomData<fn() -> C>,
}

impl<C: Schema> Leaf<C> {
    pub(crate) const fn new(page: Page) -> Self {
        Self { cursor: Some(Cursor::new(page)), schema: PhantomData }
    }
}

impl<C: Schema> Iterator for Leaf<C> {
    type Item = Result<ItemOf<C>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let cursor = self.cursor.as_mut()?;
        let item = match cursor.advance() {
            Ok(true) => Some(decode::<C>(cursor)),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        };
        if !matches!(item, Some(Ok(_))) {
            self.cursor = None;
        }
        item
    }
}

/// The item that a cursor stands at.
pub(crate) fn decode<C: Schema>(cursor: &Cursor) -> Result<ItemOf<C>, Error> {
    let failed = |source| Error::Item { name: cursor.page().name(), source };
    let key = C::decode_key(cursor.key()).map_err(failed)?;
    let value = C::decode_value(&key, cursor.payload()).map_err(failed)?;
    Ok((key, value))
}

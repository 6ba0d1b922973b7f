//! A walk over a tree in key order that decides at every page whether to open it.
//!
//! Stands at a page not opened yet, at an item, or at the end. Everything it passes must ascend: separators of
//! pages, and keys of items, over the whole walk. So a page that states the same child twice, or a child of
//! another place, is found out before it can make a walk longer than the tree.

use model::Name;

use crate::cursor::{Child, Cursor};
use crate::error::{Damage, Error};
use crate::page::Page;
use crate::root::Root;
use crate::source::PageSource;

/// Where a walk stands.
pub(crate) enum Place {
    /// Before a page of this level.
    Page(Child, u8),
    /// At an item of a leaf.
    Item(Cursor),
    /// Behind the last item.
    End,
}

/// A walk over the tree of one root.
pub(crate) struct Walker<S> {
    source: S,
    place: Place,
    /// The opened pages above the place, topmost first, each at the child that was entered.
    above: Vec<Cursor>,
    /// The greatest separator or key so far.
    floor: Vec<u8>,
}

impl<S: PageSource> Walker<S> {
    /// Stands before the topmost page.
    pub(crate) fn new(source: S, root: &Root) -> Self {
        let place = match root.top() {
            Some(top) => {
                let child = Child { separator: Vec::new(), name: top.name, items: top.items };
                Place::Page(child, top.level)
            }
            None => Place::End,
        };
        Self { source, place, above: Vec::new(), floor: Vec::new() }
    }

    pub(crate) const fn place(&self) -> &Place {
        &self.place
    }

    /// Goes to the end.
    pub(crate) fn stop(&mut self) {
        self.place = Place::End;
        self.above.clear();
    }

    /// The page before which the walk stands, without entering it.
    pub(crate) fn peek(&self) -> Result<Option<Page>, Error> {
        match &self.place {
            Place::Page(child, level) => Page::read(&self.source, child.name, *level).map(Some),
            Place::Item(_) | Place::End => Ok(None),
        }
    }

    /// Enters the page before which the walk stands: goes to its first child or item.
    pub(crate) fn open(&mut self) -> Result<(), Error> {
        let Some(page) = self.peek()? else { return Ok(()) };
        let mut cursor = Cursor::new(page);
        cursor.advance()?;
        self.enter(cursor, false)
    }

    /// Goes to the first item whose key is not less than `start`, from before the topmost page.
    pub(crate) fn seek(&mut self, start: &[u8]) -> Result<(), Error> {
        while let Some(page) = self.peek()? {
            let is_leaf = page.level() == 0;
            let mut cursor = Cursor::new(page);
            if is_leaf && !cursor.seek_ceiling(start)? {
                return self.leave();
            }
            if !is_leaf {
                cursor.seek_child(start)?;
            }
            self.enter(cursor, false)?;
        }
        Ok(())
    }

    /// Goes from a page, or from an item, to what follows it.
    pub(crate) fn advance(&mut self) -> Result<(), Error> {
        if let Place::Item(cursor) = &mut self.place {
            if cursor.advance()? {
                return Ok(());
            }
            self.floor.clear();
            self.floor.extend_from_slice(cursor.key());
        }
        self.leave()
    }

    /// Goes to the next page behind the current one.
    fn leave(&mut self) -> Result<(), Error> {
        while let Some(mut cursor) = self.above.pop() {
            if cursor.advance()? {
                return self.enter(cursor, true);
            }
        }
        self.place = Place::End;
        Ok(())
    }

    /// Stands at what `cursor` stands at; `behind` says that something came before it in its page.
    fn enter(&mut self, cursor: Cursor, behind: bool) -> Result<(), Error> {
        let key = cursor.key();
        if key < self.floor.as_slice() || (behind && key == self.floor) {
            return Err(cursor.page().damaged(Damage::Order));
        }
        let level = cursor.page().level();
        if level == 0 {
            self.place = Place::Item(cursor);
        } else {
            let child = cursor.child()?;
            self.floor.clone_from(&child.separator);
            self.place = Place::Page(child, level - 1);
            self.above.push(cursor);
        }
        Ok(())
    }
}

/// The item with the greatest key that is not greater than `target`: the cursor that stands at it.
pub(crate) fn find_floor<S: PageSource + ?Sized>(
    source: &S,
    root: &Root,
    target: &[u8],
) -> Result<Option<Cursor>, Error> {
    let Some(top) = root.top() else { return Ok(None) };
    let mut above: Vec<Cursor> = Vec::new();
    let mut cursor = descend(source, top.name, top.level, Some(target), &mut above)?;
    if cursor.seek_floor(target)? {
        return Ok(Some(cursor));
    }
    // Every key of the leaf is greater, so the item before its first is meant: the last of the leaf before it.
    while let Some(mut parent) = above.pop() {
        if parent.retreat()? {
            let (child, level) = (parent.child()?, parent.page().level() - 1);
            cursor = descend(source, child.name, level, None, &mut above)?;
            cursor.seek_last()?;
            return Ok(Some(cursor));
        }
    }
    Ok(None)
}

/// The item under exactly `target`: the cursor that stands at it.
pub(crate) fn find_exact<S: PageSource + ?Sized>(
    source: &S,
    root: &Root,
    target: &[u8],
) -> Result<Option<Cursor>, Error> {
    let Some(top) = root.top() else { return Ok(None) };
    let mut cursor = descend(source, top.name, top.level, Some(target), &mut Vec::new())?;
    Ok(cursor.seek_exact(target)?.then_some(cursor))
}

/// Goes down to the leaf under which `target` is, or to the last leaf.
fn descend<S: PageSource + ?Sized>(
    source: &S,
    mut name: Name,
    level: u8,
    target: Option<&[u8]>,
    above: &mut Vec<Cursor>,
) -> Result<Cursor, Error> {
    for level in (1..=level).rev() {
        let mut cursor = Cursor::new(Page::read(source, name, level)?);
        name = match target {
            Some(target) => cursor.seek_child(target)?.name,
            None => {
                cursor.seek_last()?;
                cursor.child()?.name
            }
        };
        above.push(cursor);
    }
    Ok(Cursor::new(Page::read(source, name, 0)?))
}

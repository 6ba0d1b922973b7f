//! The walk along a batch: which pages of the old tree it touches, and the merge with its leaves.

use std::cmp::Ordering;

use model::codec::CodecError;

use super::Applied;
use super::batch::{Batch, Edit};
use super::levels::Levels;
use crate::cursor::{Child, Cursor};
use crate::error::{Damage, Error};
use crate::limits::PageLimits;
use crate::page::Page;
use crate::root::Root;
use crate::source::PageSink;

/// Hears of every item that differs: key, value before, value after.
pub(crate) type Observe<'a> = dyn FnMut(&[u8], Option<&[u8]>, Option<&[u8]>) -> Result<(), CodecError> + 'a;

/// Applies `batch` to the tree of `root`.
pub(crate) fn merge<S, F>(
    sink: &mut S,
    limits: PageLimits,
    root: &Root,
    batch: Batch<F>,
    observe: &mut Observe<'_>,
) -> Result<Applied, Error>
where
    S: PageSink,
    F: FnMut(&mut Vec<u8>, &mut Vec<u8>) -> Option<Edit>,
{
    let mut merge = Merge { levels: Levels::new(sink, limits), batch, observe };
    match root.top() {
        Some(top) => {
            let child = Child { separator: Vec::new(), name: top.name, items: top.items };
            merge.visit(child, top.level, None)?;
        }
        None => merge.take_new(None)?,
    }
    let (root, born, died) = merge.levels.finish()?;
    Ok(Applied { root, born, died })
}

struct Merge<'a, 'o, S, F> {
    levels: Levels<'a, S>,
    batch: Batch<F>,
    observe: &'a mut Observe<'o>,
}

impl<S, F> Merge<'_, '_, S, F>
where
    S: PageSink,
    F: FnMut(&mut Vec<u8>, &mut Vec<u8>) -> Option<Edit>,
{
    /// Merges the batch with the subtree of `child`, whose keys are all before `upper`.
    fn visit(&mut self, child: Child, level: u8, upper: Option<&[u8]>) -> Result<(), Error> {
        if !self.batch.is_before(upper) {
            return self.levels.pass(child, level);
        }
        let page = self.levels.read(&child, level)?;
        if !self.skip_unchanged(&page, upper)? {
            return self.levels.pass(child, level);
        }
        if level == 0 {
            self.visit_leaf(&child, page, upper)
        } else {
            self.visit_interior(&child, page, upper)
        }
    }

    /// Takes changes that leave the subtree of `page` as it is; whether one that does not is next.
    fn skip_unchanged(&mut self, page: &Page, upper: Option<&[u8]>) -> Result<bool, Error> {
        while self.batch.is_before(upper) && !self.batch.is_effective() {
            let mut cursor = Cursor::new(page.clone());
            let Some(key) = self.batch.key() else { break };
            if page.level() > 0 {
                let child = cursor.seek_child(key)?;
                let upper = if cursor.advance()? { Some(cursor.key()) } else { upper };
                if !self.batch.is_before(upper) {
                    return Err(page.damaged(Damage::Order));
                }
                let below = self.levels.read(&child, page.level() - 1)?;
                self.skip_unchanged(&below, upper)?;
            } else {
                let old = cursor.seek_exact(key)?.then(|| cursor.payload());
                if old == self.batch.value() {
                    self.batch.advance()?;
                } else {
                    self.batch.mark_effective();
                }
            }
        }
        Ok(self.batch.is_before(upper))
    }

    fn visit_interior(&mut self, child: &Child, page: Page, upper: Option<&[u8]>) -> Result<(), Error> {
        let level = page.level();
        let mut cursor = self.levels.open(page, &child.separator)?;
        let mut next = cursor.child()?;
        if self.batch.is_before(Some(&next.separator)) {
            // The first child takes what comes before its separator, so it gets that of the page.
            next.separator.clone_from(&child.separator);
        }
        while cursor.advance()? {
            let below = std::mem::replace(&mut next, cursor.child()?);
            self.visit(below, level - 1, Some(cursor.key()))?;
        }
        self.visit(next, level - 1, upper)?;
        self.close(level, upper)
    }

    fn visit_leaf(&mut self, child: &Child, page: Page, upper: Option<&[u8]>) -> Result<(), Error> {
        let mut cursor = self.levels.open(page, &child.separator)?;
        loop {
            self.take_new_before(&cursor, upper)?;
            self.keep_or_change(&cursor)?;
            if !cursor.advance()? {
                break;
            }
        }
        if upper.is_some_and(|upper| cursor.key() >= upper) {
            return Err(cursor.page().damaged(Damage::Order));
        }
        self.take_new(upper)?;
        self.close(0, upper)
    }

    /// Ends a page where the opened one ended. At the end of the tree nothing follows that a page must be cut from,
    /// and what waits there is cut last.
    fn close(&mut self, level: u8, upper: Option<&[u8]>) -> Result<(), Error> {
        if upper.is_some() { self.levels.close(level) } else { Ok(()) }
    }

    /// Takes the changes before the entry that `cursor` stands at.
    fn take_new_before(&mut self, cursor: &Cursor, upper: Option<&[u8]>) -> Result<(), Error> {
        let key = cursor.key();
        // A key beyond the bounds of its page must not draw changes there that belong elsewhere.
        let upper = upper.map_or(key, |upper| upper.min(key));
        self.take_new(Some(upper))
    }

    /// Takes the changes before `upper`, whose keys the old tree does not have.
    fn take_new(&mut self, upper: Option<&[u8]>) -> Result<(), Error> {
        while self.batch.is_before(upper) {
            if let (Some(key), Some(value)) = (self.batch.key(), self.batch.value()) {
                (self.observe)(key, None, Some(value)).map_err(|source| Error::Change { source })?;
                self.levels.push_item(key, value)?;
            }
            self.batch.advance()?;
        }
        Ok(())
    }

    /// Appends the old item that `cursor` stands at, as the batch leaves it.
    fn keep_or_change(&mut self, cursor: &Cursor) -> Result<(), Error> {
        let (key, old) = (cursor.key(), cursor.payload());
        if self.batch.key().map(|changed| changed.cmp(key)) != Some(Ordering::Equal) {
            return self.levels.push_item(key, old);
        }
        let new = self.batch.value();
        if new != Some(old) {
            let name = cursor.page().name();
            (self.observe)(key, Some(old), new).map_err(|source| Error::Item { name, source })?;
        }
        if let Some(new) = new {
            self.levels.push_item(key, new)?;
        }
        self.batch.advance()
    }
}

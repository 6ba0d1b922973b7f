//! The operations on trees, by typed keys and values.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

use model::Name;

use crate::apply::{self, Applied, Batch, Edit};
use crate::check::{self, CheckReport, PageVisit, Step};
use crate::diff::{Births, Change, ChangeOf, Diff};
use crate::error::Error;
use crate::limits::PageLimits;
use crate::page::Page;
use crate::range::{Leaf, Range, decode};
use crate::root::Root;
use crate::schema::{ItemOf, Items, Schema};
use crate::source::{PageSink, PageSource};
use crate::walker::{find_exact, find_floor};

/// The tree of a source at a point.
pub type ItemTree = Tree<Items>;

/// How trees of one schema are read and written; holds no tree itself.
pub struct Tree<C> {
    limits: PageLimits,
    schema: PhantomData<fn() -> C>,
}

impl<C: Schema> Tree<C> {
    /// Trees whose pages are written under `limits`.
    #[must_use]
    pub const fn new(limits: PageLimits) -> Self {
        Self { limits, schema: PhantomData }
    }

    /// The value under `key`.
    pub fn get<S>(&self, source: &S, root: &Root, key: &C::Key) -> Result<Option<C::Value>, Error>
    where
        S: PageSource + ?Sized,
    {
        let Some(cursor) = find_exact(source, root, &key_bytes::<C>(key))? else { return Ok(None) };
        let value = C::decode_value(key, cursor.payload());
        value.map(Some).map_err(|source| Error::Item { name: cursor.page().name(), source })
    }

    /// The item with the greatest key that is not greater than `key`.
    pub fn floor<S>(&self, source: &S, root: &Root, key: &C::Key) -> Result<Option<ItemOf<C>>, Error>
    where
        S: PageSource + ?Sized,
    {
        find_floor(source, root, &key_bytes::<C>(key))?.as_ref().map(decode::<C>).transpose()
    }

    /// The item with the least key that is not less than `key`.
    pub fn ceiling<S>(&self, source: &S, root: &Root, key: &C::Key) -> Result<Option<ItemOf<C>>, Error>
    where
        S: PageSource + ?Sized,
    {
        Range::<C, _>::new(source, root, key_bytes::<C>(key), None).next().transpose()
    }

    /// The items whose keys are within `keys`, in order.
    pub fn range<S>(&self, source: S, root: &Root, keys: impl RangeBounds<C::Key>) -> Range<C, S>
    where
        S: PageSource,
    {
        let start = match keys.start_bound() {
            Bound::Included(key) => key_bytes::<C>(key),
            Bound::Excluded(key) => behind(key_bytes::<C>(key)),
            Bound::Unbounded => Vec::new(),
        };
        let end = match keys.end_bound() {
            Bound::Included(key) => Some(behind(key_bytes::<C>(key))),
            Bound::Excluded(key) => Some(key_bytes::<C>(key)),
            Bound::Unbounded => None,
        };
        Range::new(source, root, start, end)
    }

    /// The items whose encoded keys are within `start..end`, in order; without an end, to the last.
    pub fn range_bytes<S>(&self, source: S, root: &Root, start: &[u8], end: Option<&[u8]>) -> Range<C, S>
    where
        S: PageSource,
    {
        Range::new(source, root, start.to_vec(), end.map(<[u8]>::to_vec))
    }

    /// The items of a single leaf, in order.
    pub fn leaf<S>(&self, source: &S, name: Name) -> Result<Leaf<C>, Error>
    where
        S: PageSource + ?Sized,
    {
        Page::read(source, name, 0).map(Leaf::new)
    }

    /// Puts (`Some`) and deletes (`None`) keys that ascend; writes the pages that the old tree does not have.
    pub fn apply<S>(
        &self,
        sink: &mut S,
        root: &Root,
        batch: impl IntoIterator<Item = (C::Key, Option<C::Value>)>,
    ) -> Result<Applied, Error>
    where
        S: PageSink,
    {
        self.merge(sink, root, batch, &mut |_, _, _| Ok(()))
    }

    /// Like [`Self::apply`], and reports every item that differs, in key order, with its old value.
    pub fn apply_observed<S>(
        &self,
        sink: &mut S,
        root: &Root,
        batch: impl IntoIterator<Item = (C::Key, Option<C::Value>)>,
        mut observe: impl FnMut(ChangeOf<C>),
    ) -> Result<Applied, Error>
    where
        S: PageSink,
    {
        self.merge(sink, root, batch, &mut |key, before, after| {
            let key = C::decode_key(key)?;
            let before = before.map(|bytes| C::decode_value(&key, bytes)).transpose()?;
            let after = after.map(|bytes| C::decode_value(&key, bytes)).transpose()?;
            observe(Change { key, before, after });
            Ok(())
        })
    }

    fn merge<S>(
        &self,
        sink: &mut S,
        root: &Root,
        batch: impl IntoIterator<Item = (C::Key, Option<C::Value>)>,
        observe: &mut apply::Observe<'_>,
    ) -> Result<Applied, Error>
    where
        S: PageSink,
    {
        let mut changes = batch.into_iter();
        let batch = Batch::new(|key: &mut Vec<u8>, value: &mut Vec<u8>| {
            let (changed, new) = changes.next()?;
            C::encode_key(&changed, key);
            let Some(new) = new else { return Some(Edit::Delete) };
            C::encode_value(&new, value);
            Some(Edit::Put)
        })?;
        apply::merge(sink, self.limits, root, batch, observe)
    }

    /// The items in which two trees differ, in key order; costs what differs.
    pub fn diff<S>(&self, source: S, before: &Root, after: &Root) -> Diff<C, S>
    where
        S: PageSource + Clone,
    {
        Diff::new((source.clone(), before), (source, after))
    }

    /// The pages and items that the second tree has and the first has not; costs what differs.
    pub fn births<S>(&self, source: S, before: &Root, after: &Root) -> Births<C, S>
    where
        S: PageSource + Clone,
    {
        Births::new((source.clone(), before), (source, after))
    }

    /// Visits pages in key order, parents before children; `visit` says what to leave out. Reads no leaf.
    pub fn walk_pages<S>(
        &self,
        source: &S,
        root: &Root,
        visit: impl FnMut(&PageVisit) -> Step,
    ) -> Result<(), Error>
    where
        S: PageSource + ?Sized,
    {
        check::walk_pages(source, root, visit)
    }

    /// Verifies everything: every page and item can be read, keys ascend over the whole tree and stay within what
    /// parents state, and so do counts.
    pub fn check<S>(&self, source: &S, root: &Root) -> Result<CheckReport, Error>
    where
        S: PageSource + ?Sized,
    {
        check::check::<C, _>(source, root, self.limits)
    }
}

impl<C> Clone for Tree<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Tree<C> {}

impl<C: Schema> Default for Tree<C> {
    fn default() -> Self {
        Self::new(PageLimits::DEFAULT)
    }
}

impl<C> fmt::Debug for Tree<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").field("limits", &self.limits).finish()
    }
}

fn key_bytes<C: Schema>(key: &C::Key) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    C::encode_key(key, &mut bytes);
    bytes
}

/// The least byte string that is greater than `key`.
fn behind(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

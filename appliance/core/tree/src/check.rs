//! Visiting every page of a tree, and verifying its whole structure.

use model::Name;

use crate::cursor::Cursor;
use crate::error::{Damage, Error};
use crate::limits::PageLimits;
use crate::page::Page;
use crate::range::decode;
use crate::root::Root;
use crate::run::Run;
use crate::schema::Schema;
use crate::source::PageSource;
use crate::walker::{Place, Walker};

/// A page that a walk comes to, as its parent states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageVisit {
    /// The page.
    pub name: Name,
    /// 0 for leaves.
    pub level: u8,
    /// Number of items below.
    pub items: u64,
}

/// Where a walk goes from a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// To its children. A leaf has none: it is not even read.
    Into,
    /// To the page behind it, without reading it: for pages that are known from another tree.
    Over,
}

/// What a sound tree consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Number of pages.
    pub pages: u64,
    /// Bytes of all pages.
    pub bytes: u64,
    /// Number of items.
    pub items: u64,
    /// Pages that should have been joined with a neighbour; above 0 only after a change of limits.
    pub underfull: u64,
    /// Pages that should have been split; above 0 only after a change of limits.
    pub overfull: u64,
}

/// Visits the pages of a tree in key order, parents before children.
pub(crate) fn walk_pages<S: PageSource>(
    source: S,
    root: &Root,
    mut visit: impl FnMut(&PageVisit) -> Step,
) -> Result<(), Error> {
    let mut walker = Walker::new(source, root);
    while let Place::Page(child, level) = walker.place() {
        let page = PageVisit { name: child.name, level: *level, items: child.items };
        if visit(&page) == Step::Into && page.level > 0 {
            walker.open()?;
        } else {
            walker.advance()?;
        }
    }
    Ok(())
}

/// Reads every page of a tree and every item in it.
pub(crate) fn check<C: Schema, S: PageSource>(
    source: S,
    root: &Root,
    limits: PageLimits,
) -> Result<CheckReport, Error> {
    let mut report = CheckReport::default();
    // Whether the last page seen of each level is underfull, which the last of all may be.
    let mut underfull = vec![false; usize::from(root.height())];
    let mut walker = Walker::new(source, root);
    loop {
        match walker.place() {
            Place::Page(child, level) => {
                let page = walker.peek()?.expect("the walk stands at a page");
                check_count(&page, child.items)?;
                report.pages += 1;
                report.bytes += page.bytes().len() as u64;
                if let Some(before) = underfull.get_mut(usize::from(*level)) {
                    report.underfull += u64::from(*before);
                    *before = limits.underfull(*level, page.count(), page.bytes().len());
                }
                if page.bytes().len() > limits.length_max() {
                    let mut run = Run::new(*level, limits);
                    run.append_page(&page, &[])?;
                    report.overfull += u64::from(run.overfull());
                }
                walker.open()?;
            }
            Place::Item(cursor) => {
                decode::<C>(cursor)?;
                report.items += 1;
                walker.advance()?;
            }
            Place::End => return Ok(report),
        }
    }
}

/// Reads all of a page, and compares the items below it with what is stated.
fn check_count(page: &Page, stated: u64) -> Result<(), Error> {
    let mut cursor = Cursor::new(page.clone());
    let mut found = 0u64;
    while cursor.advance()? {
        let items = if page.level() == 0 { 1 } else { cursor.child()?.items };
        found = found.saturating_add(items);
    }
    if found == stated { Ok(()) } else { Err(page.damaged(Damage::Count { stated, found })) }
}

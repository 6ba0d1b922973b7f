//! The new tree as it grows from left to right: per level the entries not cut yet and the last page cut.
//!
//! The last page of a level is held back, neither written nor told to its parent, until a page follows it: so
//! what comes out too small behind it can be joined with it, and no page is written that the tree does not keep.
//! A page of the old tree can be passed on whole only where nothing smaller than a page waits below it; else it is
//! opened and its content passed on, which ends at the leaves at the latest.
//!
//! Tolerates old pages written under other limits. Every page is under its sibling's separator as the old tree has
//! it, or under the shortest one where a leaf was cut.

use model::Name;
use model::codec::put_number;

use crate::cursor::{Child, Cursor};
use crate::error::{Damage, Error};
use crate::limits::{HEIGHT_MAX, PageLimits};
use crate::page::Page;
use crate::root::{Root, Top};
use crate::run::{CutPage, Run};
use crate::source::PageSink;

/// What stands for the name of a page that has none yet.
const UNWRITTEN: Name = Name([0; 32]);

/// The last page of a level.
enum Held {
    /// A page of the old tree.
    Old(Child),
    /// A page that is not written.
    New(CutPage),
}

/// One level of the new tree.
struct Level {
    run: Run,
    held: Option<Held>,
    /// The old page whose content went into the run last: what is cut may equal it.
    opened: Option<Page>,
}

impl Level {
    const fn is_empty(&self) -> bool {
        self.run.is_empty() && self.held.is_none()
    }
}

/// The new tree as it grows.
pub(crate) struct Levels<'a, S> {
    sink: &'a mut S,
    limits: PageLimits,
    levels: Vec<Level>,
    born: Vec<Name>,
    died: Vec<Name>,
}

impl<'a, S: PageSink> Levels<'a, S> {
    pub(crate) const fn new(sink: &'a mut S, limits: PageLimits) -> Self {
        Self { sink, limits, levels: Vec::new(), born: Vec::new(), died: Vec::new() }
    }

    pub(crate) fn read(&self, child: &Child, level: u8) -> Result<Page, Error> {
        Page::read(&*self.sink, child.name, level)
    }

    fn level(&mut self, level: u8) -> &mut Level {
        let index = usize::from(level);
        while self.levels.len() <= index {
            let next = u8::try_from(self.levels.len()).expect("levels are counted in a byte");
            let run = Run::new(next, self.limits);
            self.levels.push(Level { run, held: None, opened: None });
        }
        &mut self.levels[index]
    }

    /// Appends an item.
    pub(crate) fn push_item(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.push(0, key, value, 1)
    }

    fn push(&mut self, level: u8, key: &[u8], payload: &[u8], items: u64) -> Result<(), Error> {
        let long = 2 * self.limits.length_max();
        let state = self.level(level);
        if let Err(damage) = state.run.push(key, payload, items) {
            // New keys are checked before they come here, so the old page is to blame.
            let name = state.opened.as_ref().map_or(UNWRITTEN, Page::name);
            return Err(Error::Page { name, damage });
        }
        if state.run.length() > long
            && let Some(page) = state.run.cut_front()
        {
            self.hold_cut(level, page)?;
        }
        Ok(())
    }

    /// Appends a page of the old tree as it is, or its content where it must be joined with what waits.
    pub(crate) fn pass(&mut self, child: Child, level: u8) -> Result<(), Error> {
        if self.seal_below(level)? && self.cut(level)? {
            return self.hold(level, Held::Old(child));
        }
        let page = self.read(&child, level)?;
        let mut cursor = self.open(page, &child.separator)?;
        loop {
            if level == 0 {
                self.push_item(cursor.key(), cursor.payload())?;
            } else {
                self.pass(cursor.child()?, level - 1)?;
            }
            if !cursor.advance()? {
                return self.close(level);
            }
        }
    }

    /// States that the content of an old page follows, instead of the page; gives its first entry.
    pub(crate) fn open(&mut self, page: Page, separator: &[u8]) -> Result<Cursor, Error> {
        let state = self.level(page.level());
        state.run.begin(separator);
        if let Some(before) = state.opened.replace(page.clone()) {
            self.died.push(before.name());
        }
        let mut cursor = Cursor::new(page);
        cursor.advance()?;
        if cursor.key() < separator {
            return Err(cursor.page().damaged(Damage::Order));
        }
        Ok(cursor)
    }

    /// States that the content of the opened page is complete: a page ends here too, if half of one waits. With less
    /// it ends here only if the page that follows is passed on whole.
    pub(crate) fn close(&mut self, level: u8) -> Result<(), Error> {
        if self.seal_below(level)? && self.level(level).run.half_full() {
            self.cut(level)?;
        }
        Ok(())
    }

    /// Brings everything below `level` up to it; `false` if something too small for a page is left.
    fn seal_below(&mut self, level: u8) -> Result<bool, Error> {
        for lower in 0..level {
            if !self.cut(lower)? {
                return Ok(false);
            }
            if let Some(held) = self.level(lower).held.take() {
                self.emit(lower, held)?;
            }
        }
        Ok(true)
    }

    /// Cuts what waits into pages and holds the last; `false` if it is too small and has no left neighbour.
    fn cut(&mut self, level: u8) -> Result<bool, Error> {
        if self.level(level).run.is_empty() {
            return Ok(true);
        }
        if self.level(level).run.underfull() && !self.join(level, usize::MAX)? {
            return Ok(false);
        }
        for page in self.level(level).run.cut_balanced() {
            self.hold_cut(level, page)?;
        }
        Ok(true)
    }

    /// Puts the content of the held page before what waits; `false` if there is none, or if both together would be
    /// longer than `length_max`.
    fn join(&mut self, level: u8, length_max: usize) -> Result<bool, Error> {
        let Some(held) = self.level(level).held.take() else { return Ok(false) };
        let (page, separator) = match &held {
            Held::Old(child) => (self.read(child, level)?, &child.separator),
            Held::New(cut) => (Page::parse(UNWRITTEN, cut.bytes.as_slice().into())?, &cut.separator),
        };
        let mut joined = Run::new(level, self.limits);
        joined.append_page(&page, separator)?;
        let state = self.level(level);
        joined.append(&state.run).map_err(|damage| page.damaged(damage))?;
        if joined.length() > length_max {
            state.held = Some(held);
            return Ok(false);
        }
        state.run = joined;
        if let Held::Old(child) = held {
            self.died.push(child.name);
        }
        Ok(true)
    }

    /// Holds a page that was cut, or the old page that has the same bytes.
    fn hold_cut(&mut self, level: u8, cut: CutPage) -> Result<(), Error> {
        let state = self.level(level);
        let held = match state.opened.take_if(|page| page.bytes() == cut.bytes) {
            Some(page) => Held::Old(Child { separator: cut.separator, name: page.name(), items: cut.items }),
            None => Held::New(cut),
        };
        self.hold(level, held)
    }

    fn hold(&mut self, level: u8, held: Held) -> Result<(), Error> {
        match self.level(level).held.replace(held) {
            Some(before) => self.emit(level, before),
            None => Ok(()),
        }
    }

    /// Writes a page if it is new, and tells it to the level above.
    fn emit(&mut self, level: u8, held: Held) -> Result<(), Error> {
        let child = self.write(level, held)?;
        if level + 1 >= HEIGHT_MAX {
            return Err(Error::Root { height: level + 2, items: child.items });
        }
        let mut payload = Vec::with_capacity(Name::LENGTH + 5);
        payload.extend_from_slice(&child.name.0);
        put_number(&mut payload, child.items);
        self.push(level + 1, &child.separator, &payload, child.items)
    }

    fn write(&mut self, level: u8, held: Held) -> Result<Child, Error> {
        match held {
            Held::Old(child) => Ok(child),
            Held::New(CutPage { separator, bytes, items }) => {
                let failed = |error| Error::Write { level, kind: S::kind(&error), source: Box::new(error) };
                let name = self.sink.write(bytes).map_err(failed)?;
                self.born.push(name);
                Ok(Child { separator, name, items })
            }
        }
    }

    /// Ends the tree: what waits becomes pages from the bottom up, until one page is above all.
    pub(crate) fn finish(mut self) -> Result<(Root, Vec<Name>, Vec<Name>), Error> {
        let top = self.finish_levels()?;
        let root = match top {
            Some(top) => Root::new(self.collapse(top)?),
            None => Root::EMPTY,
        };
        self.died.extend(self.levels.iter().filter_map(|level| level.opened.as_ref().map(Page::name)));
        cancel(&mut self.born, &mut self.died);
        Ok((root, self.born, self.died))
    }

    fn finish_levels(&mut self) -> Result<Option<Top>, Error> {
        let mut level = 0;
        while usize::from(level) < self.levels.len() {
            let run = &self.level(level).run;
            if run.underfull() && !run.is_empty() {
                self.join(level, self.limits.length_max())?;
            }
            let is_top = self.levels[usize::from(level) + 1..].iter().all(Level::is_empty);
            let state = self.level(level);
            if is_top && level > 0 && state.held.is_none() && state.run.count() == 1 {
                return Ok(Some(self.only_child(level)?));
            }
            for page in self.level(level).run.cut_full() {
                self.hold_cut(level, page)?;
            }
            let is_top = self.levels[usize::from(level) + 1..].iter().all(Level::is_empty);
            if let Some(held) = self.level(level).held.take() {
                if is_top {
                    let Child { name, items, .. } = self.write(level, held)?;
                    return Ok(Some(Top { name, level, items }));
                }
                self.emit(level, held)?;
            }
            level += 1;
        }
        Ok(None)
    }

    /// The child that an interior page of one entry would have.
    fn only_child(&mut self, level: u8) -> Result<Top, Error> {
        let run = &self.level(level).run;
        let (payload, items) = run.single().expect("the run has one entry");
        let name = payload.first_chunk().expect("interior entries start with a name");
        Ok(Top { name: Name(*name), level: level - 1, items })
    }

    /// Takes away old pages at the top that have a single child; new ones there have more.
    fn collapse(&mut self, mut top: Top) -> Result<Top, Error> {
        while top.level > 0 && !self.born.contains(&top.name) {
            let page = Page::read(&*self.sink, top.name, top.level)?;
            if page.count() > 1 {
                break;
            }
            let mut cursor = Cursor::new(page);
            cursor.advance()?;
            let child = cursor.child()?;
            self.died.push(top.name);
            top = Top { name: child.name, level: top.level - 1, items: child.items };
        }
        Ok(top)
    }
}

/// Takes names out of both lists that are in both: pages that were taken apart and came out the same.
fn cancel(born: &mut Vec<Name>, died: &mut Vec<Name>) {
    if born.is_empty() || died.is_empty() {
        return;
    }
    let mut sorted = died.clone();
    sorted.sort_unstable();
    let mut both: Vec<Name> =
        born.iter().copied().filter(|name| sorted.binary_search(name).is_ok()).collect();
    if both.is_empty() {
        return;
    }
    both.sort_unstable();
    born.retain(|name| both.binary_search(name).is_err());
    died.retain(|name| both.binary_search(name).is_err());
}

//! What differs between two trees, found by walking both where their pages differ.
//!
//! Pages with the same name hold the same items, so the walks step over them together. Before that they are
//! brought to the same place: the walk that is behind opens its page, of two that start at the same key the
//! higher one. So the cost is that of the pages that differ, and a few beside them where the trees are cut
//! differently.

use std::cmp::Ordering;
use std::marker::PhantomData;

use model::Name;

use crate::error::Error;
use crate::range::decode;
use crate::root::Root;
use crate::schema::{ItemOf, Schema};
use crate::source::PageSource;
use crate::walker::{Place, Walker};

/// An item that differs: at least one side has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<K, V> {
    /// Where.
    pub key: K,
    /// What the first tree has there.
    pub before: Option<V>,
    /// What the second tree has there.
    pub after: Option<V>,
}

/// A change to an item of a schema.
pub type ChangeOf<C> = Change<<C as Schema>::Key, <C as Schema>::Value>;

/// Iterates over the items in which two trees differ, in key order. Ends after the first error.
pub struct Diff<C, S> {
    before: Walker<S>,
    after: Walker<S>,
    schema: PhantomData<fn() -> C>,
}

/// A page or an item that the second of two trees has and the first has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Birth<K, V> {
    /// A page, before anything below it.
    Page(Name),
    /// An item, new or with a new value.
    Item(K, V),
}

/// A birth in a tree of a schema.
pub type BirthOf<C> = Birth<<C as Schema>::Key, <C as Schema>::Value>;

/// Iterates over what one tree has and another has not, in the order of a walk. Ends after the first error.
///
/// Where the trees are cut differently a page that both have may be stated as well. It is stated then in both
/// directions, so whoever adds the births of one direction and subtracts those of the other comes out even; and the
/// same two trees always give the same births.
pub struct Births<C, S> {
    before: Walker<S>,
    after: Walker<S>,
    schema: PhantomData<fn() -> C>,
}

/// What to do where the two walks stand.
enum Action {
    SkipBoth,
    Open { before: bool, after: bool },
    Removed,
    Added,
    Changed,
    End,
}

impl<C: Schema, S: PageSource> Diff<C, S> {
    pub(crate) fn new(before: (S, &Root), after: (S, &Root)) -> Self {
        let (before, after) = (Walker::new(before.0, before.1), Walker::new(after.0, after.1));
        Self { before, after, schema: PhantomData }
    }

    fn step(&mut self) -> Result<Option<ChangeOf<C>>, Error> {
        loop {
            match action(self.before.place(), self.after.place()) {
                Action::SkipBoth => {
                    self.before.advance()?;
                    self.after.advance()?;
                }
                Action::Open { before, after } => {
                    if before {
                        self.before.open()?;
                    }
                    if after {
                        self.after.open()?;
                    }
                }
                Action::Removed => {
                    let (key, value) = take::<C, S>(&mut self.before)?;
                    return Ok(Some(Change { key, before: Some(value), after: None }));
                }
                Action::Added => {
                    let (key, value) = take::<C, S>(&mut self.after)?;
                    return Ok(Some(Change { key, before: None, after: Some(value) }));
                }
                Action::Changed => {
                    let (key, before) = take::<C, S>(&mut self.before)?;
                    let (_, after) = take::<C, S>(&mut self.after)?;
                    return Ok(Some(Change { key, before: Some(before), after: Some(after) }));
                }
                Action::End => return Ok(None),
            }
        }
    }
}

impl<C: Schema, S: PageSource> Iterator for Diff<C, S> {
    type Item = Result<ChangeOf<C>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let change = self.step().transpose();
        if !matches!(change, Some(Ok(_))) {
            self.before.stop();
            self.after.stop();
        }
        change
    }
}

impl<C: Schema, S: PageSource> Births<C, S> {
    pub(crate) fn new(before: (S, &Root), after: (S, &Root)) -> Self {
        let (before, after) = (Walker::new(before.0, before.1), Walker::new(after.0, after.1));
        Self { before, after, schema: PhantomData }
    }

    fn step(&mut self) -> Result<Option<BirthOf<C>>, Error> {
        loop {
            match action(self.before.place(), self.after.place()) {
                Action::SkipBoth => {
                    self.before.advance()?;
                    self.after.advance()?;
                }
                Action::Open { before, after } => {
                    if before {
                        self.before.open()?;
                    }
                    if let (true, Place::Page(page, _)) = (after, self.after.place()) {
                        let name = page.name;
                        self.after.open()?;
                        return Ok(Some(Birth::Page(name)));
                    }
                }
                Action::Removed => self.before.advance()?,
                Action::Added => {
                    let (key, value) = take::<C, S>(&mut self.after)?;
                    return Ok(Some(Birth::Item(key, value)));
                }
                Action::Changed => {
                    self.before.advance()?;
                    let (key, value) = take::<C, S>(&mut self.after)?;
                    return Ok(Some(Birth::Item(key, value)));
                }
                Action::End => return Ok(None),
            }
        }
    }
}

impl<C: Schema, S: PageSource> Iterator for Births<C, S> {
    type Item = Result<BirthOf<C>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let birth = self.step().transpose();
        if !matches!(birth, Some(Ok(_))) {
            self.before.stop();
            self.after.stop();
        }
        birth
    }
}

fn action(before: &Place, after: &Place) -> Action {
    match (before, after) {
        (Place::Page(a, level_a), Place::Page(b, level_b)) => {
            if a.name == b.name && level_a == level_b {
                return Action::SkipBoth;
            }
            match a.separator.cmp(&b.separator).then(level_b.cmp(level_a)) {
                Ordering::Less => Action::Open { before: true, after: false },
                Ordering::Equal => Action::Open { before: true, after: true },
                Ordering::Greater => Action::Open { before: false, after: true },
            }
        }
        (Place::Item(a), Place::Item(b)) => match a.key().cmp(b.key()) {
            Ordering::Less => Action::Removed,
            Ordering::Equal if a.payload() == b.payload() => Action::SkipBoth,
            Ordering::Equal => Action::Changed,
            Ordering::Greater => Action::Added,
        },
        (Place::Item(a), Place::Page(b, _)) if a.key() < b.separator.as_slice() => Action::Removed,
        (Place::Page(a, _), Place::Item(b)) if b.key() < a.separator.as_slice() => Action::Added,
        (Place::Page(..), _) => Action::Open { before: true, after: false },
        (_, Place::Page(..)) => Action::Open { before: false, after: true },
        (Place::Item(_), Place::End) => Action::Removed,
        (Place::End, Place::Item(_)) => Action::Added,
        (Place::End, Place::End) => Action::End,
    }
}

/// The item that a walk stands at; the walk goes on to the next.
fn take<C: Schema, S: PageSource>(walker: &mut Walker<S>) -> Result<ItemOf<C>, Error> {
    let Place::Item(cursor) = walker.place() else { unreachable!("the walk stands at an item") };
    let item = decode::<C>(cursor)?;
    walker.advance()?;
    Ok(item)
}

//! Applying a sorted batch of changes: a new tree that shares every untouched page with the old one.
//!
//! The old tree is walked from left to right along the batch. Subtrees that no change falls into are passed on
//! whole, leaves with changes are merged with them, and both flow through one [`Levels`] that cuts new pages.
//! Changes that change nothing (deleting what is absent, putting what is there) touch no page.

mod batch;
mod levels;
mod merge;

use model::Name;

pub(crate) use batch::{Batch, Edit};
pub(crate) use merge::{Observe, merge};

use crate::root::Root;

/// A tree after a batch, and the pages that it cost.
///
/// The pages of the new tree are exactly those of the old one, without `died`, and `born`; no page is in both
/// lists, and none is in a list twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The new tree.
    pub root: Root,
    /// Pages of the new tree that the old one does not have, children before parents.
    pub born: Vec<Name>,
    /// Pages of the old tree that the new one does not have.
    pub died: Vec<Name>,
}

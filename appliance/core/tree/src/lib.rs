//! One immutable ordered map: a copy-on-write Merkle B-tree of pages, generic over its items.
//!
//! A tree is a [`Root`] and the pages reachable from it; a page is named by its content, so two trees share
//! every page that they have in common and comparing names finds what differs. Changing a tree writes the
//! pages on the way to the changes and leaves every other page alone. The bytes are in FORMAT.md.
//!
//! Tolerates pages of any content: whatever a page claims ends in an error, not in a panic or an endless walk.
//! Does not cache, name, compress or delete pages: that is the business of the [`PageSource`].

mod error;
mod limits;
mod schema;
mod source;

mod page;
mod root;

mod cursor;
mod walker;

mod run;

mod apply;
mod check;
mod diff;
mod range;
mod tree;

pub mod memory;

pub use apply::Applied;
pub use check::{CheckReport, PageVisit, Step};
pub use diff::{Birth, BirthOf, Births, Change, ChangeOf, Diff};
pub use error::{Damage, Error};
pub use limits::{HEIGHT_MAX, KEY_LENGTH_MAX, PAGE_LENGTH_MAX, PageLimits, VALUE_LENGTH_MAX};
pub use range::{Leaf, Range};
pub use root::{ROOT_LENGTH_MAX, Root};
pub use schema::{ByteStrings, ItemOf, Items, Schema};
pub use source::{PageSink, PageSource};
pub use tree::{ItemTree, Tree};

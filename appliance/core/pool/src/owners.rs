//! Whose chunks are, of those whose index was lost: the index of a data frame says who sent it, the frame does not.
//!
//! A point names only chunks that its machine had sent, so whoever has a point with a chunk owns it. Chunks that no
//! point names stay without an owner: nobody can read them, and who sends them again owns them again.

use std::collections::HashSet;
use std::sync::Arc;

use model::item::{Extent, Item};
use model::{ErrorKind, Name};
use tree::{ItemTree, PageSource, Root};

use crate::PoolError;
use crate::archive::tree_root;
use crate::keys::PoolKeys;
use crate::pages::page_at;
use crate::reader::FrameReader;
use crate::state::State;

/// Pages as a state that nobody else sees yet has them.
#[derive(Clone, Copy)]
struct Pages<'a> {
    state: &'a State,
    frames: &'a FrameReader,
    keys: &'a PoolKeys,
}

impl PageSource for Pages<'_> {
    type Error = PoolError;

    fn read(&self, name: &Name) -> Result<Arc<[u8]>, PoolError> {
        let place = self.state.page(name)?.ok_or(PoolError::Absent { what: "page", name: *name })?;
        page_at(self.frames, self.keys, name, &place)
    }

    fn kind(error: &PoolError) -> ErrorKind {
        error.kind()
    }
}

/// Gives chunks without an owner to the machines whose points name them. Costs what the points of a source differ in.
pub(crate) fn find_owners(
    state: &mut State,
    frames: &FrameReader,
    keys: &PoolKeys,
    unowned: &HashSet<Name>,
) -> Result<(), PoolError> {
    if unowned.is_empty() {
        return Ok(());
    }
    let mut adopted = Vec::new();
    let pages = Pages { state, frames, keys };
    for source in state.registry.sources.values() {
        let mut before = Root::EMPTY;
        for point in state.registry.points_of(source.id) {
            let after = tree_root(point)?;
            for change in ItemTree::default().diff(pages, &before, &after) {
                match change.map(|change| change.after) {
                    Ok(Some(Item::Extent(Extent::Chunk { name, .. }))) if unowned.contains(&name) => {
                        adopted.push((name, source.machine));
                    }
                    Ok(_) => {}
                    // The point is damaged; the next one is compared with the last that is not.
                    Err(_) => break,
                }
            }
            before = after;
        }
    }
    state.recent.adopted.extend(adopted);
    Ok(())
}

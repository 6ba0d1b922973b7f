//! Passes over whole tables, which only a recovery and an audit need.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use model::{Name, SegmentNumber};

use super::place::Entry;
use super::{CHUNKS, Catalog, EntryTable, PAGES, failed};
use crate::PoolError;

impl Catalog {
    /// Shows every chunk from a name on, in order, until `look` has enough.
    pub(crate) fn each_chunk(
        &self,
        from: Name,
        look: &mut dyn FnMut(Name, Entry) -> ControlFlow<()>,
    ) -> Result<(), PoolError> {
        self.each_entry(CHUNKS, from, look)
    }

    /// Shows every page from a name on, in order, until `look` has enough.
    pub(crate) fn each_page(
        &self,
        from: Name,
        look: &mut dyn FnMut(Name, Entry) -> ControlFlow<()>,
    ) -> Result<(), PoolError> {
        self.each_entry(PAGES, from, look)
    }

    fn each_entry(
        &self,
        table: EntryTable,
        from: Name,
        look: &mut dyn FnMut(Name, Entry) -> ControlFlow<()>,
    ) -> Result<(), PoolError> {
        self.read("chunks or pages", |read| {
            let table = read.open_table(table).map_err(failed("read entries"))?;
            for entry in table.range::<&[u8; Name::LENGTH]>(&from.0..).map_err(failed("read entries"))? {
                let (key, value) = entry.map_err(failed("read entries"))?;
                if look(Name(*key.value()), Entry::decode(value.value())).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }
}

/// Up to `limit` names from one on whose place is in one of some segments.
pub(crate) fn names_in(
    each: impl FnOnce(Name, &mut dyn FnMut(Name, Entry) -> ControlFlow<()>) -> Result<(), PoolError>,
    segments: &BTreeSet<SegmentNumber>,
    from: Name,
    limit: usize,
) -> Result<Vec<(Name, Entry)>, PoolError> {
    let mut found = Vec::new();
    each(from, &mut |name, entry| {
        if entry.place.is_some_and(|place| segments.contains(&place.frame.segment)) {
            found.push((name, entry));
        }
        if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(found)
}

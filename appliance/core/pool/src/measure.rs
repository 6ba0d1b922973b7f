//! What a point holds alone: what would be given back if it was dropped.

use std::collections::HashMap;
use std::sync::Arc;

use model::Name;
use model::archive::PointKey;
use model::item::{Extent, Item};
use tree::{Birth, ItemTree, Root};

use crate::PoolError;
use crate::archive::{tree_error, tree_root};
use crate::state::Shared;

/// Most extents that are looked at; a point that differs more from its neighbours is not measured.
const EXTENTS_MAX: usize = 1 << 20;

impl Shared {
    /// Bytes of chunks that nothing but this point holds; none if it differs very much from its neighbours. Costs what
    /// they differ in.
    ///
    /// # Errors
    /// A page that cannot be read, or no such point.
    pub fn own_bytes(self: &Arc<Self>, key: PointKey) -> Result<Option<u64>, PoolError> {
        let point = tree_root(&*self.point(key)?)?;
        let (before, after) = {
            let state = self.state();
            let row = || state.registry.points_of(key.source);
            let before = row().rev().find(|other| other.number < key.number).map(|other| tree_root(other));
            let after = row().find(|other| other.number > key.number).map(|other| tree_root(other));
            (before.transpose()?, after.transpose()?)
        };
        let Some(mut own) = self.extents_over(after.as_ref(), &point)? else { return Ok(None) };
        if before.is_some() {
            let Some(new) = self.extents_over(before.as_ref(), &point)? else { return Ok(None) };
            own.retain(|name, count| {
                *count = (*count).min(new.get(name).copied().unwrap_or(0));
                *count > 0
            });
        }
        let names: Vec<Name> = own.keys().copied().collect();
        let state = self.state();
        let entries = state.catalog()?.chunks(&names)?;
        let held = |(name, entry): (&Name, crate::catalog::Entry)| {
            let is_alone = own.get(name).is_some_and(|count| *count >= entry.references);
            entry.place.filter(|_| is_alone).map_or(0, |place| u64::from(place.length))
        };
        Ok(Some(names.iter().zip(entries).map(held).sum()))
    }

    /// How many extents of each chunk one tree has and another has not.
    fn extents_over(
        self: &Arc<Self>,
        other: Option<&Root>,
        tree: &Root,
    ) -> Result<Option<HashMap<Name, u32>>, PoolError> {
        let mut found = HashMap::new();
        let other = other.unwrap_or(&Root::EMPTY);
        for (count, birth) in ItemTree::default().births(Arc::clone(self), other, tree).enumerate() {
            if let Birth::Item(_, Item::Extent(Extent::Chunk { name, .. })) = birth.map_err(tree_error)? {
                *found.entry(name).or_insert(0) += 1;
            }
            if count >= EXTENTS_MAX {
                return Ok(None);
            }
        }
        Ok(Some(found))
    }
}

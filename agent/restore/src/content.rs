//! The content of a file as a gap-free run of extents.
//!
//! Extents come in order, do not overlap, and end where the file ends; anything else is damage. A range that no
//! extent covers is damage too: it must not be restored as zeros.

use model::ObjectId;
use model::archive::ArchiveError;
use model::item::{Extent, Inode};

use crate::error::corrupt;
use crate::items::Items;

/// Extents that are read at a time.
const EXTENTS_MAX: usize = 1024;

/// Reads the extents of a file from its start to its end.
pub(crate) struct Content {
    object: ObjectId,
    size: u64,
    /// What lies before it was given out.
    position: u64,
}

impl Content {
    pub(crate) fn new(object: ObjectId, inode: &Inode) -> Self {
        Self { object, size: inode.size, position: 0 }
    }

    /// The next extents with their offsets; none at the end of the file.
    pub(crate) fn next(&mut self, items: &mut Items<'_>) -> Result<Vec<(u64, Extent)>, ArchiveError> {
        if self.position >= self.size {
            return Ok(Vec::new());
        }
        let extents = items.extents(self.object, self.position, EXTENTS_MAX)?;
        if extents.is_empty() {
            return Err(corrupt("a range of its content is missing"));
        }
        for (offset, extent) in &extents {
            if *offset != self.position {
                return Err(corrupt("a range of its content is missing or stated twice"));
            }
            let end =
                offset.checked_add(extent.length()).filter(|end| extent.length() > 0 && *end <= self.size);
            self.position = end.ok_or_else(|| corrupt("its content is longer than the file"))?;
        }
        Ok(extents)
    }
}

//! Comparing a file of the target with the stored content.
//!
//! With a way to name bytes, a range that has the name of its chunk is equal and nothing is fetched. Where names say
//! nothing (an extent that is a part of a chunk) or differ, the chunks are fetched and the bytes compared.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use model::archive::{Archive, PointKey};
use model::item::{Extent, Inode};
use model::{Name, ObjectId};

use crate::content::Content;
use crate::error::{RestoreError, is_damage};
use crate::fetch::{CALL_BYTES_MAX, CALL_CHUNKS_MAX};
use crate::items::Items;
use crate::ranges;
use crate::request::Naming;

/// How a file compares with the stored content.
#[derive(Debug)]
pub(crate) enum Likeness {
    /// They are equal.
    Same,
    /// The file is a beginning of the stored content, perhaps an empty one.
    Beginning,
    /// The file holds something else.
    Different,
    /// The file cannot be read.
    Unreadable(io::Error),
    /// The stored content cannot be had.
    Unknown(String),
}

/// A range of a file whose chunk must be fetched to compare it.
struct Doubt {
    offset: u64,
    name: Name,
    skip: usize,
    length: usize,
}

/// Compares files.
pub(crate) struct Comparer<'a> {
    pub(crate) archive: &'a dyn Archive,
    pub(crate) point: PointKey,
    pub(crate) naming: Option<Naming<'a>>,
    pub(crate) stop: &'a AtomicBool,
}

/// What ends a comparison early.
enum End {
    Difference,
    Local(io::Error),
    Archive(model::archive::ArchiveError),
    Stopped,
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Local(error)
    }
}

impl From<model::archive::ArchiveError> for End {
    fn from(error: model::archive::ArchiveError) -> Self {
        Self::Archive(error)
    }
}

impl Comparer<'_> {
    /// Compares a file of some length with an object.
    pub(crate) fn compare(
        &self,
        file: &File,
        length: u64,
        items: &mut Items<'_>,
        (object, inode): (ObjectId, &Inode),
    ) -> Result<Likeness, RestoreError> {
        if length > inode.size {
            return Ok(Likeness::Different);
        }
        match self.go_through(file, length, items, Content::new(object, inode)) {
            Ok(()) if length == inode.size => Ok(Likeness::Same),
            Ok(()) => Ok(Likeness::Beginning),
            Err(End::Difference) => Ok(Likeness::Different),
            Err(End::Local(error)) => Ok(Likeness::Unreadable(error)),
            Err(End::Archive(error)) if is_damage(&error) => Ok(Likeness::Unknown(error.message)),
            Err(End::Archive(source)) => Err(RestoreError::Archive { what: "content", source }),
            Err(End::Stopped) => Err(RestoreError::Stopped),
        }
    }

    fn go_through(
        &self,
        file: &File,
        length: u64,
        items: &mut Items<'_>,
        mut content: Content,
    ) -> Result<(), End> {
        let mut doubts: Vec<Doubt> = Vec::new();
        let mut doubtful_bytes = 0;
        loop {
            let extents = content.next(items)?;
            let is_end = extents.is_empty();
            for (offset, extent) in extents {
                if self.stop.load(Ordering::Relaxed) {
                    return Err(End::Stopped);
                }
                let there = extent.length().min(length.saturating_sub(offset));
                match extent {
                    _ if there == 0 => {}
                    Extent::Hole { .. } if ranges::is_zero(file, offset..offset + there)? => {}
                    Extent::Hole { .. } => return Err(End::Difference),
                    Extent::Chunk { .. } if self.is_named(file, offset, there, &extent)? => {}
                    Extent::Chunk { name, skip, .. } => {
                        // Both are at most the length of a chunk.
                        let length = usize::try_from(there).unwrap_or(usize::MAX);
                        doubts.push(Doubt { offset, name, skip: skip as usize, length });
                        doubtful_bytes += length;
                    }
                }
                if doubts.len() >= CALL_CHUNKS_MAX || doubtful_bytes >= CALL_BYTES_MAX {
                    self.resolve(file, &mut doubts)?;
                    doubtful_bytes = 0;
                }
            }
            if is_end {
                return self.resolve(file, &mut doubts);
            }
        }
    }

    /// Whether the bytes of the file have the name of the chunk, so that they are the whole chunk.
    pub(crate) fn is_named(&self, file: &File, offset: u64, there: u64, extent: &Extent) -> io::Result<bool> {
        let (Some(naming), Extent::Chunk { name, skip: 0, length }) = (self.naming, extent) else {
            return Ok(false);
        };
        if u64::from(*length) != there {
            return Ok(false);
        }
        let mut bytes = vec![0; *length as usize];
        Ok(ranges::read(file, offset, &mut bytes)? && naming(&bytes) == *name)
    }

    fn resolve(&self, file: &File, doubts: &mut Vec<Doubt>) -> Result<(), End> {
        if doubts.is_empty() {
            return Ok(());
        }
        let names: Vec<Name> = doubts.iter().map(|doubt| doubt.name).collect();
        let chunks = self.archive.chunks(self.point, &names)?;
        for (doubt, chunk) in doubts.drain(..).zip(chunks) {
            let chunk = chunk?;
            let stored = chunk.get(doubt.skip..doubt.skip + doubt.length).ok_or(End::Difference)?;
            if !ranges::equals(file, doubt.offset, stored)? {
                return Err(End::Difference);
            }
        }
        Ok(())
    }
}

//! What comes of one file: writes where the content differs from the last point, and the runs for the cache.

use model::ObjectId;
use model::operation::{Content as Written, Operation};

use crate::CacheError;
use crate::cache::Snapshot;
use crate::record::{Content, INLINE_EXTENTS_MAX, PIECE_EXTENTS, Record, Run, encode_runs};
use crate::task::Part;

/// The runs that the last point has of a file, in order.
pub(super) struct OldRuns<'a> {
    snapshot: &'a Snapshot,
    object: ObjectId,
    runs: std::vec::IntoIter<Run>,
    next_piece: u32,
    pieces: u32,
    /// Where the next run begins.
    offset: u64,
}

impl<'a> OldRuns<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, record: Option<&Record>) -> Self {
        let (runs, pieces) = match record.map(|record| &record.content) {
            Some(Content::Inline(runs)) => (runs.clone(), 0),
            Some(Content::Apart { pieces }) => (Vec::new(), *pieces),
            None => (Vec::new(), 0),
        };
        let object = record.map_or(ObjectId(0), |record| record.object);
        Self { snapshot, object, runs: runs.into_iter(), next_piece: 0, pieces, offset: 0 }
    }

    fn next(&mut self) -> Result<Option<(u64, Run)>, CacheError> {
        if self.runs.len() == 0 && self.next_piece < self.pieces {
            let piece = self.snapshot.piece(self.object, self.next_piece)?;
            self.runs = piece.ok_or(CacheError::Damaged("content of a file"))?.into_iter();
            self.next_piece += 1;
        }
        let Some(run) = self.runs.next() else { return Ok(None) };
        let offset = self.offset;
        self.offset = offset.saturating_add(run.length);
        Ok(Some((offset, run)))
    }

    /// Whether the last point has exactly this run at this offset; offsets only grow.
    fn has(&mut self, offset: u64, run: &Run) -> Result<bool, CacheError> {
        // Ends: every round takes a run that begins before `offset`.
        while self.offset < offset {
            if self.next()?.is_none() {
                return Ok(false);
            }
        }
        Ok(self.offset == offset && self.next()?.is_some_and(|(_, old)| old == *run))
    }
}

/// Where what comes of a file goes.
pub(super) struct Output<'a> {
    object: ObjectId,
    /// Device and inode that it is read from.
    place: (u64, u64),
    /// Whether several names share it.
    is_linked: bool,
    old: OldRuns<'a>,
    offset: u64,
    hole: u64,
    runs: Vec<Run>,
    pieces: u32,
}

impl<'a> Output<'a> {
    pub(super) const fn new(object: ObjectId, place: (u64, u64), is_linked: bool, old: OldRuns<'a>) -> Self {
        Self { object, place, is_linked, old, offset: 0, hole: 0, runs: Vec::new(), pieces: 0 }
    }

    /// Where the next run begins.
    pub(super) const fn offset(&self) -> u64 {
        self.offset + self.hole
    }

    /// Appends a hole.
    pub(super) const fn hole(&mut self, length: u64) {
        self.hole += length;
    }

    /// Appends a run; whether the last point has it at the same place.
    pub(super) fn run(&mut self, part: &mut Part, run: Run) -> Result<bool, CacheError> {
        if run.name.is_none() {
            self.hole(run.length);
            return Ok(true);
        }
        self.end_hole(part)?;
        self.emit(part, run)
    }

    fn end_hole(&mut self, part: &mut Part) -> Result<(), CacheError> {
        let length = std::mem::take(&mut self.hole);
        if length > 0 {
            self.emit(part, Run { length, name: None })?;
        }
        Ok(())
    }

    fn emit(&mut self, part: &mut Part, run: Run) -> Result<bool, CacheError> {
        let is_old = self.old.has(self.offset, &run)?;
        if !is_old {
            let content = match run.name {
                Some(name) => {
                    let length =
                        u32::try_from(run.length).map_err(|_| CacheError::Damaged("length of a run"))?;
                    Written::Chunk { name, skip: 0, length }
                }
                None => Written::Hole { length: run.length },
            };
            part.operations.push(Operation::Write { object: self.object, offset: self.offset, content });
        }
        self.offset = self.offset.saturating_add(run.length);
        if self.runs.len() == PIECE_EXTENTS {
            self.flush(part);
        }
        self.runs.push(run);
        Ok(is_old)
    }

    fn flush(&mut self, part: &mut Part) {
        let mut bytes = Vec::new();
        encode_runs(&self.runs, &mut bytes);
        part.updates.piece(self.object, self.place, self.pieces, &bytes);
        self.pieces += 1;
        self.runs.clear();
    }

    /// Ends the file; its content for the cache.
    pub(super) fn finish(mut self, part: &mut Part) -> Result<Content, CacheError> {
        self.end_hole(part)?;
        let is_short = self.pieces == 0 && self.runs.len() <= INLINE_EXTENTS_MAX;
        if is_short && !self.is_linked {
            return Ok(Content::Inline(self.runs));
        }
        if !self.runs.is_empty() {
            self.flush(part);
        }
        Ok(Content::Apart { pieces: self.pieces })
    }

    /// Writes the runs of the last point again, over what has been written of the file.
    pub(super) fn write_old(&mut self, part: &mut Part, mut old: OldRuns<'_>) -> Result<(), CacheError> {
        while let Some((_, run)) = old.next()? {
            self.run(part, run)?;
        }
        Ok(())
    }
}

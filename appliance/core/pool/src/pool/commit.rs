//! A commit: what was put is made durable, with records, and only then does it count.
//!
//! The order: data, pages, indexes and records are written; all of it is synced, and so are the names of new segments;
//! then the mark is written and synced, and only then is the commit acknowledged. So a mark that can be read has
//! everything before it on the drive.

use std::collections::BTreeSet;

use chunk::{FrameKind, Level};
use model::{CommitNumber, MachineId, Name, SegmentNumber};

use crate::PoolError;
use crate::catalog::{Mark, Place};
use crate::layout::SEGMENTS;
use crate::planted::Bug;
use crate::pool::{Pool, Stream};
use crate::record::{CommitMark, Record, RecordsBody, SegmentLength, encode_frame_index};
use crate::replay::{Replayed, advance, removed};
use crate::segment::FramePlace;

/// Bytes of records or indexes that go into one frame.
const BODY_BYTES: usize = 1 << 20;

impl Pool {
    /// Makes everything that was put durable, with these records. An empty commit writes nothing.
    pub fn commit(&mut self, records: Vec<Record>) -> Result<(), PoolError> {
        self.commit_restated(records, BTreeSet::new(), None)
    }

    /// The same, with the lengths of segments of which something is stated again; from then on no mark up to that of
    /// `base` is needed.
    pub(crate) fn commit_restated(
        &mut self,
        records: Vec<Record>,
        restated: BTreeSet<SegmentNumber>,
        base: Option<CommitNumber>,
    ) -> Result<(), PoolError> {
        crate::records::check_lengths(&records)?;
        self.guard(|pool| {
            let mut records = records;
            for (machine, names) in std::mem::take(&mut pool.adopted) {
                let adopted = names.chunks(8192).map(<[Name]>::to_vec);
                records.extend(adopted.map(|names| Record::Adopted { machine, names }));
            }
            if records.is_empty() && pool.indexes.is_empty() && pool.pages.is_empty() {
                return Ok(());
            }
            pool.write_pages()?;
            pool.write_indexes()?;
            pool.write_records(records, &restated, base)
        })?;
        if self.shared.state().recent.len() >= self.batch_limit() {
            // The commit counts, whatever becomes of the catalog: if that fails, the pool is to be opened again.
            self.flush_catalog().ok();
        }
        Ok(())
    }

    pub(super) fn write_pages(&mut self) -> Result<(), PoolError> {
        if self.pages.is_empty() {
            return Ok(());
        }
        let bundle = self.pages.finish(&mut self.compressor, &mut self.decompressor, Level::default())?;
        let place = self.open_segment(Stream::Meta)?.append_bundle(FrameKind::Pages, &bundle)?;
        let mut state = self.shared.state_mut();
        for (entry, range) in bundle.table().ranges() {
            let start = u32::try_from(range.start).unwrap_or(u32::MAX);
            let place = Place { frame: place, start, length: entry.length, owner: MachineId(0) };
            state.recent.put_page(entry.name, place);
            state.recent.staged.remove(&entry.name);
        }
        Ok(())
    }

    fn write_indexes(&mut self) -> Result<(), PoolError> {
        let mut body = Vec::new();
        let indexes = std::mem::take(&mut self.indexes);
        for (at, index) in indexes.iter().enumerate() {
            encode_frame_index(&mut body, index);
            if body.len() >= BODY_BYTES || at + 1 == indexes.len() {
                self.write_body(FrameKind::Index, &body)?;
                body.clear();
            }
        }
        Ok(())
    }

    fn write_body(&mut self, kind: FrameKind, body: &[u8]) -> Result<FramePlace, PoolError> {
        let length =
            u32::try_from(body.len()).map_err(|_| PoolError::Refused("a record is too long".into()))?;
        let packed = self.compressor.pack_checked(body, Level::default(), &mut self.decompressor)?;
        self.open_segment(Stream::Meta)?.append_body(kind, packed.codec, length, &packed.body)
    }

    /// Writes records and the mark behind them; everything is durable after it.
    fn write_records(
        &mut self,
        records: Vec<Record>,
        restated: &BTreeSet<SegmentNumber>,
        base: Option<CommitNumber>,
    ) -> Result<(), PoolError> {
        let mut replayed = Replayed::default();
        let mut part = Vec::new();
        let mut part_bytes = 0;
        for record in records {
            let size = minicbor::to_vec(&record).map_or(0, |bytes| bytes.len());
            if part_bytes + size > BODY_BYTES && !part.is_empty() {
                self.write_records_frame(std::mem::take(&mut part), None, &mut replayed)?;
                part_bytes = 0;
            }
            part_bytes += size;
            part.push(record);
        }
        // Not together with the mark: who loses one of the two frames has the other.
        if !part.is_empty() {
            self.write_records_frame(part, None, &mut replayed)?;
        }
        self.sync_before_mark()?;
        let mut lengths = std::mem::take(&mut self.closed);
        let (number, previous, base) = {
            let Mark { commit, hash, base: known, .. } = &self.shared.state().mark;
            (commit.next(), *hash, base.max(*known))
        };
        let leaving: BTreeSet<SegmentNumber> = removed(&replayed.records).collect();
        lengths.extend(restated.difference(&leaving).filter_map(|segment| {
            let length = self.shared.state().mark.length_of(*segment)?;
            Some(SegmentLength { segment: *segment, length })
        }));
        let data = self.open.iter().filter(|(stream, _)| **stream != Stream::Meta);
        lengths.extend(data.map(|(_, s)| SegmentLength { segment: s.number(), length: s.length() }));
        let mark = CommitMark { number, previous, at: self.shared.world.clock.now(), lengths, base };
        let (hash, place) = self.write_records_frame(Vec::new(), Some(mark.clone()), &mut replayed)?;
        let meta = self.open.get_mut(&Stream::Meta).ok_or(PoolError::Failed)?;
        if !self.options.planted.has(Bug::AcknowledgeEarly) {
            meta.sync()?;
        }
        let end = meta.length();
        let mut state = self.shared.state_mut();
        advance(&mut state.mark, &mark, hash, place.segment, end);
        removed(&replayed.records).for_each(|segment| state.mark.forget(segment));
        state.take(&self.shared.keys, &replayed)
    }

    fn write_records_frame(
        &mut self,
        records: Vec<Record>,
        mark: Option<CommitMark>,
        replayed: &mut Replayed,
    ) -> Result<([u8; 32], FramePlace), PoolError> {
        let body = RecordsBody { records, mark };
        let bytes = minicbor::to_vec(&body).map_err(|e| PoolError::Refused(e.to_string()))?;
        // The mark must not open a segment of its own: the name of that would not be durable.
        let place = if body.mark.is_some() && self.open.contains_key(&Stream::Meta) {
            let length =
                u32::try_from(bytes.len()).map_err(|_| PoolError::Refused("a record is too long".into()))?;
            let packed = self.compressor.pack_checked(&bytes, Level::default(), &mut self.decompressor)?;
            let meta = self.open.get_mut(&Stream::Meta).ok_or(PoolError::Failed)?;
            meta.append_body(FrameKind::Records, packed.codec, length, &packed.body)?
        } else {
            self.write_body(FrameKind::Records, &bytes)?
        };
        replayed.records.extend(body.records);
        Ok((*blake3::hash(&bytes).as_bytes(), place))
    }

    /// Everything that the mark will cover, and the names of the files that hold it.
    fn sync_before_mark(&mut self) -> Result<(), PoolError> {
        // Opens the meta segment if there is none, so that its name is synced here and not after the mark.
        self.open_segment(Stream::Meta)?;
        let planted = self.options.planted;
        for (stream, open) in &mut self.open {
            if *stream == Stream::Meta || !planted.has(Bug::SkipFileSync) {
                open.sync()?;
            }
        }
        if self.names_dirty {
            if !planted.has(Bug::SkipDirectorySync) {
                self.shared.world.disk.sync_directory(SEGMENTS)?;
            }
            self.names_dirty = false;
        }
        Ok(())
    }
}

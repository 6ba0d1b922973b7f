//! Segments as they lie on the drive: header, frames one after the other, footer.

use chunk::{FRAME_HEADER_LENGTH, FrameKind};
use model::Name;

use super::Examination;
use crate::PoolError;
use crate::layout::SEGMENT_HEADER_LENGTH;
use crate::reader::{OpenedFrame, SegmentReader};
use crate::scan::Scan;
use crate::segment::{Footer, FooterEntry, FramePlace};
use crate::segment_file::of_copies;

impl Examination<'_> {
    /// Every segment, as far as commits have made it valid.
    pub(super) fn segments(&mut self) -> Result<(), PoolError> {
        let lengths = self.shared.state().mark.lengths.clone();
        for (number, length) in lengths {
            match self.frames.segment(number) {
                Ok(segment) => self.segment(&segment, length)?,
                // It went meanwhile; what was needed of it is in a segment behind.
                Err(_) if self.shared.state().mark.length_of(number).is_none() => {}
                Err(error) => self.note(&format!("segment {number}"), error)?,
            }
        }
        Ok(())
    }

    fn segment(&mut self, segment: &SegmentReader, length: u64) -> Result<(), PoolError> {
        let number = segment.header.number;
        if let Some(cause) = &segment.header_lost {
            let cause = cause.in_words();
            self.report.damaged(format!(
                "segment {number}: it is read by the copy of its header in its footer: {cause}"
            ));
        }
        let (footer, mut is_whole) = match segment.footer() {
            Ok(footer) => (footer, true),
            Err(error) => {
                self.note(&format!("footer of segment {number}"), error)?;
                (None, false)
            }
        };
        if footer.as_ref().is_some_and(|footer| footer.header != segment.header.encode()) {
            self.report.damaged(format!("footer of segment {number}: its copy of the header differs"));
        }
        let mut offset = SEGMENT_HEADER_LENGTH as u64;
        if segment.file.length()? >= length {
            // What is bad in it is found again, frame by frame.
            self.frames.bad().remove_segment(number);
        }
        let mut entries = Vec::new();
        while offset < length {
            match segment.frame_header(offset) {
                Ok(header) => {
                    let place = FramePlace { segment: number, offset, sealed_length: header.sealed_length() };
                    is_whole &= self.frame(segment, place, footer.as_ref(), &mut entries)?;
                    offset += header.padded_length() as u64;
                }
                Err(error) => {
                    is_whole = false;
                    if error.is_damage() {
                        self.frames.bad().add(number, offset);
                    }
                    self.note(&format!("segment {number}: no sound frame at {offset}"), error)?;
                    match self.frame_behind(segment, footer.as_ref(), offset, length)? {
                        Some(next) => offset = next,
                        None => break,
                    }
                }
            }
        }
        // The writer may have sealed the segment meanwhile.
        if footer.is_none()
            && is_whole
            && segment.has_lost_footer(entries, length)?
            && segment.footer()?.is_none()
        {
            self.report.damaged(format!("footer of segment {number}: it is damaged"));
        }
        Ok(())
    }

    /// Where the next frame behind a damaged place starts, in `..length`.
    fn frame_behind(
        &mut self,
        segment: &SegmentReader,
        footer: Option<&Footer>,
        offset: u64,
        length: u64,
    ) -> Result<Option<u64>, PoolError> {
        let listed =
            |f: &Footer| f.entries.get(f.entries.partition_point(|entry| entry.offset <= offset)).cloned();
        if let Some(entry) = footer.and_then(listed) {
            return Ok(Some(entry.offset));
        }
        let mut scan = Scan::new(&*segment.file, offset + FRAME_HEADER_LENGTH as u64, length);
        match (scan.next()?, scan.unreadable) {
            (None, Some(error)) if !segment.answers() => Err(error.into()),
            (found, _) => Ok(found.map(|(at, _)| at)),
        }
    }

    /// Opens a frame, and names anew what is in it; whether it is sound. What a footer says of it goes to `entries`.
    fn frame(
        &mut self,
        segment: &SegmentReader,
        place: FramePlace,
        footer: Option<&Footer>,
        entries: &mut Vec<u8>,
    ) -> Result<bool, PoolError> {
        let first = segment.bytes(place).and_then(|bytes| self.look(segment, place, bytes));
        let found = first.or_else(|error| {
            of_copies(&*segment.file, error, |copy| {
                segment.bytes_in(copy, place).and_then(|bytes| self.look(segment, place, bytes))
            })
        });
        match found {
            Ok((kind, chunks, hash)) => {
                self.report.frames += 1;
                self.report.chunks += chunks;
                self.frames.bad().remove(place.segment, place.offset);
                if kind == FrameKind::Data {
                    self.sound.add(place);
                }
                let FramePlace { offset, sealed_length, .. } = place;
                let expected = FooterEntry { offset, sealed_length, kind: kind as u32, hash };
                let listed = |f: &Footer| {
                    let at = f.entries.binary_search_by_key(&offset, |entry| entry.offset);
                    at.is_ok_and(|at| f.entries.get(at) == Some(&expected))
                };
                expected.encode(entries);
                if !footer.is_none_or(listed) {
                    let number = place.segment;
                    self.report
                        .damaged(format!("footer of segment {number}: it is wrong of the frame at {offset}"));
                }
                Ok(true)
            }
            Err(error) => self.lost(place, error),
        }
    }

    /// The kind of the frame that bytes are, how many chunks are in it, and the hash of its payload.
    fn look(
        &mut self,
        segment: &SegmentReader,
        place: FramePlace,
        bytes: Vec<u8>,
    ) -> Result<(FrameKind, u64, [u8; 32]), PoolError> {
        self.report.bytes += bytes.len() as u64;
        let payload = bytes.get(FRAME_HEADER_LENGTH..FRAME_HEADER_LENGTH + place.sealed_length as usize);
        let hash = *blake3::hash(payload.unwrap_or_default()).as_bytes();
        let opened = self.frames.with_decompressor(|d| segment.open_bytes(place.offset, bytes, d));
        let frame = opened?;
        Ok((frame.kind, self.content(place, &frame)?, hash))
    }

    /// Notes that a frame cannot be read: it is not sound.
    fn lost(&mut self, place: FramePlace, error: PoolError) -> Result<bool, PoolError> {
        if error.is_damage() {
            self.frames.bad().add(place.segment, place.offset);
        }
        self.note("", error).map(|()| false)
    }

    /// Names anew what is in a frame; the number of its chunks.
    fn content(&self, place: FramePlace, frame: &OpenedFrame) -> Result<u64, PoolError> {
        let mut chunks = 0;
        for (entry, range) in frame.table.iter().flat_map(chunk::Table::ranges) {
            let bytes = frame.plaintext.get(range.clone()).unwrap_or_default();
            let is_sound = match frame.kind {
                FrameKind::Pages => self.shared.keys.page().name(bytes) == entry.name,
                _ => {
                    chunks += 1;
                    self.is_named(&entry.name, bytes, place, range.start)?
                }
            };
            if !is_sound {
                let what = if frame.kind == FrameKind::Pages { "page" } else { "chunk" };
                let (segment, offset) = (place.segment, place.offset);
                return Err(PoolError::Name { what, name: entry.name, segment, offset });
            }
        }
        Ok(chunks)
    }

    /// Whether a chunk in a frame has its name and the catalog says so; what the catalog does not know has no owner, and
    /// without that no name.
    fn is_named(
        &self,
        name: &Name,
        bytes: &[u8],
        frame: FramePlace,
        start: usize,
    ) -> Result<bool, PoolError> {
        let Some(known) = self.shared.state().chunk(name)? else { return Ok(true) };
        let domain = self.shared.registry(|r| r.machines.get(&known.owner).map(|machine| machine.domain));
        let Some(domain) = domain else { return Ok(true) };
        let is_placed =
            known.frame != frame || (known.start as usize == start && known.length as usize == bytes.len());
        Ok(is_placed && self.shared.keys.naming(domain).name(bytes) == *name)
    }
}

//! Every copy of what a segment holds is looked at, and bad ones are mended from a sound one.
//!
//! What is right is told by a checksum or a hash, never by which copy came first or how many agree. Two copies that are both
//! sound and differ are left as they are, and said. Ways that compute what they give are asked only if no copy gives it.
//! What could not be mended is read from the others and is no damage.

use chunk::FrameHeader;
use medium::File;

use super::segment::{Check, Finding, Part};
use crate::PoolError;
use crate::segment::{FooterEntry, FramePlace};

impl Check {
    /// Looks at a frame in every copy of the segment; none if no copy gives it, or if there is one only.
    pub(super) fn frame_of_copies(
        &self,
        offset: u64,
        entry: Option<&FooterEntry>,
        part: &mut Part,
    ) -> Result<Option<(FrameHeader, FooterEntry)>, PoolError> {
        let file = &*self.segment.file;
        let (all, whole) = (file.copies(), file.whole_copies());
        if all < 2 {
            return Ok(None);
        }
        let (mut sound, mut is_bad) = (None::<(Vec<u8>, _)>, false);
        for copy in 0..all {
            if sound.is_some() && copy >= whole {
                break;
            }
            match self.frame_of_copy(copy, offset, entry, &mut part.bytes) {
                Ok((bytes, found)) => match &sound {
                    None => sound = Some((bytes, found)),
                    Some((known, _)) if *known == bytes => {}
                    Some(_) => {
                        let what = format!("segment {}: its copies have two frames at {offset}", self.number);
                        part.findings.push(Finding::Copy(what));
                        return Ok(Some(found));
                    }
                },
                Err(error) if error.is_of_place() => is_bad = true,
                Err(error) => return Err(error),
            }
        }
        let Some((bytes, found)) = sound else { return Ok(None) };
        if is_bad {
            part.mend(file, offset, &bytes);
        }
        Ok(Some(found))
    }

    fn frame_of_copy(
        &self,
        copy: u32,
        offset: u64,
        entry: Option<&FooterEntry>,
        read: &mut u64,
    ) -> Result<(Vec<u8>, (FrameHeader, FooterEntry)), PoolError> {
        let sealed_length = match entry {
            Some(entry) => entry.sealed_length,
            None => self.segment.header_in(Some(copy), offset)?.sealed_length(),
        };
        let place = FramePlace { segment: self.number, offset, sealed_length };
        let bytes = self.segment.bytes_in(copy, place)?;
        *read += bytes.len() as u64;
        let found = self.judge(offset, entry, &bytes)?;
        Ok((bytes, found))
    }

    /// Mends copies of the header and of the footer that are not what they should be.
    pub(super) fn mend_ends(&self, part: &mut Part) {
        let file = &*self.segment.file;
        if file.copies() < 2 {
            return;
        }
        let header = self.segment.header.encode();
        part.mend_if_bad(file, 0, &header);
        if let Some(footer) = self.footer.as_ref().filter(|footer| footer.header == header) {
            let frames = footer.entries.last().map(|last| {
                let padded = chunk::padded_length(last.sealed_length as usize);
                last.offset + padded as u64
            });
            let at = frames.unwrap_or(header.len() as u64);
            part.mend_if_bad(file, at, &footer.encode(at));
        }
    }
}

impl Part {
    /// Writes bytes over the copies that have others, if there are any.
    fn mend_if_bad(&mut self, file: &dyn File, offset: u64, bytes: &[u8]) {
        let mut found = vec![0; bytes.len()];
        let differs = |copy| file.read_copy(copy, offset, &mut found).is_err() || found != bytes;
        self.bytes += bytes.len() as u64 * u64::from(file.whole_copies());
        if (0..file.whole_copies()).any(differs) {
            self.mend(file, offset, bytes);
        }
    }

    /// Mends the header of a segment, which none of its copies has any more and its footer does; whether that was done.
    pub(super) fn mend_known(&mut self, file: &dyn File, header: &[u8]) -> bool {
        if file.copies() > 1 {
            self.mend(file, 0, header);
        }
        self.mended > 0
    }

    fn mend(&mut self, file: &dyn File, offset: u64, bytes: &[u8]) {
        match file.mend(offset, bytes) {
            Ok(0) => self.was_repeated = true,
            Ok(mended) => self.mended += u64::from(mended),
            Err(_) => self.unmended += 1,
        }
    }
}

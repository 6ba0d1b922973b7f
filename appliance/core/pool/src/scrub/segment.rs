//! The check of one segment, frame by frame and without any key.
//!
//! Frames of a sealed segment are found by its footer and compared with the hashes in it; those of others are found one
//! behind the other and checked by their own checksums. Each is also the one whose turn it is: a frame of another
//! segment, or of another place, is damage however sound. Only what commits have made valid is looked at. What does
//! not verify is read a second time before that is said.

use std::ops::Range;

use chunk::{FRAME_HEADER_LENGTH, FrameHeader, FrameKind, SealedFrame};
use medium::Disk;
use model::SegmentNumber;

use super::Proof;
use crate::PoolError;
use crate::bad::Holds;
use crate::layout::{SEGMENT_HEADER_LENGTH, SegmentKind};
use crate::scan::Scan;
use crate::segment::{Footer, FooterEntry, FramePlace};
use crate::segment_file::{SegmentFile, Trust};

/// Most bytes that are looked through at once for a frame.
const WINDOW: u64 = 1 << 20;

/// What a look at a part of a segment found.
pub(super) enum Finding {
    /// A frame is as it was written.
    Sound(u64),
    /// A frame is not.
    Frame { offset: u64, holds: Holds, cause: PoolError },
    /// There should be frames, and none is found.
    Gap { bytes: Range<u64>, holds: Holds, cause: PoolError },
    /// From there on nothing can be read.
    Rest { from: u64, cause: String },
    /// Something else is damaged, and stands in the segment a second time.
    Copy(String),
}

/// What there was of a part of a segment.
#[derive(Default)]
pub(super) struct Part {
    /// Bytes that were read.
    pub(super) bytes: u64,
    pub(super) findings: Vec<Finding>,
    /// The segment is at its end.
    pub(super) is_last: bool,
    /// It read well only the second time.
    pub(super) was_repeated: bool,
    /// Copies that were bad and are mended.
    pub(super) mended: u64,
    /// Places of which a copy is bad and could not be mended.
    pub(super) unmended: u64,
}

/// The check of a segment under way.
pub(super) struct Check {
    pub(super) number: SegmentNumber,
    /// Its valid bytes when the check began.
    pub(super) length: u64,
    /// Where it has come to.
    pub(super) offset: u64,
    pub(super) segment: SegmentFile,
    pub(super) footer: Option<Footer>,
    /// The file ends before the valid bytes do.
    is_cut_off: bool,
    /// Bytes in which no frame is found so far, and why.
    gap: Option<(u64, PoolError)>,
    /// The number of the next frame, if it is known.
    next: Option<u32>,
    /// What a footer would list, as long as there is no footer and no damage.
    entries: Option<Vec<u8>>,
}

impl Check {
    /// Opens a segment, and reads its footer.
    ///
    /// # Errors
    /// Also damage: then nothing of the segment can be read.
    pub(super) fn begin(
        disk: &dyn Disk,
        pool: &[u8; 16],
        number: SegmentNumber,
        length: u64,
    ) -> Result<(Self, Part), PoolError> {
        let mut part = Part::default();
        let open = || SegmentFile::open(disk, pool, number, Trust::Drive);
        let mut segment = twice(&mut part, open, |_| true, || Ok(()))?;
        part.bytes += SEGMENT_HEADER_LENGTH as u64;
        match segment.header_lost.take() {
            Some(error)
                if error.is_damage() && !part.mend_known(&*segment.file, &segment.header.encode()) =>
            {
                let what = "it is read by the copy of its header in its footer";
                part.findings.push(Finding::Copy(format!("segment {number}: {what}: {}", error.in_words())));
            }
            Some(error) if !error.is_damage() => return Err(error),
            _ => {}
        }
        let found = segment.file.length()?;
        let mut check = Self {
            number,
            length: length.min(found),
            offset: SEGMENT_HEADER_LENGTH as u64,
            segment,
            footer: None,
            is_cut_off: found < length,
            gap: None,
            next: Some(0),
            entries: None,
        };
        if found < length {
            let cause = format!("it has {found} bytes, commits say {length}");
            part.findings.push(Finding::Rest { from: found, cause });
        } else if found > length {
            check.read_footer(&mut part)?;
        }
        check.mend_ends(&mut part);
        if check.footer.is_none() && part.findings.is_empty() {
            check.entries = Some(Vec::new());
        }
        Ok((check, part))
    }

    fn read_footer(&mut self, part: &mut Part) -> Result<(), PoolError> {
        let number = self.number;
        let damaged = |what: &str| Finding::Copy(format!("footer of segment {number}: {what}"));
        match self.segment.footer() {
            Ok(Some(footer)) => {
                part.bytes += Footer::length(footer.entries.len() as u64);
                if !footer.fits(self.length) {
                    part.findings.push(damaged("it does not list the frames that are there"));
                    return Ok(());
                }
                if footer.header != self.segment.header.encode() {
                    part.findings.push(damaged("its copy of the header differs"));
                }
                self.footer = Some(footer);
            }
            Ok(None) => {}
            Err(error) if error.is_damage() => part.findings.push(damaged(&error.in_words())),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// What the frames are compared with.
    pub(super) const fn proof(&self) -> Proof {
        if self.footer.is_some() { Proof::Hashes } else { Proof::Checksums }
    }

    /// Looks at the next frame, or for one.
    pub(super) fn go_on(&mut self) -> Result<Part, PoolError> {
        let mut part = Part::default();
        if self.gap.is_some() {
            self.look_for_frame(&mut part)?;
        } else if self.offset < self.length {
            self.frame(&mut part)?;
        } else {
            self.end(&mut part)?;
            part.is_last = true;
        }
        Ok(part)
    }

    /// Looks at the frame whose turn it is.
    fn frame(&mut self, part: &mut Part) -> Result<(), PoolError> {
        let offset = self.offset;
        let entry = self.footer.as_ref().and_then(|footer| {
            let at = footer.entries.binary_search_by_key(&offset, |entry| entry.offset).ok()?;
            footer.entries.get(at).cloned()
        });
        let looked = match self.frame_of_copies(offset, entry.as_ref(), part)? {
            Some(found) => Ok(found),
            None => {
                let (mut bytes, file) = (0, std::sync::Arc::clone(&self.segment.file));
                let look = || self.look_at_frame(offset, entry.as_ref(), &mut bytes);
                let looked = twice(part, look, PoolError::is_damage, || Ok(file.forget_cached()?));
                part.bytes += bytes;
                looked
            }
        };
        let looked = looked.map(|(header, entry)| (header.padded_length() as u64, header.number().0, entry));
        match (looked, entry) {
            (Ok((length, number, found)), _) => {
                self.offset += length;
                self.next = number.checked_add(1);
                self.entries.iter_mut().for_each(|entries| found.encode(entries));
                part.findings.push(Finding::Sound(offset));
            }
            (Err(cause), Some(entry)) if cause.is_damage() => {
                let holds = self.holds(Some(entry.kind));
                self.offset += chunk::padded_length(entry.sealed_length as usize) as u64;
                self.next = self.next.and_then(|next| next.checked_add(1));
                part.findings.push(Finding::Frame { offset, holds, cause });
            }
            (Err(cause), None) if cause.is_damage() => {
                self.entries = None;
                // A sound header says how long the frame is.
                match self.segment.frame_header(offset).ok().filter(|header| self.is_mine(header)) {
                    Some(header) => {
                        let holds = self.holds(Some(header.kind() as u32));
                        self.offset += header.padded_length() as u64;
                        if self.is_cut_off && self.offset > self.length {
                            // It is said that the rest is not there.
                            self.offset = self.length;
                            return Ok(());
                        }
                        self.next = header.number().0.checked_add(1);
                        part.findings.push(Finding::Frame { offset, holds, cause });
                    }
                    None => self.gap = Some((offset, cause)),
                }
                self.offset = self.offset.min(self.length);
            }
            (Err(error), _) => return Err(error),
        }
        Ok(())
    }

    /// Whether a sound header is that of the frame whose turn it is.
    fn is_mine(&self, header: &FrameHeader) -> bool {
        header.segment() == self.number && self.next.is_none_or(|next| next == header.number().0)
    }

    /// Reads and checks the frame at `offset`, adding what it reads to `bytes`.
    fn look_at_frame(
        &self,
        offset: u64,
        entry: Option<&FooterEntry>,
        bytes: &mut u64,
    ) -> Result<(FrameHeader, FooterEntry), PoolError> {
        let sealed_length = match entry {
            Some(entry) => entry.sealed_length,
            None => {
                *bytes += FRAME_HEADER_LENGTH as u64;
                self.segment.frame_header(offset)?.sealed_length()
            }
        };
        let frame = self.segment.bytes(FramePlace { segment: self.number, offset, sealed_length })?;
        *bytes += frame.len() as u64;
        self.judge(offset, entry, &frame)
    }

    /// Whether bytes are the frame at `offset`.
    pub(super) fn judge(
        &self,
        offset: u64,
        entry: Option<&FooterEntry>,
        frame: &[u8],
    ) -> Result<(FrameHeader, FooterEntry), PoolError> {
        let segment = self.number;
        let wrong = |source| PoolError::Frame { segment, offset, source };
        let sealed = SealedFrame::parse(frame).map_err(wrong)?;
        let header = *sealed.header();
        let misplaced = |what| PoolError::Misplaced { segment, offset, what };
        if !self.is_mine(&header) {
            return Err(misplaced("is that of another place"));
        }
        let (kind, sealed_length) = (header.kind() as u32, header.sealed_length());
        let hash = *blake3::hash(sealed.payload()).as_bytes();
        let found = FooterEntry { offset, sealed_length, kind, hash };
        if entry.is_some_and(|entry| *entry != found) {
            return Err(misplaced("is not the one that the footer lists"));
        }
        Ok((header, found))
    }

    /// What a frame of a kind holds, or one of which nobody knows.
    fn holds(&self, kind: Option<u32>) -> Holds {
        const DATA: u32 = FrameKind::Data as u32;
        const PAGES: u32 = FrameKind::Pages as u32;
        match (kind, self.segment.header.kind) {
            (Some(DATA | PAGES), _) | (_, SegmentKind::Data) => Holds::Names,
            _ => Holds::Log,
        }
    }

    /// Looks through the next bytes for a sound header.
    fn look_for_frame(&mut self, part: &mut Part) -> Result<(), PoolError> {
        let from = self.gap.as_ref().map_or(self.offset, |(from, _)| *from);
        let start = self.offset.max(from + FRAME_HEADER_LENGTH as u64);
        let end = self.length.min(start + WINDOW);
        let mut scan = Scan::new(&*self.segment.file, start, end);
        let found = scan.next()?;
        if let (None, Some(error)) = (&found, scan.unreadable.take())
            && !self.segment.answers()
        {
            return Err(error.into());
        }
        self.offset = found.map_or(end, |(at, _)| at);
        part.bytes += self.offset.saturating_sub(start) + FRAME_HEADER_LENGTH as u64;
        if (found.is_some() || self.offset >= self.length)
            && let Some((from, cause)) = self.gap.take()
        {
            self.next = None;
            part.findings.push(Finding::Gap { bytes: from..self.offset, holds: self.holds(None), cause });
        }
        Ok(())
    }

    /// Whether a footer should be behind the frames.
    fn end(&mut self, part: &mut Part) -> Result<(), PoolError> {
        let has_lost = match self.entries.take() {
            Some(entries) => self.segment.has_lost_footer(entries, self.length),
            // What it should be is not known; a crash may have left as much of it.
            None if self.footer.is_none() && !self.is_cut_off => Footer::has_end(&*self.segment.file),
            None => return Ok(()),
        };
        match has_lost {
            // The writer may have sealed the segment meanwhile.
            Ok(true) if self.segment.footer()?.is_none() => {
                let what = format!("footer of segment {}: it is damaged", self.number);
                part.findings.push(Finding::Copy(what));
            }
            Ok(_) => {}
            Err(error) if error.is_damage() => {
                let what = format!("footer of segment {}: {}", self.number, error.in_words());
                part.findings.push(Finding::Copy(what));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Does something once more if it fails in a way that counts.
fn twice<T>(
    part: &mut Part,
    mut act: impl FnMut() -> Result<T, PoolError>,
    counts: impl Fn(&PoolError) -> bool,
    between: impl FnOnce() -> Result<(), PoolError>,
) -> Result<T, PoolError> {
    match act() {
        Err(error) if counts(&error) => {}
        result => return result,
    }
    between()?;
    let second = act();
    part.was_repeated |= second.is_ok();
    second
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chunk::{BundleLimits, Compressor, Decompressor, Level, VerifiedBuilder};
    use medium::sim::{SimClock, SimDisk, SimEntropy};
    use model::Time;
    use model::record::Label;
    use zeroize::Zeroizing;

    use super::*;
    use crate::keys::{PassphraseCost, Unlock};
    use crate::layout::segment_path;
    use crate::{Options, Pool, World};

    /// A drive with a pool, the UUID of that, and its segments with their valid bytes.
    fn pool_of_some_frames() -> (SimDisk, [u8; 16], Vec<(SegmentNumber, u64)>) {
        let disk = SimDisk::new(1);
        let (clock, entropy) = (Arc::new(SimClock::new(Time(1))), Arc::new(SimEntropy::new(1)));
        let world = World { disk: Arc::new(disk.clone()), clock, entropy };
        let cost = PassphraseCost { memory_kib: 32, passes: 1, lanes: 1 };
        let key = Unlock::KeyFile(Zeroizing::new([7; 32]));
        let mut pool = Pool::create(world, &[key], Options { cost, ..Options::default() }).unwrap();
        let machine = pool.add_machine(&Label::new("web1").unwrap(), false).unwrap();
        let source = pool.add_source(machine.id, &Label::new("files").unwrap()).unwrap();
        let (mut compressor, mut decompressor) = (Compressor::default(), Decompressor::default());
        for number in 0..5 {
            let mut builder = VerifiedBuilder::new(BundleLimits::default());
            builder.push(&pool.shared().keys().naming(machine.domain), &[number; 900]).unwrap();
            let bundle = builder.finish(&mut compressor, &mut decompressor, Level::default()).unwrap();
            pool.put_bundle(&pool.shared().begin_session(), machine.id, source.id, bundle).unwrap();
            pool.commit(Vec::new()).unwrap();
        }
        let segments = pool.shared().state().mark.lengths.clone();
        (disk, pool.shared().header.pool, segments)
    }

    /// How many frames of a segment are sound and how many are not, by who has no key.
    fn checked(disk: &SimDisk, pool: [u8; 16], segment: SegmentNumber, length: u64) -> (u64, usize) {
        let (mut check, part) = Check::begin(disk, &pool, segment, length).unwrap();
        let (mut sound, mut damaged, mut is_last) = (0, part.findings.len(), part.is_last);
        while !is_last {
            let part = check.go_on().unwrap();
            for finding in part.findings {
                match finding {
                    Finding::Sound(_) => sound += 1,
                    _ => damaged += 1,
                }
            }
            is_last = part.is_last;
        }
        (sound, damaged)
    }

    #[test]
    fn a_segment_is_checked_without_any_key() {
        let (disk, pool, segments) = pool_of_some_frames();
        let mut sound = 0;
        for (segment, length) in &segments {
            let (frames, damaged) = checked(&disk, pool, *segment, *length);
            assert_eq!(damaged, 0, "{segment}");
            sound += frames;
            let whole = frames;
            let bitten = disk.snapshot();
            bitten.flip(&segment_path(*segment), (length - 100) * 8).unwrap();
            let (frames, damaged) = checked(&bitten, pool, *segment, *length);
            assert!(damaged > 0 && frames + 1 == whole, "{segment}: {frames} of {whole}, {damaged}");
        }
        assert!(segments.len() >= 2 && sound >= 10, "{sound} frames");
    }
}

//! Writing a segment: frames at its end, a footer when it is full, and nothing after that.
//!
//! A segment that was open when the pool was closed or lost its power stays as it is: it is never appended to. An
//! error while writing leaves the segment in an unknown state, and the pool writes nothing more until it is reopened.
//!
//! The footer repeats the header: without the salt in it no frame opens, so it must not stand in one place only.

use std::collections::BTreeMap;
use std::sync::Arc;

use chunk::{Codec, Frame, FrameKind, FreshSalt, NonceAudit, Opener, Sealer, VerifiedBundle, padded_length};
use medium::{Disk, DiskError, Entropy, File};
use model::SegmentNumber;
use xxhash_rust::xxh3::xxh3_64;

use crate::PoolError;
use crate::layout::{SEGMENT_HEADER_LENGTH, SegmentHeader, segment_path};

const FOOTER_MAGIC: [u8; 8] = *b"KFfooter";
/// The least that a drive writes as a whole.
const SECTOR: u64 = 512;

/// Bytes of one entry of a footer: offset, sealed length, kind, BLAKE3 of the sealed payload.
pub const FOOTER_ENTRY_LENGTH: usize = 8 + 4 + 4 + 32;
/// Bytes at the very end of a sealed segment: magic, offset of the footer, entries, xxh3 of all of the footer. The copy
/// of the header stands before them.
pub const FOOTER_TAIL_LENGTH: usize = 8 + 8 + 8 + 8;

/// Where a frame was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramePlace {
    /// In which segment.
    pub segment: SegmentNumber,
    /// At which byte of it.
    pub offset: u64,
    /// Bytes of its sealed payload.
    pub sealed_length: u32,
}

/// A segment that frames are being appended to.
pub struct OpenSegment {
    number: SegmentNumber,
    file: Arc<dyn File>,
    sealer: Sealer,
    length: u64,
    dirty: bool,
    header: [u8; SEGMENT_HEADER_LENGTH],
    footer: Vec<u8>,
}

impl OpenSegment {
    /// Makes the file of a new segment and writes its header. The name is durable once the directory is synced.
    pub fn create(
        disk: &dyn Disk,
        header: &dyn Fn(&Sealer) -> SegmentHeader,
        sealer: Sealer,
    ) -> Result<Self, PoolError> {
        let header = header(&sealer);
        let file = disk.create(&segment_path(header.number))?;
        let (number, header) = (header.number, header.encode());
        file.write_at(0, &header)?;
        let length = SEGMENT_HEADER_LENGTH as u64;
        Ok(Self { number, file, sealer, length, dirty: true, header, footer: Vec::new() })
    }

    /// A segment that has `length` bytes already.
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn resume(header: &SegmentHeader, file: Arc<dyn File>, sealer: Sealer, length: u64) -> Self {
        let (number, header) = (header.number, header.encode());
        Self { number, file, sealer, length, dirty: true, header, footer: Vec::new() }
    }

    /// Draws the key of a new segment.
    pub fn sealer(
        master: &[u8; 32],
        entropy: &dyn Entropy,
        pool: [u8; 16],
        segment: SegmentNumber,
        audit: Option<&Arc<dyn NonceAudit>>,
    ) -> Sealer {
        let salt = FreshSalt::draw(&mut |bytes| entropy.fill(bytes));
        let sealer = Sealer::new(master, salt, chunk::SegmentIdentity { pool, segment });
        match audit {
            Some(audit) => sealer.audited(Arc::clone(audit)),
            None => sealer,
        }
    }

    /// Its number.
    pub const fn number(&self) -> SegmentNumber {
        self.number
    }

    /// Bytes so far.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Opens the frames of this segment.
    pub fn opener(&self) -> Opener {
        self.sealer.opener()
    }

    /// The file, for reading what was just written.
    pub fn file(&self) -> Arc<dyn File> {
        Arc::clone(&self.file)
    }

    /// Seals a bundle and appends it.
    pub fn append_bundle(
        &mut self,
        kind: FrameKind,
        bundle: &VerifiedBundle,
    ) -> Result<FramePlace, PoolError> {
        let frame = self.sealer.seal_bundle(kind, bundle)?;
        self.append(frame)
    }

    /// Seals a body without a table and appends it.
    pub fn append_body(
        &mut self,
        kind: FrameKind,
        codec: Codec,
        plain_length: u32,
        body: &[u8],
    ) -> Result<FramePlace, PoolError> {
        let frame = self.sealer.seal(kind, &[], codec, plain_length, body)?;
        self.append(frame)
    }

    fn append(&mut self, frame: Frame) -> Result<FramePlace, PoolError> {
        let offset = self.length;
        let sealed_length = frame.header().sealed_length();
        let (kind, hash) = (frame.header().kind() as u32, *blake3::hash(frame.payload()).as_bytes());
        FooterEntry { offset, sealed_length, kind, hash }.encode(&mut self.footer);
        self.dirty = true;
        self.file.write_at(offset, frame.bytes())?;
        self.length += frame.bytes().len() as u64;
        self.file.advise_written(offset..self.length);
        Ok(FramePlace { segment: self.number, offset, sealed_length })
    }

    /// Makes everything so far durable.
    pub fn sync(&mut self) -> Result<(), PoolError> {
        if self.dirty {
            self.file.sync_data()?;
            self.dirty = false;
        }
        Ok(())
    }

    /// Writes the footer and makes all durable; nothing can follow.
    pub fn seal(mut self) -> Result<(), PoolError> {
        let footer = Footer::of_entries(std::mem::take(&mut self.footer), &self.header, self.length);
        self.file.write_at(self.length, &footer)?;
        self.dirty = true;
        self.sync()
    }
}

/// One frame as a footer lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FooterEntry {
    /// At which byte of the segment.
    pub offset: u64,
    /// Bytes of its sealed payload.
    pub sealed_length: u32,
    /// The code of its kind.
    pub kind: u32,
    /// BLAKE3 of its sealed payload.
    pub hash: [u8; 32],
}

/// The end of a sealed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Its frames, in order.
    pub entries: Vec<FooterEntry>,
    /// The copy of the segment's header.
    pub header: [u8; SEGMENT_HEADER_LENGTH],
}

impl Footer {
    /// Bytes of the footer of a segment with as many frames.
    #[must_use]
    pub const fn length(frames: u64) -> u64 {
        let fixed = (SEGMENT_HEADER_LENGTH + FOOTER_TAIL_LENGTH) as u64;
        frames.saturating_mul(FOOTER_ENTRY_LENGTH as u64).saturating_add(fixed)
    }

    /// The bytes of the footer with these entries, of a segment whose frames end at `offset`.
    pub(crate) fn of_entries(entries: Vec<u8>, header: &[u8; SEGMENT_HEADER_LENGTH], offset: u64) -> Vec<u8> {
        let count = (entries.len() / FOOTER_ENTRY_LENGTH) as u64;
        let mut footer = entries;
        footer.extend_from_slice(header);
        footer.extend_from_slice(&FOOTER_MAGIC);
        footer.extend_from_slice(&offset.to_le_bytes());
        footer.extend_from_slice(&count.to_le_bytes());
        footer.extend_from_slice(&xxh3_64(&footer).to_le_bytes());
        footer
    }

    /// Whether bytes from `offset` of a file on were the expected footer once. What a crash left of one that was being
    /// written never was: each of its sectors is whole, or zeros, or something else altogether. So a sector speaks of
    /// rot if it differs and most of it is as expected; one that rotted from end to end looks as after a crash.
    pub(crate) fn is_rotten(expected: &[u8], found: &[u8], offset: u64) -> bool {
        let mut sectors = BTreeMap::<u64, (usize, usize)>::new();
        for ((at, expected), found) in (offset..).zip(expected).zip(found) {
            let (equal, other) = sectors.entry(at / SECTOR).or_default();
            // Zeros are what is there when nothing was written.
            *equal += usize::from(expected == found && *expected != 0);
            *other += usize::from(expected != found);
        }
        sectors.values().any(|(equal, other)| *other > 0 && equal > other)
    }

    /// Whether it lists frames one after the other, one of which ends at `length`.
    pub(crate) fn fits(&self, length: u64) -> bool {
        let mut end = SEGMENT_HEADER_LENGTH as u64;
        let mut is_end = end == length;
        for entry in &self.entries {
            if entry.offset != end {
                return false;
            }
            end += padded_length(entry.sealed_length as usize) as u64;
            is_end |= end == length;
        }
        is_end
    }

    /// Reads the footer of a segment; none if it was never sealed or its footer is not sound.
    pub fn read(file: &dyn File) -> Result<Option<Self>, PoolError> {
        Self::read_by(file.length()?, |offset, buffer| file.read_at(offset, buffer))
    }

    /// The same of a file of `length` bytes, by a way to read it.
    pub(crate) fn read_by(
        length: u64,
        read: impl Fn(u64, &mut [u8]) -> Result<(), DiskError>,
    ) -> Result<Option<Self>, PoolError> {
        let tail_length = FOOTER_TAIL_LENGTH as u64;
        let Some(tail_at) = length.checked_sub(tail_length) else { return Ok(None) };
        let mut tail = [0; FOOTER_TAIL_LENGTH];
        read(tail_at, &mut tail)?;
        let number = |at: usize| {
            tail.get(at..at + 8).map_or(0, |b| u64::from_le_bytes(b.try_into().unwrap_or([0; 8])))
        };
        let (offset, entries) = (number(8), number(16));
        if !tail.starts_with(&FOOTER_MAGIC) || offset.checked_add(Self::length(entries)) != Some(length) {
            return Ok(None);
        }
        let Ok(size) = usize::try_from(length - offset) else { return Ok(None) };
        let mut footer = vec![0; size];
        read(offset, &mut footer)?;
        let (text, checksum) = footer.split_at(size - 8);
        if xxh3_64(text).to_le_bytes() != checksum {
            return Ok(None);
        }
        let text = &text[..size - FOOTER_TAIL_LENGTH];
        let Some((frames, header)) = text.split_last_chunk::<SEGMENT_HEADER_LENGTH>() else {
            return Ok(None);
        };
        let entries: Option<Vec<_>> =
            frames.chunks_exact(FOOTER_ENTRY_LENGTH).map(FooterEntry::decode).collect();
        Ok(entries.map(|entries| Self { entries, header: *header }))
    }

    /// Whether a file ends as a footer does.
    pub(crate) fn has_end(file: &dyn File) -> Result<bool, PoolError> {
        let Some(at) = file.length()?.checked_sub(FOOTER_TAIL_LENGTH as u64) else { return Ok(false) };
        let mut magic = FOOTER_MAGIC;
        file.read_at(at, &mut magic)?;
        Ok(magic == FOOTER_MAGIC)
    }

    /// Reads the copy of the header alone; none if the segment was never sealed. It has a checksum of its own, so the
    /// rest of the footer need not be sound.
    pub fn read_header(file: &dyn File, number: SegmentNumber) -> Result<Option<SegmentHeader>, PoolError> {
        let length = (SEGMENT_HEADER_LENGTH + FOOTER_TAIL_LENGTH) as u64;
        let Some(at) = file.length()?.checked_sub(length) else { return Ok(None) };
        let mut header = [0; SEGMENT_HEADER_LENGTH];
        let first = file.read_at(at, &mut header);
        if first.is_ok()
            && let Ok(header) = SegmentHeader::decode(&header, number)
        {
            return Ok(Some(header));
        }
        let copies = if file.copies() > 1 { file.copies() } else { 0 };
        let copied = (0..copies).find_map(|copy| {
            file.read_copy(copy, at, &mut header).ok()?;
            SegmentHeader::decode(&header, number).ok()
        });
        match copied {
            Some(header) => Ok(Some(header)),
            None => Ok(first.map(|()| None)?),
        }
    }

    /// Its bytes, in a segment whose frames end at `offset`.
    pub(crate) fn encode(&self, offset: u64) -> Vec<u8> {
        let mut entries = Vec::with_capacity(self.entries.len() * FOOTER_ENTRY_LENGTH);
        self.entries.iter().for_each(|entry| entry.encode(&mut entries));
        Self::of_entries(entries, &self.header, offset)
    }
}

impl FooterEntry {
    /// Appends its bytes.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.sealed_length.to_le_bytes());
        out.extend_from_slice(&self.kind.to_le_bytes());
        out.extend_from_slice(&self.hash);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            offset: u64::from_le_bytes(bytes.get(0..8)?.try_into().ok()?),
            sealed_length: u32::from_le_bytes(bytes.get(8..12)?.try_into().ok()?),
            kind: u32::from_le_bytes(bytes.get(12..16)?.try_into().ok()?),
            hash: bytes.get(16..48)?.try_into().ok()?,
        })
    }
}

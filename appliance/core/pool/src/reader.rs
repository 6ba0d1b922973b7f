//! Reading frames: files and openers of segments, and the frames that were opened last.
//!
//! Every frame is checked by its checksum and its seal before a byte of it is used; both caches are bounded. A fresh
//! reader takes everything from the drive.

use std::collections::{HashMap, HashSet};
use std::ops::{Deref, Range};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use chunk::{Decompressor, FRAME_HEADER_LENGTH, FrameKind, Kept, Opener, SealedFrame, Table, padded_length};
use medium::Disk;
use model::archive::SharedBytes;
use model::{LruCache, SegmentNumber};

use crate::PoolError;
use crate::bad::BadPlaces;
use crate::keys::PoolKeys;
use crate::segment::FramePlace;
pub(crate) use crate::segment_file::Trust;
use crate::segment_file::{SegmentFile, of_copies};

/// Bytes of plaintext that the frame cache holds.
const CACHE_BYTES_MAX: usize = 96 << 20;
/// The same of a fresh reader, which lives beside the other one.
const FRESH_CACHE_BYTES_MAX: usize = 32 << 20;
/// Segments whose files stay open.
const SEGMENTS_MAX: usize = 512;

/// A segment that frames can be opened of.
pub(crate) struct SegmentReader {
    file: SegmentFile,
    opener: Opener,
}

impl Deref for SegmentReader {
    type Target = SegmentFile;

    fn deref(&self) -> &SegmentFile {
        &self.file
    }
}

/// A frame that was read: its table, if it has one, and its plaintext.
pub(crate) struct OpenedFrame {
    /// What it holds.
    pub(crate) kind: FrameKind,
    /// Its chunks or pages; none for records and indexes.
    pub(crate) table: Option<Table>,
    /// The plaintext of all of them.
    pub(crate) plaintext: SharedBytes,
}

impl SegmentReader {
    /// Opens the file of a segment and derives its key.
    pub(crate) fn open(
        disk: &dyn Disk,
        keys: &PoolKeys,
        pool: &[u8; 16],
        number: SegmentNumber,
        trust: Trust,
    ) -> Result<Self, PoolError> {
        let file = SegmentFile::open(disk, pool, number, trust)?;
        let header = &file.header;
        let opener = Opener::new(keys.segment_master(), &header.salt, header.identity(), &header.commitment)
            .map_err(|source| PoolError::Frame { segment: number, offset: 0, source })?;
        Ok(Self { file, opener })
    }

    /// Reads, checks, opens and unpacks the frame at a place, from whichever copy of the segment gives it.
    pub(crate) fn read(
        &self,
        place: FramePlace,
        decompressor: &mut Decompressor,
    ) -> Result<OpenedFrame, PoolError> {
        let first = self.bytes(place).and_then(|bytes| self.open_bytes(place.offset, bytes, decompressor));
        first.or_else(|error| {
            of_copies(&*self.file.file, error, |copy| {
                let mut bytes = vec![0; padded_length(place.sealed_length as usize)];
                self.file.file.read_copy(copy, place.offset, &mut bytes)?;
                self.open_bytes(place.offset, bytes, decompressor)
            })
        })
    }

    /// Checks, opens and unpacks a frame that was read from `offset`.
    pub(crate) fn open_bytes(
        &self,
        offset: u64,
        mut bytes: Vec<u8>,
        decompressor: &mut Decompressor,
    ) -> Result<OpenedFrame, PoolError> {
        let segment = self.header.number;
        let wrong = |source| PoolError::Frame { segment, offset, source };
        let header = *SealedFrame::parse(&bytes).map_err(wrong)?.header();
        let end = FRAME_HEADER_LENGTH + header.sealed_length() as usize;
        let payload = &mut bytes[FRAME_HEADER_LENGTH..end];
        let opened = self.opener.open_in_place(&header, payload).map_err(wrong)?;
        let table = match header.kind() {
            FrameKind::Data | FrameKind::Pages => Some(opened.table().map_err(wrong)?),
            _ => None,
        };
        let plaintext = match opened.into_plaintext(decompressor).map_err(wrong)? {
            Kept::Unpacked(plaintext) => plaintext.into(),
            Kept::InPlace(Range { start, end }) => {
                let range = FRAME_HEADER_LENGTH + start..FRAME_HEADER_LENGTH + end;
                SharedBytes::new(Arc::new(bytes), range)
            }
        };
        Ok(OpenedFrame { kind: header.kind(), table, plaintext })
    }
}

/// A segment, and the offset of a frame in it.
type FrameKey = (SegmentNumber, u64);

/// Reads frames of any segment of a pool.
pub(crate) struct FrameReader {
    disk: Arc<dyn Disk>,
    keys: Arc<PoolKeys>,
    pool: [u8; 16],
    trust: Trust,
    bad: Arc<BadPlaces>,
    segments: Mutex<HashMap<SegmentNumber, Arc<SegmentReader>>>,
    /// Plaintexts of frames.
    cache: Mutex<LruCache<FrameKey, SharedBytes>>,
    /// Frames that somebody reads for the cache at this moment.
    reading: Mutex<HashSet<FrameKey>>,
    /// One of them is not being read any more.
    was_read: Condvar,
    decompressors: Mutex<Vec<Decompressor>>,
}

impl FrameReader {
    /// A reader with empty caches.
    pub(crate) fn new(disk: Arc<dyn Disk>, keys: Arc<PoolKeys>, pool: [u8; 16]) -> Self {
        Self::with(disk, keys, pool, Trust::Kernel, Arc::default())
    }

    /// Another reader of the same pool, that takes everything from the drive.
    pub(crate) fn fresh(&self) -> Self {
        let (disk, keys, bad) = (Arc::clone(&self.disk), Arc::clone(&self.keys), Arc::clone(&self.bad));
        Self::with(disk, keys, self.pool, Trust::Drive, bad)
    }

    fn with(
        disk: Arc<dyn Disk>,
        keys: Arc<PoolKeys>,
        pool: [u8; 16],
        trust: Trust,
        bad: Arc<BadPlaces>,
    ) -> Self {
        let bytes_max = if trust == Trust::Drive { FRESH_CACHE_BYTES_MAX } else { CACHE_BYTES_MAX };
        Self {
            disk,
            keys,
            pool,
            trust,
            bad,
            segments: Mutex::default(),
            cache: Mutex::new(LruCache::new(bytes_max)),
            reading: Mutex::default(),
            was_read: Condvar::new(),
            decompressors: Mutex::default(),
        }
    }

    /// What reads found to be bad.
    pub(crate) const fn bad(&self) -> &Arc<BadPlaces> {
        &self.bad
    }

    /// The segment of a number, opened at most once.
    pub(crate) fn segment(&self, number: SegmentNumber) -> Result<Arc<SegmentReader>, PoolError> {
        let mut segments = lock(&self.segments);
        if let Some(segment) = segments.get(&number) {
            return Ok(Arc::clone(segment));
        }
        let segment = SegmentReader::open(&*self.disk, &self.keys, &self.pool, number, self.trust);
        let segment = Arc::new(segment.inspect_err(|error| {
            if error.is_damage() {
                self.bad.add_segment(number, 0);
            }
        })?);
        if segments.len() >= SEGMENTS_MAX {
            segments.clear();
        }
        segments.insert(number, Arc::clone(&segment));
        Ok(segment)
    }

    /// The plaintext of the frame at a place, from the cache if it is there. Those who want the same frame at the same time
    /// have it read once: a neighbour of theirs is in it.
    pub(crate) fn plaintext(&self, place: FramePlace, kind: FrameKind) -> Result<SharedBytes, PoolError> {
        let key = (place.segment, place.offset);
        if let Some(plaintext) = lock(&self.cache).get(&key) {
            return Ok(plaintext.clone());
        }
        let _turn = self.turn(key);
        if let Some(plaintext) = lock(&self.cache).get(&key) {
            return Ok(plaintext.clone());
        }
        let frame = self.read(place)?;
        if frame.kind != kind {
            let FramePlace { segment, offset, .. } = place;
            self.bad.add(segment, offset);
            return Err(PoolError::FrameKind { segment, offset, found: frame.kind });
        }
        lock(&self.cache).insert(key, frame.plaintext.clone(), frame.plaintext.held());
        Ok(frame.plaintext)
    }

    /// Waits until nobody else reads a frame.
    fn turn(&self, key: FrameKey) -> Turn<'_> {
        let mut reading = lock(&self.reading);
        while !reading.insert(key) {
            reading = self.was_read.wait(reading).unwrap_or_else(PoisonError::into_inner);
        }
        Turn { reader: self, key }
    }

    /// Reads the frame at a place from the drive.
    pub(crate) fn read(&self, place: FramePlace) -> Result<OpenedFrame, PoolError> {
        let segment = self.segment(place.segment)?;
        let frame = self.with_decompressor(|decompressor| segment.read(place, decompressor));
        frame.inspect_err(|error| {
            if error.is_damage() {
                self.bad.add(place.segment, place.offset);
            }
        })
    }

    /// Lends a decompressor.
    pub(crate) fn with_decompressor<T>(&self, work: impl FnOnce(&mut Decompressor) -> T) -> T {
        let mut decompressor = lock(&self.decompressors).pop().unwrap_or_default();
        let result = work(&mut decompressor);
        lock(&self.decompressors).push(decompressor);
        result
    }

    /// Forgets all of a segment, which is about to be made.
    pub(crate) fn forget(&self, number: SegmentNumber) {
        lock(&self.segments).remove(&number);
        self.bad.forget(number);
    }

    /// Forgets everything that was read.
    pub(crate) fn clear(&self) {
        lock(&self.segments).clear();
        lock(&self.cache).clear();
    }
}

/// The right to read a frame, until it is dropped.
struct Turn<'r> {
    reader: &'r FrameReader,
    key: FrameKey,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.reader.reading).remove(&self.key);
        self.reader.was_read.notify_all();
    }
}

/// A lock whose holder panicked still guards sound data here: every change under it is a single assignment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Reading frames: files and openers of segments, and the frames that were opened last.
//!
//! Every frame is checked by its checksum and its seal before a byte of it is used; both caches are bounded. A segment
//! whose header cannot be read is read by the copy in its footer.
//!
//! A fresh reader takes everything from the drive, and tells a place that cannot be read from a drive that does not
//! answer: the one is damage, the other may pass.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chunk::{Decompressor, FRAME_HEADER_LENGTH, FrameKind, Opener, SealedFrame, Table, padded_length};
use medium::{Access, Disk, File};
use model::{ErrorKind, LruCache, SegmentNumber};

use crate::PoolError;
use crate::bad::BadPlaces;
use crate::keys::PoolKeys;
use crate::layout::{SEGMENT_HEADER_LENGTH, SegmentHeader, segment_path};
use crate::segment::{FOOTER_TAIL_LENGTH, Footer, FramePlace};

/// Bytes of plaintext that the frame cache holds.
const CACHE_BYTES_MAX: usize = 96 << 20;
/// The same of a fresh reader, which lives beside the other one.
const FRESH_CACHE_BYTES_MAX: usize = 32 << 20;
/// Segments whose files stay open.
const SEGMENTS_MAX: usize = 512;

/// What reads go by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// What the kernel holds is as good as the drive.
    Kernel,
    /// The drive only.
    Drive,
}

/// A segment that frames can be read from.
pub(crate) struct SegmentReader {
    /// Its header.
    pub(crate) header: SegmentHeader,
    /// Why the header is that of the footer and not the one at the start, if it is.
    pub(crate) header_lost: Option<PoolError>,
    /// Its file.
    pub(crate) file: Arc<dyn File>,
    opener: Opener,
    trust: Trust,
}

/// A frame that was read: its table, if it has one, and its plaintext.
pub(crate) struct OpenedFrame {
    /// What it holds.
    pub(crate) kind: FrameKind,
    /// Its chunks or pages; none for records and indexes.
    pub(crate) table: Option<Table>,
    /// The plaintext of all of them.
    pub(crate) plaintext: Arc<Vec<u8>>,
}

impl SegmentReader {
    /// Opens the file of a segment and reads its header.
    pub(crate) fn open(
        disk: &dyn Disk,
        keys: &PoolKeys,
        pool: &[u8; 16],
        number: SegmentNumber,
        trust: Trust,
    ) -> Result<Self, PoolError> {
        let file = disk.open(&segment_path(number), Access::Read)?;
        if trust == Trust::Drive {
            file.forget_cached()?;
        }
        let (header, header_lost) = match read_header(&*file, number, trust) {
            Ok(header) => (header, None),
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Io) => {
                match Footer::read_header(&*file, number) {
                    Ok(Some(copy)) => (copy, Some(error)),
                    _ => return Err(error),
                }
            }
            Err(error) => return Err(error),
        };
        if &header.pool != pool {
            return Err(PoolError::SegmentHeader { segment: number, what: "it is that of another pool" });
        }
        let opener = Opener::new(keys.segment_master(), &header.salt, header.identity(), &header.commitment)
            .map_err(|source| PoolError::Frame { segment: number, offset: 0, source })?;
        Ok(Self { header, header_lost, file, opener, trust })
    }

    /// Reads, checks, opens and unpacks the frame at a place.
    pub(crate) fn read(
        &self,
        place: FramePlace,
        decompressor: &mut Decompressor,
    ) -> Result<OpenedFrame, PoolError> {
        let mut bytes = self.bytes(place)?;
        self.open_bytes(place.offset, &mut bytes, decompressor)
    }

    /// Reads the bytes of the frame at a place.
    pub(crate) fn bytes(&self, place: FramePlace) -> Result<Vec<u8>, PoolError> {
        let mut bytes = vec![0; padded_length(place.sealed_length as usize)];
        self.fill(place.offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Its footer, if it has a sound one.
    pub(crate) fn footer(&self) -> Result<Option<Footer>, PoolError> {
        match Footer::read(&*self.file) {
            Err(error) if error.kind() == ErrorKind::Io && self.trust == Trust::Drive => {}
            result => return result,
        }
        match Footer::read(&*self.file) {
            Err(PoolError::Disk(source)) if source.kind() == ErrorKind::Io && answers(&*self.file) => {
                let offset = self.file.length()?.saturating_sub(FOOTER_TAIL_LENGTH as u64);
                Err(PoolError::Unreadable { segment: self.header.number, offset, source })
            }
            result => result,
        }
    }

    /// Whether the drive delivers anything of it.
    pub(crate) fn answers(&self) -> bool {
        answers(&*self.file)
    }

    /// Fills a buffer from `offset`.
    pub(crate) fn fill(&self, offset: u64, buffer: &mut [u8]) -> Result<(), PoolError> {
        fill(&*self.file, self.header.number, offset, buffer, self.trust)
    }

    /// Checks, opens and unpacks a frame that was read from `offset`.
    pub(crate) fn open_bytes(
        &self,
        offset: u64,
        bytes: &mut [u8],
        decompressor: &mut Decompressor,
    ) -> Result<OpenedFrame, PoolError> {
        let segment = self.header.number;
        let wrong = |source| PoolError::Frame { segment, offset, source };
        let header = *SealedFrame::parse(bytes).map_err(wrong)?.header();
        let end = FRAME_HEADER_LENGTH + header.sealed_length() as usize;
        let payload = &mut bytes[FRAME_HEADER_LENGTH..end];
        let opened = self.opener.open_in_place(&header, payload).map_err(wrong)?;
        let table = match header.kind() {
            FrameKind::Data | FrameKind::Pages => Some(opened.table().map_err(wrong)?),
            _ => None,
        };
        let plaintext = Arc::new(opened.plaintext(decompressor).map_err(wrong)?.to_vec());
        Ok(OpenedFrame { kind: header.kind(), table, plaintext })
    }
}

/// Reads the header at the start of a segment.
fn read_header(file: &dyn File, number: SegmentNumber, trust: Trust) -> Result<SegmentHeader, PoolError> {
    let mut bytes = [0; SEGMENT_HEADER_LENGTH];
    if file.length()? < bytes.len() as u64 {
        return Err(PoolError::SegmentHeader { segment: number, what: "it is cut off" });
    }
    fill(file, number, 0, &mut bytes, trust)?;
    SegmentHeader::decode(&bytes, number)
}

/// Fills a buffer from the file of a segment. If only the drive counts, a read that fails twice although the drive
/// delivers another place of the file is damage of that place.
fn fill(
    file: &dyn File,
    segment: SegmentNumber,
    offset: u64,
    buffer: &mut [u8],
    trust: Trust,
) -> Result<(), PoolError> {
    match file.read_at(offset, buffer) {
        Err(error) if error.kind() == ErrorKind::Io && trust == Trust::Drive => {}
        result => return Ok(result?),
    }
    match file.read_at(offset, buffer) {
        Err(source) if source.kind() == ErrorKind::Io && answers(file) => {
            Err(PoolError::Unreadable { segment, offset, source })
        }
        result => Ok(result?),
    }
}

/// Whether the first or the last bytes of a file can be read.
fn answers(file: &dyn File) -> bool {
    let mut bytes = [0; FOOTER_TAIL_LENGTH];
    let last = file.length().ok().and_then(|length| length.checked_sub(bytes.len() as u64));
    [Some(0), last].into_iter().flatten().any(|at| file.read_at(at, &mut bytes).is_ok())
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
    cache: Mutex<LruCache<FrameKey, Arc<Vec<u8>>>>,
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
        let (segments, cache) = (Mutex::default(), Mutex::new(LruCache::new(bytes_max)));
        Self { disk, keys, pool, trust, bad, segments, cache, decompressors: Mutex::default() }
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

    /// The plaintext of the frame at a place, from the cache if it is there.
    pub(crate) fn plaintext(&self, place: FramePlace, kind: FrameKind) -> Result<Arc<Vec<u8>>, PoolError> {
        let key = (place.segment, place.offset);
        if let Some(plaintext) = lock(&self.cache).get(&key) {
            return Ok(Arc::clone(plaintext));
        }
        let frame = self.read(place)?;
        if frame.kind != kind {
            let FramePlace { segment, offset, .. } = place;
            self.bad.add(segment, offset);
            return Err(PoolError::FrameKind { segment, offset, found: frame.kind });
        }
        lock(&self.cache).insert(key, Arc::clone(&frame.plaintext), frame.plaintext.len());
        Ok(frame.plaintext)
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

/// A lock whose holder panicked still guards sound data here: every change under it is a single assignment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

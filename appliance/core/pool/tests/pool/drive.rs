//! What tests do to the drive below a pool: its segments and frames, rot in them, and bytes that cannot be read.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use medium::sim::{Fault, FaultPlan, SimDisk};
use medium::{Access, Demand, Disk, DiskError, File, Lock, Operation, Space};
use pool::layout::SEGMENT_HEADER_LENGTH;

/// Kinds of segments, as their headers say them.
pub(crate) const DATA: u8 = 0;
pub(crate) const META: u8 = 1;

/// Kinds of frames, as their headers say them.
pub(crate) const CHUNKS: u8 = 1;
pub(crate) const PAGES: u8 = 2;
pub(crate) const INDEX: u8 = 5;

/// Bytes of a frame: one of its header, one of its payload.
pub(crate) const IN_HEADER: u64 = 8;
pub(crate) const IN_PAYLOAD: u64 = 70;

/// Paths and bytes of the segments of a kind, by number.
pub(crate) fn segments(disk: &SimDisk, kind: u8) -> Vec<(String, Vec<u8>)> {
    let of_kind = |(path, bytes): &(String, Vec<u8>)| path.starts_with("segments/") && bytes[10] == kind;
    disk.files().into_iter().filter(of_kind).collect()
}

/// Path and bytes of the last meta segment.
pub(crate) fn last_meta(disk: &SimDisk) -> (String, Vec<u8>) {
    segments(disk, META).pop().unwrap()
}

/// Where frames start in the bytes of a segment, and their kinds.
pub(crate) fn frames(bytes: &[u8]) -> Vec<(u64, u8)> {
    let aligned = (SEGMENT_HEADER_LENGTH..bytes.len()).step_by(64);
    let starts = aligned.filter(|at| bytes[*at..].starts_with(b"KFfr"));
    starts.map(|at| (at as u64, bytes[at + 5])).collect()
}

/// Where the frames of a kind start.
pub(crate) fn frames_of(bytes: &[u8], kind: u8) -> Vec<u64> {
    frames(bytes).into_iter().filter(|(_, found)| *found == kind).map(|(at, _)| at).collect()
}

/// Where the last frame of a segment starts: its mark, if it is the last meta segment of a pool that was closed.
pub(crate) fn last_frame(bytes: &[u8]) -> u64 {
    frames(bytes).last().unwrap().0
}

/// Flips a bit of a frame, in its byte `IN_HEADER` or `IN_PAYLOAD`.
pub(crate) fn rot(disk: &SimDisk, path: &str, frame: u64, byte: u64) {
    disk.flip(path, (frame + byte) * 8).unwrap();
}

/// Reads of a file, or of files below a folder, fail from here on.
pub(crate) fn unreadable(path: &str) -> FaultPlan {
    FaultPlan::lasting(Fault::Error, 0).on_reads().under(path)
}

/// A drive on which some bytes of a file, whatever it is called later, cannot be read.
#[derive(Clone)]
pub(crate) struct BadSectors {
    disk: SimDisk,
    path: Arc<Mutex<String>>,
    bytes: Range<u64>,
    /// Reads of them come back flipped instead, so many times.
    flips: Option<Arc<AtomicU64>>,
    /// They can be read once they were written.
    healed: Option<Arc<AtomicBool>>,
}

impl BadSectors {
    /// A drive on which `bytes` of the file at `path` cannot be read.
    pub(crate) fn new(disk: &SimDisk, path: &str, bytes: Range<u64>) -> Self {
        Self {
            disk: disk.clone(),
            path: Arc::new(Mutex::new(path.to_owned())),
            bytes,
            flips: None,
            healed: None,
        }
    }

    /// The same, until they are written.
    pub(crate) fn healing(self) -> Self {
        Self { healed: Some(Arc::default()), ..self }
    }

    /// A drive that gives these bytes back wrong, the first `times` times.
    pub(crate) fn flipping(disk: &SimDisk, path: &str, bytes: Range<u64>, times: u64) -> Self {
        Self { flips: Some(Arc::new(AtomicU64::new(times))), ..Self::new(disk, path, bytes) }
    }
}

/// A file with such bytes.
#[derive(Debug)]
struct BadFile {
    file: Arc<dyn File>,
    path: String,
    bytes: Range<u64>,
    flips: Option<Arc<AtomicU64>>,
    healed: Option<Arc<AtomicBool>>,
}

impl BadFile {
    fn is_hit(&self, offset: u64, length: usize) -> bool {
        let is_healed = self.healed.as_ref().is_some_and(|healed| healed.load(Ordering::Relaxed));
        !is_healed && offset < self.bytes.end && self.bytes.start < offset + length as u64
    }
}

impl Disk for BadSectors {
    fn create(&self, path: &str) -> Result<Arc<dyn File>, DiskError> {
        self.disk.create(path)
    }

    fn open(&self, path: &str, access: Access) -> Result<Arc<dyn File>, DiskError> {
        let file = self.disk.open(path, access)?;
        let is_bad = path == *self.path.lock().unwrap();
        Ok(if is_bad {
            let (bytes, flips, healed) = (self.bytes.clone(), self.flips.clone(), self.healed.clone());
            Arc::new(BadFile { file, path: path.into(), bytes, flips, healed })
        } else {
            file
        })
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.disk.rename(from, to)?;
        let mut path = self.path.lock().unwrap();
        if *path == from {
            *path = to.to_owned();
        }
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.disk.remove(path)
    }

    fn make_directory(&self, path: &str) -> Result<(), DiskError> {
        self.disk.make_directory(path)
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        self.disk.list(directory)
    }

    fn sync_directory(&self, directory: &str) -> Result<(), DiskError> {
        self.disk.sync_directory(directory)
    }

    fn lock(&self, path: &str) -> Result<Box<dyn Lock>, DiskError> {
        self.disk.lock(path)
    }

    fn space(&self) -> Result<Space, DiskError> {
        self.disk.space()
    }
}

impl File for BadFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        if self.is_hit(offset, buffer.len()) {
            if let Some(flips) = &self.flips {
                self.file.read_at(offset, buffer)?;
                let left =
                    flips.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                let at = usize::try_from(self.bytes.start.saturating_sub(offset)).unwrap();
                buffer[at] ^= u8::from(left.is_ok());
                return Ok(());
            }
            let source = std::io::Error::from_raw_os_error(5);
            return Err(DiskError::failed(Operation::Read, self.path.clone(), source));
        }
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        if let Some(healed) = self.healed.as_ref().filter(|_| self.is_hit(offset, bytes.len())) {
            healed.store(true, Ordering::Relaxed);
        }
        self.file.write_at(offset, bytes)
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        self.file.sync_data()
    }

    fn forget_cached(&self) -> Result<(), DiskError> {
        self.file.forget_cached()
    }

    fn length(&self) -> Result<u64, DiskError> {
        self.file.length()
    }

    fn set_length(&self, length: u64) -> Result<(), DiskError> {
        self.file.set_length(length)
    }
}

/// A drive that does something when a file is opened for the first time, and that remembers what it is asked for.
#[derive(Clone)]
pub(crate) struct Watched {
    disk: SimDisk,
    then: Arc<Mutex<Option<(String, Then)>>>,
    asked: Arc<Mutex<Asked>>,
}

/// What a drive was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// How files are wanted kept.
    pub(crate) files: BTreeMap<String, Demand>,
    /// That was all.
    pub(crate) is_all: bool,
}

/// What is done.
type Then = Box<dyn FnOnce() + Send>;

impl Watched {
    /// A drive that does nothing besides.
    pub(crate) fn new(disk: &SimDisk) -> Self {
        Self { disk: disk.clone(), then: Arc::default(), asked: Arc::default() }
    }

    /// What it was asked for.
    pub(crate) fn asked(&self) -> Asked {
        self.asked.lock().unwrap().clone()
    }

    /// When the file at `path` is opened the next time, `then` comes before.
    pub(crate) fn before_opening(&self, path: &str, then: impl FnOnce() + Send + 'static) {
        *self.then.lock().unwrap() = Some((path.to_owned(), Box::new(then)));
    }

    /// Whether it still is to come.
    pub(crate) fn is_waiting(&self) -> bool {
        self.then.lock().unwrap().is_some()
    }
}

impl Disk for Watched {
    fn create(&self, path: &str) -> Result<Arc<dyn File>, DiskError> {
        self.disk.create(path)
    }

    fn open(&self, path: &str, access: Access) -> Result<Arc<dyn File>, DiskError> {
        let then = self.then.lock().unwrap().take_if(|(of, _)| of == path);
        if let Some((_, then)) = then {
            then();
        }
        self.disk.open(path, access)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.asked.lock().unwrap().files.remove(path);
        self.disk.remove(path)
    }

    fn make_directory(&self, path: &str) -> Result<(), DiskError> {
        self.disk.make_directory(path)
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        self.disk.list(directory)
    }

    fn sync_directory(&self, directory: &str) -> Result<(), DiskError> {
        self.disk.sync_directory(directory)
    }

    fn lock(&self, path: &str) -> Result<Box<dyn Lock>, DiskError> {
        self.disk.lock(path)
    }

    fn ask(&self, path: &str, demand: Demand) -> Result<(), DiskError> {
        self.asked.lock().unwrap().files.insert(path.to_owned(), demand);
        Ok(())
    }

    fn asked_all(&self, is_all: bool) -> Result<(), DiskError> {
        self.asked.lock().unwrap().is_all = is_all;
        Ok(())
    }

    fn space(&self) -> Result<Space, DiskError> {
        self.disk.space()
    }
}

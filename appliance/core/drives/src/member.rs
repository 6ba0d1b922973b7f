//! A drive of the set, as long as this process has it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use medium::{Disk, DiskError, Lock};

use crate::DriveUuid;
use crate::detachable::Detachable;
use crate::layout::WRITING;
use crate::planted::{self, Bug};
use crate::set::locked;

/// Errors of a member since the set was opened, and what was written over them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    /// Reads that failed.
    pub reads: u64,
    /// Changes and syncs that failed.
    pub writes: u64,
    /// Places that were written anew because they said something else than the other copies.
    pub mended: u64,
}

/// A drive that is, or was, in service.
pub(crate) struct Member {
    pub(crate) drive: DriveUuid,
    /// Its place in the list of members.
    pub(crate) index: usize,
    pub(crate) disk: Arc<dyn Disk>,
    /// The same, for letting go of it.
    pub(crate) detachable: Arc<Detachable>,
    serving: AtomicBool,
    /// A change failed on it and it could not be let go of, so it is chosen last.
    avoided: AtomicBool,
    reads: AtomicU64,
    writes: AtomicU64,
    mended: AtomicU64,
    lock: Mutex<Option<Box<dyn Lock>>>,
}

impl Member {
    pub(crate) fn new(drive: DriveUuid, index: usize, disk: Arc<dyn Disk>, lock: Box<dyn Lock>) -> Arc<Self> {
        let detachable = Arc::new(Detachable::new(disk));
        Arc::new(Self {
            drive,
            index,
            disk: Arc::clone(&detachable) as Arc<dyn Disk>,
            detachable,
            serving: AtomicBool::new(true),
            avoided: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            mended: AtomicU64::new(0),
            lock: Mutex::new(Some(lock)),
        })
    }

    /// Whether it is read and written.
    pub(crate) fn serves(&self) -> bool {
        self.serving.load(Ordering::Acquire)
    }

    /// It is neither read nor written any more, and nothing of it is open.
    pub(crate) fn let_go(&self) {
        self.serving.store(false, Ordering::Release);
        *locked(&self.lock) = None;
        self.detachable.detach();
    }

    pub(crate) fn is_avoided(&self) -> bool {
        self.avoided.load(Ordering::Relaxed)
    }

    pub(crate) fn avoid(&self) {
        self.avoided.store(true, Ordering::Relaxed);
    }

    /// The caller starts over, so may the member.
    pub(crate) fn start_over(&self) {
        self.avoided.store(false, Ordering::Relaxed);
        self.disk.start_over();
    }

    pub(crate) fn count_read_error(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_write_error(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_mended(&self) {
        self.mended.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn errors(&self) -> Errors {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Errors { reads: load(&self.reads), writes: load(&self.writes), mended: load(&self.mended) }
    }

    /// Bytes that may still be written to it; 0 if it does not say.
    pub(crate) fn free(&self) -> u64 {
        self.disk.space().map_or(0, |space| space.available_bytes)
    }

    /// Makes an empty file, or finds it, and makes its name durable.
    pub(crate) fn note(&self, directory: &str, name: &str) -> Result<(), DiskError> {
        if directory == WRITING && planted::has(Bug::SkipMark) {
            return Ok(());
        }
        let path = format!("{directory}/{name}");
        match self.disk.create(&path) {
            Err(error) if error.kind() == model::ErrorKind::Refused => {}
            result => result?.sync_data()?,
        }
        self.disk.sync_directory(directory)
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Member({})", self.drive)
    }
}

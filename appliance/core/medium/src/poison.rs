//! After a failed sync nothing more is written to that file or directory.
//!
//! Linux reports a failed writeback once and then forgets the pages: on ext4 the next fdatasync returns
//! success over bytes that never reached the platter (measured). [`Poisoning`] stands around a disk that
//! behaves like this, real or simulated, and turns the second attempt into an error. A poisoned handle
//! still reads; opening the file again gives a fresh handle, whose reader must check what it finds.
//!
//! Syncs of one handle run one after the other: the kernel reports a failure to one caller only, and a
//! second one that ran beside it would see success.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::ErrorKind;

use crate::{Access, Demand, Disk, DiskError, DiskPath, File, Lock, Operation, Space};

/// A disk whose handles and directories refuse every change after one of their syncs has failed.
pub struct Poisoning {
    disk: Arc<dyn Disk>,
    /// Directories whose sync has failed; they stay so until the caller starts over.
    directories: Mutex<BTreeSet<String>>,
    /// Held during a sync of a directory.
    syncing: Mutex<()>,
}

impl Poisoning {
    /// Stands around `disk`.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, directories: Mutex::new(BTreeSet::new()), syncing: Mutex::new(()) }
    }

    fn poisoned(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.directories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails if the directory that holds `path` is poisoned.
    fn check_parent(&self, operation: Operation, path: &str) -> Result<(), DiskError> {
        let parent = DiskPath::parse(path)?.parent().as_str();
        self.check(operation, parent)
    }

    fn check(&self, operation: Operation, directory: &str) -> Result<(), DiskError> {
        if self.poisoned().contains(directory) {
            return Err(DiskError::Poisoned { operation, path: directory.to_owned() });
        }
        Ok(())
    }
}

impl Disk for Poisoning {
    fn create(&self, path: &str) -> Result<Arc<dyn File>, DiskError> {
        self.check_parent(Operation::Create, path)?;
        Ok(PoisoningFile::wrap(self.disk.create(path)?, path))
    }

    fn open(&self, path: &str, access: Access) -> Result<Arc<dyn File>, DiskError> {
        Ok(PoisoningFile::wrap(self.disk.open(path, access)?, path))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.check_parent(Operation::Rename, from)?;
        self.check_parent(Operation::Rename, to)?;
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.check_parent(Operation::Remove, path)?;
        self.disk.remove(path)
    }

    fn make_directory(&self, path: &str) -> Result<(), DiskError> {
        self.check_parent(Operation::MakeDirectory, path)?;
        self.disk.make_directory(path)
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        self.disk.list(directory)
    }

    fn sync_directory(&self, directory: &str) -> Result<(), DiskError> {
        let _one_at_a_time = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check(Operation::SyncDirectory, directory)?;
        let result = self.disk.sync_directory(directory);
        // A directory that is not there has lost nothing.
        if result.as_ref().is_err_and(|e| matches!(e.kind(), ErrorKind::Io | ErrorKind::Full)) {
            self.poisoned().insert(directory.to_owned());
        }
        result
    }

    fn lock(&self, path: &str) -> Result<Box<dyn Lock>, DiskError> {
        self.disk.lock(path)
    }

    fn start_over(&self) {
        self.poisoned().clear();
        self.disk.start_over();
    }

    fn ask(&self, path: &str, demand: Demand) -> Result<(), DiskError> {
        self.disk.ask(path, demand)
    }

    fn asked_all(&self, is_all: bool) -> Result<(), DiskError> {
        self.disk.asked_all(is_all)
    }

    fn space(&self) -> Result<Space, DiskError> {
        self.disk.space()
    }
}

impl fmt::Debug for Poisoning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poisoning").field("directories", &*self.poisoned()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct PoisoningFile {
    file: Arc<dyn File>,
    path: Box<str>,
    poisoned: AtomicBool,
    /// Held during a sync.
    syncing: Mutex<()>,
}

impl PoisoningFile {
    fn wrap(file: Arc<dyn File>, path: &str) -> Arc<dyn File> {
        Arc::new(Self { file, path: path.into(), poisoned: AtomicBool::new(false), syncing: Mutex::new(()) })
    }

    fn check(&self, operation: Operation) -> Result<(), DiskError> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(DiskError::Poisoned { operation, path: self.path.to_string() });
        }
        Ok(())
    }
}

impl File for PoisoningFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.check(Operation::Write)?;
        self.file.write_at(offset, bytes)
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        let _one_at_a_time = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check(Operation::Sync)?;
        let result = self.file.sync_data();
        if result.is_err() {
            self.poisoned.store(true, Ordering::Release);
        }
        result
    }

    fn forget_cached(&self) -> Result<(), DiskError> {
        self.file.forget_cached()
    }

    fn length(&self) -> Result<u64, DiskError> {
        self.file.length()
    }

    fn set_length(&self, length: u64) -> Result<(), DiskError> {
        self.check(Operation::SetLength)?;
        self.file.set_length(length)
    }

    fn allocate(&self, length: u64) -> Result<(), DiskError> {
        self.check(Operation::SetLength)?;
        self.file.allocate(length)
    }

    fn copies(&self) -> u32 {
        self.file.copies()
    }

    fn whole_copies(&self) -> u32 {
        self.file.whole_copies()
    }

    fn read_copy(&self, copy: u32, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.file.read_copy(copy, offset, buffer)
    }

    fn mend(&self, offset: u64, bytes: &[u8]) -> Result<u32, DiskError> {
        self.file.mend(offset, bytes)
    }

    fn advise_written(&self, range: Range<u64>) {
        self.file.advise_written(range);
    }
}

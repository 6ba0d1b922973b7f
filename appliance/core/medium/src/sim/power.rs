//! Power that all drives of a machine share: after so many changes it is gone for all of them at once.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::SimDisk;
use crate::{Access, Disk, DiskError, File, Lock, Operation, Space};

/// Changes until the power goes, and changes so far.
#[derive(Debug)]
pub struct Power {
    left: AtomicU64,
    spent: AtomicU64,
    /// The most bytes that were read or written at once.
    largest: AtomicU64,
}

impl Default for Power {
    fn default() -> Self {
        Self { left: AtomicU64::new(u64::MAX), spent: AtomicU64::new(0), largest: AtomicU64::new(0) }
    }
}

impl Power {
    /// The power goes before the change after so many.
    pub fn cut_after(&self, changes: u64) {
        self.left.store(changes, Ordering::SeqCst);
    }

    /// The power goes before the change after so many, if not before.
    pub fn cut_within(&self, changes: u64) {
        self.left.fetch_min(changes, Ordering::SeqCst);
    }

    /// Changes so far.
    #[must_use]
    pub fn spent(&self) -> u64 {
        self.spent.load(Ordering::SeqCst)
    }

    /// The most bytes that were read or written at once since this was asked last.
    pub fn largest(&self) -> u64 {
        self.largest.swap(0, Ordering::SeqCst)
    }

    /// Whether it is gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }

    fn check(&self, operation: Operation) -> Result<(), DiskError> {
        if self.is_gone() {
            return Err(DiskError::Crashed { operation, path: String::new() });
        }
        Ok(())
    }

    fn spend(&self, operation: Operation) -> Result<(), DiskError> {
        self.check(operation)?;
        self.spent.fetch_add(1, Ordering::SeqCst);
        if self.left.load(Ordering::SeqCst) != u64::MAX {
            self.left.fetch_sub(1, Ordering::SeqCst);
            return self.check(operation);
        }
        Ok(())
    }
}

/// A drive of the machine. Its own crash is left to whoever cut the power.
pub struct Powered {
    disk: SimDisk,
    power: Arc<Power>,
}

#[derive(Debug)]
struct PoweredFile {
    file: Arc<dyn File>,
    power: Arc<Power>,
}

impl Powered {
    /// A drive that hangs on this power.
    #[must_use]
    pub const fn new(disk: SimDisk, power: Arc<Power>) -> Self {
        Self { disk, power }
    }

    fn wrap(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(PoweredFile { file, power: self.power.clone() })
    }
}

impl Disk for Powered {
    fn create(&self, path: &str) -> Result<Arc<dyn File>, DiskError> {
        self.power.spend(Operation::Create)?;
        Ok(self.wrap(self.disk.create(path)?))
    }

    fn open(&self, path: &str, access: Access) -> Result<Arc<dyn File>, DiskError> {
        self.power.check(Operation::Open)?;
        Ok(self.wrap(self.disk.open(path, access)?))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.power.spend(Operation::Rename)?;
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.power.spend(Operation::Remove)?;
        self.disk.remove(path)
    }

    fn make_directory(&self, path: &str) -> Result<(), DiskError> {
        self.power.spend(Operation::MakeDirectory)?;
        self.disk.make_directory(path)
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        self.power.check(Operation::List)?;
        self.disk.list(directory)
    }

    fn sync_directory(&self, directory: &str) -> Result<(), DiskError> {
        self.power.spend(Operation::SyncDirectory)?;
        self.disk.sync_directory(directory)
    }

    fn lock(&self, path: &str) -> Result<Box<dyn Lock>, DiskError> {
        self.power.check(Operation::Lock)?;
        self.disk.lock(path)
    }

    fn space(&self) -> Result<Space, DiskError> {
        self.power.check(Operation::Space)?;
        self.disk.space()
    }
}

impl File for PoweredFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.power.check(Operation::Read)?;
        self.power.largest.fetch_max(buffer.len() as u64, Ordering::SeqCst);
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.power.spend(Operation::Write)?;
        self.power.largest.fetch_max(bytes.len() as u64, Ordering::SeqCst);
        self.file.write_at(offset, bytes)
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        self.power.spend(Operation::Sync)?;
        self.file.sync_data()
    }

    fn forget_cached(&self) -> Result<(), DiskError> {
        self.power.check(Operation::Forget)?;
        self.file.forget_cached()
    }

    fn length(&self) -> Result<u64, DiskError> {
        self.power.check(Operation::Length)?;
        self.file.length()
    }

    fn set_length(&self, length: u64) -> Result<(), DiskError> {
        self.power.spend(Operation::SetLength)?;
        self.file.set_length(length)
    }

    fn advise_written(&self, range: Range<u64>) {
        self.file.advise_written(range);
    }
}

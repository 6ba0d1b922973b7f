//! A disk that can be let go of at once, with every file of it that somebody has open.
//!
//! A drive that has failed is mounted anew before it comes back, and cannot be unmounted while anything of it is open. Who
//! has a file of it gets an error from then on.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use medium::{Access, Disk, DiskError, File, Lock, Operation, Space};

use crate::set::locked;

/// A disk, until it is let go of.
pub(crate) struct Detachable {
    disk: Slot<Arc<dyn Disk>>,
    held: Mutex<Vec<Weak<dyn Detach>>>,
}

/// Something that can be let go of.
trait Detach: Send + Sync {
    fn detach(&self);
}

/// A value that can be taken away from whoever uses it.
struct Slot<T>(RwLock<Option<T>>);

impl<T: Clone> Slot<T> {
    const fn new(value: T) -> Self {
        Self(RwLock::new(Some(value)))
    }

    fn value(&self) -> Option<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn get(&self, operation: Operation, path: &str) -> Result<T, DiskError> {
        self.value().ok_or_else(|| gone(operation, path))
    }

    fn clear(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn gone(operation: Operation, path: &str) -> DiskError {
    DiskError::failed(operation, path, io::Error::other("the drive is out of service"))
}

impl Detachable {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk: Slot::new(disk), held: Mutex::default() }
    }

    /// Lets go of the disk and of everything that is open on it.
    pub(crate) fn detach(&self) {
        self.disk.clear();
        let held = std::mem::take(&mut *locked(&self.held));
        held.iter().filter_map(Weak::upgrade).for_each(|held| held.detach());
    }

    /// The disk, if it was not let go of.
    pub(crate) fn attached(&self) -> Option<Arc<dyn Disk>> {
        self.disk.value()
    }

    /// Notes what is open, or closes it if the disk has been let go of meanwhile.
    fn hold(&self, open: Weak<dyn Detach>) {
        let mut held = locked(&self.held);
        if held.len() == held.capacity() {
            held.retain(|one| one.strong_count() > 0);
        }
        held.push(open.clone());
        drop(held);
        if self.attached().is_none() {
            open.upgrade().iter().for_each(|open| open.detach());
        }
    }

    fn hold_file(&self, path: &str, file: Arc<dyn File>) -> Arc<dyn File> {
        let file = Arc::new(HeldFile { path: path.into(), file: Slot::new(file) });
        let weak: Weak<HeldFile> = Arc::downgrade(&file);
        self.hold(weak);
        file
    }
}

impl Disk for Detachable {
    fn create(&self, path: &str) -> Result<Arc<dyn File>, DiskError> {
        let file = self.disk.get(Operation::Create, path)?.create(path)?;
        Ok(self.hold_file(path, file))
    }

    fn open(&self, path: &str, access: Access) -> Result<Arc<dyn File>, DiskError> {
        let file = self.disk.get(Operation::Open, path)?.open(path, access)?;
        Ok(self.hold_file(path, file))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.disk.get(Operation::Rename, from)?.rename(from, to)
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.disk.get(Operation::Remove, path)?.remove(path)
    }

    fn make_directory(&self, path: &str) -> Result<(), DiskError> {
        self.disk.get(Operation::MakeDirectory, path)?.make_directory(path)
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        self.disk.get(Operation::List, directory)?.list(directory)
    }

    fn sync_directory(&self, directory: &str) -> Result<(), DiskError> {
        self.disk.get(Operation::SyncDirectory, directory)?.sync_directory(directory)
    }

    fn lock(&self, path: &str) -> Result<Box<dyn Lock>, DiskError> {
        let lock = self.disk.get(Operation::Lock, path)?.lock(path)?;
        let lock = Arc::new(HeldLock(Mutex::new(Some(lock))));
        let weak: Weak<HeldLock> = Arc::downgrade(&lock);
        self.hold(weak);
        Ok(Box::new(LockOfMember(lock)))
    }

    fn start_over(&self) {
        self.attached().iter().for_each(|disk| disk.start_over());
    }

    fn space(&self) -> Result<Space, DiskError> {
        self.disk.get(Operation::Space, "")?.space()
    }
}

/// A file of the disk.
struct HeldFile {
    path: Box<str>,
    file: Slot<Arc<dyn File>>,
}

impl HeldFile {
    fn get(&self, operation: Operation) -> Result<Arc<dyn File>, DiskError> {
        self.file.get(operation, &self.path)
    }
}

impl Detach for HeldFile {
    fn detach(&self) {
        self.file.clear();
    }
}

impl fmt::Debug for HeldFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeldFile({})", self.path)
    }
}

impl File for HeldFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.get(Operation::Read)?.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.get(Operation::Write)?.write_at(offset, bytes)
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        self.get(Operation::Sync)?.sync_data()
    }

    fn forget_cached(&self) -> Result<(), DiskError> {
        self.get(Operation::Read)?.forget_cached()
    }

    fn length(&self) -> Result<u64, DiskError> {
        self.get(Operation::Read)?.length()
    }

    fn set_length(&self, length: u64) -> Result<(), DiskError> {
        self.get(Operation::SetLength)?.set_length(length)
    }

    fn allocate(&self, length: u64) -> Result<(), DiskError> {
        self.get(Operation::SetLength)?.allocate(length)
    }

    fn copies(&self) -> u32 {
        self.file.value().map_or(0, |file| file.copies())
    }

    fn read_copy(&self, copy: u32, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.get(Operation::Read)?.read_copy(copy, offset, buffer)
    }

    fn mend(&self, offset: u64, bytes: &[u8]) -> Result<u32, DiskError> {
        self.get(Operation::Write)?.mend(offset, bytes)
    }

    fn advise_written(&self, range: Range<u64>) {
        self.file.value().iter().for_each(|file| file.advise_written(range.clone()));
    }
}

/// A lock on the disk, and who holds it.
struct HeldLock(Mutex<Option<Box<dyn Lock>>>);
struct LockOfMember(#[expect(dead_code, reason = "held until dropped")] Arc<HeldLock>);

impl Detach for HeldLock {
    fn detach(&self) {
        *locked(&self.0) = None;
    }
}

impl Lock for LockOfMember {}

impl fmt::Debug for LockOfMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockOfMember")
    }
}

#[cfg(test)]
mod tests {
    use medium::sim::SimDisk;

    use super::*;

    #[test]
    fn what_is_open_fails_once_the_disk_is_let_go_of_and_the_lock_is_free() {
        let sim = SimDisk::new(1);
        let disk = Detachable::new(Arc::new(sim.clone()));
        let file = disk.create("a").unwrap();
        file.write_at(0, b"bytes").unwrap();
        for _ in 0..100 {
            disk.open("a", Access::Read).unwrap();
        }
        assert!(locked(&disk.held).len() < 100, "what was closed is not remembered");
        let _lock = disk.lock("lock").unwrap();
        assert!(sim.lock("lock").is_err());
        disk.detach();
        let mut buffer = [0; 5];
        assert!(file.read_at(0, &mut buffer).is_err() && file.write_at(0, b"x").is_err());
        assert!(file.sync_data().is_err() && disk.open("a", Access::Read).is_err());
        assert!(disk.list("").is_err() && disk.attached().is_none());
        sim.lock("lock").unwrap();
        sim.open("a", Access::Read).unwrap().read_at(0, &mut buffer).unwrap();
        assert_eq!(&buffer, b"bytes");
    }
}

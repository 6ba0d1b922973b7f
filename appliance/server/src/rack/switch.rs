//! The disk of the pool, which is a directory until the pool gets a second drive, and a set of drives from then on.
//!
//! What was opened before the change goes on with what it was opened on; so the pool is opened again behind it.

use std::sync::{Arc, PoisonError, RwLock};

use drives::DriveSet;
use medium::{Access, Demand, Disk, DiskError, File, Lock, Space};

/// The disk of the pool.
pub(crate) struct Switch {
    target: RwLock<Target>,
}

#[derive(Clone)]
struct Target {
    disk: Arc<dyn Disk>,
    set: Option<Arc<DriveSet>>,
}

impl Switch {
    /// A single directory.
    pub(crate) fn single(disk: Arc<dyn Disk>) -> Self {
        Self { target: RwLock::new(Target { disk, set: None }) }
    }

    /// A set of drives.
    pub(crate) fn several(set: Arc<DriveSet>) -> Self {
        let target = Target { disk: Arc::clone(&set) as Arc<dyn Disk>, set: Some(set) };
        Self { target: RwLock::new(target) }
    }

    /// Goes on with a set of drives, of which the directory so far is one.
    pub(crate) fn turn(&self, set: Arc<DriveSet>) {
        let target = Self::several(set).target.into_inner();
        *self.target.write().unwrap_or_else(PoisonError::into_inner) =
            target.unwrap_or_else(PoisonError::into_inner);
    }

    fn target(&self) -> Target {
        self.target.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn disk(&self) -> Arc<dyn Disk> {
        self.target().disk
    }

    /// The set, if there is one.
    pub(crate) fn set(&self) -> Option<Arc<DriveSet>> {
        self.target().set
    }

    /// The directory, while there is no set.
    pub(crate) fn directory(&self) -> Option<Arc<dyn Disk>> {
        Some(self.target()).filter(|target| target.set.is_none()).map(|target| target.disk)
    }
}

impl Disk for Switch {
    fn create(&self, path: &str) -> Result<Arc<dyn File>, DiskError> {
        self.disk().create(path)
    }

    fn open(&self, path: &str, access: Access) -> Result<Arc<dyn File>, DiskError> {
        self.disk().open(path, access)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.disk().rename(from, to)
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.disk().remove(path)
    }

    fn make_directory(&self, path: &str) -> Result<(), DiskError> {
        self.disk().make_directory(path)
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        self.disk().list(directory)
    }

    fn sync_directory(&self, directory: &str) -> Result<(), DiskError> {
        self.disk().sync_directory(directory)
    }

    fn lock(&self, path: &str) -> Result<Box<dyn Lock>, DiskError> {
        self.disk().lock(path)
    }

    fn start_over(&self) {
        self.disk().start_over();
    }

    fn ask(&self, path: &str, demand: Demand) -> Result<(), DiskError> {
        self.disk().ask(path, demand)
    }

    fn asked_all(&self, is_all: bool) -> Result<(), DiskError> {
        self.disk().asked_all(is_all)
    }

    fn space(&self) -> Result<Space, DiskError> {
        self.disk().space()
    }
}

//! A directory of the host as a drive that is only read.
//!
//! For a drive that must stay as it is, or that is mounted read-only: every change is refused, a sync has nothing to do,
//! and a file that is asked for to be written is opened for reading. No byte, name or modification time changes, and no
//! access time either where the kernel lets us say so. The lock is taken beside other readers; whoever holds it to
//! write is told apart. A drive without a file to lock has nobody who writes to it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use medium::{Access, Disk, DiskError, DiskPath, File, Lock, Operation, Space};
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use crate::disk::{HostDisk, failed};
use crate::file::HostFile;

/// A drive in a directory of the host, which stays as it is.
#[derive(Debug)]
pub struct ReadOnlyDisk(HostDisk);

impl ReadOnlyDisk {
    /// Opens a directory that exists.
    pub fn open(root: &Path) -> Result<Self, DiskError> {
        HostDisk::open_root(root).map(Self)
    }

    fn file(&self, operation: Operation, path: &str) -> Result<std::fs::File, DiskError> {
        let entry = DiskPath::parse_entry(path)?;
        let opened = match self.0.file(entry, OFlags::RDONLY | OFlags::NOATIME) {
            // The file is somebody else's: then its access time is the kernel's matter.
            Err(Errno::PERM) => self.0.file(entry, OFlags::RDONLY),
            opened => opened,
        };
        opened.map_err(failed(operation, path))
    }
}

fn refused<T>(operation: Operation, path: &str) -> Result<T, DiskError> {
    Err(DiskError::failed(operation, path, io::ErrorKind::ReadOnlyFilesystem))
}

impl Disk for ReadOnlyDisk {
    fn create(&self, path: &str) -> Result<Arc<dyn File>, DiskError> {
        refused(Operation::Create, path)
    }

    fn open(&self, path: &str, _: Access) -> Result<Arc<dyn File>, DiskError> {
        let file = HostFile::new(self.file(Operation::Open, path)?, path);
        Ok(Arc::new(ReadOnlyFile { file, path: path.into() }))
    }

    fn rename(&self, from: &str, _: &str) -> Result<(), DiskError> {
        refused(Operation::Rename, from)
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        refused(Operation::Remove, path)
    }

    fn make_directory(&self, path: &str) -> Result<(), DiskError> {
        refused(Operation::MakeDirectory, path)
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        match self.0.names(directory, OFlags::NOATIME) {
            Err(DiskError::Failed { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                self.0.names(directory, OFlags::empty())
            }
            names => names,
        }
    }

    fn sync_directory(&self, _: &str) -> Result<(), DiskError> {
        Ok(())
    }

    fn lock(&self, path: &str) -> Result<Box<dyn Lock>, DiskError> {
        let file = match self.file(Operation::Lock, path) {
            Err(error) if error.kind() == model::ErrorKind::Missing => {
                return Ok(Box::new(ReadersLock { _file: None }));
            }
            file => file?,
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => Err(DiskError::Held { path: path.to_owned() }),
            // Where nobody can lock, nobody holds a lock.
            Ok(()) | Err(Errno::NOTSUP | Errno::NOSYS | Errno::NOLCK) => {
                Ok(Box::new(ReadersLock { _file: Some(file) }))
            }
            Err(error) => Err(DiskError::failed(Operation::Lock, path, error)),
        }
    }

    fn space(&self) -> Result<Space, DiskError> {
        Ok(Space { available_bytes: 0, ..self.0.space()? })
    }
}

/// An open file that stays as it is.
#[derive(Debug)]
struct ReadOnlyFile {
    file: HostFile,
    path: Box<str>,
}

impl File for ReadOnlyFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> Result<(), DiskError> {
        refused(Operation::Write, &self.path)
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        Ok(())
    }

    fn forget_cached(&self) -> Result<(), DiskError> {
        self.file.forget_cached()
    }

    fn length(&self) -> Result<u64, DiskError> {
        self.file.length()
    }

    fn set_length(&self, _: u64) -> Result<(), DiskError> {
        refused(Operation::SetLength, &self.path)
    }
}

/// A lock beside other readers; it goes with its file.
#[derive(Debug)]
struct ReadersLock {
    _file: Option<std::fs::File>,
}

impl Lock for ReadersLock {}

//! Open files and held locks of the host.

use std::collections::BTreeSet;
use std::fs::File as StdFile;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use medium::{DiskError, File, Lock, Operation};
use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::Errno;

/// An open regular file.
#[derive(Debug)]
pub(crate) struct HostFile {
    file: StdFile,
    path: Box<str>,
}

impl HostFile {
    pub(crate) fn new(file: StdFile, path: &str) -> Self {
        Self { file, path: path.into() }
    }

    fn failed(&self, operation: Operation) -> impl FnOnce(io::Error) -> DiskError {
        move |source| DiskError::failed(operation, &*self.path, source)
    }
}

impl File for HostFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        match self.file.read_exact_at(buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(DiskError::UnexpectedEnd {
                path: self.path.to_string(),
                start: offset,
                end: offset.saturating_add(buffer.len() as u64),
                length: self.length()?,
            }),
            result => result.map_err(self.failed(Operation::Read)),
        }
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write_all_at(bytes, offset).map_err(self.failed(Operation::Write))
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        self.file.sync_data().map_err(self.failed(Operation::Sync))
    }

    fn forget_cached(&self) -> Result<(), DiskError> {
        // The whole file; the kernel keeps what is dirty or mapped.
        let forgotten = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed);
        forgotten.map_err(io::Error::from).map_err(self.failed(Operation::Forget))
    }

    fn length(&self) -> Result<u64, DiskError> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(self.failed(Operation::Length))
    }

    fn set_length(&self, length: u64) -> Result<(), DiskError> {
        self.file.set_len(length).map_err(self.failed(Operation::SetLength))
    }

    fn allocate(&self, length: u64) -> Result<(), DiskError> {
        if length <= self.length()? {
            return Ok(());
        }
        let allocated = rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, length);
        allocated.map_err(io::Error::from).map_err(self.failed(Operation::SetLength))
    }

    fn advise_written(&self, range: Range<u64>) {
        // A hint: where it cannot be given, the next sync has more to do, and reports what goes wrong.
        let _ = start_writeback(&self.file, range);
    }
}

/// Lets the kernel write dirty pages of the range to the device, without waiting.
///
/// Only `SYNC_FILE_RANGE_WRITE` is asked for: the waiting variants would take a writeback error that the
/// next fdatasync has to report.
#[expect(unsafe_code, reason = "rustix has no sync_file_range")]
fn start_writeback(file: &StdFile, range: Range<u64>) -> io::Result<()> {
    let length = range.end.saturating_sub(range.start);
    let (Ok(start), Ok(length)) = (i64::try_from(range.start), i64::try_from(length)) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // For the kernel a length of 0 means up to the end.
    if length == 0 {
        return Ok(());
    }
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and no memory is passed.
    let result =
        unsafe { libc::sync_file_range(file.as_raw_fd(), start, length, libc::SYNC_FILE_RANGE_WRITE) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A file as the kernel knows it: device and inode.
type Identity = (u64, u64);

/// Locks that this process holds. `flock` alone tells our own handles apart on local filesystems, but over
/// NFS it is a lock of the whole process.
static HELD: Mutex<BTreeSet<Identity>> = Mutex::new(BTreeSet::new());

fn held() -> MutexGuard<'static, BTreeSet<Identity>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An exclusive lock, held until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct HostLock {
    file: StdFile,
    identity: Identity,
}

impl HostLock {
    /// Takes the lock; nothing if somebody else holds it.
    pub(crate) fn take(file: StdFile) -> io::Result<Option<Self>> {
        let stat = rustix::fs::fstat(&file)?;
        let identity = (stat.st_dev, stat.st_ino);
        let mut held = held();
        if held.contains(&identity) {
            return Ok(None);
        }
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                held.insert(identity);
                Ok(Some(Self { file, identity }))
            }
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Lock for HostLock {}

impl Drop for HostLock {
    fn drop(&mut self) {
        let mut held = held();
        // Said aloud, because a child between fork and exec shares the open file and would keep the lock.
        // If it fails, closing the file a moment later releases it as well.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
        held.remove(&self.identity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writeback_is_started_for_ranges_that_exist() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 100_000], 0).unwrap();
        for range in [0..100_000, 4_096..8_192, 99_999..200_000, 5..5] {
            start_writeback(&file, range.clone()).unwrap_or_else(|e| panic!("{range:?}: {e}"));
        }
        let error = start_writeback(&file, 0..u64::MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let (pipe, _writer) = io::pipe().unwrap();
        let pipe = StdFile::from(std::os::fd::OwnedFd::from(pipe));
        assert_eq!(start_writeback(&pipe, 0..1).unwrap_err().raw_os_error(), Some(libc::ESPIPE));
    }
}

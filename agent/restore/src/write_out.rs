//! Bringing files to the drive while others are written.
//!
//! What a restore wrote is durable before it says that it is done. Left to the end, the drive would idle first and
//! everything else afterwards. What fails here fails again when everything is synced at the end, and is said there.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use rustix::fs::syncfs;

/// Bytes that are written of one file before they are brought to the drive.
const FILE_BYTES: u64 = 32 << 20;
/// The same of small files, and how many of them.
const FILES_BYTES: u64 = 128 << 20;
const FILES: u64 = 20_000;

/// What is to be brought to the drive.
pub(crate) enum Dirty {
    /// What was written of a large file.
    File(File),
    /// Everything on the filesystem of a directory: small files are many, and a sync of each would take longer than all else.
    Filesystem(Arc<OwnedFd>),
}

/// Syncs until there is no more.
pub(crate) fn work(dirty: &Receiver<Dirty>) {
    for dirty in dirty {
        // The filesystem keeps a failure for whoever syncs all of it.
        match dirty {
            Dirty::File(file) => drop(file.sync_data()),
            Dirty::Filesystem(directory) => drop(syncfs(directory)),
        }
    }
}

/// Counts what was written and says when it is time.
pub(crate) struct WriteOut {
    sender: Sender<Dirty>,
    file_bytes: u64,
    files: u64,
    files_bytes: u64,
}

impl WriteOut {
    /// Has it done by whoever listens at the other end.
    pub(crate) const fn new(sender: Sender<Dirty>) -> Self {
        Self { sender, file_bytes: 0, files: 0, files_bytes: 0 }
    }

    /// So many more bytes of a large file were written.
    pub(crate) fn written(&mut self, file: &File, bytes: u64) {
        self.file_bytes += bytes;
        // While another sync is under way it waits.
        if self.file_bytes >= FILE_BYTES
            && let Ok(file) = file.try_clone()
            && self.sender.try_send(Dirty::File(file)).is_ok()
        {
            self.file_bytes = 0;
        }
    }

    /// A small file of so many bytes was written.
    pub(crate) fn filled(&mut self, bytes: u64) {
        (self.files, self.files_bytes) = (self.files + 1, self.files_bytes + bytes);
    }

    /// Whether small files are many.
    pub(crate) const fn is_due(&self) -> bool {
        self.files >= FILES || self.files_bytes >= FILES_BYTES
    }

    /// Has all files of a filesystem brought to the drive.
    pub(crate) fn sync(&mut self, directory: Arc<OwnedFd>) {
        if self.sender.try_send(Dirty::Filesystem(directory)).is_ok() {
            (self.files, self.files_bytes) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_goes_to_the_drive_in_steps_and_waits_for_nobody() {
        let (sender, dirty) = crossbeam_channel::bounded(1);
        let mut write_out = WriteOut::new(sender);
        let file = tempfile::tempfile().unwrap();
        write_out.written(&file, FILE_BYTES - 1);
        assert!(dirty.is_empty());
        write_out.written(&file, 1);
        assert!(matches!(dirty.recv(), Ok(Dirty::File(_))));
        // The next one is still under way when there is more.
        for _ in 0..3 {
            write_out.written(&file, FILE_BYTES);
        }
        assert!(matches!(dirty.recv(), Ok(Dirty::File(_))));
        write_out.written(&file, 1);
        assert!(matches!(dirty.recv(), Ok(Dirty::File(_))), "what waited is not forgotten");
        drop(write_out);
        work(&dirty);
    }

    #[test]
    fn small_files_go_to_the_drive_when_they_are_many_or_have_many_bytes() {
        let (sender, dirty) = crossbeam_channel::bounded(1);
        let mut write_out = WriteOut::new(sender);
        let folder = tempfile::tempdir().unwrap();
        let directory: Arc<OwnedFd> = Arc::new(File::open(folder.path()).unwrap().into());
        for (files, bytes) in [(FILES, 1), (2, FILES_BYTES / 2)] {
            for _ in 0..files {
                assert!(!write_out.is_due());
                write_out.filled(bytes);
            }
            assert!(write_out.is_due());
            write_out.sync(Arc::clone(&directory));
            assert!(matches!(dirty.recv(), Ok(Dirty::Filesystem(_))));
        }
    }
}

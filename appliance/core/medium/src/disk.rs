//! A drive as a tree of files.
//!
//! Paths are relative, `/`-separated and parsed by [`DiskPath`](crate::DiskPath); `""` is the root.
//! All calls are synchronous and may be made from several threads at once. What is durable when, is said
//! in the [crate] documentation; nothing here syncs by itself.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::{Demand, DiskError};

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only; writing through the handle is an error.
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// What a drive can hold, and what it can still take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes of the whole drive.
    pub capacity_bytes: u64,
    /// Bytes that this program may still write.
    pub available_bytes: u64,
}

/// A drive: a directory tree with files that can be read and written at offsets.
pub trait Disk: Send + Sync {
    /// Makes an empty file, open for reading and writing; refused if the name is taken. It survives a
    /// crash only after [`File::sync_data`] and [`Disk::sync_directory`].
    fn create(&self, path: &str) -> Result<Arc<dyn File>, DiskError>;

    /// Opens a file that exists; anything but a regular file is an error.
    fn open(&self, path: &str, access: Access) -> Result<Arc<dyn File>, DiskError>;

    /// Gives a file another name, atomically replacing a file that has it. Handles stay valid, also
    /// those of the replaced file. Directories are refused.
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Removes a file or an empty directory. Open handles of a removed file stay valid.
    fn remove(&self, path: &str) -> Result<(), DiskError>;

    /// Makes a directory; does nothing if there is one already. The parent must exist.
    fn make_directory(&self, path: &str) -> Result<(), DiskError>;

    /// Names of files and directories directly in a directory, sorted by bytes. Names that are no
    /// UTF-8 cannot have been made through this trait and are left out.
    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError>;

    /// Makes the names in a directory durable as they are: creations, renames (from or to it), removals.
    fn sync_directory(&self, directory: &str) -> Result<(), DiskError>;

    /// Takes the file as an exclusive lock until the value is dropped or the program ends; makes the
    /// file if there is none. [`DiskError::Held`] if anybody holds it, this process included. The file
    /// of a lock is never removed or replaced.
    fn lock(&self, path: &str) -> Result<Box<dyn Lock>, DiskError>;

    /// The caller starts over: it has let go of every file and believes nothing that it does not read back
    /// from here on. Ends what [`Poisoning`](crate::Poisoning) holds against directories.
    fn start_over(&self) {}

    /// Says how a file is wanted kept that is there or is about to be made, from here on and until the disk is let go of. A
    /// disk that keeps everything in one way need not mind.
    fn ask(&self, path: &str, demand: Demand) -> Result<(), DiskError> {
        let _ = (path, demand);
        Ok(())
    }

    /// Says whether everything was asked for that is wanted, so that of no file more is wanted kept than was said. Until then,
    /// or from then on until it is said again, a disk that was ever asked for something keeps what there is.
    fn asked_all(&self, is_all: bool) -> Result<(), DiskError> {
        let _ = is_all;
        Ok(())
    }

    /// Capacity and free space.
    fn space(&self) -> Result<Space, DiskError>;
}

/// An open file. Offsets are explicit: there is no position to share.
pub trait File: Send + Sync + fmt::Debug {
    /// Fills the whole buffer from `offset`, or fails; [`DiskError::UnexpectedEnd`] if the file is too
    /// short. The buffer's content after an error means nothing.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError>;

    /// Writes all bytes at `offset`, extending the file where needed; a gap reads as zeros. After an
    /// error any part may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Makes all bytes and the length durable. After an error nothing about what was written since the
    /// last good sync is known, ever: see [`Poisoning`](crate::Poisoning).
    fn sync_data(&self) -> Result<(), DiskError>;

    /// Makes later reads come from the medium: gives up what is cached of bytes that a sync, good or failed,
    /// has been through. A failed sync leaves the bytes that it lost in the cache, and they read well until
    /// the machine restarts.
    fn forget_cached(&self) -> Result<(), DiskError>;

    /// Bytes in the file.
    fn length(&self) -> Result<u64, DiskError>;

    /// Cuts the file, or extends it with zeros.
    fn set_length(&self, length: u64) -> Result<(), DiskError>;

    /// Extends the file to `length` bytes, with room for all of them: writing below that never finds the drive full.
    /// A longer file stays as it is. After an error it may be longer than it was.
    fn allocate(&self, length: u64) -> Result<(), DiskError> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        let mut at = self.length()?;
        while at < length {
            let part = (length - at).min(ZEROS.len() as u64);
            self.write_at(at, &ZEROS[..usize::try_from(part).unwrap_or(ZEROS.len())])?;
            at += part;
        }
        Ok(())
    }

    /// How many ways there are to get the bytes: copies on drives of their own, or what parity gives for one.
    /// [`Self::read_at`] takes the first that delivers, whatever it delivers; who can judge may ask for the others.
    fn copies(&self) -> u32 {
        1
    }

    /// How many of those are copies in themselves; they come first. Each of the others is computed, from more bytes than it
    /// gives.
    fn whole_copies(&self) -> u32 {
        self.copies()
    }

    /// Like [`Self::read_at`], by one way only, a number below [`Self::copies`].
    fn read_copy(&self, copy: u32, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let _ = copy;
        self.read_at(offset, buffer)
    }

    /// Writes bytes that are known to be right over each copy that says otherwise or does not deliver them, durably;
    /// how many those were. The bytes are those that the file had at `offset` when it was written; nothing of it
    /// changes for who could read it. A file without further copies stays as it is.
    fn mend(&self, offset: u64, bytes: &[u8]) -> Result<u32, DiskError> {
        let _ = (offset, bytes);
        Ok(0)
    }

    /// Hints that this range will not be written again soon, so its writeback may start. Promises nothing.
    fn advise_written(&self, range: Range<u64>) {
        let _ = range;
    }
}

/// A lock that is held until this value is dropped.
pub trait Lock: Send + Sync + fmt::Debug {}

//! A directory of the host as a drive.
//!
//! Invariants:
//! * every path is resolved by the kernel beneath the root (`RESOLVE_BENEATH`), and no component may be a
//!   symbolic link, so whoever can write to the drive cannot lead us out of it;
//! * files have mode 0600 and directories 0700; no descriptor is inherited by a child process;
//! * only regular files are opened: a device, pipe or directory under the name of a file is an error.
//!
//! It tolerates signals. It does not create the root, and it does not sync by itself.

use std::fs::File as StdFile;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use medium::{Access, Disk, DiskError, DiskPath, File, Lock, Operation, Poisoning, Space};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::file::{HostFile, HostLock};

/// How often a call is tried when a signal or a rename beside it interrupts it.
const ATTEMPTS_MAX: usize = 16;

/// A drive in a directory of the host.
#[derive(Debug)]
pub struct HostDisk {
    root: OwnedFd,
}

impl HostDisk {
    /// Opens a directory that exists as a drive. There is no way to have one without [`Poisoning`]: the
    /// kernel forgets what a failed sync could not write.
    pub fn open(root: &Path) -> Result<Poisoning, DiskError> {
        Ok(Poisoning::new(Arc::new(Self::open_root(root)?)))
    }

    /// The same without [`Poisoning`], for who writes nothing.
    pub(crate) fn open_root(root: &Path) -> Result<Self, DiskError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(root, flags, Mode::empty())
            .map_err(|source| DiskError::failed(Operation::Open, root.to_string_lossy(), source))?;
        Ok(Self { root })
    }

    /// Opens what lies beneath the root, never through a link.
    fn beneath(&self, path: DiskPath<'_>, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let name = if path.as_str().is_empty() { "." } else { path.as_str() };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let mut result = Err(Errno::AGAIN);
        for _ in 0..ATTEMPTS_MAX {
            result = rustix::fs::openat2(&self.root, name, flags | OFlags::CLOEXEC, mode, resolve);
            if !matches!(result, Err(Errno::AGAIN | Errno::INTR)) {
                break;
            }
        }
        result
    }

    fn directory(&self, path: DiskPath<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.beneath(path, flags | OFlags::DIRECTORY, Mode::empty())
    }

    /// The directory that holds an entry, for calls that take a name in a directory.
    fn parent(&self, path: DiskPath<'_>) -> Result<OwnedFd, Errno> {
        self.directory(path.parent(), OFlags::PATH)
    }

    /// Opens a regular file.
    pub(crate) fn file(&self, path: DiskPath<'_>, flags: OFlags) -> Result<StdFile, Errno> {
        // Without NONBLOCK, opening a pipe would wait for somebody at its other end.
        let mode = if flags.contains(OFlags::CREATE) { Mode::RUSR | Mode::WUSR } else { Mode::empty() };
        let file = self.beneath(path, flags | OFlags::NONBLOCK | OFlags::NOCTTY, mode)?;
        match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
            FileType::RegularFile => Ok(StdFile::from(file)),
            FileType::Directory => Err(Errno::ISDIR),
            _ => Err(Errno::INVAL),
        }
    }

    /// Names in a directory, which is opened with `flags` besides what reading it takes.
    pub(crate) fn names(&self, directory: &str, flags: OFlags) -> Result<Vec<String>, DiskError> {
        let parsed = DiskPath::parse(directory)?;
        let list = || {
            let mut names = Vec::new();
            for entry in Dir::new(self.directory(parsed, OFlags::RDONLY | flags)?)? {
                if let Ok(name) = entry?.file_name().to_str()
                    && !matches!(name, "." | "..")
                {
                    names.push(name.to_owned());
                }
            }
            names.sort_unstable();
            Ok(names)
        };
        list().map_err(failed(Operation::List, directory))
    }
}

impl Disk for HostDisk {
    fn create(&self, path: &str) -> Result<Arc<dyn File>, DiskError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let file = self.file(DiskPath::parse_entry(path)?, flags);
        Ok(Arc::new(HostFile::new(file.map_err(failed(Operation::Create, path))?, path)))
    }

    fn open(&self, path: &str, access: Access) -> Result<Arc<dyn File>, DiskError> {
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::ReadWrite => OFlags::RDWR,
        };
        let file = self.file(DiskPath::parse_entry(path)?, flags);
        Ok(Arc::new(HostFile::new(file.map_err(failed(Operation::Open, path))?, path)))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let (old, new) = (DiskPath::parse_entry(from)?, DiskPath::parse_entry(to)?);
        let rename = || {
            let (old_parent, new_parent) = (self.parent(old)?, self.parent(new)?);
            let stat = rustix::fs::statat(&old_parent, old.name(), AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                return Err(Errno::ISDIR);
            }
            rustix::fs::renameat(old_parent, old.name(), new_parent, new.name())
        };
        rename().map_err(|source| DiskError::failed(Operation::Rename, format!("{from} -> {to}"), source))
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        let entry = DiskPath::parse_entry(path)?;
        let remove = || {
            let parent = self.parent(entry)?;
            match rustix::fs::unlinkat(&parent, entry.name(), AtFlags::empty()) {
                Err(Errno::ISDIR) => rustix::fs::unlinkat(&parent, entry.name(), AtFlags::REMOVEDIR),
                result => result,
            }
        };
        remove().map_err(failed(Operation::Remove, path))
    }

    fn make_directory(&self, path: &str) -> Result<(), DiskError> {
        let entry = DiskPath::parse_entry(path)?;
        let make = || match rustix::fs::mkdirat(self.parent(entry)?, entry.name(), Mode::RWXU) {
            Err(Errno::EXIST) if self.directory(entry, OFlags::PATH).is_ok() => Ok(()),
            result => result,
        };
        make().map_err(failed(Operation::MakeDirectory, path))
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        self.names(directory, OFlags::empty())
    }

    fn sync_directory(&self, directory: &str) -> Result<(), DiskError> {
        let parsed = DiskPath::parse(directory)?;
        let opened = self.directory(parsed, OFlags::RDONLY);
        let synced =
            opened.map_err(io::Error::from).and_then(|directory| StdFile::from(directory).sync_all());
        synced.map_err(|source| DiskError::failed(Operation::SyncDirectory, directory, source))
    }

    fn lock(&self, path: &str) -> Result<Box<dyn Lock>, DiskError> {
        let entry = DiskPath::parse_entry(path)?;
        let file = self.file(entry, OFlags::RDWR | OFlags::CREATE).map_err(failed(Operation::Lock, path))?;
        match HostLock::take(file) {
            Ok(Some(lock)) => Ok(Box::new(lock)),
            Ok(None) => Err(DiskError::Held { path: path.to_owned() }),
            Err(source) => Err(DiskError::failed(Operation::Lock, path, source)),
        }
    }

    fn space(&self) -> Result<Space, DiskError> {
        let stat = rustix::fs::fstatvfs(&self.root).map_err(failed(Operation::Space, ""))?;
        Ok(Space {
            capacity_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            available_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }
}

pub(crate) fn failed(operation: Operation, path: &str) -> impl FnOnce(Errno) -> DiskError {
    move |source| DiskError::failed(operation, path, source)
}

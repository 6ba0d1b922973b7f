//! The FUSE adapter over a view: mounts it, and turns requests of the kernel into calls.
//!
//! Files are read with direct I/O. With the kernel's page cache, a page is whole or not at all, and a read that ends early
//! is taken for the end of the file; only so is an error at exactly the bytes that are damaged. What reads again or ahead
//! is in the view.
//!
//! As root everybody may look, and the kernel checks the owners, modes and ACLs that are stored. Otherwise only the
//! user who mounts may look, at everything: the appliance has decided what that is.

mod adapter;
mod convert;
mod handles;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fuser::{BackgroundSession, Config, MountOption, SessionACL};
use model::archive::Archive;
use model::{ErrorKind, Time};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::time::{ClockId, Timespec, clock_gettime};
use thiserror::Error;
use tracing::{info, warn};
use view::{Options, View};

use crate::adapter::Adapter;

/// Requests that are answered at a time, so that one that waits for the network holds up no others.
const THREADS: usize = 8;
/// How long programs that look into a mount may go on when it ends.
const END_MAX: Duration = Duration::from_secs(3);
/// How often it is looked whether a mount is to end.
const LOOK: Duration = Duration::from_millis(100);

/// A view that could not be mounted.
#[derive(Debug, Error)]
pub enum MountError {
    /// The place is not there, or no directory.
    #[error("{} is not a directory that can be mounted on; make it first", .path.display())]
    Place {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is there would be hidden.
    #[error("{} is not empty; a mount would hide what is in it", .0.display())]
    NotEmpty(PathBuf),
    /// The threads that read ahead could not be started.
    #[error("no threads can be started")]
    Threads(#[source] io::Error),
    /// The kernel refused.
    #[error(
        "the kernel does not mount on {}; is /dev/fuse there, and, for other users than root, the package fuse3?",
        .path.display()
    )]
    Kernel {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl MountError {
    /// What a caller can do about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Place { .. } | Self::NotEmpty(_) => ErrorKind::Refused,
            Self::Threads(_) => ErrorKind::Busy,
            Self::Kernel { .. } => ErrorKind::Unsupported,
        }
    }
}

/// A view that is mounted until this value goes.
#[derive(Debug)]
pub struct Mounted {
    session: BackgroundSession,
    path: PathBuf,
}

/// Mounts a view on an empty directory.
pub fn mount(view: View, path: &Path) -> Result<Mounted, MountError> {
    let path = prepare(path)?;
    let is_root = rustix::process::geteuid().is_root();
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::NoAtime,
        MountOption::FSName("keepfast".to_owned()),
        MountOption::Subtype("keepfast".to_owned()),
    ];
    if is_root {
        config.mount_options.push(MountOption::DefaultPermissions);
        config.acl = SessionACL::All;
    }
    config.n_threads = Some(THREADS);
    let session = fuser::spawn_mount(Adapter::new(view, is_root), &path, &config);
    let session = session.map_err(|source| MountError::Kernel { path: path.clone(), source })?;
    info!(path = %path.display(), "mounted");
    Ok(Mounted { session, path })
}

/// Shows an archive on an empty directory until the flag is set, or until somebody unmounts it.
pub fn show(archive: Arc<dyn Archive>, path: &Path, stop: &AtomicBool) -> Result<(), MountError> {
    let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let options = Options { owner, ..Options::default() };
    let mounted = mount(View::new(archive, now, options).map_err(MountError::Threads)?, path)?;
    while !stop.load(Ordering::Relaxed) && !mounted.is_over() {
        std::thread::sleep(LOOK);
    }
    mounted.end();
    Ok(())
}

fn now() -> Time {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Realtime);
    Time::from_parts(tv_sec, u32::try_from(tv_nsec).unwrap_or_default())
}

/// Checks the place; takes away what a killed process left mounted there.
fn prepare(path: &Path) -> Result<PathBuf, MountError> {
    let failed = |source| MountError::Place { path: path.to_owned(), source };
    match std::fs::read_dir(path) {
        // Only FUSE answers so: its server is gone. Attributes the kernel may remember for a while, a listing it asks for.
        Err(error) if error.raw_os_error() == Some(Errno::NOTCONN.raw_os_error()) => {
            warn!(path = %path.display(), "a mount without a server is taken away");
            unmount(path, UnmountFlags::DETACH).map_err(|source| failed(source.into()))?;
        }
        Err(source) => return Err(failed(source)),
        Ok(_) => {}
    }
    let canonical = path.canonicalize().map_err(failed)?;
    let mut entries = std::fs::read_dir(&canonical).map_err(failed)?;
    if entries.next().is_some() {
        return Err(MountError::NotEmpty(path.to_owned()));
    }
    Ok(canonical)
}

impl Mounted {
    /// Whether somebody else has unmounted it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.session.guard.is_finished()
    }

    /// Unmounts. Nobody can look into it any more; programs that have files open get a moment.
    pub fn end(self) {
        if !self.is_over() {
            // Without the right to, dropping the session asks fusermount.
            match unmount(&self.path, UnmountFlags::DETACH) {
                Ok(()) | Err(Errno::PERM | Errno::INVAL) => {}
                Err(error) => warn!(path = %self.path.display(), %error, "not unmounted"),
            }
        }
        let started = Instant::now();
        while !self.is_over() && started.elapsed() < END_MAX {
            std::thread::sleep(Duration::from_millis(10));
        }
        info!(path = %self.path.display(), "unmounted");
    }
}

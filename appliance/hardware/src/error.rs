//! What can go wrong with a disk; each message says why, what follows from it, and what to do.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// What a caller can do about an error; the words are those of the whole project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something is not what it should be.
    Corrupt,
    /// Something is not there.
    Missing,
    /// Somebody else uses it.
    Busy,
    /// It must not be done.
    Refused,
    /// This machine cannot do it.
    Unsupported,
    /// Input or output failed.
    Io,
}

/// A failed operation on a disk.
#[derive(Debug, Error)]
pub enum HardwareError {
    /// The path does not lead to a disk.
    #[error("{} {reason}; name a whole disk, such as /dev/sdb", .path.display())]
    NotADisk {
        /// The path.
        path: PathBuf,
        /// What it is instead.
        reason: String,
    },
    /// A program is needed and not installed.
    #[error(
        "the program {program} is missing, so nothing was done; install the package {package} and try again"
    )]
    NoProgram {
        /// The program.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// A program failed.
    #[error("{command}: {said}; {consequence}")]
    Program {
        /// What was run.
        command: String,
        /// What it said, or how it ended.
        said: String,
        /// What that means for the disk.
        consequence: &'static str,
    },
    /// A program did not end in time.
    #[error("{command} did not end within {seconds} s, as with a dying disk; {consequence}")]
    Late {
        /// What was run.
        command: String,
        /// How long it was waited for.
        seconds: u64,
        /// What that means for the disk.
        consequence: &'static str,
    },
    /// The disk must not become a drive.
    #[error("{} is left as it is: {}", .device.display(), .reasons.join("; "))]
    Refused {
        /// The disk.
        device: PathBuf,
        /// Why, and what would help.
        reasons: Vec<String>,
    },
    /// What was typed does not name the disk.
    #[error("{} is left as it is: {typed:?} is not {expected}; look at the plan again", .device.display())]
    Unconfirmed {
        /// The disk.
        device: PathBuf,
        /// What was typed.
        typed: String,
        /// What should have been.
        expected: &'static str,
    },
    /// The disk is not as it was when the plan was made.
    #[error("{} has changed since the plan was made, so nothing was done; make another plan", .device.display())]
    Changed {
        /// The disk.
        device: PathBuf,
    },
    /// It was asked to stop.
    #[error(
        "stopped before this step: {before}; what was done stays, and preparing the disk again goes on from there"
    )]
    Interrupted {
        /// The step that was not done.
        before: String,
    },
    /// The kernel does not show a partition that was made.
    #[error("{} has no partition although one was made, so nothing more was done; take the disk out and in, or restart, and prepare it again", .device.display())]
    NoPartition {
        /// The disk.
        device: PathBuf,
    },
    /// A filesystem cannot be mounted where it is to be.
    #[error("{} cannot be mounted on {}: {reason}", .device.display(), .directory.display())]
    Mount {
        /// What was to be mounted.
        device: PathBuf,
        /// Where.
        directory: PathBuf,
        /// Why, and what would help.
        reason: String,
    },
    /// Several disks say that they are the same drive.
    #[error("{drive} is on {devices}: one is a copy of the other, so neither is used; take one out")]
    Ambiguous {
        /// The drive.
        drive: String,
        /// Where it was found.
        devices: String,
    },
    /// Reading or writing failed.
    #[error("{doing} {}", .path.display())]
    Io {
        /// What was done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl HardwareError {
    /// An error of the system, with its place.
    pub(crate) fn io<E: Into<io::Error>>(doing: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source: source.into() }
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::NotADisk { .. }
            | Self::Refused { .. }
            | Self::Unconfirmed { .. }
            | Self::Changed { .. }
            | Self::Interrupted { .. } => Kind::Refused,
            Self::NoProgram { .. } => Kind::Unsupported,
            Self::NoPartition { .. } => Kind::Missing,
            Self::Ambiguous { .. } => Kind::Corrupt,
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Kind::Missing,
                io::ErrorKind::ResourceBusy => Kind::Busy,
                _ => Kind::Io,
            },
            Self::Program { .. } | Self::Late { .. } | Self::Mount { .. } => Kind::Io,
        }
    }
}

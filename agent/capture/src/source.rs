//! What is to be protected, and how much a backup may use.
//!
//! Protected paths become one selection: a tree of names whose leaves are taken whole. A path below another one
//! is already in it; directories above a path are recorded, but nothing else in them.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use model::path::split_path;
use model::record::Label;

use crate::BackupError;
use crate::filter::Filter;

/// One source: what to protect and what to leave out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceConfig {
    /// What people call it.
    pub label: Label,
    /// Absolute paths of directories and files, taken whole.
    pub paths: Vec<PathBuf>,
    /// Patterns of what is left out, as in a `.gitignore` at `/`.
    pub excludes: Vec<String>,
    /// Stay on the filesystem of each path; otherwise only pseudo filesystems and mounts of Keepfast are not entered.
    pub one_filesystem: bool,
    /// Patterns of disk images and databases, which are cut in fixed blocks.
    pub images: Vec<String>,
    /// Directories whose content is left out whatever they are reached by: the agent's own.
    pub skipped: Vec<PathBuf>,
}

impl SourceConfig {
    /// Whether a backup would take these paths and patterns.
    pub fn check(&self) -> Result<(), BackupError> {
        Selection::new(&self.paths)?;
        Filter::new(self).map(drop)
    }
}

/// How much a backup may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory, about; at least 32 MiB are used.
    pub memory_bytes: usize,
    /// Threads that read and compress, 1 to 64.
    pub threads: usize,
}

impl Default for Limits {
    /// 128 MiB and a thread for each processor.
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        Self { memory_bytes: 128 << 20, threads }
    }
}

impl Limits {
    pub(crate) fn checked(self) -> Self {
        Self { memory_bytes: self.memory_bytes.max(32 << 20), threads: self.threads.clamp(1, 64) }
    }
}

/// Which part of a directory belongs to the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// All of it.
    All,
    /// Only these entries.
    Some(BTreeMap<Vec<u8>, Selection>),
}

impl Selection {
    /// The selection of all `paths` from the root on.
    pub(crate) fn new(paths: &[PathBuf]) -> Result<Self, BackupError> {
        let mut root = Self::Some(BTreeMap::new());
        for path in paths {
            root.add(path)?;
        }
        match &root {
            Self::Some(names) if names.is_empty() => {
                Err(BackupError::NothingToRead { first: "no path is given".to_owned() })
            }
            _ => Ok(root),
        }
    }

    fn add(&mut self, path: &Path) -> Result<(), BackupError> {
        if !path.is_absolute() {
            return Err(BackupError::RelativePath { path: path.to_owned() });
        }
        let refused = |reason: String| BackupError::Path { path: path.to_owned(), reason };
        let mut place = self;
        for name in split_path(path.as_os_str().as_bytes()).map_err(|error| refused(error.to_string()))? {
            place = match place {
                Self::All => return Ok(()),
                Self::Some(names) => {
                    names.entry(name.as_bytes().to_vec()).or_insert_with(|| Self::Some(BTreeMap::new()))
                }
            };
        }
        *place = Self::All;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(paths: &[&str]) -> Result<Selection, BackupError> {
        Selection::new(&paths.iter().map(PathBuf::from).collect::<Vec<_>>())
    }

    #[test]
    fn overlapping_paths_are_one() {
        let wide = select(&["/usr/share"]).unwrap();
        for paths in [
            &["/usr/share", "/usr/share/doc"][..],
            &["/usr/share/doc", "/usr/share"],
            &["/usr/./share/", "//usr/share"],
        ] {
            assert_eq!(select(paths).unwrap(), wide, "{paths:?}");
        }
        assert_eq!(select(&["/", "/usr"]).unwrap(), Selection::All);
        let Selection::Some(names) = select(&["/a/b", "/a/c", "/d"]).unwrap() else { panic!("all of /") };
        assert_eq!(names.keys().collect::<Vec<_>>(), [b"a", b"d"]);
    }

    #[test]
    fn paths_that_say_nothing_certain_are_refused() {
        assert!(matches!(select(&["usr"]), Err(BackupError::RelativePath { .. })));
        assert!(matches!(select(&["/usr/../etc"]), Err(BackupError::Path { .. })));
        assert!(matches!(select(&[]), Err(BackupError::NothingToRead { .. })));
    }
    #[test]
    fn what_a_backup_would_refuse_is_refused_before() {
        let mut config = SourceConfig {
            label: Label::new("files").unwrap(),
            paths: vec!["/etc".into()],
            excludes: vec!["*.tmp".into()],
            one_filesystem: false,
            images: Vec::new(),
            skipped: Vec::new(),
        };
        config.check().unwrap();
        config.images = vec!["[".into()];
        assert!(matches!(config.check(), Err(BackupError::Pattern { .. })));
        (config.images, config.paths) = (Vec::new(), vec!["/etc/..".into()]);
        assert!(config.check().is_err());
    }
}

//! How large a source is before anything of it was read: what the first backup says to the appliance.
//!
//! An estimate from a look at every entry, without content: bytes that files take on their filesystem or have, whichever
//! is less. What changes meanwhile or cannot be read is left out; what is stored follows from the scan alone.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::filter::{Filesystem, Filter};
use crate::open::open_quietly;
use crate::task::Halt;
use rustix::fs::{CWD, OFlags};

/// Most directories that wait to be looked into; what is beyond is left out.
const WAITING_MAX: usize = 1 << 20;

/// Bytes of what some paths hold; none if it was told to stop.
pub(crate) fn estimate(paths: &[PathBuf], filter: &Filter, halt: &Halt<'_>) -> Option<u64> {
    let mut bytes = 0_u64;
    let mut waiting = Vec::new();
    for path in paths {
        let Ok(found) = path.symlink_metadata() else { continue };
        let nested = paths.iter().any(|other| other != path && path.starts_with(other));
        if found.is_dir() && !nested {
            waiting.push((path.clone(), found.dev(), found.dev()));
        } else if found.is_file() && !nested {
            bytes = bytes.saturating_add(size(&found));
        }
    }
    while let Some((directory, top, device)) = waiting.pop() {
        if halt.is_set() {
            return None;
        }
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let (path, Ok(found)) = (entry.path(), entry.metadata()) else { continue };
            let is_directory = found.is_dir();
            if filter.excludes_any() && filter.excludes(path.as_os_str().as_bytes(), is_directory) {
                continue;
            }
            if !is_directory {
                bytes = bytes.saturating_add(if found.is_file() { size(&found) } else { 0 });
            } else if waiting.len() < WAITING_MAX
                && !filter.skips(found.dev(), found.ino())
                && is_entered(&path, found.dev(), top, device, filter)
            {
                waiting.push((path, top, found.dev()));
            }
        }
    }
    Some(bytes)
}

/// What a file takes or has; of a file with several names each has its part.
fn size(found: &std::fs::Metadata) -> u64 {
    found.len().min(found.blocks().saturating_mul(512)) / found.nlink().max(1)
}

/// Whether the scan enters a directory of another device than that of its parent.
fn is_entered(path: &Path, device: u64, top: u64, parent: u64, filter: &Filter) -> bool {
    if device == parent {
        return true;
    }
    if filter.one_filesystem && device != top {
        return false;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    open_quietly(CWD, path.as_os_str().as_bytes(), flags)
        .is_ok_and(|open| Filesystem::of(&open, device) != Filesystem::Pseudo)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::AtomicBool;

    use model::record::Label;

    use super::*;
    use crate::SourceConfig;

    #[test]
    fn what_would_be_stored_is_estimated_and_nothing_twice() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("a/deep")).unwrap();
        fs::write(at("a/one"), vec![7; 100_000]).unwrap();
        fs::hard_link(at("a/one"), at("a/deep/again")).unwrap();
        fs::write(at("a/deep/two"), vec![7; 20_000]).unwrap();
        fs::write(at("a/left.tmp"), vec![7; 50_000]).unwrap();
        fs::File::create(at("a/sparse")).unwrap().set_len(1 << 30).unwrap();
        std::os::unix::fs::symlink("/", at("a/root")).unwrap();
        let config = SourceConfig {
            label: Label::new("files").unwrap(),
            paths: vec![at("a"), at("a/deep"), at("missing")],
            excludes: vec!["*.tmp".into()],
            one_filesystem: false,
            images: Vec::new(),
            skipped: Vec::new(),
        };
        let filter = Filter::new(&config).unwrap();
        let stop = AtomicBool::new(false);
        assert_eq!(estimate(&config.paths, &filter, &Halt::new(&stop)), Some(120_000));
        let stop = AtomicBool::new(true);
        assert_eq!(estimate(&config.paths, &filter, &Halt::new(&stop)), None);
    }
}

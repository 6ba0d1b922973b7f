//! What the tests of a backup share: an appliance in memory, the tree that operations make, the tree that really is.

pub(crate) mod appliance;
pub(crate) mod odd;
pub(crate) mod real;
pub(crate) mod tree;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use capture::{BackupError, Cache, Limits, Outcome, Silent, SourceConfig, backup};
use model::record::Label;

use appliance::Memory;

/// A source with its cache and an appliance.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) appliance: Memory,
    pub(crate) config: SourceConfig,
}

impl World {
    /// An empty folder that is protected as a whole.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        let config = SourceConfig {
            label: Label::new("home").unwrap(),
            paths: vec![tree],
            excludes: Vec::new(),
            one_filesystem: false,
            images: Vec::new(),
            skipped: Vec::new(),
        };
        Self { folder, appliance: Memory::new(), config }
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    pub(crate) fn cache_folder(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    pub(crate) fn backup(&self) -> Result<Outcome, BackupError> {
        self.backup_until(&AtomicBool::new(false))
    }

    pub(crate) fn backup_until(&self, stop: &AtomicBool) -> Result<Outcome, BackupError> {
        let limits = Limits { memory_bytes: 64 << 20, threads: 3 };
        let cache = Cache::new(&self.cache_folder());
        backup(&self.config, &cache, &self.appliance, self.appliance.naming(), &limits, &Silent, stop)
    }

    /// Backs up and requires that the point is what the folder is, without exceptions.
    pub(crate) fn backup_and_compare(&self) -> Outcome {
        let outcome = self.backup().unwrap();
        assert_eq!(outcome.exceptions, []);
        self.compare();
        outcome
    }

    /// Requires that the newest point is what the folder is.
    pub(crate) fn compare(&self) {
        let found = self.appliance.newest_tree().files(&self.tree());
        let expected = real::files(&self.tree());
        assert_same(&found, &expected);
    }
}

fn assert_same(found: &real::Files, expected: &real::Files) {
    for (path, file) in expected {
        let found = found.get(path).unwrap_or_else(|| panic!("{} is missing", path.display()));
        assert!(found.same(file), "{}:\nfound    {found:?}\nexpected {file:?}", path.display());
    }
    for path in found.keys() {
        assert!(expected.contains_key(path), "{} is too much", path.display());
    }
}

/// Waits until times that are now are old enough to be believed.
pub(crate) fn settle() {
    std::thread::sleep(std::time::Duration::from_millis(2_100));
}

/// A file of bytes that compress, drawn from a number.
pub(crate) fn text(number: u64, length: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&(state & 0x0f0f_3f3f_7f7f_0f0f).to_le_bytes());
    }
    out.truncate(length);
    out
}

pub(crate) fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

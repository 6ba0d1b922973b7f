//! Trees of files: making odd ones, remembering what they were, and comparing.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::program::expect;

/// Numbers that look random and are the same for the same seed.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`.
    pub const fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }
}

/// Bytes that do not compress and differ by `seed`.
#[must_use]
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut dice = Dice::new(seed + 1);
    let words = length.div_ceil(8);
    let mut bytes: Vec<u8> = (0..words).flat_map(|_| dice.next().to_le_bytes()).collect();
    bytes.truncate(length);
    bytes
}

/// A tree with the odd things that filesystems have, as far as every user can make them.
pub fn odd_tree(root: &Path) -> Result<()> {
    fs::create_dir_all(root.join("deep/er"))?;
    for number in 0..400usize {
        let text = format!("file {number}\n").repeat(number * 7 % 900 + 1);
        fs::write(root.join(format!("deep/{number}")), text)?;
    }
    fs::write(root.join("deep/er/large"), noise(1, 3_000_000))?;
    fs::hard_link(root.join("deep/1"), root.join("hard"))?;
    symlink("deep/1", root.join("link"))?;
    fs::File::create(root.join("sparse"))?.set_len(5_000_000)?;
    fs::write(root.join(OsStr::from_bytes(b"not \xff text\n")), b"x")?;
    fs::write(root.join("empty"), b"")?;
    Ok(())
}

/// What differs between two trees, attributes included; nothing if they are equal.
pub fn differences(a: &Path, b: &Path) -> Result<String> {
    let slash = |path: &Path| [path.as_os_str().as_bytes(), b"/"].concat();
    let mut rsync = Command::new("rsync");
    rsync.args(["-naHAXi", "--checksum", "--delete"]);
    rsync.arg(OsStr::from_bytes(&slash(a))).arg(OsStr::from_bytes(&slash(b)));
    expect(&mut rsync, 0)
}

/// Copies a tree with all that it has.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    expect(Command::new("cp").arg("-a").arg(from).arg(to), 0).map(drop)
}

/// What a tree was: for every path its mode, its time, and the hash of its content or target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<PathBuf, (u32, i64, i64, blake3::Hash)>);

impl Snapshot {
    /// Reads a tree of directories, files and links.
    pub fn of(root: &Path) -> Result<Self> {
        let mut found = BTreeMap::new();
        let mut directories = vec![root.to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory)? {
                let path = entry?.path();
                let data = fs::symlink_metadata(&path)?;
                let content = if data.is_dir() {
                    directories.push(path.clone());
                    Vec::new()
                } else if data.is_symlink() {
                    fs::read_link(&path)?.into_os_string().into_encoded_bytes()
                } else {
                    fs::read(&path)?
                };
                let relative = path.strip_prefix(root).unwrap_or(&path).to_owned();
                let hash = blake3::hash(&content);
                found.insert(relative, (data.mode(), data.mtime(), data.mtime_nsec(), hash));
            }
        }
        Ok(Self(found))
    }

    /// The first path at which two trees differ; none if they are equal.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<PathBuf> {
        let paths = self.0.keys().chain(other.0.keys());
        paths.filter(|path| self.0.get(*path) != other.0.get(*path)).min().cloned()
    }

    /// Every path of which another tree does not have what is here.
    pub fn missing_in<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Path> {
        let is_missing = |(path, what): &(&PathBuf, _)| other.0.get(*path) != Some(*what);
        self.0.iter().filter(is_missing).map(|(path, _)| path.as_path())
    }

    /// The first path of `restored` that is not here, or has other content here; none if all are right.
    #[must_use]
    pub fn stranger(&self, restored: &Self) -> Option<PathBuf> {
        let content = |tree: &Self, path| tree.0.get(path).map(|(.., hash)| *hash);
        restored.0.keys().find(|path| content(self, *path) != content(restored, *path)).cloned()
    }
}

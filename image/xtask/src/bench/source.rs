//! The data to protect, all of it from one seed: file `i`, or page `i`, of version `v` is the same on every machine.

mod draw;
mod files;
mod pages;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;

use files::Files;
use pages::{Mixture, Pages};

/// What there is to protect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Workload {
    /// A tree of files like those of a large program.
    Tree,
    /// A file like the image of a disk: text, noise and zeros. One page in a hundred changes.
    Image,
    /// Many files of no more than 4 KiB each.
    Tiny,
    /// A file of noise, which is another one after it changed.
    Noise,
}

/// How much of it.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Scale {
    /// To see that all is well: a minute or two.
    Small,
    /// 80,000 files as a kernel source tree has, an image of 4 GiB, 300,000 tiny files, 2 GiB of noise.
    Full,
}

impl Workload {
    /// As it stands in tables.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Tree => "tree",
            Self::Image => "image",
            Self::Tiny => "tiny files",
            Self::Noise => "noise",
        }
    }

    /// Whether it is one file.
    pub(crate) const fn is_file(self) -> bool {
        matches!(self, Self::Image | Self::Noise)
    }

    /// Whether nothing of it is left when it has changed.
    pub(crate) const fn is_replaced(self) -> bool {
        matches!(self, Self::Noise)
    }

    fn content(self, scale: Scale, seed: u64) -> Content {
        let of = |small, full| match scale {
            Scale::Small => small,
            Scale::Full => full,
        };
        match self {
            Self::Tree => Content::Files(Files::tree(of(4_000, 80_000), seed)),
            Self::Tiny => Content::Files(Files::tiny(of(10_000, 300_000), seed)),
            Self::Image => Content::Pages(Pages::new(Mixture::Image, of(256, 4096), seed)),
            Self::Noise => Content::Pages(Pages::new(Mixture::Noise, of(128, 2048), seed)),
        }
    }
}

enum Content {
    Files(Files),
    Pages(Pages),
}

/// Generated data in a folder.
pub(crate) struct Source {
    workload: Workload,
    content: Content,
    folder: PathBuf,
    bytes: u64,
}

impl Source {
    /// Writes all of it.
    pub(crate) fn generate(folder: PathBuf, workload: Workload, scale: Scale, seed: u64) -> Result<Self> {
        Self::write(folder, workload, workload.content(scale, seed))
    }

    fn write(folder: PathBuf, workload: Workload, content: Content) -> Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let bytes = match &content {
            Content::Files(files) => files.write_all(&folder)?,
            Content::Pages(pages) => pages.write_all(&folder)?,
        };
        Ok(Self { workload, content, folder, bytes })
    }

    /// What it is.
    pub(crate) const fn workload(&self) -> Workload {
        self.workload
    }

    /// Where it is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// How many bytes there are.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    fn files(&self) -> u32 {
        match &self.content {
            Content::Files(files) => files.count(),
            Content::Pages(_) => 1,
        }
    }

    /// How many bytes a copy of it occupies at most, in blocks of 4 KiB.
    pub(crate) fn room(&self) -> u64 {
        self.bytes + u64::from(self.files()) * 4096
    }

    /// In words.
    pub(crate) fn describe(&self) -> String {
        let mebibytes = self.bytes >> 20;
        match &self.content {
            Content::Files(files) => format!("{}, {mebibytes} MiB", files.describe()),
            Content::Pages(pages) => format!("{} of {mebibytes} MiB", pages.describe()),
        }
    }

    /// A file in the middle, relative to the folder.
    fn middle(&self) -> PathBuf {
        match &self.content {
            Content::Files(files) => files.middle(),
            Content::Pages(_) => pages::NAME.into(),
        }
    }

    /// A file in the middle.
    pub(crate) fn one_file(&self) -> PathBuf {
        self.folder.join(self.middle())
    }

    /// Brings all files into the page cache.
    pub(crate) fn warm(&self) -> Result<()> {
        walk(&self.folder, &mut |path, data| {
            if data.is_dir() {
                return Ok(());
            }
            let mut file = fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
            std::io::copy(&mut file, &mut std::io::sink())
                .with_context(|| format!("read {}", path.display()))?;
            Ok(())
        })
    }

    /// Puts a line into the middle of one file in a hundred, or writes one page in a hundred anew.
    pub(crate) fn change(&self) -> Result<()> {
        self.set_version(2)
    }

    /// Undoes [`Self::change`].
    pub(crate) fn reset(&self) -> Result<()> {
        self.set_version(1)
    }

    fn set_version(&self, version: u32) -> Result<()> {
        match &self.content {
            Content::Files(files) => files.write_changing(&self.folder, version),
            Content::Pages(pages) => pages.write_changing(&self.folder, version),
        }
    }
}

/// Shows everything in a folder, in the order of names.
fn walk(folder: &Path, show: &mut impl FnMut(&Path, &fs::Metadata) -> Result<()>) -> Result<()> {
    let listing = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let mut entries: Vec<PathBuf> = listing.filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    for path in entries {
        let data = fs::symlink_metadata(&path).with_context(|| format!("look at {}", path.display()))?;
        show(&path, &data)?;
        if data.is_dir() {
            walk(&path, show)?;
        }
    }
    Ok(())
}

/// Names, lengths and bytes of all files of a tree, and the times of their last change, in one hash.
pub(crate) fn fingerprint(folder: &Path) -> Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    walk(folder, &mut |path, data| {
        hasher.update(path.strip_prefix(folder).unwrap_or(path).as_os_str().as_encoded_bytes());
        if data.is_dir() {
            return Ok(());
        }
        // Borg and tar keep less of a time than the filesystem does; whole seconds are kept by everybody.
        let modified = data.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        hasher.update(&modified.map_or(0, |since| since.as_secs()).to_le_bytes());
        hasher.update(&data.len().to_le_bytes());
        let mut file = fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
        loop {
            let count = file.read(&mut buffer).with_context(|| format!("read {}", path.display()))?;
            hasher.update(buffer.get(..count).unwrap_or_default());
            if count == 0 {
                return Ok(());
            }
        }
    })?;
    Ok(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_follow_from_their_seed_and_versions_differ() {
        let top = tempfile::tempdir().unwrap();
        let contents = |seed| {
            let pages = |mixture| Content::Pages(Pages::new(mixture, 3, seed));
            let files = [Files::tree(200, seed), Files::tiny(200, seed)].map(Content::Files);
            files.into_iter().chain([pages(Mixture::Image), pages(Mixture::Noise)])
        };
        for (at, ((one, same), other)) in contents(1).zip(contents(1)).zip(contents(2)).enumerate() {
            let make = |name: &str, content| {
                Source::write(top.path().join(format!("{name}{at}")), Workload::Tree, content).unwrap()
            };
            // Times of files are part of a fingerprint.
            let bytes = |source: &Source| {
                let mut all = Vec::new();
                let mut add = |path: &Path, data: &fs::Metadata| {
                    all.push(if data.is_file() { fs::read(path)? } else { Vec::new() });
                    Ok(())
                };
                walk(&source.folder, &mut add).unwrap();
                all
            };
            let (one, same, other) = (make("a", one), make("b", same), make("c", other));
            let before = bytes(&one);
            assert!(before == bytes(&same) && before != bytes(&other), "{at}");
            one.change().unwrap();
            let changed = bytes(&one);
            assert_eq!(changed.len(), before.len());
            let differing = changed.iter().zip(&before).filter(|(one, other)| one != other).count();
            assert_eq!(differing, if at < 2 { 2 } else { 1 }, "{at}");
            one.reset().unwrap();
            assert!(before == bytes(&one), "{at}");
        }
    }

    #[test]
    fn a_fingerprint_sees_names_bytes_and_times() {
        let top = tempfile::tempdir().unwrap();
        let file = top.path().join("a");
        fs::write(&file, "x").unwrap();
        let first = fingerprint(top.path()).unwrap();
        assert_eq!(first, fingerprint(top.path()).unwrap());
        fs::File::open(&file).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        let second = fingerprint(top.path()).unwrap();
        fs::rename(&file, top.path().join("b")).unwrap();
        let third = fingerprint(top.path()).unwrap();
        assert!(first != second && second != third);
    }
}

//! The data to protect: a tree of files like those of a large program, all of it from one seed.
//!
//! Lines of made-up code, with names that repeat and numbers that do not: zstd at its lowest level leaves about a
//! quarter of it. File `i` of version `v` is the same on every machine.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Every hundredth file changes.
const CHANGED_EVERY: u32 = 100;
const FILES_PER_FOLDER: u32 = 32;

const WORDS: &[&str] = &[
    "device", "buffer", "queue", "lock", "page", "offset", "inode", "entry", "state", "flags", "count",
    "index", "table", "request", "reply", "packet", "header", "length", "node", "list", "cache", "flush",
    "commit", "begin", "end", "error", "status", "handle", "context", "config", "register", "channel",
    "event", "timer", "driver", "clock",
];

/// A generated tree.
pub(crate) struct Source {
    folder: PathBuf,
    files: u32,
    seed: u64,
    bytes: u64,
}

impl Source {
    /// Writes a tree of `files` files.
    pub(crate) fn generate(folder: PathBuf, files: u32, seed: u64) -> Result<Self> {
        let mut source = Self { folder, files, seed, bytes: 0 };
        for index in 0..files {
            source.bytes += source.write(index, 1)?;
        }
        Ok(source)
    }

    /// Where it is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// How many bytes a copy of it occupies at most, in blocks of 4 KiB.
    pub(crate) fn room(&self) -> u64 {
        self.bytes + u64::from(self.files) * 4096
    }

    /// In words.
    pub(crate) fn describe(&self) -> String {
        let mebibytes = self.bytes >> 20;
        format!("{} files of generated source text, {mebibytes} MiB, seed {}", self.files, self.seed)
    }

    /// A file in the middle.
    pub(crate) fn one_file(&self) -> PathBuf {
        self.folder.join(name(self.files / 2))
    }

    /// Brings all files into the page cache.
    pub(crate) fn warm(&self) -> Result<()> {
        (0..self.files).try_for_each(|index| {
            let path = self.folder.join(name(index));
            let mut file = fs::File::open(&path).with_context(|| format!("open {}", path.display()))?;
            std::io::copy(&mut file, &mut std::io::sink())
                .with_context(|| format!("read {}", path.display()))?;
            Ok(())
        })
    }

    /// Puts a line into the middle of one file in a hundred.
    pub(crate) fn change(&self) -> Result<()> {
        self.write_changing(2)
    }

    /// Undoes [`Self::change`].
    pub(crate) fn reset(&self) -> Result<()> {
        self.write_changing(1)
    }

    fn write_changing(&self, version: u32) -> Result<()> {
        let mut changing = (0..self.files).filter(|index| index % CHANGED_EVERY == CHANGED_EVERY / 2);
        changing.try_for_each(|index| self.write(index, version).map(drop))
    }

    fn write(&self, index: u32, version: u32) -> Result<u64> {
        let path = self.folder.join(name(index));
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        }
        let text = content(self.seed, index, version);
        fs::write(&path, &text).with_context(|| format!("write {}", path.display()))?;
        Ok(text.len() as u64)
    }
}

fn name(index: u32) -> PathBuf {
    let folder = index / FILES_PER_FOLDER;
    format!("part{:02}/group{:02}/unit{:03}.c", folder / 64, folder % 64, index % FILES_PER_FOLDER).into()
}

/// The bytes of a file.
fn content(seed: u64, index: u32, version: u32) -> String {
    let mut draw = Draw(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(index));
    let length = match draw.below(20) {
        0 => 48_000 + draw.below(150_000),
        1..=5 => 12_000 + draw.below(36_000),
        _ => 400 + draw.below(12_000),
    };
    let mut text = String::with_capacity(length + 256);
    let mut changed = version == 1;
    while text.len() < length {
        if !changed && text.len() * 2 >= length {
            changed = true;
            text.push_str(&format!("/* version {version} of unit {index} */\n"));
        }
        line(&mut draw, &mut text);
    }
    text
}

fn line(draw: &mut Draw, text: &mut String) {
    let depth = draw.below(4);
    text.extend(std::iter::repeat_n('\t', depth));
    match draw.below(8) {
        0 => text.push_str(&format!("/* the {} of the {} */", draw.word(), draw.word())),
        1 => text.push_str(&format!("if ({}->{} & 0x{:x})", draw.word(), draw.word(), draw.below(1 << 20))),
        2 => text.push_str(&format!(
            "return {}_{}({}, {});",
            draw.word(),
            draw.word(),
            draw.word(),
            draw.below(100)
        )),
        3 => text.push_str(&format!(
            "static int {}_{}_{}(struct {} *{})",
            draw.word(),
            draw.word(),
            draw.below(1000),
            draw.word(),
            draw.word()
        )),
        _ => text.push_str(&format!(
            "{}->{} = {}_{}({}->{}, {});",
            draw.word(),
            draw.word(),
            draw.word(),
            draw.word(),
            draw.word(),
            draw.word(),
            draw.below(10_000)
        )),
    }
    text.push('\n');
}

/// Numbers from a seed: SplitMix64.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the remainder is smaller than `limit`")]
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn word(&mut self) -> &'static str {
        // Some words are much more frequent than others, as in programs.
        let (first, second) = (self.below(WORDS.len()), self.below(WORDS.len()));
        WORDS.get(first * second / WORDS.len()).copied().unwrap_or("word")
    }
}

/// Names, lengths and bytes of all files of a tree, and the times of their last change, in one hash.
pub(crate) fn fingerprint(folder: &Path) -> Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut waiting = vec![folder.to_owned()];
    let mut buffer = Vec::new();
    while let Some(path) = waiting.pop() {
        let data = fs::symlink_metadata(&path).with_context(|| format!("look at {}", path.display()))?;
        hasher.update(path.strip_prefix(folder).unwrap_or(&path).as_os_str().as_encoded_bytes());
        if data.is_dir() {
            let listing = fs::read_dir(&path).with_context(|| format!("list {}", path.display()))?;
            let mut entries: Vec<PathBuf> = listing.filter_map(|entry| Some(entry.ok()?.path())).collect();
            entries.sort();
            waiting.extend(entries);
            continue;
        }
        // Borg and tar keep less of a time than the filesystem does; whole seconds are kept by everybody.
        let modified = data.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        hasher.update(&modified.map_or(0, |since| since.as_secs()).to_le_bytes());
        buffer.clear();
        let mut file = fs::File::open(&path).with_context(|| format!("open {}", path.display()))?;
        file.read_to_end(&mut buffer).with_context(|| format!("read {}", path.display()))?;
        hasher.update(&data.len().to_le_bytes()).update(&buffer);
    }
    Ok(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_follows_from_its_seed_and_versions_differ() {
        let top = tempfile::tempdir().unwrap();
        let make = |name: &str, seed| Source::generate(top.path().join(name), 200, seed).unwrap();
        let hashes = |source: &Source| {
            (0..200)
                .map(|index| blake3::hash(&fs::read(source.folder.join(name(index))).unwrap()))
                .collect::<Vec<_>>()
        };
        let (one, same, other) = (make("a", 1), make("b", 1), make("c", 2));
        let before = hashes(&one);
        assert_eq!(before, hashes(&same));
        assert_ne!(before, hashes(&other));
        one.change().unwrap();
        let differing = before.iter().zip(hashes(&one)).filter(|(before, after)| *before != after).count();
        assert_eq!(differing, 2);
        one.reset().unwrap();
        assert_eq!(before, hashes(&one));
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

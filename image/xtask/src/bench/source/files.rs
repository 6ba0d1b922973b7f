//! Many files of made-up code.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::draw::Draw;

/// Every hundredth file changes.
const CHANGED_EVERY: u32 = 100;

/// How many files, and of what kind.
pub(super) struct Files {
    count: u32,
    per_folder: u32,
    is_tiny: bool,
    seed: u64,
}

impl Files {
    /// Files as a large program has them: most are small, one in twenty is large.
    pub(super) const fn tree(count: u32, seed: u64) -> Self {
        Self { count, per_folder: 32, is_tiny: false, seed }
    }

    /// Files of up to 4 KiB.
    pub(super) const fn tiny(count: u32, seed: u64) -> Self {
        Self { count, per_folder: 100, is_tiny: true, seed }
    }

    /// How many there are.
    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// In words.
    pub(super) fn describe(&self) -> String {
        let kind = if self.is_tiny { "files of up to 4 KiB" } else { "files of generated source text" };
        format!("{} {kind}", self.count)
    }

    /// One in the middle.
    pub(super) fn middle(&self) -> PathBuf {
        self.name(self.count / 2)
    }

    /// Writes all of them; how many bytes that were.
    pub(super) fn write_all(&self, folder: &Path) -> Result<u64> {
        (0..self.count).try_fold(0, |bytes, index| Ok(bytes + self.write(folder, index, 1)?))
    }

    /// Writes another version of those that change.
    pub(super) fn write_changing(&self, folder: &Path, version: u32) -> Result<()> {
        let mut changing = (0..self.count).filter(|index| index % CHANGED_EVERY == CHANGED_EVERY / 2);
        changing.try_for_each(|index| self.write(folder, index, version).map(drop))
    }

    fn write(&self, folder: &Path, index: u32, version: u32) -> Result<u64> {
        let path = folder.join(self.name(index));
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        }
        let text = self.content(index, version);
        fs::write(&path, &text).with_context(|| format!("write {}", path.display()))?;
        Ok(text.len() as u64)
    }

    fn name(&self, index: u32) -> PathBuf {
        let folder = index / self.per_folder;
        format!("part{:02}/group{:02}/unit{:03}.c", folder / 64, folder % 64, index % self.per_folder).into()
    }

    /// The bytes of a file.
    fn content(&self, index: u32, version: u32) -> String {
        let mut draw = Draw::new(self.seed, u64::from(index));
        let length = match draw.below(20) {
            _ if self.is_tiny => draw.below(4096),
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
            draw.line(&mut text);
        }
        if !changed {
            text.push_str("/* not empty any more */\n");
        }
        text
    }
}

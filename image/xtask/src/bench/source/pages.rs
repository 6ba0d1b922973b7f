//! One large file of pages.

use std::fs;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::draw::Draw;

/// Its name.
pub(super) const NAME: &str = "disk.img";
const PAGE: usize = 4096;
const PAGES_PER_MEBIBYTE: u64 = 256;
/// Pages of the same kind beside each other.
const RUN: u64 = 16;
/// Of so many pages one changes.
const CHANGED_OF: usize = 100;

/// What pages hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mixture {
    /// Text, noise, and some zeros: zstd leaves about half of it.
    Image,
    /// Noise, all of which changes.
    Noise,
}

/// A file of so many pages.
pub(super) struct Pages {
    mixture: Mixture,
    count: u64,
    seed: u64,
}

impl Pages {
    /// A file of so many mebibytes.
    pub(super) fn new(mixture: Mixture, mebibytes: u32, seed: u64) -> Self {
        Self { mixture, count: u64::from(mebibytes) * PAGES_PER_MEBIBYTE, seed }
    }

    /// In words.
    pub(super) const fn describe(&self) -> &'static str {
        match self.mixture {
            Mixture::Image => "one file like the image of a disk",
            Mixture::Noise => "one file of noise",
        }
    }

    /// Writes all of it; how many bytes that were.
    pub(super) fn write_all(&self, folder: &Path) -> Result<u64> {
        self.write_version(folder, 1)?;
        Ok(self.count * PAGE as u64)
    }

    fn write_version(&self, folder: &Path, version: u32) -> Result<()> {
        let path = folder.join(NAME);
        let file = fs::File::create(&path).with_context(|| format!("make {}", path.display()))?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        for index in 0..self.count {
            file.write_all(&self.page(index, version))
                .with_context(|| format!("write {}", path.display()))?;
        }
        file.flush().with_context(|| format!("write {}", path.display()))
    }

    /// Writes another version of the pages that change: into the file as it is, unless all do.
    pub(super) fn write_changing(&self, folder: &Path, version: u32) -> Result<()> {
        if self.mixture == Mixture::Noise {
            return self.write_version(folder, version);
        }
        let path = folder.join(NAME);
        let file = fs::File::options().write(true).open(&path);
        let file = file.with_context(|| format!("open {}", path.display()))?;
        for index in (0..self.count).filter(|index| self.changes(*index)) {
            file.write_all_at(&self.page(index, version), index * PAGE as u64)
                .with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }

    /// Whether a page is one of those that change, which lie anywhere.
    fn changes(&self, index: u64) -> bool {
        Draw::new(self.seed, !index).below(CHANGED_OF) == 0
    }

    fn page(&self, index: u64, version: u32) -> Vec<u8> {
        let number = index | u64::from(version) << 48;
        let mut draw = Draw::new(self.seed ^ 0x7061_6765, number);
        // One that has changed is no page of zeros.
        let kind = Draw::new(self.seed, index / RUN).below(20).min(if version == 1 { 19 } else { 17 });
        let mut page = vec![0; PAGE];
        match (self.mixture, kind) {
            (Mixture::Noise, _) | (Mixture::Image, 0..=7) => draw.noise(&mut page),
            (Mixture::Image, 8..=17) => {
                let mut text = String::with_capacity(PAGE + 256);
                while text.len() < PAGE {
                    draw.line(&mut text);
                }
                page.iter_mut().zip(text.into_bytes()).for_each(|(byte, letter)| *byte = letter);
            }
            (Mixture::Image, _) => {}
        }
        page
    }
}

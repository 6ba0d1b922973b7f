//! The folder of the demo: documents to protect, and what happens to them between two points.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::process::{Interruption, command, run};

/// Folders of this machine that make good documents, if they are there.
const DOCUMENTS: &[&str] = &["/usr/share/doc", "/usr/share/man"];
/// Entries of each that are copied: enough to see something happen, not enough to wait for.
const ENTRIES_MAX: usize = 200;
/// What is copied of this repository.
const OWN: &[&str] = &["README.md", "docs", "appliance", "agent"];

const LETTER: &str = "Dear reader,\nthis is the first version of a letter.\n";
const LETTER_CHANGED: &str = "Dear reader,\nsomebody wrote over the letter.\n";

/// A folder that is removed when it is dropped.
pub(crate) struct Stage(tempfile::TempDir);

impl Stage {
    /// Makes the folder below `scratch` and fills it.
    pub(crate) fn set(scratch: &Path, repository: &Path, interruption: &Interruption) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("run-").tempdir_in(scratch).context("make a folder")?;
        let stage = Self(folder);
        let own = stage.documents().join("keepfast");
        fs::create_dir_all(&own).with_context(|| format!("make {}", own.display()))?;
        fs::write(stage.letter(), LETTER).context("write the letter")?;
        for name in OWN {
            copy(&[repository.join(name)], &own, interruption)?;
        }
        for folder in DOCUMENTS.iter().map(Path::new).filter(|folder| folder.is_dir()) {
            let target = stage.documents().join(folder.file_name().unwrap_or_default());
            fs::create_dir_all(&target).with_context(|| format!("make {}", target.display()))?;
            copy(&entries(folder)?, &target, interruption)?;
        }
        Ok(stage)
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    /// What is protected.
    pub(crate) fn documents(&self) -> PathBuf {
        self.folder().join("documents")
    }

    /// The file that the tour follows.
    pub(crate) fn letter(&self) -> PathBuf {
        self.documents().join("keepfast/letter.txt")
    }

    /// What `letter` says in the first point, and in the second.
    pub(crate) const fn letter_texts(&self) -> [&'static str; 2] {
        [LETTER, LETTER_CHANGED]
    }

    /// Changes, adds, removes and renames; says what it did.
    pub(crate) fn change(&self) -> Result<[&'static str; 4]> {
        let own = self.documents().join("keepfast");
        fs::write(self.letter(), LETTER_CHANGED).context("change the letter")?;
        fs::write(own.join("new.txt"), "Something new.\n").context("add a file")?;
        fs::remove_file(own.join("README.md")).context("remove a file")?;
        fs::rename(own.join("appliance"), own.join("strongbox")).context("rename a folder")?;
        Ok([
            "letter.txt is changed",
            "new.txt is added",
            "README.md is removed",
            "the folder appliance is called strongbox",
        ])
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let listing = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let mut entries: Vec<PathBuf> = listing.filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    entries.truncate(ENTRIES_MAX);
    Ok(entries)
}

fn copy(from: &[PathBuf], to: &Path, interruption: &Interruption) -> Result<()> {
    if from.is_empty() {
        return Ok(());
    }
    let mut copy = command("cp", &["--archive", "--"]);
    copy.args(from).arg(to);
    let finished = run(&mut copy, interruption)?;
    ensure!(finished.status.success(), "copy documents: {}", finished.complaints.trim());
    Ok(())
}

//! A whole disk for a test: a loop device over a sparse file, on which partitions can be made.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::program::{expect, run};

/// A disk that held nothing when it was made; gone when dropped, with everything that is mounted from it.
#[derive(Debug)]
pub struct BlankDisk {
    folder: TempDir,
    device: Option<PathBuf>,
}

impl BlankDisk {
    /// Makes one. Needs root.
    pub fn new(length_bytes: u64) -> Result<Self> {
        let mut disk = Self { folder: tempfile::tempdir()?, device: None };
        std::fs::File::create(disk.image())?.set_len(length_bytes)?;
        disk.plug_in()?;
        Ok(disk)
    }

    /// The file that it is in.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Its device; the path may be another one after it was unplugged.
    pub fn device(&self) -> Result<&Path> {
        self.device.as_deref().context("the disk is plugged in")
    }

    /// Attaches it, for writing and with its partitions.
    pub fn plug_in(&mut self) -> Result<()> {
        let mut attach = Command::new("losetup");
        let attached = expect(attach.args(["--partscan", "--find", "--show"]).arg(self.image()), 0)?;
        self.device = Some(attached.trim().into());
        Ok(())
    }

    /// Detaches it; nothing of it may be mounted.
    pub fn unplug(&mut self) -> Result<()> {
        let Some(device) = self.device.take() else { return Ok(()) };
        // Partitions that the kernel was told of stay with the device otherwise.
        run(Command::new("partx").arg("--delete").arg(&device))?;
        expect(Command::new("losetup").arg("--detach").arg(&device), 0).map(drop)
    }

    /// Where something of it is mounted.
    fn mounts(&self) -> Vec<String> {
        let Some(device) = self.device.as_ref().and_then(|device| device.to_str()) else { return Vec::new() };
        let table = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let of_device = |line: &str| {
            let (source, rest) = line.split_once(' ')?;
            let (path, _) = rest.split_once(' ')?;
            let rest = source.strip_prefix(device)?;
            (rest.is_empty() || rest.starts_with('p')).then(|| path.to_owned())
        };
        table.lines().filter_map(of_device).collect()
    }
}

impl Drop for BlankDisk {
    fn drop(&mut self) {
        for path in self.mounts() {
            let _ = run(Command::new("umount").arg("--lazy").arg(path));
        }
        let _ = self.unplug();
    }
}

//! A filesystem of its own in a sparse file: it can lose its power, and it can grow while it is in use.
//!
//! Losing power is the `SHUTDOWN` ioctl of ext4 and XFS without a flush of the log: what was not synced is gone, as if
//! the cable had been pulled. Perl makes the call, because it is on every Debian and we have no unsafe code.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::program::expect;

/// `_IOR('X', 125, u32)` with `NOLOGFLUSH`.
const CUT: &str =
    r#"open(my $d, "<", $ARGV[0]) or die; my $f = pack("I", 2); ioctl($d, 0x8004587d, $f) or die $!"#;

/// Bytes of a block.
const BLOCK: u64 = 4096;
/// How long the kernel may remember what it was told to forget.
const FORGOTTEN_MAX: Duration = Duration::from_secs(20);

/// Which filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filesystem {
    /// ext4.
    Ext4,
    /// XFS; at least 300 MiB. It grows without the capability `SYS_RESOURCE`.
    Xfs,
    /// btrfs; at least 128 MiB. It knows when bytes are not what was written, and fails to read them.
    Btrfs,
}

/// A mounted filesystem in a file; gone when dropped.
#[derive(Debug)]
pub struct LoopDisk {
    folder: TempDir,
    mounted: bool,
}

impl LoopDisk {
    /// Makes and mounts one. Needs root.
    pub fn new(filesystem: Filesystem, length_bytes: u64) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut disk = Self { folder, mounted: false };
        std::fs::File::create(disk.image())?.set_len(length_bytes)?;
        std::fs::create_dir(disk.path())?;
        let mut make = match filesystem {
            Filesystem::Ext4 => Command::new("mkfs.ext4"),
            Filesystem::Xfs => Command::new("mkfs.xfs"),
            Filesystem::Btrfs => Command::new("mkfs.btrfs"),
        };
        if filesystem == Filesystem::Btrfs {
            // Data and metadata in the same groups: small ones have room for both.
            make.arg("-M");
        }
        expect(make.arg("-q").arg(disk.image()), 0)?;
        disk.mount()?;
        Ok(disk)
    }

    /// The file that it is in.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    /// Mounts it; its log is replayed first.
    pub fn mount(&mut self) -> Result<()> {
        self.mount_with("loop")
    }

    /// Mounts it for reading only.
    pub fn mount_read_only(&mut self) -> Result<()> {
        self.mount_with("loop,ro")
    }

    fn mount_with(&mut self, options: &str) -> Result<()> {
        // The loop device goes by itself when it is unmounted.
        expect(Command::new("mount").args(["-o", options]).arg(self.image()).arg(self.path()), 0)?;
        self.mounted = true;
        Ok(())
    }

    /// Cuts its power: everything that was not synced is lost, and everything fails until it is mounted again.
    pub fn cut_power(&self) -> Result<()> {
        expect(Command::new("perl").args(["-e", CUT]).arg(self.path()), 0).map(drop)
    }

    /// Makes the block in the middle of a file unreadable (EIO) until it is written again. Only where the filesystem is
    /// btrfs, and the file is longer than a block, like no other, and durable.
    pub fn lose_block(&self, file: &Path) -> Result<()> {
        let open = std::fs::File::open(file)?;
        let middle = open.metadata()?.len() / 2 / BLOCK * BLOCK;
        let mut start = [0; 64];
        open.read_exact_at(&mut start, middle)?;
        let image = std::fs::File::options().read(true).write(true).open(self.image())?;
        let mut block = [0; 64];
        let mut found = 0;
        for offset in (0..image.metadata()?.len() / BLOCK).map(|number| number * BLOCK) {
            image.read_exact_at(&mut block, offset)?;
            if block == start {
                image.write_all_at(&block.map(|byte| !byte), offset)?;
                found += 1;
            }
        }
        // Also where it was before and is no more.
        ensure!(found > 0, "{} is not found on its drive", file.display());
        image.sync_all()?;
        // What somebody is looking at stays in the kernel's memory for a moment.
        let begun = Instant::now();
        while open.read_exact_at(&mut start, middle).is_ok() {
            ensure!(begun.elapsed() < FORGOTTEN_MAX, "the kernel still remembers {}", file.display());
            rustix::fs::fadvise(&open, 0, None, rustix::fs::Advice::DontNeed)?;
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Unmounts it.
    pub fn unmount(&mut self) -> Result<()> {
        expect(Command::new("umount").arg(self.path()), 0)?;
        self.mounted = false;
        Ok(())
    }

    /// Makes a mounted XFS larger, while it is in use.
    pub fn grow(&self, length_bytes: u64) -> Result<()> {
        std::fs::File::options().write(true).open(self.image())?.set_len(length_bytes)?;
        let found = expect(Command::new("losetup").arg("-j").arg(self.image()), 0)?;
        let device = found.split(':').next().context("the image has a loop device")?.to_owned();
        expect(Command::new("losetup").args(["-c", &device]), 0)?;
        expect(Command::new("xfs_growfs").arg(self.path()), 0).map(drop)
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        if self.mounted && self.unmount().is_err() {
            // Somebody still has a file open: it goes when they do.
            let _ = expect(Command::new("umount").arg("-l").arg(self.path()), 0);
        }
    }
}

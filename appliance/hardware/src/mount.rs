//! Finding the drives of this machine and mounting them.
//!
//! A drive is found by the superblock of its filesystem, which is read directly: neither the name of a disk nor udev
//! matters. It is mounted below one directory, under its label; programs, devices and set-user-id bits on it count for
//! nothing. A directory with something in it is never hidden by a mount.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::inspect::superblock;
use crate::plan::DISK_BYTES_MIN;
use crate::sysfs::{Device, names_in};
use crate::xfs::DriveId;
use crate::{Hardware, HardwareError};

/// For the owner only.
const PRIVATE: u32 = 0o700;

/// A drive that a disk of this machine holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drive {
    /// Which one.
    pub drive: DriveId,
    /// The device with its filesystem.
    pub device: PathBuf,
    /// The whole disk.
    pub disk: PathBuf,
    /// Where it is mounted.
    pub mounted: Vec<PathBuf>,
}

/// A drive that is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Which one.
    pub drive: DriveId,
    /// The device with its filesystem.
    pub device: PathBuf,
    /// Where.
    pub directory: PathBuf,
}

/// What became of a drive that is known.
#[derive(Debug)]
pub enum Known {
    /// It is mounted.
    Mounted(Mounted),
    /// No disk holds it.
    Absent(DriveId),
    /// It is there and cannot be mounted.
    Failed(DriveId, HardwareError),
}

impl Hardware {
    /// All drives that the disks of this machine hold, whosever they are. Disks that cannot be read have none.
    #[must_use]
    pub fn drives(&self) -> Vec<Drive> {
        let mounts = self.mounts();
        let mut all = Vec::new();
        for disk in self.disks() {
            for device in std::iter::once(disk.clone()).chain(self.shown_partitions(&disk)) {
                let Some(drive) = self.drive_on(&device) else { continue };
                let of_device = mounts.iter().filter(|mount| mount.is_of(device.number));
                all.push(Drive {
                    drive,
                    device: self.node(&device),
                    disk: self.node(&disk),
                    mounted: of_device.map(|mount| mount.path.clone()).collect(),
                });
            }
        }
        all
    }

    /// The drive on a device of its own. What is part of something else is looked at there.
    fn drive_on(&self, device: &Device) -> Option<DriveId> {
        // A partition is a little smaller than its disk.
        if device.bytes < DISK_BYTES_MIN - (16 << 20) || !self.holders(device).is_empty() {
            return None;
        }
        let found = superblock(&self.node(device)).ok()??;
        (!found.is_unfinished).then_some(found.drive)
    }

    /// Mounts those drives that are there, each below `mounts` under its label. What is mounted there stays so.
    #[must_use]
    pub fn mount_known(&self, drives: &[DriveId], mounts: &Path) -> Vec<Known> {
        let mut there = BTreeMap::<DriveId, Vec<PathBuf>>::new();
        for found in self.drives() {
            there.entry(found.drive).or_default().push(found.device);
        }
        let mount = |drive: &DriveId| match there.get(drive).map(Vec::as_slice) {
            None | Some([]) => Known::Absent(*drive),
            Some([device]) => match self.mount(*drive, device, mounts) {
                Ok(mounted) => Known::Mounted(mounted),
                Err(error) => Known::Failed(*drive, error),
            },
            Some(several) => {
                let devices: Vec<String> = several.iter().map(|path| path.display().to_string()).collect();
                let (drive, label, devices) = (*drive, drive.label(), devices.join(" and "));
                Known::Failed(drive, HardwareError::Ambiguous { drive: label, devices })
            }
        };
        drives.iter().map(mount).collect()
    }

    /// Mounts a drive below a directory; where it is mounted there already, that is all.
    pub(crate) fn mount(
        &self,
        drive: DriveId,
        device: &Path,
        mounts: &Path,
    ) -> Result<Mounted, HardwareError> {
        let directory = make_directory(mounts, &drive.label())?;
        let mounted = Mounted { drive, device: device.to_owned(), directory: directory.clone() };
        let failed = |reason: String| {
            let (device, directory) = (device.to_owned(), directory.clone());
            HardwareError::Mount { device, directory, reason }
        };
        let number = self.number_of(device)?;
        // The last one is the one that is seen.
        if let Some(there) = self.mounts().iter().rfind(|mount| mount.path == directory) {
            return if there.is_of(number) {
                Ok(mounted)
            } else {
                let source = there.source.display();
                Err(failed(format!("{source} is mounted there; unmount that")))
            };
        }
        if !names_in(&directory).is_empty() {
            return Err(failed("that directory is not empty; move what is in it elsewhere".to_owned()));
        }
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOATIME;
        rustix::mount::mount(device, &directory, "xfs", flags, None)
            .map_err(|error| failed(in_words(error)))?;
        Ok(mounted)
    }

    fn number_of(&self, device: &Path) -> Result<crate::sysfs::Number, HardwareError> {
        use std::os::unix::fs::MetadataExt;
        let data = fs::metadata(device).map_err(HardwareError::io("look at", device))?;
        Ok(crate::sysfs::Number::of(data.rdev()))
    }

    /// Unmounts a drive that nobody uses any more.
    pub fn unmount(&self, mounted: &Mounted) -> Result<(), HardwareError> {
        let directory = &mounted.directory;
        rustix::mount::unmount(directory, UnmountFlags::NOFOLLOW)
            .map_err(HardwareError::io("unmount", directory))?;
        fs::remove_dir(directory).map_err(HardwareError::io("remove", directory))
    }
}

/// Makes a directory to mount on; its path as the kernel tells it.
fn make_directory(mounts: &Path, label: &str) -> Result<PathBuf, HardwareError> {
    let make = |path: &Path| {
        let made = DirBuilder::new().recursive(true).mode(PRIVATE).create(path);
        made.map_err(HardwareError::io("make", path))
    };
    make(mounts)?;
    let directory = mounts.canonicalize().map_err(HardwareError::io("find", mounts))?.join(label);
    match fs::symlink_metadata(&directory) {
        Ok(data) if data.is_dir() => {}
        Ok(_) => {
            let source = io::Error::from(io::ErrorKind::NotADirectory);
            return Err(HardwareError::io("mount on", &directory)(source));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(&directory)?,
        Err(error) => return Err(HardwareError::io("look at", &directory)(error)),
    }
    Ok(directory)
}

/// Makes the root of a filesystem that was just made the owner's alone.
pub(crate) fn make_private(directory: &Path) -> Result<(), HardwareError> {
    let permissions = Permissions::from_mode(PRIVATE);
    fs::set_permissions(directory, permissions).map_err(HardwareError::io("restrict", directory))
}

fn in_words(error: Errno) -> String {
    // "Structure needs cleaning", which rustix calls by its old name.
    let is_damaged = matches!(error, Errno::UCLEAN | Errno::INVAL | Errno::BADMSG);
    match error {
        Errno::NODEV => "this kernel has no XFS; load the module xfs".to_owned(),
        Errno::PERM | Errno::ACCESS => "only root may mount; run the appliance as root".to_owned(),
        Errno::BUSY => "it is in use; end what uses it".to_owned(),
        error if is_damaged => {
            format!("its filesystem is damaged ({error}); xfs_repair -n says what is wrong with it")
        }
        Errno::IO => "the disk does not read; look at its cable, or replace it".to_owned(),
        error => format!("{error}; the kernel's log says more"),
    }
}

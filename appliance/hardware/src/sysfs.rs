//! Disks as the kernel shows them, in sysfs and beside it.
//!
//! Every file is read up to a bound. Where they lie is a value, so that recorded machines can be looked at as well.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::HardwareError;
use crate::printable::some_printable;

/// Longest file that is read.
const FILE_LENGTH_MAX: u64 = 1 << 20;
/// Most entries of a directory that are looked at.
const ENTRIES_MAX: usize = 4096;
/// Bytes of what sysfs counts in, whatever the sectors of the disk are.
pub(crate) const SECTOR: u64 = 512;

/// The machine, as far as it is made of disks.
#[derive(Clone, Debug)]
pub struct Hardware {
    sys: PathBuf,
    dev: PathBuf,
    proc: PathBuf,
    run: PathBuf,
}

impl Default for Hardware {
    fn default() -> Self {
        Self::at(Path::new("/"))
    }
}

/// A block device, as the kernel numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl Number {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.trim().split_once(':')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }

    pub(crate) fn of(raw: u64) -> Self {
        Self { major: rustix::fs::major(raw), minor: rustix::fs::minor(raw) }
    }
}

/// A block device: a disk, a partition, or what is made of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    /// Its name in sysfs.
    pub(crate) name: String,
    pub(crate) number: Number,
    /// Its directory in sysfs.
    pub(crate) directory: PathBuf,
    /// The number of a partition on its disk.
    pub(crate) partition: Option<u32>,
    pub(crate) bytes: u64,
}

impl Hardware {
    /// The machine whose `/sys`, `/dev`, `/proc` and `/run` lie below a directory.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { sys: root.join("sys"), dev: root.join("dev"), proc: root.join("proc"), run: root.join("run") }
    }

    pub(crate) fn sys(&self) -> &Path {
        &self.sys
    }

    /// A file below `/proc`.
    pub(crate) fn proc(&self, path: &str) -> Option<Vec<u8>> {
        read(&self.proc.join(path))
    }

    /// What udev keeps of a device.
    pub(crate) fn udev(&self, number: Number) -> Option<Vec<u8>> {
        read(&self.run.join(format!("udev/data/b{}:{}", number.major, number.minor)))
    }

    /// The node of a device below `/dev`.
    pub(crate) fn node(&self, device: &Device) -> PathBuf {
        // The kernel writes ! where the name of a node has /.
        self.dev.join(device.name.replace('!', "/"))
    }

    /// The names of a device in `/dev/disk/by-id`.
    pub(crate) fn ids(&self, device: &Device) -> Vec<String> {
        let Ok(node) = self.node(device).canonicalize() else { return Vec::new() };
        let folder = self.dev.join("disk/by-id");
        let leads_there = |name: &String| folder.join(name).canonicalize().is_ok_and(|path| path == node);
        let names = names_in(&folder).into_iter().filter(leads_there);
        names.filter_map(|name| some_printable(name.as_bytes())).collect()
    }

    /// The whole disk at a path, which may be a link.
    pub(crate) fn disk_at(&self, path: &Path) -> Result<Device, HardwareError> {
        let not = |reason: &str| HardwareError::NotADisk { path: path.to_owned(), reason: reason.to_owned() };
        let data = fs::metadata(path).map_err(HardwareError::io("look at", path))?;
        if !data.file_type().is_block_device() {
            return Err(not("is no disk"));
        }
        let found = self.device(Number::of(data.rdev())).ok_or_else(|| not("is not known to the kernel"))?;
        match found.partition {
            None => Ok(found),
            Some(_) => Err(not("is a partition")),
        }
    }

    /// A device by its number.
    pub(crate) fn device(&self, number: Number) -> Option<Device> {
        let link = self.sys.join(format!("dev/block/{}:{}", number.major, number.minor));
        self.device_in(&link.canonicalize().ok()?)
    }

    /// The device whose directory in sysfs this is.
    fn device_in(&self, directory: &Path) -> Option<Device> {
        let name = directory.file_name()?.to_str()?.to_owned();
        let number = Number::parse(&text(&directory.join("dev"))?)?;
        let partition = text(&directory.join("partition")).and_then(|text| text.parse().ok());
        let sectors: u64 = text(&directory.join("size"))?.parse().ok()?;
        let bytes = sectors.saturating_mul(SECTOR);
        Some(Device { name, number, directory: directory.to_owned(), partition, bytes })
    }

    /// All disks.
    pub(crate) fn disks(&self) -> Vec<Device> {
        let folder = self.sys.join("block");
        let device = |name: String| self.device_in(&folder.join(name).canonicalize().ok()?);
        names_in(&folder).into_iter().filter_map(device).collect()
    }

    /// The partitions of a disk, in the order of their numbers.
    pub(crate) fn partitions(&self, disk: &Device) -> Vec<Device> {
        let directories = names_in(&disk.directory).into_iter().map(|name| disk.directory.join(name));
        let found = directories.filter(|path| path.join("partition").is_file());
        let mut all: Vec<Device> = found.filter_map(|path| self.device_in(&path)).collect();
        all.sort_by_key(|device| device.partition);
        all
    }

    /// What is made of a device by the kernel: RAID, LVM, encryption, multipath.
    pub(crate) fn holders(&self, device: &Device) -> Vec<Device> {
        let folder = device.directory.join("holders");
        let holder = |name: String| self.device_in(&folder.join(name).canonicalize().ok()?);
        names_in(&folder).into_iter().filter_map(holder).collect()
    }

    /// A disk, its partitions, and everything that is made of them.
    pub(crate) fn family(&self, disk: &Device) -> Vec<Device> {
        let (mut family, mut seen) = (Vec::new(), BTreeSet::new());
        let mut waiting = vec![disk.clone()];
        while let Some(device) = waiting.pop() {
            if family.len() >= ENTRIES_MAX || !seen.insert(device.number) {
                continue;
            }
            waiting.extend(self.partitions(&device));
            waiting.extend(self.holders(&device));
            family.push(device);
        }
        family
    }
}

impl Device {
    /// An attribute, as text that can be shown.
    pub(crate) fn attribute(&self, path: &str) -> Option<String> {
        text(&self.directory.join(path))
    }

    /// An attribute, as it is.
    pub(crate) fn bytes_of(&self, path: &str) -> Option<Vec<u8>> {
        read(&self.directory.join(path))
    }

    /// Whether an attribute is 1.
    pub(crate) fn is(&self, path: &str) -> bool {
        self.attribute(path).as_deref() == Some("1")
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(FILE_LENGTH_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn text(path: &Path) -> Option<String> {
    some_printable(&read(path)?)
}

/// Names in a directory, sorted; none if it cannot be read.
pub(crate) fn names_in(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let names = entries.take(ENTRIES_MAX).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests;

//! What a disk is, what is on it, and who uses it.
//!
//! Looking changes nothing: devices are opened for reading. What `blkid` does not know is told from nothing by the first
//! and the last MiB: a disk counts as blank only if these are zeros.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::HardwareError;
use crate::blkid::{Probe, probe};
use crate::plan::DISK_BYTES_MIN;
use crate::printable::{printable, some_printable};
use crate::program::PARTX;
use crate::sysfs::{Device, Hardware};
use crate::xfs::{self, DriveId, Superblock};

/// Bytes at each end of a disk that are looked at.
const EDGE: u64 = 1 << 20;
/// The label of the partition of a drive.
pub(crate) const PARTITION_LABEL: &str = "keepfast";
/// Where that partition begins.
pub(crate) const PARTITION_START: u64 = 1 << 20;
/// Where filesystems of the running system are mounted.
const SYSTEM: [&str; 6] = ["/", "/boot", "/boot/efi", "/efi", "/usr", "/var"];

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Its node, such as `/dev/sdb`.
    pub device: PathBuf,
    /// Its names in `/dev/disk/by-id`.
    pub ids: Vec<String>,
    /// Who made it and what it is.
    pub model: Option<String>,
    /// Its serial number, if it tells one.
    pub serial: Option<String>,
    /// Whether another disk tells the same, as some that are plugged in over USB do.
    pub is_serial_shared: bool,
    /// Its size.
    pub bytes: u64,
    /// The smallest that it reads and writes.
    pub sector_bytes: u64,
    /// The smallest that it writes at once inside.
    pub physical_sector_bytes: u64,
    /// Whether it turns.
    pub is_rotational: bool,
    /// Whether it, or its medium, can be taken out.
    pub is_removable: bool,
    /// Whether it cannot be written to.
    pub is_read_only: bool,
    /// Where it, a partition of it or something made of it is mounted.
    pub mounted: Vec<PathBuf>,
    /// Whether something of it is used for swap.
    pub is_swap: bool,
    /// Whether the running system lies on it.
    pub is_of_system: bool,
    /// What the kernel has made of it: RAID, LVM, encryption.
    pub holders: Vec<String>,
    /// Whether somebody has it for themselves.
    pub is_busy: bool,
    /// The disk itself, then its partitions.
    pub parts: Vec<Part>,
    /// What all of it comes to.
    pub content: Content,
}

/// A disk or a partition of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its node.
    pub device: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// What was found on it; nothing if there is no signature that is known.
    pub found: Option<Found>,
}

/// A signature on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A partition table of a kind.
    Table(String),
    /// A filesystem, swap, or a member of RAID or LVM.
    Filesystem {
        /// Which.
        kind: String,
        /// Its label.
        label: Option<String>,
    },
    /// Several that contradict each other.
    Several,
}

/// What is on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    Blank,
    /// What an interrupted preparation has left; nothing that anybody could miss.
    Begun,
    /// A drive of a pool.
    Drive {
        /// Which one.
        drive: DriveId,
        /// The device that it is on.
        device: PathBuf,
    },
    /// Something else: each as a sentence.
    Foreign(Vec<String>),
}

impl Hardware {
    /// Looks at the whole disk at a path, which may be a link as in `/dev/disk/by-id`.
    pub fn inspect(&self, path: &Path) -> Result<Inspection, HardwareError> {
        let disk = self.disk_at(path)?;
        let partitions = self.shown_partitions(&disk);
        let device = self.node(&disk);
        let mut probes = Vec::new();
        for part in std::iter::once(&disk).chain(&partitions) {
            let node = self.node(part);
            probes.push((part.clone(), probe(&node)?, superblock(&node)?));
        }
        let parts = probes.iter().map(|(part, probe, _)| Part {
            device: self.node(part),
            bytes: part.bytes,
            found: found(probe),
        });
        let family = self.family(&disk);
        let is_of_family = |number| family.iter().any(|member| member.number == number);
        let mounts = self.mounts();
        let mounted = mounts.iter().filter(|mount| family.iter().any(|member| mount.is_of(member.number)));
        let mounted: Vec<PathBuf> = mounted.map(|mount| mount.path.clone()).collect();
        let is_swap = self.swaps().into_iter().any(is_of_family);
        let holders = family.iter().filter(|m| m.partition.is_none() && m.number != disk.number);
        let number =
            |path, otherwise| disk.attribute(path).and_then(|text| text.parse().ok()).unwrap_or(otherwise);
        let sector_bytes = number("queue/logical_block_size", 512);
        let serial = self.serial(&disk);
        Ok(Inspection {
            ids: self.ids(&disk),
            model: model(&disk),
            is_serial_shared: serial.as_ref().is_some_and(|serial| self.is_shared(&disk, serial)),
            serial,
            bytes: disk.bytes,
            sector_bytes,
            physical_sector_bytes: number("queue/physical_block_size", sector_bytes),
            is_rotational: disk.is("queue/rotational"),
            is_removable: disk.is("removable"),
            is_read_only: disk.is("ro"),
            is_of_system: mounted.iter().any(|path| is_of_system(path)) || is_swap,
            mounted,
            is_swap,
            holders: holders.map(|holder| printable(holder.name.as_bytes())).collect(),
            is_busy: is_busy(&device)?,
            parts: parts.collect(),
            content: self.content(&probes)?,
            device,
        })
    }

    /// The partitions of a disk. If the kernel shows none where that of a drive should begin and a drive is there, it is
    /// told of them: some kernels do not know the partition table, or read it before it was written.
    pub(crate) fn shown_partitions(&self, disk: &Device) -> Vec<Device> {
        let partitions = self.partitions(disk);
        let node = self.node(disk);
        let is_hidden = || superblock_at(&node, PARTITION_START).is_ok_and(|found| found.is_some());
        // An empty drive for discs takes its time to say that it is empty.
        let is_small = disk.bytes < DISK_BYTES_MIN;
        if is_small || !partitions.is_empty() || !is_hidden() || self.show_partitions(&node).is_err() {
            return partitions;
        }
        self.partitions(disk)
    }

    /// Has the kernel look at the partition table of a disk.
    pub(crate) fn show_partitions(&self, node: &Path) -> Result<(), HardwareError> {
        PARTX.run(&["--update".to_owned(), node.display().to_string()], "").map(drop)
    }

    /// Judges what was found on a disk and its partitions.
    fn content(&self, probes: &[(Device, Probe, Option<Superblock>)]) -> Result<Content, HardwareError> {
        let Some(((disk, probe, superblock), partitions)) = probes.split_first() else {
            return Ok(Content::Blank);
        };
        let node = self.node(disk);
        if let Some(found) = superblock.filter(|found| !found.is_unfinished) {
            return Ok(Content::Drive { drive: found.drive, device: node });
        }
        if let [(partition, of_partition, superblock)] = partitions
            && probe.table.as_deref() == Some("gpt")
            && of_partition.partition_label.as_deref() == Some(PARTITION_LABEL)
        {
            let device = self.node(partition);
            match superblock {
                Some(Superblock { drive, is_unfinished: false }) => {
                    return Ok(Content::Drive { drive: *drive, device });
                }
                Some(_) => return Ok(Content::Begun),
                None if found(of_partition).is_none() && has_zero_edges(&device, partition.bytes)? => {
                    return Ok(Content::Begun);
                }
                None => {}
            }
        }
        if found(probe).is_none() && partitions.is_empty() {
            let sentence = "bytes of which nobody knows what they are".to_owned();
            let is_blank = has_zero_edges(&node, disk.bytes)?;
            return Ok(if is_blank { Content::Blank } else { Content::Foreign(vec![sentence]) });
        }
        Ok(Content::Foreign(self.sentences(probe, &node, partitions)))
    }

    fn sentences(
        &self,
        probe: &Probe,
        node: &Path,
        partitions: &[(Device, Probe, Option<Superblock>)],
    ) -> Vec<String> {
        let count = partitions.len();
        let mut all = Vec::new();
        match found(probe) {
            Some(Found::Table(kind)) if count == 0 => {
                all.push(format!("a partition table ({kind}), of whose partitions the kernel shows none"));
            }
            Some(Found::Table(kind)) => {
                all.push(format!("a partition table ({kind}) with {count} partitions"))
            }
            Some(other) => all.push(format!("{} on {}", other.in_words(), node.display())),
            None => all.push(format!("{count} partitions")),
        }
        for (partition, probe, _) in partitions {
            let what =
                found(probe).map_or_else(|| "nothing that is known".to_owned(), |found| found.in_words());
            all.push(format!("{what} on {}", self.node(partition).display()));
        }
        all
    }

    /// Whether another disk has a serial number, too. What the kernel has made of disks has none.
    pub(crate) fn is_shared(&self, disk: &Device, serial: &str) -> bool {
        let others = self.disks().into_iter().filter(|other| other.number != disk.number);
        others.into_iter().any(|other| self.serial(&other).as_deref() == Some(serial))
    }

    /// The serial number of a disk, from wherever it is told.
    pub(crate) fn serial(&self, disk: &Device) -> Option<String> {
        let of_udev = || {
            let data = self.udev(disk.number)?;
            let line = data.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"E:ID_SERIAL_SHORT="));
            some_printable(line?)
        };
        let serial = disk.attribute("serial").or_else(|| disk.attribute("device/serial"));
        serial.or_else(|| page_80(&disk.bytes_of("device/vpd_pg80")?)).or_else(of_udev)
    }
}

/// The serial number in page 0x80 of the vital product data of SCSI.
fn page_80(page: &[u8]) -> Option<String> {
    let (header, rest) = page.split_first_chunk::<4>()?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    (header[1] == 0x80).then(|| some_printable(rest.get(..length).unwrap_or(rest)))?
}

/// Whether the running system needs what is mounted there.
fn is_of_system(path: &Path) -> bool {
    SYSTEM.iter().any(|of_system| path == Path::new(of_system))
}

pub(crate) fn model(disk: &Device) -> Option<String> {
    let named = ["device/vendor", "device/model"].into_iter().filter_map(|path| disk.attribute(path));
    let named: Vec<String> = named.filter(|text| !matches!(text.as_str(), "ATA" | "0x1af4")).collect();
    match disk.attribute("loop/backing_file") {
        Some(file) if named.is_empty() => Some(format!("loop over {file}")),
        _ => Some(named.join(" ")).filter(|text| !text.is_empty()),
    }
}

fn found(probe: &Probe) -> Option<Found> {
    if probe.is_ambivalent {
        return Some(Found::Several);
    }
    let label = probe.label.clone();
    let filesystem = probe.kind.clone().map(|kind| Found::Filesystem { kind, label });
    filesystem.or_else(|| probe.table.clone().map(Found::Table))
}

impl Found {
    /// What it is, for people.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self {
            Self::Table(kind) => format!("a partition table ({kind})"),
            Self::Filesystem { kind, label: Some(label) } => format!("{kind} named {label:?}"),
            Self::Filesystem { kind, label: None } => kind.clone(),
            Self::Several => "signatures of several things".to_owned(),
        }
    }
}

/// The superblock of the drive on a device, if there is one.
pub(crate) fn superblock(device: &Path) -> Result<Option<Superblock>, HardwareError> {
    superblock_at(device, 0)
}

fn superblock_at(device: &Path, offset: u64) -> Result<Option<Superblock>, HardwareError> {
    let mut bytes = [0; xfs::LENGTH];
    match read_at(device, offset, &mut bytes) {
        Err(HardwareError::Io { source, .. }) if source.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        read => read.map(|()| xfs::parse(&bytes)),
    }
}

/// Whether both ends of a device are zeros.
fn has_zero_edges(device: &Path, bytes: u64) -> Result<bool, HardwareError> {
    let length = EDGE.min(bytes);
    for start in [0, bytes - length] {
        let mut edge = vec![0; usize::try_from(length).unwrap_or(0)];
        read_at(device, start, &mut edge)?;
        if edge.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read_at(device: &Path, offset: u64, buffer: &mut [u8]) -> Result<(), HardwareError> {
    let file = File::open(device).map_err(HardwareError::io("open", device))?;
    file.read_exact_at(buffer, offset).map_err(HardwareError::io("read", device))
}

/// Whether somebody has a device for themselves: a mount, RAID, LVM, swap, a loop device.
fn is_busy(device: &Path) -> Result<bool, HardwareError> {
    match rustix::fs::open(device, OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC, Mode::empty()) {
        Ok(_) => Ok(false),
        Err(Errno::BUSY) => Ok(true),
        Err(error) => Err(HardwareError::io("open", device)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_of_scsi_are_read_however_the_page_is() {
        assert_eq!(page_80(b"\0\x80\0\x0c  WD-WX1234  "), Some("WD-WX1234".to_owned()));
        assert_eq!(page_80(b"\0\x80\xff\xffshort"), Some("short".to_owned()));
        assert_eq!(page_80(b"\0\x80\0\x04\0\0\0\0"), None);
        assert_eq!(page_80(b"\0\x83\0\x04abcd"), None);
        assert_eq!(page_80(b"\0\x80"), None);
    }

    #[test]
    fn the_running_system_is_told_by_where_it_is_mounted() {
        assert!(["/", "/boot/efi", "/usr"].into_iter().all(|path| is_of_system(Path::new(path))));
        assert!(
            !["/mnt", "/srv/keepfast", "/var/lib/x"].into_iter().any(|path| is_of_system(Path::new(path)))
        );
    }

    #[test]
    fn what_is_found_is_said_in_words() {
        let probe = |kind: Option<&str>, label: Option<&str>, table: Option<&str>| Probe {
            kind: kind.map(str::to_owned),
            label: label.map(str::to_owned),
            table: table.map(str::to_owned),
            ..Probe::default()
        };
        let words = |probe| found(&probe).map(|found| found.in_words());
        assert_eq!(words(probe(None, None, None)), None);
        assert_eq!(words(probe(None, None, Some("dos"))).unwrap(), "a partition table (dos)");
        assert_eq!(words(probe(Some("ext4"), Some("a\"b"), None)).unwrap(), "ext4 named \"a\\\"b\"");
        assert_eq!(words(probe(Some("swap"), None, Some("atari"))).unwrap(), "swap");
        let several = Probe { is_ambivalent: true, ..Probe::default() };
        assert_eq!(words(several).unwrap(), "signatures of several things");
    }
}

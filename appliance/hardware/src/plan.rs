//! What would be done to make a disk a drive, and what would be lost; or why it must not be.
//!
//! A plan follows from what was found on the disk and what is wanted. It is shown, confirmed, and carried out only if
//! the disk is still as it was.

use std::fmt;
use std::path::PathBuf;

use crate::inspect::{Content, Inspection, PARTITION_LABEL, PARTITION_START};
use crate::program::{MKFS, SFDISK};
use crate::xfs::DriveId;
use crate::{Hardware, HardwareError};

/// The smallest disk that becomes a drive: XFS needs 300 MiB.
pub const DISK_BYTES_MIN: u64 = 320 << 20;
/// The type of the partition: data of Linux.
const PARTITION_TYPE: &str = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";
/// How a drive is mounted.
pub(crate) const MOUNT_OPTIONS: &str = "nosuid,nodev,noexec,noatime";
/// Digits and letters that are not taken for each other.
const SYMBOLS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// What a disk is to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The drive, which is new, or the one whose preparation was interrupted.
    pub drive: DriveId,
    /// The directory below which drives are mounted, by their labels.
    pub mounts: PathBuf,
    /// Whether what is on the disk may be lost.
    pub force: bool,
}

impl Wanted {
    /// Where the drive is mounted, as the kernel tells it.
    fn directory(&self) -> PathBuf {
        let mounts = self.mounts.canonicalize();
        mounts.as_ref().unwrap_or(&self.mounts).join(self.drive.label())
    }
}

/// What the operator types to say that this very disk is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// The serial number, as it stands on the disk.
    Serial(String),
    /// A code that follows from where the disk is, how large it is and what is on it, where it tells no serial number or
    /// one that another disk tells as well.
    Code(String),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The disk.
    pub inspection: Inspection,
    /// What it is to become.
    pub wanted: Wanted,
    /// What will be lost, each as a sentence.
    pub lost: Vec<String>,
    /// The steps, in their order; none if all of it is done.
    pub steps: Vec<Step>,
    /// What is to be typed.
    pub confirmation: Confirmation,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it does.
    pub action: Action,
    /// The command, as somebody would type it.
    pub command: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) input: String,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Makes one partition of all of the disk.
    Partition,
    /// Makes the filesystem.
    MakeFilesystem,
    /// Mounts it.
    Mount,
}

impl Hardware {
    /// What would be done; refused with every reason that there is.
    pub fn plan(&self, inspection: &Inspection, wanted: &Wanted) -> Result<Plan, HardwareError> {
        let reasons = objections(inspection, wanted);
        if !reasons.is_empty() {
            return Err(HardwareError::Refused { device: inspection.device.clone(), reasons });
        }
        SFDISK.find()?;
        MKFS.find()?;
        let directory = wanted.directory();
        let is_mounted = inspection.mounted.contains(&directory);
        let (device, make) = match &inspection.content {
            Content::Drive { drive, device } if *drive == wanted.drive => (device.clone(), false),
            _ => (partition_of(inspection), true),
        };
        let mut steps = Vec::new();
        if make {
            steps.push(partition(inspection));
            steps.push(make_filesystem(wanted.drive, &device));
        }
        if !is_mounted {
            let ends = [device.display().to_string(), directory.display().to_string()];
            let options = ["-t", "xfs", "-o", MOUNT_OPTIONS].map(str::to_owned).into_iter();
            let arguments: Vec<String> = options.chain(ends).collect();
            let command = format!("mount {}", arguments.join(" "));
            steps.push(Step { action: Action::Mount, command, arguments, input: String::new() });
        }
        let lost = match &inspection.content {
            Content::Foreign(sentences) => sentences.clone(),
            Content::Drive { drive, .. } if make => vec![format!("the drive {} of a pool", drive.label())],
            Content::Drive { .. } | Content::Blank | Content::Begun => Vec::new(),
        };
        let confirmation = confirmation(inspection);
        Ok(Plan { inspection: inspection.clone(), wanted: wanted.clone(), lost, steps, confirmation })
    }
}

/// Why a disk must not become the drive that is wanted.
fn objections(disk: &Inspection, wanted: &Wanted) -> Vec<String> {
    let is_wanted = matches!(&disk.content, Content::Drive { drive, .. } if *drive == wanted.drive);
    let mut reasons = Vec::new();
    let paths = |paths: &[PathBuf]| {
        paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    };
    if disk.is_of_system {
        reasons.push("the running system lies on it; use another disk".to_owned());
    }
    if is_wanted {
        return reasons;
    }
    if !disk.mounted.is_empty() {
        reasons.push(format!("it is mounted on {}; unmount it", paths(&disk.mounted)));
    }
    if !disk.holders.is_empty() {
        reasons.push(format!("it is part of {}; take it out of there", disk.holders.join(", ")));
    }
    if disk.is_busy && reasons.is_empty() {
        reasons.push("another program has it for itself; end that".to_owned());
    }
    if disk.is_read_only {
        reasons.push("it cannot be written to; look for a switch, or use another disk".to_owned());
    }
    if disk.bytes < DISK_BYTES_MIN {
        let (found, least) = (disk.bytes >> 20, DISK_BYTES_MIN >> 20);
        reasons.push(format!("it has {found} MiB and must have {least}; use a larger disk"));
    }
    match &disk.content {
        Content::Foreign(sentences) if !wanted.force => {
            let what = sentences.join(", ");
            reasons.push(format!("it holds {what}; save what is needed of that, and force it"));
        }
        Content::Drive { drive, .. } if !wanted.force => {
            let label = drive.label();
            reasons.push(format!("it is the drive {label} of a pool; force it if that pool is not needed"));
        }
        _ => {}
    }
    reasons
}

fn confirmation(disk: &Inspection) -> Confirmation {
    if let Some(serial) = disk.serial.as_ref().filter(|_| !disk.is_serial_shared) {
        return Confirmation::Serial(serial.clone());
    }
    let text = format!("{:?} {} {:?} {:?}", disk.device, disk.bytes, disk.parts, disk.content);
    // FNV-1a: it only has to differ for what differs by mistake.
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let symbol = |at: u64| SYMBOLS.get(usize::try_from((hash >> (at * 5)) & 31).unwrap_or(0));
    Confirmation::Code((4..10).filter_map(symbol).map(|symbol| char::from(*symbol)).collect())
}

impl Confirmation {
    /// What is to be typed.
    #[must_use]
    pub fn expected(&self) -> &str {
        match self {
            Self::Serial(text) | Self::Code(text) => text,
        }
    }

    /// What that is, in words.
    #[must_use]
    pub const fn what(&self) -> &'static str {
        match self {
            Self::Serial(_) => "its serial number",
            Self::Code(_) => "the code of the plan",
        }
    }

    /// Whether it was typed; blanks around it do not matter, nor do capitals of a code.
    #[must_use]
    pub fn is(&self, typed: &str) -> bool {
        match self {
            Self::Serial(serial) => typed.trim() == serial,
            Self::Code(code) => typed.trim().eq_ignore_ascii_case(code),
        }
    }
}

/// The node of the first partition of a disk.
fn partition_of(disk: &Inspection) -> PathBuf {
    let name = disk.device.as_os_str().to_string_lossy();
    let separator = if name.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
    PathBuf::from(format!("{name}{separator}1"))
}

fn partition(disk: &Inspection) -> Step {
    // --lock keeps udev from opening the disk halfway through.
    let options = ["--quiet", "--lock", "--wipe", "always", "--wipe-partitions", "always"];
    let device = disk.device.display().to_string();
    let arguments: Vec<String> = options.map(str::to_owned).into_iter().chain([device]).collect();
    let start = PARTITION_START >> 20;
    let input = format!("label: gpt\nstart={start}MiB, type={PARTITION_TYPE}, name=\"{PARTITION_LABEL}\"\n");
    let shown = input.trim_end().replace('\n', "\\n");
    let command = format!("printf '{shown}\\n' | {}", SFDISK.line(&arguments));
    Step { action: Action::Partition, command, arguments, input }
}

fn make_filesystem(drive: DriveId, device: &std::path::Path) -> Step {
    let arguments = ["-f", "-q", "-L", &drive.label(), "-m", &format!("uuid={drive}")].map(str::to_owned);
    let arguments: Vec<String> = arguments.into_iter().chain([device.display().to_string()]).collect();
    let command = MKFS.line(&arguments);
    Step { action: Action::MakeFilesystem, command, arguments, input: String::new() }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.command)
    }
}

impl fmt::Display for Plan {
    /// For people, in some lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disk = &self.inspection;
        let model = disk.model.as_deref().unwrap_or("of unknown make");
        let serial = disk.serial.as_deref().unwrap_or("not told");
        writeln!(f, "disk     {}, {model}, {} bytes", disk.device.display(), disk.bytes)?;
        writeln!(f, "serial   {serial}")?;
        writeln!(f, "becomes  drive {}", self.wanted.drive.label())?;
        match self.lost.as_slice() {
            [] => writeln!(f, "lost     nothing")?,
            lost => lost.iter().try_for_each(|what| writeln!(f, "LOST     {what}"))?,
        }
        self.steps.iter().try_for_each(|step| writeln!(f, "does     {step}"))?;
        let (what, expected) = (self.confirmation.what(), self.confirmation.expected());
        write!(f, "confirm  type {what}: {expected}")
    }
}

#[cfg(test)]
mod tests;

//! Making a disk a drive, step by step.
//!
//! Before anything is done the disk is looked at again: a plan counts only as long as it would be made once more. Each
//! step leaves what the next one can go on from, and what is done is not done twice: a preparation that was interrupted
//! is repeated with the same drive. A program that was cut off in the middle may leave what cannot be told from somebody's
//! data: then repeating it has to be forced. Nothing is written to a disk before its operator has typed what only this
//! disk has.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::inspect::{PARTITION_START, superblock};
use crate::mount::{Mounted, make_private};
use crate::plan::{Action, Plan, Step};
use crate::printable::printable;
use crate::program::{MKFS, SFDISK};
use crate::sysfs::{Device, SECTOR};
use crate::{Hardware, HardwareError};

/// How long a partition may take to appear.
const APPEARS_MAX: Duration = Duration::from_secs(20);
/// How long the kernel may take to look by itself.
const TELL_AFTER: Duration = Duration::from_secs(1);
/// Most of a disk that is not in its partition.
const REST_MAX: u64 = 4 << 20;
const PAUSE: Duration = Duration::from_millis(50);

/// A drive that is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Where it is mounted.
    pub mounted: Mounted,
    /// What was done; nothing if all of it had been done before.
    pub done: Vec<Action>,
}

impl Hardware {
    /// Carries a plan out. `typed` is what the operator confirmed it with; `before` is told of each step and may stop
    /// there.
    pub fn prepare(
        &self,
        plan: &Plan,
        typed: &str,
        before: &mut dyn FnMut(&Step) -> ControlFlow<()>,
    ) -> Result<Prepared, HardwareError> {
        let disk = &plan.inspection.device;
        if !plan.confirmation.is(typed) {
            let (device, expected) = (disk.clone(), plan.confirmation.what());
            return Err(HardwareError::Unconfirmed { device, typed: printable(typed.as_bytes()), expected });
        }
        if self.plan(&self.inspect(disk)?, &plan.wanted)? != *plan {
            return Err(HardwareError::Changed { device: disk.clone() });
        }
        let drive = plan.wanted.drive;
        let mut device = match &plan.inspection.content {
            crate::Content::Drive { device, .. } => device.clone(),
            _ => disk.clone(),
        };
        let mut done = Vec::new();
        for step in &plan.steps {
            if before(step).is_break() {
                return Err(HardwareError::Interrupted { before: step.to_string() });
            }
            match step.action {
                Action::Partition => {
                    SFDISK.run(&step.arguments, &step.input)?;
                    device = self.wait_for_partition(disk)?;
                }
                Action::MakeFilesystem => {
                    MKFS.run(&step.arguments, &step.input)?;
                    check(plan, &device)?;
                }
                Action::Mount => {}
            }
            done.push(step.action);
        }
        let mounted = self.mount(drive, &device, &plan.wanted.mounts)?;
        if done.contains(&Action::MakeFilesystem) {
            make_private(&mounted.directory)?;
        }
        Ok(Prepared { mounted, done })
    }

    /// The one partition of a disk, as soon as it has a node.
    fn wait_for_partition(&self, path: &Path) -> Result<PathBuf, HardwareError> {
        let begun = Instant::now();
        let mut was_told = false;
        loop {
            let disk = self.disk_at(path)?;
            if let [partition] = self.partitions(&disk).as_slice()
                && is_whole(&disk, partition)
            {
                let node = self.node(partition);
                if std::fs::metadata(&node).is_ok() {
                    return Ok(node);
                }
            }
            if begun.elapsed() > TELL_AFTER && !was_told {
                was_told = true;
                self.show_partitions(path)?;
            }
            if begun.elapsed() > APPEARS_MAX {
                return Err(HardwareError::NoPartition { device: path.to_owned() });
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Whether a partition is the one that was made, and not what the kernel still knows of an earlier table.
fn is_whole(disk: &Device, partition: &Device) -> bool {
    let start = partition.attribute("start").and_then(|sectors| sectors.parse::<u64>().ok());
    start.map(|sectors| sectors.saturating_mul(SECTOR)) == Some(PARTITION_START)
        && partition.bytes.saturating_add(REST_MAX) >= disk.bytes
}

/// Whether the filesystem that was made is there: a program that says so is not enough.
fn check(plan: &Plan, device: &Path) -> Result<(), HardwareError> {
    let found = superblock(device)?;
    if found.is_some_and(|found| found.drive == plan.wanted.drive && !found.is_unfinished) {
        return Ok(());
    }
    let said = "the filesystem that was made does not read back".to_owned();
    Err(HardwareError::Program { command: MKFS.name.to_owned(), said, consequence: MKFS.consequence })
}

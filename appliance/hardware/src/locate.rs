//! Showing which disk in the rack is meant: with the LED of its slot, or by reading in a rhythm that its own LED shows.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::Advice;

use crate::sysfs::{Device, names_in};
use crate::{Hardware, HardwareError};

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;
/// How often it is looked whether to stop.
const PAUSE: Duration = Duration::from_millis(50);

/// How a disk was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    /// With the locate LED of its slot, which was lit for all the time.
    Led {
        /// The slot, as its enclosure names it.
        slot: String,
    },
    /// By reading, so that its activity LED went on and off.
    Reading {
        /// How often it was read.
        reads: u64,
    },
}

/// When there is light.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// For how long in all.
    pub total: Duration,
    /// For how long it is read.
    pub on: Duration,
    /// For how long it rests between.
    pub off: Duration,
}

impl Rhythm {
    /// One second on, one second off.
    #[must_use]
    pub const fn for_time(total: Duration) -> Self {
        Self { total, on: Duration::from_secs(1), off: Duration::from_secs(1) }
    }

    /// Whether there is light after some time.
    fn is_on(&self, elapsed: Duration) -> bool {
        let period = (self.on + self.off).as_nanos().max(1);
        elapsed.as_nanos() % period < self.on.as_nanos()
    }
}

impl Hardware {
    /// Shows the disk at a path until the time is over or `stop` says so; how it was shown.
    pub fn locate(
        &self,
        path: &Path,
        rhythm: Rhythm,
        stop: &dyn Fn() -> bool,
    ) -> Result<Located, HardwareError> {
        let disk = self.disk_at(path)?;
        let begun = Instant::now();
        let is_over = || stop() || begun.elapsed() >= rhythm.total;
        if let Some(slot) = self.slot_of(&disk)
            && light(&slot, true).is_ok()
        {
            while !is_over() {
                std::thread::sleep(PAUSE);
            }
            light(&slot, false).map_err(HardwareError::io("put out the LED of", &slot))?;
            let name = slot.file_name().map(|name| name.to_string_lossy().into_owned());
            return Ok(Located::Led { slot: name.unwrap_or_default() });
        }
        self.read_in_rhythm(&disk, rhythm, begun, &is_over)
    }

    /// The slot of an enclosure that a disk is in, if it has an LED.
    fn slot_of(&self, disk: &Device) -> Option<PathBuf> {
        let scsi = disk.directory.join("device").canonicalize().ok()?;
        let enclosures = self.sys().join("class/enclosure");
        let slots = names_in(&enclosures).into_iter().flat_map(|enclosure| {
            let enclosure = enclosures.join(enclosure);
            names_in(&enclosure).into_iter().map(move |slot| enclosure.join(slot))
        });
        let is_of_disk = |slot: &PathBuf| {
            slot.join("locate").is_file() && slot.join("device").canonicalize().is_ok_and(|path| path == scsi)
        };
        slots.into_iter().find(is_of_disk)
    }

    fn read_in_rhythm(
        &self,
        disk: &Device,
        rhythm: Rhythm,
        begun: Instant,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Located, HardwareError> {
        let node = self.node(disk);
        let file = File::open(&node).map_err(HardwareError::io("open", &node))?;
        let mut buffer = vec![0; READ_BYTES];
        let places = (disk.bytes / READ_BYTES as u64).max(1);
        let (mut reads, mut place) = (0, 0u64);
        while !is_over() {
            if !rhythm.is_on(begun.elapsed()) {
                std::thread::sleep(PAUSE);
                continue;
            }
            // All over the disk, so that it is read and not what the kernel remembers of it.
            place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let offset = (place >> 16) % places * READ_BYTES as u64;
            let length = std::num::NonZeroU64::new(READ_BYTES as u64);
            // Only a hint: if it is not taken the disk is read all the same, most of the time.
            let _ = rustix::fs::fadvise(&file, offset, length, Advice::DontNeed);
            // A disk that does not read well is looked for, too: the attempt is what shows.
            if file.read_at(&mut buffer, offset).is_ok() {
                reads += 1;
            }
        }
        Ok(Located::Reading { reads })
    }
}

fn light(slot: &Path, is_on: bool) -> std::io::Result<()> {
    fs::OpenOptions::new().write(true).open(slot.join("locate")).and_then(|file| {
        let text = if is_on { b"1\n" } else { b"0\n" };
        file.write_all_at(text, 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rhythm_is_on_and_off_by_turns() {
        let rhythm = Rhythm::for_time(Duration::from_secs(4));
        let on = |millis| rhythm.is_on(Duration::from_millis(millis));
        assert!(on(0) && on(999) && !on(1000) && !on(1999) && on(2000) && !on(3500));
        let none = Rhythm { on: Duration::ZERO, off: Duration::ZERO, total: Duration::ZERO };
        assert!(!none.is_on(Duration::from_secs(1)));
    }

    #[test]
    fn the_led_of_the_slot_that_a_disk_is_in_is_lit_and_put_out() {
        let root = tempfile::tempdir().unwrap();
        let sys = root.path().join("sys");
        let scsi = ["0", "1"].map(|number| sys.join(format!("devices/host0/0:0:{number}:0")));
        let slots = ["0", "1"].map(|number| sys.join(format!("class/enclosure/0:0:8:0/Slot {number}")));
        for (scsi, slot) in scsi.iter().zip(&slots) {
            fs::create_dir_all(scsi.join("block/sdx")).unwrap();
            fs::create_dir_all(slot).unwrap();
            fs::write(slot.join("locate"), "0\n").unwrap();
            std::os::unix::fs::symlink(scsi, slot.join("device")).unwrap();
            std::os::unix::fs::symlink(scsi, scsi.join("block/sdx/device")).unwrap();
        }
        let disk = Device {
            name: "sdx".into(),
            number: crate::sysfs::Number { major: 8, minor: 0 },
            directory: scsi[1].join("block/sdx"),
            partition: None,
            bytes: 0,
        };
        let hardware = Hardware::at(root.path());
        let slot = hardware.slot_of(&disk).unwrap();
        assert_eq!(slot, slots[1]);
        light(&slot, true).unwrap();
        let read = |slot: &Path| fs::read_to_string(slot.join("locate")).unwrap();
        assert_eq!((read(&slots[0]), read(&slots[1])), ("0\n".into(), "1\n".into()));
        light(&slot, false).unwrap();
        assert_eq!(read(&slots[1]), "0\n");
        fs::remove_file(slots[1].join("locate")).unwrap();
        assert_eq!(hardware.slot_of(&disk), None, "a slot without an LED is none");
    }
}

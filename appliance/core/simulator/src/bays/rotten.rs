//! Copies that turn bad on their drives while another one is sound.

use drives::{DriveUuid, MemberState};
use medium::Disk;
use medium::sim::{Random, SimDisk};
use model::SegmentNumber;

use super::{Bays, Stand};
use crate::activity::Activity;

/// A bit that turned.
pub(super) struct Rot {
    drive: DriveUuid,
    path: String,
    bit: u64,
    /// The byte that it is in, since it turned.
    byte: Option<u8>,
}

fn number(name: &str) -> Option<SegmentNumber> {
    u64::from_str_radix(name.strip_suffix(".seg")?, 16).ok().map(SegmentNumber)
}

fn byte_of(disk: &SimDisk, path: &str, bit: u64) -> Option<u8> {
    disk.files().get(path)?.get(usize::try_from(bit / 8).ok()?).copied()
}

impl Bays {
    /// Whether a copy is bad.
    pub(crate) const fn is_rotten(&self) -> bool {
        self.rot.is_some()
    }

    /// Turns a bit in a sealed segment of a drive, if any drive could be lost without losing anything. Not in one whose copies
    /// are made equal first, because the power went while it was written: any of them is believed. That takes a while, in which a file system makes
    /// durable that a mark of a write is gone, also without being told to.
    pub(crate) fn rot(&mut self, random: &mut Random, is_sealed: &dyn Fn(SegmentNumber) -> bool) {
        let Some(place) = self.draw_spare(random) else { return };
        let bay = &self.bays[place];
        if self.bays.iter().any(|bay| bay.stand == Stand::Failing) {
            return;
        }
        for bay in self.bays.iter().filter(|bay| bay.stand == Stand::Serving) {
            bay.disk.sync_directory("set/writing").ok();
        }
        let mut names = bay.disk.list("segments").unwrap_or_default();
        let is_uneven = |name: &String| {
            let marks = self.bays.iter().map(|bay| bay.disk.list("set/writing").unwrap_or_default());
            marks.into_iter().any(|marks| marks.contains(name))
        };
        names.retain(|name| number(name).is_some_and(is_sealed) && !is_uneven(name));
        let Some(path) = names.get(random.index(names.len())).map(|name| format!("segments/{name}")) else {
            return;
        };
        let length = bay.disk.files().get(&path).map_or(0, |bytes| bytes.len() as u64);
        let bit = random.below(length.max(1) * 8);
        if let (Some(drive), Ok(())) = (bay.drive, bay.disk.flip(&path, bit)) {
            let byte = byte_of(&bay.disk, &path, bit);
            self.rot = Some(Rot { drive, path, bit, byte });
            self.spare = 0;
        }
    }

    /// All copies were looked at: the bit is as it was written, unless nothing covers it. Then it turns back. `length_of` says
    /// how many bytes of a segment count.
    pub(crate) fn end_rot(&mut self, length_of: &dyn Fn(SegmentNumber) -> Option<u64>) -> Result<(), String> {
        let Some(rot) = self.rot.take() else { return Ok(()) };
        let bay = self.bays.iter().find(|bay| bay.drive == Some(rot.drive));
        let is_as_it_was = |disk: &SimDisk| byte_of(disk, &rot.path, rot.bit) == rot.byte;
        if let Some(bay) = bay.filter(|bay| is_as_it_was(&bay.disk)) {
            let number = rot.path.strip_prefix("segments/").and_then(number);
            if number.and_then(length_of).is_some_and(|length| rot.bit / 8 < length) {
                return Err(format!("bit {} of {} is bad on a drive, and was not mended", rot.bit, rot.path));
            }
            // The segment may be gone.
            bay.disk.flip(&rot.path, rot.bit).ok();
        }
        Ok(())
    }

    /// What the set is about to work on.
    pub(crate) fn work_to_do(&mut self) -> Activity {
        let Some(set) = self.set.clone() else { return Activity::Other };
        let is_emptied = set.members().iter().any(|member| member.state == MemberState::Retiring);
        match (is_emptied, set.at_risk().is_empty()) {
            (true, _) => Activity::Evacuation,
            (false, false) => Activity::Rebuild,
            (false, true) => Activity::Other,
        }
    }
}

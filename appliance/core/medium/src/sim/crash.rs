//! What is left after the power went.

use std::collections::BTreeMap;

use super::disk::SimDisk;
use super::file::FileState;
use super::random::Random;
use super::world::World;

/// Which of the pending changes a crash leaves behind. What was synced is there in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// Nothing that was not synced.
    Nothing,
    /// All of it, as after the kill of a process.
    Everything,
    /// What came before some moment; the operation at that moment may be torn.
    Prefix,
    /// Any of the operations.
    Operations,
    /// Any sectors of any writes, any of the names.
    Sectors,
    /// Names and lengths, but no bytes: a rename that overtook the data.
    Names,
    /// Bytes and lengths, but no names.
    Data,
    /// Every file and the names each in a way of their own.
    Mixed,
}

impl Survival {
    /// Every way.
    pub const ALL: [Self; 8] = [
        Self::Nothing,
        Self::Everything,
        Self::Prefix,
        Self::Operations,
        Self::Sectors,
        Self::Names,
        Self::Data,
        Self::Mixed,
    ];

    /// One of them; the ways with more outcomes come more often.
    pub fn draw(random: &mut Random) -> Self {
        match random.below(16) {
            0 => Self::Nothing,
            1 => Self::Everything,
            2..=4 => Self::Prefix,
            5..=7 => Self::Operations,
            8..=10 => Self::Sectors,
            11..=12 => Self::Names,
            13 => Self::Data,
            _ => Self::Mixed,
        }
    }
}

/// A way for one file, or for the names.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keep {
    Nothing,
    Everything,
    /// Operations below this number, and a part of this one.
    Before(u64),
    /// Each operation with this chance, in percent.
    Operations(u64),
    /// Each sector of each operation with this chance, in percent.
    Sectors(u64),
    /// Names and lengths only.
    Lengths,
}

impl Keep {
    fn draw(random: &mut Random) -> Self {
        match random.below(5) {
            0 => Self::Nothing,
            1 => Self::Everything,
            2 => Self::Operations(percent(random)),
            3 => Self::Sectors(percent(random)),
            _ => Self::Lengths,
        }
    }
}

/// Few, half or many: extremes find other bugs than the middle.
fn percent(random: &mut Random) -> u64 {
    [10, 50, 90][random.index(3)]
}

impl SimDisk {
    /// The power goes: returns the disk as the next boot finds it, in one of the legal states. Every
    /// handle, lock and clone of this disk fails from here on.
    #[must_use]
    pub fn crash(&self, random: &mut Random) -> Self {
        let survival = Survival::draw(random);
        self.crash_with(survival, random)
    }

    /// [`Self::crash`], with a given way to lose.
    #[must_use]
    pub fn crash_with(&self, survival: Survival, random: &mut Random) -> Self {
        let image = self.image(survival, random);
        self.world().crashed = true;
        image
    }

    /// What a crash at this moment would leave, while this disk goes on: many crash points from one run.
    #[must_use]
    pub fn image(&self, survival: Survival, random: &mut Random) -> Self {
        let image = self.world().image(survival, random);
        Self::of(image)
    }
}

impl World {
    fn image(&self, survival: Survival, random: &mut Random) -> Self {
        let (keep_names, keep_data) = self.keeps(survival, random);
        let names = self.names.image(keep_names, random);
        let mut files = BTreeMap::new();
        for node in names.named() {
            let Some(file) = self.files.get(&node) else { continue };
            let keep = keep_data.unwrap_or_else(|| Keep::draw(random));
            let stale = random.chance(25);
            files.insert(node, FileState::settled(file.image(keep, stale, random)));
        }
        Self::restarted(self, names, files, random.split())
    }

    /// How to treat the names, and the files; `None` stands for a way of its own for each file.
    fn keeps(&self, survival: Survival, random: &mut Random) -> (Keep, Option<Keep>) {
        match survival {
            Survival::Nothing => (Keep::Nothing, Some(Keep::Nothing)),
            Survival::Everything => (Keep::Everything, Some(Keep::Everything)),
            Survival::Prefix => {
                let files = self.files.values().flat_map(FileState::pending_numbers);
                let mut numbers: Vec<u64> = files.chain(self.names.pending_numbers()).collect();
                numbers.sort_unstable();
                numbers.dedup();
                let cut = numbers.get(random.index(numbers.len() + 1)).copied().unwrap_or(u64::MAX);
                (Keep::Before(cut), Some(Keep::Before(cut)))
            }
            Survival::Operations => {
                let keep = Keep::Operations(percent(random));
                (keep, Some(keep))
            }
            Survival::Sectors => {
                let keep = Keep::Sectors(percent(random));
                (keep, Some(keep))
            }
            Survival::Names => {
                let data = if random.chance(50) { Keep::Nothing } else { Keep::Lengths };
                (Keep::Everything, Some(data))
            }
            Survival::Data => (Keep::Nothing, Some(Keep::Everything)),
            Survival::Mixed => (Keep::draw(random), None),
        }
    }
}

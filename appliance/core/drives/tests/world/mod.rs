//! Simulated drives for the tests, as one machine: they lose power together.

#![expect(dead_code, reason = "each test uses a part of it")]

pub(crate) mod ledger;

use std::sync::Arc;

use drives::{DriveSet, Opened, Policy, PoolUuid, World};
use medium::sim::{Power, Powered, Random, SimClock, SimDisk, SimEntropy, Survival};
use medium::{Access, Disk, DiskError, File, Poisoning};
use model::{SegmentNumber, Time};

/// The pool of all tests.
pub(crate) const POOL: PoolUuid = PoolUuid([7; 16]);

/// Drives that are in a machine.
pub(crate) struct Rig {
    pub(crate) disks: Vec<SimDisk>,
    pub(crate) world: World,
    pub(crate) power: Arc<Power>,
}

impl Rig {
    pub(crate) fn new(seed: u64, drives: usize) -> Self {
        let disks =
            (0..drives as u64).map(|n| SimDisk::new(seed.wrapping_mul(100).wrapping_add(n))).collect();
        Self::of(disks, seed)
    }

    pub(crate) fn of(disks: Vec<SimDisk>, seed: u64) -> Self {
        Self { disks, world: world(seed), power: Arc::default() }
    }

    /// A drive as it is handed to a set.
    pub(crate) fn hand(&self, place: usize) -> Arc<dyn Disk> {
        let disk = self.disks[place].clone();
        Arc::new(Poisoning::new(Arc::new(Powered::new(disk, self.power.clone()))))
    }

    /// The drives as they are handed to a set.
    pub(crate) fn handed(&self) -> Vec<Arc<dyn Disk>> {
        (0..self.disks.len()).map(|place| self.hand(place)).collect()
    }

    pub(crate) fn create(&self, policy: Policy) -> DriveSet {
        DriveSet::create(&self.handed(), POOL, policy, self.world.clone()).unwrap()
    }

    /// A set of 2+N with the segments 1 and 2, of so many bytes, in a group.
    pub(crate) fn create_pair(&self, parity: u8, length: usize) -> DriveSet {
        let set = self.create(Policy::Parity { data: 2, parity });
        prepare(&set);
        [1, 2].iter().for_each(|number| put(&set, *number, &bytes(*number, length)).unwrap());
        work(&set);
        set
    }

    pub(crate) fn open(&self) -> Opened {
        DriveSet::open(&self.handed(), None, self.world.clone()).unwrap()
    }

    /// Opens with these drives only.
    pub(crate) fn open_with(&self, places: &[usize]) -> Opened {
        let disks: Vec<_> = places.iter().map(|place| self.hand(*place)).collect();
        DriveSet::open(&disks, None, self.world.clone()).unwrap()
    }

    /// The power goes for all.
    pub(crate) fn crash(&self, random: &mut Random) -> Self {
        let disks = self.disks.iter().map(|disk| disk.crash(random)).collect();
        Self::of(disks, random.draw())
    }

    /// What a crash at this moment would leave.
    pub(crate) fn image(&self, survival: Survival, random: &mut Random) -> Self {
        let disks = self.disks.iter().map(|disk| disk.image(survival, random)).collect();
        Self::of(disks, random.draw())
    }
}

pub(crate) fn world(seed: u64) -> World {
    World { clock: Arc::new(SimClock::new(Time(1))), entropy: Arc::new(SimEntropy::new(seed)) }
}

pub(crate) fn path(number: u64) -> String {
    format!("segments/{number:016x}.seg")
}

/// Bytes that tell the file and the place apart.
pub(crate) fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    Random::new(seed).fill(&mut bytes);
    bytes
}

/// Makes a directory for segments, durably.
pub(crate) fn prepare(set: &DriveSet) {
    set.make_directory("segments").unwrap();
    set.sync_directory("").unwrap();
}

/// Writes a segment, durably.
pub(crate) fn put(set: &dyn Disk, number: u64, content: &[u8]) -> Result<(), DiskError> {
    let file = set.create(&path(number))?;
    file.write_at(0, content)?;
    file.sync_data()?;
    set.sync_directory("segments")
}

pub(crate) fn content(file: &dyn File) -> Result<Vec<u8>, DiskError> {
    let mut bytes = vec![0; usize::try_from(file.length()?).unwrap()];
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}

pub(crate) fn get(set: &dyn Disk, path: &str) -> Result<Vec<u8>, DiskError> {
    content(&*set.open(path, Access::Read)?)
}

/// Lets the set work until there is nothing to do; how many steps it took.
pub(crate) fn work(set: &DriveSet) -> usize {
    for steps in 0..100_000 {
        if set.step(64 << 10, &|_: SegmentNumber| true).unwrap().task.is_none() {
            return steps;
        }
    }
    panic!("the work does not end");
}

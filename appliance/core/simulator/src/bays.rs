//! The drives of the simulated machine: one that is a disk by itself, or several that a set is made of.
//!
//! All of them hang on one power. No more drives are out of reach at once than the set says can be spared, by what it says
//! is at risk; so nothing that was acknowledged may ever be missing, and no call may fail. A drive that was lost may be
//! there again when the power comes back, with all that was on it when it went: whether it is believed is for the set.

mod moving;
mod rotten;
mod settled;

use std::sync::Arc;

use drives::{DriveSet, DriveUuid, DrivesError, MemberState, MemberStatus, Policy, PoolUuid};
use medium::sim::{FaultPlan, Power, Powered, Random, SimDisk, Survival};
use medium::{Disk, DiskError, Poisoning};
use model::archive::ArchiveError;

use rotten::Rot;

/// The pool of all histories.
const POOL: PoolUuid = PoolUuid([7; 16]);
/// Most drives in the machine.
const DRIVES_MAX: usize = 6;
/// How what is stored is kept, and on how many drives at first.
const POLICIES: [(Policy, u64); 8] = [
    (Policy::Copies(2), 3),
    (Policy::Copies(2), 3),
    (Policy::Copies(2), 2),
    (Policy::Copies(1), 2),
    (Policy::Parity { data: 2, parity: 1 }, 3),
    (Policy::Parity { data: 2, parity: 1 }, 4),
    (Policy::Parity { data: 3, parity: 2 }, 5),
    (Policy::Parity { data: 4, parity: 2 }, 6),
];

/// What became of the drives of a history over several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fates {
    /// Crash points of histories over several drives.
    pub points: u64,
    /// Drives that were pulled, died, fell out, or were not there when the power came back.
    pub lost: u64,
    /// Times that everything was kept as often as it should be again after it had not been.
    pub rebuilt: u64,
    /// Drives that came back with what they held.
    pub returned: u64,
    /// Empty drives that were taken into service.
    pub added: u64,
    /// Drives that were emptied and let go of.
    pub evacuated: u64,
}

/// What a drive is, as far as one can tell from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// It serves.
    Serving,
    /// It serves, and calls of it fail, will, or did.
    Failing,
    /// It is handed to the set, which says what it is: it was being taken into service when a call failed or the power
    /// went, or it had been lost.
    Unsure,
    /// It is in nobody's reach.
    Away,
}

/// A drive in the machine, or beside it.
struct Bay {
    disk: SimDisk,
    /// What the set calls it, once it does.
    drive: Option<DriveUuid>,
    stand: Stand,
}

/// The drives.
pub(crate) struct Bays {
    bays: Vec<Bay>,
    power: Arc<Power>,
    /// None for a single drive.
    policy: Option<Policy>,
    /// Failed syncs are believed when they are tried again.
    is_bare: bool,
    set: Option<Arc<DriveSet>>,
    /// Drives that could be lost when somebody looked last, without those that were since.
    spare: usize,
    /// Something was kept less often than it should be when somebody looked last.
    is_hurt: bool,
    /// A copy has a bit that is not as it was written.
    rot: Option<Rot>,
    /// What became of them.
    pub(crate) fates: Fates,
}

/// What the set says in words.
fn words(error: DrivesError) -> ArchiveError {
    ArchiveError::new(error.kind(), &error)
}

impl Bay {
    const fn new(disk: SimDisk, stand: Stand) -> Self {
        Self { disk, drive: None, stand }
    }

    fn is_handed(&self) -> bool {
        self.stand != Stand::Away
    }

    fn state(&self, members: &[MemberStatus]) -> Option<MemberState> {
        members.iter().find(|member| Some(member.drive) == self.drive).map(|member| member.state)
    }
}

const fn serves(state: MemberState) -> bool {
    matches!(state, MemberState::InService | MemberState::Retiring)
}

impl Bays {
    /// One empty drive.
    pub(crate) fn new(disk_seed: u64, is_bare: bool) -> Self {
        Self::of(vec![Bay::new(SimDisk::new(disk_seed), Stand::Serving)], None, is_bare)
    }

    /// Makes a set of several empty drives instead.
    pub(crate) fn make_set(&mut self, random: &mut Random, disk_seed: u64, world: drives::World) {
        let (policy, count) = POLICIES[random.index(POLICIES.len())];
        let seeds = (0..count).map(|place| disk_seed.wrapping_add(place));
        self.bays = seeds.map(|seed| Bay::new(SimDisk::new(seed), Stand::Unsure)).collect();
        self.policy = Some(policy);
        let set = DriveSet::create(&self.handed(), POOL, policy, world);
        self.set = Some(Arc::new(set.expect("drives that are empty and do not fail make a set")));
        self.learn();
    }

    fn of(bays: Vec<Bay>, policy: Option<Policy>, is_bare: bool) -> Self {
        let (power, fates) = (Arc::default(), Fates::default());
        Self { bays, power, policy, is_bare, set: None, spare: 0, is_hurt: false, rot: None, fates }
    }

    /// A copy of the drives that serve, but for some, to look at.
    pub(crate) fn copy_without(&self, left_out: &[usize]) -> Self {
        let kept = self.bays.iter().enumerate();
        let kept = kept.filter(|(place, bay)| bay.is_handed() && !left_out.contains(place));
        let copy = |(_, bay): (usize, &Bay)| Bay { disk: bay.disk.snapshot(), drive: bay.drive, ..*bay };
        Self::of(kept.map(copy).collect(), self.policy, self.is_bare)
    }

    fn hand(&self, bay: &Bay) -> Arc<dyn Disk> {
        let disk: Arc<dyn Disk> = Arc::new(Powered::new(bay.disk.clone(), Arc::clone(&self.power)));
        // Two guards stand between a failed sync and a second one; the planted bug takes both away.
        if self.is_bare { disk } else { Arc::new(Poisoning::new(disk)) }
    }

    fn handed(&self) -> Vec<Arc<dyn Disk>> {
        self.bays.iter().filter(|bay| bay.is_handed()).map(|bay| self.hand(bay)).collect()
    }

    /// What the pool writes to; opens the set if it is not open.
    pub(crate) fn open(&mut self, world: &drives::World) -> Result<Arc<dyn Disk>, ArchiveError> {
        if self.policy.is_none() {
            return Ok(self.hand(&self.bays[0]));
        }
        if let Some(set) = &self.set {
            return Ok(Arc::clone(set) as Arc<dyn Disk>);
        }
        let opened = DriveSet::open(&self.handed(), Some(POOL), world.clone()).map_err(words)?;
        let handed: Vec<usize> = (0..self.bays.len()).filter(|at| self.bays[*at].is_handed()).collect();
        let mut left_out = Vec::new();
        for (at, error) in opened.refused {
            let bay = &mut self.bays[handed[at]];
            match error {
                // It was emptied when the power went.
                DrivesError::Retired { .. } => left_out.push(handed[at]),
                DrivesError::Stale { .. } if bay.stand == Stand::Unsure => bay.stand = Stand::Away,
                // It was being added, or it is wiped by whoever finds it.
                DrivesError::NotMember | DrivesError::Diverged { .. } if bay.stand == Stand::Unsure => {
                    left_out.push(handed[at]);
                }
                DrivesError::Damaged if bay.stand == Stand::Unsure && bay.drive.is_none() => {
                    left_out.push(handed[at]);
                }
                error => return Err(words(error)),
            }
        }
        for (at, drive) in opened.used {
            let bay = &mut self.bays[handed[at]];
            (bay.drive, bay.stand) = (Some(drive), Stand::Serving);
        }
        left_out.into_iter().rev().for_each(|at| drop(self.bays.remove(at)));
        let set = Arc::new(opened.set);
        self.set = Some(Arc::clone(&set));
        self.learn();
        Ok(set)
    }

    /// Learns what the set calls the drives, and which of them are out. Without power every drive seems to be lost.
    pub(crate) fn learn(&mut self) {
        let Some(set) = self.set.as_ref().filter(|_| !self.has_crashed()) else { return };
        let members = set.members();
        let known: Vec<_> = self.bays.iter().filter_map(|bay| bay.drive).collect();
        let is_unknown = |member: &&MemberStatus| serves(member.state) && !known.contains(&member.drive);
        let mut unknown = members.iter().filter(is_unknown);
        for bay in self.bays.iter_mut().filter(|bay| bay.drive.is_none()) {
            bay.drive = unknown.next().map(|member| member.drive);
        }
        self.bays.retain(|bay| bay.drive.is_some() && bay.state(&members) != Some(MemberState::Retired));
        for bay in &mut self.bays {
            let is_serving = bay.state(&members).is_some_and(serves);
            match bay.stand {
                Stand::Unsure if is_serving => bay.stand = Stand::Serving,
                Stand::Serving | Stand::Failing if !is_serving => {
                    bay.stand = Stand::Away;
                    self.fates.lost += 1;
                }
                Stand::Unsure => bay.stand = Stand::Away,
                _ => {}
            }
        }
    }

    /// Looks how many drives could be lost at this moment, whichever they are.
    pub(crate) fn look(&mut self) -> usize {
        self.learn();
        let (Some(policy), Some(set)) = (self.policy, self.set.as_ref().filter(|_| !self.has_crashed()))
        else {
            return self.spare;
        };
        let members = set.members();
        let at_risk = set.at_risk();
        let serving = members.iter().filter(|member| serves(member.state)).count();
        let homes = members.iter().filter(|member| serves(member.state) && member.catalog).count();
        let is_safe = at_risk.is_empty() && serving >= policy.copies();
        self.fates.rebuilt += u64::from(self.is_hurt && is_safe);
        self.is_hurt = !is_safe;
        let fewest = at_risk.iter().map(|file| file.copies).chain([policy.copies(), homes, serving]).min();
        let fewest = fewest.unwrap_or(0);
        let failing = self.bays.iter().filter(|bay| bay.stand == Stand::Failing).count();
        // Of what is rotten there may be only one other copy.
        self.spare = if self.is_rotten() { 0 } else { fewest.saturating_sub(1 + failing) };
        self.spare
    }

    /// The set, if there are several drives and it is open.
    pub(crate) fn set(&self) -> Option<Arc<DriveSet>> {
        self.set.clone()
    }

    /// Whether there is more than one drive.
    pub(crate) const fn are_several(&self) -> bool {
        self.policy.is_some()
    }

    /// The process that had the drives is gone.
    pub(crate) fn let_go(&mut self) {
        self.set = None;
    }

    /// The power goes at the change of this number from here on, if there is but one drive; several take more of them.
    pub(crate) fn cut_at(&self, change: u64) {
        self.power.cut_after(if self.are_several() { change * 3 } else { change });
    }

    /// The power goes at one of so many changes from here on, if not before.
    pub(crate) fn cut_within(&self, changes: u64) {
        self.power.cut_within(changes);
    }

    /// The power stays.
    pub(crate) fn cut_never(&self) {
        self.power.cut_after(u64::MAX);
    }

    /// Whether the power is gone.
    pub(crate) fn has_crashed(&self) -> bool {
        self.power.is_gone()
    }

    /// Changes since the power came back.
    pub(crate) fn changes(&self) -> u64 {
        self.power.spent()
    }

    /// The power is gone and comes back; some drives do not come back with it, and some do that had been lost.
    pub(crate) fn crash(&mut self, random: &mut Random) -> Vec<Survival> {
        self.set = None;
        self.power = Arc::default();
        let mut survivals = Vec::new();
        for bay in &mut self.bays {
            let survival = Survival::draw(random);
            bay.disk = bay.disk.crash_with(survival, random);
            survivals.push(survival);
        }
        if self.are_several() {
            self.lose_with_power(random);
        }
        survivals
    }

    /// Lets calls of one drive fail, if it may be lost by that; whether it is so.
    pub(crate) fn fail(
        &mut self,
        random: &mut Random,
        plan: impl Fn(&SimDisk, &mut Random) -> FaultPlan,
    ) -> bool {
        let place = if self.are_several() { self.draw_spare(random) } else { Some(0) };
        let Some(bay) = place.and_then(|place| self.bays.get_mut(place)) else { return false };
        bay.disk.fail(plan(&bay.disk, random));
        bay.stand = Stand::Failing;
        self.spare = self.spare.saturating_sub(1);
        true
    }

    /// No call of a drive that serves fails from here on, but for what follows from those that did: a drive that failed may
    /// fall out as long as the set is open.
    pub(crate) fn clear_faults(&mut self) {
        self.learn();
        self.bays.iter().filter(|bay| bay.is_handed()).for_each(|bay| bay.disk.clear_faults());
    }

    /// Every file of every drive.
    pub(crate) fn files(&self) -> impl Iterator<Item = (String, Vec<u8>)> + '_ {
        self.bays.iter().flat_map(|bay| bay.disk.files())
    }

    /// The last operations of each drive.
    pub(crate) fn log(&self) -> Vec<String> {
        let lines = |(place, bay): (usize, &Bay)| {
            let (lines, stand) = (bay.disk.log(), bay.stand);
            let last = lines.len().saturating_sub(if self.are_several() { 40 } else { lines.len() });
            let say = move |line| format!("drive {place}, {stand:?}: {line}");
            lines.into_iter().skip(last).map(say).collect::<Vec<_>>()
        };
        self.bays.iter().enumerate().flat_map(lines).collect()
    }
}

/// Why a set does not do what it is asked for.
pub(crate) fn failed(error: &DiskError) -> ArchiveError {
    ArchiveError::new(error.kind(), error)
}

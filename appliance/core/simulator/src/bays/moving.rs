//! Drives that are lost, come back, are replaced, added and emptied.

use std::sync::Arc;

use drives::{DriveSet, DrivesError, MemberState, MemberStatus};
use medium::Redundancy;
use medium::sim::{Fault, FaultPlan, Random, SimDisk};
use model::archive::ArchiveError;

use super::{Bay, Bays, DRIVES_MAX, Stand, words};

impl Bays {
    /// A drive that serves and may be lost at this moment.
    pub(super) fn draw_spare(&mut self, random: &mut Random) -> Option<usize> {
        if self.look() == 0 {
            return None;
        }
        self.draw(random, Stand::Serving)
    }

    fn draw(&self, random: &mut Random, stand: Stand) -> Option<usize> {
        let places: Vec<usize> = (0..self.bays.len()).filter(|at| self.bays[*at].stand == stand).collect();
        places.get(random.index(places.len())).copied()
    }

    /// Drives that may be left out of a copy without losing anything.
    pub(crate) fn dispensable(&mut self, random: &mut Random) -> Vec<usize> {
        let count = if self.are_several() { self.look() } else { 0 };
        (0..count).filter_map(|_| self.draw(random, Stand::Serving)).collect()
    }

    /// With the power, drives go that can be spared, and drives come that were lost.
    pub(super) fn lose_with_power(&mut self, random: &mut Random) {
        for bay in &mut self.bays {
            bay.stand = match bay.stand {
                Stand::Failing | Stand::Away if random.chance(60) => Stand::Unsure,
                Stand::Failing => {
                    self.fates.lost += 1;
                    Stand::Away
                }
                stand => stand,
            };
        }
        while self.spare > 0 && random.chance(40) {
            self.spare -= 1;
            let Some(place) = self.draw(random, Stand::Serving) else { break };
            self.bays[place].stand = Stand::Away;
            self.fates.lost += 1;
        }
    }

    /// A drive dies, is pulled, or is let go of; whether one was.
    pub(crate) fn lose(&mut self, random: &mut Random) -> Result<(), ArchiveError> {
        let Some(place) = self.draw_spare(random) else { return Ok(()) };
        self.spare -= 1;
        let (bay, set) = (&mut self.bays[place], self.set.clone());
        bay.stand = Stand::Failing;
        if random.chance(70) {
            bay.disk.fail(FaultPlan::lasting(Fault::Error, 0));
            bay.disk.fail(FaultPlan::lasting(Fault::Error, 0).on_reads());
        }
        if let (Some(set), Some(drive), true) = (set, bay.drive, random.chance(50)) {
            set.drop_out(drive).map_err(words)?;
        }
        Ok(())
    }

    /// The set, while it has power.
    fn working(&mut self) -> Option<Arc<DriveSet>> {
        self.learn();
        self.set.clone().filter(|_| !self.has_crashed())
    }

    /// A drive that is away is put back as it was, or a wiped one in its place.
    pub(crate) fn put_back(&mut self, random: &mut Random, seed: u64) -> Result<(), ArchiveError> {
        let Some(set) = self.working() else { return Ok(()) };
        let Some(place) = self.draw(random, Stand::Away) else { return Ok(()) };
        if random.chance(25) {
            self.bays.remove(place);
            return self.add(seed);
        }
        // Whoever puts it back mounts it anew.
        let bay = &mut self.bays[place];
        bay.disk = bay.disk.crash(random);
        bay.stand = Stand::Unsure;
        match set.rejoin(self.hand(&self.bays[place])) {
            Ok(_) => {
                self.bays[place].stand = Stand::Serving;
                self.fates.returned += 1;
                Ok(())
            }
            Err(DrivesError::Retired { .. } | DrivesError::Diverged { .. }) if !self.has_crashed() => {
                // It was let go of meanwhile, or took the first copy of an epoch with it that nobody counted on.
                self.bays.remove(place);
                Ok(())
            }
            Err(error) => Err(words(error)),
        }
    }

    /// An empty drive is taken into service, if there is room for one.
    pub(crate) fn add(&mut self, seed: u64) -> Result<(), ArchiveError> {
        let Some(set) = self.working().filter(|_| self.bays.len() < DRIVES_MAX) else { return Ok(()) };
        let bay = Bay::new(SimDisk::new(seed), Stand::Unsure);
        let disk = self.hand(&bay);
        self.bays.push(bay);
        let drive = set.add(disk).map_err(words)?;
        if let Some(bay) = self.bays.last_mut() {
            (bay.drive, bay.stand) = (Some(drive), Stand::Serving);
        }
        self.fates.added += 1;
        Ok(())
    }

    /// A drive is to be emptied, if there are enough without it; or one is written off that is away.
    pub(crate) fn retire(&mut self, random: &mut Random) -> Result<(), ArchiveError> {
        let Some(set) = self.working() else { return Ok(()) };
        let (needed, staying) = (set.drives_needed(), set.drives_in_service());
        let is_safe = set.at_risk().is_empty();
        let stand = if random.chance(20) { Stand::Away } else { Stand::Serving };
        if !is_safe || (stand == Stand::Serving && staying <= needed) {
            return Ok(());
        }
        let drive = self.draw(random, stand).and_then(|place| self.bays[place].drive);
        drive.map_or(Ok(()), |drive| set.retire(drive)).map_err(words)
    }

    /// A way in which somebody may ask for what is his to be kept: no fewer drives may be lost than of everything else, and
    /// there are enough.
    pub(crate) fn draw_redundancy(&mut self, random: &mut Random) -> Redundancy {
        let least = self.policy.map_or(0, |policy| Redundancy::from(policy).parity());
        let stays = |member: &&MemberStatus| member.state == MemberState::InService;
        let drives = self.working().map_or(DRIVES_MAX, |set| set.members().iter().filter(stays).count());
        let all = [(1, 0), (1, 1), (1, 2), (2, 1), (3, 1), (2, 2), (3, 2)]
            .map(|(data, parity)| Redundancy::new(data, parity));
        let fits =
            |way: &Redundancy| way.parity() >= least && usize::from(way.data() + way.parity()) <= drives;
        let ways: Vec<Redundancy> = all.into_iter().flatten().filter(fits).collect();
        ways.get(random.index(ways.len()))
            .copied()
            .or(self.policy.map(Redundancy::from))
            .unwrap_or(Redundancy::ONE)
    }

    /// How many files are kept less often than they should be, if a drive is being emptied and none is failing.
    pub(crate) fn at_risk_while_emptying(&self) -> Option<usize> {
        let set = self.set.as_ref()?;
        if self.bays.iter().any(|bay| bay.stand == Stand::Failing) {
            return None;
        }
        let is_emptied = set.members().iter().any(|member| member.state == MemberState::Retiring);
        is_emptied.then(|| set.at_risk().len())
    }
}

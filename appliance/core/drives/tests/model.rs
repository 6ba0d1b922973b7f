//! Anything, in any order: writes, faults of drives, drives that are lost, come back, are added and retired, work in
//! between, power cuts. As long as no more drives are lost than may be, what was acknowledged is there.

#![expect(clippy::unwrap_used, reason = "a test says by it what must not fail")]

mod world;

use std::collections::BTreeMap;

use drives::{DriveSet, MemberState, MemberStatus, Policy};
use medium::sim::{Fault, FaultPlan, Random, SimDisk, Survival};
use medium::{Demand, Disk, Redundancy};
use model::SegmentNumber;
use world::ledger::Ledger;
use world::{Rig, path, prepare};

/// A machine under test.
struct Machine {
    rig: Rig,
    set: Option<DriveSet>,
    ledger: Ledger,
    random: Random,
    /// Drives that may be lost when nothing is at risk.
    losses: usize,
    /// Drives that may be lost at this moment.
    spare: usize,
    seed: u64,
    policy: Policy,
    /// What is asked for, by segment.
    asked: BTreeMap<u64, Demand>,
    log: Vec<String>,
}

impl Machine {
    fn new(seed: u64, drives: usize, policy: Policy, losses: usize) -> Self {
        let rig = Rig::new(seed, drives);
        let set = rig.create(policy);
        prepare(&set);
        let (ledger, random) = (Ledger::default(), Random::new(seed));
        Self {
            rig,
            set: Some(set),
            ledger,
            random,
            losses,
            spare: losses,
            seed,
            policy,
            asked: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    fn set(&self) -> &DriveSet {
        self.set.as_ref().expect("it is open")
    }

    fn say(&mut self, what: impl Into<String>) {
        self.log.push(what.into());
    }

    fn what(&self, what: &str) -> String {
        let from = self.log.len().saturating_sub(25);
        format!("seed {}, {what}, after {:?}", self.seed, &self.log[from..])
    }

    /// Drives in service, by their places.
    fn serving(&self) -> Vec<usize> {
        let members = self.set().members();
        let serves = |state| matches!(state, MemberState::InService | MemberState::Retiring);
        members
            .iter()
            .enumerate()
            .filter(|(_, member)| serves(member.state))
            .map(|(place, _)| place)
            .collect()
    }

    fn act(&mut self) {
        let set = self.set.take().expect("it is open");
        let result = self.ledger.act(&set, &mut self.random);
        self.set = Some(set);
        assert!(result.is_ok(), "{}: {result:?}", self.what("an action fails"));
    }

    fn step(&mut self) -> bool {
        let sealed = |number: SegmentNumber| self.ledger.is_sealed(number.0);
        let budget = 1 + self.random.clone().below(100_000);
        let step = self.set().step(budget, &sealed);
        let step = step.unwrap_or_else(|error| panic!("{}: {error:?}", self.what("a step fails")));
        self.log.push(format!("{:?}", step.task));
        step.task.is_some()
    }

    /// Works until nothing is to be done; then as many drives may be lost as ever, if there are enough.
    fn recover(&mut self) {
        let mut steps = 0;
        while self.step() {
            steps += 1;
            assert!(steps < 10_000, "{}", self.what("the work does not end"));
        }
        let enough = self.serving().len() > self.losses;
        let risk = self.set().at_risk();
        assert!(risk.is_empty() || !enough, "{}: {risk:?} {:?}", self.what("at risk"), self.set().members());
        if enough && risk.is_empty() {
            self.spare = self.losses;
        }
    }

    /// The next change on a drive fails, and with it the drive, or the drive answers nothing any more.
    fn fail(&mut self) {
        let serving = self.serving();
        if self.spare == 0 || serving.len() <= self.losses + 1 {
            return;
        }
        let place = serving[self.random.index(serving.len())];
        let disk = &self.rig.disks[place];
        let at = disk.operations() + 1 + self.random.below(10);
        match self.random.below(4) {
            0 => disk.fail(FaultPlan::once(Fault::Error, at)),
            1 => disk.fail(FaultPlan::once(Fault::TornWrite, at)),
            2 => {
                disk.fail(FaultPlan::lasting(Fault::Error, at));
                disk.fail(FaultPlan::lasting(Fault::Error, 1).on_reads());
            }
            _ => {
                let drive = self.set().members()[place].drive;
                self.set().drop_out(drive).unwrap();
            }
        }
        self.say(format!("drive {place} fails"));
        self.spare -= 1;
    }

    /// Drives that are out come back, or are replaced.
    fn repair(&mut self) {
        self.rig.disks.iter().for_each(SimDisk::clear_faults);
        let members = self.set().members();
        for (place, member) in members.iter().enumerate().filter(|(_, m)| m.state == MemberState::Out) {
            if self.random.chance(60) {
                self.say(format!("drive {place} comes back"));
                // It is taken out and put in again.
                self.rig.disks[place] = self.rig.disks[place].crash(&mut self.random);
                self.set().rejoin(self.rig.hand(place)).unwrap();
            } else {
                self.say(format!("drive {place} is replaced"));
                self.set().retire(member.drive).unwrap();
                self.add();
            }
        }
    }

    fn add(&mut self) {
        self.rig.disks.push(SimDisk::new(self.random.draw()));
        let place = self.rig.disks.len() - 1;
        self.set().add(self.rig.hand(place)).unwrap();
    }

    fn retire(&mut self) {
        let serving = self.serving();
        let place = serving[self.random.index(serving.len())];
        self.say(format!("drive {place} is retired"));
        self.add();
        self.set().retire(self.set().members()[place].drive).unwrap();
    }

    /// Somebody asks for a segment to be kept in another way, in which as many drives may be lost, or all are from here on.
    fn ask(&mut self) {
        let staying = |member: &&MemberStatus| member.state == MemberState::InService;
        let drives = self.set().members().iter().filter(staying).count();
        let losses = u8::try_from(self.losses).unwrap();
        let parity = (2..=4).map(|data| Policy::Parity { data, parity: losses });
        let mut ways: Vec<Policy> = parity.chain([Policy::Copies(losses + 1)]).collect();
        ways.retain(|way| way.drives() <= drives);
        if ways.is_empty() {
            return;
        }
        let way = ways[self.random.index(ways.len())];
        if self.random.chance(20) {
            self.say(format!("all is kept as {way:?}"));
            self.set().set_policy(way).unwrap();
            self.policy = way;
            return;
        }
        let number = 1 + self.random.below(20);
        let demand = Demand::of(self.random.chance(70).then_some(Redundancy::from(way)));
        self.say(format!("{number} is asked for as {demand:?}"));
        self.set().ask(&path(number), demand).unwrap();
        self.asked.insert(number, demand);
    }

    /// Everything is asked for again, as at an opening.
    fn ask_again(&mut self) {
        self.say("all is asked for again");
        for (number, demand) in &self.asked {
            self.set().ask(&path(*number), *demand).unwrap();
        }
        self.set().asked_all(true).unwrap();
    }

    /// A drive cannot read a segment.
    fn rot(&mut self) {
        if self.spare > 0 {
            let (place, number) = (self.random.index(self.rig.disks.len()), 1 + self.random.below(12));
            self.rig.disks[place].fail(FaultPlan::lasting(Fault::Error, 1).on_reads().under(&path(number)));
            self.say(format!("drive {place} cannot read {number}"));
            self.check();
            self.rig.disks[place].clear_faults();
        }
    }

    fn check(&mut self) {
        self.ledger.check(self.set(), &self.what("as it is"));
    }

    /// What a power cut would leave at this moment, without some of the drives.
    fn check_image(&mut self) {
        let image = self.rig.image(Survival::draw(&mut self.random), &mut self.random);
        let mut places = self.serving();
        for _ in 0..self.random.below(self.spare as u64 + 1) {
            places.swap_remove(self.random.index(places.len()));
        }
        let opened = image.open_with(&places);
        assert!(opened.refused.is_empty(), "{}: {:?}", self.what("image"), opened.refused);
        let what = self.what(&format!("image of {places:?}"));
        self.ledger.check(&opened.set, &what);
        world::work(&opened.set);
        self.ledger.check(&opened.set, &format!("{what}, after work"));
    }

    fn crash(&mut self) {
        self.say("power cut");
        let places = self.serving();
        self.ledger.let_go();
        self.set = None;
        self.rig = self.rig.crash(&mut self.random);
        let opened = self.rig.open_with(&places);
        assert!(opened.refused.is_empty(), "{}: {:?}", self.what("opening"), opened.refused);
        self.ledger.check(&opened.set, &self.what("opened"));
        self.ledger.believe(&opened.set).unwrap();
        self.set = Some(opened.set);
        if self.random.chance(60) {
            self.ask_again();
        }
    }

    fn run(&mut self, rounds: usize) {
        for _ in 0..rounds {
            match self.random.below(26) {
                0 => self.fail(),
                1 => {
                    self.repair();
                    self.recover();
                }
                2 if self.spare == self.losses => self.retire(),
                3 => self.crash(),
                4 | 5 => self.check_image(),
                6 => self.rot(),
                24 | 25 => self.ask(),
                7..=13 => drop(Some(self.step())),
                _ => self.act(),
            }
        }
        self.repair();
        self.ask_again();
        self.recover();
        self.check();
        self.check_image();
        assert_eq!(self.set().policy(), self.policy);
    }
}

/// So many seeds, or those of `DRIVES_SEEDS`, as FIRST..LAST.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("DRIVES_SEEDS").ok();
    let range = asked.as_deref().and_then(|text| text.split_once(".."));
    match range.map(|(first, last)| (first.parse(), last.parse())) {
        Some((Ok(first), Ok(last))) => first..last,
        _ => 0..count,
    }
}

#[test]
fn two_copies_on_three_drives() {
    for seed in seeds(150) {
        Machine::new(seed, 3, Policy::Copies(2), 1).run(150);
    }
}

#[test]
fn three_copies_on_five_drives() {
    for seed in seeds(40) {
        Machine::new(seed, 5, Policy::Copies(3), 2).run(150);
    }
}

#[test]
fn parity_two_and_one() {
    for seed in seeds(100) {
        Machine::new(seed, 5, Policy::Parity { data: 2, parity: 1 }, 1).run(150);
    }
}

#[test]
fn parity_four_and_two() {
    for seed in seeds(60) {
        Machine::new(seed, 8, Policy::Parity { data: 4, parity: 2 }, 2).run(200);
    }
}

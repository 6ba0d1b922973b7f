//! A pool of modelled sources, played forward day by day through the very same [`plan()`].
//!
//! Points arrive as the workloads say and are received in order of time. Before a point that would not fit, and at the
//! end of every day, a plan is made and carried out; folds for room stop as soon as their mark is reached, as they do
//! on an appliance. A point that still does not fit is refused and changes nothing. The appliance is never switched
//! off and its clock is right: witnessed time and wall time run alike.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{SourceId, Time};

use crate::bounds::{Marks, PoolBounds};
use crate::ledger::Ledger;
use crate::plan::{FoldReason, Plan, plan};
use crate::policy::{Policies, Policy};
use crate::reach::Reach;
use crate::state::{Completeness, Holds, PointState, SourceState, State};
use crate::timeline::Day;
use crate::witness::{Now, Witnessed};
use crate::workload::Workload;

/// The length of a day.
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// Most plans in a row; each but the last one folded something.
const ROUNDS_MAX: usize = 256;

/// A pool of modelled sources.
#[derive(Clone, Debug)]
pub struct Simulation {
    members: BTreeMap<SourceId, Member>,
    policies: Policies,
    bounds: PoolBounds,
    drives_bytes: u64,
    /// Bytes of the pool that belong to no source here.
    other_bytes: u64,
    now: Witnessed,
    began: Time,
    day: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) workload: Workload,
    pub(crate) ledger: Ledger,
    pub(crate) points: Vec<PointState>,
    pub(crate) next_number: u64,
}

impl Simulation {
    /// A pool without sources on drives of some size; its first day begins at `began` by the wall clock.
    #[must_use]
    pub fn new(bounds: PoolBounds, drives_bytes: u64, began: Time) -> Self {
        let (members, policies) = (BTreeMap::new(), Policies::new());
        let now = Witnessed::default();
        Self { members, policies, bounds, drives_bytes, other_bytes: 0, now, began, day: 0 }
    }

    /// Goes on from witnessed time that has passed already, with bytes that belong to no source.
    pub(crate) const fn resumed(mut self, now: Witnessed, other_bytes: u64) -> Self {
        self.now = now;
        self.other_bytes = other_bytes;
        self
    }

    /// A source that begins to send on the next day; one that sends already goes on differently.
    pub fn admit(&mut self, source: SourceId, policy: Policy, workload: Workload) {
        self.policies.insert(source, policy);
        match self.members.get_mut(&source) {
            Some(member) => member.workload = workload,
            None => {
                let member =
                    Member { workload, ledger: Ledger::default(), points: Vec::new(), next_number: 1 };
                self.members.insert(source, member);
            }
        }
    }

    /// A source with a past.
    pub(crate) fn take_over(&mut self, source: SourceId, policy: Policy, member: Member) {
        self.policies.insert(source, policy);
        self.members.insert(source, member);
    }

    /// The pool as [`plan()`] sees it.
    #[must_use]
    pub fn state(&self) -> State {
        let sources = self.members.iter().map(|(source, member)| {
            let measured = member
                .points
                .iter()
                .map(|point| PointState { own_bytes: Some(member.ledger.own_bytes(point.number)), ..*point });
            (*source, SourceState::new(member.ledger.used_bytes(), measured.collect()))
        });
        State {
            sources: sources.collect(),
            used_bytes: self.used_bytes(),
            reclaimable_bytes: 0,
            drives_bytes: self.drives_bytes,
        }
    }

    /// How much time has passed.
    #[must_use]
    pub const fn now(&self) -> Now {
        Now { witnessed: self.now, frozen: None }
    }

    /// The policies of its sources.
    #[must_use]
    pub const fn policies(&self) -> &Policies {
        &self.policies
    }

    /// Plays the next day.
    pub fn run_day(&mut self) -> Day {
        let mut day = Day { day: self.day, ..Day::default() };
        day.sources = self.members.keys().map(|source| (*source, crate::SourceDay::default())).collect();
        for (offset, source) in self.arrivals() {
            self.receive(source, self.now.after(offset), &mut day);
        }
        self.now = self.now.after(DAY);
        self.make_room(0, &mut day);
        for (source, member) in &self.members {
            if let Some(its) = day.sources.get_mut(source) {
                its.reach = Reach::of(member, self.now);
            }
        }
        day.used_bytes = self.used_bytes();
        self.day += 1;
        day
    }

    /// What would be taken if everything went that may go.
    pub(crate) fn least_bytes(&self) -> u64 {
        let mut least = self.clone();
        least.bounds.capacity_bytes = Some(0);
        least.make_room(0, &mut Day::default());
        least.used_bytes()
    }

    fn used_bytes(&self) -> u64 {
        let members = self.members.values().map(|member| member.ledger.used_bytes());
        members.fold(self.other_bytes, u64::saturating_add)
    }

    fn wall(&self, at: Witnessed) -> Time {
        self.began.after(at.0)
    }

    /// Who sends at which time of the day.
    fn arrivals(&self) -> Vec<(Duration, SourceId)> {
        let mut arrivals: Vec<(Duration, SourceId)> = Vec::new();
        for (source, member) in &self.members {
            let points = member.workload.points_on(self.day);
            arrivals.extend((0..points).map(|point| (DAY * point / points, *source)));
        }
        arrivals.sort_unstable();
        arrivals
    }

    /// The bounds in bytes.
    pub(crate) fn marks(&self) -> Marks {
        self.bounds.marks(self.drives_bytes)
    }

    fn receive(&mut self, source: SourceId, at: Witnessed, day: &mut Day) {
        let capacity_bytes = self.marks().capacity_bytes;
        let Some(member) = self.members.get(&source) else { return };
        let change = member.workload.change(member.next_number == 1);
        let fits =
            |simulation: &Self| simulation.used_bytes().saturating_add(change.new_bytes) <= capacity_bytes;
        if !fits(self) {
            self.make_room(change.new_bytes, day);
        }
        let (fits, received) = (fits(self), self.wall(at));
        let (Some(member), Some(its)) = (self.members.get_mut(&source), day.sources.get_mut(&source)) else {
            return;
        };
        if !fits {
            its.refusals += 1;
            return;
        }
        let number = member.next_number;
        member.next_number += 1;
        member.ledger.arrive(number, change);
        member.points.push(PointState {
            number,
            received,
            witnessed: at,
            completeness: Completeness::Complete,
            holds: Holds::default(),
            own_bytes: None,
        });
    }

    /// Plans and carries out until nothing more is to go.
    fn make_room(&mut self, coming_bytes: u64, day: &mut Day) {
        for _ in 0..ROUNDS_MAX {
            let mut state = self.state();
            state.used_bytes = state.used_bytes.saturating_add(coming_bytes);
            let plan = plan(&state, &self.policies, &self.bounds, &self.now());
            day.pressed |= plan.folds.iter().any(|fold| fold.reason == FoldReason::Pressure);
            if self.carry_out(&plan, coming_bytes, day) == 0 {
                break;
            }
        }
    }

    /// Carries a plan out, as far as it is needed; gives how many points went.
    fn carry_out(&mut self, plan: &Plan, coming_bytes: u64, day: &mut Day) -> usize {
        let mut gone: BTreeMap<SourceId, Vec<u64>> = BTreeMap::new();
        let mut used_bytes = self.used_bytes().saturating_add(coming_bytes);
        let target_bytes = plan.pressure.map_or(0, |pressure| pressure.target_bytes);
        for fold in &plan.folds {
            let Some(member) = self.members.get_mut(&fold.source) else { continue };
            let needed = match fold.reason {
                FoldReason::Counts | FoldReason::Points { .. } => true,
                FoldReason::Quota { bytes } => member.ledger.used_bytes() > bytes,
                FoldReason::Pressure => used_bytes > target_bytes,
            };
            if needed {
                used_bytes = used_bytes.saturating_sub(member.ledger.fold(fold.number));
                gone.entry(fold.source).or_default().push(fold.number);
            }
        }
        let count = gone.values().map(Vec::len).sum();
        for (source, mut numbers) in gone {
            numbers.sort_unstable();
            if let Some(member) = self.members.get_mut(&source) {
                member.points.retain(|point| numbers.binary_search(&point.number).is_err());
            }
            if let Some(its) = day.sources.get_mut(&source) {
                its.folds += numbers.len() as u64;
            }
        }
        count
    }
}

//! What became of a simulation: its days, and the simplest one, of one source on a pool of its own.

use std::collections::BTreeMap;

use model::{SourceId, Time};

use crate::bounds::PoolBounds;
use crate::policy::Policy;
use crate::reach::Reach;
use crate::simulation::Simulation;
use crate::workload::Workload;

/// A simulated day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Day {
    /// Its number, from 0.
    pub day: u32,
    /// What the pool takes at its end.
    pub used_bytes: u64,
    /// Whether points had to go because the pool was above its high-water mark.
    pub pressed: bool,
    /// Every source at its end.
    pub sources: BTreeMap<SourceId, SourceDay>,
}

/// A source at the end of a simulated day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceDay {
    /// How far back it goes, with how many points and bytes.
    pub reach: Reach,
    /// Points folded on that day.
    pub folds: u64,
    /// Points refused on that day.
    pub refusals: u64,
}

/// Every day of a simulation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// The days, in order.
    pub days: Vec<Day>,
}

/// The only source of [`simulate`].
pub const SIMULATED: SourceId = SourceId(1);

/// Plays a policy forward, with one source on a pool of its own.
#[must_use]
pub fn simulate(
    policy: &Policy,
    workload: &Workload,
    bounds: &PoolBounds,
    began: Time,
    days: u32,
) -> Timeline {
    let mut simulation = Simulation::new(*bounds, u64::MAX, began);
    simulation.admit(SIMULATED, *policy, workload.clone());
    Timeline { days: (0..days).map(|_| simulation.run_day()).collect() }
}

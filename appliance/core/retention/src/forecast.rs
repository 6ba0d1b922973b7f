//! How long it lasts: the present pool, played forward at its measured rates through the very same plan.
//!
//! The past of a source is taken over as far as it was measured ([`crate::past`]). The horizon is far enough for counts to fill up; reaches are means over its last four weeks, because marks make
//! them swing.

use std::collections::BTreeMap;

use model::{SourceId, Time};

use crate::bounds::PoolBounds;
use crate::past::member;
use crate::policy::Policies;
use crate::reach::Reach;
use crate::simulation::Simulation;
use crate::state::State;
use crate::timeline::Day;
use crate::witness::Now;
use crate::workload::Rates;

/// Days that are played forward unless somebody wants otherwise: two years.
pub const HORIZON_DAYS: u32 = 730;

/// Days at the end of the horizon over which reaches are averaged.
const MEAN_DAYS: usize = 28;

/// How long it lasts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    /// How many days were played.
    pub days: u32,
    /// Every source towards the end of the horizon.
    pub sources: BTreeMap<SourceId, Reach>,
    /// What the pool takes then.
    pub used_bytes: u64,
    /// The most that it takes on each day.
    pub most_by_day: Vec<u64>,
    /// In how many days points must go for room for the first time.
    pub full_in_days: Option<u32>,
    /// In how many days data is refused for the first time, and of which source.
    pub refused_in_days: Option<(u32, SourceId)>,
}

/// What a forecast looks at.
#[derive(Clone, Copy, Debug)]
pub struct Outlook<'a> {
    /// The pool.
    pub state: &'a State,
    /// What was measured of each source; what was not is taken to stand still.
    pub rates: &'a BTreeMap<SourceId, Rates>,
    /// The policies.
    pub policies: &'a Policies,
    /// The bounds.
    pub bounds: &'a PoolBounds,
    /// The time.
    pub now: Now,
    /// How many days to play.
    pub days: u32,
}

/// Says how long it lasts.
#[must_use]
pub fn forecast(outlook: &Outlook<'_>) -> Forecast {
    play(outlook.simulation(), outlook.days)
}

/// Plays a simulation to the end of the horizon.
pub(crate) fn play(mut simulation: Simulation, days: u32) -> Forecast {
    let mut forecast = Forecast { days, ..Forecast::default() };
    let mut recent: BTreeMap<SourceId, Vec<Reach>> = BTreeMap::new();
    let high_bytes = simulation.marks().high_bytes;
    for number in 0..days {
        let day = simulation.run_day();
        if day.pressed && forecast.full_in_days.is_none() {
            forecast.full_in_days = Some(number);
        }
        if forecast.refused_in_days.is_none() {
            forecast.refused_in_days = refused(&day).map(|source| (number, source));
        }
        if days - number <= u32::try_from(MEAN_DAYS).unwrap_or(u32::MAX) {
            for (source, its) in &day.sources {
                recent.entry(*source).or_default().push(its.reach);
            }
        }
        let most = if day.pressed { high_bytes.saturating_add(1) } else { 0 };
        forecast.most_by_day.push(day.used_bytes.max(most));
        forecast.used_bytes = day.used_bytes;
    }
    forecast.sources = recent.iter().map(|(source, days)| (*source, Reach::mean(days))).collect();
    forecast
}

fn refused(day: &Day) -> Option<SourceId> {
    day.sources.iter().find(|(_, its)| its.refusals > 0).map(|(source, _)| *source)
}

impl Outlook<'_> {
    /// The present pool as a model.
    pub(crate) fn simulation(&self) -> Simulation {
        let Self { state, bounds, now, .. } = self;
        let sources = state.sources.values().map(|its| its.used_bytes);
        let other = state.expected_bytes().saturating_sub(sources.fold(0, u64::saturating_add));
        let began = self.began();
        let mut simulation =
            Simulation::new(**bounds, state.drives_bytes, began).resumed(now.witnessed, other);
        for (source, its) in &state.sources {
            let policy = self.policies.get(source).copied().unwrap_or_default();
            let rates = self.rates.get(source).copied().unwrap_or_default();
            simulation.take_over(*source, policy, member(its, &policy, &rates));
        }
        simulation
    }

    /// When witnessed time would have begun if it had run like the wall clock since the newest point.
    fn began(&self) -> Time {
        let points = self.state.sources.values().filter_map(|its| its.points().last());
        let newest = points.max_by_key(|point| (point.witnessed, point.received));
        newest.map_or(Time(0), |point| point.received.before(point.witnessed.0))
    }
}

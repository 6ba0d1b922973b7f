//! What is kept, what may go, and how long it lasts: a pure policy.
//!
//! [`plan()`] decides over a [`State`] by [`Policies`] and [`PoolBounds`]; nothing here reads a clock, asks a drive or
//! carries anything out. A [`Witness`] says how much time has passed for floors, and whether the clock can be believed
//! at all. [`simulate`] and [`forecast()`] play the same plans forward over modelled sources, and [`admission()`] says what
//! another source would cost.
//!
//! What always holds: no point under a floor, no newest point, no newest complete point and no point that is pinned,
//! held or leased is ever part of a plan's folds; no wall clock changes which points those are.

// Words and values.
mod bounds;
mod error;
mod period;
mod policy;
pub mod quantity;
mod state;
mod witness;
mod words;

// What goes and what stays.
mod draft;
mod judge;
mod plan;
mod round;
mod shortfall;
mod thinning;

// How long it lasts.
mod admission;
mod forecast;
mod ledger;
mod measured;
mod past;
mod prospect;
mod reach;
mod simulation;
mod timeline;
mod workload;

mod sentences;

pub use admission::{Admission, Newcomer, Refusal, admission};
pub use bounds::{Marks, PoolBounds, WaterMark};
pub use error::RetentionError;
pub use forecast::{Forecast, HORIZON_DAYS, Outlook, forecast};
pub use judge::Keep;
pub use measured::{Certainty, Measure};
pub use period::{Period, Rung};
pub use plan::{Fold, FoldReason, Kept, Plan, Pressure, plan};
pub use policy::{ALL, Counts, Floor, Policies, Policy};
pub use prospect::{Prospect, prospect, rates};
pub use reach::Reach;
pub use round::{Round, Rounds};
pub use sentences::{Names, drive_in_words};
pub use shortfall::{Bound, Cause, Consequence, Help, KeptBy, Shortfall};
pub use simulation::Simulation;
pub use state::{Completeness, Holds, PointState, SourceState, State};
pub use thinning::BLIND_FOLDS_MAX;
pub use timeline::{Day, SIMULATED, SourceDay, Timeline, simulate};
pub use witness::{BootId, ClockFault, DEVIATION_MAX, Freeze, Now, Observation, Verdict, Witness, Witnessed};
pub use workload::{Rates, Workload};

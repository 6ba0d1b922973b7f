//! What is kept, what may go, and how long it lasts: a pure policy.
//!
//! [`plan`] decides over a [`State`] by [`Policies`] and [`PoolBounds`]; nothing here reads a clock, asks a drive or
//! carries anything out. A [`Witness`] says how much time has passed for floors, and whether the clock can be
//! believed at all.
//!
//! What always holds: no point under a floor, no newest point, no newest complete point and no point that is pinned,
//! held or leased is ever part of a plan's folds; no wall clock changes which points those are.

mod bounds;
mod error;
mod judge;
mod period;
mod plan;
mod policy;
pub mod quantity;
mod sentences;
mod shortfall;
mod state;
mod thinning;
mod witness;
mod words;

pub use bounds::{Marks, PoolBounds, WaterMark};
pub use error::RetentionError;
pub use judge::Keep;
pub use period::{Period, Rung};
pub use plan::{Fold, FoldReason, Kept, Plan, Pressure, plan};
pub use policy::{ALL, Counts, Floor, Policies, Policy};
pub use sentences::Names;
pub use shortfall::{Bound, Cause, Consequence, Help, KeptBy, Shortfall};
pub use state::{Completeness, Holds, PointState, SourceState, State};
pub use thinning::BLIND_FOLDS_MAX;
pub use witness::{BootId, ClockFault, DEVIATION_MAX, Freeze, Now, Observation, Verdict, Witness, Witnessed};

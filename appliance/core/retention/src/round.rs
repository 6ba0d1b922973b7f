//! Carrying plans out, a round at a time.
//!
//! Folds for room give back more than a plan can know, because what two of them share goes with the second. So only a
//! few go at a time; then everything is counted, and another plan is drawn. What began because the high-water mark was
//! passed goes on in later rounds until the low one is reached.

use crate::bounds::PoolBounds;
use crate::plan::{Fold, FoldReason, Plan, plan};
use crate::policy::Policies;
use crate::shortfall::Bound;
use crate::state::State;
use crate::witness::Now;

/// Most points that go in one round because nobody asks for them.
const FOLDS_MAX: usize = 1000;
/// The same when they go for room.
const FOLDS_MAX_PRESSED: usize = 8;

/// What is between two rounds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rounds {
    /// The high-water mark was passed, and the low one is not reached.
    is_relieving: bool,
}

/// What is to be done next.
#[derive(Clone, Debug)]
pub struct Round {
    /// The plan that an operator would be shown.
    pub plan: Plan,
    /// What is to go; everything is to be looked at again after it.
    pub folds: Vec<Fold>,
    /// It depends on what points hold alone, which is to be measured before anything goes.
    pub goes_by_bytes: bool,
}

impl Rounds {
    /// Draws a plan and says what of it is to be carried out next.
    #[must_use]
    pub fn draw(&mut self, state: &State, policies: &Policies, bounds: &PoolBounds, now: &Now) -> Round {
        let shown = plan(state, policies, bounds, now);
        let relieving = (self.is_relieving && shown.pressure.is_none()).then(|| {
            let down = PoolBounds { high: bounds.low, ..*bounds };
            plan(state, policies, &down, now)
        });
        let drawn = relieving.as_ref().unwrap_or(&shown);
        let (folds, goes_by_bytes) = (drawn.next_folds(), drawn.goes_by_bytes());
        self.is_relieving = drawn.pressure.is_some() && !folds.is_empty();
        Round { plan: shown, folds, goes_by_bytes }
    }
}

impl FoldReason {
    /// Whether it is about bytes, and not about how many points there are.
    const fn is_for_room(self) -> bool {
        matches!(self, Self::Pressure | Self::Quota { .. })
    }
}

impl Plan {
    fn next_folds(&self) -> Vec<Fold> {
        let of = |for_room: bool| self.folds.iter().filter(move |fold| fold.reason.is_for_room() == for_room);
        let wanted: Vec<Fold> = of(false).take(FOLDS_MAX).copied().collect();
        if wanted.is_empty() { of(true).take(FOLDS_MAX_PRESSED).copied().collect() } else { wanted }
    }

    fn goes_by_bytes(&self) -> bool {
        self.pressure.is_some()
            || self.folds.iter().any(|fold| fold.reason.is_for_room())
            || self.shortfalls.iter().any(|shortfall| matches!(shortfall.bound, Bound::Quota(_)))
    }
}

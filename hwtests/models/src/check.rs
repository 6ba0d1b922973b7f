//! Running a model: many schedules from a fixed seed, half of them random, half by probabilistic concurrency testing.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::sync::Arc;
use shuttle::{Config, FailurePersistence, Runner};

use crate::{Guards, Model, Pool};

/// Every run tries the same schedules. With all guards on, another number in the variable `KEEPFAST_MODELS_SEED` tries
/// others.
const SEED: u64 = 0x6b65_6570;

/// Changes of priority in a schedule of probabilistic concurrency testing.
const DEPTH: usize = 3;

/// Schedules after which a violation counts as not found.
const SEARCH_MAX: usize = 40_000;

/// How often something happened, over all schedules. Not part of a model: nobody waits for it.
#[derive(Clone, Default)]
pub(crate) struct Seen(std::sync::Arc<Mutex<BTreeMap<&'static str, usize>>>);

impl Seen {
    pub(crate) fn note(&self, what: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += 1;
    }

    fn count(&self, what: &str) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(what).copied().unwrap_or(0)
    }
}

/// One of two, by the seed of the schedule.
pub(crate) fn chance() -> bool {
    thread_rng().gen_bool(0.5)
}

/// The number in a variable of the environment.
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs a model with all guards; panics at a violation, and if one of `must_see` did not happen once in 500 schedules, for
/// then the model checks nothing. `KEEPFAST_MODELS_TIMES` makes it run so many times as many schedules.
pub fn holds(model: Model, schedules: usize, must_see: &[&str]) {
    holds_with(model, Guards::default(), schedules, must_see);
}

/// The same with other guards.
pub fn holds_with(model: Model, guards: Guards, schedules: usize, must_see: &[&str]) {
    let seen = Seen::default();
    let times = number("KEEPFAST_MODELS_TIMES").and_then(|times| usize::try_from(times).ok()).unwrap_or(1);
    let schedules = schedules * times;
    let half = schedules / 2;
    let seed = number("KEEPFAST_MODELS_SEED").unwrap_or(SEED);
    let persistence = || FailurePersistence::Print;
    run(model, guards, &seen, RandomScheduler::new_from_seed(seed, half), persistence());
    run(model, guards, &seen, PctScheduler::new_from_seed(seed, DEPTH, half), persistence());
    for what in must_see {
        let count = seen.count(what);
        assert!(count >= schedules / 500, "{what:?} was seen {count} times in {schedules} schedules");
    }
}

/// Runs a model with these guards and expects a violation whose text contains `expected`.
pub fn breaks(model: Model, guards: Guards, expected: &str) {
    let found = search(model, guards, RandomScheduler::new_from_seed(SEED, SEARCH_MAX))
        .or_else(|| search(model, guards, PctScheduler::new_from_seed(SEED, DEPTH, SEARCH_MAX)));
    let found = found.unwrap_or_else(|| panic!("no violation in {} schedules", 2 * SEARCH_MAX));
    let is_expected = found.starts_with("violation: ") && found.contains(expected);
    assert!(is_expected, "expected {expected:?} and found: {found}");
}

fn search(model: Model, guards: Guards, scheduler: impl Scheduler + 'static) -> Option<String> {
    let seen = Seen::default();
    let run = || run(model, guards, &seen, scheduler, FailurePersistence::None);
    let payload = catch_unwind(AssertUnwindSafe(run)).err()?;
    let text = payload.downcast_ref::<String>().cloned();
    Some(text.or_else(|| payload.downcast_ref::<&str>().map(|&text| text.to_owned())).unwrap_or_default())
}

fn run(
    model: Model,
    guards: Guards,
    seen: &Seen,
    scheduler: impl Scheduler + 'static,
    failure_persistence: FailurePersistence,
) {
    let mut config = Config::new();
    config.failure_persistence = failure_persistence;
    config.stack_size = 1 << 17;
    let seen = seen.clone();
    Runner::new(scheduler, config).run(move || model(&Arc::new(Pool::new(guards, seen.clone()))));
}

//! A clock that moves only when it is told to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::Time;

use crate::Clock;

/// Simulated time; clones show the same time.
#[derive(Clone, Debug)]
pub struct SimClock(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    wall: Time,
    monotonic: Duration,
}

impl SimClock {
    /// A clock that shows `now`, just after boot.
    #[must_use]
    pub fn new(now: Time) -> Self {
        Self(Arc::new(Mutex::new(State { wall: now, monotonic: Duration::ZERO })))
    }

    /// Time passes: both clocks move.
    pub fn advance(&self, duration: Duration) {
        let mut state = self.state();
        state.wall = state.wall.after(duration);
        state.monotonic = state.monotonic.saturating_add(duration);
    }

    /// Somebody sets the wall clock; the monotonic one does not notice.
    pub fn set(&self, now: Time) {
        self.state().wall = now;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for SimClock {
    fn now(&self) -> Time {
        self.state().wall
    }

    fn monotonic(&self) -> Duration {
        self.state().monotonic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_the_wall_clock_leaves_the_monotonic_one() {
        let clock = SimClock::new(Time(1_000));
        let other = clock.clone();
        clock.advance(Duration::from_nanos(500));
        assert_eq!((other.now(), other.monotonic()), (Time(1_500), Duration::from_nanos(500)));
        clock.set(Time(-3));
        assert_eq!((other.now(), other.monotonic()), (Time(-3), Duration::from_nanos(500)));
    }
}

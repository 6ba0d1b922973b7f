//! Time and randomness as the core is given them.

use std::time::Duration;

use model::Time;

/// Where the core learns what time it is.
pub trait Clock: Send + Sync {
    /// The wall clock; it may jump in either direction, so no decision to delete rests on it alone.
    fn now(&self) -> Time;

    /// Time since an arbitrary moment of this boot; never goes back, and goes on while suspended.
    fn monotonic(&self) -> Duration;
}

/// Where the core gets salts, keys and identities.
pub trait Entropy: Send + Sync {
    /// Fills the buffer with bytes that nobody can foretell. Never returns weak bytes: an implementation
    /// that cannot deliver stops the program.
    fn fill(&self, buffer: &mut [u8]);
}

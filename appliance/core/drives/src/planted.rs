//! Faults on purpose, to prove that the simulator finds them. Without the feature `planted-bugs` there are none.
//!
//! A switch holds for the whole process.

#[cfg(feature = "planted-bugs")]
use std::sync::atomic::{AtomicU8, Ordering};

/// A way to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// A member falls out and nobody writes that down, so it is believed when it comes back with the power.
    FallOutUnwritten = 1,
    /// Copies go before there is parity.
    RemoveBeforeParity,
    /// A member that is to be emptied is let go of with what it holds.
    RetireEarly,
    /// What a member holds that comes back is taken for what it should be.
    BelieveReturned,
    /// Nothing says after a crash which copies were being changed.
    SkipMark,
    /// The parity of a group goes before what stands in for it is there.
    RemoveParityEarly,
    /// A copy that is bad is said to have been repeated soundly, and left as it is.
    MendNothing,
}

#[cfg(feature = "planted-bugs")]
static PLANTED: AtomicU8 = AtomicU8::new(0);

/// Switches one fault on, or all off.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.store(bug.map_or(0, |bug| bug as u8), Ordering::Relaxed);
}

/// Whether a fault is switched on.
#[cfg(feature = "planted-bugs")]
pub(crate) fn has(bug: Bug) -> bool {
    PLANTED.load(Ordering::Relaxed) == bug as u8
}

/// Whether a fault is switched on: never.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn has(_: Bug) -> bool {
    false
}

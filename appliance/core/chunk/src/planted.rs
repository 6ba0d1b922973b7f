//! Faults on purpose, to prove that the checkers of the simulator find them; never part of a product.
//!
//! A switch holds for the whole process. Only builds with the feature `planted-bugs` have it.

use std::sync::atomic::{AtomicBool, Ordering};

static REPEATS_FRAME_NUMBERS: AtomicBool = AtomicBool::new(false);

/// Lets every sealer use its frame number again and again, so that nonces repeat, or stops that.
pub fn repeat_frame_numbers(on: bool) {
    REPEATS_FRAME_NUMBERS.store(on, Ordering::Relaxed);
}

pub(crate) fn repeats_frame_numbers() -> bool {
    REPEATS_FRAME_NUMBERS.load(Ordering::Relaxed)
}

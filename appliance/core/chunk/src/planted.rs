//! Faults on purpose, to prove that the checkers of the simulator find them; never part of a product.
//!
//! A switch holds for the whole process. Only builds with the feature `planted-bugs` have it.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{FrameNumber, FreshSalt, Sealer, SegmentIdentity};

static REPEATS_FRAME_NUMBERS: AtomicBool = AtomicBool::new(false);

/// Lets every sealer use its frame number again and again, so that nonces repeat, or stops that.
pub fn repeat_frame_numbers(on: bool) {
    REPEATS_FRAME_NUMBERS.store(on, Ordering::Relaxed);
}

pub(crate) fn repeats_frame_numbers() -> bool {
    REPEATS_FRAME_NUMBERS.load(Ordering::Relaxed)
}

/// A sealer that goes on with a segment of this salt, from frame `next` on.
#[must_use]
pub fn resume(master: &[u8; 32], salt: &[u8; 32], identity: SegmentIdentity, next: FrameNumber) -> Sealer {
    let salt = FreshSalt::draw(&mut |bytes| bytes.copy_from_slice(salt));
    Sealer::new(master, salt, identity).resumed_at(next)
}

//! A run: histories one after the other, each from a seed of its own, until enough crash points are visited.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pool::planted::Planted;
use thiserror::Error;

use crate::history::{Counts, History};

/// Crash points of one history. Longer ones hold more points, all of which are restored at each crash.
pub const HISTORY_POINTS: u64 = 25;

/// A promise that was broken, and how to see it again.
#[derive(Clone, Debug, Error)]
#[error(
    "crash point {point} of seed {seed}: {what}\n{}\nreplay: cargo xtask sim --seed {seed} --points {point}",
    log.join("\n")
)]
pub struct Breach {
    /// The seed of the history.
    pub seed: u64,
    /// The crash point, from 1.
    pub point: u64,
    /// What is wrong.
    pub what: String,
    /// The last operations of the disk.
    pub log: Vec<String>,
}

/// What a history came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What was gone through.
    pub counts: Counts,
    /// A hash over all that happened and what the disk holds at the end.
    pub trace: [u8; 32],
}

/// A run over crash points, cut in histories that can be gone through in any order.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The seed of the first history; each further one has the next.
    pub seed: u64,
    /// Crash points in all.
    pub points: u64,
}

impl Run {
    /// The histories: seed, and number of crash points.
    pub fn histories(self) -> impl Iterator<Item = (u64, u64)> {
        let starts = (0..self.points).step_by(usize::try_from(HISTORY_POINTS).unwrap_or(usize::MAX));
        let seeds = (0..).map(move |number| self.seed.wrapping_add(number));
        seeds.zip(starts).map(move |(seed, start)| (seed, (self.points - start).min(HISTORY_POINTS)))
    }
}

/// Goes through one history.
pub fn history(seed: u64, points: u64, planted: Planted) -> Result<Outcome, Breach> {
    let mut history = History::new(seed, planted);
    for point in 1..=points {
        let leg = catch_unwind(AssertUnwindSafe(|| history.leg()));
        let result = leg.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format!("panic: {}", text.unwrap_or("without words")))
        });
        result.map_err(|what| Breach { seed, point, what, log: history.log() })?;
    }
    Ok(Outcome { counts: history.counts(), trace: history.trace() })
}

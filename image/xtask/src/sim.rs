//! `cargo xtask sim`: crashes and faults over the whole storage core, from one seed.
//!
//! Builds the simulator and hands over; the same seed and number of points replays the same run.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::process::{Interruption, command, run_through};
use crate::{metadata, system};

/// Crash points of one run of every check.
pub(crate) const POINTS: u64 = 100_000;
/// The seed of every check: a failure there is a failure everywhere.
pub(crate) const SEED: u64 = 1;

/// Which run.
#[derive(Args)]
pub(crate) struct Options {
    /// Where all randomness comes from; a failure prints the seed that replays it.
    #[arg(long, default_value_t = SEED)]
    seed: u64,
    /// How many crash points to visit.
    #[arg(long, default_value_t = POINTS)]
    points: u64,
}

/// Builds the simulator and runs it.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    system::ensure(system::Purpose::Build)?;
    let interruption = Interruption::catch()?;
    let cargo = metadata::cargo();
    let mut command = command(&cargo.to_string_lossy(), &["run", "--quiet", "--package", "simulator", "--"]);
    command.args(arguments(options.seed, options.points));
    let finished = run_through(&mut command, &interruption)?;
    Ok(if finished.status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the simulator is told.
pub(crate) fn arguments(seed: u64, points: u64) -> [String; 4] {
    ["--seed".into(), seed.to_string(), "--points".into(), points.to_string()]
}

//! `cargo xtask test`: every check there is, one after another, on one build.
//!
//! What a step says goes to a file below the target directory and is shown when the step fails; the first failure
//! ends the run. All steps build the same profile for the whole workspace, so that nothing is built twice; only the
//! planted bugs are a build of their own, because they must not be part of any other.

mod step;
mod summary;

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use crate::metadata::Metadata;
use crate::process::{Interrupted, Interruption};
use crate::{system, terminal, tidy};
use step::{Step, Work};

/// How to run the checks.
#[derive(Args)]
pub(crate) struct Options {
    /// Only the steps whose names contain one of these words.
    only: Vec<String>,
}

/// Runs every step; the exit code says whether all of them passed.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let metadata = Metadata::read()?;
    let interruption = Interruption::catch()?;
    let all = step::all(&metadata);
    let steps: Vec<&Step> = all.iter().filter(|step| step.is_one_of(&options.only)).collect();
    let logs = metadata.scratch("test")?;
    let started = Instant::now();
    for (passed, step) in steps.iter().enumerate() {
        print!("  {:<24}", step.name);
        std::io::stdout().flush().context("write to the terminal")?;
        let log = logs.join(format!("{}.log", step.name.replace(' ', "-")));
        let begun = Instant::now();
        let outcome = carry_out(step, &metadata, &log, &interruption);
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        match outcome {
            Ok(true) => {
                let summary =
                    summary::of(&said).map(|text| terminal::faint(&format!("  {text}"))).unwrap_or_default();
                println!("{} {:>12}{summary}", terminal::done_sign(), terminal::span(begun.elapsed()));
            }
            Err(error) if error.is::<Interrupted>() || error.is::<system::Missing>() => {
                println!();
                return Err(error);
            }
            failed => {
                println!("{} {:>6}\n", terminal::error_sign(), terminal::span(begun.elapsed()));
                print!("{said}");
                if let Err(error) = failed {
                    println!("{error:#}");
                }
                println!("\nThe output above is in {}", log.display());
                println!("{}", total(passed, 1, steps.len() - passed - 1, started.elapsed()));
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    println!("\n{}", total(steps.len(), 0, 0, started.elapsed()));
    Ok(ExitCode::SUCCESS)
}

fn total(passed: usize, failed: usize, left: usize, time: Duration) -> String {
    let left = if left == 0 { String::new() } else { format!(", {left} not run") };
    terminal::strong(&format!("{passed} passed, {failed} failed{left} in {}", terminal::span(time)))
}

fn carry_out(
    step: &Step,
    metadata: &Metadata,
    log: &std::path::Path,
    interruption: &Interruption,
) -> Result<bool> {
    let mut file = std::fs::File::create(log).with_context(|| format!("make {}", log.display()))?;
    match &step.work {
        Work::Packages => {
            system::ensure(system::Purpose::Test)?;
            system::ensure_fuse()?;
            Ok(true)
        }
        Work::Tidy => {
            let found = tidy::findings(metadata)?;
            for finding in &found {
                writeln!(file, "{finding}").with_context(|| format!("write {}", log.display()))?;
            }
            Ok(found.is_empty())
        }
        Work::Command(line) => line.run(file, interruption),
    }
}

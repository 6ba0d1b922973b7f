//! `cargo xtask bench`: Keepfast beside cp, tar, and every peer that is installed, in one run on generated data.
//!
//! Every round makes fresh repositories and takes the same steps with every contender, in an order that turns from
//! round to round; what counts is the median. Sources are in the page cache: they are read before every backup, because
//! some contenders drop from it what they have read, and whoever comes next would pay for it. All repositories lie on
//! one filesystem, and Keepfast works as it does in life: an agent and an appliance, over TLS, on loopback. A restore
//! that differs from its source ends the run: a figure without a right result is none.
//!
//! Trees are not deleted before the end: ext4 without a journal makes files slowly for minutes after many were deleted,
//! and whoever comes next would pay for it.

mod contender;
mod cost;
mod machine;
mod mounted;
mod ours;
mod peer;
mod report;
mod source;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::keepfast::Programs;
use crate::metadata::Metadata;
use crate::process::Interruption;
use crate::{system, terminal};
use contender::{Contender, Place};
use cost::{Results, STEPS, Step};
use source::{Scale, Source, Workload};

/// Longer than the time in which a file counts as still being written, so that nobody reads a file twice for it.
const SETTLE_TIME: Duration = Duration::from_secs(3);

/// Copies of a source that a round makes at most: repositories, and what all restore.
const COPIES_MAX: u64 = 9;
/// The same of a source that is one file: of these all but the repositories go at once, and some have it twice.
const COPIES_OF_FILE_MAX: u64 = 12;

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// What data; may be given several times.
    #[arg(long, value_enum, default_values = ["tree"])]
    data: Vec<Workload>,
    /// How much data.
    #[arg(long, value_enum, default_value = "small")]
    scale: Scale,
    /// How often; what counts is the median.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Beside whom; may be given several times. The default is everybody who is installed.
    #[arg(long)]
    beside: Vec<String>,
    /// Where the data come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to measure; the default lies below the target directory.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Put the figures into docs/PERFORMANCE.md.
    #[arg(long)]
    write: bool,
}

/// Measures, prints, and writes what it found.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    system::ensure(system::Purpose::Bench)?;
    system::ensure_fuse()?;
    let metadata = Metadata::read()?;
    let interruption = Interruption::catch()?;
    println!("Building the programs");
    let programs = Programs::build(&metadata, &interruption)?;
    let scratch = match &options.folder {
        Some(folder) => folder.clone(),
        None => metadata.scratch("bench")?,
    };
    let folder = tempfile::Builder::new().prefix("run-").tempdir_in(&scratch).context("make a folder")?;
    let contenders = contender::all(&programs, &options.beside);
    let names: Vec<&str> = contenders.iter().map(|contender| contender.name()).collect();
    println!("Measuring {} in {} rounds", names.join(", "), options.rounds);
    let mut measured = Vec::new();
    for workload in &options.data {
        let folder = folder.path().join(format!("{workload:?}").to_lowercase());
        println!("Generating data: {}", workload.title());
        let source = Source::generate(folder.join("source"), *workload, options.scale, options.seed)?;
        check_room(&folder, &source, options.rounds)?;
        let mut results = Results::default();
        for round in 0..options.rounds {
            let turned = turn(&contenders, round);
            measure_round(round, &turned, &source, &folder, &interruption, &mut results)?;
        }
        if workload.is_file() {
            remove(&folder)?;
        }
        measured.push(report::Measured { workload: *workload, source: source.describe(), results });
    }
    let machine = machine::describe(folder.path(), &names, &programs);
    let report = report::Report { machine, rounds: options.rounds, seed: options.seed, names, measured };
    println!("\n{}", report.markdown());
    let json = scratch.join("last.json");
    std::fs::write(&json, report.json()?).with_context(|| format!("write {}", json.display()))?;
    println!("All figures are in {}", json.display());
    if options.write {
        let page = metadata.workspace_root.join("docs/PERFORMANCE.md");
        report.write_into(&page)?;
        println!("The tables are in {}", page.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes sure that a run does not end in the middle because the drive is full.
fn check_room(folder: &Path, source: &Source, rounds: u32) -> Result<()> {
    let is_file = source.workload().is_file();
    let copies = if is_file { COPIES_OF_FILE_MAX } else { COPIES_MAX * u64::from(rounds) };
    let needed = source.room() * copies;
    let space = rustix::fs::statvfs(folder).context("ask for free space")?;
    let free = space.f_bavail * space.f_frsize;
    ensure!(free > needed, "{} MiB are free, {} MiB may be needed; see --folder", free >> 20, needed >> 20);
    Ok(())
}

/// The contenders in an order that begins with another one in every round.
fn turn<'a>(contenders: &'a [Box<dyn Contender + 'a>], round: u32) -> Vec<&'a dyn Contender> {
    let first = round as usize % contenders.len().max(1);
    contenders.iter().cycle().skip(first).take(contenders.len()).map(|contender| &**contender).collect()
}

fn measure_round(
    round: u32,
    contenders: &[&dyn Contender],
    source: &Source,
    folder: &Path,
    interruption: &Interruption,
    results: &mut Results,
) -> Result<()> {
    let repositories = folder.join(format!("round-{round}"));
    let mut running = Vec::new();
    std::thread::sleep(SETTLE_TIME);
    for contender in contenders {
        let place = Place::make(&repositories.join(contender.name()), source)?;
        running.push((*contender, contender.prepare(&place, interruption)?, place));
    }
    for step in STEPS.into_iter().filter(|step| step.applies_to(source.workload())) {
        if step == Step::Changed {
            source.change()?;
            std::thread::sleep(SETTLE_TIME);
        }
        for (contender, session, place) in &mut running {
            if step.reads_source() {
                source.warm()?;
            }
            if step.is_from_drive() {
                machine::drop_caches()?;
            }
            let Some(cost) = contender.carry_out(step, session, place, interruption)? else { continue };
            println!("  {:<10} {:<14} {}", contender.name(), step.title(), terminal::span(cost.wall));
            results.add(contender.name(), step, cost);
            if step == Step::Restore {
                let wanted = source::fingerprint(source.folder())?;
                let found = source::fingerprint(&contender.restored(place))?;
                ensure!(found == wanted, "{} restored something else than it was given", contender.name());
                if source.workload().is_file() {
                    remove(&place.output)?;
                }
            }
        }
    }
    drop(running);
    if source.workload().is_file() {
        remove(&repositories)?;
    }
    source.reset()
}

fn remove(folder: &Path) -> Result<()> {
    std::fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))
}

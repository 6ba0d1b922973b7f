//! `cargo xtask demo`: a tour of Keepfast on this machine, in a folder that is removed at the end.
//!
//! Nothing outside the target directory is written, apart from system packages (as root), and nothing that was
//! started survives: see `process`. The tour is also a test: a command that fails ends it with exit code 1.

mod stage;
mod tour;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::keepfast::Programs;
use crate::metadata::Metadata;
use crate::process::{Interrupted, Interruption};
use crate::{system, terminal};
use stage::Stage;

/// Longer than the time in which a file counts as still being written, so that no file is read twice for it.
const SETTLE_TIME: Duration = Duration::from_secs(3);

/// How to end.
#[derive(Args)]
pub(crate) struct Options {
    /// End after the tour; otherwise everything stays up until Ctrl-C.
    #[arg(long)]
    once: bool,
}

/// Builds the programs, gives the tour, waits, cleans up.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let metadata = Metadata::read()?;
    let interruption = Interruption::catch()?;
    let result = give(options, &metadata, &interruption);
    match result {
        Err(error) if error.is::<Interrupted>() => {
            println!("\nInterrupted. Everything is stopped and the folder of the demo is removed.");
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

fn give(options: &Options, metadata: &Metadata, interruption: &Interruption) -> Result<()> {
    println!("\n{}\n", terminal::strong("Keepfast, on this machine"));
    system::ensure(system::Purpose::Demo)?;
    system::ensure_fuse()?;
    println!("Building the programs; the first time takes some minutes.");
    let programs = Programs::build(metadata, interruption)?;
    let stage = Stage::set(&metadata.scratch("demo")?, &metadata.workspace_root, interruption)?;
    std::thread::sleep(SETTLE_TIME);
    println!("Everything happens in {}.\n", stage.folder().display());
    let mut running = tour::give(&programs, &stage, interruption)?;
    if options.once {
        drop(running);
        println!("Everything is stopped and the folder is removed.\n");
        return Ok(());
    }
    tour::suggest(&programs, &stage);
    interruption.wait(|| running.ended());
    let ended = running.ended();
    println!("\nStopping.");
    drop(running);
    drop(stage);
    anyhow::ensure!(
        !ended || interruption.check().is_err(),
        "something that the demo started ended by itself"
    );
    println!("Everything is stopped and the folder is removed.\n");
    Ok(())
}

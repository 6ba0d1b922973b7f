//! One file for each group of commands; the exit code of each is its result.

mod diff;
mod drive;
mod lifeboat;
mod list;
mod look;
mod mount;
mod pool;
mod restore;
mod retention;
mod serve;
mod token;

use anyhow::Context;
use clap::CommandFactory;
use model::record::Label;
use terminal::Done;

use crate::cli::{Cli, Command};

/// Does a command.
pub(crate) fn run(command: Command) -> anyhow::Result<Done> {
    match command {
        Command::Serve { data, listen, announce } => serve::run(&data, &listen, announce),
        Command::Token(command) => token::run(command),
        Command::Machines { listing, revoke } => list::machines(&listing, revoke.as_deref()),
        Command::Sources(listing) => list::sources(&listing),
        Command::Points { listing, source } => list::points(&listing, source.as_deref()),
        Command::Ls { place, listing } => look::ls(&place, &listing),
        Command::Cat { place, data } => look::cat(&place, &data),
        Command::Diff { before, after, listing } => diff::run(&before, &after, &listing),
        Command::Restore { place, args, data } => restore::run(&place, args, &data),
        Command::Lifeboat(arguments) => lifeboat::run(arguments),
        Command::Mount { directory, data } => mount::run(&directory, &data),
        Command::Plan { source, rules, listing } => retention::plan(source.as_deref(), &rules, &listing),
        Command::Forecast { admit, change, listing } => {
            retention::forecast(admit.as_deref(), change.as_deref(), &listing)
        }
        Command::Retention(command) => retention::run(command),
        Command::Hold { place, legal, release, data } => retention::hold(&place, legal, release, &data),
        Command::Simulate(wanted) => retention::play(&wanted),
        Command::Drive(command) => drive::run(command),
        Command::Pool(command) => pool::run(command),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "keepfast", &mut std::io::stdout());
            Ok(Done::Whole)
        }
        Command::Manual => manual(),
    }
}

/// Reads MACHINE/SOURCE.
fn source_named(text: &str) -> anyhow::Result<(Label, Label)> {
    let (machine, source) = text.split_once('/').context("a source is written MACHINE/SOURCE")?;
    Ok((Label::new(machine)?, Label::new(source)?))
}

fn manual() -> anyhow::Result<Done> {
    clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?;
    Ok(Done::Whole)
}

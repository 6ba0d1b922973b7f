//! Build, test, demo, bench and tidy, as one program: `cargo xtask COMMAND`.
//!
//! One file per command; each returns its exit code: 0 done, 1 failed, 2 something is missing on this machine.
//! Whatever a command starts is stopped before it returns, also after an error and after Ctrl-C, and it writes only
//! below the target directory, apart from system packages (as root) and what `--write` and `--record` name.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal prints")]

mod arrows;
mod bench;
mod demo;
mod keepfast;
mod metadata;
mod process;
mod sim;
mod system;
mod terminal;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::system::Missing;

/// Keepfast's own tools.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A tour on this machine: protect a folder, change it, browse both points, restore.
    Demo(demo::Options),
    /// Every check there is, one after another.
    Test(test::Options),
    /// The house rules: layers, sizes, names, docs, fixtures.
    Tidy(tidy::Options),
    /// Crashes and faults over the whole storage core, from one seed.
    Sim(sim::Options),
    /// Keepfast beside cp, tar, restic and borg, in one run on generated data.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Tidy(options) => tidy::run(&options),
        Command::Sim(options) => sim::run(&options),
        Command::Bench(options) => bench::run(&options),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{} {error:#}", terminal::error_sign());
            if error.is::<Missing>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

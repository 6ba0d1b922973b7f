//! The program `keepfast-agent`: the agent on a protected machine.

mod cli;
mod commands;
mod config;
mod place;
mod progress;
mod remote;
mod signals;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let level = tracing_subscriber::EnvFilter::try_from_env("KEEPFAST_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr).init();
    match commands::run(&cli.data, cli.command) {
        Ok(commands::Done::Whole) => ExitCode::SUCCESS,
        Ok(commands::Done::WithExceptions) => ExitCode::from(3),
        Err(error) => {
            // Standard error may be closed; there is nobody else to tell.
            let _ = writeln!(std::io::stderr(), "keepfast-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

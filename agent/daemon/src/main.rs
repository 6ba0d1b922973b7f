//! The program `keepfast-agent`: the agent on a protected machine.

mod cli;
mod commands;
mod config;
mod progress;
mod remote;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    terminal::begin_log("warn");
    terminal::end("keepfast-agent", commands::run(&cli.data, cli.command))
}

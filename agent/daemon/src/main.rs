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
    let level = tracing_subscriber::EnvFilter::try_from_env("KEEPFAST_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr).init();
    terminal::end("keepfast-agent", commands::run(&cli.data, cli.command))
}

//! The program `keepfast`: the appliance, and the commands of its operator.

mod access;
mod appliance;
mod backup;
mod cli;
mod commands;
mod data;
mod files;
mod listen;
mod operator;
mod storage;
mod tokens;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let level = tracing_subscriber::EnvFilter::try_from_env("KEEPFAST_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr).init();
    terminal::end("keepfast", commands::run(cli.command))
}

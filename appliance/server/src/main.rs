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
    terminal::begin_log("info");
    terminal::end("keepfast", commands::run(cli.command))
}

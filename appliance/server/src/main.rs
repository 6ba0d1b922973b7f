//! The program `keepfast`: the appliance, and the commands of its operator.

mod access;
mod addresses;
mod appliance;
mod backup;
mod cli;
mod commands;
mod data;
mod files;
mod keeping;
mod lifeboat;
mod listen;
mod operator;
mod pace;
mod rack;
mod scrubbing;
mod storage;
mod tokens;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    // A mount that somebody else has ended is no trouble, whatever fuser says when it ends it again.
    terminal::begin_log("info,fuser=error");
    terminal::end("keepfast", commands::run(cli.command))
}

//! What the agent can be asked to do, one file for each group of commands.

mod backup;
mod look;
mod restore;
mod schedule;
mod source;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use clap::CommandFactory;
use link::{Connection, RemoteArchive};
use model::record::Label;
use wire::Token;

use crate::cli::{Cli, Command};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// As asked.
    Whole,
    /// With exceptions that were listed.
    WithExceptions,
}

/// Does a command.
pub(crate) fn run(data: &Path, command: Command) -> anyhow::Result<Done> {
    match command {
        Command::Join { token, connect } => join(data, &token, connect.as_deref()),
        Command::Source(command) => source::run(data, command),
        Command::Backup { names, json } => backup::run(data, &names, json),
        Command::Run => schedule::run(data),
        Command::Points { name, json } => look::points(data, name.as_deref(), json),
        Command::Ls { place, json } => look::ls(data, &place, json),
        Command::Restore(args) => restore::run(data, args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "keepfast-agent", &mut std::io::stdout());
            Ok(Done::Whole)
        }
    }
}

fn join(data: &Path, token: &str, connect: Option<&str>) -> anyhow::Result<Done> {
    std::fs::create_dir_all(data).with_context(|| format!("make {}", data.display()))?;
    let joined = link::join(data, &Token::parse(token)?, connect)?;
    writeln!(std::io::stdout(), "this machine is {} on the appliance at {}", joined.machine, joined.address)?;
    Ok(Done::Whole)
}

/// What can be read over a new connection, and the name of this machine.
fn archive(data: &Path) -> anyhow::Result<(RemoteArchive, Label)> {
    let connection = Connection::connect(data)?;
    let own = connection.welcome().machine.clone().context("the appliance does not know this agent")?;
    Ok((RemoteArchive::new(Arc::new(connection)), own))
}

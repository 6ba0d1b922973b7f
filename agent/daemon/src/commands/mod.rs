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
use model::archive::Archive;
use model::place::FindError;
use model::record::{Label, Point};
use model::{Place, Time};
use terminal::Done;
use wire::Token;

use crate::cli::{Cli, Command};
use crate::config::make_private;
use crate::progress::Format;

/// Does a command.
pub(crate) fn run(data: &Path, command: Command) -> anyhow::Result<Done> {
    match command {
        Command::Join { token, connect } => join(data, &token, connect.as_deref()),
        Command::Source(command) => source::run(data, command),
        Command::Backup { names, json, plain } => backup::run(data, &names, format(json, plain)),
        Command::Run => schedule::run(data),
        Command::Points { name, json } => look::points(data, name.as_deref(), json),
        Command::Ls { place, json } => look::ls(data, &place, json),
        Command::Restore { place, args } => restore::run(data, &place, args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "keepfast-agent", &mut std::io::stdout());
            Ok(Done::Whole)
        }
    }
}

const fn format(json: bool, plain: bool) -> Format {
    match (json, plain) {
        (true, _) => Format::Json,
        (_, true) => Format::Plain,
        (false, false) => Format::Fitting,
    }
}

fn join(data: &Path, token: &str, connect: Option<&str>) -> anyhow::Result<Done> {
    make_private(data)?;
    let joined = link::join(data, &Token::parse(token)?, connect)?;
    writeln!(std::io::stdout(), "this machine is {} on the appliance at {}", joined.machine, joined.address)?;
    Ok(Done::Whole)
}

/// A new connection, and the name of this machine.
fn connect(data: &Path) -> anyhow::Result<(Arc<Connection>, Label)> {
    let connection = Connection::connect(data)?;
    let own = connection.welcome().machine.clone().context("the appliance does not know this agent")?;
    Ok((Arc::new(connection), own))
}

/// What can be read over a new connection, and the name of this machine.
fn archive(data: &Path) -> anyhow::Result<(RemoteArchive, Label)> {
    let (connection, own) = connect(data)?;
    Ok((RemoteArchive::new(connection), own))
}

/// The point that is meant, among those that this agent may read.
fn find(archive: &dyn Archive, own: &Label, place: &Place) -> anyhow::Result<Point> {
    let now = jiff::Timestamp::now();
    let now = Time::from_parts(now.as_second(), u32::try_from(now.subsec_nanosecond()).unwrap_or(0));
    place.find(archive, Some(own), now).map_err(|error| match error {
        FindError::Machine(machine) => anyhow::anyhow!(
            "this agent may not read the points of {machine}; the operator allows it with `keepfast token create {own} \
             --allow-restore={machine}`, and the agent joins again with that token"
        ),
        other => other.into(),
    })
}

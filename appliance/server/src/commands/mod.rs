//! One file for each group of commands; the exit code of each is its result.

mod diff;
mod list;
mod look;
mod pool;
mod restore;
mod serve;
mod token;

use std::io::Write;
use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::{Cli, Command};

/// How a command ended.
pub(crate) enum Done {
    /// As asked.
    Whole,
    /// With exceptions that were listed.
    WithExceptions,
}

/// Does a command.
pub(crate) fn run(command: Command) -> ExitCode {
    let result = match command {
        Command::Serve { data, listen, announce } => serve::run(&data, &listen, announce),
        Command::Token(command) => token::run(command),
        Command::Machines { listing, revoke } => list::machines(&listing, revoke.as_deref()),
        Command::Sources(listing) => list::sources(&listing),
        Command::Points { listing, source } => list::points(&listing, source.as_deref()),
        Command::Ls { place, listing } => look::ls(&place, &listing),
        Command::Cat { place, data } => look::cat(&place, &data),
        Command::Diff { before, after, listing } => diff::run(&before, &after, &listing),
        Command::Restore { place, to, paths, overwrite, no_owners, data } => {
            restore::run(&place, to, &paths, overwrite, !no_owners, &data)
        }
        Command::Pool(command) => pool::run(command),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "keepfast", &mut std::io::stdout());
            Ok(Done::Whole)
        }
        Command::Manual => manual(),
    };
    match result {
        Ok(Done::Whole) => ExitCode::SUCCESS,
        Ok(Done::WithExceptions) => ExitCode::from(3),
        Err(error) => {
            // Standard error may be closed; there is nobody else to tell.
            let _ = writeln!(std::io::stderr(), "keepfast: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn manual() -> anyhow::Result<Done> {
    clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?;
    Ok(Done::Whole)
}

/// Prints rows as JSON, or as lines.
pub(crate) fn print_rows(
    json: bool,
    rows: &[serde_json::Value],
    line: impl Fn(&serde_json::Value) -> String,
) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, rows)?;
        writeln!(out)?;
    } else {
        for row in rows {
            writeln!(out, "{}", line(row))?;
        }
    }
    Ok(())
}

/// A field of a row as text.
pub(crate) fn text(row: &serde_json::Value, field: &str) -> String {
    match row.get(field) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(serde_json::Value::Null) | None => "-".into(),
        Some(other) => other.to_string(),
    }
}

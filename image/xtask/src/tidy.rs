//! The house rules as a program: layers, sizes, names, docs, manifests and fixtures.
//!
//! A rule looks at the files of the repository and says what is wrong where; nothing is mended. Every rule has a test
//! that shows it a bad sample. docs/STYLE.md says what the rules are for.

mod docs;
mod files;
mod fixtures;
mod layers;
mod manifests;
mod names;
mod ratchet;
mod rust;
mod scan;

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::metadata::Metadata;
use crate::terminal;
use files::Files;

/// What to do besides checking.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// List test data that is not yet listed; what is listed stays as it is.
    #[arg(long)]
    record: bool,
}

/// Something that breaks a rule.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Finding {
    path: String,
    line: Option<usize>,
    rule: &'static str,
    text: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {} ({})", self.text, self.rule)
    }
}

fn finding(
    path: &str,
    line: impl Into<Option<usize>>,
    rule: &'static str,
    text: impl Into<String>,
) -> Finding {
    Finding { path: path.to_owned(), line: line.into(), rule, text: text.into() }
}

/// Runs every rule and prints what it found.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let metadata = Metadata::read()?;
    if options.record {
        for line in fixtures::record(&metadata.workspace_root)? {
            println!("recorded {line}");
        }
    }
    let found = findings(&metadata)?;
    for finding in &found {
        println!("{finding}");
    }
    match found.len() {
        0 => println!("{} nothing to tidy", terminal::done_sign()),
        count => println!("{} {count} to tidy", terminal::error_sign()),
    }
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What every rule says about the workspace, in the order of files.
pub(crate) fn findings(metadata: &Metadata) -> Result<Vec<Finding>> {
    let files = Files::read(&metadata.workspace_root)?;
    let mut found = layers::check(metadata, &files);
    for rule in [names::check, rust::check, docs::check, manifests::check, fixtures::check] {
        found.extend(rule(&files));
    }
    found.sort();
    Ok(found)
}

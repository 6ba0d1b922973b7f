//! A restore that was asked for at the command line: its arguments, how far it is, and what it did.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use model::archive::{Archive, PointKey};
use model::path::split_path;
use model::{EntryName, Escaped};
use restore::{Naming, Outcome, Overwrite, Progress, Request};
use serde_json::json;

use crate::{Done, stop_flag, told};

/// Bytes of content held at a time.
const MEMORY_BYTES: usize = 64 << 20;

/// Where to, and how.
#[derive(Args)]
pub struct RestoreArgs {
    /// Directory that the tree of the point is made in; `/` restores in place
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Only this path of the point; may be given more than once
    #[arg(long = "path", value_name = "PATH")]
    paths: Vec<OsString>,
    /// Replace what differs; without it nothing that exists is touched
    #[arg(long)]
    overwrite: bool,
    /// Leave owners, setuid, devices and privileged attributes out, also as root
    #[arg(long)]
    no_owners: bool,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
}

impl RestoreArgs {
    /// The directory that is restored to.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.to
    }
}

/// Restores a point, or what is at `path` and the paths of the arguments, and prints what was done.
pub fn restore(
    archive: &dyn Archive,
    point: PointKey,
    path: &[EntryName],
    args: RestoreArgs,
    naming: Option<Naming<'_>>,
) -> anyhow::Result<Done> {
    let split =
        |path: &OsString| split_path(path.as_bytes()).with_context(|| format!("--path {}", shown(path)));
    let mut paths = args.paths.iter().map(split).collect::<anyhow::Result<Vec<_>>>()?;
    if !path.is_empty() {
        paths.push(path.to_owned());
    }
    let teller = Teller::new(args.json);
    if !args.no_owners && !rustix::process::geteuid().is_root() {
        teller.note("not root: owners, setuid, devices and privileged attributes are left out");
    }
    let request = Request {
        archive,
        point,
        target: args.to,
        paths,
        overwrite: if args.overwrite { Overwrite::Differing } else { Overwrite::Refuse },
        owners: !args.no_owners,
        // Most of the time they wait for answers.
        workers: std::thread::available_parallelism().map_or(1, usize::from) * 2,
        memory_bytes: MEMORY_BYTES,
        delete_extra: false,
        naming,
    };
    let outcome = restore::restore(&request, &teller, &*stop_flag()?);
    teller.bar.finish_and_clear();
    let outcome = outcome?;
    told(report(args.json, &outcome))?;
    Ok(Done::with(outcome.problems_count))
}

fn shown(path: &OsStr) -> String {
    Escaped(path.as_bytes()).to_string()
}

fn report(json: bool, outcome: &Outcome) -> io::Result<()> {
    let Outcome { files, directories, others, bytes_written, bytes_unchanged, problems_count, .. } = outcome;
    let mut out = io::stdout().lock();
    if json {
        let line = json!({
            "files": files,
            "directories": directories,
            "others": others,
            "bytes_written": bytes_written,
            "bytes_unchanged": bytes_unchanged,
            "exceptions": problems_count,
        });
        return writeln!(out, "{line}");
    }
    writeln!(
        out,
        "{files} files, {directories} directories, {others} others; {bytes_written} bytes written, {bytes_unchanged} \
         were there already; {problems_count} exceptions"
    )
}

/// A bar on a terminal; exceptions as they come.
struct Teller {
    json: bool,
    bar: ProgressBar,
}

impl Teller {
    fn new(json: bool) -> Self {
        let is_shown = !json && io::stderr().is_terminal();
        let bar = if is_shown { ProgressBar::no_length() } else { ProgressBar::hidden() };
        let template = "{bar:30} {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left";
        Self {
            json,
            bar: bar
                .with_style(ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar())),
        }
    }

    /// A line above the bar.
    fn note(&self, line: &str) {
        // Standard error may be closed; the outcome has what matters.
        self.bar.suspend(|| drop(writeln!(io::stderr(), "{line}")));
    }
}

impl Progress for Teller {
    fn total(&self, _: u64, bytes: u64) {
        self.bar.set_length(bytes);
    }

    fn advance(&self, _: u64, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn problem(&self, path: &[u8], message: &str) {
        let path = Escaped(path).to_string();
        if self.json {
            let line = json!({ "exception": path, "detail": message });
            // A closed standard output does not end a restore.
            let _ = writeln!(io::stdout().lock(), "{line}");
        } else {
            self.note(&format!("exception\t{path}\t{message}"));
        }
    }
}

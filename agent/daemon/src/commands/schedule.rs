//! `keepfast-agent run`: backups by schedule until a signal says stop.

use std::io::Write;
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, bail};
use croner::Cron;
use jiff::{Timestamp, Zoned};
use terminal::{Done, stop_flag};

use crate::commands::backup;
use crate::config::{Config, Source};
use crate::progress::Format;

/// How often the clock and the stop flag are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Reads a cron pattern.
pub(crate) fn parse_cron(pattern: &str) -> anyhow::Result<Cron> {
    Cron::from_str(pattern).with_context(|| format!("{pattern:?} is not a cron pattern"))
}

/// The next moment after `now` at which a source is due; none if it is backed up by hand.
fn next(source: &Source, now: &Zoned) -> anyhow::Result<Option<Timestamp>> {
    if let Some(pattern) = &source.cron {
        let next = parse_cron(pattern)?.find_next_occurrence(now, false);
        return Ok(Some(next.with_context(|| format!("{pattern:?} never comes"))?.timestamp()));
    }
    let minutes = source.every_minutes.map(|minutes| minutes.saturating_mul(60));
    let span = minutes.map(Duration::from_secs);
    span.map(|span| now.timestamp().checked_add(span).context("that is too far ahead")).transpose()
}

pub(crate) fn run(data: &Path) -> anyhow::Result<Done> {
    let sources = Config::load(data)?.choose(&[])?;
    let stop = stop_flag()?;
    backup::be_modest();
    let mut due = Vec::new();
    for source in sources {
        // What runs every so many minutes begins at once.
        let first = if source.cron.is_none() && source.every_minutes.is_some() {
            Some(Timestamp::now())
        } else {
            next(&source, &Zoned::now())?
        };
        if let Some(first) = first {
            due.push((first, source));
        }
    }
    if due.is_empty() {
        bail!("no source has a schedule; add one with --every or --cron");
    }
    while !stop.load(Ordering::Relaxed) {
        let now = Timestamp::now();
        for (when, source) in &mut due {
            if *when > now || stop.load(Ordering::Relaxed) {
                continue;
            }
            let result =
                backup::exclusive(data).and_then(|_lock| backup::backup(data, source, Format::Plain, &stop));
            if let Err(error) = result {
                writeln!(std::io::stderr(), "keepfast-agent: {}: {error:#}", source.name)?;
            }
            *when = next(source, &Zoned::now())?.unwrap_or(Timestamp::MAX);
        }
        std::thread::sleep(LOOK);
    }
    Ok(Done::Whole)
}

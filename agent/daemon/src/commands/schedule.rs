//! `keepfast-agent run`: backups by schedule until a signal says stop.
//!
//! What is protected is read again whenever the file that says it changes; a file that is wrong is told of, and what
//! was in force stays in force.

use std::io::Write;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use croner::Cron;
use jiff::{Timestamp, Zoned};
use terminal::{Done, stop_flag};

use crate::commands::backup;
use crate::config::{Config, Source, Version};
use crate::progress::Format;

/// How often the clock, the file and the stop flag are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Reads a cron pattern.
fn parse_cron(pattern: &str) -> anyhow::Result<Cron> {
    Cron::from_str(pattern).with_context(|| format!("{pattern:?} is not a cron pattern"))
}

/// The next moment after `now` at which a source is due; none if it is backed up by hand.
pub(crate) fn next(source: &Source, now: &Zoned) -> anyhow::Result<Option<Timestamp>> {
    if let Some(pattern) = &source.cron {
        let next = parse_cron(pattern)?.find_next_occurrence(now, false);
        return Ok(Some(next.with_context(|| format!("{pattern:?} never comes"))?.timestamp()));
    }
    let minutes = source.every_minutes.map(|minutes| minutes.saturating_mul(60));
    let span = minutes.map(Duration::from_secs);
    span.map(|span| now.timestamp().checked_add(span).context("that is too far ahead")).transpose()
}

/// When each source is due.
#[derive(Default)]
struct Schedule {
    due: Vec<(Timestamp, Source)>,
    /// The file that says what is protected, as it was read.
    read: Option<Version>,
}

impl Schedule {
    /// Takes in what is protected, if that has changed; sources that stay as they are stay due when they were. What is
    /// wrong with the schedules of some does not keep the others from theirs.
    fn refresh(&mut self, data: &Path, now: &Zoned) -> anyhow::Result<Vec<anyhow::Error>> {
        let version = Config::version(data);
        if self.read == version && version.is_some() {
            return Ok(Vec::new());
        }
        self.read = version;
        let (mut due, mut wrong) = (Vec::new(), Vec::new());
        for source in Config::load(data)?.sources {
            let known = self.due.iter().find(|(_, known)| *known == source);
            let first = match known {
                Some((when, _)) => Ok(Some(*when)),
                // What runs every so many minutes begins at once.
                None if source.cron.is_none() && source.every_minutes.is_some() => Ok(Some(now.timestamp())),
                None => next(&source, now),
            };
            match first {
                Ok(first) => due.extend(first.map(|first| (first, source))),
                Err(error) => wrong.push(error.context(format!("source {} is not backed up", source.name))),
            }
        }
        self.due = due;
        Ok(wrong)
    }

    /// The source that has been due for the longest. From here on it is due at its next time, counted from now.
    fn take_due(&mut self, now: &Zoned) -> Option<Source> {
        let (when, source) = self.due.iter_mut().min_by_key(|(when, _)| *when)?;
        if *when > now.timestamp() {
            return None;
        }
        // A pattern whose last time has come does not come again.
        *when = next(source, now).ok().flatten().unwrap_or(Timestamp::MAX);
        Some(source.clone())
    }
}

pub(crate) fn run(data: &Path) -> anyhow::Result<Done> {
    let stop = stop_flag()?;
    backup::be_modest();
    let mut schedule = Schedule::default();
    tell(schedule.refresh(data, &Zoned::now())?)?;
    if schedule.due.is_empty() {
        say("no source has a schedule yet; `keepfast-agent source add` with --every or --cron gives it one")?;
    }
    while !stop.load(Ordering::Relaxed) {
        match schedule.refresh(data, &Zoned::now()) {
            Ok(wrong) => tell(wrong)?,
            Err(error) => say(&format!("{error:#}; what was in force stays in force"))?,
        }
        match schedule.take_due(&Zoned::now()) {
            Some(source) => back_up(data, &source, &stop)?,
            None => std::thread::sleep(LOOK),
        }
    }
    Ok(Done::Whole)
}

/// Backs a source up; a failure is told, and the next time comes all the same.
fn back_up(data: &Path, source: &Source, stop: &Arc<AtomicBool>) -> anyhow::Result<()> {
    let result = backup::exclusive(data).and_then(|_lock| backup::backup(data, source, Format::Plain, stop));
    match result {
        Ok(_) => Ok(()),
        Err(_) if stop.load(Ordering::Relaxed) => Ok(()),
        Err(error) => say(&format!("source {}: {error:#}", source.name)),
    }
}

fn tell(wrong: Vec<anyhow::Error>) -> anyhow::Result<()> {
    wrong.iter().try_for_each(|error| say(&format!("{error:#}")))
}

fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stderr(), "keepfast-agent: {line}").context("write to standard error")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, every_minutes: Option<u64>, cron: Option<&str>) -> Source {
        let none = Vec::new;
        let cron = cron.map(str::to_owned);
        let paths = vec!["/".into()];
        let name = name.to_owned();
        Source { name, paths, excludes: none(), images: none(), one_filesystem: false, every_minutes, cron }
    }

    fn at(text: &str) -> Zoned {
        text.parse().unwrap()
    }

    #[test]
    fn sources_are_due_by_minutes_and_by_cron() {
        let folder = tempfile::tempdir().unwrap();
        let often = source("often", Some(10), None);
        let nightly = source("nightly", None, Some("30 2 * * *"));
        let config = Config { sources: vec![often, nightly, source("by hand", None, None)] };
        config.store(folder.path()).unwrap();
        let mut schedule = Schedule::default();
        schedule.refresh(folder.path(), &at("2026-11-21T02:00:00+01:00[+01:00]")).unwrap();
        let mut due = |time: &str| {
            let now = at(&format!("2026-11-21T{time}+01:00[+01:00]"));
            schedule.take_due(&now).map(|source| source.name)
        };
        assert_eq!(due("02:00:00").as_deref(), Some("often"));
        assert_eq!(due("02:00:00"), None, "once");
        assert_eq!(due("02:09:59"), None);
        assert_eq!(due("02:10:00").as_deref(), Some("often"));
        assert_eq!(due("02:30:00").as_deref(), Some("often"));
        assert_eq!(due("02:30:00").as_deref(), Some("nightly"));
        assert_eq!(due("02:39:59"), None);
    }

    #[test]
    fn a_source_that_is_always_due_leaves_the_others_their_turn() {
        let folder = tempfile::tempdir().unwrap();
        let sources = vec![source("slow", Some(1), None), source("quick", Some(1), None)];
        Config { sources }.store(folder.path()).unwrap();
        let mut schedule = Schedule::default();
        schedule.refresh(folder.path(), &at("2026-11-21T02:00:00+00:00[+00:00]")).unwrap();
        // Every backup takes five minutes.
        let turns = ["02:00", "02:05", "02:10", "02:15"].map(|time| {
            let now = at(&format!("2026-11-21T{time}:00+00:00[+00:00]"));
            schedule.take_due(&now).unwrap().name
        });
        assert_eq!(turns, ["slow", "quick", "slow", "quick"]);
    }

    #[test]
    fn a_schedule_that_never_comes_is_told_and_the_others_run() {
        let folder = tempfile::tempdir().unwrap();
        let sources = vec![source("never", None, Some("0 0 30 2 *")), source("often", Some(1), None)];
        Config { sources }.store(folder.path()).unwrap();
        let now = at("2026-11-21T02:00:00+00:00[+00:00]");
        let mut schedule = Schedule::default();
        let wrong = schedule.refresh(folder.path(), &now).unwrap();
        assert!(wrong.len() == 1 && format!("{:#}", wrong[0]).contains("source never"), "{wrong:?}");
        assert_eq!(schedule.take_due(&now).unwrap().name, "often");
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_wrong_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let now = at("2026-11-21T02:00:00+00:00[+00:00]");
        let mut schedule = Schedule::default();
        schedule.refresh(folder.path(), &now).unwrap();
        assert!(schedule.due.is_empty());
        let mut config = Config { sources: vec![source("a", Some(10), None)] };
        config.store(folder.path()).unwrap();
        schedule.refresh(folder.path(), &now).unwrap();
        schedule.take_due(&now).unwrap();
        let before = schedule.due.clone();
        config.sources.push(source("b", Some(5), None));
        config.store(folder.path()).unwrap();
        schedule.refresh(folder.path(), &now).unwrap();
        assert_eq!(schedule.due.first(), before.first(), "what was there is due when it was");
        assert_eq!(schedule.take_due(&now).unwrap().name, "b");
        std::fs::write(folder.path().join("agent.toml"), "colour = 1").unwrap();
        assert!(schedule.refresh(folder.path(), &now).is_err());
        assert_eq!(schedule.due.len(), 2);
        assert!(schedule.refresh(folder.path(), &now).is_ok(), "it is told once");
    }
}

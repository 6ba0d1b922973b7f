//! What a step costs: time, processor time, memory, and the room of what it stored.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::source::Workload;
use crate::process::{Interruption, command, run};
use crate::system;

/// What is done with every contender, in this order.
pub(crate) const STEPS: [Step; 7] =
    [Step::First, Step::Unchanged, Step::Changed, Step::Restore, Step::OneFile, Step::Stream, Step::Forget];

/// One thing that is measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub(crate) enum Step {
    /// The first backup.
    First,
    /// The same again.
    Unchanged,
    /// After one file, or page, in a hundred changed.
    Changed,
    /// Everything, into an empty folder.
    Restore,
    /// From the command to the last byte of one file in a mounted point.
    OneFile,
    /// Everything in a mounted point, read by `tar`, or by `cat` if it is one file.
    Stream,
    /// All points but the newest, until their room is free.
    Forget,
}

impl Step {
    /// Whether files of the source are read, apart from being looked at.
    pub(crate) const fn reads_source(self) -> bool {
        matches!(self, Self::First | Self::Changed)
    }

    /// Whether nothing of it is in the page cache when it begins.
    pub(crate) const fn is_from_drive(self) -> bool {
        matches!(self, Self::Stream)
    }

    /// Whether it is taken with such data.
    pub(crate) const fn applies_to(self, workload: Workload) -> bool {
        match self {
            Self::OneFile => !workload.is_file(),
            Self::Forget => workload.is_replaced(),
            _ => true,
        }
    }

    /// As it stands in tables.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::First => "first backup",
            Self::Unchanged => "unchanged",
            Self::Changed => "changed",
            Self::Restore => "full restore",
            Self::OneFile => "one file",
            Self::Stream => "read all of a mounted point, from the drive",
            Self::Forget => "forget, until room is free",
        }
    }
}

/// What a step cost.
#[derive(Clone, Copy, Default, Debug, Serialize)]
pub(crate) struct Cost {
    /// From the start of the command to its end.
    #[serde(serialize_with = "seconds")]
    pub(crate) wall: Duration,
    /// Processor time of the command and of the appliance; none for mounts.
    #[serde(serialize_with = "seconds")]
    pub(crate) processor: Duration,
    /// The most memory that the command had, and the appliance, together.
    pub(crate) memory_bytes: u64,
    /// How long it took to bring to the drive what the step left in the page cache.
    #[serde(serialize_with = "seconds")]
    pub(crate) sync: Duration,
    /// What the repository occupies afterwards.
    pub(crate) stored_bytes: u64,
    /// In a point that is mounted: until the first byte of a file.
    #[serde(serialize_with = "seconds")]
    pub(crate) first_byte: Duration,
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// Every cost of every contender and step, one for each round.
#[derive(Default)]
pub(crate) struct Results(BTreeMap<(String, Step), Vec<Cost>>);

impl Results {
    /// Adds the cost of one round.
    pub(crate) fn add(&mut self, name: &str, step: Step, cost: Cost) {
        self.0.entry((name.to_owned(), step)).or_default().push(cost);
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, Step, &[Cost])> {
        self.0.iter().map(|((name, step), costs)| (name.as_str(), *step, costs.as_slice()))
    }

    /// The median of one figure.
    pub(crate) fn median(&self, name: &str, step: Step, figure: fn(&Cost) -> f64) -> Option<f64> {
        let mut values: Vec<f64> = self.0.get(&(name.to_owned(), step))?.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (values.get((values.len() - 1) / 2)?, values.get(values.len() / 2)?);
        Some((low + high) / 2.0)
    }
}

/// Runs a command to its end and measures it, and the process `beside` (an appliance) with it.
pub(crate) fn measure(
    program: &str,
    arguments: &[&str],
    set_up: impl Fn(&mut Command),
    beside: Option<u32>,
    interruption: &Interruption,
) -> Result<Cost> {
    let report = tempfile::NamedTempFile::new().context("make a file for figures")?;
    let path = report.path().display().to_string();
    let time = system::program_path("time").context("find the program time")?.display().to_string();
    let mut timed = command(&time, &["--output", &path, "--format", "%U %S %M", "--", program]);
    timed.args(arguments);
    set_up(&mut timed);
    rustix::fs::sync();
    if let Some(id) = beside {
        reset_memory_peak(id)?;
    }
    let before = beside.map_or(Ok(Duration::ZERO), processor_time)?;
    let finished = run(&mut timed, interruption)?;
    let after = beside.map_or(Ok(Duration::ZERO), processor_time)?;
    let complaints = finished.complaints.trim();
    ensure!(finished.status.success(), "{program} {}: {complaints}", arguments.join(" "));
    let written = Instant::now();
    rustix::fs::sync();
    let text = fs::read_to_string(report.path()).context("read the figures of the program time")?;
    let (processor, memory_bytes) =
        parse_time(&text).with_context(|| format!("figures of the program time: {text:?}"))?;
    Ok(Cost {
        wall: finished.wall,
        processor: processor + (after - before),
        memory_bytes: memory_bytes + beside.map_or(Ok(0), memory_peak)?,
        sync: written.elapsed(),
        ..Cost::default()
    })
}

/// User seconds, system seconds and kibibytes, as the program `time` was told to write them.
fn parse_time(text: &str) -> Option<(Duration, u64)> {
    let mut words = text.lines().last()?.split_whitespace();
    let seconds = words.next()?.parse::<f64>().ok()? + words.next()?.parse::<f64>().ok()?;
    let kibibytes: u64 = words.next()?.parse().ok()?;
    Some((Duration::try_from_secs_f64(seconds).ok()?, kibibytes << 10))
}

/// The processor time of a process so far. Linux counts it in hundredths of a second in /proc, on every machine.
fn processor_time(id: u32) -> Result<Duration> {
    let path = format!("/proc/{id}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    // The name of the program may hold anything; what follows begins behind its last bracket.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let hundredths: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(hundredths * 10))
}

fn reset_memory_peak(id: u32) -> Result<()> {
    let path = format!("/proc/{id}/clear_refs");
    fs::write(&path, "5").with_context(|| format!("write {path}"))
}

fn memory_peak(id: u32) -> Result<u64> {
    let path = format!("/proc/{id}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    let kibibytes: u64 = line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0);
    Ok(kibibytes << 10)
}

/// What a folder occupies.
pub(crate) fn room(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut sum = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        let data = entry.metadata().with_context(|| format!("look at {}", entry.path().display()))?;
        sum += data.blocks() * 512;
        if data.is_dir() {
            sum += room(&entry.path())?;
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_those_of_one_figure() {
        let mut results = Results::default();
        for seconds in [5, 1, 3] {
            results.add("a", Step::First, Cost { wall: Duration::from_secs(seconds), ..Cost::default() });
        }
        let wall = |cost: &Cost| cost.wall.as_secs_f64();
        assert_eq!(results.median("a", Step::First, wall), Some(3.0));
        results.add("a", Step::First, Cost { wall: Duration::from_secs(4), ..Cost::default() });
        assert_eq!(results.median("a", Step::First, wall), Some(3.5));
        assert_eq!(results.median("a", Step::Restore, wall), None);
    }

    #[test]
    fn the_last_line_of_time_counts() {
        let expected = Some((Duration::from_millis(1750), 2048));
        assert_eq!(parse_time("Command exited with non-zero status 1\n1.50 0.25 2\n"), expected);
        assert_eq!(parse_time("1.50 x 2"), None);
    }

    #[test]
    fn figures_of_a_process_are_found() {
        let me = std::process::id();
        let busy = Instant::now();
        while processor_time(me).unwrap() == Duration::ZERO {
            assert!(busy.elapsed() < Duration::from_secs(30));
        }
        assert!(memory_peak(me).unwrap() > 1 << 20);
    }
}

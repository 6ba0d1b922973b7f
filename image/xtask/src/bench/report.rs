//! Figures as tables: for the terminal, for docs/PERFORMANCE.md, and as JSON with every round.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use super::cost::{Cost, Results, STEPS, Step};
use super::machine::Machine;
use super::source::Workload;

const OURS: &str = "keepfast";
/// Who has points and deduplicates as we do.
const PEERS: [&str; 5] = ["restic", "borg", "rustic", "bupstash", "kopia"];
/// Who does nothing but read, write, and compress.
const PLAIN: [&str; 2] = ["cp", "tar-zstd"];
/// Where the tables of a page are, and its table of all runs.
const TABLES: [&str; 2] = ["<!-- bench:begin -->", "<!-- bench:end -->"];
const HISTORY: [&str; 2] = ["<!-- history:begin -->", "<!-- history:end -->"];
const MEBIBYTE: f64 = 1_048_576.0;

/// Everything that was found.
pub(crate) struct Report<'a> {
    /// Where.
    pub(crate) machine: Machine,
    /// How often.
    pub(crate) rounds: u32,
    /// Where the data come from.
    pub(crate) seed: u64,
    /// By whom, ourselves first.
    pub(crate) names: Vec<&'a str>,
    /// The figures.
    pub(crate) measured: Vec<Measured>,
}

/// What was found on one kind of data.
pub(crate) struct Measured {
    /// What kind.
    pub(crate) workload: Workload,
    /// The data, in words.
    pub(crate) source: String,
    /// The figures.
    pub(crate) results: Results,
}

struct Figure {
    title: &'static str,
    value: fn(&Cost) -> f64,
    digits: usize,
    steps: &'static [Step],
}

const BACKUPS: &[Step] = &[Step::First, Step::Unchanged, Step::Changed];
const COMMANDS: &[Step] = &[Step::First, Step::Unchanged, Step::Changed, Step::Restore];
/// What the table of all runs has.
const KEPT: [Step; 5] = [Step::First, Step::Unchanged, Step::Changed, Step::Restore, Step::Stream];

const FIGURES: [Figure; 7] = [
    Figure { title: "seconds", value: |cost| cost.wall.as_secs_f64(), digits: 2, steps: &STEPS },
    Figure { title: "seconds until it is on the drive", value: durable_seconds, digits: 2, steps: COMMANDS },
    Figure {
        title: "seconds of processor",
        value: |cost| cost.processor.as_secs_f64(),
        digits: 2,
        steps: COMMANDS,
    },
    Figure {
        title: "peak memory, MiB",
        value: |cost| mebibytes(cost.memory_bytes),
        digits: 0,
        steps: COMMANDS,
    },
    Figure {
        title: "stored afterwards, MiB",
        value: |cost| mebibytes(cost.stored_bytes),
        digits: 1,
        steps: BACKUPS,
    },
    Figure {
        title: "seconds of the sync that follows",
        value: |cost| cost.sync.as_secs_f64(),
        digits: 2,
        steps: COMMANDS,
    },
    Figure {
        title: "first byte in a mounted point, milliseconds",
        value: |cost| cost.first_byte.as_secs_f64() * 1e3,
        digits: 1,
        steps: &[Step::OneFile],
    },
];

/// With what is left in the page cache: who syncs before he ends is compared with who does not.
fn durable_seconds(cost: &Cost) -> f64 {
    (cost.wall + cost.sync).as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / MEBIBYTE
}

impl Report<'_> {
    /// The tables, with all that must be known to read them.
    pub(crate) fn markdown(&self) -> String {
        let Machine { date, hardware, system, programs } = &self.machine;
        let mut text = format!(
            "{date}, {hardware}, {system}. Medians of {} rounds, seed {}, page cache warm.\n\nPrograms: {}.\n",
            self.rounds,
            self.seed,
            programs.join("; ")
        );
        for measured in &self.measured {
            let Measured { workload, source, .. } = measured;
            let _ = write!(text, "\n### {}: {source}\n", capitalized(workload.title()));
            for figure in &FIGURES {
                text.push_str(&self.table(measured, figure));
            }
        }
        text
    }

    fn table(&self, measured: &Measured, figure: &Figure) -> String {
        let mut rows = String::new();
        for &step in figure.steps.iter().filter(|step| step.applies_to(measured.workload)) {
            let median = |name: &str| measured.median(name, step, figure.value);
            let cell = |value: Option<f64>| {
                value.map_or_else(|| "-".into(), |value| format!("{value:.*}", figure.digits))
            };
            let cells: Vec<String> = self.names.iter().map(|name| cell(median(name))).collect();
            let [peers, plain] = [PEERS.as_slice(), &PLAIN].map(|to| measured.ratio(step, figure.value, to));
            let _ = writeln!(
                rows,
                "| {} | {} | {} | {} |",
                step.title(),
                cells.join(" | "),
                ratio(peers),
                ratio(plain)
            );
        }
        if rows.is_empty() {
            return rows;
        }
        let names = self.names.join(" | ");
        let line = "---:|".repeat(self.names.len() + 2);
        format!(
            "\n| {} | {names} | ours to the best peer | to the best of cp, tar |\n|---|{line}\n{rows}",
            figure.title
        )
    }

    /// The rows of this run in the table of all: how we stand to the best peer, or to `cp` where no other takes part.
    fn history(&self) -> String {
        let row = |measured: &Measured| {
            let of = |step: Step| {
                let peers = measured.ratio(step, durable_seconds, &PEERS);
                ratio(peers.or_else(|| measured.ratio(step, durable_seconds, &PLAIN)))
            };
            let plain = ratio(measured.ratio(Step::First, durable_seconds, &["tar-zstd"]));
            let cells = KEPT.map(of).join(" | ");
            format!("| {} | {} | {cells} | {plain} |\n", self.machine.date, measured.source)
        };
        self.measured.iter().map(row).collect()
    }

    /// Every figure of every round.
    pub(crate) fn json(&self) -> Result<String> {
        let results = |measured: &Measured| {
            let rows = measured.results.all();
            let row = |(name, step, costs): (&str, Step, &[Cost])| json!({"contender": name, "step": step.title(), "rounds": costs});
            let rows: Vec<_> = rows.map(row).collect();
            json!({"data": measured.workload, "source": measured.source, "results": rows})
        };
        let measured: Vec<_> = self.measured.iter().map(results).collect();
        let all = json!({"machine": self.machine, "seed": self.seed, "measured": measured});
        serde_json::to_string_pretty(&all).context("encode the figures")
    }

    /// Replaces the tables of a page, and adds to its table of all runs.
    pub(crate) fn write_into(&self, page: &Path) -> Result<()> {
        let text = std::fs::read_to_string(page).with_context(|| format!("read {}", page.display()))?;
        let replaced = change(&text, TABLES, |_| self.markdown());
        let replaced = replaced.and_then(|text| {
            change(&text, HISTORY, |before| format!("{}\n{}", before.trim(), self.history()))
        });
        let replaced = replaced.with_context(|| {
            format!("{} lacks one of {}, {}", page.display(), TABLES.join(", "), HISTORY.join(", "))
        })?;
        std::fs::write(page, replaced).with_context(|| format!("write {}", page.display()))
    }
}

impl Measured {
    fn median(&self, name: &str, step: Step, figure: fn(&Cost) -> f64) -> Option<f64> {
        self.results.median(name, step, figure).filter(|value| *value > 0.0)
    }

    /// Our figure in relation to the best of others.
    fn ratio(&self, step: Step, figure: fn(&Cost) -> f64, others: &[&str]) -> Option<f64> {
        let best = others.iter().filter_map(|name| self.median(name, step, figure)).min_by(f64::total_cmp)?;
        Some(self.median(OURS, step, figure)? / best)
    }
}

fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}"))
}

fn capitalized(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Changes what is between two marks.
fn change(page: &str, [begin, end]: [&str; 2], change: impl FnOnce(&str) -> String) -> Option<String> {
    let (before, rest) = page.split_once(begin)?;
    let (between, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}\n{}\n{end}{after}", change(between).trim()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let [begin, end] = TABLES;
        let page = format!("a\n{begin}\nold\n{end}\nb\n");
        let changed = change(&page, TABLES, |old| format!("{}er\n", old.trim()));
        assert_eq!(changed, Some(format!("a\n{begin}\nolder\n{end}\nb\n")));
        assert_eq!(change("a", TABLES, str::to_owned), None);
    }

    #[test]
    fn a_table_shows_medians_and_compares_with_the_best_peer() {
        let mut results = Results::default();
        for (name, seconds) in [("keepfast", 3), ("cp", 1), ("restic", 12), ("borg", 6)] {
            results.add(name, Step::First, Cost { wall: Duration::from_secs(seconds), ..Cost::default() });
        }
        let machine =
            Machine { date: "d".into(), hardware: "h".into(), system: "s".into(), programs: vec![] };
        let names = vec!["keepfast", "cp", "restic", "borg"];
        let measured = vec![Measured { workload: Workload::Tree, source: "x".into(), results }];
        let report = Report { machine, rounds: 1, seed: 1, names, measured };
        let text = report.markdown();
        assert!(text.contains("\n### Tree: x\n"), "{text}");
        assert!(text.contains("| first backup | 3.00 | 1.00 | 12.00 | 6.00 | 0.50 | 3.00 |\n"), "{text}");
        assert!(text.contains("| full restore | - | - | - | - | - | - |\n"), "{text}");
        assert!(!text.contains("forget"), "{text}");
        assert_eq!(report.history(), "| d | x | 0.50 | - | - | - | - | - |\n");
        assert!(report.json().unwrap().contains("\"wall\": 12.0"));
    }
}

//! Figures as tables: for the terminal, for docs/PERFORMANCE.md, and as JSON with every round.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use super::cost::{Cost, Results, STEPS, Step};
use super::machine::Machine;

const OURS: &str = "keepfast";
/// Who has points and deduplicates as we do.
const PEERS: [&str; 2] = ["restic", "borg"];
const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";
const MEBIBYTE: f64 = 1_048_576.0;

/// Everything that was found.
pub(crate) struct Report<'a> {
    /// Where.
    pub(crate) machine: Machine,
    /// On what.
    pub(crate) source: String,
    /// How often.
    pub(crate) rounds: u32,
    /// By whom, ourselves first.
    pub(crate) names: Vec<&'a str>,
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

const FIGURES: [Figure; 6] = [
    Figure { title: "seconds", value: |cost| cost.wall.as_secs_f64(), digits: 2, steps: &STEPS },
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

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / MEBIBYTE
}

impl Report<'_> {
    /// The tables, with all that must be known to read them.
    pub(crate) fn markdown(&self) -> String {
        let Machine { date, hardware, system, programs } = &self.machine;
        let mut text = format!(
            "{date}, {hardware}, {system}. {}. Medians of {} rounds, page cache warm.\n\nPrograms: {}.\n",
            self.source,
            self.rounds,
            programs.join("; ")
        );
        for figure in &FIGURES {
            text.push_str(&self.table(figure));
        }
        text
    }

    fn table(&self, figure: &Figure) -> String {
        let mut text = format!(
            "\n| {} | {} | ours to the best of restic, borg |\n",
            figure.title,
            self.names.join(" | ")
        );
        text.push_str(&format!("|---|{}---:|\n", "---:|".repeat(self.names.len())));
        for &step in figure.steps {
            let median =
                |name: &str| self.results.median(name, step, figure.value).filter(|value| *value > 0.0);
            let cell = |value: Option<f64>| {
                value.map_or_else(|| "-".into(), |value| format!("{value:.*}", figure.digits))
            };
            let cells: Vec<String> = self.names.iter().map(|name| cell(median(name))).collect();
            let best = PEERS.iter().filter_map(|name| median(name)).min_by(f64::total_cmp);
            let ratio = median(OURS)
                .zip(best)
                .map_or_else(|| "-".into(), |(ours, best)| format!("{:.2}", ours / best));
            text.push_str(&format!("| {} | {} | {ratio} |\n", step.title(), cells.join(" | ")));
        }
        text
    }

    /// Every figure of every round.
    pub(crate) fn json(&self) -> Result<String> {
        let results: Vec<_> = self
            .results
            .all()
            .map(|(name, step, costs)| json!({"contender": name, "step": step.title(), "rounds": costs}))
            .collect();
        let all = json!({"machine": self.machine, "source": self.source, "results": results});
        serde_json::to_string_pretty(&all).context("encode the figures")
    }

    /// Replaces the tables of a page.
    pub(crate) fn write_into(&self, page: &Path) -> Result<()> {
        let text = std::fs::read_to_string(page).with_context(|| format!("read {}", page.display()))?;
        let replaced = replace(&text, &self.markdown());
        let replaced = replaced.with_context(|| format!("{} lacks {BEGIN} or {END}", page.display()))?;
        std::fs::write(page, replaced).with_context(|| format!("write {}", page.display()))
    }
}

/// Puts `tables` between the two marks.
fn replace(page: &str, tables: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n{END}{after}", tables.trim()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let page = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        assert_eq!(replace(&page, "new\n"), Some(format!("a\n{BEGIN}\nnew\n{END}\nb\n")));
        assert_eq!(replace("a", "new"), None);
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
        let report = Report { machine, source: "x".into(), rounds: 1, names, results };
        let text = report.markdown();
        assert!(text.contains("| first backup | 3.00 | 1.00 | 12.00 | 6.00 | 0.50 |\n"), "{text}");
        assert!(text.contains("| full restore | - | - | - | - | - |\n"), "{text}");
        assert!(report.json().unwrap().contains("\"wall\": 12.0"));
    }
}

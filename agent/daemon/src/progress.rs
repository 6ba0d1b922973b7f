//! How far a backup is: a bar on a terminal, JSON lines for programs, plain lines otherwise.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use capture::{Progress, Task};
use indicatif::{ProgressBar, ProgressStyle};
use model::Escaped;
use model::record::{Exception, Totals};

/// Between two JSON lines about how far a backup is.
const EVERY: Duration = Duration::from_secs(1);

/// How a backup is to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A bar on a terminal, JSON lines otherwise.
    Fitting,
    /// JSON lines on standard output.
    Json,
    /// What is wrong and what came of it, in words.
    Plain,
}

enum Way {
    Bar(ProgressBar),
    Json { last: Mutex<Instant> },
    Plain,
}

/// Tells a person or a program how far a backup is.
pub(crate) struct Teller {
    way: Way,
    source: String,
}

impl Teller {
    /// Begins to tell of the backup of a source.
    pub(crate) fn new(source: &str, format: Format) -> anyhow::Result<Self> {
        let is_terminal = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        let way = match format {
            Format::Plain => Way::Plain,
            Format::Fitting if is_terminal => {
                let bar = ProgressBar::new_spinner();
                bar.set_style(ProgressStyle::with_template("{spinner} {prefix} {msg} [{elapsed}]")?);
                bar.set_prefix(source.to_owned());
                bar.enable_steady_tick(Duration::from_millis(200));
                Way::Bar(bar)
            }
            Format::Fitting | Format::Json => Way::Json { last: Mutex::new(Instant::now()) },
        };
        Ok(Self { way, source: source.to_owned() })
    }

    /// Whether programs listen.
    pub(crate) const fn is_json(&self) -> bool {
        matches!(self.way, Way::Json { .. })
    }

    /// One JSON line on standard output.
    pub(crate) fn say(&self, line: &serde_json::Value) {
        if self.is_json() {
            // A closed standard output does not end a backup.
            let _ = writeln!(std::io::stdout().lock(), "{line}");
        }
    }

    /// Says why nothing happens at the moment.
    pub(crate) fn waits(&self, why: &str) {
        match &self.way {
            Way::Bar(bar) => bar.set_message(why.to_owned()),
            Way::Json { .. } => self.say(&serde_json::json!({ "source": self.source, "waits": why })),
            Way::Plain => {
                // A closed standard error does not end a backup.
                let _ = writeln!(std::io::stderr().lock(), "keepfast-agent: source {}: {why}", self.source);
            }
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        if let Way::Bar(bar) = &self.way {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Teller {
    fn task(&self, task: Task) {
        match &self.way {
            Way::Bar(bar) => bar.set_message(task.word()),
            Way::Json { .. } => self.say(&serde_json::json!({ "source": self.source, "task": task.word() })),
            Way::Plain => {}
        }
    }

    fn count(&self, totals: &Totals) {
        match &self.way {
            Way::Bar(bar) => bar.set_message(format!(
                "{} files, {} read, {} sent",
                totals.files,
                indicatif::HumanBytes(totals.bytes_read),
                indicatif::HumanBytes(totals.bytes_sent)
            )),
            Way::Json { last } => {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if last.elapsed() < EVERY {
                    return;
                }
                *last = Instant::now();
                self.say(&serde_json::json!({
                    "source": self.source,
                    "files": totals.files,
                    "bytes_read": totals.bytes_read,
                    "bytes_sent": totals.bytes_sent,
                }));
            }
            Way::Plain => {}
        }
    }

    fn problem(&self, exception: &Exception) {
        let (path, word) = (Escaped(&exception.path).to_string(), exception.cause.word());
        match &self.way {
            Way::Bar(bar) => bar.println(format!("exception\t{path}\t{word}: {}", exception.detail)),
            Way::Json { .. } => self.say(&serde_json::json!({
                "source": self.source, "exception": path, "cause": word, "detail": exception.detail,
            })),
            Way::Plain => {
                // Standard error may be closed; the point lists the exception all the same.
                let _ = writeln!(std::io::stderr(), "exception\t{path}\t{word}: {}", exception.detail);
            }
        }
    }
}

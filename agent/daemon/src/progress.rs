//! How far a backup is: a bar on a terminal, JSON lines for programs, plain lines otherwise.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use capture::{Progress, Task};
use indicatif::{ProgressBar, ProgressStyle};
use model::Escaped;
use model::record::{Exception, Totals};

/// Files between two JSON lines.
const EVERY: u64 = 5000;

enum Way {
    Bar(ProgressBar),
    Json,
    Plain,
}

/// Tells a person or a program how far a backup is.
pub(crate) struct Teller {
    way: Way,
    source: String,
    last: AtomicU64,
}

impl Teller {
    /// In JSON if wanted, else as fits where standard error goes.
    pub(crate) fn new(source: &str, json: bool) -> anyhow::Result<Self> {
        let way = if json {
            Way::Json
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new_spinner();
            bar.set_style(ProgressStyle::with_template("{spinner} {prefix} {msg} [{elapsed}]")?);
            bar.set_prefix(source.to_owned());
            bar.enable_steady_tick(std::time::Duration::from_millis(200));
            Way::Bar(bar)
        } else {
            Way::Plain
        };
        Ok(Self { way, source: source.to_owned(), last: AtomicU64::new(0) })
    }

    /// One JSON line on standard output.
    pub(crate) fn say(&self, line: &serde_json::Value) {
        if matches!(self.way, Way::Json) {
            // A closed standard output does not end a backup.
            let _ = writeln!(std::io::stdout().lock(), "{line}");
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
            Way::Json => self.say(&serde_json::json!({ "source": self.source, "task": task.word() })),
            Way::Plain => {}
        }
    }

    fn count(&self, totals: &Totals) {
        let seen = totals.files + totals.directories + totals.others;
        match &self.way {
            Way::Bar(bar) => bar.set_message(format!(
                "{} files, {} read, {} sent",
                totals.files,
                indicatif::HumanBytes(totals.bytes_read),
                indicatif::HumanBytes(totals.bytes_sent)
            )),
            Way::Json if seen >= self.last.load(Ordering::Relaxed) + EVERY => {
                self.last.store(seen, Ordering::Relaxed);
                self.say(&serde_json::json!({
                    "source": self.source,
                    "files": totals.files,
                    "bytes_read": totals.bytes_read,
                    "bytes_sent": totals.bytes_sent,
                }));
            }
            Way::Json | Way::Plain => {}
        }
    }

    fn problem(&self, exception: &Exception) {
        let (path, word) = (Escaped(&exception.path).to_string(), exception.cause.word());
        match &self.way {
            Way::Bar(bar) => bar.println(format!("exception\t{path}\t{word}: {}", exception.detail)),
            Way::Json => self.say(&serde_json::json!({
                "source": self.source, "exception": path, "cause": word, "detail": exception.detail,
            })),
            Way::Plain => {
                // Standard error may be closed; the point lists the exception all the same.
                let _ = writeln!(std::io::stderr(), "exception\t{path}\t{word}: {}", exception.detail);
            }
        }
    }
}

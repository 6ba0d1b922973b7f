//! The last operations of a simulated disk, for reports of failures.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use crate::Operation;

/// Lines that are kept.
const LINES_MAX: usize = 200;

/// One operation.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) operation: Operation,
    pub(super) path: Arc<str>,
    /// Where and how much, for writes and lengths.
    pub(super) range: Option<(u64, u64)>,
    /// What went wrong, if anything.
    pub(super) outcome: Option<&'static str>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6} {} '{}'", self.number, self.operation, self.path)?;
        if let Some((start, end)) = self.range {
            write!(f, " {start}..{end}")?;
        }
        self.outcome.map_or(Ok(()), |outcome| write!(f, ": {outcome}"))
    }
}

/// The last [`LINES_MAX`] operations.
#[derive(Clone, Debug, Default)]
pub(super) struct Log(VecDeque<Line>);

impl Log {
    pub(super) fn push(&mut self, line: Line) {
        if self.0.len() == LINES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(line);
    }

    /// Says how the last operation went.
    pub(super) fn outcome(&mut self, outcome: &'static str) {
        if let Some(line) = self.0.back_mut() {
            line.outcome = Some(outcome);
        }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

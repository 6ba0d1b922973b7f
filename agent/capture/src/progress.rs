//! Progress: what a backup says while it runs. It may call from any of its threads.

use model::record::{Exception, Totals};

/// What a backup is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Opening the cache and beginning with the appliance.
    Begin,
    /// Walking, reading and sending.
    Scan,
    /// Waiting for the appliance to make the point.
    Finish,
    /// Noting in the cache what the point holds.
    Remember,
}

impl Task {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Scan => "scan",
            Self::Finish => "finish",
            Self::Remember => "remember",
        }
    }
}

/// Takes what a backup says.
pub trait Progress: Send + Sync {
    /// A task begins.
    fn task(&self, task: Task);

    /// Figures so far; called at most ten times a second.
    fn count(&self, totals: &Totals);

    /// Something is not in the point as it should be.
    fn problem(&self, exception: &Exception);
}

/// Says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn task(&self, _: Task) {}
    fn count(&self, _: &Totals) {}
    fn problem(&self, _: &Exception) {}
}

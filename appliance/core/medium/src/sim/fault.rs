//! Calls that fail, tear, lie or lose power, by plan.

use crate::Operation;

/// Which calls a plan counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// Changes and syncs, as [`SimDisk::operations`](super::SimDisk::operations) counts them.
    Changes,
    /// `read_at`, as [`SimDisk::reads`](super::SimDisk::reads) counts it.
    Reads,
}

/// What happens instead of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// EIO. A sync that fails so drops what was pending, except for sectors that made it by chance.
    Error,
    /// ENOSPC from everything that needs room: create, make directory, write.
    NoSpace,
    /// A write puts down its first part, then fails with EIO.
    ShortWrite,
    /// A write puts down any of its sectors, then fails with EIO.
    TornWrite,
    /// A sync reports success and does nothing; a later honest one makes up for it.
    LyingSync,
    /// The power goes before the call has an effect, and every later call fails.
    Crash,
}

/// A fault, and when it strikes: at the first call numbered `at` or later that it fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultPlan {
    /// What happens.
    pub fault: Fault,
    /// Which calls are counted.
    pub calls: Calls,
    /// The number of the call, from 1.
    pub at: u64,
    /// Strike again at every later call that it fits, until the faults are cleared.
    pub lasting: bool,
    /// Only paths that begin with this text; for a rename, either of the two.
    pub under: String,
}

impl FaultPlan {
    /// Strikes once, at change or sync number `at`, on any path.
    #[must_use]
    pub const fn once(fault: Fault, at: u64) -> Self {
        Self { fault, calls: Calls::Changes, at, lasting: false, under: String::new() }
    }

    /// Strikes from change or sync number `at` on, until the faults are cleared.
    #[must_use]
    pub const fn lasting(fault: Fault, at: u64) -> Self {
        Self { fault, calls: Calls::Changes, at, lasting: true, under: String::new() }
    }

    /// The same for reads.
    #[must_use]
    pub fn on_reads(self) -> Self {
        Self { calls: Calls::Reads, ..self }
    }

    /// The same for paths that begin with `under` only.
    #[must_use]
    pub fn under(self, under: &str) -> Self {
        Self { under: under.to_owned(), ..self }
    }

    /// Whether the call with this number is one to strike at.
    pub(super) fn fits(&self, operation: Operation, number: u64, path: &str) -> bool {
        let counted = match self.calls {
            Calls::Reads => operation == Operation::Read,
            Calls::Changes => operation != Operation::Read,
        };
        let able = match self.fault {
            Fault::Error | Fault::Crash => true,
            Fault::NoSpace => {
                matches!(operation, Operation::Create | Operation::MakeDirectory | Operation::Write)
            }
            Fault::ShortWrite | Fault::TornWrite => operation == Operation::Write,
            Fault::LyingSync => matches!(operation, Operation::Sync | Operation::SyncDirectory),
        };
        let here = path.split(" -> ").any(|path| path.starts_with(&self.under));
        counted && able && here && number >= self.at
    }
}

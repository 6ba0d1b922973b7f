//! What the appliance remembers of one backup on a connection: how far its bundles and operations have come.

use model::SequenceNumber;

use crate::WireError;

/// A backup that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    number: u64,
    bundle: u64,
    sequence: SequenceNumber,
}

impl Session {
    /// A backup whose source has operations up to `sequence`.
    pub(crate) const fn new(number: u64, sequence: SequenceNumber) -> Self {
        Self { number, bundle: 0, sequence }
    }

    /// Takes the next bundle.
    pub(crate) const fn data(&mut self, number: u64) -> Result<(), WireError> {
        if number != self.bundle.saturating_add(1) {
            let (session, last) = (self.number, self.bundle);
            return Err(WireError::BundleNumber { session, last, found: number });
        }
        self.bundle = number;
        Ok(())
    }

    /// Takes `count` operations from `first` on; how many of them came before.
    pub(crate) fn operations(&mut self, first: SequenceNumber, count: u32) -> Result<u32, WireError> {
        let expected = self.sequence.next();
        let gap = WireError::OperationGap { session: self.number, last: self.sequence, found: first };
        // A stream whose numbers run out has no next operation: nothing can follow the largest one.
        let Some(end) = first.0.checked_add(u64::from(count)).filter(|_| first <= expected) else {
            return Err(gap);
        };
        let repeated = (expected.0 - first.0).min(u64::from(count));
        self.sequence = self.sequence.max(SequenceNumber(end - 1));
        Ok(u32::try_from(repeated).unwrap_or(count))
    }

    /// Checks that `last` is the last operation received.
    pub(crate) fn finish(&self, last: SequenceNumber) -> Result<(), WireError> {
        if last == self.sequence {
            return Ok(());
        }
        Err(WireError::LastOperation { session: self.number, last: self.sequence, found: last })
    }
}

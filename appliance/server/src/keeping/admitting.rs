//! A source without a point asks to be admitted: nobody's history goes for one whose floor has no room.
//!
//! The agent says how large the source seems to be. If its floor fits beside the floors and holds of the others, its first
//! backup is like any other. If it does not fit, if the agent said nothing, or once more has come than it said, the backup is
//! *on trial*: it takes the room that is free below the high-water mark, because what is stored may be far less
//! than what there is, and is refused when that is used up. Nothing that an agent says is trusted further than that.

use std::sync::Arc;

use medium::Redundancy;
use model::archive::ArchiveError;
use model::{ErrorKind, SourceId};
use pool::Shared;
use retention::{Admission, Newcomer, PoolBounds, Refusal, admission};

use super::figures::Figures;
use super::foretelling::Present;
use super::orders::name_of;
use super::refusals::Refusals;
use crate::storage::Storage;

/// The first backup of a source.
pub(crate) struct Trial {
    admission: Admission,
    bounds: PoolBounds,
    /// What the agent said that there is.
    announced: Option<u64>,
    /// Bytes that may come before the room that is free counts.
    allowed: u64,
    sent: u64,
    name: String,
    /// What keeps others from going.
    kept: String,
    refusals: Arc<Refusals>,
}

impl Trial {
    /// Looks at a source that is about to send to a pool that is usually kept so; none if it has a point already.
    pub(crate) fn begin(
        storage: &Storage,
        figures: &Figures,
        refusals: &Arc<Refusals>,
        source: SourceId,
        announced: Option<u64>,
        usual: Redundancy,
    ) -> Result<Option<Self>, ArchiveError> {
        let shared = storage.shared();
        if shared.registry(|registry| registry.points_of(source).next().is_some()) {
            return Ok(None);
        }
        // What others have sent counts only from then on.
        storage.change(|pool| pool.commit(Vec::new()).and_then(|()| pool.flush_catalog()))?;
        // Without it nobody knows what may go of others.
        figures.measure_some(shared, usize::MAX)?;
        let mut present = Present::of(shared, figures, usual)?;
        present.state.sources.remove(&source);
        let policy = present.policies.remove(&source).unwrap_or_default();
        // A source that says nothing needs a byte at least.
        let newcomer = Newcomer::expected(&present.outlook(0), source, announced.unwrap_or(1), None, policy);
        let admission = admission(&present.outlook(0), &newcomer);
        let name = |source| shared.registry(|registry| name_of(registry, source));
        let kept = present.outlook(0).kept_in_words(&name);
        let allowed = announced.filter(|_| admission.fits()).unwrap_or(0);
        let (bounds, name) = (present.bounds, name(source));
        let refusals = Arc::clone(refusals);
        Ok(Some(Self { admission, bounds, announced, allowed, sent: 0, name, kept, refusals }))
    }

    /// Takes in that bytes are about to be stored, on top of some that no commit covers yet; fails if there is no room
    /// that is free.
    pub(crate) fn take(&mut self, shared: &Shared, bytes: u64, uncommitted: u64) -> Result<(), ArchiveError> {
        self.sent = self.sent.saturating_add(bytes);
        if self.sent <= self.allowed {
            return Ok(());
        }
        let usage = shared.usage()?;
        let drives_bytes = usage.segment_bytes.saturating_add(usage.available_bytes);
        let high_bytes = self.bounds.marks(drives_bytes).high_bytes;
        let taken = usage.segment_bytes.saturating_add(uncommitted).saturating_add(bytes);
        if taken <= high_bytes {
            return Ok(());
        }
        self.refusals.leave_room();
        let refusal = Refusal {
            announced_bytes: self.announced,
            sent_bytes: self.sent,
            used_bytes: usage.segment_bytes,
            kept: &self.kept,
        };
        let message = self.admission.refusal_in_words(&self.name, &refusal);
        Err(ArchiveError { kind: ErrorKind::Full, message })
    }
}

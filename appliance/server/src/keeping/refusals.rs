//! Why data is not taken: from some sources, because what must be kept leaves no room; from all, while room is made.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use model::archive::ArchiveError;
use model::{ErrorKind, SourceId};

/// Said to who may try again.
const WAIT: &str = "the pool is full, and the oldest points are being folded to make room; what was sent is \
                    kept, and the backup can go on in a moment";
/// Said to who need not.
const NO_ROOM: &str = "there is no room for this backup: the pool is full, and every point that may go for it has \
                       gone; all that is kept can be read. A larger drive or capacity, lower floors or less to back up would help.";

/// Why which sources are refused at the moment.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    sentences: Mutex<BTreeMap<SourceId, String>>,
    /// What is kept, and why; known when nothing is left that may go for a backup.
    kept: Mutex<Option<String>>,
    progress: Mutex<Progress>,
    /// How far the keeper was when a source was last told to try again.
    told: Mutex<BTreeMap<SourceId, Progress>>,
    /// A backup was refused while it was under way; what it has sent is of no use.
    has_left_room: AtomicBool,
}

/// What the keeper has done so far.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Points that were folded.
    folded: usize,
    /// Times that it came to where nothing more was to be had.
    ended: usize,
    /// Times that it was asked for more.
    wants: u64,
}

impl Refusals {
    /// Says anew who is refused.
    pub(crate) fn replace(&self, sentences: BTreeMap<SourceId, String>) {
        *self.sentences.lock().unwrap_or_else(PoisonError::into_inner) = sentences;
    }

    /// Says that what a refused backup has sent may go.
    pub(crate) fn leave_room(&self) {
        self.has_left_room.store(true, Ordering::Relaxed);
    }

    /// Whether anybody said so since this was asked last.
    pub(super) fn has_left_room(&self) -> bool {
        self.has_left_room.swap(false, Ordering::Relaxed)
    }

    /// Fails if nothing more is taken from a source.
    pub(crate) fn check(&self, source: SourceId) -> Result<(), ArchiveError> {
        let sentences = self.sentences.lock().unwrap_or_else(PoisonError::into_inner);
        match sentences.get(&source) {
            Some(message) => Err(ArchiveError { kind: ErrorKind::Full, message: message.clone() }),
            None => Ok(()),
        }
    }
    /// How often backups needed more room than there was although all was folded that had to be.
    pub(crate) fn wants(&self) -> u64 {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).wants
    }

    /// Says that a backup has found room.
    pub(crate) fn note_fit(&self, source: SourceId) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(&source);
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).wants = 0;
    }

    /// Says what is kept and why, if nothing is left that may go for a backup.
    pub(crate) fn set_kept(&self, kept: Option<String>) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = kept;
    }

    /// Says that points were folded.
    pub(crate) fn note_folded(&self, count: usize) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).folded += count;
    }

    /// Says that nothing more is to be had at the moment.
    pub(crate) fn note_end(&self) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).ended += 1;
    }

    /// What it means for who backs a source up that a change failed: if there was no room, that older points go and it
    /// may try again. If none went although the keeper came to an end since it was told so, more of them go than have
    /// to; and only when none is left that may, there is no room to be had.
    pub(crate) fn explain(&self, source: SourceId, error: ArchiveError) -> ArchiveError {
        if error.kind != ErrorKind::Full {
            return error;
        }
        if let Err(refusal) = self.check(source) {
            return refusal;
        }
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let before = told.entry(source).or_insert(*progress);
        let came_to_nothing = before.folded == progress.folded && before.ended < progress.ended;
        if let Some(kept) = &*self.kept.lock().unwrap_or_else(PoisonError::into_inner)
            && came_to_nothing
        {
            return ArchiveError { kind: ErrorKind::Full, message: format!("{NO_ROOM} {kept}") };
        }
        if came_to_nothing {
            progress.wants += 1;
        }
        if before.folded != progress.folded || came_to_nothing {
            *before = *progress;
        }
        ArchiveError { kind: ErrorKind::Busy, message: WAIT.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_no_room_is_told_to_wait_only_while_points_go() {
        let refusals = Refusals::default();
        let full = || ArchiveError { kind: ErrorKind::Full, message: "full".into() };
        let told = |source| refusals.explain(SourceId(source), full()).kind;
        assert_eq!([told(1), told(1)], [ErrorKind::Busy; 2], "the keeper is at it");
        refusals.note_end();
        assert_eq!((told(1), refusals.wants()), (ErrorKind::Busy, 1), "more may go");
        refusals.set_kept(Some("Keep 3 points.".into()));
        assert_eq!([told(1), told(2)], [ErrorKind::Busy; 2], "the keeper has not looked");
        refusals.note_end();
        assert_eq!([told(1), told(1), told(2)], [ErrorKind::Full; 3]);
        refusals.note_folded(3);
        assert_eq!([told(1), told(1), told(2)], [ErrorKind::Busy; 3]);
        refusals.note_fit(SourceId(1));
        assert_eq!((told(1), refusals.wants()), (ErrorKind::Busy, 0));
        let io = ArchiveError { kind: ErrorKind::Io, message: "gone".into() };
        assert_eq!(refusals.explain(SourceId(3), io.clone()), io);
        refusals.replace(BTreeMap::from([(SourceId(4), "floors".into())]));
        assert_eq!(refusals.explain(SourceId(4), full()).message, "floors");
    }
}

//! Sources from which nothing more is taken, because what must be kept leaves no room.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use model::archive::ArchiveError;
use model::{ErrorKind, SourceId};

/// Why which sources are refused at the moment.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    sentences: Mutex<BTreeMap<SourceId, String>>,
}

impl Refusals {
    /// Says anew who is refused.
    pub(crate) fn replace(&self, sentences: BTreeMap<SourceId, String>) {
        *self.sentences.lock().unwrap_or_else(PoisonError::into_inner) = sentences;
    }

    /// Fails if nothing more is taken from a source.
    pub(crate) fn check(&self, source: SourceId) -> Result<(), ArchiveError> {
        let sentences = self.sentences.lock().unwrap_or_else(PoisonError::into_inner);
        match sentences.get(&source) {
            Some(message) => Err(ArchiveError { kind: ErrorKind::Full, message: message.clone() }),
            None => Ok(()),
        }
    }
}

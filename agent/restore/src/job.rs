//! What every part of a running restore knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use model::ObjectId;

use crate::compare::Comparer;
use crate::error::RestoreError;
use crate::items::Items;
use crate::request::{Overwrite, Request};
use crate::selection::Selection;

/// A request, and what was found out before anything is written.
pub(crate) struct Job<'a> {
    pub(crate) request: &'a Request<'a>,
    pub(crate) selection: Selection,
    pub(crate) stop: &'a AtomicBool,
    /// Owners and the like are set: it was asked for, and root may.
    pub(crate) owners: bool,
    /// A restore of the same request was broken off here.
    pub(crate) resumes: bool,
    /// Some restore was broken off here, so there may be unfinished files of it.
    pub(crate) recovers: bool,
    /// Its marker says which directories were there before.
    pub(crate) knows_ours: bool,
    /// Objects of directories that were there before the restore first began.
    pub(crate) kept: BTreeSet<u64>,
    /// Files that are there and whose stored content cannot be had, with reasons.
    pub(crate) unknown: BTreeMap<ObjectId, String>,
}

impl<'a> Job<'a> {
    /// Whether what is in the way may be replaced.
    pub(crate) fn replaces(&self) -> bool {
        self.request.overwrite == Overwrite::Differing
    }

    /// Whether a directory that is there was made by a restore that was broken off.
    pub(crate) fn made(&self, directory: ObjectId) -> bool {
        self.knows_ours && !self.kept.contains(&directory.0)
    }

    pub(crate) fn check_stop(&self) -> Result<(), RestoreError> {
        if self.stop.load(Ordering::Relaxed) { Err(RestoreError::Stopped) } else { Ok(()) }
    }

    pub(crate) fn items(&self) -> Items<'a> {
        Items::new(self.request.archive, self.request.point)
    }

    pub(crate) fn comparer(&self) -> Comparer<'a> {
        let Request { archive, point, naming, .. } = *self.request;
        Comparer { archive, point, naming, stop: self.stop }
    }
}

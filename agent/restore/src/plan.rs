//! What a restore will meet, found out before anything is written.
//!
//! Without leave to replace, everything that is there must be a directory where one is wanted, or equal the stored
//! state; while going on, it may also be a beginning of the stored file. All else is a conflict. Directories that are
//! not there are not looked into: nothing can be in the way below them.
//!
//! Leave to replace is for what was asked for. A link or a file where only a directory on the way to it should be is a
//! conflict all the same: it may lead to the very tree that is to be kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use model::item::FileKind;
use model::{Escaped, ObjectId};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::attributes::Wanted;
use crate::beneath;
use crate::compare::{Comparer, Likeness};
use crate::error::RestoreError;
use crate::job::Job;
use crate::local::{Entered, Local};
use crate::others;
use crate::walk::{DirectoryFound, ObjectFound, Place, Visitor, Walk, readable};
use crate::xattrs::{Comparison, Handle};

/// Conflicts that are shown.
const SHOWN_MAX: usize = 5;

/// What was found out.
#[derive(Default)]
pub(crate) struct Plan {
    /// Files and bytes that were counted; only of interest if the restore is of a part of the point.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Objects of directories that are there.
    pub(crate) existing: BTreeSet<u64>,
    /// Files that are there and whose stored content cannot be had, with reasons.
    pub(crate) unknown: BTreeMap<ObjectId, String>,
    conflicts: u64,
    /// Of these, the ones that no leave to replace would remove.
    obstacles: u64,
    shown: Vec<String>,
}

/// Looks at everything that is wanted and there.
pub(crate) fn plan(job: &Job<'_>, root: Option<Arc<OwnedFd>>) -> Result<Plan, RestoreError> {
    let mut planner = Planner {
        job,
        local: Local::new(root),
        comparer: job.comparer(),
        counts_all: !job.request.paths.is_empty(),
        plan: Plan::default(),
    };
    Walk::new(job).run(&mut planner)?;
    let Plan { conflicts: count, obstacles, shown, .. } = &planner.plan;
    if *count == 0 {
        return Ok(planner.plan);
    }
    let more = if *count > shown.len() as u64 { ", ..." } else { "" };
    let (count, first) = (*count, shown.join(", ") + more);
    Err(if *obstacles == count {
        RestoreError::Obstacles { count, first }
    } else {
        RestoreError::Conflicts { count, first }
    })
}

struct Planner<'j, 'a> {
    job: &'j Job<'a>,
    local: Local,
    comparer: Comparer<'a>,
    /// Directories that are not there are gone through all the same, to know how much there is to do.
    counts_all: bool,
    plan: Plan,
}

impl Planner<'_, '_> {
    fn conflict(&mut self, path: &[u8], reason: &str) {
        self.plan.conflicts += 1;
        if self.plan.shown.len() < SHOWN_MAX {
            self.plan.shown.push(format!("{} ({reason})", Escaped(path)));
        }
    }

    /// What an object shall look like; none if that cannot be read, which the restore comes to again and says then.
    fn wanted(&self, place: &mut Place<'_, '_>, found: &ObjectFound) -> Result<Option<Wanted>, RestoreError> {
        let stored = readable(place.items.xattrs(found.object))?.ok();
        Ok(stored.map(|xattrs| Wanted::new(&found.inode.attributes, xattrs, self.job.owners)))
    }

    /// Why the extended attributes of an object that is there are in the way, if they are.
    fn judge_xattrs(&self, wanted: &Wanted, object: Handle<'_>) -> Option<String> {
        // A restore that was broken off may not have set them yet.
        if self.job.resumes {
            return None;
        }
        match wanted.compare_xattrs(object) {
            Ok(Comparison::Same | Comparison::Unattainable(_)) => None,
            Ok(Comparison::Different) => Some("has other extended attributes".to_owned()),
            Err(error) => Some(format!("its extended attributes cannot be read: {error}")),
        }
    }

    /// Why a link, device, pipe or socket that is there is in the way, if it is.
    fn judge_other(
        &mut self,
        place: &mut Place<'_, '_>,
        found: &ObjectFound,
        stat: &Stat,
    ) -> Result<Option<String>, RestoreError> {
        let Some(wanted) = self.wanted(place, found)? else { return Ok(None) };
        let compared = self.local.here().and_then(|here| {
            let (Some(here), name) = (here, found.name.as_bytes()) else { return Ok(None) };
            if !others::is_same(&here, name, stat, &found.inode.attributes)? {
                return Ok(Some("differs".to_owned()));
            }
            let entry = beneath::refer(&here, name)?;
            Ok(self.judge_xattrs(&wanted, Handle::Reference(entry.as_fd())))
        });
        compared.map_err(|error| RestoreError::target("look at", &place.path(Some(&found.name)), error))
    }

    /// Why a file that is there is in the way, if it is.
    fn judge_file(
        &mut self,
        place: &mut Place<'_, '_>,
        found: &ObjectFound,
        stat: &Stat,
    ) -> Result<Option<String>, RestoreError> {
        if beneath::file_type(stat) != FileType::RegularFile {
            return Ok(Some(format!("is {}", others::word_of(beneath::file_type(stat)))));
        }
        let Some(wanted) = self.wanted(place, found)? else { return Ok(None) };
        let looks_done = is_length(stat, found.inode.size) && wanted.is_met(stat);
        if !looks_done && !self.job.resumes {
            return Ok(Some("differs".to_owned()));
        }
        let opened = self.local.here().and_then(|here| match here {
            Some(here) => beneath::open_file(&here, found.name.as_bytes()),
            None => Err(Errno::NOENT),
        });
        let likeness = match opened {
            // The time is set last, so what has it is complete, even if its mode shuts us out.
            Err(Errno::ACCESS) if looks_done && self.job.resumes => Likeness::Same,
            Err(error) => Likeness::Unreadable(io::Error::from(error)),
            Ok((file, stat)) => {
                if let Some(reason) = self.judge_xattrs(&wanted, Handle::Open(file.as_fd())) {
                    return Ok(Some(reason));
                }
                let length = u64::try_from(stat.st_size).unwrap_or(0);
                let object = (found.object, &found.inode);
                self.comparer.compare(&File::from(file), length, place.items, object)?
            }
        };
        Ok(match likeness {
            Likeness::Same | Likeness::Beginning => None,
            Likeness::Different => Some("differs".to_owned()),
            Likeness::Unreadable(error) => Some(format!("cannot be compared: {error}")),
            Likeness::Unknown(reason) => {
                self.plan.unknown.insert(found.object, reason);
                None
            }
        })
    }
}

/// Whether a file has a length.
pub(crate) fn is_length(stat: &Stat, length: u64) -> bool {
    u64::try_from(stat.st_size) == Ok(length)
}

impl Visitor for Planner<'_, '_> {
    fn enter(&mut self, place: &mut Place<'_, '_>, found: &DirectoryFound<'_>) -> Result<bool, RestoreError> {
        let path = place.path(found.name);
        let is_ours = self.job.made(found.object);
        let entered = self
            .local
            .enter(found.name, is_ours)
            .map_err(|error| RestoreError::target("look into", &path, error))?;
        let goes_on = match entered {
            Entered::Directory => {
                self.plan.existing.insert(found.object.0);
                // What may be replaced need not be looked at.
                self.counts_all || !self.job.replaces()
            }
            Entered::Nothing => self.counts_all,
            Entered::Obstacle(kind) if !found.is_wanted => {
                self.plan.obstacles += 1;
                self.conflict(&path, &format!("is {}, which is not replaced", others::word_of(kind)));
                self.counts_all
            }
            Entered::Obstacle(_) => {
                if !self.job.replaces() {
                    self.conflict(&path, "is not a directory");
                }
                self.counts_all
            }
        };
        if !goes_on {
            self.local.leave();
        }
        Ok(goes_on)
    }

    fn leave(&mut self, _: &mut Place<'_, '_>, _: ObjectId) -> Result<(), RestoreError> {
        self.local.leave();
        Ok(())
    }

    fn object(&mut self, place: &mut Place<'_, '_>, found: ObjectFound) -> Result<(), RestoreError> {
        let is_file = found.inode.attributes.kind == FileKind::File;
        if is_file {
            self.plan.files += 1;
            self.plan.bytes = self.plan.bytes.saturating_add(found.inode.size);
        }
        if self.job.replaces() {
            return Ok(());
        }
        let path = place.path(Some(&found.name));
        let failed = |error| RestoreError::target("look at", &path, error);
        let Some(stat) = self.local.stat(&found.name).map_err(failed)? else { return Ok(()) };
        let reason = if is_file {
            self.judge_file(place, &found, &stat)?
        } else {
            self.judge_other(place, &found, &stat)?
        };
        if let Some(reason) = reason {
            self.conflict(&path, &reason);
        }
        Ok(())
    }

    fn problem(&mut self, _: Vec<u8>, _: String) -> Result<(), RestoreError> {
        // The restore comes to it again and says it then.
        Ok(())
    }
}

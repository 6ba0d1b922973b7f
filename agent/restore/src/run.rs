//! A restore from its beginning to its end.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, OFlags, unlinkat};

use crate::batcher::{BATCHES_MAX, Batcher};
use crate::error::RestoreError;
use crate::fetch;
use crate::fill::{self, BUNDLES_MAX};
use crate::job::Job;
use crate::local::Local;
use crate::marker::{self, Found, Held, MARKER, Marker};
use crate::plan::{self, Plan};
use crate::request::{Outcome, Overwrite, Progress, Request};
use crate::selection::Selection;
use crate::walk::Walk;
use crate::write::Writer;
use crate::write_out::{self, WriteOut};

/// Most threads that fill small files.
const FILLERS_MAX: usize = 2;

/// Writes a point, or parts of it, below a directory.
///
/// What one path costs is in [`Outcome::problems`]; an error is the end of the restore, and asking the same again
/// goes on from there. `stop` may be set at any time.
pub fn restore(
    request: &Request<'_>,
    progress: &dyn Progress,
    stop: &AtomicBool,
) -> Result<Outcome, RestoreError> {
    refuse_root(request)?;
    let target = Target::open(&request.target)?;
    let marker = Marker::of(request);
    let found = target.look()?;
    let is_foreign = found == Found::Foreign;
    let left = accept(request, &marker, found)?;
    let mut job = Job {
        request,
        selection: Selection::new(&request.paths),
        stop,
        owners: request.owners && rustix::process::geteuid().is_root(),
        resumes: left.as_ref().is_some_and(|left| left.is_of(&marker)),
        recovers: left.is_some(),
        knows_ours: left.as_ref().is_some_and(|left| left.is_comparable(&marker)),
        kept: left.map(|left| left.kept).unwrap_or_default(),
        unknown: BTreeMap::new(),
    };
    let plan = plan::plan(&job, target.root.clone())?;
    let (files, bytes) = total(request, &plan)?;
    progress.total(files, bytes);
    job.unknown = plan.unknown;
    if !job.knows_ours {
        job.kept = plan.existing;
    }
    let marker = Marker { kept: job.kept.clone(), ..marker };
    let is_fresh = target.root.is_none();
    let root = target.make()?;
    let failed = |error: io::Error| RestoreError::target("write", MARKER, error);
    if is_foreign {
        // It may have other names, so it is not written to.
        unlinkat(&root, MARKER, AtFlags::empty()).map_err(|error| failed(error.into()))?;
    }
    let Some(held) = Held::place(&root, &marker).map_err(failed)? else {
        return Err(RestoreError::Busy { target: request.target.display().to_string() });
    };
    let mut writer = Writer::new(&job, progress, Arc::clone(&root), is_fresh);
    let local = Local::new((!is_fresh).then_some(root));
    run(&job, local, &mut writer)?;
    writer.finish(held)
}

/// Everything below `/` is more than anybody means to remove.
fn refuse_root(request: &Request<'_>) -> Result<(), RestoreError> {
    let is_root = || request.target.canonicalize().is_ok_and(|path| path == Path::new("/"));
    let is_whole = request.paths.is_empty() || request.paths.iter().any(Vec::is_empty);
    if request.delete_extra && is_whole && is_root() { Err(RestoreError::RemovesFromRoot) } else { Ok(()) }
}

/// What a restore that was broken off left here, if it may be gone on with or replaced.
fn accept(request: &Request<'_>, marker: &Marker, found: Found) -> Result<Option<Marker>, RestoreError> {
    let replaces = request.overwrite == Overwrite::Differing;
    match found {
        Found::Nothing | Found::Incomplete => Ok(None),
        Found::Marker(left) if left.is_of(marker) => Ok(Some(left)),
        Found::Marker(left) if replaces => Ok(Some(left)),
        Found::Marker(_) => Err(RestoreError::Unfinished { target: request.target.display().to_string() }),
        Found::Foreign if replaces => Ok(None),
        Found::Foreign => {
            let first = ".keepfast-restore (is not the marker of a restore)".to_owned();
            Err(RestoreError::Conflicts { count: 1, first })
        }
    }
}

/// How much there is to do.
fn total(request: &Request<'_>, plan: &Plan) -> Result<(u64, u64), RestoreError> {
    if !request.paths.is_empty() {
        return Ok((plan.files, plan.bytes));
    }
    let point = request
        .archive
        .point(request.point)
        .map_err(|source| RestoreError::Archive { what: "the record", source })?;
    Ok((point.totals.files, point.totals.bytes))
}

/// Walks, fetches and writes at the same time.
fn run(job: &Job<'_>, local: Local, writer: &mut Writer<'_, '_>) -> Result<(), RestoreError> {
    let (batch_sender, batches) = crossbeam_channel::bounded(BATCHES_MAX - 2);
    let (group_sender, groups) = crossbeam_channel::unbounded();
    let (bundle_sender, bundles) = crossbeam_channel::bounded(BUNDLES_MAX);
    let (filled_sender, filled) = crossbeam_channel::unbounded();
    let (dirty_sender, dirty) = crossbeam_channel::bounded(1);
    let has_ended = AtomicBool::new(false);
    let is_over = || has_ended.load(Ordering::Relaxed) || job.stop.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        for _ in 0..job.request.workers.max(1) {
            scope.spawn(|| fetch::work(job, &groups, &is_over));
        }
        for _ in 0..job.request.workers.clamp(1, FILLERS_MAX) {
            let (bundles, filled) = (bundles.clone(), filled_sender.clone());
            scope.spawn(move || fill::work(&bundles, &filled));
        }
        drop((bundles, filled_sender));
        scope.spawn(move || write_out::work(&dirty));
        let walk = scope.spawn(move || {
            let mut batcher = Batcher::new(job, local, batch_sender, group_sender);
            Walk::new(job).run(&mut batcher)?;
            batcher.finish()
        });
        let written = writer.write(batches, bundle_sender, filled, WriteOut::new(dirty_sender));
        has_ended.store(true, Ordering::Relaxed);
        let walked = walk.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        written.and(walked)
    })
}

/// The directory that is restored to.
struct Target<'p> {
    path: &'p Path,
    root: Option<Arc<OwnedFd>>,
}

impl<'p> Target<'p> {
    fn open(path: &'p Path) -> Result<Self, RestoreError> {
        match open_directory(path) {
            Ok(root) => Ok(Self { path, root: Some(Arc::new(root)) }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self { path, root: None }),
            Err(error) => Err(RestoreError::target("open", path.as_os_str().as_bytes(), error)),
        }
    }

    fn look(&self) -> Result<Found, RestoreError> {
        match &self.root {
            Some(root) => marker::look(root).map_err(|error| RestoreError::target("read", MARKER, error)),
            None => Ok(Found::Nothing),
        }
    }

    /// Makes the directory if it is not there.
    fn make(self) -> Result<Arc<OwnedFd>, RestoreError> {
        if let Some(root) = self.root {
            return Ok(root);
        }
        let failed = |error| RestoreError::target("make", self.path.as_os_str().as_bytes(), error);
        if let Some(parent) = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        DirBuilder::new().mode(0o700).create(self.path).map_err(failed)?;
        open_directory(self.path).map(Arc::new).map_err(failed)
    }
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    // The bits of a flag set are those of the system.
    let directory = i32::try_from(OFlags::DIRECTORY.bits()).unwrap_or(0);
    OpenOptions::new().read(true).custom_flags(directory).open(path).map(File::into)
}

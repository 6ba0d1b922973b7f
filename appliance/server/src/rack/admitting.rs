//! What becomes a drive: a directory, or a whole disk that the appliance formats and mounts.
//!
//! Nothing is written to a disk before the operator has confirmed this very disk. What holds something of a pool is
//! never taken, and what holds anything else only if that is forced. Two drives on one filesystem are lost together, so
//! that has to be forced, too.

use std::fs::{self, DirBuilder};
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use hardware::{Content, DriveId, Mounted, Plan, Wanted};
use host::HostEntropy;
use medium::Entropy;
use tracing::info;
use wire::drive::Newcomer;

use super::places::Place;
use super::{DRIVE, Rack, SUPERBLOCK, hardware};

/// What a filesystem has of its own.
const LOST_AND_FOUND: &str = "lost+found";

/// A place for a drive that was made ready, and what undoes that.
pub(super) struct Admitted {
    pub(super) place: Place,
    mounted: Option<Mounted>,
}

impl Admitted {
    /// Leaves things as they were, as far as nothing was formatted.
    pub(super) fn undo(self) {
        // A directory with something in it stays.
        let _ = fs::remove_dir(&self.place.directory);
        if let Some(mounted) = self.mounted {
            let _ = hardware().unmount(&mounted);
        }
    }
}

/// Whether a path leads to a disk.
pub(super) fn is_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.file_type().is_block_device())
}

fn names(directory: &Path) -> anyhow::Result<Vec<String>> {
    let list =
        || fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<Vec<_>>>();
    let found = list().with_context(|| format!("list {}", directory.display()))?;
    Ok(found.into_iter().map(|name| name.to_string_lossy().into_owned()).collect())
}

/// Whether something of a pool lies in a directory.
fn is_of_pool(directory: &Path) -> bool {
    [SUPERBLOCK, "header.0", "segments"].iter().any(|name| directory.join(name).exists())
}

/// The directory of a drive that is in a directory.
pub(super) fn drive_in(directory: &Path) -> anyhow::Result<PathBuf> {
    let found = [directory.to_owned(), directory.join(DRIVE)];
    let found = found.into_iter().find(|path| path.join(SUPERBLOCK).exists());
    let found = found.with_context(|| format!("{} holds no drive; is it mounted?", directory.display()))?;
    found.canonicalize().with_context(|| format!("find {}", found.display()))
}

impl Rack {
    /// Makes what is to become a drive ready.
    pub(super) fn admit(&self, newcomer: &Newcomer) -> anyhow::Result<Admitted> {
        let path = Path::new(&newcomer.path);
        if is_device(path) {
            return self.admit_disk(path, newcomer);
        }
        let path = path.canonicalize().with_context(|| format!("find {}", path.display()))?;
        let (shown, directory) = (path.display(), path.join(DRIVE));
        if is_of_pool(&path) || is_of_pool(&directory) {
            bail!(
                "{shown} holds something of a pool: it is not added, that would lose it; take it back with \
                 `keepfast drive rejoin` if it is of this pool, or wipe it"
            );
        }
        let found = names(&path)?;
        let others: Vec<_> =
            found.iter().filter(|name| !matches!(name.as_str(), LOST_AND_FOUND | DRIVE)).collect();
        if let Some(first) = others.first().filter(|_| !newcomer.force) {
            bail!("{shown} holds {first:?} and is left alone; name an empty directory, or --force it");
        }
        if directory.exists() && !names(&directory)?.is_empty() {
            bail!("{} is not empty and is left alone; wipe it first", directory.display());
        }
        self.check_filesystem(&path, newcomer.force)?;
        make(&directory)?;
        Ok(Admitted { place: Place { directory, disk: None, drive: None }, mounted: None })
    }

    /// Refuses a second drive on a filesystem.
    fn check_filesystem(&self, path: &Path, force: bool) -> anyhow::Result<()> {
        let device = |path: &Path| fs::metadata(path).ok().map(|data| data.dev());
        let own = device(path);
        let known = self.known();
        let places = known.places.iter().flat_map(|places| &places.all).map(|place| place.directory.clone());
        let mut all: Vec<PathBuf> = places.collect();
        if known.places.is_none() {
            all.push(self.data.join(DRIVE));
        }
        match all.iter().find(|other| own.is_some() && device(other) == own) {
            Some(other) if !force => bail!(
                "{} is on the same filesystem as {}: both would be lost together; name another drive, or --force it",
                path.display(),
                other.display()
            ),
            _ => Ok(()),
        }
    }

    /// What would be done with a disk.
    pub(super) fn plan_disk(&self, path: &Path, force: bool) -> anyhow::Result<Plan> {
        let inspection = hardware().inspect(path)?;
        if let Content::Drive { drive, .. } = &inspection.content {
            let known = self.known();
            let mut places = known.places.iter().flat_map(|places| &places.all);
            if places.any(|place| place.disk == Some(*drive)) {
                let shown = path.display();
                bail!(
                    "{shown} is the drive {} of this pool; `keepfast drive rejoin {shown}` takes it back if it is out",
                    drive.label()
                );
            }
        }
        let mut id = [0; 16];
        HostEntropy.fill(&mut id);
        let wanted = Wanted { drive: DriveId(id), mounts: self.mounts(), force };
        Ok(hardware().plan(&inspection, &wanted)?)
    }

    fn admit_disk(&self, path: &Path, newcomer: &Newcomer) -> anyhow::Result<Admitted> {
        let plan = self.plan_disk(path, newcomer.force)?;
        let Some(typed) = &newcomer.confirmation else {
            bail!(
                "{plan}\nnothing was done: {} has to be confirmed with --confirm",
                plan.confirmation.what()
            );
        };
        let prepared = hardware().prepare(&plan, typed, &mut |step| {
            info!(%step, "preparing a disk");
            ControlFlow::Continue(())
        })?;
        let (disk, mounted) = (Some(prepared.mounted.drive), prepared.mounted);
        let directory = mounted.directory.join(DRIVE);
        make(&directory)?;
        let place = Place { directory, disk, drive: None };
        Ok(Admitted { place, mounted: Some(mounted) })
    }
}

fn make(directory: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.with_context(|| format!("make {}", directory.display()))?;
    let parent = directory.parent().map_or(Ok(()), |parent| fs::File::open(parent)?.sync_all());
    parent.with_context(|| format!("sync {}", directory.display()))
}

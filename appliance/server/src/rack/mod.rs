//! The drives of the pool: where they are, which of them are used, and why others are not.
//!
//! Without `DATA/drives.toml` the pool lies in `DATA/pool` and there is no set of drives. The first `keepfast drive add`
//! makes that directory the first drive of a set; nothing is moved. What is missing, stale, foreign or cloned when the
//! appliance starts is said and left alone, and service goes on with the others.

mod admitting;
mod orders;
mod places;
mod switch;
mod tender;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use drives::{DriveSet, DriveUuid, DrivesError, Opened};
use hardware::{Hardware, Known as KnownDisk, Mounted};
use host::{HostClock, HostDisk, HostEntropy};
use medium::Disk;
use tracing::{info, warn};

pub(crate) use orders::answer;
use places::{Place, Places};
use switch::Switch;
pub(crate) use tender::Tender;

/// The directory of a drive in a directory of an operator, and on a whole disk.
const DRIVE: &str = "pool";
/// What a drive of a set has.
const SUPERBLOCK: &str = "member.0";

/// The drives of the pool.
pub(crate) struct Rack {
    data: PathBuf,
    disk: Arc<Switch>,
    /// Held while something is changed by order of the operator.
    orders: Mutex<()>,
    known: Mutex<Known>,
}

/// What is known beside what the set says.
struct Known {
    places: Option<Places>,
    objections: Vec<Objection>,
    /// Disks that are to be unmounted when nothing uses them.
    leaving: Vec<Mounted>,
}

/// Why what is at a place is not used.
struct Objection {
    directory: PathBuf,
    drive: Option<DriveUuid>,
    reason: String,
}

/// The machine that the appliance runs on.
fn hardware() -> Hardware {
    Hardware::at(Path::new("/"))
}

fn world() -> drives::World {
    drives::World { clock: Arc::new(HostClock), entropy: Arc::new(HostEntropy) }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory as a disk.
fn open_directory(directory: &Path) -> anyhow::Result<Arc<dyn Disk>> {
    Ok(Arc::new(HostDisk::open(directory)?))
}

impl Rack {
    /// Opens the drives of a data directory; those that cannot be used are warned of.
    pub(crate) fn open(data: &Path) -> anyhow::Result<Self> {
        let rack = |disk, places, objections| {
            let known = Mutex::new(Known { places, objections, leaving: Vec::new() });
            Self { data: data.to_owned(), disk: Arc::new(disk), orders: Mutex::default(), known }
        };
        let file = data.join("drives.toml");
        if let Some(mut places) = Places::load(&file)? {
            let before = places.clone();
            let (set, objections) = open_set(data, &mut places)?;
            if places != before {
                places
                    .save(&file)
                    .unwrap_or_else(|cause| warn!("where the drives are is not noted: {cause:#}"));
            }
            return Ok(rack(Switch::several(set), Some(places), objections));
        }
        let directory = data.join(DRIVE);
        let disk = open_directory(&directory)?;
        if !disk.list("")?.iter().any(|name| name == SUPERBLOCK) {
            return Ok(rack(Switch::single(disk), None, Vec::new()));
        }
        // The file was lost, or was not written yet when the pool got its second drive.
        let Opened { set, .. } = DriveSet::open(&[disk], None, world())?;
        let drive = set.members().iter().find(|member| member.space.is_some()).map(|member| member.drive);
        let place = Place { directory: std::path::absolute(directory)?, disk: None, drive };
        let places = Places { pool: set.pool(), all: vec![place] };
        places.save(&file)?;
        warn!("where the other drives of the pool are is not known; `keepfast drive rejoin` takes them back");
        Ok(rack(Switch::several(Arc::new(set)), Some(places), Vec::new()))
    }

    /// Whether there is a pool, or should be one.
    pub(crate) fn is_at(data: &Path) -> bool {
        data.join(DRIVE).is_dir() || data.join("drives.toml").exists()
    }

    /// The disk of the pool.
    pub(crate) fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.disk) as Arc<dyn Disk>
    }

    /// The set of drives, if there is more than a directory.
    pub(crate) fn set(&self) -> Option<Arc<DriveSet>> {
        self.disk.set()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        locked(&self.known)
    }

    /// Where whole disks are mounted.
    fn mounts(&self) -> PathBuf {
        mounts(&self.data)
    }

    /// Changes the places, in the file as well.
    fn change_places(&self, change: impl FnOnce(&mut Places)) -> anyhow::Result<()> {
        let mut known = self.known();
        let mut places = known.places.clone().context("the pool lies in one directory")?;
        change(&mut places);
        places.save(&self.data.join("drives.toml"))?;
        known.places = Some(places);
        Ok(())
    }

    /// Where a drive is, for people.
    fn place_of(&self, drive: DriveUuid) -> Option<String> {
        let known = self.known();
        known.places.as_ref()?.of(drive).map(|place| place.directory.display().to_string())
    }

    /// Forgets where a retired drive is; its disk is unmounted when nothing uses it any more.
    fn release(&self, drive: DriveUuid) -> anyhow::Result<()> {
        let place = self.known().places.as_ref().and_then(|places| places.of(drive).cloned());
        let Some(place) = place else { return Ok(()) };
        self.change_places(|places| places.all.retain(|other| *other != place))?;
        let mut known = self.known();
        known.objections.retain(|objection| objection.directory != place.directory);
        if let (Some(disk), Some(directory)) = (place.disk, place.directory.parent()) {
            let found = hardware().drives().into_iter().find(|found| found.drive == disk);
            let mounted = |found: hardware::Drive| Mounted {
                drive: disk,
                device: found.device,
                directory: directory.to_owned(),
            };
            known.leaving.extend(found.map(mounted));
        }
        Ok(())
    }

    /// Unmounts what is to be unmounted, as far as nothing uses it.
    fn unmount_leaving(&self) {
        let mut known = self.known();
        known.leaving.retain(|mounted| {
            let is_done = hardware().unmount(mounted).is_ok();
            if is_done {
                info!(device = %mounted.device.display(), "the disk can be taken out");
            }
            !is_done
        });
    }
}

/// Where the whole disks of an appliance are mounted.
fn mounts(data: &Path) -> PathBuf {
    data.join("drives")
}

/// Mounts the whole disks; why some are not.
fn mount_disks(data: &Path, places: &Places) -> Vec<Objection> {
    let disks: Vec<_> = places.all.iter().filter_map(|place| place.disk).collect();
    if disks.is_empty() {
        return Vec::new();
    }
    let objection = |disk, reason| {
        let place = places.all.iter().find(|place| place.disk == Some(disk))?;
        Some(Objection { directory: place.directory.clone(), drive: place.drive, reason })
    };
    let mounted = hardware().mount_known(&disks, &mounts(data)).into_iter();
    mounted
        .filter_map(|known| match known {
            KnownDisk::Mounted(_) => None,
            KnownDisk::Absent(disk) => objection(disk, format!("no disk {} is there", disk.label())),
            KnownDisk::Failed(disk, cause) => objection(disk, cause.to_string()),
        })
        .collect()
}

/// Opens the drives that are at the places, and notes which is where.
fn open_set(data: &Path, places: &mut Places) -> anyhow::Result<(Arc<DriveSet>, Vec<Objection>)> {
    let mut objections = mount_disks(data, places);
    let (mut disks, mut at) = (Vec::new(), Vec::new());
    for (index, place) in places.all.iter().enumerate() {
        if objections.iter().any(|objection| objection.directory == place.directory) {
            continue;
        }
        match open_directory(&place.directory) {
            Ok(disk) => {
                disks.push(disk);
                at.push(index);
            }
            Err(cause) => {
                let (directory, drive) = (place.directory.clone(), place.drive);
                objections.push(Objection { directory, drive, reason: format!("{cause:#}") });
            }
        }
    }
    let said = objections.iter().map(|one| format!("{}: {}; ", one.directory.display(), one.reason));
    let said: String = said.collect();
    let Opened { set, used, refused, missing } = DriveSet::open(&disks, Some(places.pool), world())
        .with_context(|| format!("{said}the drives of the pool do not open"))?;
    for (disk, cause) in refused {
        let place = &places.all[at[disk]];
        let drive = drive_of(&cause).or(place.drive);
        let reason = format!("{:#}", anyhow::Error::new(cause));
        objections.push(Objection { directory: place.directory.clone(), drive, reason });
    }
    for (disk, drive) in used {
        let place = at.get(disk).and_then(|index| places.all.get_mut(*index));
        place.into_iter().for_each(|place| place.drive = Some(drive));
    }
    for objection in &objections {
        let drive = objection.drive.map_or_else(|| "unknown".to_owned(), |drive| drive.to_string());
        warn!(drive, at = %objection.directory.display(), "a drive is not used: {}", objection.reason);
    }
    for drive in missing {
        warn!(%drive, "a drive is missing: the pool goes on without it, and copies are made on the others");
    }
    Ok((Arc::new(set), objections))
}

/// The drive that an error is about.
const fn drive_of(error: &DrivesError) -> Option<DriveUuid> {
    match error {
        DrivesError::Foreign { drive, .. }
        | DrivesError::Cloned { drive }
        | DrivesError::Stale { drive, .. }
        | DrivesError::Diverged { drive, .. }
        | DrivesError::Retired { drive }
        | DrivesError::InUse { drive } => Some(*drive),
        _ => None,
    }
}

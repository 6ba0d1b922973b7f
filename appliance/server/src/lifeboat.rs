//! The drive of a dead appliance, or several: opened as they are, for reading only, with a key from its operator.
//!
//! Nothing on the drives is changed, not even by opening: they may be mounted read-only. Several drives of one pool are
//! read as one, and what is lacking costs only the points that need it. While an appliance has the pool open, it is the
//! one to ask.

use std::io::{BufRead, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use drives::Salvage;
use host::{HostClock, HostEntropy, ReadOnlyDisk, scratch_file};
use medium::{Clock, Disk, File, Lock, Union};
use model::archive::PointKey;
use model::{ErrorKind, Place};
use pool::header::PoolHeader;
use pool::keys::{Unlock, parse_recovery_text};
use pool::layout::{HEADERS, SEGMENTS};
use pool::{Options, PoolArchive, PoolError, ReadOnlyPool, Scope, Shared, World};

use crate::cli::lifeboat::Lifeboat as Arguments;
use crate::data::{self, DataDirectory};

/// Longest line in which a key is typed.
const KEY_LINE_MAX: u64 = 1024;

/// What an appliance with several drives locks on each of them.
const MEMBER_LOCK: &str = "member.lock";

/// What is left of a pool.
pub(crate) struct Lifeboat {
    pool: ReadOnlyPool,
    drives: Vec<PathBuf>,
    _locks: Vec<Box<dyn Lock>>,
}

/// A directory with a drive in it.
struct Drive {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    header: Option<PoolHeader>,
}

impl Drive {
    /// Looks for a drive in a directory, or for that of an appliance's data directory.
    fn open(directory: &Path) -> anyhow::Result<Self> {
        for path in [directory.to_owned(), directory.join("pool")] {
            let disk = match ReadOnlyDisk::open(&path) {
                Ok(disk) => disk,
                Err(error) if error.kind() == ErrorKind::Missing && path != directory => break,
                Err(error) => return Err(error.into()),
            };
            let names = disk.list("")?;
            if !names.iter().any(|name| name == SEGMENTS || HEADERS.contains(&name.as_str())) {
                continue;
            }
            let header = match PoolHeader::load(&disk) {
                Ok((header, _)) => Some(header),
                Err(error @ PoolError::Version { .. }) => return Err(error.into()),
                Err(_) => None,
            };
            return Ok(Self { path, disk: Arc::new(disk), header });
        }
        bail!("{} holds no pool and no drive of one; is the drive mounted there?", directory.display())
    }

    fn epoch(&self) -> u64 {
        self.header.as_ref().map_or(0, |header| header.epoch)
    }
}

/// Opens all drives, the one with the newest header first. All must be of one pool.
fn open_drives(directories: &[PathBuf]) -> anyhow::Result<Vec<Drive>> {
    let mut drives = directories.iter().map(|path| Drive::open(path)).collect::<anyhow::Result<Vec<_>>>()?;
    drives.sort_by_key(|drive| std::cmp::Reverse(drive.epoch()));
    let Some((first, header)) = drives.first().and_then(|drive| Some((drive, drive.header.as_ref()?))) else {
        return Err(PoolError::HeaderDamaged.into());
    };
    let is_other = |drive: &&Drive| drive.header.as_ref().is_some_and(|other| other.pool != header.pool);
    if let Some(other) = drives.iter().find(is_other) {
        bail!(
            "{} and {} are of different pools; name the drives of one",
            first.path.display(),
            other.path.display()
        );
    }
    Ok(drives)
}

/// All that the drives give together.
fn read_as_one(drives: &[Drive]) -> anyhow::Result<Arc<dyn Disk>> {
    let disks: Vec<Arc<dyn Disk>> = drives.iter().map(|drive| Arc::clone(&drive.disk)).collect();
    if let Some(salvage) = Salvage::of(&disks)? {
        return Ok(Arc::new(salvage));
    }
    // Headers are replaced on all drives: one that has an older one was away.
    let newest = drives.first().map_or(0, Drive::epoch);
    let rank = |drive: &Drive| u32::try_from(newest - drive.epoch()).unwrap_or(u32::MAX);
    Ok(Arc::new(Union::ranked(drives.iter().map(rank).zip(disks).collect())))
}

impl Lifeboat {
    /// Opens what the arguments name.
    pub(crate) fn open(arguments: &Arguments) -> anyhow::Result<Self> {
        let drives = open_drives(&arguments.drives)?;
        let scratch = scratch(arguments.scratch.as_deref(), &drives)?;
        let unlock = unlock(arguments)?;
        let in_use = "an appliance is using it: `keepfast points` and `keepfast restore` ask that one";
        let locks = drives.iter().map(|drive| drive.disk.lock(MEMBER_LOCK));
        let locks = locks.collect::<Result<_, _>>().context(in_use)?;
        let world =
            World { disk: read_as_one(&drives)?, clock: Arc::new(HostClock), entropy: Arc::new(HostEntropy) };
        let opened = ReadOnlyPool::open(world, &unlock, &Options::default(), scratch);
        let pool = opened.map_err(|error| match error.kind() {
            ErrorKind::Full => anyhow::Error::new(error)
                .context("what is made of the catalog finds no room; say --scratch with a folder elsewhere"),
            ErrorKind::Busy => anyhow::Error::new(error).context(in_use),
            _ => error.into(),
        })?;
        Ok(Self { pool, drives: drives.into_iter().map(|drive| drive.path).collect(), _locks: locks })
    }

    /// The pool, as far as it is there.
    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        self.pool.shared()
    }

    /// Everything that can be read.
    pub(crate) fn archive(&self) -> PoolArchive {
        PoolArchive::new(Arc::clone(self.shared()), Scope::All, Arc::default())
    }

    /// The point that is meant.
    pub(crate) fn find(&self, place: &Place) -> anyhow::Result<PointKey> {
        Ok(place.find(&self.archive(), None, HostClock.now())?.key())
    }

    /// Refuses a target on the drives themselves.
    pub(crate) fn check_target(&self, target: &Path) -> anyhow::Result<()> {
        let target = std::path::absolute(target)?;
        let there = target.ancestors().find_map(|path| path.canonicalize().ok());
        let is_on = |drive: &&PathBuf| {
            drive.canonicalize().is_ok_and(|drive| there.as_ref().is_some_and(|path| path.starts_with(drive)))
        };
        match self.drives.iter().find(is_on) {
            Some(drive) => bail!("{} is to stay as it is; restore to another place", drive.display()),
            None => Ok(()),
        }
    }
}

/// A file for what finds no room in memory, on none of the filesystems of the drives. None if nobody said where and the
/// usual place is on one of them.
fn scratch(wanted: Option<&Path>, drives: &[Drive]) -> anyhow::Result<Option<Arc<dyn File>>> {
    let place = wanted.map_or_else(std::env::temp_dir, Path::to_owned);
    let is_of = |path: &Path, device| std::fs::metadata(path).is_ok_and(|data| data.dev() == device);
    let device = std::fs::metadata(&place).map(|data| data.dev());
    let is_on_drive = device.as_ref().is_ok_and(|dev| drives.iter().any(|drive| is_of(&drive.path, *dev)));
    match wanted {
        Some(_) if is_on_drive => {
            bail!("--scratch {} is on a drive that is to stay as it is; name another place", place.display())
        }
        Some(_) => Ok(Some(scratch_file(&place)?)),
        None if is_on_drive => Ok(None),
        None => Ok(scratch_file(&place).ok()),
    }
}

/// What opens the pool: what was named, else what lies with it, else what is typed.
fn unlock(arguments: &Arguments) -> anyhow::Result<Unlock> {
    if let Some(path) = &arguments.key_file {
        return data::read_key_file(path).with_context(|| format!("open {}", path.display()));
    }
    if let Some(unlock) = data::unlock_of_environment()? {
        return Ok(unlock);
    }
    let lying_by = arguments.drives.iter().map(|path| DataDirectory::new(path).key_file());
    if let Some(path) = lying_by.into_iter().find(|path| path.is_file()) {
        return data::read_key_file(&path).with_context(|| format!("open {}", path.display()));
    }
    let input = std::io::stdin().lock();
    if input.is_terminal() {
        write!(std::io::stderr(), "Recovery key: ")?;
    }
    let mut line = zeroize::Zeroizing::new(String::new());
    std::io::Read::take(input, KEY_LINE_MAX).read_line(&mut line).context("read the recovery key")?;
    if line.trim().is_empty() {
        bail!("a key is needed: set KEEPFAST_RECOVERY_KEY or KEEPFAST_PASSPHRASE, or say --key-file");
    }
    parse_recovery_text(&line).map(Unlock::Recovery).context("this is not a recovery key: mistyped?")
}

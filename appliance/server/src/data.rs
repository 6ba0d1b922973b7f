//! The data directory of an appliance: the pool, its key, and the socket of the program that has it open.
//!
//! `DATA/pool` is the embedded drive, `DATA/drives.toml` says where the drives are once there are several, `DATA/keepfast.key` the key file (unless there is a passphrase), `DATA/keepfast.sock`
//! the operator's socket.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use host::{HostClock, HostEntropy};
use medium::Entropy;
use pool::keys::{Unlock, parse_recovery_text, recovery_text};
use pool::layout::SegmentLimits;
use pool::{Options, Pool, PoolError, World};
use zeroize::Zeroizing;

use crate::rack::Rack;

/// The part of a drive that is kept free for giving room back.
const RESERVE_SHARE: u64 = 32;
/// Bytes of it at least: a small catalog and a commit.
const RESERVE_LEAST: u64 = 8 << 20;
/// Bytes of it at most: a segment that is moved, and batches of a catalog of any size.
const RESERVE_MOST: u64 = 256 << 20;

/// Segments that a drive has at least when it is full.
const SEGMENTS_LEAST: u64 = 64;
/// Bytes at which a segment is sealed at least, however small the drive is.
const SEGMENT_LEAST: u64 = 8 << 20;

/// Where an appliance keeps everything.
pub(crate) struct DataDirectory(PathBuf);

/// A pool that was opened with its drives, and the recovery key if it was just made.
pub(crate) struct OpenedPool {
    pub(crate) pool: Pool,
    pub(crate) rack: Rack,
    pub(crate) recovery: Option<Zeroizing<String>>,
}

/// How pools are opened on a drive: with a share of it kept free for giving room back, and with segments that are
/// small enough to be moved there.
fn options(world: &World) -> Options {
    let capacity = world.disk.space().map_or(0, |space| space.capacity_bytes);
    let usual = SegmentLimits::default();
    Options {
        reserve_bytes: (capacity / RESERVE_SHARE).clamp(RESERVE_LEAST, RESERVE_MOST),
        limits: SegmentLimits {
            data_bytes: usual.data_bytes.min((capacity / SEGMENTS_LEAST).max(SEGMENT_LEAST)),
            meta_bytes: usual.meta_bytes.min((capacity / SEGMENTS_LEAST / 2).max(SEGMENT_LEAST / 2)),
        },
        ..Options::default()
    }
}

fn world(rack: &Rack) -> World {
    World { disk: rack.disk(), clock: Arc::new(HostClock), entropy: Arc::new(HostEntropy) }
}

impl DataDirectory {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The operator's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("keepfast.sock")
    }

    fn pool(&self) -> PathBuf {
        self.0.join("pool")
    }

    /// Its key file.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.0.join("keepfast.key")
    }

    /// Opens the pool.
    pub(crate) fn open(&self) -> anyhow::Result<OpenedPool> {
        let shown = self.0.display();
        if !Rack::is_at(&self.0) {
            bail!("there is no pool in {shown}; `keepfast serve --data {shown}` makes one");
        }
        let unlock = self.unlock()?;
        let rack = Rack::open(&self.0)?;
        let world = world(&rack);
        let options = options(&world);
        Ok(OpenedPool { pool: Pool::open(world, &unlock, options)?, rack, recovery: None })
    }

    /// Opens the pool, or makes one with a key file or passphrase and a recovery key.
    pub(crate) fn open_or_create(&self) -> anyhow::Result<OpenedPool> {
        let make = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
        if !Rack::is_at(&self.0) {
            make(&self.pool()).with_context(|| format!("make {}", self.pool().display()))?;
        }
        match self.open() {
            Ok(opened) => return Ok(opened),
            Err(error) => match error.downcast_ref::<PoolError>() {
                Some(PoolError::NoPool) => {}
                _ if error.downcast_ref::<NoKey>().is_some() => {}
                _ => return Err(error),
            },
        }
        let rack = Rack::open(&self.0)?;
        let world = world(&rack);
        let mut recovery = Zeroizing::new([0; 32]);
        HostEntropy.fill(&mut *recovery);
        let text = Zeroizing::new(recovery_text(&recovery));
        let unlocks = [self.unlock_or_create()?, Unlock::Recovery(recovery)];
        let options = options(&world);
        let pool = Pool::create(world, &unlocks, options)?;
        Ok(OpenedPool { pool, rack, recovery: Some(text) })
    }

    /// What opens the pool: a recovery key or passphrase from the environment, else the key file.
    fn unlock(&self) -> anyhow::Result<Unlock> {
        if let Some(unlock) = unlock_of_environment()? {
            return Ok(unlock);
        }
        let path = self.key_file();
        match read_key_file(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(NoKey(path).into()),
            read => read.with_context(|| format!("open {}", path.display())),
        }
    }

    fn unlock_or_create(&self) -> anyhow::Result<Unlock> {
        match self.unlock() {
            Err(error) if error.downcast_ref::<NoKey>().is_some() => {}
            other => return other,
        }
        let path = self.key_file();
        let mut key = Zeroizing::new([0; 32]);
        HostEntropy.fill(&mut *key);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("make {}", path.display()))?;
        file.write_all(&*key)?;
        file.sync_all()?;
        std::fs::File::open(&self.0)?.sync_all()?;
        Ok(Unlock::KeyFile(key))
    }
}

/// A recovery key or passphrase from the environment, if there is one.
pub(crate) fn unlock_of_environment() -> anyhow::Result<Option<Unlock>> {
    if let Ok(text) = std::env::var("KEEPFAST_RECOVERY_KEY") {
        let key = parse_recovery_text(&text).map(Unlock::Recovery);
        return key.map(Some).context("KEEPFAST_RECOVERY_KEY is not a recovery key: mistyped?");
    }
    let passphrase = std::env::var("KEEPFAST_PASSPHRASE").ok();
    Ok(passphrase.map(|text| Unlock::Passphrase(Zeroizing::new(text))))
}

/// Reads a key file.
pub(crate) fn read_key_file(path: &Path) -> std::io::Result<Unlock> {
    let mut key = Zeroizing::new([0; 32]);
    let short = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => std::io::Error::other("this is not a key file"),
        _ => error,
    };
    std::fs::File::open(path)?.read_exact(&mut *key).map_err(short)?;
    Ok(Unlock::KeyFile(key))
}

/// There is no key file.
#[derive(Debug, thiserror::Error)]
#[error("the key file {} is missing; put it back, or set KEEPFAST_PASSPHRASE or KEEPFAST_RECOVERY_KEY", .0.display())]
struct NoKey(PathBuf);

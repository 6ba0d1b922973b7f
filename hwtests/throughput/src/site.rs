//! The pool, its machine and source, and the chunks, which follow from their numbers.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use chunk::{BundleLimits, Compressor, Decompressor, Level, NamingKey, VerifiedBuilder, VerifiedBundle};
use host::{HostClock, HostDisk, HostEntropy};
use model::Name;
use model::record::{Label, Machine, Source};
use pool::keys::{PassphraseCost, Unlock};
use pool::{Options, Pool, World};
use zeroize::Zeroizing;

/// Chunks of a bundle.
pub(crate) const BUNDLE_CHUNKS: u64 = 4096;

/// A pool and where its chunks come from.
pub(crate) struct Site {
    pub(crate) pool: Pool,
    pub(crate) machine: Machine,
    pub(crate) source: Source,
    naming: NamingKey,
    compressor: Compressor,
    decompressor: Decompressor,
}

fn world(folder: &Path) -> Result<World> {
    Ok(World {
        disk: Arc::new(HostDisk::open(folder)?),
        clock: Arc::new(HostClock),
        entropy: Arc::new(HostEntropy),
    })
}

fn key() -> Unlock {
    Unlock::KeyFile(Zeroizing::new([7; 32]))
}

fn options() -> Options {
    Options { cost: PassphraseCost { memory_kib: 32, passes: 1, lanes: 1 }, ..Options::default() }
}

impl Site {
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        let mut pool = Pool::create(world(folder)?, &[key()], options())?;
        let machine = pool.add_machine(&Label::new("web1")?, false)?;
        pool.add_source(machine.id, &Label::new("files")?)?;
        Self::of(pool)
    }

    pub(crate) fn open(folder: &Path) -> Result<Self> {
        Self::of(Pool::open(world(folder)?, &key(), options())?)
    }

    fn of(pool: Pool) -> Result<Self> {
        let (machine, source) = pool.shared().registry(|registry| {
            (registry.machines.values().next().cloned(), registry.sources.values().next().cloned())
        });
        let machine = machine.context("the pool has no machine")?;
        let source = source.context("the pool has no source")?;
        let naming = pool.shared().keys().naming(machine.domain);
        let (compressor, decompressor) = (Compressor::default(), Decompressor::default());
        Ok(Self { pool, machine, source, naming, compressor, decompressor })
    }

    /// The bytes of a chunk.
    fn content(number: u64) -> [u8; 8] {
        number.to_le_bytes()
    }

    /// Bytes of every chunk.
    pub(crate) const LENGTH: u32 = 8;

    pub(crate) fn name(&self, number: u64) -> Name {
        self.naming.name(&Self::content(number))
    }

    /// The chunks from a number on, and their names.
    pub(crate) fn bundle(&mut self, first: u64, count: u64) -> Result<(Vec<Name>, VerifiedBundle)> {
        let mut builder = VerifiedBuilder::new(BundleLimits::default());
        let mut names = Vec::new();
        for number in first..first + count {
            names.push(builder.push(&self.naming, &Self::content(number))?);
        }
        let bundle = builder.finish(&mut self.compressor, &mut self.decompressor, Level::default())?;
        Ok((names, bundle))
    }
}

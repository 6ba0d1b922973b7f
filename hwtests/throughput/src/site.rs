//! The pool, its machine and source, and the chunks, which follow from their numbers.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use chunk::{BundleLimits, Compressor, Decompressor, Level, NamingKey, VerifiedBuilder};
use host::{HostClock, HostDisk, HostEntropy};
use model::Name;
use model::record::{Label, Machine, Source};
use pool::keys::{PassphraseCost, Unlock};
use pool::{Counted, Options, Pool, World};
use zeroize::Zeroizing;

/// Names of the catalog that are passed over at a time.
const NAMES_OF_A_STEP: usize = 200_000;
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

fn options(data_bytes: Option<u64>) -> Options {
    let cost = PassphraseCost { memory_kib: 32, passes: 1, lanes: 1 };
    let mut options = Options { cost, ..Options::default() };
    data_bytes.into_iter().for_each(|bytes| options.limits.data_bytes = bytes);
    options
}

impl Site {
    /// Makes a pool whose segments of data are full with so many bytes; with as many as usual if nobody says.
    pub(crate) fn make(folder: &Path, data_bytes: Option<u64>) -> Result<Self> {
        let mut pool = Pool::create(world(folder)?, &[key()], options(data_bytes))?;
        let machine = pool.add_machine(&Label::new("web1")?, false)?;
        pool.add_source(machine.id, &Label::new("files")?)?;
        Self::of(pool)
    }

    pub(crate) fn open(folder: &Path, data_bytes: Option<u64>) -> Result<Self> {
        Self::of(Pool::open(world(folder)?, &key(), options(data_bytes))?)
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

    /// Has the filter of names made whole, in steps as the keeper of an appliance takes them.
    pub(crate) fn filter_names(&mut self) -> Result<()> {
        while self.pool.filter_names(NAMES_OF_A_STEP)? == Counted::More {}
        Ok(())
    }

    /// Puts the chunks from a number on, no more than make a bundle; their names.
    pub(crate) fn put_numbers(&mut self, first: u64, count: u64) -> Result<Vec<Name>> {
        self.put((first..first + count).map(Self::content))
    }

    /// Puts chunks, no more than make a bundle; their names.
    pub(crate) fn put<C: AsRef<[u8]>>(&mut self, chunks: impl Iterator<Item = C>) -> Result<Vec<Name>> {
        let mut builder = VerifiedBuilder::new(BundleLimits::default());
        let mut names = Vec::new();
        for chunk in chunks {
            names.push(builder.push(&self.naming, chunk.as_ref())?);
        }
        let bundle = builder.finish(&mut self.compressor, &mut self.decompressor, Level::default())?;
        self.pool.put_bundle(&self.pool.shared().begin_session(), self.machine.id, self.source.id, bundle)?;
        Ok(names)
    }
}

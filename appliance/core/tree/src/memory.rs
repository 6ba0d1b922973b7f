//! Pages in memory, for tests of this crate and of those above it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::{ErrorKind, Name};
use thiserror::Error;

use crate::source::{PageSink, PageSource};

/// A page that was never written, or was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("page {0} is not in memory")]
pub struct Absent(pub Name);

/// A map of pages, named by plain BLAKE3; counts what is asked of it.
#[derive(Debug, Default)]
pub struct MemoryPages {
    pages: BTreeMap<Name, Arc<[u8]>>,
    reads: AtomicU64,
    writes: u64,
}

impl MemoryPages {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Pages held, with their bytes, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (Name, &[u8])> {
        self.pages.iter().map(|(name, bytes)| (*name, &**bytes))
    }

    /// Number of pages held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// Whether no page is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// Pages asked for since the start.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Pages given since the start, equal ones too.
    #[must_use]
    pub const fn writes(&self) -> u64 {
        self.writes
    }

    /// Forgets a page; says whether it was there.
    pub fn remove(&mut self, name: &Name) -> bool {
        self.pages.remove(name).is_some()
    }

    /// Puts bytes under a name that is not theirs: what a reader must survive.
    pub fn plant(&mut self, name: Name, bytes: Vec<u8>) {
        self.pages.insert(name, bytes.into());
    }
}

impl PageSource for MemoryPages {
    type Error = Absent;

    fn read(&self, name: &Name) -> Result<Arc<[u8]>, Absent> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.pages.get(name).cloned().ok_or(Absent(*name))
    }

    fn kind(_: &Absent) -> ErrorKind {
        ErrorKind::Missing
    }
}

impl PageSink for MemoryPages {
    fn write(&mut self, bytes: Vec<u8>) -> Result<Name, Absent> {
        let name = Name(*blake3::hash(&bytes).as_bytes());
        self.writes += 1;
        self.pages.entry(name).or_insert_with(|| bytes.into());
        Ok(name)
    }
}

//! What the pool has to hold, as plain values: everything that was acknowledged, and the one thing that may be.
//!
//! A change that was asked for and not acknowledged, because the power went or the drive failed, may be there
//! afterwards, but only whole and as it was asked for. Once it has been seen it counts as acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::archive::{Archive, PointKey};
use model::record::{Label, Machine, Point, Source};
use model::{MachineId, SourceId};
use pool::registry::Registry;
use pool::{Pool, PoolArchive, Scope};

use crate::files::{ChunkBytes, Files};
use crate::restore::restore;

/// A point with what it holds.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) point: Point,
    pub(crate) files: Arc<Files>,
}

/// A change that was asked for.
#[derive(Clone)]
pub(crate) enum Intent {
    Machine(Label),
    Source(MachineId, Label),
    Setting(String, Option<Vec<u8>>),
    /// Of the point, what the pool adds by itself is left out.
    Point(Box<Kept>),
    Drop(Vec<PointKey>),
}

/// Everything that was acknowledged.
#[derive(Default)]
pub(crate) struct Oracle {
    pub(crate) machines: BTreeMap<MachineId, Machine>,
    pub(crate) sources: BTreeMap<SourceId, Source>,
    pub(crate) settings: BTreeMap<String, Vec<u8>>,
    pub(crate) points: BTreeMap<PointKey, Kept>,
    /// Asked for and not acknowledged.
    pub(crate) intent: Option<Intent>,
    /// The bytes of every chunk that was ever named.
    pub(crate) chunks: ChunkBytes,
    /// The same bytes without names, so that machines share some.
    pub(crate) material: Vec<Arc<[u8]>>,
}

impl Oracle {
    /// The newest point of a source.
    pub(crate) fn newest(&self, source: SourceId) -> Option<&Kept> {
        let key = |number| PointKey { source, number };
        self.points.range(key(0)..=key(u64::MAX)).next_back().map(|(_, kept)| kept)
    }

    /// Compares all that a pool holds with all that it has to hold; what was asked for is settled by it.
    pub(crate) fn check(&mut self, pool: &Pool) -> Result<(), String> {
        if let Some(damage) = pool.shared().damage().first() {
            return Err(format!("the pool speaks of damage: {damage}"));
        }
        let registry = pool.shared().registry(Registry::clone);
        self.settle(&registry);
        self.check_acknowledged(pool)
    }

    /// Compares all that a pool holds with all that was acknowledged.
    pub(crate) fn check_acknowledged(&self, pool: &Pool) -> Result<(), String> {
        let registry = pool.shared().registry(Registry::clone);
        same("machines", &self.machines, &registry.machines)?;
        same("sources", &self.sources, &registry.sources)?;
        let mut settings = registry.settings.clone();
        settings.retain(|key, _| !pool::is_reserved(key));
        same("settings", &self.settings, &settings)?;
        let archive = PoolArchive::new(Arc::clone(pool.shared()), Scope::All, Arc::default());
        self.check_points(&registry, &archive)
    }

    /// Takes over what was asked for if it is there, but not what the comparison has to find.
    fn settle(&mut self, registry: &Registry) {
        match self.intent.take() {
            Some(Intent::Machine(label)) => {
                if let Some(machine) = registry.machine(&label) {
                    self.machines.insert(machine.id, machine.clone());
                }
            }
            Some(Intent::Source(machine, label)) => {
                if let Some(source) = registry.source(machine, &label) {
                    self.sources.insert(source.id, source.clone());
                }
            }
            Some(Intent::Setting(key, value)) if registry.settings.get(&key) == value.as_ref() => {
                self.set(key, value);
            }
            Some(Intent::Point(kept)) => {
                let key = kept.point.key();
                if let Some(found) = registry.points.get(&(key.source, key.number)) {
                    self.points.insert(key, kept.with_what_the_pool_adds(found));
                }
            }
            Some(Intent::Drop(keys)) => {
                // All of them, or none.
                let is_there = |key: &PointKey| registry.points.contains_key(&(key.source, key.number));
                if !keys.iter().any(is_there) {
                    keys.iter().for_each(|key| drop(self.points.remove(key)));
                }
            }
            _ => {}
        }
    }

    /// Compares points that are being read with what they held, also those that are not listed any more.
    pub(crate) fn check_readers<'a>(
        &self,
        pool: &Pool,
        readers: impl Iterator<Item = &'a Kept>,
    ) -> Result<(), String> {
        let archive = PoolArchive::new(Arc::clone(pool.shared()), Scope::All, Arc::default());
        readers.into_iter().try_for_each(|kept| {
            let key = kept.point.key();
            let files = restore(&archive, key)?;
            same("files of a point that is read", &*kept.files, &files)
        })
    }

    /// Takes over a setting; without a value it goes.
    pub(crate) fn set(&mut self, key: String, value: Option<Vec<u8>>) {
        match value {
            Some(value) => drop(self.settings.insert(key, value)),
            None => drop(self.settings.remove(&key)),
        }
    }

    fn check_points(&self, registry: &Registry, archive: &PoolArchive) -> Result<(), String> {
        let found: Vec<PointKey> = registry.points.values().map(|point| point.key()).collect();
        let expected: Vec<PointKey> = self.points.keys().copied().collect();
        if found != expected {
            return Err(format!("there are the points {found:?}, there should be {expected:?}"));
        }
        for (key, kept) in &self.points {
            let point = archive.point(*key).map_err(|error| format!("{key:?} cannot be read: {error}"))?;
            if point != kept.point {
                return Err(format!("a point is {point:?}, it should be {:?}", kept.point));
            }
            let files = restore(archive, *key)?;
            if files != *kept.files {
                return Err(format!("{key:?} restores as {files:?}, it should be {:?}", kept.files));
            }
        }
        Ok(())
    }
}

impl Kept {
    /// With the fields that no agent can foretell.
    pub(crate) fn with_what_the_pool_adds(&self, found: &Point) -> Self {
        let mut kept = self.clone();
        kept.point.id.clone_from(&found.id);
        kept.point.received = found.received;
        kept.point.root = found.root;
        kept.point.continuity.clone_from(&found.continuity);
        kept
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, found: &T) -> Result<(), String> {
    if expected == found { Ok(()) } else { Err(format!("{what} are {found:?}, they should be {expected:?}")) }
}

//! Machines, sources and points, asked for again when what is known is older than a second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::SourceId;
use model::archive::{Archive, ArchiveError};
use model::record::{Machine, Point, Source};

/// How long what is known is good.
pub(crate) const FRESH: Duration = Duration::from_secs(1);

/// Machines and sources at one time.
#[derive(Debug)]
pub(crate) struct Inventory {
    /// All machines that can be seen.
    pub(crate) machines: Vec<Machine>,
    /// All their sources.
    pub(crate) sources: Vec<Source>,
}

type Aged<T> = (Instant, Arc<T>);

/// What changes while a view is open.
#[derive(Default)]
pub(crate) struct Sources {
    inventory: Mutex<Option<Aged<Inventory>>>,
    points: Mutex<HashMap<SourceId, Aged<Vec<Point>>>>,
}

fn fresh<T>((at, value): &Aged<T>) -> Option<Arc<T>> {
    (at.elapsed() < FRESH).then(|| Arc::clone(value))
}

impl Sources {
    /// Machines and sources.
    pub(crate) fn inventory(&self, archive: &dyn Archive) -> Result<Arc<Inventory>, ArchiveError> {
        let known = self.inventory.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(fresh);
        if let Some(known) = known {
            return Ok(known);
        }
        let found = Inventory { machines: archive.machines()?, sources: archive.sources()? };
        let found = Arc::new(found);
        let mut inventory = self.inventory.lock().unwrap_or_else(PoisonError::into_inner);
        *inventory = Some((Instant::now(), Arc::clone(&found)));
        Ok(found)
    }

    /// The points of a source, oldest first.
    pub(crate) fn points(
        &self,
        archive: &dyn Archive,
        source: SourceId,
    ) -> Result<Arc<Vec<Point>>, ArchiveError> {
        let known = self.points.lock().unwrap_or_else(PoisonError::into_inner).get(&source).and_then(fresh);
        if let Some(known) = known {
            return Ok(known);
        }
        let found = Arc::new(archive.points(source)?);
        let mut points = self.points.lock().unwrap_or_else(PoisonError::into_inner);
        points.insert(source, (Instant::now(), Arc::clone(&found)));
        Ok(found)
    }
}

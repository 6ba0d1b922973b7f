//! Opening a pool, and making its catalog anew: the catalog first, then what the segments have beyond its mark.

use std::sync::Arc;

use model::{CommitNumber, SegmentNumber};

use crate::PoolError;
use crate::catalog::{Catalog, Mark};
use crate::owners::find_owners;
use crate::registry::{Registry, open_record};
use crate::replay::replay;
use crate::state::{Recent, Shared, State};

/// Brings everything up to the end of the segments; the last segment that exists. Readers wait meanwhile.
pub(crate) fn load(shared: &Shared, batch_limit: usize) -> Result<SegmentNumber, PoolError> {
    let mut state = shared.state_mut();
    state.openings += 1;
    state.catalog = None;
    state.recent = Recent::default();
    state.damage.clear();
    let (openings, known) = (state.openings, state.mark.commit);
    let (fresh, last) = read_drive(shared, batch_limit, known)?;
    *state = State { openings, ..fresh };
    Ok(last)
}

/// Makes the catalog anew beside the one that is there, which serves readers until it is replaced and is kept; the
/// last segment that exists.
pub(crate) fn rebuild(shared: &Shared, batch_limit: usize) -> Result<SegmentNumber, PoolError> {
    let disk = &*shared.world.disk;
    forget_reads(shared);
    let known = shared.state().mark.commit;
    let (fresh, last) = read_segments(shared, Catalog::make_beside(disk)?, batch_limit, known)?;
    let mut state = shared.state_mut();
    state.openings += 1;
    state.recent = Recent::default();
    state.catalog = None;
    Catalog::replace(disk)?;
    *state = State { openings: state.openings, ..fresh };
    Ok(last)
}

fn forget_reads(shared: &Shared) {
    shared.frames.clear();
    shared.world.disk.start_over();
}

/// Opens the catalog and reads the rest from the segments. A catalog that turns out to be damaged, also on the way, is
/// set aside and made anew; so is one that the medium refuses twice.
fn read_drive(
    shared: &Shared,
    batch_limit: usize,
    known: CommitNumber,
) -> Result<(State, SegmentNumber), PoolError> {
    let disk = &*shared.world.disk;
    let mut aside = None;
    let mut is_second = false;
    loop {
        forget_reads(shared);
        let read = Catalog::open(disk).and_then(|catalog| read_segments(shared, catalog, batch_limit, known));
        match read {
            Ok((mut state, last)) => {
                state.damage.splice(0..0, aside);
                return Ok((state, last));
            }
            Err(error) if !is_second && error.is_unreadable_catalog() => is_second = true,
            Err(error)
                if aside.is_none() && (error.is_damaged_catalog() || error.is_unreadable_catalog()) =>
            {
                let what = if error.is_damaged_catalog() { "was damaged" } else { "could not be read" };
                let name = Catalog::set_aside(disk)?;
                aside = Some(format!("the catalog {what}; it is kept as {name} and was made anew"));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Reads from the segments what a catalog does not have, into it.
fn read_segments(
    shared: &Shared,
    catalog: Catalog,
    batch_limit: usize,
    known: CommitNumber,
) -> Result<(State, SegmentNumber), PoolError> {
    let mut mark = catalog.mark()?;
    let mut registry = Registry::default();
    for (key, value) in catalog.records()? {
        let record = open_record(&shared.keys, &key, &value);
        registry.apply(&record.map_err(|_| PoolError::CatalogValue("a record"))?);
    }
    let mut state = State {
        catalog: Some(catalog),
        registry,
        recent: Recent::default(),
        mark: mark.clone(),
        damage: Vec::new(),
        bad: Arc::clone(shared.frames.bad()),
        openings: 0,
    };
    let up_to = |mark: &Mark, chunk_bytes| Mark { chunk_bytes, ..mark.clone() };
    let disk = &*shared.world.disk;
    let findings = replay(disk, &shared.frames, &mut mark, known, &mut |replayed, mark| {
        state.take(&shared.keys, &replayed)?;
        if state.recent.len() < batch_limit {
            return Ok(());
        }
        state.mark = up_to(mark, state.mark.chunk_bytes);
        state.flush()
    })?;
    state.mark = up_to(&mark, state.mark.chunk_bytes);
    find_owners(&mut state, &shared.frames, &shared.keys, &findings.unowned)?;
    if state.recent.len() > 0 {
        state.flush()?;
    }
    state.damage.extend(findings.damage);
    Ok((state, findings.last_segment))
}

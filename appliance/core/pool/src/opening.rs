//! Opening a pool, and making its catalog anew: the catalog first, then what the segments have beyond its mark.

use std::collections::BTreeSet;
use std::sync::Arc;

use medium::Access;
use model::{CommitNumber, ErrorKind, SegmentNumber};

use crate::PoolError;
use crate::catalog::{Catalog, Check, Mark, Scratch};
use crate::header::ignore_missing;
use crate::layout::{SEGMENTS, segment_path};
use crate::notes;
use crate::owners::find_owners;
use crate::recent::Recent;
use crate::registry::{Registry, open_record};
use crate::replay::replay;
use crate::state::{Shared, State};
use crate::survey::segments;

/// Numbers of commits that are left free for those which cannot be read.
const HIDDEN_MAX: u64 = 1 << 32;

/// What a drive is opened for.
#[derive(Clone)]
pub(crate) enum Purpose {
    /// To go on with it.
    Writing,
    /// To be read and to stay as it is.
    Reading(Scratch),
}

/// Brings everything up to the end of the segments; the last segment that exists. Readers wait meanwhile.
pub(crate) fn load(
    shared: &Shared,
    batch_limit: usize,
    purpose: &Purpose,
) -> Result<SegmentNumber, PoolError> {
    let mut state = shared.state_mut();
    state.openings += 1;
    // All backups begin again.
    shared.sessions.end_all();
    state.catalog = None;
    state.recent = Recent::default();
    state.damage.clear();
    let (openings, known) = (state.openings, state.mark.commit);
    let (fresh, last) = read_drive(shared, batch_limit, known, purpose)?;
    if openings == 1 {
        // What is known of a process is known better.
        notes::recall(&fresh);
    }
    let rounds = std::mem::take(&mut state.rounds).after_opening(fresh.rounds, &fresh.mark);
    *state = State { openings, rounds, ..fresh };
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
    let rounds = std::mem::take(&mut state.rounds).after_opening(fresh.rounds, &fresh.mark);
    *state = State { openings: state.openings, rounds, ..fresh };
    Ok(last)
}

fn forget_reads(shared: &Shared) {
    shared.frames.clear();
    shared.world.disk.start_over();
}

/// Where the catalog is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Store {
    Drive,
    /// In memory, above what the drive has.
    Above,
    /// In memory alone.
    Memory,
}

/// Opens the catalog and reads the rest from the segments. A catalog that turns out to be damaged, also on the way and also
/// when all of it is read, is set aside and made anew; so is one that the medium refuses twice. On a full drive, and for
/// who only reads, it is kept in memory.
fn read_drive(
    shared: &Shared,
    batch_limit: usize,
    known: CommitNumber,
    purpose: &Purpose,
) -> Result<(State, SegmentNumber), PoolError> {
    let disk = &*shared.world.disk;
    let (mut store, scratch) = match purpose {
        Purpose::Writing => (Store::Drive, None),
        Purpose::Reading(scratch) => (Store::Above, scratch.clone()),
    };
    let mut aside = None;
    let mut is_second = false;
    let mut check = shared.check;
    loop {
        forget_reads(shared);
        let catalog = match store {
            Store::Drive => Catalog::open(disk, check),
            Store::Above => Catalog::open_above(disk, scratch.clone()),
            Store::Memory => Catalog::in_memory(scratch.clone()),
        };
        let error = match catalog.and_then(|catalog| read_segments(shared, catalog, batch_limit, known)) {
            Ok((mut state, last)) => {
                state.damage.splice(0..0, aside);
                state.is_full = store != Store::Drive && matches!(purpose, Purpose::Writing);
                return Ok((state, last));
            }
            Err(error) => error,
        };
        let is_useless = error.is_damaged_catalog() || error.is_unreadable_catalog();
        match store {
            Store::Drive if error.kind() == ErrorKind::Full => store = Store::Above,
            Store::Drive if error.is_unreadable_catalog() && !is_second => is_second = true,
            // Its sums may be wrong, or it is damaged: who reads all of it can tell.
            Store::Drive if error.is_damaged_catalog() && check != Check::Whole => check = Check::Whole,
            Store::Drive if is_useless && aside.is_none() => {
                let what = if error.is_damaged_catalog() { "was damaged" } else { "could not be read" };
                match Catalog::set_aside(disk) {
                    Ok(name) => {
                        aside = Some(format!("the catalog {what}; it is kept as {name} and was made anew"));
                    }
                    Err(error) if error.kind() == ErrorKind::Full => store = Store::Memory,
                    Err(error) => return Err(error),
                }
            }
            Store::Above if is_useless => {
                aside = Some("the catalog on the drive is of no use; the segments serve".to_owned());
                store = Store::Memory;
            }
            _ => return Err(error),
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
    let (catalog_counted, progress) = (catalog.counted()?, catalog.progress()?);
    let (unswept, leaving) = (catalog.unswept()?, catalog.leaving()?);
    let rounds = catalog.rounds()?;
    let mut registry = Registry::default();
    for (key, value) in catalog.records()? {
        let record = open_record(&shared.keys, &key, &value);
        registry.apply(&record.map_err(|_| PoolError::CatalogValue("a record"))?);
    }
    let all = registry.points.values().map(|point| point.key());
    let uncounted = all.filter(|key| !catalog_counted.contains(key)).collect();
    let mut state = State {
        catalog: Some(catalog),
        registry,
        mark: mark.clone(),
        counted: catalog_counted,
        uncounted,
        progress,
        unswept,
        leaving,
        rounds,
        ..State::closed(shared.planted, Arc::clone(shared.frames.bad()))
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
    if findings.is_hiding {
        // Whatever is hidden comes before what is taken from here on, should the medium give it back one day.
        mark.commit.0 += HIDDEN_MAX;
    }
    state.mark = up_to(&mark, state.mark.chunk_bytes);
    state.forget_gone();
    find_owners(&mut state, &shared.frames, &shared.keys, &findings.unowned)?;
    if state.recent.len() > 0 {
        state.flush()?;
    }
    state.sweep(batch_limit)?;
    state.damage.extend(findings.damage);
    Ok((state, findings.last_segment))
}

/// Removes files of segments that are gone, which a crash or a failure left. The catalog on the drive is behind their
/// removal. What cannot be removed is left to the next opening.
pub(crate) fn remove_leaving(shared: &Shared) {
    let disk = &*shared.world.disk;
    let mut leaving = shared.state().leaving.clone();
    // None has a valid length; whatever says so, no file is removed that a mark covers.
    leaving.retain(|number| shared.state().mark.length_of(*number).is_none());
    if leaving.is_empty() {
        return;
    }
    let Ok(there) = segments(disk) else { return };
    let removed = |number: &&SegmentNumber| {
        shared.frames.forget(**number);
        ignore_missing(disk.remove(&segment_path(**number))).is_ok()
    };
    let (there, gone): (BTreeSet<_>, BTreeSet<_>) = leaving.iter().partition(|number| there.contains(number));
    let removed: BTreeSet<SegmentNumber> = there.iter().filter(removed).chain(&gone).copied().collect();
    // Names that are gone for good; without that they are looked for once more.
    if disk.sync_directory(SEGMENTS).is_ok() {
        shared.state_mut().leaving.retain(|number| !removed.contains(number));
    }
}

/// Gives back what a commit that found no room has left: segments from `first` on that no mark covers, and what lies
/// behind the valid bytes of those in `open`. Only for segments of this process, which knows that none of it was
/// acknowledged. Whether there was anything.
pub(crate) fn give_back(
    shared: &Shared,
    first: SegmentNumber,
    open: &BTreeSet<SegmentNumber>,
) -> Result<bool, PoolError> {
    // A file that is open keeps its room.
    shared.frames.clear();
    let disk = &*shared.world.disk;
    let state = shared.state();
    let mut any = false;
    for number in segments(disk)?.into_iter().filter(|number| *number >= first) {
        let path = segment_path(number);
        let Some(length) = state.mark.length_of(number) else {
            disk.remove(&path)?;
            any = true;
            continue;
        };
        if open.contains(&number) {
            let file = disk.open(&path, Access::ReadWrite)?;
            if file.length()? > length {
                file.set_length(length)?;
                any = true;
            }
        }
    }
    Ok(any)
}

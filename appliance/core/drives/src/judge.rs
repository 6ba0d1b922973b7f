//! Which of the drives that are there make up the set, and what is wrong with the others.
//!
//! The newest superblock is the head. A drive whose own epoch is in the head's lineage was part of the set; whether it
//! still is, the head says; so if its own epoch is not, but only one copy has reached it. A drive that is behind and in service was not reached by changes that were interrupted, one after
//! the other, unless some member has two copies of an epoch that is newer than its own: second copies are written only when
//! all have their first, so then it lost what it had confirmed, and is stale.

use crate::superblock::{Loaded, MemberState, SetRecord, Superblock};
use crate::{DrivesError, PoolUuid};

/// A drive that belongs to the set and may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usable {
    /// Its place among the drives that were handed in.
    pub(crate) disk: usize,
    /// Its place in the list of members.
    pub(crate) member: usize,
}

/// What the drives make up.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(crate) pool: PoolUuid,
    pub(crate) head: SetRecord,
    /// By their place in the list of members.
    pub(crate) usable: Vec<Usable>,
    /// Whether all usable ones have the head in all copies.
    pub(crate) complete: bool,
    pub(crate) refused: Vec<(usize, DrivesError)>,
}

/// Judges what was read from the drives.
pub(crate) fn judge(
    found: Vec<Result<Loaded, DrivesError>>,
    expected: Option<PoolUuid>,
) -> Result<Judgement, DrivesError> {
    let mut refused = Vec::new();
    let mut loaded = Vec::new();
    for (disk, result) in found.into_iter().enumerate() {
        match result {
            Ok(one) => loaded.push((disk, one)),
            Err(error) => refused.push((disk, error)),
        }
    }
    let pool = pool_of(&loaded, expected)?;
    loaded.retain(|(disk, one)| {
        let objection = objection(one, pool);
        let keep = objection.is_none();
        refused.extend(objection.map(|error| (*disk, error)));
        keep
    });
    refuse_clones(&mut loaded, &mut refused);
    let head = head_of(&loaded)?;
    let confirmed = confirmed_in(&loaded, &head);
    let mut usable = Vec::new();
    let mut complete = true;
    for (disk, one) in loaded {
        match place_of(&one, &head, confirmed) {
            Ok(member) => {
                complete &= is_at(&one, &head) && one.copies == 3;
                usable.push(Usable { disk, member });
            }
            Err(error) => refused.push((disk, error)),
        }
    }
    if usable.is_empty() {
        return Err(DrivesError::NoMember);
    }
    usable.sort_by_key(|one| one.member);
    refused.sort_by_key(|(disk, _)| *disk);
    Ok(Judgement { pool, head, usable, complete, refused })
}

fn pool_of(loaded: &[(usize, Loaded)], expected: Option<PoolUuid>) -> Result<PoolUuid, DrivesError> {
    if let Some(pool) = expected {
        return Ok(pool);
    }
    let first = loaded.first().ok_or(DrivesError::NoMember)?.1.superblock.pool;
    match loaded.iter().find(|(_, one)| one.superblock.pool != first) {
        Some((_, other)) => Err(DrivesError::Ambiguous { first, second: other.superblock.pool }),
        None => Ok(first),
    }
}

/// What speaks against a drive whatever the others say.
fn objection(one: &Loaded, pool: PoolUuid) -> Option<DrivesError> {
    let superblock = &one.superblock;
    let drive = superblock.drive;
    if superblock.pool != pool {
        return Some(DrivesError::Foreign { drive, found: superblock.pool, expected: pool });
    }
    let retired = superblock.set.entry(drive).is_some_and(|entry| entry.state == MemberState::Retired);
    retired.then_some(DrivesError::Retired { drive })
}

fn refuse_clones(loaded: &mut Vec<(usize, Loaded)>, refused: &mut Vec<(usize, DrivesError)>) {
    let drives: Vec<_> = loaded.iter().map(|(_, one)| one.superblock.drive).collect();
    loaded.retain(|(disk, one)| {
        let drive = one.superblock.drive;
        let alone = drives.iter().filter(|other| **other == drive).count() == 1;
        if !alone {
            refused.push((*disk, DrivesError::Cloned { drive }));
        }
        alone
    });
}

/// The newest record that counts. One that two copies on a drive have reached does: all members had it. One that was
/// interrupted before does if all confirmed changes led to it, for then nothing was acknowledged after it, nor beside it. Of
/// two that are equally new and not the same, a confirmed one comes first, and two confirmed ones leave no choice. Of two that
/// were interrupted, that one counts with which most drives may be used, and of equals one that was made without the others.
fn head_of(loaded: &[(usize, Loaded)]) -> Result<SetRecord, DrivesError> {
    let heads = newest(loaded);
    let first = heads.first().ok_or(DrivesError::NoMember)?;
    let is_other = |other: &&&Loaded| other.superblock.set.epoch().id != first.superblock.set.epoch().id;
    let Some(rival) = heads.iter().find(is_other) else { return Ok(first.superblock.set.clone()) };
    let leading = heads.iter().filter(|one| !one.is_reached() && leads(loaded, one));
    let head = leading.max_by_key(|head| chances(loaded, &head.superblock.set));
    head.map(|head| head.superblock.set.clone()).ok_or_else(|| split(&first.superblock, &rival.superblock))
}

/// Those with the newest record that counts, or with the newest one if none does; the confirmed ones of them if there are any.
fn newest(loaded: &[(usize, Loaded)]) -> Vec<&Loaded> {
    let all = || loaded.iter().map(|(_, one)| one);
    let counting = all().filter(|one| one.is_reached() || leads(loaded, one)).map(Loaded::number).max();
    let newest = counting.or_else(|| all().map(Loaded::number).max());
    let mut heads: Vec<&Loaded> = all().filter(|one| Some(one.number()) == newest).collect();
    if heads.iter().any(|one| one.is_reached()) {
        heads.retain(|one| one.is_reached());
    }
    heads
}

/// Whether all changes that drives have confirmed led to what one says.
fn leads(loaded: &[(usize, Loaded)], head: &Loaded) -> bool {
    loaded.iter().all(|(_, one)| is_behind(one, &head.superblock.set))
}

/// How many drives may be used with a record, and how many it does without.
fn chances(loaded: &[(usize, Loaded)], head: &SetRecord) -> (usize, usize) {
    let confirmed = confirmed_in(loaded, head);
    let is_out = |one: &Loaded| head.entry(one.superblock.drive).is_some_and(|entry| !entry.serves());
    let used = loaded.iter().filter(|(_, one)| place_of(one, head, confirmed).is_ok()).count();
    (used, loaded.iter().filter(|(_, one)| is_out(one)).count())
}

fn split(first: &Superblock, second: &Superblock) -> DrivesError {
    let shared = first.set.lineage.iter().rev().find(|epoch| second.set.descends_from(**epoch));
    DrivesError::Split {
        first: first.drive,
        second: second.drive,
        epoch: shared.map_or(0, |epoch| epoch.number),
    }
}

/// Whether the last change that a drive has confirmed led to a record, as far as that remembers so much.
fn is_behind(one: &Loaded, head: &SetRecord) -> bool {
    let remembered = head.lineage.first().map_or(0, |epoch| epoch.number);
    one.reached().is_none_or(|epoch| epoch.number < remembered || head.descends_from(epoch))
}

/// The newest epoch that two copies on a drive have reached which led to a record.
fn confirmed_in(loaded: &[(usize, Loaded)], head: &SetRecord) -> u64 {
    let related = loaded.iter().filter(|(_, one)| head.descends_from(one.superblock.set.epoch()));
    related.map(|(_, one)| one.confirmed).max().unwrap_or(0)
}

fn is_at(one: &Loaded, head: &SetRecord) -> bool {
    one.superblock.set.epoch() == head.epoch()
}

/// The place of a drive in the list of members, if it may be used; all members have had the epoch that is confirmed.
fn place_of(one: &Loaded, head: &SetRecord, confirmed: u64) -> Result<usize, DrivesError> {
    let drive = one.superblock.drive;
    let (own, current) = (one.superblock.set.epoch(), head.epoch().number);
    let diverged = DrivesError::Diverged { drive, found: own.number };
    let Some(member) = head.members.iter().position(|entry| entry.drive == drive) else {
        return Err(diverged);
    };
    let entry = head.members[member];
    if entry.state == MemberState::Retired {
        return Err(DrivesError::Retired { drive });
    }
    if !head.descends_from(own) {
        // What it has of its own was interrupted, and nothing was acknowledged after it.
        let is_interrupted = one.reached().is_some_and(|epoch| head.descends_from(epoch));
        return Err(if is_interrupted {
            DrivesError::Stale { drive, found: own.number, current }
        } else {
            diverged
        });
    }
    if entry.serves() && (own.number == current || own.number >= confirmed) {
        return Ok(member);
    }
    Err(DrivesError::Stale { drive, found: own.number, current })
}

/// The place of a drive that comes back to an open set, if it may.
pub(crate) fn judge_return(one: &Loaded, pool: PoolUuid, head: &SetRecord) -> Result<usize, DrivesError> {
    if let Some(objection) = objection(one, pool) {
        return Err(objection);
    }
    match place_of(one, head, head.epoch().number) {
        Err(DrivesError::Stale { drive, .. }) => {
            head.members.iter().position(|entry| entry.drive == drive).ok_or(DrivesError::Unknown { drive })
        }
        result => result,
    }
}

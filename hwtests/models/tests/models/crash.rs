//! A crash at any step of a reclaim, a drop, a commit and a flush, and again while the pool is opened; the catalog may
//! be lost with it. Row 11 of what happened to others: a cache that still claims what is gone.

use models::{Loss, Name, Pool, breaks, holds, holds_with};
use shuttle::sync::Arc;

use crate::{FIRST, grow, join, litter, point, settle, spawn, without};

const ROOT: [Name; 4] = [Name(1), Name(2), Name(3), Name(4)];
const KEPT: Name = Name(10);
const GARBAGE: Name = Name(11);
const DROPPED: Name = Name(12);
const NEW: Name = Name(13);

fn model(pool: &Arc<Pool>) {
    grow(pool, point(0, 0), ROOT[0], &[KEPT]);
    grow(pool, point(9, 0), ROOT[1], &[DROPPED]);
    litter(pool, GARBAGE);
    settle(pool);
    let reclaim = spawn(pool, |actor| {
        actor.drop_point(point(9, 0))?;
        actor.reclaim(FIRST, 4).map(drop)
    });
    let backup = spawn(pool, |actor| actor.back_up(point(1, 0), ROOT[2], &[KEPT, GARBAGE]));
    let flush = spawn(pool, |actor| actor.flush());
    let crash = Arc::clone(pool);
    let crash = shuttle::thread::spawn(move || {
        crash.crash(Loss::Chance);
        crash.audit();
        crash.step(|state| assert!(!state.has_leftovers(), "violation: a removed segment is left"));
        let actor = crash.actor();
        actor.back_up(point(2, 0), ROOT[3], &[KEPT, GARBAGE, DROPPED])?;
        actor.reclaim(FIRST, 4).map(drop)
    });
    join([reclaim, backup, flush, crash]);
    pool.audit();
    pool.crash(Loss::Catalog);
    pool.audit();
}

/// Sessions that share a chunk which no commit covers yet.
fn shared_batch(pool: &Arc<Pool>) {
    let backup =
        |source: u8, root: Name| spawn(pool, move |actor| actor.back_up(point(source, 0), root, &[NEW]));
    let backups = [backup(1, ROOT[0]), backup(2, ROOT[1])];
    let flush = spawn(pool, |actor| actor.flush());
    let crash = Arc::clone(pool);
    let crash = shuttle::thread::spawn(move || {
        crash.crash(Loss::Unsynced);
        crash.audit();
        crash.actor().back_up(point(3, 0), ROOT[2], &[NEW])
    });
    join(backups.into_iter().chain([flush, crash]));
    pool.audit();
    pool.crash(Loss::Chance);
    pool.audit();
}

/// The segment with the highest number is removed, and the next one is made after a crash.
fn numbers(pool: &Arc<Pool>) {
    litter(pool, GARBAGE);
    settle(pool);
    let reclaim = spawn(pool, |actor| actor.reclaim(FIRST, 4).map(drop));
    let crash = Arc::clone(pool);
    let crash = shuttle::thread::spawn(move || {
        crash.crash(Loss::Chance);
        crash.audit();
        crash.actor().back_up(point(1, 0), ROOT[0], &[NEW])
    });
    join([reclaim, crash]);
    pool.crash(Loss::Chance);
    pool.audit();
}

#[test]
fn crashes_hold() {
    holds(model, 30_000, &["crashed", "rebuilt", "copied", "removed"]);
}

#[test]
fn crashes_of_a_shared_batch_hold() {
    holds(shared_batch, 12_000, &["crashed", "rebuilt"]);
}

#[test]
fn numbers_hold() {
    holds(numbers, 10_000, &["crashed", "rebuilt", "removed"]);
}

#[test]
fn a_flush_before_the_removal_stands_in_for_order_at_opening() {
    let guards = without(|guards| {
        (guards.counts_before_settling, guards.flushes_before_unlink) = (false, false);
        guards.flushes_before_removal = true;
    });
    holds_with(model, guards, 12_000, &["crashed", "rebuilt", "copied", "removed"]);
}

#[test]
fn unlinking_before_the_catalog_is_flushed() {
    breaks(model, without(|guards| guards.flushes_before_unlink = false), "the counter cannot read");
}

#[test]
fn replay_that_settles_before_it_counts() {
    breaks(model, without(|guards| guards.counts_before_settling = false), "the counter cannot read");
}

#[test]
fn a_rebuild_that_counts_dropped_points() {
    breaks(model, without(|guards| guards.dropped_are_not_counted = false), "the counter cannot read");
}

#[test]
fn a_removal_that_is_durable_before_its_copies() {
    breaks(model, without(|guards| guards.copies_precede_removal = false), "which is lost");
}

#[test]
fn a_removal_that_leaves_places_behind() {
    breaks(model, without(|guards| guards.removal_drops_places = false), "which is lost");
}

#[test]
fn borg_9748_a_cache_that_claims_what_is_gone() {
    breaks(model, without(|guards| guards.cache_has_generation = false), "which is lost");
}

#[test]
fn a_cache_that_claims_what_was_never_committed() {
    breaks(shared_batch, without(|guards| guards.cache_holds_committed = false), "which is lost");
}

#[test]
fn a_mark_before_what_it_covers_is_synced() {
    breaks(shared_batch, without(|guards| guards.syncs_before_mark = false), "the counter cannot read");
}

#[test]
fn a_commit_that_covers_only_its_own_session() {
    breaks(shared_batch, without(|guards| guards.commits_whole_batch = false), "which is lost");
}

#[test]
fn a_number_that_is_used_again() {
    breaks(numbers, without(|guards| guards.numbers_stay_used = false), "which is lost");
}

//! Sessions are told that chunks are known while the segment that holds them is reclaimed and the last point that
//! refers to them is dropped. Row 5 of what happened to others: a removal that goes by an index from before.

use models::{Name, Pool, SegmentNumber, breaks, holds, holds_with};
use shuttle::sync::Arc;

use crate::{FIRST, grow, join, litter, point, settle, spawn, spawn_survivor, without};

const ROOT: [Name; 2] = [Name(1), Name(2)];
const KEPT: Name = Name(10);
const GARBAGE: Name = Name(11);

fn model(pool: &Arc<Pool>) {
    grow(pool, point(0, 0), ROOT[0], &[KEPT]);
    litter(pool, GARBAGE);
    settle(pool);
    let backup = |source: u8| {
        spawn(pool, move |actor| {
            // Both build the same page, so that one of them is left out as well.
            actor.back_up(point(source, 0), ROOT[1], &[KEPT, GARBAGE])?;
            actor.step(|state| state.saw("backed up"))
        })
    };
    let backups = [backup(1), backup(2)];
    let fold = spawn(pool, |actor| actor.drop_point(point(0, 0)));
    let reclaim = spawn(pool, |actor| actor.reclaim(FIRST, 6).map(drop));
    join(backups.into_iter().chain([fold, reclaim]));
    pool.audit();
}

/// The pool is opened again in the same process, behind the back of a reclaim and of sessions.
fn reopened(pool: &Arc<Pool>) {
    litter(pool, GARBAGE);
    settle(pool);
    let reclaim = spawn_survivor(pool, |actor| actor.reclaim(FIRST, 6).map(drop));
    let early = spawn_survivor(pool, |actor| actor.back_up(point(1, 0), ROOT[0], &[KEPT]));
    let again = Arc::clone(pool);
    let late = spawn_survivor(pool, move |actor| {
        again.reopen();
        actor.back_up(point(2, 0), ROOT[1], &[GARBAGE])?;
        actor.step(|state| state.saw("backed up"))
    });
    join([reclaim, early, late]);
    pool.audit();
}

/// What a session has stored lies in a segment that is sealed and reclaimed before it commits.
fn two_sessions(pool: &Arc<Pool>) {
    let backup = |source: u8| {
        spawn(pool, move |actor| {
            actor.back_up(point(source, 0), ROOT[usize::from(source)], &[KEPT, GARBAGE])?;
            actor.step(|state| state.saw("backed up"))
        })
    };
    let backups = [backup(0), backup(1)];
    let reclaim = spawn(pool, |actor| {
        for segment in [FIRST, SegmentNumber(2)] {
            actor.step(models::State::seal)?;
            actor.reclaim(segment, 3)?;
        }
        Ok(())
    });
    join(backups.into_iter().chain([reclaim]));
    pool.audit();
}

#[test]
fn known_and_reclaim_hold() {
    holds(model, 24_000, &["backed up", "dropped", "removed", "copied", "condemned", "promised before"]);
}

#[test]
fn reclaim_beside_what_two_sessions_store_holds() {
    holds(two_sessions, 20_000, &["backed up", "removed", "copied", "condemned"]);
}

#[test]
fn reopening_beside_reclaim_holds() {
    holds(reopened, 20_000, &["backed up", "removed", "reopened"]);
}

#[test]
fn waiting_for_older_sessions_stands_in_for_promises() {
    let guards =
        without(|guards| (guards.promises_are_kept, guards.waits_for_older_sessions) = (false, true));
    holds_with(model, guards, 12_000, &["backed up", "dropped", "removed", "copied", "condemned"]);
}

#[test]
fn known_that_does_not_heed_the_condemnation() {
    breaks(model, without(|guards| guards.condemnation_is_heeded = false), "which is lost");
}

#[test]
fn a_decision_that_a_filter_of_promises_knows_better() {
    breaks(model, without(|guards| guards.decision_is_heeded = false), "which is lost");
}

#[test]
fn what_a_session_stored_and_nobody_promised() {
    breaks(two_sessions, without(|guards| guards.stored_is_promised = false), "the counter cannot read");
}

#[test]
fn storing_that_leaves_out_what_known_does_not_know() {
    breaks(model, without(|guards| guards.storing_asks_like_known = false), "which is lost");
}

#[test]
fn a_known_chunk_whose_last_reference_goes_before_the_commit() {
    breaks(model, without(|guards| guards.promises_are_kept = false), "which is lost");
}

#[test]
fn a_cache_that_outlives_the_condemnation() {
    breaks(model, without(|guards| guards.condemnation_empties_cache = false), "which is lost");
}

#[test]
fn kopia_1242_removes_by_what_held_before() {
    breaks(reopened, without(|guards| guards.removal_needs_condemnation = false), "which is lost");
}

#[test]
fn a_session_that_outlives_what_it_stored() {
    breaks(reopened, without(|guards| guards.reopening_ends_sessions = false), "which is lost");
}

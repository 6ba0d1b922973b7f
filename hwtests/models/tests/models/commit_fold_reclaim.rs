//! A backup builds upon a point that is dropped meanwhile, and leaves out a chunk that nothing refers to, while the
//! segment with all of it is reclaimed. Row 1 of what happened to others: a mark phase over a list taken too early.

use models::{Name, Pool, SegmentNumber, breaks, holds, holds_with};
use shuttle::sync::Arc;

use crate::{FIRST, grow, join, litter, point, settle, spawn, without};

const ROOT: [Name; 2] = [Name(1), Name(2)];
const KEPT: Name = Name(10);
const GARBAGE: Name = Name(11);

fn model(pool: &Arc<Pool>) {
    grow(pool, point(0, 0), ROOT[0], &[KEPT]);
    litter(pool, GARBAGE);
    settle(pool);
    let backup = spawn(pool, |actor| {
        let session = actor.step(|state| state.begin(Some(point(0, 0))))??;
        // What the base holds is not asked for.
        if !actor.step(|state| state.known(session, GARBAGE))?? {
            actor.step(|state| state.store(session, GARBAGE, &[]))??;
        }
        actor.step(|state| state.store(session, ROOT[1], &[KEPT, GARBAGE]))??;
        actor.commit(session, point(0, 1), ROOT[1])?;
        actor.step(|state| state.saw("backed up"))
    });
    let fold = spawn(pool, |actor| actor.drop_point(point(0, 0)));
    let reclaim = spawn(pool, |actor| actor.reclaim(FIRST, 6).map(drop));
    join([backup, fold, reclaim]);
    pool.audit();
}

/// Two segments are reclaimed at once; the copies of the first go to the second while that is sealed and condemned.
fn two_reclaims(pool: &Arc<Pool>) {
    grow(pool, point(0, 0), ROOT[0], &[KEPT]);
    settle(pool);
    let first = spawn(pool, |actor| actor.reclaim(FIRST, 6).map(drop));
    let second = spawn(pool, |actor| {
        for segment in [SegmentNumber(2), SegmentNumber(3)] {
            actor.step(models::State::seal)?;
            actor.reclaim(segment, 6)?;
        }
        Ok(())
    });
    let backup = spawn(pool, |actor| actor.back_up(point(1, 0), ROOT[1], &[KEPT, GARBAGE]));
    join([first, second, backup]);
    pool.audit();
}

#[test]
fn commit_fold_and_reclaim_hold() {
    holds(model, 24_000, &["backed up", "dropped", "removed", "copied", "condemned"]);
}

#[test]
fn building_on_the_newest_stands_in_for_a_lease() {
    let guards = without(|guards| (guards.base_is_leased, guards.builds_on_newest) = (false, true));
    holds_with(model, guards, 12_000, &["backed up", "dropped", "removed", "copied"]);
}

#[test]
fn two_reclaims_hold() {
    holds(two_reclaims, 10_000, &["removed", "copied"]);
}

#[test]
fn pbs_psa_2025_00019_1_marks_by_an_old_list() {
    breaks(model, without(|guards| guards.decides_at_removal = false), "which is lost");
}

#[test]
fn a_condemned_segment_that_still_grows() {
    breaks(two_reclaims, without(|guards| guards.condemns_only_sealed = false), "the counter cannot read");
}

#[test]
fn reclaim_before_everything_is_counted() {
    breaks(model, without(|guards| guards.waits_for_counting = false), "which is lost");
}

#[test]
fn a_base_without_a_lease() {
    breaks(model, without(|guards| guards.base_is_leased = false), "which is lost");
}

#[test]
fn a_session_that_ends_before_its_commit() {
    breaks(model, without(|guards| guards.ends_with_commit = false), "which is lost");
}

//! Commits and drops of two sources, counted in steps beside them; flushes, crashes and reclaim in between.

use models::{Loss, Name, Pool, breaks, holds, holds_with};
use shuttle::sync::Arc;

use crate::{FIRST, grow, join, point, settle, spawn, without};

const ROOT: [Name; 5] = [Name(1), Name(2), Name(3), Name(4), Name(5)];
const FAR: Name = Name(10);
const NEAR: Name = Name(11);

fn model(pool: &Arc<Pool>) {
    grow(pool, point(0, 0), ROOT[0], &[FAR]);
    grow(pool, point(1, 0), ROOT[1], &[FAR, NEAR]);
    settle(pool);
    // Between points that hold FAR is one that does not: its drop makes two runs one.
    let history = spawn(pool, |actor| {
        actor.back_up(point(0, 1), ROOT[2], &[NEAR])?;
        actor.back_up(point(0, 2), ROOT[3], &[FAR, NEAR])?;
        actor.drop_point(point(0, 1))
    });
    let other = spawn(pool, |actor| {
        actor.drop_point(point(1, 0))?;
        actor.back_up(point(1, 1), ROOT[4], &[NEAR])
    });
    let counter = spawn(pool, |actor| {
        actor.count()?;
        shuttle::thread::yield_now();
        actor.count()
    });
    let reclaim = spawn(pool, |actor| actor.reclaim(FIRST, 3).map(drop));
    join([history, other, counter, reclaim]);
    pool.audit();
}

/// A drop is counted while the segment with its pages is reclaimed.
fn half_way(pool: &Arc<Pool>) {
    grow(pool, point(0, 0), ROOT[0], &[FAR]);
    settle(pool);
    let fold = spawn(pool, |actor| {
        actor.drop_point(point(0, 0))?;
        actor.count()
    });
    let reclaim = spawn(pool, |actor| actor.reclaim(FIRST, 3).map(drop));
    join([fold, reclaim]);
    pool.audit();
}

/// The catalog is flushed between two steps of the counter, and the process dies later.
fn crashed(pool: &Arc<Pool>) {
    grow(pool, point(0, 0), ROOT[0], &[FAR]);
    settle(pool);
    let history = spawn(pool, |actor| {
        actor.back_up(point(0, 1), ROOT[2], &[NEAR])?;
        actor.drop_point(point(0, 0))?;
        actor.count()
    });
    let flush = spawn(pool, |actor| actor.flush());
    let crash = Arc::clone(pool);
    let crash = shuttle::thread::spawn(move || {
        crash.crash(Loss::Unsynced);
        crash.audit();
        crash.actor().back_up(point(0, 2), ROOT[3], &[FAR, NEAR])
    });
    join([history, flush, crash]);
    pool.audit();
    pool.crash(Loss::Chance);
    pool.audit();
}

#[test]
fn counting_holds() {
    holds(model, 20_000, &["dropped", "removed", "copied"]);
}

#[test]
fn counting_beside_reclaim_holds() {
    holds(half_way, 8_000, &["dropped", "removed", "copied"]);
}

#[test]
fn counting_through_crashes_holds() {
    holds(crashed, 14_000, &["dropped", "crashed", "rebuilt"]);
}

#[test]
fn dropping_only_what_is_counted_stands_in_for_order() {
    let guards = without(|guards| (guards.counts_in_order, guards.drops_only_counted) = (false, true));
    holds_with(model, guards, 8_000, &["dropped", "removed", "copied"]);
    holds_with(crashed, guards, 8_000, &["dropped", "crashed", "rebuilt"]);
}

#[test]
fn a_change_that_is_flushed_without_its_cursor() {
    breaks(crashed, without(|guards| guards.step_moves_cursor = false), "references");
}

#[test]
fn drops_that_are_counted_before_commits() {
    breaks(model, without(|guards| guards.counts_in_order = false), "is removed before it is counted");
}

#[test]
fn a_drop_that_is_counted_by_half() {
    breaks(half_way, without(|guards| guards.half_counted_is_uncounted = false), "the counter cannot read");
}

#[test]
fn runs_that_are_told_by_the_newest_history() {
    breaks(model, without(|guards| guards.neighbours_are_counted = false), "references");
}

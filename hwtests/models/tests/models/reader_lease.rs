//! A reader has a point open that is dropped, counted, copied and unlinked under it.

use models::{Name, Pool, Reclaimed, SegmentNumber, breaks, holds};
use shuttle::sync::Arc;

use crate::{FIRST, grow, join, litter, point, seal, settle, spawn, spawn_survivor, without};

const ROOT: [Name; 2] = [Name(1), Name(2)];
const SHARED: Name = Name(10);
const OWN: Name = Name(11);
const GARBAGE: Name = Name(12);

fn model(pool: &Arc<Pool>) {
    grow(pool, point(0, 0), ROOT[0], &[SHARED, OWN]);
    grow(pool, point(0, 1), ROOT[1], &[SHARED]);
    settle(pool);
    let reader = spawn(pool, |actor| {
        let root = actor.open(point(0, 0))?;
        actor.read_tree(root)?;
        actor.close(point(0, 0))
    });
    let fold = spawn(pool, |actor| actor.drop_point(point(0, 0)));
    let reclaim = spawn(pool, |actor| {
        actor.reclaim(FIRST, 4)?;
        actor.step(models::State::seal)?;
        actor.reclaim(SegmentNumber(2), 4).map(drop)
    });
    join([reader, fold, reclaim]);
    pool.audit();
}

/// A dropped point stays open throughout; a segment with garbage must go nevertheless.
fn patient_reader(pool: &Arc<Pool>) {
    grow(pool, point(0, 0), ROOT[0], &[SHARED, OWN]);
    seal(pool);
    litter(pool, GARBAGE);
    settle(pool);
    let reader = pool.actor();
    let root = reader.open(point(0, 0)).expect("the point is in history");
    let fold = spawn(pool, |actor| actor.drop_point(point(0, 0)));
    let reclaim = spawn(pool, |actor| {
        let done = actor.reclaim(SegmentNumber(2), 2)?;
        let is_removed = done == Reclaimed::Removed;
        assert!(is_removed, "violation: an open point keeps what it does not hold: {done:?}");
        Ok(())
    });
    join([fold, reclaim]);
    reader.read_tree(root).expect("nobody crashed");
    reader.close(point(0, 0)).expect("nobody crashed");
    pool.audit();
}

/// The pool is opened again in the same process while a point is open that it has to read from the log.
fn reopened(pool: &Arc<Pool>) {
    grow(pool, point(0, 0), ROOT[0], &[OWN]);
    seal(pool);
    let reader = spawn_survivor(pool, |actor| {
        let root = actor.open(point(0, 0))?;
        actor.read_tree(root)?;
        actor.read_tree(root)?;
        actor.close(point(0, 0))
    });
    let again = Arc::clone(pool);
    let fold = spawn_survivor(pool, move |actor| {
        actor.drop_point(point(0, 0))?;
        again.reopen();
        actor.reclaim(FIRST, 4).map(drop)
    });
    join([reader, fold]);
    pool.audit();
}

#[test]
fn readers_and_leases_hold() {
    holds(model, 24_000, &["read", "looked up again", "dropped", "removed"]);
}

#[test]
fn a_patient_reader_holds_up_nobody() {
    holds(patient_reader, 8_000, &["read", "dropped", "removed"]);
}

#[test]
fn reopening_beside_a_reader_holds() {
    holds(reopened, 12_000, &["read", "dropped", "removed", "reopened"]);
}

#[test]
fn a_reader_that_gives_up_at_once() {
    breaks(model, without(|guards| guards.looks_up_again = false), "a reader finds");
}

#[test]
fn a_reader_that_looks_into_an_old_catalog() {
    breaks(model, without(|guards| guards.looks_up_anew = false), "a reader finds");
}

#[test]
fn a_drop_that_is_counted_while_the_point_is_open() {
    breaks(model, without(|guards| guards.lease_holds_references = false), "a reader finds");
}

#[test]
fn a_lease_after_the_point_was_found() {
    breaks(model, without(|guards| guards.opening_and_lease_are_one = false), "a reader finds");
}

#[test]
fn a_lease_that_stops_the_counter() {
    breaks(patient_reader, without(|guards| guards.leased_are_parked = false), "an open point keeps");
}

#[test]
fn a_reopening_that_forgets_readers() {
    breaks(reopened, without(|guards| guards.reopening_keeps_leases = false), "a reader finds");
}

#[test]
fn an_open_point_that_is_not_counted_at_opening() {
    breaks(reopened, without(|guards| guards.leased_are_counted = false), "a reader finds");
}

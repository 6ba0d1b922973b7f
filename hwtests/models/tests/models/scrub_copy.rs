//! Scrubs, a copy and an insert of the same chunk, which may be rotten, on a device that now and then fails to read.
//! Row 3 of what happened to others: a failed read taken for corruption, and verdicts that hit what was stored since.

use models::{Name, Pool, breaks, holds};
use shuttle::sync::Arc;

use crate::{FIRST, grow, join, point, settle, spawn, without};

const ROOT: [Name; 3] = [Name(1), Name(2), Name(3)];
const CHUNK: Name = Name(10);

fn model(pool: &Arc<Pool>) {
    grow(pool, point(0, 0), ROOT[0], &[CHUNK]);
    settle(pool);
    pool.step(|state| {
        if state.chance() {
            state.rot(CHUNK);
        }
        state.fail_reads(2);
    });
    let scrubs = [0, 1].map(|_| spawn(pool, |actor| actor.scrub(CHUNK)));
    let backup = spawn(pool, |actor| {
        let session = actor.step(|state| state.begin(None))??;
        let (is_bad, is_known) = actor.step(|state| (state.is_bad(CHUNK), state.known(session, CHUNK)))?;
        let is_known = is_known?;
        if !is_known {
            actor.step(|state| state.store(session, CHUNK, &[]))??;
        }
        actor.step(|state| state.store(session, ROOT[1], &[CHUNK]))??;
        actor.commit(session, point(1, 0), ROOT[1])?;
        actor.step(|state| {
            assert!(is_known || !is_bad || state.is_sound(CHUNK), "violation: sent and not kept")
        })
    });
    let reclaim = spawn(pool, |actor| actor.reclaim(FIRST, 3).map(drop));
    join(scrubs.into_iter().chain([backup, reclaim]));
    pool.audit();
    // A chunk that is known to be bad comes again with the next backup.
    if pool.step(|state| state.is_bad(CHUNK)) {
        grow(pool, point(2, 0), ROOT[2], &[CHUNK]);
        pool.step(|state| {
            assert!(state.is_sound(CHUNK), "violation: damage that is known is not repaired");
            state.saw("repaired");
        });
    }
    pool.audit();
}

#[test]
fn scrub_copy_and_insert_hold() {
    holds(model, 24_000, &["verdict", "copied", "removed", "unread", "repaired"]);
}

#[test]
fn pbs_6665_takes_a_failed_read_for_corruption() {
    breaks(model, without(|guards| guards.failed_read_is_no_verdict = false), "a sound copy");
}

#[test]
fn pbs_4_0_a_verdict_that_hits_what_was_inserted_since() {
    breaks(model, without(|guards| guards.verdict_names_place = false), "a sound copy");
}

#[test]
fn a_copy_that_launders_damage() {
    breaks(model, without(|guards| guards.copies_are_verified = false), "which is lost");
}

#[test]
fn reclaim_that_goes_on_without_what_it_could_not_read() {
    breaks(model, without(|guards| guards.unread_keeps_segment = false), "which is lost");
}

#[test]
fn a_cache_that_outlives_a_verdict() {
    breaks(model, without(|guards| guards.verdict_empties_cache = false), "is not repaired");
}

#[test]
fn damage_that_satisfies_every_backup() {
    breaks(model, without(|guards| guards.bad_counts_as_absent = false), "is not repaired");
}

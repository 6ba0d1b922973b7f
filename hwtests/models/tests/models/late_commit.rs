//! A session is fenced, reclaim goes on, and its agent wakes up. Row 13 of what happened to others: a lock that expires
//! while its holder sleeps and commits nevertheless.

use std::collections::BTreeSet;

use models::{Actor, Name, Pool, Stopped, breaks, holds};
use shuttle::sync::Arc;

use crate::{FIRST, join, litter, point, settle, spawn, without};

const ROOT: Name = Name(1);
const GARBAGE: [Name; 2] = [Name(10), Name(11)];

/// One attempt at a backup; asks only for what it has no answer about.
fn attempt(actor: &Actor, answered: &mut BTreeSet<Name>) -> Result<(), Stopped> {
    let session = actor.step(|state| state.begin(None))??;
    for name in GARBAGE {
        if !answered.contains(&name) {
            if !actor.step(|state| state.known(session, name))?? {
                actor.step(|state| state.store(session, name, &[]))??;
            }
            answered.insert(name);
        }
    }
    actor.step(|state| state.store(session, ROOT, &GARBAGE))??;
    actor.commit(session, point(1, 0), ROOT)
}

fn model(pool: &Arc<Pool>) {
    for name in GARBAGE {
        litter(pool, name);
    }
    settle(pool);
    let agent = spawn(pool, |actor| {
        let mut answered = BTreeSet::new();
        while let Err(Stopped::Refused) = attempt(actor, &mut answered) {
            actor.step(|state| state.saw("refused"))?;
            if actor.step(|state| state.guards.agent_asks_anew)? {
                answered.clear();
            }
        }
        Ok(())
    });
    let fence = spawn(pool, |actor| actor.step(models::State::fence_all));
    let reclaim = spawn(pool, |actor| actor.reclaim(FIRST, 6).map(drop));
    join([agent, fence, reclaim]);
    pool.audit();
}

#[test]
fn fences_hold() {
    holds(model, 24_000, &["fenced", "refused", "removed"]);
}

#[test]
fn restic_2715_commits_after_its_lock_expired() {
    breaks(model, without(|guards| guards.commit_checks_fence = false), "which is lost");
}

#[test]
fn a_fence_that_is_looked_at_before_the_commit() {
    breaks(model, without(|guards| guards.fence_and_commit_are_one = false), "which is lost");
}

#[test]
fn an_agent_that_remembers_what_a_fenced_session_was_told() {
    breaks(model, without(|guards| guards.agent_asks_anew = false), "which is lost");
}

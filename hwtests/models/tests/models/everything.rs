//! All actors at once over three segments: incremental and full backups, drops, a reader, a scrub, two reclaims, flushes
//! and a crash. The other models look for one thing each; this one looks for what nobody thought of.

use models::{Actor, Loss, Name, PointId, Pool, SegmentNumber, State, Stopped, holds};
use shuttle::sync::Arc;

use crate::{FIRST, grow, join, litter, point, seal, settle, spawn};

const ROOT: [Name; 5] = [Name(1), Name(2), Name(3), Name(4), Name(5)];
const CHUNK: [Name; 4] = [Name(10), Name(11), Name(12), Name(13)];

/// Builds upon the newest point of the first source that is left; keeps what it holds and asks for one chunk more.
fn increment(actor: &Actor) -> Result<(), Stopped> {
    let session = actor.step(|state| state.begin(Some(point(0, 1))))??;
    if !actor.step(|state| state.known(session, CHUNK[2]))?? {
        actor.step(|state| state.store(session, CHUNK[2], &[]))??;
    }
    actor.step(|state| state.store(session, ROOT[2], &[CHUNK[0], CHUNK[1], CHUNK[2]]))??;
    actor.commit(session, point(0, 2), ROOT[2])?;
    actor.step(|state| state.saw("increment"))
}

fn read(actor: &Actor, point: PointId) -> Result<(), Stopped> {
    let root = actor.open(point)?;
    actor.read_tree(root)?;
    actor.close(point)?;
    actor.step(|state| state.saw("read all"))
}

fn model(pool: &Arc<Pool>) {
    grow(pool, point(0, 0), ROOT[0], &[CHUNK[0], CHUNK[3]]);
    litter(pool, CHUNK[2]);
    seal(pool);
    grow(pool, point(0, 1), ROOT[1], &[CHUNK[0], CHUNK[1]]);
    settle(pool);
    let increment = spawn(pool, increment);
    let full = spawn(pool, |actor| actor.back_up(point(1, 0), ROOT[3], &[CHUNK[1], CHUNK[2], CHUNK[3]]));
    let folds = [0, 1].map(|number| spawn(pool, move |actor| actor.drop_point(point(0, number))));
    let readers = [0, 1].map(|number| spawn(pool, move |actor| read(actor, point(0, number))));
    let scrub = spawn(pool, |actor| actor.scrub(CHUNK[0]));
    let reclaims = [FIRST, SegmentNumber(2)].map(|segment| {
        spawn(pool, move |actor| {
            actor.reclaim(segment, 6)?;
            actor.step(State::seal)?;
            actor.flush()?;
            actor.reclaim(SegmentNumber(3), 3).map(drop)
        })
    });
    let crash = Arc::clone(pool);
    let crash = shuttle::thread::spawn(move || {
        if crash.step(|state| state.chance()) {
            return Ok(());
        }
        crash.crash(Loss::Chance);
        crash.audit();
        let actor = crash.actor();
        actor.back_up(point(2, 0), ROOT[4], &CHUNK)?;
        actor.reclaim(FIRST, 2).map(drop)
    });
    join([increment, full, scrub, crash].into_iter().chain(folds).chain(readers).chain(reclaims));
    pool.audit();
    pool.crash(Loss::Catalog);
    pool.audit();
}

#[test]
fn everything_holds() {
    let seen =
        ["increment", "read all", "looked up again", "promised before", "condemned", "removed", "copied"];
    holds(model, 30_000, &seen);
}

//! The models: a few actors each, over one small pool. Every guard of the protocol has a test that turns it off and in
//! which shuttle finds what then goes wrong; the tests named after programs replay what happened to them.

mod commit_fold_reclaim;
mod counting;
mod crash;
mod everything;
mod known_reclaim;
mod late_commit;
mod reader_lease;
mod scrub_copy;

use models::{Actor, Guards, Name, PointId, Pool, SegmentNumber, Stopped};
use shuttle::sync::Arc;
use shuttle::thread::JoinHandle;

/// The segment that the setup of a model fills and seals.
const FIRST: SegmentNumber = SegmentNumber(1);

const fn point(source: u8, number: u8) -> PointId {
    PointId { source, number }
}

/// All guards but those that `change` turns off.
fn without(change: impl FnOnce(&mut Guards)) -> Guards {
    let mut guards = Guards::default();
    change(&mut guards);
    guards
}

/// Commits a point before the race begins.
fn grow(pool: &Arc<Pool>, point: PointId, root: Name, refers: &[Name]) {
    pool.survivor().back_up(point, root, refers).expect("nobody is in the way yet");
}

/// Stores a chunk to which nothing refers.
fn litter(pool: &Arc<Pool>, name: Name) {
    pool.step(|state| {
        let session = state.begin(None).expect("no base is asked for");
        state.store(session, name, &[]).expect("the session lasts");
        state.known(session, name).expect("the session lasts");
        state.end(session);
    });
}

/// Counts, seals what was stored and commits it.
fn seal(pool: &Arc<Pool>) {
    pool.survivor().count().expect("a survivor is not stopped");
    pool.step(|state| {
        state.commit_all();
        state.seal();
    });
}

/// The same, and the catalog is flushed.
fn settle(pool: &Arc<Pool>) {
    seal(pool);
    pool.step(models::State::flush);
}

/// Runs an actor that may be stopped at any step.
fn spawn(
    pool: &Arc<Pool>,
    act: impl FnOnce(&Actor) -> Result<(), Stopped> + Send + 'static,
) -> JoinHandle<Result<(), Stopped>> {
    let actor = pool.actor();
    shuttle::thread::spawn(move || act(&actor))
}

/// Runs an actor that lives through a reopening of the pool.
fn spawn_survivor(
    pool: &Arc<Pool>,
    act: impl FnOnce(&Actor) -> Result<(), Stopped> + Send + 'static,
) -> JoinHandle<Result<(), Stopped>> {
    let actor = pool.survivor();
    shuttle::thread::spawn(move || act(&actor))
}

/// Waits for all; that one was stopped is its own affair.
fn join(actors: impl IntoIterator<Item = JoinHandle<Result<(), Stopped>>>) {
    for actor in actors {
        actor.join().expect("a schedule ends at its first panic").ok();
    }
}

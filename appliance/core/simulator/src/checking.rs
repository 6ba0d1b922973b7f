//! What must hold after each crash and recovery: everything that was acknowledged is there, nothing else is, and all else
//! follows from the segments, on any drives that are enough.

use model::archive::ArchiveError;
use pool::catalog::{Dump, Place};
use pool::layout::CATALOG;
use pool::{Counted, Effort, Pool, PoolError, Reclaimed, Thrift};

use crate::bays::Bays;
use crate::folding::scrub_round;
use crate::history::{Failure, History};
use crate::host::Host;

/// Most steps that it takes to give back all that a pool of a history has: it has some dozens of segments.
const RECLAIMS_MAX: u64 = 10_000;
/// Crash points of several drives after which the set does all that is to be done, in percent.
const SETTLED: u64 = 20;

impl History {
    /// All that was acknowledged is there, nothing else is, and the catalog follows from the segments.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        let pool = self.pool.as_ref().ok_or("the pool is not open")?;
        self.oracle.check(pool)?;
        let left_out = self.host.bays.dispensable(&mut self.random);
        self.compare_copies(&left_out).map_err(|what| match left_out[..] {
            [] => what,
            _ => format!("without drives {left_out:?}, which may be lost: {what}"),
        })?;
        let is_settled = self.host.bays.are_several() && !self.host.bays.is_rotten();
        if is_settled && self.random.chance(SETTLED) { self.settle() } else { Ok(()) }
    }

    /// The pool on a copy of the drives, and on one without its catalog and without drives that may be lost.
    fn compare_copies(&mut self, left_out: &[usize]) -> Result<(), String> {
        let (mut kept, mut rebuilt) = (self.open_copy(true, &[])?, self.open_copy(false, left_out)?);
        for pool in [&mut kept, &mut rebuilt] {
            let audit = pool.audit().map_err(|error| ArchiveError::from(error).to_string())?;
            if let Some(wrong) = audit.wrong.first() {
                return Err(wrong.clone());
            }
        }
        if let Some(what) = self.host.nonces.repeated() {
            return Err(what);
        }
        for pool in [&kept, &rebuilt] {
            scrub_round(pool, self.host.bays.is_rotten()).map_err(|failure| match failure {
                Failure::Operating(error) => format!("the scrub fails: {error}"),
                Failure::Breach(what) => what,
            })?;
        }
        let words = |error: PoolError| ArchiveError::from(error).to_string();
        let (before, after) = (kept.shared().dump().map_err(words)?, rebuilt.shared().dump().map_err(words)?);
        differences(&before, &after)?;
        let damage = rebuilt.shared().damage();
        if !damage.is_empty()
            || rebuilt.shared().registry(Clone::clone) != kept.shared().registry(Clone::clone)
        {
            return Err(format!("without its catalog the pool holds something else; damage: {damage:?}"));
        }
        if self.random.chance(20) {
            self.empty(rebuilt)?;
        }
        Ok(())
    }

    /// The pool on a copy of the drives without some of them, with its catalog or without.
    fn open_copy(&self, with_catalog: bool, left_out: &[usize]) -> Result<Pool, String> {
        let say = |error| format!("of a copy, catalog {with_catalog}, without {left_out:?}: {error}");
        let mut bays = self.host.bays.copy_without(left_out);
        let world = self.host.world_apart(&mut bays, self.counts.points).map_err(say)?;
        if !with_catalog && world.disk.list("").is_ok_and(|names| names.iter().any(|name| name == CATALOG)) {
            world.disk.remove(CATALOG).map_err(|error| error.to_string())?;
        }
        Pool::open(world, &Host::key(), self.host.options()).map_err(|error| say(error.into()))
    }

    /// Lets a copy of the set do all that is to be done; the pool on it must hold what it held.
    fn settle(&self) -> Result<(), String> {
        let mut bays = self.host.bays.copy_without(&[]);
        let say = |error| format!("of a copy: {error}");
        // The pool says what its sources ask for, and is closed.
        let open = |bays: &mut Bays, when: &str| {
            let world = self.host.world_apart(bays, self.counts.points).map_err(say)?;
            let pool = Pool::open(world, &Host::key(), self.host.options());
            pool.map_err(|error| format!("{when} all work: {}", ArchiveError::from(error)))
        };
        let mut pool = open(&mut bays, "before")?;
        let words = |error: PoolError| format!("before all work: {}", ArchiveError::from(error));
        while pool.count(1000).map_err(words)? == Counted::More {}
        while pool.place(1000).map_err(words)? == Counted::More {}
        drop(pool);
        bays.settle()?;
        let pool = open(&mut bays, "after")?;
        self.oracle.check_acknowledged(&pool).map_err(|what| format!("after all work: {what}"))
    }

    /// Gives back all that can be, in a pool that nobody else uses: what is left is held by something, apart from the
    /// segment that is being written.
    fn empty(&self, mut pool: Pool) -> Result<(), String> {
        let words = |error: PoolError| ArchiveError::from(error).to_string();
        let effort = Effort::default();
        let mut steps = 0;
        while !matches!(pool.reclaim(Thrift(0), effort).map_err(words)?, Reclaimed::Nothing) {
            steps += 1;
            if steps > RECLAIMS_MAX {
                return Err(format!("giving back does not come to an end in {RECLAIMS_MAX} steps"));
            }
        }
        if let Some(wrong) = pool.audit().map_err(words)?.wrong.first() {
            return Err(wrong.clone());
        }
        let dump = pool.shared().dump().map_err(words)?;
        // A pool that was just opened writes to none of the segments that were there: only to those that it copied to.
        let is_sealed = |place: Place| pool.shared().is_sealed(place.frame.segment);
        let leaked = dump.chunks.iter();
        let mut leaked =
            leaked.filter(|(_, entry)| entry.references == 0 && entry.place.is_none_or(is_sealed));
        if let Some((name, entry)) = leaked.next() {
            return Err(format!("chunk {name} is kept for nothing: {entry:?}"));
        }
        self.oracle.check_acknowledged(&pool)
    }
}

/// The first difference between a catalog and the one that was made anew after it was deleted.
fn differences(before: &Dump, after: &Dump) -> Result<(), String> {
    fn table<T: PartialEq + std::fmt::Debug>(what: &str, before: &[T], after: &[T]) -> Result<(), String> {
        let same = before.iter().zip(after).take_while(|(before, after)| before == after).count();
        let (before, after) = (before.get(same), after.get(same));
        if before.is_none() && after.is_none() {
            return Ok(());
        }
        Err(format!("of {what} a rebuilt catalog has {after:?} where the deleted one had {before:?}"))
    }
    table("chunks", &before.chunks, &after.chunks)?;
    table("pages", &before.pages, &after.pages)?;
    table("further owners", &before.adopted, &after.adopted)?;
    table("records", &before.records, &after.records)?;
    table("bytes of segments", &before.used, &after.used)?;
    table("bytes of sources", &before.own, &after.own)?;
    table("marks", std::slice::from_ref(&before.mark), std::slice::from_ref(&after.mark))
}

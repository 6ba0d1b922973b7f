//! One history: a pool from its making on, through crash after crash.
//!
//! Each leg goes on from what the last crash left: some steps of the workload, with or without failing calls, until
//! the power goes at an operation that the seed chose; then recovery, into which the power may go again and again;
//! then the checks. A crash point is a crash with the recovery and all of the checks after it.

use medium::sim::{Fault, FaultPlan, Random};
use model::archive::ArchiveError;
use pool::catalog::Dump;
use pool::planted::Planted;
use pool::{Effort, Pool, PoolError, Reclaimed, Thrift};

use crate::folding::{Reader, scrub_round};
use crate::host::Host;
use crate::oracle::Oracle;
use crate::workload::Session;

/// Most steps between two crashes.
const STEPS_MAX: u64 = 60;
/// Most crashes into one recovery.
const NESTED_MAX: u64 = 5;
/// Most steps that it takes to give back all that a pool of a history has: it has some dozens of segments.
const RECLAIMS_MAX: u64 = 10_000;

/// Why a step did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The drive failed, as the seed wanted, or something fails that should not: that is for the caller to say.
    Operating(ArchiveError),
    /// A promise is broken.
    Breach(String),
}

/// What was gone through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Crashes that were recovered from and checked.
    pub points: u64,
    /// Crashes into the recoveries of these.
    pub nested: u64,
    /// Calls that failed, after which the pool had to come back by itself.
    pub faults: u64,
    /// Backups that were acknowledged.
    pub backups: u64,
    /// Points that were dropped.
    pub dropped: u64,
    /// Bytes of segments that were given back.
    pub freed: u64,
    /// Bytes of segments that were scrubbed.
    pub scrubbed: u64,
    /// Rounds of the scrub that came to their end.
    pub rounds: u64,
}

/// A pool, what is around it, and what it has to hold.
pub(crate) struct History {
    pub(crate) random: Random,
    pub(crate) host: Host,
    pub(crate) pool: Option<Pool>,
    pub(crate) oracle: Oracle,
    pub(crate) sessions: Vec<Session>,
    pub(crate) readers: Vec<Reader>,
    pub(crate) counts: Counts,
    trace: blake3::Hasher,
    /// The operation of the disk at which the power goes.
    crash_at: u64,
    /// A call may fail.
    pub(crate) is_faulty: bool,
    /// Making the pool was acknowledged, or the pool has been opened.
    exists: bool,
}

impl History {
    /// A machine with an empty disk.
    pub(crate) fn new(seed: u64, planted: Planted) -> Self {
        let mut random = Random::new(seed);
        let host = Host::new(&mut random, planted);
        Self {
            random,
            host,
            pool: None,
            oracle: Oracle::default(),
            sessions: Vec::new(),
            readers: Vec::new(),
            counts: Counts::default(),
            trace: blake3::Hasher::new(),
            crash_at: u64::MAX,
            is_faulty: false,
            exists: false,
        }
    }

    /// The next crash point: until the power goes, back again, and checked.
    pub(crate) fn leg(&mut self) -> Result<(), String> {
        self.plan();
        match self.run() {
            Err(Failure::Operating(error)) if !self.host.has_crashed() => {
                return Err(format!("fails although nothing is wrong: {error}"));
            }
            // Whatever is seen of it: a nonce that was used twice is worse, and may be the cause.
            Err(Failure::Breach(what)) => return Err(self.host.nonces.repeated().unwrap_or(what)),
            _ => {}
        }
        self.recover()?;
        self.check()?;
        self.counts.points += 1;
        Ok(())
    }

    /// A hash over all that happened so far and all bytes of the disk.
    pub(crate) fn trace(&self) -> [u8; 32] {
        let mut trace = self.trace.clone();
        for (path, bytes) in self.host.disk.files() {
            trace.update(path.as_bytes()).update(&bytes);
        }
        *trace.finalize().as_bytes()
    }

    /// The last operations of the disk.
    pub(crate) fn log(&self) -> Vec<String> {
        self.host.disk.log()
    }

    /// Decides when the power goes, and which calls fail before.
    fn plan(&mut self) {
        let now = self.host.disk.operations();
        let reach = [6, 30, 120, 300][self.random.index(4)];
        self.crash_at = now + 1 + self.random.below(reach);
        self.host.disk.fail(FaultPlan::lasting(Fault::Crash, self.crash_at));
        self.is_faulty = self.random.chance(35);
        if !self.is_faulty {
            return;
        }
        let under = ["", "", "segments", "segments/", "catalog"][self.random.index(5)];
        let at = now + 1 + self.random.below(reach);
        let reads = self.host.disk.reads() + 1 + self.random.below(60);
        let plan = match self.random.below(8) {
            0 | 1 => FaultPlan::once(Fault::Error, at),
            2 => FaultPlan::lasting(Fault::Error, at),
            3 => FaultPlan::once(Fault::ShortWrite, at),
            4 => FaultPlan::once(Fault::TornWrite, at),
            5 => FaultPlan::once(Fault::Error, reads).on_reads(),
            _ => FaultPlan::lasting(Fault::NoSpace, at),
        };
        self.host.disk.fail(plan.under(under));
    }

    /// Steps until the power is gone, or none are left.
    fn run(&mut self) -> Result<(), Failure> {
        if self.pool.is_none() {
            self.create()?;
        }
        for _ in 0..STEPS_MAX {
            match self.step() {
                Err(Failure::Operating(_)) if self.is_faulty && !self.host.has_crashed() => self.mend()?,
                other => other?,
            }
            if self.host.has_crashed() || !self.pool()?.is_failed() {
                continue;
            }
            if self.is_faulty {
                // A call failed and the step went on without it.
                self.mend()?;
            } else {
                return Err(Failure::Breach("the pool takes nothing more although no call failed".into()));
            }
        }
        Ok(())
    }

    fn create(&mut self) -> Result<(), Failure> {
        let (world, options) = (self.host.world(), self.host.options());
        match Pool::create(world, &[Host::key()], options) {
            Ok(pool) => {
                self.pool = Some(pool);
                self.exists = true;
                Ok(())
            }
            Err(error) if self.is_faulty && !self.host.has_crashed() => {
                drop(error);
                self.faults_end();
                self.open_or_create().map_err(|error| Failure::Operating(error.into()))
            }
            Err(error) => Err(Failure::Operating(error.into())),
        }
    }

    /// What is done by whoever finds a machine on which making the pool may have been cut off.
    fn open_or_create(&mut self) -> Result<(), PoolError> {
        let opened = Pool::open(self.host.world(), &Host::key(), self.host.options());
        let opened = match opened {
            Err(PoolError::NoPool) if !self.exists => {
                Pool::create(self.host.world(), &[Host::key()], self.host.options())
            }
            other => other,
        };
        self.pool = Some(opened?);
        self.exists = true;
        Ok(())
    }

    /// No call fails from here on, until the power goes.
    fn faults_end(&mut self) {
        self.is_faulty = false;
        self.counts.faults += 1;
        self.host.disk.clear_faults();
        self.host.disk.fail(FaultPlan::lasting(Fault::Crash, self.crash_at));
    }

    /// The cause of a failure is gone: the pool must come back, in place or in a new process, with all it had.
    fn mend(&mut self) -> Result<(), Failure> {
        self.faults_end();
        if self.random.chance(70) {
            if self.pool()?.is_failed() {
                self.reopen()?;
            }
        } else {
            self.end_process();
            self.open_or_create().map_err(|error| Failure::Operating(error.into()))?;
        }
        self.verify()
    }

    /// Compares the pool with the oracle; the power may go meanwhile.
    pub(crate) fn verify(&mut self) -> Result<(), Failure> {
        if self.host.has_crashed() {
            // The pool was open already when the power went.
            return Ok(());
        }
        let pool = self.pool.as_ref().ok_or_else(|| Failure::Breach("the pool is not open".into()))?;
        self.oracle.check(pool).map_err(Failure::Breach)?;
        let readers = self.readers.iter().map(|reader| &reader.kept);
        self.oracle.check_readers(pool, readers).map_err(Failure::Breach)
    }

    /// Nothing of the process is left.
    fn end_process(&mut self) {
        self.sessions.clear();
        self.readers.clear();
        self.pool = None;
    }

    /// The pool reads its drive again.
    pub(crate) fn reopen(&mut self) -> Result<(), Failure> {
        self.sessions.iter_mut().for_each(|session| session.is_stale = true);
        self.pool()?.reopen().map_err(|error| Failure::Operating(error.into()))
    }

    /// The pool makes its catalog anew.
    pub(crate) fn rebuild(&mut self) -> Result<(), Failure> {
        self.sessions.iter_mut().for_each(|session| session.is_stale = true);
        self.pool()?.rebuild_catalog().map_err(|error| Failure::Operating(error.into()))
    }

    /// The power comes back, and may go again before the pool is open.
    fn recover(&mut self) -> Result<(), String> {
        self.end_process();
        let survival = self.host.crash(&mut self.random);
        self.note(format!("{survival:?}").as_bytes());
        let mut nested = if self.random.chance(50) { 1 + self.random.below(NESTED_MAX) } else { 0 };
        loop {
            if nested > 0 {
                let reach = [4, 16, 60][self.random.index(3)];
                let at = 1 + self.random.below(reach);
                self.host.disk.fail(FaultPlan::lasting(Fault::Crash, at));
                nested -= 1;
            }
            let opened = self.open_or_create();
            if !self.host.has_crashed() {
                opened.map_err(|error| format!("cannot be opened: {}", ArchiveError::from(error)))?;
                self.host.disk.clear_faults();
                self.is_faulty = false;
                return Ok(());
            }
            // The pool may have been open already.
            self.end_process();
            self.counts.nested += 1;
            let survival = self.host.crash(&mut self.random);
            self.note(format!("nested {survival:?}").as_bytes());
        }
    }

    fn note(&mut self, what: &[u8]) {
        self.trace.update(what).update(&self.host.disk.operations().to_le_bytes());
    }

    /// All that was acknowledged is there, nothing else is, and the catalog follows from the segments.
    fn check(&mut self) -> Result<(), String> {
        let pool = self.pool.as_ref().ok_or("the pool is not open")?;
        self.oracle.check(pool)?;
        let (mut kept, mut rebuilt) = (self.open_copy(true)?, self.open_copy(false)?);
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
            scrub_round(pool).map_err(|failure| match failure {
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
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        Self::Operating(error.into())
    }
}

impl History {
    /// The pool on a copy of the disk, with its catalog or without.
    fn open_copy(&self, with_catalog: bool) -> Result<Pool, String> {
        let disk = self.host.disk.snapshot();
        if !with_catalog {
            medium::Disk::remove(&disk, pool::layout::CATALOG).map_err(|error| error.to_string())?;
        }
        let world = self.host.world_apart(&disk, self.counts.points);
        let pool = Pool::open(world, &Host::key(), self.host.options());
        pool.map_err(|error| format!("of a copy, catalog {with_catalog}: {}", ArchiveError::from(error)))
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
        // A pool that was just opened writes to none of the segments that were there, unless something was copied.
        let copied = dump.used.iter().rfind(|(_, used)| used.live > 0).map(|(segment, _)| *segment);
        let leaked = dump.chunks.iter().find(|(_, entry)| {
            entry.references == 0 && entry.place.is_none_or(|place| Some(place.frame.segment) != copied)
        });
        if let Some((name, entry)) = leaked {
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

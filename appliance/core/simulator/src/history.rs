//! One history: a pool from its making on, through crash after crash.
//!
//! Each leg goes on from what the last crash left: some steps of the workload, with or without failing calls, until
//! the power goes at an operation that the seed chose; then recovery, into which the power may go again and again;
//! then the checks. A crash point is a crash with the recovery and all of the checks after it.

use medium::sim::{Fault, FaultPlan, Random};
use model::archive::ArchiveError;
use pool::planted::Planted;
use pool::{Pool, PoolError};

use crate::activity::{Activity, Cuts};
use crate::bays::Fates;
use crate::folding::Reader;
use crate::host::Host;
use crate::oracle::Oracle;
use crate::workload::Session;

/// Most steps between two crashes.
const STEPS_MAX: u64 = 60;
/// Most crashes into one recovery.
const NESTED_MAX: u64 = 5;

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
    /// Copies that had become bad and were mended.
    pub mended: u64,
    /// What the crashes cut into.
    pub cuts: Cuts,
    /// What became of the drives, where there are several.
    pub drives: Fates,
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
    /// What it is at.
    pub(crate) activity: Activity,
    /// A call may fail.
    pub(crate) is_faulty: bool,
    /// Making the pool was acknowledged, or the pool has been opened.
    exists: bool,
}

impl History {
    /// A machine with empty drives.
    pub(crate) fn new(seed: u64, planted: Planted) -> Self {
        let mut random = Random::new(seed);
        let host = Host::new(seed, &mut random, planted);
        Self {
            random,
            host,
            pool: None,
            oracle: Oracle::default(),
            sessions: Vec::new(),
            readers: Vec::new(),
            counts: Counts::default(),
            trace: blake3::Hasher::new(),
            activity: Activity::Other,
            is_faulty: false,
            exists: false,
        }
    }

    /// The next crash point: until the power goes, back again, and checked.
    pub(crate) fn leg(&mut self) -> Result<(), String> {
        self.plan();
        match self.run() {
            Err(Failure::Operating(error)) if !self.host.bays.has_crashed() => {
                return Err(format!("fails although nothing is wrong: {error}"));
            }
            // Each drive that answers no more is missed as if it had been lost.
            Err(Failure::Breach(_)) if self.host.bays.has_crashed() && self.host.bays.are_several() => {}
            // Whatever is seen of it: a nonce that was used twice is worse, and may be the cause.
            Err(Failure::Breach(what)) => return Err(self.host.nonces.repeated().unwrap_or(what)),
            _ => {}
        }
        self.counts.cuts.note(self.activity);
        self.recover()?;
        self.check()?;
        self.counts.points += 1;
        self.host.bays.fates.points += u64::from(self.host.bays.are_several());
        Ok(())
    }

    /// What was gone through so far.
    pub(crate) fn counts(&self) -> Counts {
        Counts { drives: self.host.bays.fates, ..self.counts }
    }

    /// A hash over all that happened so far and all bytes of the drives.
    pub(crate) fn trace(&self) -> [u8; 32] {
        let mut trace = self.trace.clone();
        for (path, bytes) in self.host.bays.files() {
            trace.update(path.as_bytes()).update(&bytes);
        }
        *trace.finalize().as_bytes()
    }

    /// The last operations of the drives.
    pub(crate) fn log(&self) -> Vec<String> {
        self.host.bays.log()
    }

    /// Decides when the power goes, and which calls fail before.
    fn plan(&mut self) {
        let reach = [6, 30, 120, 300][self.random.index(4)];
        self.host.bays.cut_at(1 + self.random.below(reach));
        self.host.bays.look();
        self.is_faulty = self.random.chance(35);
        if !self.is_faulty {
            return;
        }
        self.is_faulty = self.host.bays.fail(&mut self.random, |disk, random| {
            let under = ["", "", "segments", "segments/", "catalog"][random.index(5)];
            let at = disk.operations() + 1 + random.below(reach);
            let reads = disk.reads() + 1 + random.below(60);
            let plan = match random.below(8) {
                0 | 1 => FaultPlan::once(Fault::Error, at),
                2 => FaultPlan::lasting(Fault::Error, at),
                3 => FaultPlan::once(Fault::ShortWrite, at),
                4 => FaultPlan::once(Fault::TornWrite, at),
                5 => FaultPlan::once(Fault::Error, reads).on_reads(),
                _ => FaultPlan::lasting(Fault::NoSpace, at),
            };
            plan.under(under)
        });
    }

    /// Steps until the power is gone, or none are left.
    fn run(&mut self) -> Result<(), Failure> {
        self.activity = Activity::Other;
        if self.pool.is_none() {
            self.create()?;
        }
        for _ in 0..STEPS_MAX {
            self.host.bays.look();
            match self.step() {
                Err(Failure::Operating(_)) if self.is_faulty && !self.host.bays.has_crashed() => {
                    self.mend()?
                }
                other => other?,
            }
            if self.host.bays.has_crashed() {
                return Ok(());
            }
            self.activity = Activity::Other;
            if !self.pool()?.is_failed() {
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
        let created = self.open_new();
        match created {
            Ok(()) => Ok(()),
            Err(error) if self.is_faulty && !self.host.bays.has_crashed() => {
                drop(error);
                self.faults_end();
                self.open_or_create().map_err(Failure::Operating)
            }
            Err(error) => Err(Failure::Operating(error)),
        }
    }

    fn open_new(&mut self) -> Result<(), ArchiveError> {
        let (world, options) = (self.host.world()?, self.host.options());
        self.pool = Some(Pool::create(world, &[Host::key()], options)?);
        self.exists = true;
        Ok(())
    }

    /// What is done by whoever finds a machine on which making the pool may have been cut off.
    fn open_or_create(&mut self) -> Result<(), ArchiveError> {
        let (world, options) = (self.host.world()?, self.host.options());
        match Pool::open(world, &Host::key(), options) {
            Err(PoolError::NoPool) if !self.exists => return self.open_new(),
            opened => self.pool = Some(opened?),
        }
        self.exists = true;
        Ok(())
    }

    /// No call fails from here on, until the power goes.
    fn faults_end(&mut self) {
        self.is_faulty = false;
        self.counts.faults += 1;
        self.host.bays.clear_faults();
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
            self.open_or_create().map_err(Failure::Operating)?;
        }
        self.verify()
    }

    /// Compares the pool with the oracle; the power may go meanwhile.
    pub(crate) fn verify(&mut self) -> Result<(), Failure> {
        if self.host.bays.has_crashed() {
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
        self.host.bays.let_go();
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
        self.crash("");
        let mut depth = 0;
        let mut nested = if self.random.chance(50) { 1 + self.random.below(NESTED_MAX) } else { 0 };
        loop {
            if nested > 0 {
                let reach = [4, 16, 60][self.random.index(3)];
                self.host.bays.cut_at(1 + self.random.below(reach));
                nested -= 1;
            }
            let opened = self.open_or_create();
            if !self.host.bays.has_crashed() {
                opened.map_err(|error| format!("cannot be opened: {error}"))?;
                self.host.bays.cut_never();
                self.host.bays.clear_faults();
                self.is_faulty = false;
                self.counts.cuts.note_depth(depth);
                return Ok(());
            }
            depth += 1;
            // The pool may have been open already.
            self.end_process();
            self.counts.nested += 1;
            self.crash("nested ");
        }
    }

    fn crash(&mut self, what: &str) {
        let survivals = self.host.bays.crash(&mut self.random);
        self.note(format!("{what}{survivals:?}").as_bytes());
    }

    fn note(&mut self, what: &[u8]) {
        self.trace.update(what).update(&self.host.bays.changes().to_le_bytes());
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        Self::Operating(error.into())
    }
}

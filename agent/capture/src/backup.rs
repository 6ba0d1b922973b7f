//! A backup from begin to finish: one try with what the cache says, and one without if that was wrong.

use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

use chunk::{Cutter, NamingKey};
use model::record::{Exception, Point, Totals};
use model::{ObjectId, SequenceNumber, Time};

use crate::appliance::{Begun, Ending, Finish};
use crate::cache::{Header, Snapshot, SourceCache, chain, guarded};
use crate::filter::Filter;
use crate::log::LogWriter;
use crate::pipeline;
use crate::read::{PART_HELD, Shared};
use crate::send::Sending;
use crate::size::estimate;
use crate::source::Selection;
use crate::stat::filesystem_clock;
use crate::task::{Counters, Halt};
use crate::window::Window;
use crate::{Appliance, BackupError, Cache, CacheError, Limits, Progress, SourceConfig, Task};

/// A backup that made a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The point.
    pub point: Point,
    /// What was read and sent.
    pub totals: Totals,
    /// What is not as it should be, at most `model::record::EXCEPTIONS_MAX`.
    pub exceptions: Vec<Exception>,
    /// How many there were.
    pub exceptions_count: u64,
}

/// What all tries of a backup share.
struct Job<'a> {
    config: &'a SourceConfig,
    selection: Selection,
    filter: Filter,
    appliance: &'a dyn Appliance,
    naming: &'a NamingKey,
    limits: Limits,
    progress: &'a dyn Progress,
    stop: &'a AtomicBool,
}

/// Backs a source up: walks it, sends what differs from the last point, and lets the appliance make a point.
///
/// What was sent before an error or a stop is not sent again by the next backup with the same cache, as far as the
/// appliance has called it durable.
///
/// # Errors
/// Whatever keeps the backup as a whole from its end; single files never do.
pub fn backup(
    config: &SourceConfig,
    cache: &Cache,
    appliance: &dyn Appliance,
    naming: &NamingKey,
    limits: &Limits,
    progress: &dyn Progress,
    stop: &AtomicBool,
) -> Result<Outcome, BackupError> {
    let (selection, filter) = (Selection::new(&config.paths)?, Filter::new(config)?);
    let limits = limits.checked();
    let job = Job { config, selection, filter, appliance, naming, limits, progress, stop };
    let source = cache.open(&config.label, limits.memory_bytes / 8)?;
    match job.attempt(&source) {
        Err(error) if error.is_of_the_cache() => {
            tracing::warn!(source = %config.label, error = %chain(&error), "starting again without the cache");
            let paths = source.paths.clone();
            let source = source.discard().map_err(|error| paths.problem(error))?;
            job.attempt(&source)
        }
        result => result,
    }
}

impl Job<'_> {
    fn attempt(&self, source: &SourceCache) -> Result<Outcome, BackupError> {
        let cached = |error: CacheError| source.paths.problem(error);
        self.progress.task(Task::Begin);
        let base = guarded(|| {
            source.take_in_log()?;
            Ok(source.header()?.continuity)
        })
        .map_err(cached)?;
        let failed = |source| BackupError::Appliance { during: "beginning the backup", source };
        let size = || estimate(&self.config.paths, &self.filter, &Halt::new(self.stop));
        let size_bytes = if base.is_none() { size() } else { None };
        let begun = self.appliance.begin(&self.config.label, base.as_deref(), size_bytes).map_err(failed)?;
        let result = self.scan(source, &begun, base.as_deref());
        if result.is_err() {
            self.appliance.abort(begun.session);
        }
        result
    }

    fn scan(&self, source: &SourceCache, begun: &Begun, base: Option<&[u8]>) -> Result<Outcome, BackupError> {
        let cached = |error: CacheError| source.paths.problem(error);
        let matched = begun.matched && base.is_some();
        let mut snapshot = guarded(|| source.snapshot(matched)).map_err(cached)?;
        if !matched {
            snapshot.header.next = first_object(begun.sequence);
        }
        let started = now();
        let (counters, halt) = (Counters::default(), Halt::new(self.stop));
        let memory = self.limits.memory_bytes;
        let window = Window::new(memory / 5, PART_HELD);
        let cutter = Cutter::new(self.naming);
        let shared = self.shared(source, &snapshot, begun, &counters, &halt, &window, &cutter);
        let log = LogWriter::new(source.paths.log.clone(), base);
        let readers = self.limits.threads;
        let mut sending =
            Sending::new(&shared, self.progress, log, begun.sequence, readers + 4, memory / 6 / 64);
        self.progress.task(Task::Scan);
        let walked = pipeline::run(&shared, &self.filter, self.selection.clone(), readers, &mut sending)
            .inspect_err(|_| sending.salvage())?;
        self.progress.task(Task::Finish);
        let totals = counters.totals();
        let (exceptions, exceptions_count) =
            (std::mem::take(&mut sending.exceptions), sending.exceptions_count);
        let finish = Finish {
            last: sending.last(),
            started,
            finished: now(),
            totals,
            exceptions: exceptions.clone(),
            exceptions_count,
        };
        let point = self.finish(begun, finish).inspect_err(|_| sending.salvage())?;
        self.progress.task(Task::Remember);
        let header = Header { continuity: Some(point.continuity.clone()), next: walked.next };
        let log = sending.into_log();
        drop(snapshot);
        if let Err(error) = guarded(|| source.commit(log, &header, !matched)) {
            // The point is made; the next backup compares by reading.
            tracing::warn!(source = %self.config.label, error = %chain(&error), "cache could not be written");
        }
        Ok(Outcome { point, totals, exceptions, exceptions_count })
    }

    #[expect(clippy::too_many_arguments, reason = "the parts live in the caller's frame")]
    fn shared<'s>(
        &'s self,
        source: &'s SourceCache,
        snapshot: &'s Snapshot,
        begun: &Begun,
        counters: &'s Counters,
        halt: &'s Halt<'s>,
        window: &'s Window,
        cutter: &'s Cutter,
    ) -> Shared<'s> {
        Shared {
            snapshot,
            paths: &source.paths,
            appliance: self.appliance,
            session: begun.session,
            ask: !begun.empty,
            naming: self.naming,
            cutter,
            counters,
            halt,
            window,
            scan: filesystem_clock(),
        }
    }

    fn finish(&self, begun: &Begun, finish: Finish) -> Result<Point, BackupError> {
        let failed = |source| BackupError::Appliance { during: "making the point", source };
        match self.appliance.finish(begun.session, finish).map_err(failed)? {
            Ending::Finished(point) => Ok(*point),
            Ending::Lacking(names) => Err(BackupError::Lacking { count: names.len() }),
        }
    }
}

/// The number of the first new object of a scan that does not go on from an earlier one, when the newest point ends with
/// operation `last`. Points of a source are compared by the numbers of their objects, so numbers of earlier scans are not
/// given again: every object of a point took an operation of its own.
const fn first_object(last: SequenceNumber) -> ObjectId {
    ObjectId(ObjectId::ROOT.0.saturating_add(last.0)).next()
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

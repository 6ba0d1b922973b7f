//! What agents and operators do to a pool, one step after the other: backups that interleave, break off and go on,
//! settings, and everything that happens to a process besides.

use std::sync::Arc;
use std::time::Duration;

use chunk::{BundleLimits, Compressor, Decompressor, Level, VerifiedBuilder, VerifiedBundle};
use journal::{Closing, Ingest, IngestError, Ingested};
use model::archive::ArchiveError;
use model::item::{Attributes, FileKind};
use model::operation::Operation;
use model::record::{Exception, ExceptionCause, Label, Machine, Point, Source, Totals, TreeRoot};
use model::{DomainId, Name, ObjectId, SequenceNumber, SourceId, Time};
use pool::Pool;

use crate::activity::Activity;
use crate::files::Files;
use crate::generate::Generator;
use crate::history::{Failure, History};
use crate::oracle::{Intent, Kept};

/// Machines of a history.
const MACHINES_MAX: usize = 3;
/// Sources of a history.
const SOURCES_MAX: usize = 4;
/// Backups under way at once.
const SESSIONS_MAX: usize = 3;

/// A backup under way.
pub(crate) struct Session {
    source: Source,
    domain: DomainId,
    ingest: Ingest,
    /// The number of its base among the points of the source.
    base: Option<u64>,
    files: Files,
    last: SequenceNumber,
    /// Operations whose chunks were sent, and that were not handed over yet.
    waiting: Vec<Operation>,
    /// The pool was opened again since it began.
    pub(crate) is_stale: bool,
}

fn label(text: &str) -> Result<Label, Failure> {
    Label::new(text).map_err(|error| Failure::Breach(error.to_string()))
}

fn breach(text: impl Into<String>) -> Failure {
    Failure::Breach(text.into())
}

/// What a session answers; none if it was refused because the pool has forgotten what it counts on, or gave it back.
fn answer<T>(result: Result<T, IngestError>, is_stale: bool) -> Result<Option<T>, Failure> {
    match result {
        Err(IngestError::Fenced) => Ok(None),
        Err(IngestError::Reopened) if is_stale => Ok(None),
        Ok(_) if is_stale => Err(breach("a backup goes on although the pool was opened again")),
        other => other.map(Some).map_err(drive),
    }
}

fn drive(error: impl Into<ArchiveError>) -> Failure {
    Failure::Operating(error.into())
}

impl History {
    /// One step.
    pub(crate) fn step(&mut self) -> Result<(), Failure> {
        if self.host.bays.is_rotten() {
            return self.mend_rot();
        }
        match self.random.below(if self.host.bays.are_several() { 111 } else { 88 }) {
            0..=1 => self.add_machine(),
            2..=3 => self.add_source(),
            4..=6 => self.change_setting(),
            7..=16 => self.begin(),
            17..=40 => self.send(),
            41..=44 => self.commit(),
            45..=47 => self.flush_pages(),
            48..=57 => self.finish(),
            58 => self.break_off(),
            59..=60 => self.pool()?.flush_catalog().map_err(drive),
            61 => self.reopen(),
            62 => self.rebuild(),
            63..=65 => self.count(),
            66..=69 => self.drop_points(),
            70..=77 => self.reclaim(),
            78..=80 => self.read_on(),
            81 => self.audit(),
            82..=85 => self.scrub(),
            86 if !self.is_faulty && !self.host.bays.has_crashed() => self.verify(),
            88..=107 => self.change_drives(),
            108.. => self.rot(),
            _ => self.move_clock(),
        }
    }

    fn add_machine(&mut self) -> Result<(), Failure> {
        let number = self.oracle.machines.len();
        if number >= MACHINES_MAX {
            return Ok(());
        }
        let label = label(&format!("machine{number}"))?;
        self.oracle.intent = Some(Intent::Machine(label.clone()));
        let machine = self.pool()?.add_machine(&label, number == 2).map_err(drive)?;
        self.oracle.intent = None;
        self.oracle.machines.insert(machine.id, machine);
        Ok(())
    }

    fn machine(&mut self) -> Option<Machine> {
        let all: Vec<&Machine> = self.oracle.machines.values().collect();
        all.get(self.random.index(all.len())).map(|machine| (*machine).clone())
    }

    fn add_source(&mut self) -> Result<(), Failure> {
        let number = self.oracle.sources.len();
        let Some(machine) = self.machine().filter(|_| number < SOURCES_MAX) else { return Ok(()) };
        let label = label(&format!("source{number}"))?;
        self.oracle.intent = Some(Intent::Source(machine.id, label.clone()));
        let source = self.pool()?.add_source(machine.id, &label).map_err(drive)?;
        self.oracle.intent = None;
        self.oracle.sources.insert(source.id, source);
        Ok(())
    }

    fn change_setting(&mut self) -> Result<(), Failure> {
        if self.random.chance(35) {
            return self.change_placement();
        }
        let key = ["retention", "schedule", "name"][self.random.index(3)].to_owned();
        let value = (!self.random.chance(25)).then(|| self.random.draw().to_le_bytes().to_vec());
        self.oracle.intent = Some(Intent::Setting(key.clone(), value.clone()));
        self.pool()?.set_setting(&key, value.clone()).map_err(drive)?;
        self.oracle.intent = None;
        self.oracle.set(key, value);
        Ok(())
    }

    /// A source asks for what it has to be kept in another way, or as everything is.
    fn change_placement(&mut self) -> Result<(), Failure> {
        let all: Vec<SourceId> = self.oracle.sources.keys().copied().collect();
        let Some(source) = all.get(self.random.index(all.len())) else { return Ok(()) };
        let way = self.host.bays.draw_redundancy(&mut self.random);
        // With fewer drives than it takes, the set keeps what it can and says what is at risk.
        let asked = self.random.chance(70).then_some(way);
        self.pool()?.set_placement(*source, asked).map_err(drive)
    }

    /// Begins a backup, from the newest point or in full.
    fn begin(&mut self) -> Result<(), Failure> {
        let all: Vec<Source> = self.oracle.sources.values().cloned().collect();
        let Some(source) = all.get(self.random.index(all.len())).cloned() else { return Ok(()) };
        let twice = self.sessions.iter().any(|session| session.source.id == source.id);
        if self.sessions.len() >= SESSIONS_MAX || (twice && self.random.chance(80)) {
            return Ok(());
        }
        let newest = self.oracle.newest(source.id).cloned();
        let matched = self.random.chance(80);
        let token = newest.as_ref().filter(|_| matched).map(|kept| kept.point.continuity.clone());
        let shared = Arc::clone(self.pool()?.shared());
        let ingest = Ingest::begin(shared, source.clone(), token.as_deref()).map_err(drive)?;
        let last = newest.as_ref().map_or(SequenceNumber(0), |kept| kept.point.sequence);
        if (ingest.sequence(), ingest.is_matched()) != (last, token.is_some()) {
            return Err(breach(format!("a backup of {source:?} begins at {}", ingest.sequence())));
        }
        let machine = self.oracle.machines.get(&source.machine);
        let domain = machine.ok_or_else(|| breach("a source without its machine"))?.domain;
        let base = newest.as_ref().map(|kept| kept.point.number);
        let known = newest.filter(|_| token.is_some());
        let is_full = known.is_none();
        let files = known.map_or_else(Files::empty, |kept| (*kept.files).clone());
        let mut session =
            Session { source, domain, ingest, base, files, last, waiting: Vec::new(), is_stale: false };
        if is_full {
            // What an agent says of the root is the first thing it says.
            let attributes = Attributes::new(FileKind::Directory, 0o755);
            let first = Operation::SetAttributes { object: ObjectId::ROOT, attributes };
            session.operations(&[first])?;
        }
        self.sessions.push(session);
        Ok(())
    }

    /// A session that is taken out; whoever has success puts it back.
    fn take_session(&mut self) -> Option<Session> {
        let index = self.random.index(self.sessions.len());
        (index < self.sessions.len()).then(|| self.sessions.swap_remove(index))
    }

    /// Sends the chunks that some operations name, as far as they are not known, and then the operations; these perhaps
    /// only a few steps later.
    fn send(&mut self) -> Result<(), Failure> {
        let Some(mut session) = self.take_session() else { return Ok(()) };
        if !session.hand_over()? {
            return Ok(());
        }
        let pool = self.pool.as_mut().ok_or_else(|| breach("the pool is not open"))?;
        let naming = pool.shared().keys().naming(session.domain);
        let count = 1 + self.random.below(8);
        let (random, oracle) = (&mut self.random, &mut self.oracle);
        let mut generator =
            Generator { random, files: &mut session.files, oracle, naming, named: Vec::new() };
        let operations: Result<Vec<_>, _> = (0..count).map(|_| generator.operation()).collect();
        let operations = operations.map_err(Failure::Breach)?;
        let mut names = generator.named;
        names.sort_unstable();
        names.dedup();
        let Some(known) = answer(session.ingest.known(&names), session.is_stale)? else { return Ok(()) };
        let lacking: Vec<Name> =
            names.iter().zip(known).filter(|(_, known)| !known).map(|(n, _)| *n).collect();
        if let Some(bundle) = self.bundle(session.domain, &lacking)? {
            let (held, source) = (session.ingest.session(), &session.source);
            self.pool()?.put_bundle(held, source.machine, source.id, bundle).map_err(drive)?;
        }
        session.waiting = operations;
        if self.random.chance(30) || session.hand_over()? {
            self.sessions.push(session);
        }
        Ok(())
    }

    fn bundle(&mut self, domain: DomainId, names: &[Name]) -> Result<Option<VerifiedBundle>, Failure> {
        if names.is_empty() {
            return Ok(None);
        }
        let naming = self.pool()?.shared().keys().naming(domain);
        let mut builder = VerifiedBuilder::new(BundleLimits::default());
        for bytes in names.iter().filter_map(|name| self.oracle.chunks.get(name)) {
            builder.push(&naming, bytes).map_err(|error| breach(error.to_string()))?;
        }
        let bundle =
            builder.finish(&mut Compressor::default(), &mut Decompressor::default(), Level::default());
        bundle.map(Some).map_err(|error| breach(error.to_string()))
    }

    fn commit(&mut self) -> Result<(), Failure> {
        self.activity = Activity::Commit;
        self.pool()?.commit(Vec::new()).map_err(drive)
    }

    fn flush_pages(&mut self) -> Result<(), Failure> {
        let Some(mut session) = self.take_session() else { return Ok(()) };
        if answer(session.ingest.flush(self.pool()?), session.is_stale)?.is_some() {
            self.sessions.push(session);
        }
        Ok(())
    }

    /// Ends a backup: its point is there, or why not is what it should be.
    fn finish(&mut self) -> Result<(), Failure> {
        let Some(mut session) = self.take_session() else { return Ok(()) };
        if !session.hand_over()? {
            return Ok(());
        }
        let is_stale = session.is_stale;
        let kept = self.expected(&session);
        let newest = self.oracle.newest(session.source.id).map(|kept| kept.point.number);
        let closing = Closing {
            last: session.last,
            started: kept.point.started,
            finished: kept.point.finished,
            totals: kept.point.totals,
            exceptions: kept.point.exceptions.clone(),
            exceptions_count: kept.point.exceptions_count,
        };
        self.oracle.intent = Some(Intent::Point(Box::new(kept.clone())));
        self.activity = Activity::Commit;
        let ingested = match session.ingest.finish(self.pool()?, closing) {
            Err(IngestError::Overtaken) if newest != session.base => None,
            other => answer(other, is_stale)?,
        };
        self.oracle.intent = None;
        let Some(ingested) = ingested else { return Ok(()) };
        if newest != session.base {
            return Err(breach("a backup was finished over another one of its source"));
        }
        let Ingested::Point(point) = ingested else {
            return Err(breach("chunks that were sent or said to be known are lacking"));
        };
        let mut kept = kept.with_what_the_pool_adds(&point);
        let exceptions = std::mem::take(&mut kept.point.exceptions);
        if kept.point != *point {
            return Err(breach(format!("the new point is {point:?}, it should be {:?}", kept.point)));
        }
        kept.point.exceptions = exceptions;
        self.oracle.points.insert(point.key(), kept);
        self.counts.backups += 1;
        Ok(())
    }

    /// The point that a backup makes, without what the pool adds.
    fn expected(&mut self, session: &Session) -> Kept {
        let count = self.random.below(3);
        let exception = |number| Exception {
            path: format!("lost/{number}").into_bytes(),
            cause: ExceptionCause::Vanished,
            detail: "no such file".into(),
        };
        let point = Point {
            source: session.source.id,
            number: session.base.unwrap_or(0) + 1,
            id: String::new(),
            sequence: session.last,
            started: Time(1),
            // Close together, so that names of points meet.
            finished: Time(self.random.below(5).cast_signed() * 500_000_000),
            received: Time(0),
            root: TreeRoot::default(),
            totals: Totals { files: self.random.below(100), bytes: self.random.draw(), ..Totals::default() },
            exceptions: (0..count).map(exception).collect(),
            exceptions_count: count,
            continuity: Vec::new(),
            witnessed: None,
        };
        Kept { point, files: Arc::new(session.files.clone()) }
    }

    fn break_off(&mut self) -> Result<(), Failure> {
        drop(self.take_session());
        Ok(())
    }

    fn move_clock(&mut self) -> Result<(), Failure> {
        self.host.clock.advance(Duration::from_millis(self.random.below(5000)));
        if self.random.chance(20) {
            self.host.clock.set(Time(self.random.below(1 << 60).cast_signed()));
        }
        Ok(())
    }

    /// The pool while it is open.
    pub(crate) fn pool(&mut self) -> Result<&mut Pool, Failure> {
        self.pool.as_mut().ok_or_else(|| breach("the pool is not open"))
    }
}

impl Session {
    /// Hands over the operations that wait; false if the session has to begin again.
    fn hand_over(&mut self) -> Result<bool, Failure> {
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() { Ok(true) } else { self.operations(&waiting) }
    }

    /// Hands operations over; false if the session has to begin again.
    fn operations(&mut self, operations: &[Operation]) -> Result<bool, Failure> {
        let taken = answer(self.ingest.operations(self.last.next(), operations), self.is_stale)?;
        if taken.is_some_and(|taken| taken != operations.len()) {
            return Err(breach("a few operations are more than waits in memory"));
        }
        self.last = SequenceNumber(self.last.0 + operations.len() as u64);
        Ok(taken.is_some())
    }
}

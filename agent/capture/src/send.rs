//! Sending: parts in the order of the walk become bundles and runs of operations.
//!
//! A chunk goes into the bundle under way unless the appliance has it or this backup has sent it; operations wait
//! until the bundles that they need are sent. What is for the cache goes into the log, marked with the last bundle
//! that it needs, so that after a break only what is durable counts.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use chunk::{BUNDLE_HEAD_LENGTH, Bundle, BundleBuilder, Compressor, ENTRY_LENGTH, Entry};
use crossbeam_channel::RecvTimeoutError;
use model::operation::Operation;
use model::record::{EXCEPTIONS_MAX, Exception, ExceptionCause};
use model::{ObjectId, SequenceNumber};

use crate::appliance::OPERATIONS_MAX;
use crate::log::LogWriter;
use crate::pipeline::{Ends, Event, PackJob, pack};
use crate::read::Shared;
use crate::seen::SeenNames;
use crate::task::{Counters, Link, Part, Piece};
use crate::walk::Walked;
use crate::{BackupError, Progress};

/// Operations that may wait for a bundle before one is sent that is not full.
const OPERATIONS_WAITING: usize = 16_384;
/// How often figures are shown.
const COUNT_EVERY: Duration = Duration::from_millis(100);

/// The state of the sender.
pub(crate) struct Sending<'a> {
    shared: &'a Shared<'a>,
    progress: &'a dyn Progress,
    log: LogWriter,
    /// Bundles that may wait for compression.
    packs_max: usize,
    /// The ticket that is next, and parts that came too early.
    head: u64,
    early: BTreeMap<u64, VecDeque<Part>>,
    walked: Option<Walked>,
    seen: SeenNames,
    builder: BundleBuilder,
    spare: Vec<BundleBuilder>,
    compressor: Option<Compressor>,
    /// The bundle under way has the number after this.
    dispatched: u64,
    sent: u64,
    packed: BTreeMap<u64, Bundle>,
    /// The last bundle that anything so far needs.
    needs: u64,
    durable: u64,
    waiting: VecDeque<(u64, Vec<Operation>)>,
    waiting_count: usize,
    ready: Vec<Operation>,
    next: SequenceNumber,
    failed: HashSet<ObjectId>,
    pub(crate) exceptions: Vec<Exception>,
    pub(crate) exceptions_count: u64,
    counted: Instant,
}

impl<'a> Sending<'a> {
    pub(crate) fn new(
        shared: &'a Shared<'a>,
        progress: &'a dyn Progress,
        log: LogWriter,
        sequence: SequenceNumber,
        packs_max: usize,
        names_max: usize,
    ) -> Self {
        Self {
            shared,
            progress,
            log,
            packs_max,
            head: 0,
            early: BTreeMap::new(),
            walked: None,
            seen: SeenNames::new(names_max),
            builder: BundleBuilder::default(),
            spare: Vec::new(),
            compressor: None,
            dispatched: 0,
            sent: 0,
            packed: BTreeMap::new(),
            needs: 0,
            durable: 0,
            waiting: VecDeque::new(),
            waiting_count: 0,
            ready: Vec::new(),
            next: sequence.next(),
            failed: HashSet::new(),
            exceptions: Vec::new(),
            exceptions_count: 0,
            counted: Instant::now(),
        }
    }

    /// The number of the last operation sent.
    pub(crate) const fn last(&self) -> SequenceNumber {
        SequenceNumber(self.next.0 - 1)
    }

    /// Ends the log, for the cache.
    pub(crate) fn into_log(self) -> LogWriter {
        self.log
    }

    /// Notes in the log what the appliance has called durable, for a later backup.
    pub(crate) fn salvage(&mut self) {
        let durable = self.shared.appliance.durable(self.shared.session).min(self.sent);
        if self.log.is_empty() {
            return;
        }
        if let Err(error) = self.log.note_durable(durable) {
            tracing::warn!(%error, "what this backup has read cannot be noted and will be read again");
        }
    }

    /// Sends everything that comes until the walk and all reads are done.
    pub(crate) fn run(&mut self, ends: &Ends) -> Result<Walked, BackupError> {
        loop {
            while let Some(part) = self.next_early() {
                self.take_part(part, ends)?;
            }
            if let Some(walked) = self.walked.take_if(|walked| walked.tickets == self.head) {
                self.finish(ends)?;
                return Ok(walked);
            }
            self.receive(ends)?;
        }
    }

    fn finish(&mut self, ends: &Ends) -> Result<(), BackupError> {
        self.dispatch(ends)?;
        while self.sent < self.dispatched {
            self.wait_packed(ends)?;
        }
        self.release_operations()?;
        self.send_operations(1)?;
        self.count();
        Ok(())
    }

    fn next_early(&mut self) -> Option<Part> {
        let mut parts = self.early.first_entry().filter(|entry| *entry.key() == self.head)?;
        let part = parts.get_mut().pop_front();
        if parts.get().is_empty() {
            parts.remove();
        }
        part
    }

    /// Waits for one event, for a moment.
    fn receive(&mut self, ends: &Ends) -> Result<(), BackupError> {
        let event = ends.events.recv_timeout(COUNT_EVERY);
        if self.shared.halt.is_stopped() {
            return Err(BackupError::Stopped);
        }
        if self.counted.elapsed() >= COUNT_EVERY {
            self.count();
        }
        match event {
            Ok(event) => self.handle(event),
            Err(RecvTimeoutError::Timeout) => self.note_durable(),
            Err(RecvTimeoutError::Disconnected) => Err(BackupError::Thread { thread: "walker" }),
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), BackupError> {
        match event {
            Event::Part(part) => {
                self.early.entry(part.ticket).or_default().push_back(part);
                Ok(())
            }
            Event::Packed(number, bundle, builder) => {
                self.packed.insert(number, bundle);
                self.spare.push(builder);
                self.send_bundles()
            }
            Event::Walked(walked) => {
                self.walked = Some(walked);
                Ok(())
            }
            Event::Failed(error) => Err(error),
        }
    }

    fn count(&mut self) {
        self.counted = Instant::now();
        self.progress.count(&self.shared.counters.totals());
    }

    fn take_part(&mut self, part: Part, ends: &Ends) -> Result<(), BackupError> {
        let Part { ticket, last, operations, links, mut updates, failed, problems, pieces, mut bytes, held } =
            part;
        debug_assert_eq!(ticket, self.head, "parts come in the order of tickets");
        problems.into_iter().for_each(|problem| self.problem(problem));
        self.failed.extend(failed);
        if self.take_whole(&pieces, &mut bytes) {
            self.dispatch(ends)?;
        } else {
            self.take_pieces(&pieces, &bytes, ends)?;
        }
        let operations = self.with_links(operations, links, &mut updates);
        self.waiting_count += operations.len();
        self.waiting.push_back((self.needs, operations));
        self.log.append(self.needs, &updates).map_err(|error| self.shared.paths.problem(error))?;
        // A buffer that nobody waits for is freed.
        let _ = ends.spare.try_send(bytes);
        self.shared.window.release(held);
        if last {
            self.head += 1;
            self.shared.window.advance(self.head);
        }
        self.release_operations()?;
        self.send_operations(OPERATIONS_MAX)?;
        while self.waiting_count > OPERATIONS_WAITING {
            if self.sent == self.dispatched {
                self.dispatch(ends)?;
            }
            self.wait_packed(ends)?;
        }
        Ok(())
    }

    /// Has the bundle under way take all bytes of a part over, if it has nothing yet and all of the part is new.
    fn take_whole(&mut self, pieces: &[Piece], bytes: &mut Vec<u8>) -> bool {
        if !self.builder.is_empty() {
            return false;
        }
        let (mut names, mut end) = (HashSet::with_capacity(pieces.len()), 0);
        let mut entries = Vec::with_capacity(pieces.len());
        for Piece { name, start, length, known } in pieces {
            let is_new = !known && self.seen.bundle_of(name).is_none() && names.insert(*name);
            let Some(length) = u32::try_from(*length).ok().filter(|_| is_new && *start == end) else {
                return false;
            };
            entries.push(Entry { name: *name, length });
            end += length as usize;
        }
        let is_taken = self.builder.take_over(entries, bytes);
        if is_taken {
            self.needs = self.dispatched + 1;
            names.into_iter().for_each(|name| self.seen.insert(name, self.needs));
        }
        is_taken
    }

    /// Puts what is new of a part into bundles.
    fn take_pieces(&mut self, pieces: &[Piece], bytes: &[u8], ends: &Ends) -> Result<(), BackupError> {
        for piece in pieces.iter().filter(|piece| !piece.known) {
            if let Some(number) = self.seen.bundle_of(&piece.name) {
                self.needs = self.needs.max(number);
                continue;
            }
            let range = piece.start..piece.start + piece.length;
            self.builder.push(piece.name, bytes.get(range).unwrap_or_default())?;
            self.needs = self.dispatched + 1;
            self.seen.insert(piece.name, self.needs);
            if self.builder.is_full() {
                self.dispatch(ends)?;
            }
        }
        Ok(())
    }

    /// Puts further names in their places among the operations, if the object that they name came to be.
    fn with_links(
        &mut self,
        operations: Vec<Operation>,
        links: Vec<(usize, Link)>,
        updates: &mut crate::log::Updates,
    ) -> Vec<Operation> {
        if links.is_empty() {
            return operations;
        }
        let mut all = Vec::with_capacity(operations.len() + 2 * links.len());
        let mut operations = operations.into_iter();
        let mut taken = 0;
        for (index, link) in links {
            all.extend(operations.by_ref().take(index - taken));
            taken = index;
            if self.failed.contains(&link.object) {
                let detail = "the file was not read under its first name".to_owned();
                self.problem(Exception { path: link.path, cause: ExceptionCause::Unreadable, detail });
            } else {
                updates.0.extend_from_slice(&link.sent.0);
                all.extend(link.removal);
                all.push(link.operation);
            }
        }
        all.extend(operations);
        all
    }

    fn problem(&mut self, problem: Exception) {
        self.progress.problem(&problem);
        self.exceptions_count += 1;
        if self.exceptions.len() < EXCEPTIONS_MAX {
            self.exceptions.push(problem);
        }
    }

    /// Hands the bundle under way on to be compressed.
    fn dispatch(&mut self, ends: &Ends) -> Result<(), BackupError> {
        if self.builder.is_empty() {
            return Ok(());
        }
        self.dispatched += 1;
        let builder = std::mem::replace(&mut self.builder, self.spare.pop().unwrap_or_default());
        let job = PackJob { number: self.dispatched, builder };
        ends.packs.send(job).map_err(|_| BackupError::Thread { thread: "reader" })?;
        while self.dispatched - self.sent > self.packs_max as u64 {
            self.wait_packed(ends)?;
        }
        Ok(())
    }

    /// Brings a bundle further that is not sent: compresses one if none of the readers has time for it.
    fn wait_packed(&mut self, ends: &Ends) -> Result<(), BackupError> {
        match ends.packs_back.try_recv() {
            Ok(job) => {
                let compressor = self.compressor.get_or_insert_default();
                let event = pack(job, compressor);
                self.handle(event)
            }
            Err(_) if self.sent < self.dispatched => self.receive(ends),
            Err(_) => Ok(()),
        }
    }

    fn send_bundles(&mut self) -> Result<(), BackupError> {
        while let Some(bundle) = self.packed.remove(&(self.sent + 1)) {
            let length =
                BUNDLE_HEAD_LENGTH + bundle.table().entries().len() * ENTRY_LENGTH + bundle.body().len();
            let failed = |source| BackupError::Appliance { during: "sending data", source };
            let Shared { appliance, session, .. } = *self.shared;
            appliance.data(session, self.sent + 1, bundle).map_err(failed)?;
            self.sent += 1;
            Counters::add(&self.shared.counters.bytes_sent, length as u64);
        }
        self.note_durable()?;
        self.release_operations()?;
        self.send_operations(OPERATIONS_MAX)
    }

    fn note_durable(&mut self) -> Result<(), BackupError> {
        let durable = self.shared.appliance.durable(self.shared.session).min(self.sent);
        if durable > self.durable && !self.log.is_empty() {
            self.durable = durable;
            self.log.note_durable(durable).map_err(|error| self.shared.paths.problem(error))?;
        }
        Ok(())
    }

    /// Lets operations go whose bundles are sent.
    fn release_operations(&mut self) -> Result<(), BackupError> {
        while let Some((_, operations)) = self.waiting.pop_front_if(|(needs, _)| *needs <= self.sent) {
            self.waiting_count -= operations.len();
            if self.ready.is_empty() {
                self.ready = operations;
            } else {
                self.ready.extend(operations);
            }
            self.send_operations(OPERATIONS_MAX)?;
        }
        Ok(())
    }

    /// Sends operations as long as there are `least`, in full runs.
    fn send_operations(&mut self, least: usize) -> Result<(), BackupError> {
        let least = least.clamp(1, OPERATIONS_MAX);
        let mut done = 0;
        while self.ready.len() - done >= least {
            let run = self.ready.get(done..(done + OPERATIONS_MAX).min(self.ready.len())).unwrap_or_default();
            let failed = |source| BackupError::Appliance { during: "sending operations", source };
            let Shared { appliance, session, .. } = *self.shared;
            appliance.operations(session, self.next, run).map_err(failed)?;
            self.next = SequenceNumber(self.next.0 + run.len() as u64);
            done += run.len();
        }
        self.ready.drain(..done);
        Ok(())
    }
}

//! An appliance in memory: it checks what it is told, keeps chunks, makes points, and breaks when asked.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use capture::{Appliance, Begun, Ending, Finish, HAVE_MAX, OPERATIONS_MAX};
use chunk::{Bundle, Decompressor, NamingKey};
use model::archive::ArchiveError;
use model::operation::{Content, Operation};
use model::record::{Label, Point, TreeRoot};
use model::{ErrorKind, Name, SequenceNumber, SourceId, Time};

use super::tree::Tree;

/// The appliance.
pub(crate) struct Memory {
    naming: NamingKey,
    state: Mutex<State>,
    /// Messages until the connection breaks; `u64::MAX` is never.
    pub(crate) messages_left: AtomicU64,
    /// Bundles that are received before one is durable.
    pub(crate) durable_lag: AtomicU64,
}

#[derive(Default)]
struct State {
    chunks: HashMap<Name, Vec<u8>>,
    durable: HashSet<Name>,
    points: Vec<(Point, Tree)>,
    session: Option<Session>,
    sessions: u64,
    /// How often each chunk was sent.
    sent: HashMap<Name, u64>,
    /// Chunks that were sent although they were durable.
    sent_again: u64,
    asked: u64,
    is_rotten: bool,
    operations: Vec<Operation>,
}

struct Session {
    number: u64,
    base: Tree,
    next: SequenceNumber,
    operations: Vec<Operation>,
    bundles: Vec<Vec<Name>>,
    received: HashSet<Name>,
    durable: u64,
}

fn error(kind: ErrorKind, message: &str) -> ArchiveError {
    ArchiveError { kind, message: message.to_owned() }
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            naming: NamingKey::from_bytes([7; 32]),
            state: Mutex::default(),
            messages_left: AtomicU64::new(u64::MAX),
            durable_lag: AtomicU64::new(0),
        }
    }

    pub(crate) fn naming(&self) -> &NamingKey {
        &self.naming
    }

    pub(crate) fn newest_tree(&self) -> Tree {
        self.state.lock().unwrap().points.last().expect("there is a point").1.clone()
    }

    pub(crate) fn points(&self) -> usize {
        self.state.lock().unwrap().points.len()
    }

    /// The operations of the newest point.
    pub(crate) fn operations_of_newest(&self) -> Vec<Operation> {
        self.state.lock().unwrap().operations.clone()
    }

    /// How many chunks were sent although they were durable, over all backups.
    pub(crate) fn sent_again(&self) -> u64 {
        self.state.lock().unwrap().sent_again
    }

    /// How many chunks were sent, over all backups.
    pub(crate) fn sent(&self) -> u64 {
        self.state.lock().unwrap().sent.values().sum()
    }

    /// How many names were asked for, over all backups.
    pub(crate) fn asked(&self) -> u64 {
        self.state.lock().unwrap().asked
    }

    /// Loses some chunks, as no appliance should.
    pub(crate) fn lose_chunks(&self) {
        let mut state = self.state.lock().unwrap();
        let names: Vec<Name> = state.chunks.keys().copied().take(3).collect();
        for name in names {
            state.chunks.remove(&name);
            state.durable.remove(&name);
        }
    }

    /// Lets the trees of all points rot: what goes on from one of them is refused at its end.
    pub(crate) fn rot(&self) {
        self.state.lock().unwrap().is_rotten = true;
    }

    /// Makes the newest point one that no cache knows, as another agent with the same key would.
    pub(crate) fn forget_continuity(&self) {
        self.state.lock().unwrap().points.last_mut().unwrap().0.continuity = vec![0; 16];
    }

    /// A new connection: what was not durable is gone.
    pub(crate) fn reconnect(&self) {
        let mut state = self.state.lock().unwrap();
        state.session = None;
        let State { chunks, durable, .. } = &mut *state;
        chunks.retain(|name, _| durable.contains(name));
        self.messages_left.store(u64::MAX, Ordering::SeqCst);
    }

    fn message(&self) -> Result<std::sync::MutexGuard<'_, State>, ArchiveError> {
        let spend = |left: u64| (left > 0).then(|| if left == u64::MAX { left } else { left - 1 });
        match self.messages_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend) {
            Ok(_) => Ok(self.state.lock().unwrap()),
            Err(_) => Err(error(ErrorKind::Io, "the connection broke")),
        }
    }
}

impl State {
    fn session(&mut self, number: u64) -> Result<&mut Session, ArchiveError> {
        let session = self.session.as_mut().filter(|session| session.number == number);
        session.ok_or_else(|| error(ErrorKind::Refused, "no such session"))
    }
}

impl Appliance for Memory {
    fn begin(
        &self,
        source: &Label,
        continuity: Option<&[u8]>,
        size_bytes: Option<u64>,
    ) -> Result<Begun, ArchiveError> {
        assert!(size_bytes.is_none() || continuity.is_none(), "only a first backup says how much there is");
        assert_eq!(source.as_str(), "home");
        let mut state = self.message()?;
        let newest = state.points.last();
        let matched = newest.is_some_and(|(point, _)| Some(point.continuity.as_slice()) == continuity);
        let sequence = newest.map_or(SequenceNumber(0), |(point, _)| point.sequence);
        let base = newest.filter(|_| matched).map_or_else(Tree::default, |(_, tree)| tree.clone());
        state.sessions += 1;
        let number = state.sessions;
        state.session = Some(Session {
            number,
            base,
            next: sequence.next(),
            operations: Vec::new(),
            bundles: Vec::new(),
            received: HashSet::new(),
            durable: 0,
        });
        Ok(Begun { session: number, sequence, matched, empty: state.chunks.is_empty() })
    }

    fn have(&self, session: u64, names: &[Name]) -> Result<Vec<bool>, ArchiveError> {
        let mut state = self.message()?;
        assert!((1..=HAVE_MAX).contains(&names.len()));
        state.session(session)?;
        state.asked += names.len() as u64;
        Ok(names.iter().map(|name| state.chunks.contains_key(name)).collect())
    }

    fn data(&self, session: u64, number: u64, bundle: Bundle) -> Result<(), ArchiveError> {
        let mut state = self.message()?;
        let mut decompressor = Decompressor::new();
        let plain = bundle.plaintext(&mut decompressor).unwrap().to_vec();
        let mut names = Vec::new();
        for (entry, range) in bundle.table().ranges() {
            assert_eq!(self.naming.name(&plain[range.clone()]), entry.name);
            names.push(entry.name);
            *state.sent.entry(entry.name).or_default() += 1;
            state.sent_again += u64::from(state.durable.contains(&entry.name));
            state.chunks.insert(entry.name, plain[range].to_vec());
        }
        let lag = self.durable_lag.load(Ordering::SeqCst);
        let open = state.session(session)?;
        open.received.extend(&names);
        open.bundles.push(names);
        assert_eq!(number, open.bundles.len() as u64, "bundles have no gaps");
        open.durable = number.saturating_sub(lag);
        let durable: Vec<Name> = open.bundles[..usize::try_from(open.durable).unwrap()].concat();
        state.durable.extend(durable);
        Ok(())
    }

    fn operations(
        &self,
        session: u64,
        first: SequenceNumber,
        operations: &[Operation],
    ) -> Result<(), ArchiveError> {
        let mut state = self.message()?;
        assert!((1..=OPERATIONS_MAX).contains(&operations.len()));
        let open = state.session(session)?;
        assert_eq!(first, open.next, "operations have no gaps");
        open.next = SequenceNumber(first.0 + operations.len() as u64);
        open.operations.extend_from_slice(operations);
        Ok(())
    }

    fn finish(&self, session: u64, finish: Finish) -> Result<Ending, ArchiveError> {
        let mut state = self.message()?;
        state.session(session)?;
        let open = state.session.take().unwrap();
        assert_eq!(finish.last.next(), open.next);
        if state.is_rotten && open.base.len() > 1 {
            let message = "a page of the tree is damaged".to_owned();
            return Err(ArchiveError { kind: ErrorKind::Corrupt, message });
        }
        assert_eq!(finish.exceptions.len() as u64, finish.exceptions_count);
        let mut lacking = Vec::new();
        for operation in &open.operations {
            if let Operation::Write { content: Content::Chunk { name, .. }, .. } = operation
                && !state.chunks.contains_key(name)
            {
                lacking.push(*name);
            }
        }
        if !lacking.is_empty() {
            return Ok(Ending::Lacking(lacking));
        }
        let mut tree = open.base;
        open.operations.iter().for_each(|operation| tree.apply(operation, &state.chunks));
        let names: Vec<Name> = state.chunks.keys().copied().collect();
        state.durable.extend(names);
        let number = state.points.len() as u64 + 1;
        let point = Point {
            source: SourceId(1),
            number,
            id: Time(i64::try_from(number).unwrap()).folder_name(),
            sequence: finish.last,
            started: finish.started,
            finished: finish.finished,
            received: finish.finished,
            root: TreeRoot::default(),
            totals: finish.totals,
            exceptions: finish.exceptions,
            exceptions_count: finish.exceptions_count,
            continuity: number.to_le_bytes().to_vec(),
            witnessed: None,
        };
        state.operations = open.operations;
        state.points.push((point.clone(), tree));
        // The answer may be lost although the point is made.
        drop(state);
        drop(self.message()?);
        Ok(Ending::Finished(Box::new(point)))
    }

    fn durable(&self, session: u64) -> u64 {
        self.state.lock().unwrap().session(session).map_or(0, |session| session.durable)
    }

    fn abort(&self, session: u64) {
        let mut state = self.state.lock().unwrap();
        if state.session(session).is_ok() {
            state.session = None;
        }
    }
}

//! A service that keeps everything in memory and fails, waits or panics as the test says; and doors in front of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chunk::{Bundle, BundleBuilder, BundleLimits, Compressor, Level, NamingKey, VerifiedBundle};
use link::{Connection, join};
use model::archive::{Archive, ArchiveError, Change, PointKey, SharedBytes};
use model::item::{Item, ItemKey};
use model::operation::Operation;
use model::record::{AgentKey, Label, Machine, Point, RestoreGrant, Source, Totals, TreeRoot};
use model::{DomainId, ErrorKind, MachineId, Name, SequenceNumber, SourceId, Time};
use tokio::sync::watch;
use wire::{Finish, Peer, Pin, Reply, Request, Secret, Token};

use crate::listen::{Authority, Backup, Begun, Finished, Limits, Listener, Options, Reader, Service};

/// The secret of the token that the played appliance has made for machine 1.
pub(crate) const SECRET: [u8; 16] = *b"one good secret!";
/// The key of the names of all chunks.
pub(crate) const KEY: [u8; 32] = [9; 32];

/// How the played appliance behaves and what it was given.
#[derive(Default)]
pub(crate) struct Played {
    settings: Mutex<BTreeMap<String, Vec<u8>>>,
    agents: Mutex<BTreeMap<[u8; 32], u64>>,
    pub(crate) chunks: Mutex<BTreeMap<Name, Vec<u8>>>,
    pub(crate) operations: Mutex<Vec<Operation>>,
    pub(crate) bundles: Mutex<Vec<u64>>,
    pub(crate) items: Mutex<BTreeMap<Vec<u8>, (ItemKey, Item)>>,
    /// Agents may read.
    pub(crate) readable: AtomicBool,
    /// Lookups of agents fail.
    pub(crate) is_ill: AtomicBool,
    /// Milliseconds that taking a bundle, making a point, or an admin request takes.
    pub(crate) slowness: AtomicU64,
    /// Taking this bundle fails.
    pub(crate) fails_at: AtomicU64,
    /// Taking this bundle panics.
    pub(crate) panics_at: AtomicU64,
    /// Operations name a chunk that is not there.
    pub(crate) lacks: AtomicBool,
    pub(crate) backups_open: AtomicU64,
}

pub(crate) fn error(kind: ErrorKind, message: &str) -> ArchiveError {
    ArchiveError { kind, message: message.into() }
}

pub(crate) fn machine(id: u64) -> Machine {
    let agent =
        AgentKey { key_hash: vec![0; 32], joined: Time(0), restore: RestoreGrant::All, revoked: false };
    let label = Label::new(&format!("web{id}")).unwrap();
    Machine { id: MachineId(id), label, domain: DomainId(0), added: Time(0), agent: Some(agent) }
}

pub(crate) fn point(number: u64) -> Point {
    Point {
        source: SourceId(1),
        number,
        id: format!("point-{number}"),
        sequence: SequenceNumber(number),
        started: Time(0),
        finished: Time(0),
        received: Time(0),
        root: TreeRoot::default(),
        totals: Totals::default(),
        exceptions: vec![],
        exceptions_count: 0,
        continuity: vec![1; 16],
        witnessed: None,
    }
}

impl Played {
    /// Makes a key that of machine `id`.
    pub(crate) fn adopt(&self, key_hash: [u8; 32], id: u64) {
        self.agents.lock().unwrap().insert(key_hash, id);
    }

    pub(crate) fn revoke_all(&self) {
        self.agents.lock().unwrap().clear();
    }

    fn dawdle(&self) {
        std::thread::sleep(Duration::from_millis(self.slowness.load(Ordering::SeqCst)));
    }
}

/// The service and the archive over what is played.
pub(crate) struct Front(pub(crate) Arc<Played>);

impl Service for Front {
    fn authorise(&self, key_hash: &[u8; 32]) -> Result<Option<Machine>, ArchiveError> {
        if self.0.is_ill.load(Ordering::SeqCst) {
            return Err(error(ErrorKind::Io, "the disk is gone"));
        }
        Ok(self.0.agents.lock().unwrap().get(key_hash).map(|id| machine(*id)))
    }

    fn join(&self, secret: &[u8], key_hash: &[u8; 32], host: &str) -> Result<Label, ArchiveError> {
        assert!(!host.contains('\n'));
        if secret != SECRET {
            return Err(error(ErrorKind::Refused, "the token is unknown, used or too old"));
        }
        self.0.adopt(*key_hash, 1);
        Ok(machine(1).label)
    }

    fn naming_key(&self, _: &Machine) -> [u8; 32] {
        KEY
    }

    fn reader(&self, peer: &Peer) -> Arc<dyn Reader> {
        Arc::new(PlayedReader { played: Arc::clone(&self.0), peer: *peer })
    }

    fn backup(
        &self,
        _: MachineId,
        source: &Label,
        continuity: Option<&[u8]>,
        _: Option<u64>,
    ) -> Result<(Begun, Box<dyn Backup>), ArchiveError> {
        if source.as_str() == "busy" {
            return Err(error(ErrorKind::Busy, "a backup of this source is running"));
        }
        self.0.backups_open.fetch_add(1, Ordering::SeqCst);
        let empty = self.0.chunks.lock().unwrap().is_empty();
        let matched = continuity == Some(&[1; 16]);
        let begun = Begun { sequence: SequenceNumber(100), matched, empty };
        Ok((begun, Box::new(PlayedBackup { played: Arc::clone(&self.0), taken: 0 })))
    }

    fn admin(&self, request: Request) -> Result<Reply, ArchiveError> {
        self.0.dawdle();
        match request {
            Request::Status => Ok(Reply::Status { status: wire::message::PoolStatus::default() }),
            Request::Revoke { .. } => {
                self.0.revoke_all();
                Ok(Reply::Done)
            }
            Request::Verify { .. } => {
                let damage = vec!["x".repeat(4000); 10_000];
                let report =
                    wire::message::VerifyReport { damage, damage_count: 10_000, ..Default::default() };
                Ok(Reply::Verified { report })
            }
            _ => Err(error(ErrorKind::Unsupported, "not played")),
        }
    }

    fn software(&self) -> String {
        "played 1".into()
    }

    fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, ArchiveError> {
        Ok(self.0.settings.lock().unwrap().get(name).cloned())
    }

    fn set_setting(&self, name: &str, value: &[u8]) -> Result<(), ArchiveError> {
        self.0.settings.lock().unwrap().insert(name.to_owned(), value.to_vec());
        Ok(())
    }
}

struct PlayedBackup {
    played: Arc<Played>,
    taken: u64,
}

impl Drop for PlayedBackup {
    fn drop(&mut self) {
        self.played.backups_open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Backup for PlayedBackup {
    fn have(&mut self, names: &[Name]) -> Result<Vec<bool>, ArchiveError> {
        let chunks = self.played.chunks.lock().unwrap();
        Ok(names.iter().map(|name| chunks.contains_key(name)).collect())
    }

    fn data(&mut self, number: u64, bundle: VerifiedBundle) -> Result<(), ArchiveError> {
        self.played.dawdle();
        if self.played.fails_at.load(Ordering::SeqCst) == number {
            return Err(error(ErrorKind::Full, "the drive is full"));
        }
        assert_ne!(self.played.panics_at.load(Ordering::SeqCst), number, "as the test says");
        let mut decompressor = chunk::Decompressor::new();
        let plain = bundle.plaintext(&mut decompressor).unwrap().to_vec();
        let mut chunks = self.played.chunks.lock().unwrap();
        for (entry, range) in bundle.table().ranges() {
            chunks.insert(entry.name, plain[range].to_vec());
        }
        self.played.bundles.lock().unwrap().push(number);
        self.taken = number;
        Ok(())
    }

    fn operations(&mut self, operations: Vec<Operation>) -> Result<(), ArchiveError> {
        self.played.operations.lock().unwrap().extend(operations);
        Ok(())
    }

    fn durable(&mut self) -> u64 {
        self.taken
    }

    fn finish(&mut self, finish: Finish) -> Result<Finished, ArchiveError> {
        self.played.dawdle();
        if self.played.lacks.load(Ordering::SeqCst) {
            return Ok(Finished::Lacking(vec![Name([5; 32]); 10_000]));
        }
        Ok(Finished::Point(Box::new(Point {
            sequence: finish.last,
            exceptions: finish.exceptions,
            ..point(1)
        })))
    }
}

struct PlayedReader {
    played: Arc<Played>,
    peer: Peer,
}

impl Reader for PlayedReader {
    fn archive(&self) -> Arc<dyn Archive> {
        let allowed = self.peer == Peer::Local || self.played.readable.load(Ordering::SeqCst);
        Arc::new(PlayedArchive { played: Arc::clone(&self.played), allowed })
    }
}

struct PlayedArchive {
    played: Arc<Played>,
    allowed: bool,
}

impl PlayedArchive {
    fn check(&self) -> Result<(), ArchiveError> {
        let refused = || error(ErrorKind::Refused, "the agent has no restore grant");
        self.allowed.then_some(()).ok_or_else(refused)
    }

    fn range(&self, range: Range<&[u8]>, limit: usize) -> Vec<(ItemKey, Item)> {
        let items = self.played.items.lock().unwrap();
        let inside = items.iter().filter(|(key, _)| range.contains(&&***key));
        inside.take(limit).map(|(_, item)| item.clone()).collect()
    }
}

impl Archive for PlayedArchive {
    fn machines(&self) -> Result<Vec<Machine>, ArchiveError> {
        self.check()?;
        Ok(vec![machine(1), machine(2)])
    }

    fn sources(&self) -> Result<Vec<Source>, ArchiveError> {
        let label = Label::new("home").unwrap();
        Ok(vec![Source { id: SourceId(1), machine: MachineId(1), label, added: Time(0) }])
    }

    fn points(&self, _: SourceId) -> Result<Vec<Point>, ArchiveError> {
        self.check()?;
        Ok((1..=30_000).map(point).collect())
    }

    fn point(&self, key: PointKey) -> Result<Point, ArchiveError> {
        if key.number == 0 {
            return Err(ArchiveError::missing("point 0"));
        }
        Ok(point(key.number))
    }

    fn item(&self, _: PointKey, key: &ItemKey) -> Result<Option<Item>, ArchiveError> {
        Ok(self.played.items.lock().unwrap().get(&key.encode()).map(|(_, item)| item.clone()))
    }

    fn items(
        &self,
        _: PointKey,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(ItemKey, Item)>, ArchiveError> {
        Ok(self.range(from..to, limit))
    }

    fn item_at_or_before(
        &self,
        _: PointKey,
        from: &[u8],
        at: &[u8],
    ) -> Result<Option<(ItemKey, Item)>, ArchiveError> {
        Ok(self.range(from..&[at, &[0]].concat(), usize::MAX).pop())
    }

    fn changes(
        &self,
        _: PointKey,
        _: PointKey,
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<Change>, ArchiveError> {
        let all = self.range(from..&[0xff; 9], limit);
        Ok(all.into_iter().map(|(key, item)| Change { key, before: None, after: Some(item) }).collect())
    }

    fn chunks(
        &self,
        _: PointKey,
        names: &[Name],
    ) -> Result<Vec<Result<SharedBytes, ArchiveError>>, ArchiveError> {
        self.check()?;
        self.played.dawdle();
        let chunks = self.played.chunks.lock().unwrap();
        let find = |name: &Name| match chunks.get(name) {
            Some(bytes) => Ok(SharedBytes::from(bytes.clone())),
            None => Err(error(ErrorKind::Missing, &format!("chunk {name} is gone: {}", "why ".repeat(1000)))),
        };
        Ok(names.iter().map(find).collect())
    }

    fn places(&self, _: PointKey, names: &[Name]) -> Result<Vec<u64>, ArchiveError> {
        Ok(names.iter().map(Name::prefix).collect())
    }
}

/// Doors that are open, with a played appliance behind them; closed when dropped.
pub(crate) struct Doors {
    pub(crate) played: Arc<Played>,
    pub(crate) address: SocketAddr,
    pub(crate) socket: PathBuf,
    pub(crate) pin: Pin,
    pub(crate) dir: tempfile::TempDir,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

pub(crate) fn open() -> Doors {
    open_with(Limits::default())
}

pub(crate) fn open_with(limits: Limits) -> Doors {
    let played = Arc::new(Played::default());
    played.readable.store(true, Ordering::SeqCst);
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("operator");
    let (stop, stopped) = watch::channel(false);
    let (sender, opened) = std::sync::mpsc::channel();
    let (service, path): (Arc<dyn Service>, _) = (Arc::new(Front(Arc::clone(&played))), socket.clone());
    let thread = std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let authority = Authority::load_or_create(service.as_ref()).unwrap();
            let addresses = vec!["127.0.0.1:0".parse().unwrap()];
            let options = Options { addresses, socket: Some(path), limits };
            let listener = Listener::open(service, &authority, &options).await.unwrap();
            sender.send((listener.addresses()[0], authority.pin())).unwrap();
            listener.run(stopped).await;
        });
    });
    let (address, pin) = opened.recv().unwrap();
    Doors { played, address, socket, pin, dir, stop, thread: Some(thread) }
}

impl Doors {
    pub(crate) fn token(&self) -> Token {
        Token::new(vec![self.address.to_string()], self.pin, Secret(SECRET)).unwrap()
    }

    /// The data directory of an agent that has joined as machine `id`.
    pub(crate) fn agent(&self, id: u64) -> PathBuf {
        let dir = self.dir.path().join(format!("agent-{id}"));
        join(&dir, &self.token(), None).unwrap();
        let identity = link::Identity::load(&dir).unwrap().unwrap();
        self.played.adopt(*identity.key_hash(), id);
        dir
    }

    /// A connection of the agent of machine `id`.
    pub(crate) fn connect(&self, id: u64) -> Connection {
        Connection::connect(&self.agent(id)).unwrap()
    }

    pub(crate) fn operator(&self) -> Connection {
        Connection::local(&self.socket).unwrap()
    }

    pub(crate) fn begin_stopping(&self) {
        self.stop.send(true).unwrap();
    }

    /// Stops and waits until the doors are closed.
    pub(crate) fn stop(&mut self) {
        self.begin_stopping();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Doors {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the doors have panicked");
        }
    }
}

/// Begins a backup; its number.
pub(crate) fn begin(connection: &Connection) -> u64 {
    let source = Label::new("home").unwrap();
    match connection.request(Request::Begin { source, continuity: None, size_bytes: None }).unwrap().0 {
        Reply::Begun { session, sequence, .. } => {
            assert_eq!(sequence.0, 100);
            session
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) fn finish(session: u64, last: u64) -> Request {
    Request::Finish {
        session,
        last: SequenceNumber(last),
        started: Time(0),
        finished: Time(1),
        totals: Totals::default(),
        exceptions: vec![],
        exceptions_count: 0,
    }
}

/// Bytes that do not compress and differ by `seed`.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A bundle of chunks that are named under `key`.
pub(crate) fn bundle(chunks: &[Vec<u8>], key: [u8; 32]) -> Bundle {
    let key = NamingKey::from_bytes(key);
    let mut builder = BundleBuilder::new(BundleLimits::default());
    for bytes in chunks {
        builder.push(key.name(bytes), bytes).unwrap();
    }
    builder.finish(&mut Compressor::new(), Level::default()).unwrap()
}

/// Waits until something is so, at most ten seconds.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} did not come about");
}

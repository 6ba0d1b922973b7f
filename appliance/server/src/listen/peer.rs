//! One connection: lets the conversation judge what comes in, has it done, and sends what comes of it.
//!
//! One task reads, writes and answers; whatever can block is done elsewhere and comes back here. A peer that does
//! not read stops its own task only, and not for longer than a write may take.

use std::collections::HashMap;
use std::sync::Arc;

use chunk::NamingKey;
use model::archive::{ArchiveError, SharedBytes};
use model::record::{Label, Machine};
use model::{ErrorKind, Escaped};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use wire::drive::DriveAnswer;
use wire::keeping::Kept;
use wire::{Conversation, Event, FrameKind, Outgoing, Peer, Receiver, Reply, Request};

use super::admission::Place;
use super::agents::BackupPlace;
use super::error::Ending;
use super::limits::{CONNECTIONS_PER_MACHINE, OUTBOX_MAX, READS_PER_PEER};
use super::listener::Shared;
use super::session::{Command, News, Report, Session};
use super::writer::{Writer, linger};
use super::{Backup, Begun, Reader, read};

/// Bytes that are read at a time from a peer that is known.
const READ_LENGTH: usize = 32 << 10;
/// The same from one that is not.
const READ_LENGTH_UNKNOWN: usize = 4 << 10;
/// News of backups that wait for the task.
const REPORTS_MAX: usize = 64;

/// Who is at the other end.
#[derive(Debug)]
pub(crate) struct Who {
    /// For the conversation.
    pub(crate) peer: Peer,
    /// The hash of its key, if it showed one.
    pub(crate) key_hash: Option<[u8; 32]>,
    /// Its machine with the key of its chunk names, if it is known.
    pub(crate) machine: Option<(Machine, NamingKey)>,
    /// When it came.
    pub(crate) arrived: Instant,
}

/// Talks with a peer until one of the two has enough; why.
pub(crate) async fn converse<S>(
    stream: S,
    who: Who,
    place: Option<Place>,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) -> Ending
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (mut reader, writer) = tokio::io::split(stream);
    let (outbox, mut frames) = mpsc::channel(OUTBOX_MAX);
    let entry = match (&who.machine, who.key_hash) {
        (Some((machine, _)), Some(key_hash)) => match shared.agents.enter(key_hash, machine.id) {
            Some(entry) => Some(entry),
            None => {
                let stream = reader.unsplit(writer);
                return turn_away(stream, Ending::CrowdedMachine(CONNECTIONS_PER_MACHINE), &shared).await;
            }
        },
        _ => None,
    };
    let mut writer = Writer::new(writer, shared.limits.write);
    let shut_out = async {
        match &entry {
            Some(entry) => entry.shut_out().await,
            None => std::future::pending().await,
        }
    };
    let mut talk = Talk::new(who, place, shared, outbox);
    let ending = tokio::select! {
        Err(ending) = talk.run(&mut reader) => ending,
        ending = writer.run(&mut frames) => ending,
        () = shut_out => Ending::Revoked,
        _ = stop.wait_for(|stop| *stop) => Ending::Stopping,
    };
    // The threads of its backups end with it.
    drop(talk);
    let words = ending.farewell();
    let is_told = words.is_some();
    writer.farewell(frames, words).await;
    if is_told {
        linger(reader).await;
    }
    ending
}

/// Turns a peer away before it could say anything.
pub(crate) async fn turn_away<S>(stream: S, ending: Ending, shared: &Shared) -> Ending
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (reader, writer) = tokio::io::split(stream);
    let (_, frames) = mpsc::channel(1);
    Writer::new(writer, shared.limits.write).farewell(frames, ending.farewell()).await;
    linger(reader).await;
    ending
}

/// Something that was done elsewhere.
#[expect(clippy::large_enum_variant, reason = "each is moved once, and an answer is the usual case")]
enum Done {
    Answer { id: u32, reply: Reply, bulk: Vec<SharedBytes>, permit: Option<OwnedSemaphorePermit> },
    Begun { id: u32, begun: Result<(Begun, Box<dyn Backup>), ArchiveError>, permit: Permit },
    Joined { id: u32, joined: Result<Label, ArchiveError> },
}

/// What came of work that was asked of another thread.
fn settle<T>(result: Result<Result<T, ArchiveError>, tokio::task::JoinError>) -> Result<T, ArchiveError> {
    result.unwrap_or_else(|error| {
        tracing::error!(%error, "a request has panicked");
        Err(ArchiveError { kind: ErrorKind::Io, message: "an internal error of the appliance".into() })
    })
}

/// What a backup that runs holds: its place among all of them, and among those of its machine.
type Permit = (OwnedSemaphorePermit, BackupPlace);

struct Talk {
    who: Who,
    place: Option<Place>,
    reader: Arc<dyn Reader>,
    shared: Arc<Shared>,
    conversation: Conversation,
    sessions: HashMap<u64, Session>,
    outbox: mpsc::Sender<Outgoing>,
    reports: (mpsc::Sender<Report>, mpsc::Receiver<Report>),
    work: JoinSet<Done>,
    reads: Arc<Semaphore>,
}

impl Talk {
    fn new(who: Who, place: Option<Place>, shared: Arc<Shared>, outbox: mpsc::Sender<Outgoing>) -> Self {
        Self {
            conversation: Conversation::new(who.peer),
            reader: shared.service.reader(&who.peer),
            who,
            place,
            shared,
            sessions: HashMap::new(),
            outbox,
            reports: mpsc::channel(REPORTS_MAX),
            work: JoinSet::new(),
            reads: Arc::new(Semaphore::new(READS_PER_PEER)),
        }
    }

    /// Runs until something ends the connection.
    async fn run(&mut self, mut reader: impl AsyncRead + Unpin) -> Result<(), Ending> {
        let mut receiver = Receiver::new(FrameKind::Request, self.conversation.limits());
        let is_known = self.who.peer != Peer::Unknown;
        let mut buffer = vec![0; if is_known { READ_LENGTH } else { READ_LENGTH_UNKNOWN }];
        let every = self.shared.limits.life;
        let mut life = tokio::time::interval_at(Instant::now() + every, every);
        life.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let deadline = self.deadline();
            tokio::select! {
                length = reader.read(&mut buffer) => {
                    let mut input = match length? {
                        0 if receiver.is_between_frames() => return Err(Ending::Closed),
                        0 => return Err(Ending::Lost(std::io::ErrorKind::UnexpectedEof.into())),
                        length => buffer.get(..length).unwrap_or_default(),
                    };
                    while let Some(frame) = receiver.receive(&mut input)? {
                        let event = self.conversation.receive(frame)?;
                        self.act(event).await?;
                        receiver.set_limits(self.conversation.limits());
                    }
                }
                Some(done) = self.work.join_next(), if !self.work.is_empty() => {
                    let done = done.map_err(|_| Ending::Internal)?;
                    self.complete(done).await?;
                }
                Some((session, news)) = self.reports.1.recv() => self.tell(session, news).await?,
                _ = life.tick() => self.give_sign_of_life()?,
                () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    return Err(self.too_late());
                }
            }
        }
    }

    /// Until when the peer must have come further.
    fn deadline(&self) -> Option<Instant> {
        let limits = &self.shared.limits;
        let limit = match (self.conversation.is_greeted(), self.who.peer) {
            (false, _) => limits.greeting,
            (true, Peer::Unknown) => limits.unknown,
            (true, Peer::Agent(_) | Peer::Local) => return None,
        };
        Some(self.who.arrived + limit)
    }

    fn too_late(&self) -> Ending {
        let limits = &self.shared.limits;
        if self.conversation.is_greeted() {
            Ending::NotJoined(limits.unknown)
        } else {
            Ending::NoGreeting(limits.greeting)
        }
    }

    /// Says that the appliance is alive to a peer that waits for something.
    fn give_sign_of_life(&self) -> Result<(), Ending> {
        if self.conversation.in_flight() > 0 || !self.sessions.is_empty() {
            let frame = Outgoing::new(FrameKind::Reply, 0, &Reply::Credit { bytes: 0 }, Vec::new())?;
            // When the outbox is full, bytes flow anyway.
            drop(self.outbox.try_send(frame));
        }
        Ok(())
    }

    async fn send(&self, id: u32, reply: Reply, bulk: Vec<SharedBytes>) -> Result<(), Ending> {
        let frame = Outgoing::new(FrameKind::Reply, id, &reply, bulk).or_else(|error| {
            let error = ArchiveError::new(ErrorKind::Full, &error);
            Outgoing::new(FrameKind::Reply, id, &Reply::Failed { session: None, error }, Vec::new())
        })?;
        self.outbox.send(frame).await.map_err(|_| Ending::Closed)
    }

    async fn answer(&mut self, id: u32, reply: Reply, bulk: Vec<SharedBytes>) -> Result<(), Ending> {
        if !self.conversation.answered(id) {
            return Err(Ending::Internal);
        }
        self.send(id, reply, bulk).await
    }

    async fn give_back(&mut self, cost: u64) -> Result<(), Ending> {
        match self.conversation.give_back(cost) {
            Some(credit) => self.send(0, credit, Vec::new()).await,
            None => Ok(()),
        }
    }

    /// Has done what the peer may ask for.
    async fn act(&mut self, event: Event) -> Result<(), Ending> {
        match event {
            Event::Hello { id, version, software } => self.welcome(id, version, &software).await,
            Event::Join { id, secret, host } => self.join(id, secret, host),
            Event::Begin { id, source, continuity, size_bytes } => {
                self.begin(id, source, continuity, size_bytes).await
            }
            Event::Have { id, session, names } => self.command(session, Command::Have { id, names }),
            Event::Data { session, number, bulk, cost } => {
                let Some((_, key)) = &self.who.machine else { return Err(Ending::Internal) };
                let ticket = self.shared.verifiers.submit(bulk, key.clone());
                self.command(session, Command::Data { number, ticket, cost })
            }
            Event::Operations { session, run, cost } => {
                self.command(session, Command::Operations { run, cost })
            }
            Event::Finish { id, session, finish } => {
                self.command(session, Command::Finish { id, finish: Box::new(finish) })
            }
            Event::Abort { id, session } => self.command(session, Command::Abort { id }),
            Event::Read { id, request } => self.read(id, request),
            Event::Admin { id, request } => self.admin(id, request),
            Event::Refused { id, error } => {
                self.answer(id, Reply::Failed { session: None, error }, Vec::new()).await
            }
            Event::Late { cost } => self.give_back(cost).await,
        }
    }

    fn command(&self, session: u64, command: Command) -> Result<(), Ending> {
        let sent = self.sessions.get(&session).is_some_and(|session| session.send(command));
        if sent { Ok(()) } else { Err(Ending::Internal) }
    }

    async fn welcome(&mut self, id: u32, version: u16, software: &str) -> Result<(), Ending> {
        let software = Escaped(software.as_bytes());
        if self.who.peer == Peer::Unknown {
            tracing::debug!(%software, "an unknown peer has greeted");
        } else {
            tracing::info!(%software, "a peer has greeted");
            self.place.iter_mut().for_each(Place::know);
        }
        let (machine, naming_key) = match &self.who.machine {
            Some((machine, key)) => (Some(machine.label.clone()), Some(key.as_bytes().to_vec())),
            None => (None, None),
        };
        let software = self.shared.service.software();
        self.answer(id, Reply::Welcome { version, software, machine, naming_key }, Vec::new()).await
    }

    fn join(&mut self, id: u32, secret: Vec<u8>, host: String) -> Result<(), Ending> {
        let key_hash = self.who.key_hash.ok_or(Ending::NoCertificate)?;
        let shared = Arc::clone(&self.shared);
        self.work.spawn(async move {
            let _permit = shared.lookups.acquire().await;
            let service = Arc::clone(&shared.service);
            let joining = tokio::task::spawn_blocking(move || service.join(&secret, &key_hash, &host));
            Done::Joined { id, joined: settle(joining.await) }
        });
        Ok(())
    }

    async fn begin(
        &mut self,
        id: u32,
        source: Label,
        continuity: Option<Vec<u8>>,
        size_bytes: Option<u64>,
    ) -> Result<(), Ending> {
        let Some((machine, _)) = &self.who.machine else { return Err(Ending::Internal) };
        let machine = machine.id;
        let shared = Arc::clone(&self.shared);
        let places =
            (Arc::clone(&shared.sessions).try_acquire_owned().ok(), shared.agents.begin_backup(machine));
        let (Some(one_of_all), Some(one_of_machine)) = places else {
            let message = "too many backups are running; try again later".into();
            let error = ArchiveError { kind: ErrorKind::Busy, message };
            return self.answer(id, Reply::Failed { session: None, error }, Vec::new()).await;
        };
        let permit = (one_of_all, one_of_machine);
        self.work.spawn(async move {
            let _lookup = shared.lookups.acquire().await;
            let service = Arc::clone(&shared.service);
            let beginning = tokio::task::spawn_blocking(move || {
                service.backup(machine, &source, continuity.as_deref(), size_bytes)
            });
            Done::Begun { id, begun: settle(beginning.await), permit }
        });
        Ok(())
    }

    fn read(&mut self, id: u32, request: Request) -> Result<(), Ending> {
        let (shared, reader, own) =
            (Arc::clone(&self.shared), Arc::clone(&self.reader), Arc::clone(&self.reads));
        self.work.spawn(async move {
            // Held until the answer is on its way out, so that a slow reader cannot gather answers.
            let permit = own.acquire_owned().await.ok();
            let _reading = shared.reads.acquire().await;
            let reading = tokio::task::spawn_blocking(move || read::answer(&reader.archive(), request));
            let (reply, bulk) = settle(reading.await)
                .unwrap_or_else(|error| (Reply::Failed { session: None, error }, Vec::new()));
            Done::Answer { id, reply, bulk, permit }
        });
        Ok(())
    }

    fn admin(&mut self, id: u32, request: Request) -> Result<(), Ending> {
        let shared = Arc::clone(&self.shared);
        self.work.spawn(async move {
            let _permit = shared.admin.acquire().await;
            let revokes = matches!(request, Request::Revoke { .. });
            let service = Arc::clone(&shared.service);
            let doing = tokio::task::spawn_blocking(move || service.admin(request));
            let mut reply =
                settle(doing.await).unwrap_or_else(|error| Reply::Failed { session: None, error });
            match &mut reply {
                Reply::Status { status } => read::fit_lines(&mut status.damage),
                Reply::Verified { report } => read::fit_lines(&mut report.damage),
                Reply::Kept { answer: Kept::Plan { lines, .. } } => read::fit_lines(lines),
                Reply::Kept { answer: Kept::Audit { report } } => read::fit_lines(&mut report.wrong),
                Reply::Drives { answer: DriveAnswer::Drives { lost, .. } } => read::fit_lines(lost),
                _ => {}
            }
            if revokes {
                shared.agents.recheck();
            }
            Done::Answer { id, reply, bulk: Vec::new(), permit: None }
        });
        Ok(())
    }

    /// Takes what was done elsewhere.
    async fn complete(&mut self, done: Done) -> Result<(), Ending> {
        match done {
            Done::Answer { id, reply, bulk, permit } => {
                self.answer(id, reply, bulk).await?;
                drop(permit);
                Ok(())
            }
            Done::Joined { id, joined: Ok(machine) } => {
                tracing::info!(%machine, "an agent has joined");
                self.answer(id, Reply::Joined { machine }, Vec::new()).await
            }
            Done::Joined { id, joined: Err(error) } => {
                let reply = Reply::Failed { session: None, error: error.clone() };
                self.answer(id, reply, Vec::new()).await?;
                Err(Ending::Join(error))
            }
            Done::Begun { id, begun: Ok((begun, backup)), permit } => {
                self.open(id, begun, backup, permit).await
            }
            Done::Begun { id, begun: Err(error), .. } => {
                self.answer(id, Reply::Failed { session: None, error }, Vec::new()).await
            }
        }
    }

    async fn open(
        &mut self,
        id: u32,
        begun: Begun,
        backup: Box<dyn Backup>,
        permit: Permit,
    ) -> Result<(), Ending> {
        let Begun { sequence, matched, empty } = begun;
        let session = self.conversation.begun(id, sequence).ok_or(Ending::Internal)?;
        let reports = self.reports.0.clone();
        let reply = match Session::start(session, backup, reports, permit, &tracing::Span::current()) {
            Ok(started) => {
                self.sessions.insert(session, started);
                Reply::Begun { session, sequence, matched, empty }
            }
            Err(error) => {
                self.conversation.fail(session);
                let error = ArchiveError::new(ErrorKind::Busy, &error);
                Reply::Failed { session: None, error }
            }
        };
        self.send(id, reply, Vec::new()).await
    }

    fn report(&self, session: u64, error: &ArchiveError) {
        let machine = self.who.machine.as_ref().map_or("", |(machine, _)| machine.label.as_str());
        self.shared.refusals.report_backup(machine, session, error);
    }

    /// Tells the peer what came of its backup.
    async fn tell(&mut self, session: u64, news: News) -> Result<(), Ending> {
        match news {
            News::Answer(id, reply) => {
                if let Reply::Failed { session: Some(session), error } = &*reply {
                    self.report(*session, error);
                }
                self.answer(id, *reply, Vec::new()).await
            }
            News::Taken(cost) => self.give_back(cost).await,
            News::Durable(number) => self.send(0, Reply::Durable { session, number }, Vec::new()).await,
            News::Failed(error) => {
                self.report(session, &error);
                // What waits for its thread is still worked off; then the thread ends, as nothing more can come.
                self.conversation.fail(session);
                self.sessions.remove(&session);
                self.send(0, Reply::Failed { session: Some(session), error }, Vec::new()).await
            }
            News::Panicked => Err(Ending::Internal),
            News::Over => {
                self.sessions.remove(&session);
                Ok(())
            }
        }
    }
}

//! A connection to the appliance: blocking for those who use it, any number of threads at once.
//!
//! Requests are answered in any order; what is sent without an answer waits for credit. The messages of one backup
//! are sent by one thread at a time, because their numbers have an order. Everything has a limit: 10 seconds to
//! connect and to greet, 10 minutes for a request; `Finish`, `Verify` and credit are waited for as long as the
//! appliance gives a sign of life. Without one for a minute, or when what was asked for takes longer than it may,
//! the connection is given up: whoever needs it makes a new one.
//!
//! The methods block and must not be called from asynchronous code.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chunk::{Bundle, NamingKey};
use model::SequenceNumber;
use model::archive::SharedBytes;
use model::operation::Operation;
use model::record::Label;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use wire::message::{VERSION, fit_exceptions};
use wire::{FrameKind, Outgoing, Pin, Reply, Request, operations};

use crate::carrier::{self, CONNECT_LIMIT, Carrier};
use crate::events::LinkEvent;
use crate::pump::{Opening, Pump};
use crate::state::{Answer, LOOK_EVERY, State};
use crate::{Identity, LinkError, Settings};

/// How long an ordinary request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(600);
/// How long an appliance may take to say that a backup is given up.
const ABORT_LIMIT: Duration = Duration::from_secs(2);

/// What the appliance said first.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// The version of the protocol that both speak.
    pub version: u16,
    /// The appliance's program and version.
    pub software: String,
    /// The machine of this client; none while it has not joined, or on the appliance itself.
    pub machine: Option<Label>,
    /// The key by which its chunks are named.
    pub naming_key: Option<NamingKey>,
}

/// A connection to the appliance.
#[derive(Debug)]
pub struct Connection {
    state: Arc<State>,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    closing: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    welcome: Welcome,
}

impl Connection {
    /// Connects as the machine whose identity is in `dir` to the appliance that it joined.
    ///
    /// # Errors
    /// No identity, nobody who answers, or nobody who can be trusted.
    pub fn connect(dir: &Path) -> Result<Self, LinkError> {
        let settings = Settings::load(dir)?;
        Self::connect_to(dir, &settings.addresses)
    }

    /// Like [`Self::connect`], but to these addresses.
    ///
    /// # Errors
    /// Those of [`Self::connect`].
    pub fn connect_to(dir: &Path, addresses: &[String]) -> Result<Self, LinkError> {
        let settings = Settings::load(dir)?;
        let identity = Identity::load(dir)?.ok_or_else(|| LinkError::NotJoined { dir: dir.to_owned() })?;
        Self::over_tls(&identity, settings.pin, addresses).map(|(connection, _)| connection)
    }

    /// Connects as the operator to the appliance on this machine.
    ///
    /// # Errors
    /// Nobody who answers, or who may not be asked.
    pub fn local(socket: &Path) -> Result<Self, LinkError> {
        let path = socket.to_owned();
        let opening = Box::pin(async move {
            let stream = carrier::connect_local(&path).await?;
            Ok((stream, path.display().to_string()))
        });
        Self::open(opening).map(|(connection, _)| connection)
    }

    /// Speaks over a stream that is open already.
    ///
    /// # Errors
    /// Whatever the other end answers to the greeting.
    pub fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Self, LinkError> {
        let carrier: Box<dyn Carrier> = Box::new(stream);
        Self::open(Box::pin(async { Ok((carrier, String::new())) })).map(|(connection, _)| connection)
    }

    /// Connects to one of `addresses`; the connection, and which address it was.
    pub(crate) fn over_tls(
        identity: &Identity,
        pin: Pin,
        addresses: &[String],
    ) -> Result<(Self, String), LinkError> {
        let (tls, addresses) = (carrier::tls(identity, pin)?, addresses.to_vec());
        Self::open(Box::pin(async move { carrier::connect(&tls, &addresses).await }))
    }

    fn open(opening: Opening) -> Result<(Self, String), LinkError> {
        let state = Arc::new(State::new());
        let (outgoing, receiver) = mpsc::unbounded_channel();
        let (closing, watcher) = watch::channel(false);
        let pump = Pump { state: Arc::clone(&state), outgoing: receiver, closing: watcher };
        let (sender, opened) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("keepfast-link".into())
            .spawn(move || pump.run(opening, &sender))
            .map_err(LinkError::Thread)?;
        let address = opened.recv().unwrap_or_else(|_| Err(state.lost()))?;
        let welcome = Welcome { version: 0, software: String::new(), machine: None, naming_key: None };
        let mut connection = Self { state, outgoing, closing, thread: Some(thread), welcome };
        connection.welcome = connection.greet()?;
        Ok((connection, address))
    }

    fn greet(&self) -> Result<Welcome, LinkError> {
        let software = concat!("keepfast-link ", env!("CARGO_PKG_VERSION")).to_owned();
        let answer = self.submit(&Request::Hello { version: VERSION, software })?;
        let (reply, _) = self.answer("the greeting", &answer, Some(CONNECT_LIMIT))?;
        let Reply::Welcome { version, software, machine, naming_key } = reply else {
            return Err(LinkError::Answer { asked: "the greeting" });
        };
        if version == 0 || version > VERSION {
            return Err(wire::WireError::Version { found: version, known: VERSION }.into());
        }
        let naming_key = naming_key.and_then(|key| key.try_into().ok()).map(NamingKey::from_bytes);
        Ok(Welcome { version, software, machine, naming_key })
    }

    /// What the appliance said first.
    #[must_use]
    pub const fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Whether the connection has ended: a new one is needed.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.state.broken().is_some()
    }

    /// Asks and waits for the answer; the answer, and the bytes behind it.
    ///
    /// # Errors
    /// [`LinkError::Appliance`] if the answer is that it failed.
    pub fn request(&self, mut request: Request) -> Result<(Reply, Vec<u8>), LinkError> {
        let limit = match &mut request {
            Request::Finish { exceptions, .. } => {
                fit_exceptions(exceptions);
                None
            }
            Request::Verify { .. } | Request::Keep { .. } => None,
            _ => Some(REQUEST_LIMIT),
        };
        let answer = self.submit(&request)?;
        self.answer("a request", &answer, limit)
    }

    /// From here on nobody waits for the appliance for longer than two seconds once the flag is up.
    pub fn stop_with(&self, stop: Arc<AtomicBool>) {
        self.state.stop_with(stop);
    }

    /// Gives a backup up; an appliance that does not hear of it learns when the connection ends.
    pub fn abort(&self, session: u64) {
        let told = || {
            let (frame, answer) = self.frame(&Request::Abort { session })?;
            if !self.state.try_place() {
                return Err(LinkError::Broken { cause: "the appliance takes no bytes".into() });
            }
            self.queue(frame)?;
            self.answer("giving a backup up", &answer, Some(ABORT_LIMIT)).map(drop)
        };
        if let Err(error) = told() {
            tracing::debug!(%error, "a backup was given up without a word");
        }
    }

    /// A request with its number, and where its answer will be.
    fn frame(&self, request: &Request) -> Result<(Outgoing, Receiver<Answer>), LinkError> {
        let mut frame = Outgoing::new(FrameKind::Request, 0, request, Vec::new())?;
        let (id, answer) = self.state.ask().map_err(|error| self.give_up(error))?;
        frame.set_id(id);
        Ok((frame, answer))
    }

    /// Ends the connection after it kept somebody waiting for too long.
    fn give_up(&self, error: LinkError) -> LinkError {
        if matches!(error, LinkError::Timeout { .. } | LinkError::Broken { .. }) {
            self.state.break_off(&error.to_string());
            self.closing.send_replace(true);
        }
        error
    }

    fn submit(&self, request: &Request) -> Result<Receiver<Answer>, LinkError> {
        let (frame, answer) = self.frame(request)?;
        self.write(frame)?;
        Ok(answer)
    }

    /// Hands a message over to be written; waits while too many are.
    fn write(&self, frame: Outgoing) -> Result<(), LinkError> {
        self.state.place().map_err(|error| self.give_up(error))?;
        self.queue(frame)
    }

    /// Hands over a message that has a place.
    fn queue(&self, frame: Outgoing) -> Result<(), LinkError> {
        self.outgoing.send(frame).map_err(|_| self.state.lost())
    }

    /// Waits for an answer, no longer than the limit, and only as long as the appliance gives a sign of life.
    fn answer(
        &self,
        what: &str,
        answer: &Receiver<Answer>,
        limit: Option<Duration>,
    ) -> Result<Answer, LinkError> {
        let began = Instant::now();
        let found = loop {
            let left = limit.map_or(LOOK_EVERY, |limit| limit.saturating_sub(began.elapsed()));
            match answer.recv_timeout(left.min(LOOK_EVERY)) {
                Ok(found) => break found,
                Err(RecvTimeoutError::Disconnected) => return Err(self.state.lost()),
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(limit) = limit.filter(|limit| began.elapsed() >= *limit) {
                        return Err(self.give_up(LinkError::Timeout { what: what.to_owned(), limit }));
                    }
                    self.state.patience(what, began).map_err(|error| self.give_up(error))?;
                }
            }
        };
        match found {
            (Reply::Failed { error, .. }, _) => Err(LinkError::Appliance(error)),
            other => Ok(other),
        }
    }

    /// Sends an encoded bundle of a backup; waits for credit.
    ///
    /// # Errors
    /// A connection that is lost, or a backup that has failed.
    pub fn send_data(&self, session: u64, number: u64, bulk: Vec<u8>) -> Result<(), LinkError> {
        self.send(session, &Request::Data { session, number }, vec![bulk.into()])
    }

    /// Sends a bundle of a backup without copying it; waits for credit.
    ///
    /// # Errors
    /// Those of [`Self::send_data`].
    pub fn send_bundle(&self, session: u64, number: u64, bundle: Bundle) -> Result<(), LinkError> {
        let parts = vec![bundle.encode_head().into(), bundle.into_body().into()];
        self.send(session, &Request::Data { session, number }, parts)
    }

    /// Sends operations of a backup, `first` on, in as many messages as they need; the number of the next one.
    ///
    /// # Errors
    /// Those of [`Self::send_data`].
    pub fn send_operations(
        &self,
        session: u64,
        mut first: SequenceNumber,
        mut all: &[Operation],
    ) -> Result<SequenceNumber, LinkError> {
        while !all.is_empty() {
            let (count, bulk) = operations::encode(all);
            self.send(session, &Request::Operations { session, first, count }, vec![bulk.into()])?;
            first = SequenceNumber(first.0.saturating_add(u64::from(count)));
            all = all.get(count as usize..).unwrap_or_default();
        }
        Ok(first)
    }

    fn send(&self, session: u64, request: &Request, bulk: Vec<SharedBytes>) -> Result<(), LinkError> {
        let frame = Outgoing::new(FrameKind::Request, 0, request, bulk)?;
        self.state.spend(session, frame.cost()).map_err(|error| self.give_up(error))?;
        self.write(frame)
    }

    /// The next thing that the appliance tells without being asked; waits for it no longer than `limit`.
    ///
    /// # Errors
    /// A connection that is lost, once everything is told.
    pub fn next_event(&self, limit: Duration) -> Result<Option<LinkEvent>, LinkError> {
        self.state.next_event(limit)
    }

    /// The last bundle of a backup that survives a power cut of the appliance.
    #[must_use]
    pub fn durable(&self, session: u64) -> u64 {
        self.state.durable_number(session)
    }

    /// Why a backup has failed, if the appliance said so.
    #[must_use]
    pub fn failure(&self, session: u64) -> Option<model::archive::ArchiveError> {
        self.state.failure(session)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.closing.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of a connection has panicked");
        }
    }
}

//! The appliance's side of a connection: every rule of the protocol, as a state machine without input or output.
//!
//! A frame goes in; an [`Event`] that the appliance may act on comes out, or a [`WireError`] in one sentence, after
//! which the connection ends. What the peer may do depends on who it is and on what it did: it greets first; an
//! unknown peer can only join; an agent backs up and reads; what only the operator may do is refused to agents.
//! Bundles have no gaps, operations have no gaps and repeats of them are dropped, and nobody sends beyond its
//! credit. Whether an agent may read what it asks for is the appliance's to decide, not judged here.
//!
//! A backup can end on the appliance's side while messages for it are under way: those are [`Event::Late`], not a
//! breach.

use std::collections::{BTreeMap, BTreeSet};

use model::archive::ArchiveError;
use model::record::{Exception, Label, Totals};
use model::{ErrorKind, MachineId, Name, SequenceNumber, Time};

use crate::check::{self, Topic};
use crate::frame::{Frame, Limits, cost};
use crate::message::{CREDIT_INITIAL, Request, VERSION};
use crate::operations::OperationRun;
use crate::session::Session;
use crate::{Reply, WireError};

/// Most backups at a time on one connection.
pub const SESSIONS_MAX: usize = 2;
/// Most requests that wait for an answer at a time.
pub const IN_FLIGHT_MAX: usize = 64;
/// Credit is given back in pieces of at least this many bytes.
pub const CREDIT_STEP: u64 = 1 << 20;
/// Most backups that ended on the appliance's side and for which messages may still be under way.
const FAILED_MAX: usize = 64;

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Somebody whose key belongs to no machine.
    Unknown,
    /// The agent of a machine.
    Agent(MachineId),
    /// The operator, on the appliance itself.
    Local,
}

/// What makes a point, as `Request::Finish` says it.
#[derive(Clone, Debug, PartialEq)]
pub struct Finish {
    /// The sequence number of the last operation.
    pub last: SequenceNumber,
    /// When the agent began to read.
    pub started: Time,
    /// When it was done.
    pub finished: Time,
    /// Its figures.
    pub totals: Totals,
    /// What is not as it should be.
    pub exceptions: Vec<Exception>,
    /// How many there were.
    pub exceptions_count: u64,
}

/// What the appliance is to do; everything with an `id` is to be answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Welcome the peer.
    Hello {
        /// The request.
        id: u32,
        /// The version that both speak.
        version: u16,
        /// The peer's program.
        software: String,
    },
    /// Make the peer's key that of a machine.
    Join {
        /// The request.
        id: u32,
        /// The secret of a token.
        secret: Vec<u8>,
        /// The host name of the machine.
        host: String,
    },
    /// Begin a backup: [`Conversation::begun`] follows, or an answer that says why not.
    Begin {
        /// The request.
        id: u32,
        /// Of which source.
        source: Label,
        /// The continuity token.
        continuity: Option<Vec<u8>>,
        /// How much the agent says that there is.
        size_bytes: Option<u64>,
    },
    /// Say which chunks are there.
    Have {
        /// The request.
        id: u32,
        /// In which backup.
        session: u64,
        /// Which chunks.
        names: Vec<Name>,
    },
    /// Take a bundle, and give its credit back.
    Data {
        /// In which backup.
        session: u64,
        /// Its number.
        number: u64,
        /// The bundle.
        bulk: Vec<u8>,
        /// The credit.
        cost: u64,
    },
    /// Take operations, and give their credit back.
    Operations {
        /// In which backup.
        session: u64,
        /// The operations.
        run: OperationRun,
        /// The credit.
        cost: u64,
    },
    /// Make a point.
    Finish {
        /// The request.
        id: u32,
        /// Of which backup.
        session: u64,
        /// What with.
        finish: Finish,
    },
    /// Give a backup up.
    Abort {
        /// The request.
        id: u32,
        /// Which backup.
        session: u64,
    },
    /// Answer a question about what is stored, if the peer may ask it.
    Read {
        /// The request.
        id: u32,
        /// The question.
        request: Request,
    },
    /// Do what only the operator may ask for.
    Admin {
        /// The request.
        id: u32,
        /// What.
        request: Request,
    },
    /// Answer with this error.
    Refused {
        /// The request.
        id: u32,
        /// Why.
        error: ArchiveError,
    },
    /// Only give credit back: the message is for a backup that has failed, or repeats what is known.
    Late {
        /// The credit.
        cost: u64,
    },
}

/// What a request that waits for its answer was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Begin,
    Other,
}

/// The state of a connection.
#[derive(Debug)]
pub struct Conversation {
    peer: Peer,
    greeted: bool,
    in_flight: BTreeMap<u32, Asked>,
    sessions: BTreeMap<u64, Session>,
    /// Ended by the appliance while the peer may not know.
    failed: BTreeSet<u64>,
    last_session: u64,
    credit_left: u64,
    credit_due: u64,
}

impl Conversation {
    /// With a peer who has not said anything yet.
    #[must_use]
    pub const fn new(peer: Peer) -> Self {
        Self {
            peer,
            greeted: false,
            in_flight: BTreeMap::new(),
            sessions: BTreeMap::new(),
            failed: BTreeSet::new(),
            last_session: 0,
            credit_left: CREDIT_INITIAL,
            credit_due: 0,
        }
    }

    /// How long the next frame may be.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        match self.peer {
            Peer::Agent(_) | Peer::Local if self.greeted => Limits::KNOWN,
            Peer::Unknown | Peer::Agent(_) | Peer::Local => Limits::UNKNOWN,
        }
    }

    /// Whether the peer has greeted.
    #[must_use]
    pub const fn is_greeted(&self) -> bool {
        self.greeted
    }

    /// How many requests wait for an answer.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Judges a frame.
    ///
    /// # Errors
    /// A breach of the protocol: the connection is to be ended with its words.
    pub fn receive(&mut self, frame: Frame) -> Result<Event, WireError> {
        let (topic, body_max) = check::topic(&frame.body)?;
        self.check_turn(topic)?;
        if frame.body.len() > body_max {
            let (length, most) = (frame.body.len() as u64, body_max as u64);
            return Err(WireError::TooLong { what: "body", length, most, when: "for its request" });
        }
        if let Some(reason) = self.refusal(topic) {
            self.ask(frame.id, Asked::Other)?;
            return Ok(Event::Refused { id: frame.id, error: refused(reason) });
        }
        let request: Request = check::decode("request", &frame.body)?;
        check::request(&request)?;
        let is_bulky = matches!(request, Request::Data { .. } | Request::Operations { .. });
        if is_bulky == frame.bulk.is_empty() {
            return Err(WireError::Value { what: "length of the bulk" });
        }
        if is_bulky { self.receive_bulk(&request, frame) } else { self.receive_question(request, frame.id) }
    }

    /// Whether the peer may speak of this at all by now.
    fn check_turn(&self, topic: Topic) -> Result<(), WireError> {
        let wrong = |what, when| Err(WireError::Order { what, when });
        match (topic, self.peer) {
            (Topic::Hello, _) if self.greeted => wrong("hello", "comes a second time"),
            (Topic::Hello, _) => Ok(()),
            _ if !self.greeted => wrong("request", "comes before hello"),
            (Topic::Join, Peer::Local) => wrong("join", "comes from the appliance itself"),
            (Topic::Join, _) => Ok(()),
            (_, Peer::Unknown) => wrong("request", "comes from a peer that has not joined"),
            _ => Ok(()),
        }
    }

    /// Why the peer may not ask this although it breaks no rule.
    const fn refusal(&self, topic: Topic) -> Option<&'static str> {
        match (topic, self.peer) {
            (Topic::Admin, Peer::Agent(_)) => Some("only the operator may ask this, on the appliance itself"),
            (Topic::Backup, Peer::Local) => Some("only the agent of a machine can make a backup"),
            _ => None,
        }
    }

    fn ask(&mut self, id: u32, asked: Asked) -> Result<(), WireError> {
        if id == 0 {
            return Err(WireError::Id { what: "request", id });
        }
        if self.in_flight.len() == IN_FLIGHT_MAX {
            let most = IN_FLIGHT_MAX as u64;
            return Err(WireError::TooMany { what: "requests without answer", most, found: most + 1 });
        }
        if self.in_flight.insert(id, asked).is_some() {
            return Err(WireError::IdUse { id, problem: "is used again before its answer" });
        }
        Ok(())
    }

    fn receive_bulk(&mut self, request: &Request, frame: Frame) -> Result<Event, WireError> {
        if frame.id != 0 {
            return Err(WireError::Id { what: "message without answer", id: frame.id });
        }
        let cost = cost(frame.body.len(), frame.bulk.len());
        let left = self.credit_left;
        self.credit_left = left.checked_sub(cost).ok_or(WireError::Credit { cost, left })?;
        match *request {
            Request::Data { session, number } => match self.session("data", session)? {
                None => Ok(Event::Late { cost }),
                Some(open) => {
                    open.data(number)?;
                    Ok(Event::Data { session, number, bulk: frame.bulk, cost })
                }
            },
            Request::Operations { session, first, count } => match self.session("operations", session)? {
                None => Ok(Event::Late { cost }),
                Some(open) => {
                    let repeated = open.operations(first, count)?;
                    if repeated == count {
                        return Ok(Event::Late { cost });
                    }
                    let first = SequenceNumber(first.0 + u64::from(repeated));
                    let run = OperationRun { first, repeated, count, bytes: frame.bulk };
                    Ok(Event::Operations { session, run, cost })
                }
            },
            _ => Err(WireError::Order { what: "request", when: "has bulk bytes" }),
        }
    }

    fn receive_question(&mut self, request: Request, id: u32) -> Result<Event, WireError> {
        let asked = if matches!(request, Request::Begin { .. }) { Asked::Begin } else { Asked::Other };
        self.ask(id, asked)?;
        match request {
            Request::Hello { version, software } => {
                if version == 0 {
                    return Err(WireError::Version { found: version, known: VERSION });
                }
                self.greeted = true;
                Ok(Event::Hello { id, version: version.min(VERSION), software })
            }
            Request::Join { secret, host } => Ok(Event::Join { id, secret, host }),
            Request::Begin { source, continuity, size_bytes } => {
                let pending = self.in_flight.values().filter(|asked| **asked == Asked::Begin).count();
                let found = self.sessions.len() + pending;
                if found > SESSIONS_MAX {
                    let (most, found) = (SESSIONS_MAX as u64, found as u64);
                    return Err(WireError::TooMany { what: "backups at a time", most, found });
                }
                Ok(Event::Begin { id, source, continuity, size_bytes })
            }
            Request::Have { session, names } => {
                Ok(self.within("have", session, id)?.unwrap_or(Event::Have { id, session, names }))
            }
            Request::Finish { session, last, .. } => {
                if let Some(refused) = self.within("finish", session, id)? {
                    self.failed.remove(&session);
                    return Ok(refused);
                }
                if let Some(open) = self.sessions.remove(&session) {
                    open.finish(last)?;
                }
                finish(request, id)
            }
            Request::Abort { session } => {
                let refused = self.within("abort", session, id)?;
                self.failed.remove(&session);
                self.sessions.remove(&session);
                Ok(refused.unwrap_or(Event::Abort { id, session }))
            }
            Request::CreateToken { .. }
            | Request::Revoke { .. }
            | Request::Status
            | Request::Verify { .. }
            | Request::Keep { .. }
            | Request::Drives { .. } => Ok(Event::Admin { id, request }),
            request => Ok(Event::Read { id, request }),
        }
    }

    /// The backup that a message is for; `None` if it failed on this side.
    fn session(&mut self, what: &'static str, session: u64) -> Result<Option<&mut Session>, WireError> {
        if session == 0 || session > self.last_session {
            return Err(WireError::Session { what, session });
        }
        if self.failed.contains(&session) {
            return Ok(None);
        }
        match self.sessions.get_mut(&session) {
            Some(open) => Ok(Some(open)),
            None => Err(WireError::Order { what, when: "comes after its backup has ended" }),
        }
    }

    /// The refusal of a request for a backup that failed on this side.
    fn within(&mut self, what: &'static str, session: u64, id: u32) -> Result<Option<Event>, WireError> {
        let open = self.session(what, session)?.is_some();
        Ok((!open).then(|| Event::Refused { id, error: refused("the backup has failed") }))
    }

    /// Opens the backup that was asked for by `Begin`; its number. `None` if no such request waits.
    pub fn begun(&mut self, id: u32, sequence: SequenceNumber) -> Option<u64> {
        if self.in_flight.get(&id) != Some(&Asked::Begin) {
            return None;
        }
        self.in_flight.remove(&id);
        self.last_session += 1;
        self.sessions.insert(self.last_session, Session::new(self.last_session, sequence));
        Some(self.last_session)
    }

    /// Notes that a request gets its answer; false if no such request waits.
    pub fn answered(&mut self, id: u32) -> bool {
        self.in_flight.remove(&id).is_some()
    }

    /// Ends a backup on this side; messages of the peer that are under way are dropped.
    pub fn fail(&mut self, session: u64) {
        if self.sessions.remove(&session).is_none() {
            return;
        }
        self.failed.insert(session);
        if self.failed.len() > FAILED_MAX {
            self.failed.pop_first();
        }
    }

    /// Gathers credit that is free again; the message that gives it back when it is worth one.
    pub fn give_back(&mut self, bytes: u64) -> Option<Reply> {
        self.credit_due += bytes;
        if self.credit_due < CREDIT_STEP {
            return None;
        }
        let bytes = std::mem::take(&mut self.credit_due);
        self.credit_left += bytes;
        Some(Reply::Credit { bytes })
    }
}

fn refused(message: &str) -> ArchiveError {
    ArchiveError { kind: ErrorKind::Refused, message: message.to_owned() }
}

fn finish(request: Request, id: u32) -> Result<Event, WireError> {
    let Request::Finish { session, last, started, finished, totals, exceptions, exceptions_count } = request
    else {
        return Err(WireError::Order { what: "request", when: "is no finish" });
    };
    let finish = Finish { last, started, finished, totals, exceptions, exceptions_count };
    Ok(Event::Finish { id, session, finish })
}

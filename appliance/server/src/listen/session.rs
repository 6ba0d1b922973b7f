//! One backup: a thread that hands to the service, in the order of the agent's messages, what the agent sends.
//!
//! Credit goes back when a message was taken. A backup that fails is over: what is still under way for it is
//! dropped, and its credit goes back too. What can wait is bounded by the agent's credit and by how many of its
//! requests may be open.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use chunk::Decompressor;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use model::archive::ArchiveError;
use model::{ErrorKind, Name};
use tokio::sync::mpsc;
use wire::conversation::IN_FLIGHT_MAX;
use wire::frame::COST_LEAST;
use wire::message::{CREDIT_INITIAL, NAMES_MAX, fit_exceptions};
use wire::{Finish, OperationRun, Reply};

use super::verify::Ticket;
use super::{Backup, Finished};

/// Messages that can wait for the thread.
const QUEUE_MAX: usize = (CREDIT_INITIAL / COST_LEAST) as usize + IN_FLIGHT_MAX;
/// How often durability is looked at while nothing arrives.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What the thread is to do.
pub(crate) enum Command {
    /// Answer which chunks are there.
    Have {
        /// The request.
        id: u32,
        /// Which chunks.
        names: Vec<Name>,
    },
    /// Take a bundle.
    Data {
        /// Its number.
        number: u64,
        /// Its check.
        ticket: Ticket,
        /// Its credit.
        cost: u64,
    },
    /// Take operations.
    Operations {
        /// The operations.
        run: OperationRun,
        /// Their credit.
        cost: u64,
    },
    /// Make a point.
    Finish {
        /// The request.
        id: u32,
        /// What with.
        finish: Box<Finish>,
    },
    /// Give the backup up.
    Abort {
        /// The request.
        id: u32,
    },
}

/// What came of it.
pub(crate) enum News {
    /// A request has its answer.
    Answer(u32, Box<Reply>),
    /// Credit is free.
    Taken(u64),
    /// Bundles survive a power cut.
    Durable(u64),
    /// The backup has failed by itself, not as the answer to a request.
    Failed(ArchiveError),
    /// The service has panicked.
    Panicked,
    /// The backup is over; nothing follows.
    Over,
}

/// News of a backup, by its number.
pub(crate) type Report = (u64, News);

/// The way to the thread of a backup; the thread ends when it is dropped.
pub(crate) struct Session {
    commands: Sender<Command>,
}

impl Session {
    /// Starts the thread of backup `number`; it holds `permit` as long as it runs.
    pub(crate) fn start(
        number: u64,
        backup: Box<dyn Backup>,
        reports: mpsc::Sender<Report>,
        permit: impl Send + 'static,
        span: &tracing::Span,
    ) -> std::io::Result<Self> {
        let (commands, queue) = bounded(QUEUE_MAX);
        let span = span.clone();
        let thread = std::thread::Builder::new().name(format!("backup-{number}"));
        thread.spawn(move || {
            let _permit = permit;
            let _entered = span.enter();
            let out = Reports { session: number, reports: &reports };
            let worker = Worker { backup: Ok(backup), durable: 0, decompressor: Decompressor::new() };
            if catch_unwind(AssertUnwindSafe(|| worker.run(&queue, &out))).is_err() {
                out.send(News::Panicked);
            }
            out.send(News::Over);
        })?;
        Ok(Self { commands })
    }

    /// Gives the thread something to do, never waits; false if it cannot take it.
    pub(crate) fn send(&self, command: Command) -> bool {
        self.commands.try_send(command).is_ok()
    }
}

struct Reports<'a> {
    session: u64,
    reports: &'a mpsc::Sender<Report>,
}

impl Reports<'_> {
    /// False if the connection is gone.
    fn send(&self, news: News) -> bool {
        self.reports.blocking_send((self.session, news)).is_ok()
    }

    fn answer(&self, id: u32, reply: Reply) -> bool {
        self.send(News::Answer(id, Box::new(reply)))
    }
}

struct Worker {
    /// Why it has failed, once it has.
    backup: Result<Box<dyn Backup>, ArchiveError>,
    durable: u64,
    decompressor: Decompressor,
}

impl Worker {
    /// Works until the backup is over or the connection is gone.
    fn run(mut self, queue: &Receiver<Command>, out: &Reports<'_>) {
        loop {
            let goes_on = match queue.recv_timeout(LOOK_EVERY) {
                Ok(command) => self.obey(command, out),
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => false,
            };
            if !goes_on || !self.tell_durable(out) {
                return;
            }
        }
    }

    fn tell_durable(&mut self, out: &Reports<'_>) -> bool {
        let durable = self.backup.as_mut().map_or(0, |backup| backup.durable());
        if durable <= self.durable {
            return true;
        }
        self.durable = durable;
        out.send(News::Durable(durable))
    }

    /// Does one thing; false if it was the last.
    fn obey(&mut self, command: Command, out: &Reports<'_>) -> bool {
        match command {
            Command::Data { number, ticket, cost } => {
                let taken = match &mut self.backup {
                    Ok(backup) => {
                        ticket.wait(&mut self.decompressor).and_then(|bundle| backup.data(number, bundle))
                    }
                    Err(_) => Ok(()),
                };
                self.fail_on(taken, out) && out.send(News::Taken(cost))
            }
            Command::Operations { run, cost } => {
                let taken = match &mut self.backup {
                    Ok(backup) => run
                        .decode()
                        .map_err(|error| ArchiveError::new(error.kind(), &error))
                        .and_then(|operations| backup.operations(operations)),
                    Err(_) => Ok(()),
                };
                self.fail_on(taken, out) && out.send(News::Taken(cost))
            }
            Command::Have { id, names } => {
                let reply = match &mut self.backup {
                    Ok(backup) => backup.have(&names).map(|had| bits(&had)),
                    Err(error) => Err(error.clone()),
                };
                out.answer(id, reply.unwrap_or_else(|error| failed(None, error)))
            }
            Command::Finish { id, finish } => {
                let made = match &mut self.backup {
                    Ok(backup) => backup.finish(*finish),
                    Err(error) => Err(error.clone()),
                };
                out.answer(id, ended(made, out.session));
                false
            }
            Command::Abort { id } => {
                // It is given up before the agent hears that it is.
                self.backup = Err(over());
                out.answer(id, Reply::Done);
                false
            }
        }
    }

    /// Ends the backup if something went wrong; false if the connection is gone.
    fn fail_on(&mut self, result: Result<(), ArchiveError>, out: &Reports<'_>) -> bool {
        let Err(error) = result else { return true };
        self.backup = Err(error.clone());
        out.send(News::Failed(error))
    }
}

fn ended(made: Result<Finished, ArchiveError>, session: u64) -> Reply {
    match made {
        Ok(Finished::Point(mut point)) => {
            fit_exceptions(&mut point.exceptions);
            Reply::Finished { point: *point }
        }
        Ok(Finished::Lacking(mut names)) => {
            names.truncate(NAMES_MAX);
            Reply::Lacking { names }
        }
        Err(error) => failed(Some(session), error),
    }
}

fn bits(had: &[bool]) -> Reply {
    let byte = |had: &[bool]| (0..).zip(had).fold(0, |byte, (bit, had)| byte | u8::from(*had) << bit);
    Reply::Had { bits: had.chunks(8).map(byte).collect() }
}

const fn failed(session: Option<u64>, error: ArchiveError) -> Reply {
    Reply::Failed { session, error }
}

fn over() -> ArchiveError {
    ArchiveError { kind: ErrorKind::Refused, message: "the backup is over".into() }
}

//! The client's side of a connection: which answers are awaited, and how much may be sent without one.
//!
//! The appliance is trusted further than an agent, but what it sends is still checked: an answer to nothing, or
//! credit that was never spent, ends the connection.

use std::collections::BTreeMap;

use model::archive::ArchiveError;

use crate::WireError;
use crate::check;
use crate::conversation::IN_FLIGHT_MAX;
use crate::frame::Frame;
use crate::message::{CREDIT_INITIAL, Reply};

/// What the appliance sent.
#[derive(Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "an answer is the usual case, and lives for one call")]
pub enum Incoming<T> {
    /// The answer to a request.
    Answer {
        /// What was kept for it.
        waiting: T,
        /// The answer.
        reply: Reply,
        /// The bytes behind it.
        bulk: Vec<u8>,
    },
    /// Credit.
    Credit {
        /// How much, in bytes.
        bytes: u64,
    },
    /// Bundles of a backup are durable.
    Durable {
        /// Which backup.
        session: u64,
        /// The last such bundle.
        number: u64,
    },
    /// A backup failed, or the whole connection.
    Failed {
        /// Which backup; none means the connection.
        session: Option<u64>,
        /// What happened.
        error: ArchiveError,
    },
}

/// The requests that wait for an answer, each with something of the caller's.
#[derive(Debug)]
pub struct Caller<T> {
    last: u32,
    waiting: BTreeMap<u32, T>,
}

impl<T> Default for Caller<T> {
    fn default() -> Self {
        Self { last: 0, waiting: BTreeMap::new() }
    }
}

impl<T> Caller<T> {
    /// Draws an id for a request and keeps `waiting` until its answer.
    ///
    /// # Errors
    /// Gives `waiting` back while [`IN_FLIGHT_MAX`] requests have no answer yet.
    pub fn ask(&mut self, waiting: T) -> Result<u32, T> {
        if self.waiting.len() >= IN_FLIGHT_MAX {
            return Err(waiting);
        }
        // Ends: fewer ids wait than the loop can try.
        loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            if !self.waiting.contains_key(&self.last) {
                self.waiting.insert(self.last, waiting);
                return Ok(self.last);
            }
        }
    }

    /// Judges a frame.
    ///
    /// # Errors
    /// A breach of the protocol: the connection is of no use any more.
    pub fn receive(&mut self, frame: Frame) -> Result<Incoming<T>, WireError> {
        let reply: Reply = check::decode("reply", &frame.body)?;
        check::reply(&reply)?;
        if !frame.bulk.is_empty() && !matches!(reply, Reply::Chunks { .. }) {
            return Err(WireError::Value { what: "length of the bulk" });
        }
        let without_id = |found| if frame.id == 0 { Ok(found) } else { Err(wrong_id(frame.id)) };
        match reply {
            Reply::Credit { bytes } => without_id(Incoming::Credit { bytes }),
            Reply::Durable { session, number } => without_id(Incoming::Durable { session, number }),
            Reply::Failed { session, error } if frame.id == 0 => Ok(Incoming::Failed { session, error }),
            reply => match self.waiting.remove(&frame.id) {
                Some(waiting) => Ok(Incoming::Answer { waiting, reply, bulk: frame.bulk }),
                None => Err(WireError::IdUse { id: frame.id, problem: "is answered but was not asked" }),
            },
        }
    }

    /// How many requests wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Everything that still waits, when the connection is gone.
    pub fn give_up(&mut self) -> impl Iterator<Item = T> {
        std::mem::take(&mut self.waiting).into_values()
    }
}

const fn wrong_id(id: u32) -> WireError {
    WireError::Id { what: "message without answer", id }
}

/// How much a client may still send without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    left: u64,
}

impl Default for Credit {
    fn default() -> Self {
        Self { left: CREDIT_INITIAL }
    }
}

impl Credit {
    /// Spends `cost` if it is there.
    #[must_use]
    pub const fn spend(&mut self, cost: u64) -> bool {
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    /// Takes back what the appliance gives.
    ///
    /// # Errors
    /// More than was spent.
    pub const fn receive(&mut self, bytes: u64) -> Result<(), WireError> {
        match self.left.checked_add(bytes) {
            Some(left) if left <= CREDIT_INITIAL => {
                self.left = left;
                Ok(())
            }
            _ => Err(WireError::Value { what: "credit" }),
        }
    }
}

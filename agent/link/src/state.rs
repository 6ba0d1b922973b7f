//! What the threads that use a connection and the one that moves its bytes share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use model::archive::ArchiveError;
use wire::{Caller, Credit, Frame, Incoming, Reply};

use crate::LinkError;
use crate::events::{Events, LinkEvent};

/// How often waiting threads look whether the appliance is still there.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the appliance may be silent while something is awaited of it; it gives a sign of life every 15 seconds.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// How long work goes on that waits for the appliance when it was asked to stop.
const STOP_LIMIT: Duration = Duration::from_secs(2);
/// Messages that wait to be written.
const WRITING_MAX: usize = 8;

/// An answer with the bytes behind it.
pub(crate) type Answer = (Reply, Vec<u8>);

#[derive(Debug, Default)]
struct Inner {
    caller: Caller<SyncSender<Answer>>,
    credit: Credit,
    /// Messages that are on their way to the carrier.
    writing: usize,
    events: Events,
    broken: Option<String>,
}

impl Inner {
    const fn take_place(&mut self) -> bool {
        let is_free = self.writing < WRITING_MAX;
        if is_free {
            self.writing += 1;
        }
        is_free
    }
}

/// The state of a connection.
#[derive(Debug)]
pub(crate) struct State {
    inner: Mutex<Inner>,
    changed: Condvar,
    started: Instant,
    heard_after: AtomicU64,
    stop: OnceLock<Arc<AtomicBool>>,
}

impl State {
    pub(crate) fn new() -> Self {
        Self {
            inner: Mutex::default(),
            changed: Condvar::new(),
            started: Instant::now(),
            heard_after: AtomicU64::new(0),
            stop: OnceLock::new(),
        }
    }

    /// From here on nobody waits for long once the flag is up.
    pub(crate) fn stop_with(&self, stop: Arc<AtomicBool>) {
        // A second flag for the same connection would be a program error, and the first one still works.
        let _ = self.stop.set(stop);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code that runs under the lock can panic half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws an id and a place for its answer; waits while too many requests are open.
    pub(crate) fn ask(&self) -> Result<(u32, Receiver<Answer>), LinkError> {
        let (sender, receiver) = sync_channel(1);
        let mut sender = Some(sender);
        let id = self.wait("a free request", |inner| {
            let waiting = sender.take()?;
            inner.caller.ask(waiting).map_err(|waiting| sender = Some(waiting)).ok().map(Ok)
        })?;
        Ok((id, receiver))
    }

    /// Spends credit of a backup; waits until there is enough.
    pub(crate) fn spend(&self, session: u64, cost: u64) -> Result<(), LinkError> {
        self.wait("credit of the appliance", |inner| match inner.events.failure(session) {
            Some(error) => Some(Err(LinkError::Appliance(error.clone()))),
            None => inner.credit.spend(cost).then_some(Ok(())),
        })
    }

    /// Takes a place for a message that is to be written; waits until there is one.
    pub(crate) fn place(&self) -> Result<(), LinkError> {
        self.wait("the appliance to take bytes", |inner| inner.take_place().then_some(Ok(())))
    }

    /// Takes a place for a message, if there is one.
    pub(crate) fn try_place(&self) -> bool {
        self.lock().take_place()
    }

    /// Gives back the place of a message that is written.
    pub(crate) fn written(&self) {
        let mut inner = self.lock();
        inner.writing = inner.writing.saturating_sub(1);
        drop(inner);
        self.changed.notify_all();
    }

    /// Waits until `check` has something, as long as the appliance is heard.
    fn wait<T>(
        &self,
        what: &str,
        mut check: impl FnMut(&mut Inner) -> Option<Result<T, LinkError>>,
    ) -> Result<T, LinkError> {
        let began = Instant::now();
        let mut inner = self.lock();
        loop {
            if let Some(cause) = &inner.broken {
                return Err(LinkError::Broken { cause: cause.clone() });
            }
            if let Some(found) = check(&mut inner) {
                return found;
            }
            self.patience(what, began)?;
            let waited = self.changed.wait_timeout(inner, LOOK_EVERY);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether what began to wait then may go on: the appliance was heard lately, and nobody wants to stop.
    pub(crate) fn patience(&self, what: &str, began: Instant) -> Result<(), LinkError> {
        let waited = began.elapsed();
        if self.silence().min(waited) > SILENCE_LIMIT {
            return Err(LinkError::Timeout { what: format!("waiting for {what}"), limit: SILENCE_LIMIT });
        }
        let is_asked_to_stop = self.stop.get().is_some_and(|stop| stop.load(Ordering::Relaxed));
        if is_asked_to_stop && waited > STOP_LIMIT {
            return Err(LinkError::Broken { cause: format!("stopped while waiting for {what}") });
        }
        Ok(())
    }

    /// The next event, waiting for it no longer than `limit`.
    pub(crate) fn next_event(&self, limit: Duration) -> Result<Option<LinkEvent>, LinkError> {
        let until = Instant::now() + limit;
        let mut inner = self.lock();
        loop {
            if let Some(event) = inner.events.next() {
                return Ok(Some(event));
            }
            if let Some(cause) = &inner.broken {
                return Err(LinkError::Broken { cause: cause.clone() });
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let waited = self.changed.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(crate) fn durable_number(&self, session: u64) -> u64 {
        self.lock().events.durable_number(session)
    }

    /// Why the connection is of no use any more, if it is.
    pub(crate) fn broken(&self) -> Option<String> {
        self.lock().broken.clone()
    }

    /// Takes what has arrived.
    pub(crate) fn receive(&self, frame: Frame) -> Result<(), LinkError> {
        let mut inner = self.lock();
        match inner.caller.receive(frame)? {
            Incoming::Answer { waiting, reply, bulk } => {
                // Nobody listens any more if the request took too long.
                drop(waiting.try_send((reply, bulk)));
            }
            Incoming::Credit { bytes } => inner.credit.receive(bytes)?,
            Incoming::Durable { session, number } => inner.events.durable(session, number),
            Incoming::Failed { session: Some(session), error } => inner.events.fail(session, error),
            Incoming::Failed { session: None, error } => return Err(LinkError::Appliance(error)),
        }
        drop(inner);
        self.changed.notify_all();
        Ok(())
    }

    /// Ends everything that waits.
    pub(crate) fn break_off(&self, cause: &str) {
        let mut inner = self.lock();
        inner.broken.get_or_insert_with(|| cause.to_owned());
        inner.caller.give_up().for_each(drop);
        drop(inner);
        self.changed.notify_all();
    }

    /// Notes that bytes of the appliance have arrived.
    pub(crate) fn hear(&self) {
        self.heard_after.store(self.milliseconds(), Ordering::Relaxed);
    }

    /// How long nothing has been heard.
    pub(crate) fn silence(&self) -> Duration {
        let heard_after = self.heard_after.load(Ordering::Relaxed);
        Duration::from_millis(self.milliseconds().saturating_sub(heard_after))
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The error of a request whose place for the answer is gone.
    pub(crate) fn lost(&self) -> LinkError {
        LinkError::Broken { cause: self.broken().unwrap_or_else(|| "it was closed".into()) }
    }

    /// The error of a backup that has failed, if it has.
    pub(crate) fn failure(&self, session: u64) -> Option<ArchiveError> {
        self.lock().events.failure(session).cloned()
    }
}

//! Checking bundles on all processors: decompress, compute every name anew.
//!
//! The threads are shared by all backups. What they owe is handed out in the order of each backup, because whoever
//! submitted a bundle waits for its own. How much can wait is bounded by the credit of the agents; when the queue
//! is full none the less, whoever waits does the work itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

use chunk::{BUNDLE_HEAD_LENGTH, Bundle, ChunkError, Decompressor, ENTRY_LENGTH, NamingKey, VerifiedBundle};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use model::ErrorKind;
use model::archive::ArchiveError;

/// Bundles that wait for a thread.
const QUEUE_MAX: usize = 256;

type Verified = Result<VerifiedBundle, ArchiveError>;

struct Job {
    bulk: Vec<u8>,
    key: NamingKey,
    done: Sender<Verified>,
}

/// The threads that check bundles; they end when it is dropped.
pub(crate) struct Verifiers {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

/// A bundle that is being checked.
pub(crate) enum Ticket {
    /// A thread has it, or will.
    Submitted(Receiver<Verified>),
    /// Nobody has it yet.
    Unchecked(Vec<u8>, NamingKey),
}

impl Verifiers {
    /// Starts `count` threads.
    pub(crate) fn start(count: usize) -> std::io::Result<Self> {
        let (jobs, queue) = bounded::<Job>(QUEUE_MAX);
        let mut verifiers = Self { jobs: Some(jobs), threads: Vec::new() };
        for number in 0..count.max(1) {
            let queue = queue.clone();
            let thread = std::thread::Builder::new().name(format!("verify-{number}"));
            verifiers.threads.push(thread.spawn(move || work(&queue))?);
        }
        Ok(verifiers)
    }

    /// Hands a bundle to the threads, never waits.
    pub(crate) fn submit(&self, bulk: Vec<u8>, key: NamingKey) -> Ticket {
        let (done, result) = bounded(1);
        let Some(jobs) = &self.jobs else { return Ticket::Unchecked(bulk, key) };
        match jobs.try_send(Job { bulk, key, done }) {
            Ok(()) => Ticket::Submitted(result),
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => {
                Ticket::Unchecked(job.bulk, job.key)
            }
        }
    }
}

impl Drop for Verifiers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that checks bundles has panicked");
            }
        }
    }
}

impl Ticket {
    /// Waits for the bundle.
    pub(crate) fn wait(self, decompressor: &mut Decompressor) -> Verified {
        match self {
            Self::Submitted(result) => result.recv().unwrap_or_else(|_| Err(internal())),
            Self::Unchecked(bulk, key) => verify(bulk, &key, decompressor),
        }
    }
}

fn work(queue: &Receiver<Job>) {
    let mut decompressor = Decompressor::new();
    for Job { bulk, key, done } in queue {
        // One bundle must not take the thread of all others with it.
        let checked = catch_unwind(AssertUnwindSafe(|| verify(bulk, &key, &mut decompressor)));
        let checked = checked.unwrap_or_else(|_| {
            decompressor = Decompressor::new();
            Err(internal())
        });
        // A backup that has ended meanwhile does not want it any more.
        drop(done.send(checked));
    }
}

/// Decodes a bundle as it travels, its head in front of its body, and checks it.
fn verify(mut bulk: Vec<u8>, key: &NamingKey, decompressor: &mut Decompressor) -> Verified {
    let head_length = head_length(&bulk).min(bulk.len());
    let head: Vec<u8> = bulk.drain(..head_length).collect();
    let checked = Bundle::decode(&head, bulk).and_then(|bundle| bundle.verify(key, decompressor));
    checked.map_err(|error: ChunkError| ArchiveError::new(error.kind(), &error))
}

/// Bytes of head and table, as the head says; what is wrong with it is found when it is decoded.
fn head_length(bulk: &[u8]) -> usize {
    let count = bulk.get(4..8).and_then(<[u8]>::first_chunk).map_or(0, |count| u32::from_le_bytes(*count));
    BUNDLE_HEAD_LENGTH.saturating_add((count as usize).saturating_mul(ENTRY_LENGTH))
}

fn internal() -> ArchiveError {
    ArchiveError { kind: ErrorKind::Io, message: "checking a bundle failed inside the appliance".into() }
}

#[cfg(test)]
mod tests {
    use chunk::{BundleBuilder, BundleLimits, Compressor, Level};

    use super::*;

    fn key() -> NamingKey {
        NamingKey::from_bytes([3; 32])
    }

    fn bulk(text: &[u8], key: &NamingKey) -> Vec<u8> {
        let mut builder = BundleBuilder::new(BundleLimits::default());
        builder.push(key.name(text), text).unwrap();
        let bundle = builder.finish(&mut Compressor::new(), Level::default()).unwrap();
        [bundle.encode_head(), bundle.into_body()].concat()
    }

    #[test]
    fn bundles_come_back_to_whoever_submitted_them() {
        let verifiers = Verifiers::start(3).unwrap();
        let tickets: Vec<_> =
            (0..1000u32).map(|number| verifiers.submit(bulk(&number.to_le_bytes(), &key()), key())).collect();
        assert!(tickets.iter().any(|ticket| matches!(ticket, Ticket::Submitted(_))));
        let mut decompressor = Decompressor::new();
        for (number, ticket) in (0..1000u32).zip(tickets) {
            let verified = ticket.wait(&mut decompressor).unwrap();
            assert_eq!(verified.table().entries()[0].name, key().name(&number.to_le_bytes()));
        }
    }

    #[test]
    fn lies_and_noise_are_found_on_either_way() {
        let verifiers = Verifiers::start(1).unwrap();
        let lie = bulk(b"named under another key", &NamingKey::from_bytes([4; 32]));
        let mut cut = bulk(b"cut off", &key());
        cut.pop();
        let huge = [&[1, 0, 0, 0][..], &[0xff; 12]].concat();
        for bad in [lie, cut, huge, vec![], vec![1, 2, 3]] {
            let mut decompressor = Decompressor::new();
            let error = verifiers.submit(bad.clone(), key()).wait(&mut decompressor).unwrap_err();
            let again = Ticket::Unchecked(bad, key()).wait(&mut decompressor).unwrap_err();
            assert_eq!(error, again);
            assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
        }
    }
}

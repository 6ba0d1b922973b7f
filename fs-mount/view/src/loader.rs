//! Contents: a bounded cache of chunks, and threads that fetch ahead of a reader.
//!
//! A chunk is fetched once however many readers wait for it. A failure is for those who asked: the next reader asks again,
//! so a view recovers with its archive.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use model::archive::{Archive, ArchiveError, PointKey, SharedBytes};
use model::item::CHUNK_LENGTH_MAX;
use model::{ErrorKind, LruCache, Name};

/// Fetches that may wait for a thread; more are not needed, the reader will ask itself.
const WAITING_MAX: usize = 8;
/// Bytes that are fetched ahead of one reader at most.
const AHEAD_MAX: u64 = 16 << 20;
/// Times that a reader waits for others before it gives up: each time it found the chunk gone again from the cache.
const ATTEMPTS_MAX: usize = 16;

type Fetched = Result<SharedBytes, ArchiveError>;

/// Chunks that a reader will want, unless it has come past them by then.
pub(crate) struct Job {
    pub(crate) point: PointKey,
    pub(crate) names: Vec<Name>,
    /// Where the reader is.
    pub(crate) reader: Arc<AtomicU64>,
    /// Where the last of the chunks ends for it.
    pub(crate) until: u64,
}

struct State {
    chunks: LruCache<Name, SharedBytes>,
    /// Being fetched by somebody.
    loading: HashSet<Name>,
}

struct Shared {
    archive: Arc<dyn Archive>,
    state: Mutex<State>,
    /// Something is not being fetched any more.
    loaded: Condvar,
}

/// Fetches chunks.
pub(crate) struct Loader {
    /// Bytes that may be fetched ahead of one reader: more would push each other out before they are read.
    pub(crate) ahead_bytes: u64,
    shared: Arc<Shared>,
    jobs: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Loader {
    /// With so many threads that fetch ahead, and a cache of so many bytes, or one chunk if that is more.
    pub(crate) fn start(archive: Arc<dyn Archive>, threads: usize, cache_bytes: usize) -> io::Result<Self> {
        let chunks = LruCache::new(cache_bytes.max(CHUNK_LENGTH_MAX as usize));
        let state = State { chunks, loading: HashSet::new() };
        let shared = Arc::new(Shared { archive, state: Mutex::new(state), loaded: Condvar::new() });
        let (jobs, waiting) = sync_channel(WAITING_MAX);
        let waiting = Arc::new(Mutex::new(waiting));
        let ahead_bytes = AHEAD_MAX.min(cache_bytes as u64 / 8);
        let mut loader = Self { ahead_bytes, shared, jobs: Some(jobs), threads: Vec::new() };
        for _ in 0..threads {
            let (shared, waiting) = (Arc::clone(&loader.shared), Arc::clone(&waiting));
            let builder = thread::Builder::new().name("read-ahead".into());
            loader.threads.push(builder.spawn(move || read_ahead(&shared, &waiting))?);
        }
        Ok(loader)
    }

    /// Chunks, in the order asked; each answers for itself.
    pub(crate) fn get(&self, point: PointKey, names: &[Name]) -> Vec<Fetched> {
        let mut found: Vec<Option<Fetched>> = names.iter().map(|_| None).collect();
        for _ in 0..ATTEMPTS_MAX {
            let wanted = self.shared.take_cached(names, &mut found);
            if wanted.is_empty() {
                break;
            }
            let failures = self.shared.fetch(point, &wanted, || true);
            for (slot, name) in found.iter_mut().zip(names).filter(|(slot, _)| slot.is_none()) {
                if let Some((_, fetched)) = failures.iter().find(|(failed, _)| failed == name) {
                    *slot = Some(fetched.clone());
                }
            }
        }
        let gone = || Err(ArchiveError { kind: ErrorKind::Busy, message: "too much is read at once".into() });
        found.into_iter().map(|slot| slot.unwrap_or_else(gone)).collect()
    }

    /// Fetches chunks for a reader that will come; not if there is too much to do.
    pub(crate) fn prepare(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // A job that finds no room is one that the reader does.
            let _ = jobs.try_send(job);
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A panic was printed; there is nothing to add.
            let _ = thread.join();
        }
    }
}

fn read_ahead(shared: &Shared, waiting: &Mutex<Receiver<Job>>) {
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { point, names, reader, until }) = job else { return };
        shared.fetch(point, &names, || reader.load(Ordering::Acquire) < until);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills in what is cached; the names of what is not.
    fn take_cached(&self, names: &[Name], found: &mut [Option<Fetched>]) -> Vec<Name> {
        let mut state = self.state();
        let mut wanted: Vec<Name> = Vec::new();
        for (slot, name) in found.iter_mut().zip(names).filter(|(slot, _)| slot.is_none()) {
            match state.chunks.get(name) {
                Some(bytes) => *slot = Some(Ok(bytes.clone())),
                None if wanted.contains(name) => {}
                None => wanted.push(*name),
            }
        }
        wanted
    }

    /// Fetches what nobody fetches yet, then waits for the others; what went wrong with those that were fetched here, and
    /// what came too large to be kept. Nothing if it is not wanted any more when its turn comes.
    fn fetch(&self, point: PointKey, names: &[Name], is_wanted: impl Fn() -> bool) -> Vec<(Name, Fetched)> {
        let mine: Vec<Name> = {
            let State { chunks, loading } = &mut *self.state();
            if !is_wanted() {
                return Vec::new();
            }
            names.iter().filter(|name| !chunks.contains(name) && loading.insert(**name)).copied().collect()
        };
        let mut failures = Vec::new();
        if !mine.is_empty() {
            let guard = Loading { shared: self, names: &mine };
            // A chunk shares a buffer with others; a copy has the size that is counted.
            let own = |bytes: SharedBytes| SharedBytes::from(bytes.to_vec());
            let answers: Vec<Fetched> =
                self.ask(point, &mine).into_iter().map(|answer| answer.map(own)).collect();
            let mut state = self.state();
            for (name, answer) in mine.iter().zip(answers) {
                match answer {
                    Ok(bytes) => {
                        let length = bytes.len();
                        state.chunks.insert(*name, bytes, length);
                    }
                    Err(error) => failures.push((*name, Err(error))),
                }
            }
            drop(state);
            drop(guard);
        }
        if mine.len() < names.len() {
            let others = |state: &mut State| names.iter().any(|name| state.loading.contains(name));
            drop(self.loaded.wait_while(self.state(), others).unwrap_or_else(PoisonError::into_inner));
        }
        failures
    }

    fn ask(&self, point: PointKey, names: &[Name]) -> Vec<Fetched> {
        let corrupt = |message: &str| ArchiveError { kind: ErrorKind::Corrupt, message: message.into() };
        let checked = |fetched: Fetched| match fetched {
            Ok(bytes) if bytes.len() > CHUNK_LENGTH_MAX as usize => {
                Err(corrupt("a chunk is longer than chunks can be"))
            }
            other => other,
        };
        match self.archive.chunks(point, names) {
            Ok(answers) if answers.len() == names.len() => answers.into_iter().map(checked).collect(),
            Ok(_) => {
                let error = corrupt("the archive answered for another number of chunks");
                names.iter().map(|_| Err(error.clone())).collect()
            }
            Err(error) => names.iter().map(|_| Err(error.clone())).collect(),
        }
    }
}

/// Takes its names out of those that are being fetched, whatever happens.
struct Loading<'a> {
    shared: &'a Shared,
    names: &'a [Name],
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        for name in self.names {
            state.loading.remove(name);
        }
        drop(state);
        self.shared.loaded.notify_all();
    }
}

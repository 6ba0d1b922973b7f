//! The threads of a backup: one walks, several read and compress, the caller's sends.
//!
//! Everything between them is bounded: tasks by their channel, parts by the [window](crate::window), bundles that
//! wait for compression by the sender, who compresses himself when there are too many. Order comes from tickets
//! and bundle numbers, never from luck.

use chunk::{Bundle, BundleBuilder, Compressor, Level};
use crossbeam_channel::{Receiver, Sender, bounded, never, select_biased, unbounded};

use crate::BackupError;
use crate::filter::Filter;
use crate::read::{Reader, Shared};
use crate::send::Sending;
use crate::source::Selection;
use crate::task::{Part, Task};
use crate::walk::{Sink, WalkError, Walked, Walker};

/// Tasks that wait for a reader.
const TASKS_WAITING: usize = 8;
/// Buffers that wait to be used again.
const SPARES: usize = 8;

/// What reaches the sender.
pub(crate) enum Event {
    /// Something was read.
    Part(Part),
    /// A bundle was compressed.
    Packed(u64, Bundle, BundleBuilder),
    /// The walk is over.
    Walked(Walked),
    /// A thread has failed.
    Failed(BackupError),
}

/// A bundle to compress.
pub(crate) struct PackJob {
    pub(crate) number: u64,
    pub(crate) builder: BundleBuilder,
}

/// Compresses a bundle.
pub(crate) fn pack(job: PackJob, compressor: &mut Compressor) -> Event {
    let PackJob { number, mut builder } = job;
    match builder.finish(compressor, Level::default()) {
        Ok(bundle) => Event::Packed(number, bundle, builder),
        Err(error) => Event::Failed(error.into()),
    }
}

/// The ends of the channels that the sender holds.
pub(crate) struct Ends {
    pub(crate) events: Receiver<Event>,
    pub(crate) packs: Sender<PackJob>,
    /// To take jobs back that no reader has taken.
    pub(crate) packs_back: Receiver<PackJob>,
    pub(crate) spare: Sender<Vec<u8>>,
}

/// Says that a thread ended by a panic, so that nobody waits for it.
struct Alarm<'a> {
    thread: &'static str,
    events: &'a Sender<Event>,
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.events.send(Event::Failed(BackupError::Thread { thread: self.thread }));
        }
    }
}

/// Walks, reads and sends; what the walk ended with.
pub(crate) fn run(
    shared: &Shared<'_>,
    filter: &Filter,
    selection: Selection,
    readers: usize,
    sending: &mut Sending<'_>,
) -> Result<Walked, BackupError> {
    let (task_sender, tasks) = bounded(TASKS_WAITING);
    let (event_sender, events) = unbounded();
    let (pack_sender, packs) = unbounded();
    let (spare, spares) = bounded(SPARES);
    std::thread::scope(|scope| {
        let walk_events = event_sender.clone();
        let mut threads =
            vec![scope.spawn(move || walk(shared, filter, selection, &task_sender, &walk_events))];
        for _ in 0..readers {
            let (tasks, packs, spares) = (tasks.clone(), packs.clone(), spares.clone());
            let events = event_sender.clone();
            threads.push(scope.spawn(move || read(shared, tasks, &packs, &events, &spares)));
        }
        drop((event_sender, tasks));
        let ends = Ends { events, packs: pack_sender, packs_back: packs, spare };
        let result = sending.run(&ends);
        if result.is_err() {
            shared.halt.fail();
            shared.window.close();
        }
        drop(ends);
        let panicked = threads.into_iter().filter_map(|thread| thread.join().err()).count();
        if panicked > 0 && result.is_ok() {
            return Err(BackupError::Thread { thread: "reader" });
        }
        result
    })
}

fn walk(
    shared: &Shared<'_>,
    filter: &Filter,
    selection: Selection,
    tasks: &Sender<Task>,
    events: &Sender<Event>,
) {
    let _alarm = Alarm { thread: "walker", events };
    let Shared { snapshot, counters, halt, scan, .. } = *shared;
    let walker = Walker::new(snapshot, filter, counters, halt, Sink::new(tasks), scan);
    let event = match walker.walk(selection) {
        Ok(walked) => Event::Walked(walked),
        Err(WalkError::Halted) => Event::Failed(BackupError::Stopped),
        Err(WalkError::Cache(error)) => Event::Failed(shared.paths.problem(error)),
        Err(WalkError::Backup(error)) => Event::Failed(error),
    };
    // Nobody listens only when the backup has ended.
    let _ = events.send(event);
}

fn read(
    shared: &Shared<'_>,
    mut tasks: Receiver<Task>,
    packs: &Receiver<PackJob>,
    events: &Sender<Event>,
    spares: &Receiver<Vec<u8>>,
) {
    let _alarm = Alarm { thread: "reader", events };
    let mut compressor = Compressor::new();
    let mut reader = Reader::new(shared, events, spares);
    loop {
        let event = select_biased! {
            recv(packs) -> job => match job {
                Ok(job) => pack(job, &mut compressor),
                Err(_) => return,
            },
            recv(tasks) -> task => match task {
                Ok(task) => match reader.run(task) {
                    Ok(()) => continue,
                    Err(error) => Event::Failed(error),
                },
                Err(_) => {
                    tasks = never();
                    continue;
                }
            },
        };
        let has_failed = matches!(event, Event::Failed(_));
        if events.send(event).is_err() || has_failed {
            return;
        }
    }
}

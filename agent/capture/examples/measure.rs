//! Measures backups of a directory into an appliance that forgets content: first, unchanged, and what they cost.
//!
//! `cargo run --release -p capture --example measure -- DIRECTORY [THREADS [ROUNDS]]`

use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use capture::{Appliance, Begun, Cache, Ending, Finish, Limits, Progress, SourceConfig, Task, backup};
use chunk::{Bundle, NamingKey};
use model::archive::ArchiveError;
use model::operation::Operation;
use model::record::{Exception, Label, Point, Totals, TreeRoot};
use model::{Name, SequenceNumber, SourceId, Time};

/// Remembers names and the last point.
#[derive(Default)]
struct Forgetful {
    names: Mutex<HashSet<Name>>,
    points: AtomicU64,
    sequence: AtomicU64,
    bundles: AtomicU64,
}

impl Appliance for Forgetful {
    fn begin(&self, _: &Label, continuity: Option<&[u8]>, _: Option<u64>) -> Result<Begun, ArchiveError> {
        self.bundles.store(0, Ordering::Relaxed);
        let points = self.points.load(Ordering::Relaxed);
        let matched = points > 0 && continuity == Some(&points.to_le_bytes());
        let sequence = SequenceNumber(self.sequence.load(Ordering::Relaxed));
        Ok(Begun { session: 1, sequence, matched, empty: points == 0 })
    }

    fn have(&self, _: u64, names: &[Name]) -> Result<Vec<bool>, ArchiveError> {
        let known = self.names.lock().expect("no thread panics with it");
        Ok(names.iter().map(|name| known.contains(name)).collect())
    }

    fn data(&self, _: u64, number: u64, bundle: Bundle) -> Result<(), ArchiveError> {
        let mut known = self.names.lock().expect("no thread panics with it");
        known.extend(bundle.table().entries().iter().map(|entry| entry.name));
        self.bundles.store(number, Ordering::Relaxed);
        Ok(())
    }

    fn operations(&self, _: u64, _: SequenceNumber, _: &[Operation]) -> Result<(), ArchiveError> {
        Ok(())
    }

    fn finish(&self, _: u64, finish: Finish) -> Result<Ending, ArchiveError> {
        let number = self.points.fetch_add(1, Ordering::Relaxed) + 1;
        self.sequence.store(finish.last.0, Ordering::Relaxed);
        Ok(Ending::Finished(Box::new(Point {
            source: SourceId(1),
            number,
            id: Time(0).folder_name(),
            sequence: finish.last,
            started: finish.started,
            finished: finish.finished,
            received: finish.finished,
            root: TreeRoot::default(),
            totals: finish.totals,
            exceptions: Vec::new(),
            exceptions_count: finish.exceptions_count,
            continuity: number.to_le_bytes().to_vec(),
            witnessed: None,
        })))
    }

    fn durable(&self, _: u64) -> u64 {
        self.bundles.load(Ordering::Relaxed)
    }

    fn abort(&self, _: u64) {}
}

/// Notes when tasks began.
#[derive(Default)]
struct Tasks(Mutex<Vec<(Task, Instant)>>);

impl Progress for Tasks {
    fn task(&self, task: Task) {
        self.0.lock().expect("no thread panics with it").push((task, Instant::now()));
    }

    fn count(&self, _: &Totals) {}

    fn problem(&self, _: &Exception) {}
}

impl std::fmt::Display for Tasks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tasks = self.0.lock().expect("no thread panics with it");
        for (index, (task, began)) in tasks.iter().enumerate() {
            let end = tasks.get(index + 1).map_or_else(Instant::now, |(_, next)| *next);
            write!(f, "{} {:.0?} ", task.word(), end - *began)?;
        }
        Ok(())
    }
}

/// Processor time of this process so far.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Most memory that this process has had, in KiB.
fn memory_peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap_or("?").trim().to_owned()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = PathBuf::from(arguments.next().ok_or("which directory?")?);
    let threads = arguments.next().map_or(Ok(2), |text| text.parse())?;
    let rounds = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let folder = std::env::temp_dir().join(format!("keepfast-measure-{}", std::process::id()));
    let config = SourceConfig {
        label: Label::new("measure")?,
        paths: vec![std::path::absolute(path)?],
        excludes: Vec::new(),
        one_filesystem: false,
        images: vec!["*.img".to_owned()],
        skipped: Vec::new(),
    };
    let (cache, naming) = (Cache::new(&folder), NamingKey::from_bytes([1; 32]));
    let appliance = Forgetful::default();
    let limits = Limits { threads, ..Limits::default() };
    let stop = AtomicBool::new(false);
    for round in 0..rounds {
        let tasks = Tasks::default();
        let (began, processor) = (Instant::now(), processor_time());
        let outcome = backup(&config, &cache, &appliance, &naming, &limits, &tasks, &stop)?;
        writeln!(
            std::io::stdout(),
            "round {round}: {:.2?} wall, {:.2?} cpu, {} peak; {tasks}; {:?}; {} exceptions",
            began.elapsed(),
            processor_time() - processor,
            memory_peak(),
            outcome.totals,
            outcome.exceptions_count
        )?;
    }
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

//! `keepfast restore`: a point, or parts of it, below a directory of this machine.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use host::HostClock;
use medium::Clock;
use model::Escaped;
use model::path::split_path;
use restore::{Overwrite, Progress, Request};

use crate::access::{Access, Place};
use crate::cli::Data;
use crate::commands::Done;

/// Bytes of content held at a time.
const MEMORY_BYTES: usize = 64 << 20;

/// Says problems as they come; the figures come at the end.
struct Lines;

impl Progress for Lines {
    fn total(&self, _: u64, _: u64) {}

    fn advance(&self, _: u64, _: u64) {}

    fn problem(&self, path: &[u8], message: &str) {
        // Standard error may be closed; the outcome has the problem all the same.
        let _ = writeln!(std::io::stderr(), "exception\t{}\t{message}", Escaped(path));
    }
}

pub(crate) fn run(
    place: &Place,
    to: PathBuf,
    paths: &[String],
    overwrite: bool,
    owners: bool,
    data: &Data,
) -> anyhow::Result<Done> {
    let access = Access::open(&data.data)?;
    let archive = access.archive();
    let point = place.find(&*archive, HostClock.now())?.key();
    let mut wanted = paths.iter().map(|path| split_path(path.as_bytes())).collect::<Result<Vec<_>, _>>()?;
    if !place.path.is_empty() {
        wanted.push(place.path.clone());
    }
    let request = Request {
        archive: &*archive,
        point,
        target: to,
        paths: wanted,
        overwrite: if overwrite { Overwrite::Differing } else { Overwrite::Refuse },
        owners,
        workers: std::thread::available_parallelism().map_or(1, usize::from),
        memory_bytes: MEMORY_BYTES,
        delete_extra: false,
        naming: None,
    };
    let outcome = restore::restore(&request, &Lines, &*stop_on_signal()?)?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{} files, {} directories, {} others; {} bytes written, {} were there already; {} exceptions",
        outcome.files,
        outcome.directories,
        outcome.others,
        outcome.bytes_written,
        outcome.bytes_unchanged,
        outcome.problems_count
    )?;
    Ok(if outcome.problems_count == 0 { Done::Whole } else { Done::WithExceptions })
}

/// A flag that the first interrupt sets; asking the same again goes on from there.
fn stop_on_signal() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            if tokio::signal::ctrl_c().await.is_ok() {
                flag.store(true, Ordering::Relaxed);
            }
        });
    })?;
    Ok(stop)
}

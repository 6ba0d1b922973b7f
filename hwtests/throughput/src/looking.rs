//! Looking for chunks in a pool that has crashed.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use model::Name;
use serde_json::{Value, json};

use crate::figures::{bytes_read, memory_peak, rate};
use crate::site::Site;

/// Names that an agent asks for at a time.
const NAMES: usize = 1_024;
/// Names that are asked for in each way.
const LOOKUPS: u64 = 200_000;
/// A prime that spreads numbers over all that there are.
const SPREAD: u64 = 2_654_435_761;

/// Opens the pool and looks for chunks: those that it has in the order in which they came and in any order, and others.
pub(crate) fn look(folder: &Path, chunks: u64) -> Result<()> {
    let (began, read) = (Instant::now(), bytes_read()?);
    let mut site = Site::open(folder, None)?;
    let opening = json!({ "seconds": began.elapsed().as_secs_f64(), "bytes_read": bytes_read()? - read });
    let memory_opened = memory_peak()?;
    let began = Instant::now();
    site.filter_names()?;
    let filter_seconds = began.elapsed().as_secs_f64();
    let count = LOOKUPS.min(chunks);
    let figures = json!({
        "chunks": chunks,
        "opening": opening,
        "memory_opened": memory_opened,
        "filter_seconds": filter_seconds,
        "unknown": lookups(&site, folder, false, (0..count).map(|at| chunks * 2 + at))?,
        "known_in_order": lookups(&site, folder, true, (0..count).map(|at| (chunks - count) / 2 + at))?,
        "known_anywhere": lookups(&site, folder, true, (0..count).map(|at| at * SPREAD % chunks))?,
        "memory_peak": memory_peak()?,
    });
    println!("{figures}");
    Ok(())
}

/// Looks for chunks whose place on the drive nobody has in memory.
fn lookups(site: &Site, folder: &Path, are_there: bool, numbers: impl Iterator<Item = u64>) -> Result<Value> {
    let names: Vec<Name> = numbers.map(|number| site.name(number)).collect();
    let catalog = std::fs::File::open(folder.join("catalog.redb")).context("open the catalog")?;
    rustix::fs::fadvise(&catalog, 0, None, rustix::fs::Advice::DontNeed).context("forget the catalog")?;
    let (began, read) = (Instant::now(), bytes_read()?);
    for names in names.chunks(NAMES) {
        let known = site.pool.shared().known(site.machine.id, names)?;
        ensure!(known.iter().all(|known| *known == are_there), "a chunk is not where it should be");
    }
    let count = names.len() as u64;
    Ok(json!({
        "lookups": count,
        "lookups_per_second": rate(count, began.elapsed().as_secs_f64()).round(),
        "bytes_read": bytes_read()? - read,
    }))
}

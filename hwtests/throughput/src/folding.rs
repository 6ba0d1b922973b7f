//! What it costs to fold points out of a thousand, on a real drive, whatever else is in the pool.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use model::ObjectId;
use model::archive::PointKey;
use model::item::{Extent, Item, ItemKey};
use pool::{Effort, Reclaimed, Thrift};
use serde_json::{Value, json};
use tree::{ItemTree, Root};

use crate::figures::bytes_called_for;
use crate::filling::{add_files, commit};
use crate::site::Site;

/// Points of the pool.
const POINTS: u64 = 1_000;
/// Those that go, one after the other.
const VICTIMS: [u64; 5] = [100, 300, 500, 700, 900];
/// Files that each point has with other content than the one before it.
const CHANGED: u64 = 8;
/// Bytes of each of them: 1 MiB in all, which fills two segments.
const CHANGED_BYTES: usize = 128 << 10;

/// Makes a pool of so many chunks and a thousand points, and folds some: what each of them cost.
pub(crate) fn fold(folder: &Path, chunks: u64) -> Result<()> {
    let data_bytes = Some(CHANGED * CHANGED_BYTES as u64 / 2);
    let mut site = Site::make(folder, data_bytes)?;
    let mut root = add_files(&mut site, Root::EMPTY, 0, chunks)?;
    commit(&mut site, root, 1)?;
    site.pool.flush_catalog()?;
    // The chunks of the first point are a few bytes each: moving one of their segments is moving tens of thousands of them. So
    // the others begin with a segment of their own.
    drop(site);
    let mut site = Site::open(folder, data_bytes)?;
    for point in 2..=POINTS {
        let contents = (0..CHANGED).map(|file| noise(point * CHANGED + file, CHANGED_BYTES));
        let names = site.put(contents)?;
        let length = u32::try_from(CHANGED_BYTES)?;
        let extent = |(name, file): (_, u64)| {
            let key = ItemKey::extent(ObjectId(ObjectId::ROOT.0 + 1 + file), 0);
            (key, Some(Item::Extent(Extent::Chunk { name, skip: 0, length })))
        };
        let items: Vec<_> = names.into_iter().zip(0..).map(extent).collect();
        let applied = ItemTree::default().apply(&mut site.pool, &root, items);
        root = applied.map_err(|error| anyhow!("apply: {error:?}"))?.root;
        commit(&mut site, root, point)?;
    }
    // What was of no use before is no matter of the fold.
    reclaim(&mut site)?;
    site.pool.flush_catalog()?;
    site.filter_names()?;
    rustix::fs::sync();
    let folds: Vec<_> = VICTIMS.iter().map(|number| fold_one(&mut site, *number)).collect::<Result<_>>()?;
    let audit = site.pool.audit()?;
    ensure!(audit.wrong.is_empty(), "{:?}", audit.wrong);
    println!("{}", json!({ "chunks": chunks, "folds": folds }));
    Ok(())
}

/// Folds a point, until its room is back.
fn fold_one(site: &mut Site, number: u64) -> Result<Value> {
    let (began, before) = (Instant::now(), bytes_called_for()?);
    site.pool.drop_points(&[PointKey { source: site.source.id, number }])?;
    let freed = reclaim(site)?;
    ensure!(site.pool.shared().is_counted(), "it is not counted out");
    let (seconds, after) = (began.elapsed().as_secs_f64(), bytes_called_for()?);
    Ok(json!({
        "seconds": seconds,
        "bytes_read": after.0 - before.0,
        "bytes_written": after.1 - before.1,
        "bytes_freed": freed,
    }))
}

/// Gives back what is of no use; how many bytes.
fn reclaim(site: &mut Site) -> Result<u64> {
    let mut freed = 0;
    loop {
        match site.pool.reclaim(Thrift::DEFAULT, Effort { births: 20_000, bytes: 64 << 20 })? {
            Reclaimed::Bytes { freed: bytes, .. } => freed += bytes,
            Reclaimed::Counting => {}
            Reclaimed::Waiting | Reclaimed::Nothing => return Ok(freed),
        }
    }
}

/// Bytes that nobody else has.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state ^ (state >> 29)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

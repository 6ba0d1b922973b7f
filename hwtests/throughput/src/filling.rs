//! Filling a pool: chunks, a point for every hundred thousand of them, and their count.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, anyhow};
use model::item::{Attributes, Extent, FileKind, Inode, Item, ItemKey};
use model::record::Totals;
use model::{EntryName, Name, ObjectId, SequenceNumber, Time};
use pool::{Counted, NewPoint};
use serde_json::json;
use tree::{ItemTree, Root};

use crate::figures::{bytes_read, length, memory_peak, rate};
use crate::site::{BUNDLE_CHUNKS, Site};

/// Chunks that each point has more than the one before it.
const POINT_CHUNKS: u64 = 25 * BUNDLE_CHUNKS;
/// Births that are counted at a time, as the keeper of an appliance does.
const BIRTHS: usize = 20_000;
/// Files of a directory.
const DIRECTORY_FILES: u64 = 1_000;

/// Makes the pool, says what it cost, and ends as a crash does, in the middle of the next backup.
pub(crate) fn fill(folder: &Path, chunks: u64) -> Result<()> {
    let mut site = Site::make(folder, None)?;
    let (mut root, mut made, began) = (Root::EMPTY, 0, Instant::now());
    let mut tenths = Vec::new();
    while made < chunks {
        let (from, begun) = (made, Instant::now());
        while made < chunks && made - from < (chunks / 10).max(POINT_CHUNKS) {
            root = add_point(&mut site, root, made, POINT_CHUNKS.min(chunks - made))?;
            made += POINT_CHUNKS.min(chunks - made);
            while site.pool.count(BIRTHS)? == Counted::More {}
        }
        tenths.push(rate(made - from, begun.elapsed().as_secs_f64()).round());
    }
    site.pool.flush_catalog()?;
    let figures = json!({
        "chunks": chunks,
        "seconds": began.elapsed().as_secs_f64(),
        "chunks_per_second": tenths,
        "memory_peak": memory_peak()?,
        "catalog_bytes": length(&folder.join("catalog.redb"))?,
        "pool_bytes": length(folder)?,
        "bytes_read": bytes_read()?,
    });
    println!("{figures}");
    // A backup is under way when the power goes.
    put(&mut site, chunks, POINT_CHUNKS / 2)?;
    site.pool.commit(Vec::new())?;
    std::process::abort()
}

/// Puts chunks; their names.
fn put(site: &mut Site, first: u64, count: u64) -> Result<Vec<Name>> {
    let mut all = Vec::new();
    let mut at = first;
    while at < first + count {
        let some = BUNDLE_CHUNKS.min(first + count - at);
        all.extend(site.put_numbers(at, some)?);
        at += some;
    }
    Ok(all)
}

/// Adds files of one chunk each to the tree of the source, and makes a point of it.
fn add_point(site: &mut Site, root: Root, first: u64, count: u64) -> Result<Root> {
    let root = add_files(site, root, first, count)?;
    commit(site, root, first + count)?;
    Ok(root)
}

/// Adds files of one chunk each to a tree.
pub(crate) fn add_files(site: &mut Site, root: Root, first: u64, count: u64) -> Result<Root> {
    let names = put(site, first, count)?;
    let inode = |kind, size| {
        let attributes = Attributes::new(kind, 0o644);
        Item::Inode(Inode { attributes, size, stored: size, links: 1 })
    };
    let mut items = vec![(ItemKey::inode(ObjectId::ROOT), inode(FileKind::Directory, 0))];
    for (name, number) in names.into_iter().zip(first..) {
        let object = ObjectId(ObjectId::ROOT.0 + 1 + number);
        let entry =
            EntryName::new(format!("file {number}").as_bytes()).map_err(|error| anyhow!("{error}"))?;
        let folder = ObjectId(u64::MAX / 2 + number / DIRECTORY_FILES);
        if number % DIRECTORY_FILES == 0 || number == first {
            items.push((ItemKey::inode(folder), inode(FileKind::Directory, 0)));
        }
        items.push((ItemKey::entry(folder, entry), Item::Entry(object, FileKind::File)));
        items.push((ItemKey::inode(object), inode(FileKind::File, u64::from(Site::LENGTH))));
        let extent = Extent::Chunk { name, skip: 0, length: Site::LENGTH };
        items.push((ItemKey::extent(object, 0), Item::Extent(extent)));
    }
    items.sort_by(|(a, _), (b, _)| a.cmp(b));
    let items = items.into_iter().map(|(key, item)| (key, Some(item)));
    let applied = ItemTree::default().apply(&mut site.pool, &root, items);
    Ok(applied.map_err(|error| anyhow!("apply: {error:?}"))?.root)
}

/// Makes a point of a tree.
pub(crate) fn commit(site: &mut Site, root: Root, sequence: u64) -> Result<()> {
    site.pool.commit_point(NewPoint {
        source: site.source.id,
        sequence: SequenceNumber(sequence),
        started: Time(1),
        finished: Time(i64::try_from(sequence)?),
        root,
        totals: Totals::default(),
        exceptions: Vec::new(),
        exceptions_count: 0,
    })?;
    Ok(())
}

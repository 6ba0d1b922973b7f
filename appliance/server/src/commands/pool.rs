//! `keepfast pool status|verify|rebuild-catalog`.

use std::io::Write;

use anyhow::bail;
use model::Place;
use serde_json::json;
use terminal::Done;
use wire::{Reply, Request};

use crate::access::Access;
use crate::cli::{Data, Listing, PoolCommand};
use crate::data::DataDirectory;

pub(crate) fn run(command: PoolCommand) -> anyhow::Result<Done> {
    match command {
        PoolCommand::Status(listing) => status(&listing),
        PoolCommand::Verify { place, listing } => verify(place.as_ref(), &listing),
        PoolCommand::RebuildCatalog(data) => rebuild(&data),
    }
}

fn status(listing: &Listing) -> anyhow::Result<Done> {
    let access = Access::open(&listing.data.data)?;
    let Reply::Status { status } = access.ask(Request::Status)? else {
        bail!("the appliance answered something else")
    };
    let row = json!({
        "pool": status.pool,
        "commit": status.commit,
        "machines": status.machines,
        "sources": status.sources,
        "points": status.points,
        "chunks": status.chunks,
        "chunk_bytes": status.chunk_bytes,
        "segments": status.segments,
        "segment_bytes": status.segment_bytes,
        "capacity_bytes": status.capacity_bytes,
        "available_bytes": status.available_bytes,
        "damage": status.damage,
    });
    let mut out = std::io::stdout().lock();
    if listing.json {
        writeln!(out, "{row:#}")?;
    } else {
        for (field, value) in row.as_object().into_iter().flatten() {
            writeln!(out, "{field:16} {value}")?;
        }
    }
    Ok(Done::Whole)
}

fn verify(place: Option<&Place>, listing: &Listing) -> anyhow::Result<Done> {
    let access = Access::open(&listing.data.data)?;
    let point = match place {
        Some(place) => Some(access.find(place)?),
        None => None,
    };
    let Reply::Verified { report } = access.ask(Request::Verify { point })? else {
        bail!("the appliance answered something else")
    };
    let mut out = std::io::stdout().lock();
    if listing.json {
        let row = json!({
            "frames": report.frames,
            "chunks": report.chunks,
            "points": report.points,
            "bytes": report.bytes,
            "damage": report.damage,
            "damage_count": report.damage_count,
        });
        writeln!(out, "{row:#}")?;
    } else {
        for damage in &report.damage {
            writeln!(out, "damaged\t{damage}")?;
        }
        let (points, frames, chunks) = (report.points, report.frames, report.chunks);
        writeln!(
            out,
            "{points} points, {frames} frames, {chunks} chunks read; {} damaged",
            report.damage_count
        )?;
    }
    if report.damage_count > 0 {
        bail!("the pool is damaged; what is listed above cannot be restored whole, everything else can");
    }
    Ok(Done::Whole)
}

fn rebuild(data: &Data) -> anyhow::Result<Done> {
    let mut pool = DataDirectory::new(&data.data).open()?;
    pool.rebuild_catalog()?;
    let damage = pool.shared().damage();
    let mut out = std::io::stdout().lock();
    for damage in &damage {
        writeln!(out, "damaged\t{damage}")?;
    }
    let points = pool.shared().registry(|registry| registry.points.len());
    writeln!(out, "the catalog was made anew: {points} points")?;
    Ok(if damage.is_empty() { Done::Whole } else { Done::WithExceptions })
}

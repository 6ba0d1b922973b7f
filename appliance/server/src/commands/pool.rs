//! `keepfast pool status|verify|rebuild-catalog`.

use std::io::{IsTerminal, Write};

use anyhow::bail;
use model::Place;
use serde_json::{Value, json};
use terminal::Done;
use wire::keeping::{Kept, Order};
use wire::message::{PoolStatus, VerifyReport};
use wire::{Reply, Request};

use crate::access::Access;
use crate::cli::{Data, Listing, PoolCommand};
use crate::data::DataDirectory;

pub(crate) fn run(command: PoolCommand) -> anyhow::Result<Done> {
    match command {
        PoolCommand::Status(listing) => status(&listing),
        PoolCommand::Verify { place, listing } => verify(place.as_ref(), &listing),
        PoolCommand::Audit(listing) => audit(&listing),
        PoolCommand::RebuildCatalog(data) => rebuild(&data),
    }
}

fn status(listing: &Listing) -> anyhow::Result<Done> {
    let access = Access::open(&listing.data.data)?;
    let Reply::Status { status } = access.ask(Request::Status)? else {
        bail!("the appliance answered something else")
    };
    let row = row(&status);
    let mut out = std::io::stdout().lock();
    if listing.json {
        writeln!(out, "{row:#}")?;
    } else if out.is_terminal() {
        write!(out, "{}", in_words(&status))?;
    } else {
        for (field, value) in row.as_object().into_iter().flatten() {
            writeln!(out, "{field:16} {value}")?;
        }
    }
    Ok(Done::Whole)
}

fn row(status: &PoolStatus) -> Value {
    json!({
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
    })
}

/// The same for people.
fn in_words(status: &PoolStatus) -> String {
    let bytes = terminal::Bytes;
    let mut text = format!(
        "pool      {}\nholds     {} points of {} sources on {} machines\nstores    {} chunks of together {}\n\
         occupies  {} in {} segments\ndrive     {}, {} of it free\n",
        status.pool,
        status.points,
        status.sources,
        status.machines,
        status.chunks,
        bytes(status.chunk_bytes),
        bytes(status.segment_bytes),
        status.segments,
        bytes(status.capacity_bytes),
        bytes(status.available_bytes),
    );
    match status.damage.as_slice() {
        [] => text.push_str("damage    none was met; `keepfast pool verify` reads everything\n"),
        damage => damage.iter().for_each(|damage| text.push_str(&format!("damaged   {damage}\n"))),
    }
    text
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
    print_verification(listing.json, &report)
}

/// Prints what a verification found; damage is a failure.
pub(super) fn print_verification(json: bool, report: &VerifyReport) -> anyhow::Result<Done> {
    let mut out = std::io::stdout().lock();
    if json {
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

fn audit(listing: &Listing) -> anyhow::Result<Done> {
    let access = Access::open(&listing.data.data)?;
    let Kept::Audit { report } = access.keep(Order::Audit)? else {
        bail!("the appliance answered something else")
    };
    let mut out = std::io::stdout().lock();
    if listing.json {
        let row = json!({
            "points": report.points,
            "chunks": report.chunks,
            "pages": report.pages,
            "segments": report.segments,
            "wrong": report.wrong,
            "wrong_count": report.wrong_count,
        });
        writeln!(out, "{row:#}")?;
    } else {
        report.wrong.iter().try_for_each(|wrong| writeln!(out, "wrong\t{wrong}"))?;
        let (points, chunks, pages) = (report.points, report.chunks, report.pages);
        writeln!(
            out,
            "{points} points, {chunks} chunks, {pages} pages counted; {} wrong",
            report.wrong_count
        )?;
    }
    if report.wrong_count > 0 {
        bail!("the catalog is wrong; stop the appliance and run keepfast pool rebuild-catalog");
    }
    Ok(Done::Whole)
}

fn rebuild(data: &Data) -> anyhow::Result<Done> {
    let mut pool = DataDirectory::new(&data.data).open()?.pool;
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

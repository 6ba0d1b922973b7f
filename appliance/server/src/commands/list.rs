//! `keepfast machines`, `sources`, `points`.

use anyhow::Context;
use model::archive::Archive;
use model::record::{Label, Point, RestoreGrant};
use serde_json::{Value, json};
use terminal::{Column, Done, POINT_COLUMNS};
use wire::Request;

use crate::access::Access;
use crate::cli::Listing;

pub(crate) fn machines(listing: &Listing, revoke: Option<&str>) -> anyhow::Result<Done> {
    let access = Access::open(&listing.data.data)?;
    if let Some(machine) = revoke {
        access.ask(Request::Revoke { machine: Label::new(machine)? })?;
        return Ok(Done::Whole);
    }
    machines_of(&*access.archive(), listing.json)
}

/// Lists the machines of an archive.
pub(super) fn machines_of(archive: &dyn Archive, json: bool) -> anyhow::Result<Done> {
    let row = |machine: model::record::Machine| {
        let agent = machine.agent.as_ref();
        let restore = agent.map(|agent| match &agent.restore {
            RestoreGrant::None => "none".to_owned(),
            RestoreGrant::All => "all".to_owned(),
            RestoreGrant::Machines(more) => {
                let names = more.iter().map(ToString::to_string);
                std::iter::once("own".to_owned()).chain(names).collect::<Vec<_>>().join(",")
            }
        });
        let state = agent.map_or("not joined", |agent| if agent.revoked { "shut out" } else { "joined" });
        json!({
            "machine": machine.label.as_str(),
            "state": state,
            "restore": restore,
            "added": machine.added.to_string(),
            "joined": agent.map(|agent| agent.joined.to_string()),
        })
    };
    let rows: Vec<Value> = archive.machines()?.into_iter().map(row).collect();
    let columns = ["machine", "state", "restore", "joined"].map(Column::of);
    terminal::print(json, &columns, &rows)?;
    Ok(Done::Whole)
}

pub(crate) fn sources(listing: &Listing) -> anyhow::Result<Done> {
    sources_of(&*Access::open(&listing.data.data)?.archive(), listing.json)
}

/// Lists the sources of an archive.
pub(super) fn sources_of(archive: &dyn Archive, json: bool) -> anyhow::Result<Done> {
    let machines = archive.machines()?;
    let mut rows = Vec::new();
    for source in archive.sources()? {
        let machine = machines.iter().find(|m| m.id == source.machine).map(|m| m.label.to_string());
        let points = archive.points(source.id)?;
        rows.push(json!({
            "machine": machine,
            "source": source.label.as_str(),
            "points": points.len(),
            "latest": points.last().map(|point| point.id.clone()),
        }));
    }
    terminal::print(json, &["machine", "source", "points", "latest"].map(Column::of), &rows)?;
    Ok(Done::Whole)
}

pub(crate) fn points(listing: &Listing, only: Option<&str>) -> anyhow::Result<Done> {
    let rows = point_rows(&*Access::open(&listing.data.data)?.archive(), only, |_, row| row)?;
    terminal::print(listing.json, &POINT_COLUMNS, &rows)?;
    Ok(Done::Whole)
}

/// The points of an archive as rows, each completed by `complete`.
pub(super) fn point_rows(
    archive: &dyn Archive,
    only: Option<&str>,
    mut complete: impl FnMut(&Point, Value) -> Value,
) -> anyhow::Result<Vec<Value>> {
    let machines = archive.machines()?;
    let mut rows = Vec::new();
    let mut found = only.is_none();
    for source in archive.sources()? {
        let machine = machines.iter().find(|m| m.id == source.machine).map(|m| m.label.to_string());
        let title = format!("{}/{}", machine.unwrap_or_default(), source.label);
        if only.is_some_and(|only| only != title) {
            continue;
        }
        found = true;
        let damaged = archive.damaged(source.id)?;
        for point in archive.points(source.id)? {
            let damage = damaged.get(&point.number).copied().unwrap_or(0);
            rows.push(complete(&point, terminal::point_row(&title, &point, damage)));
        }
    }
    found.then_some(()).with_context(|| format!("there is no source {}", only.unwrap_or_default()))?;
    Ok(rows)
}

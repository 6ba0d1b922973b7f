//! `keepfast machines`, `sources`, `points`.

use anyhow::Context;
use model::record::{Label, RestoreGrant};
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
    let archive = access.archive();
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
    terminal::print(listing.json, &columns, &rows)?;
    Ok(Done::Whole)
}

pub(crate) fn sources(listing: &Listing) -> anyhow::Result<Done> {
    let archive = Access::open(&listing.data.data)?.archive();
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
    terminal::print(listing.json, &["machine", "source", "points", "latest"].map(Column::of), &rows)?;
    Ok(Done::Whole)
}

pub(crate) fn points(listing: &Listing, only: Option<&str>) -> anyhow::Result<Done> {
    let archive = Access::open(&listing.data.data)?.archive();
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
        for point in archive.points(source.id)? {
            rows.push(terminal::point_row(&title, &point));
        }
    }
    found.then_some(()).with_context(|| format!("there is no source {}", only.unwrap_or_default()))?;
    terminal::print(listing.json, &POINT_COLUMNS, &rows)?;
    Ok(Done::Whole)
}

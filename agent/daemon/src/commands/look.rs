//! `keepfast-agent points` and `ls`.

use std::path::Path;

use model::Place;
use model::archive::Archive;
use model::record::Point;
use terminal::{Done, ENTRY_COLUMNS, POINT_COLUMNS};

use crate::commands::{archive, find};

pub(crate) fn points(data: &Path, only: Option<&str>, json: bool) -> anyhow::Result<Done> {
    let (archive, own) = archive(data)?;
    let machines = archive.machines()?;
    let Some(machine) = machines.iter().find(|machine| machine.label == own) else {
        anyhow::bail!(
            "this agent may not read points; the operator allows it with `keepfast token create {own} --allow-restore`, \
             and the agent joins again with that token"
        );
    };
    let mut rows = Vec::new();
    for source in archive.sources()?.into_iter().filter(|source| source.machine == machine.id) {
        if only.is_some_and(|only| only != source.label.as_str()) {
            continue;
        }
        let (points, damaged) = (archive.points(source.id)?, archive.damaged(source.id)?);
        let row = |point: &Point| {
            let damaged = damaged.get(&point.number).copied().unwrap_or(0);
            terminal::point_row(source.label.as_str(), point, damaged)
        };
        rows.extend(points.iter().map(row));
    }
    terminal::print(json, &POINT_COLUMNS, &rows)?;
    Ok(Done::Whole)
}

pub(crate) fn ls(data: &Path, place: &Place, json: bool) -> anyhow::Result<Done> {
    let (archive, own) = archive(data)?;
    let point = find(&archive, &own, place)?.key();
    terminal::print(json, &ENTRY_COLUMNS, &terminal::entry_rows(&archive, point, &place.path)?)?;
    Ok(Done::Whole)
}

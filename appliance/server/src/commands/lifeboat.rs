//! `keepfast lifeboat`: what is left on the drives of a dead appliance.

use std::io::Write;

use serde_json::{Value, json};
use terminal::{Column, Done, ENTRY_COLUMNS, POINT_COLUMNS};

use super::{list, look, pool};
use crate::cli::lifeboat::{Lifeboat as Arguments, LifeboatCommand};
use crate::lifeboat::Lifeboat;
use crate::operator::verify_report;

pub(crate) fn run(mut arguments: Arguments) -> anyhow::Result<Done> {
    let command = arguments.command.take().unwrap_or(LifeboatCommand::Points { source: None, json: false });
    let drives = Lifeboat::open(&arguments)?;
    let json = |wanted: bool| wanted || arguments.json;
    match command {
        LifeboatCommand::Machines { json: wanted } => list::machines_of(&drives.archive(), json(wanted)),
        LifeboatCommand::Sources { json: wanted } => list::sources_of(&drives.archive(), json(wanted)),
        LifeboatCommand::Points { source, json: wanted } => points(&drives, source.as_deref(), json(wanted)),
        LifeboatCommand::Ls { place, json: wanted } => {
            let rows = terminal::entry_rows(&drives.archive(), drives.find(&place)?, &place.path)?;
            terminal::print(json(wanted), &ENTRY_COLUMNS, &rows)?;
            Ok(Done::Whole)
        }
        LifeboatCommand::Cat { place } => {
            look::print_file(&drives.archive(), drives.find(&place)?, &place.path)
        }
        LifeboatCommand::Restore { place, args } => {
            drives.check_target(args.target())?;
            terminal::restore(&drives.archive(), drives.find(&place)?, &place.path, args, None)
        }
        LifeboatCommand::Verify { place, json: wanted } => {
            let point = place.map(|place| drives.find(&place)).transpose()?;
            pool::print_verification(json(wanted), &verify_report(drives.shared().verify(point)?))
        }
    }
}

/// Lists points with what each of them lacks.
fn points(drives: &Lifeboat, only: Option<&str>, json: bool) -> anyhow::Result<Done> {
    let shared = drives.shared();
    shared.trace_damage()?;
    let lacking = shared.damaged_points();
    let mut found = 0;
    let rows = list::point_rows(&drives.archive(), only, |point, mut row| {
        let damage = lacking.get(&point.key());
        found += damage.map_or(0, |damage| damage.count);
        if let Value::Object(fields) = &mut row {
            let count = damage.map_or(0, |damage| damage.count);
            let state = if count == 0 { "whole".to_owned() } else { format!("lacks {count}") };
            fields.insert("state".into(), json!(state));
            fields.insert("lacks".into(), json!(count));
            fields.insert("damage".into(), json!(damage.map(|damage| &damage.lines)));
        }
        row
    })?;
    let mut err = std::io::stderr().lock();
    for line in shared.damage() {
        writeln!(err, "damaged\t{line}")?;
    }
    for line in lacking.values().flat_map(|damage| &damage.lines) {
        writeln!(err, "lacking\t{line}")?;
    }
    let columns: Vec<Column> = POINT_COLUMNS.into_iter().chain([Column::of("state")]).collect();
    terminal::print(json, &columns, &rows)?;
    Ok(Done::with(found))
}

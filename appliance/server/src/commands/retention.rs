//! `keepfast plan`, `keepfast forecast`, `keepfast retention`, `keepfast hold` and `keepfast simulate`.

use std::io::Write;

use anyhow::{Context, bail};
use host::HostClock;
use medium::Clock;
use model::Place;
use retention::quantity::{Size, parse_bytes};
use retention::{Day, Policy, PoolBounds, SIMULATED, SourceDay, Workload, simulate};
use serde_json::{Value, json};
use terminal::Done;
use wire::keeping::{Admit, Hold, Kept, Order, SourceForecast, TrialPolicy};

use super::source_named;
use crate::access::Access;
use crate::cli::{Data, Listing, RetentionCommand, Simulate};

/// How much of what a backup replaces was new shortly before, in thousandths: half, as nobody says otherwise.
const YOUNG_SHARE: u16 = 500;
/// Most lines of a simulation; each stands for as many days as it takes.
const LINES_MAX: usize = 24;

pub(crate) fn run(command: RetentionCommand) -> anyhow::Result<Done> {
    match command {
        RetentionCommand::Show(listing) => show(&listing),
        RetentionCommand::Set { source, rules, data } => {
            let (machine, source) = source_named(&source)?;
            order(&data, Order::SetPolicy { machine, source, text: text(&rules) })
        }
        RetentionCommand::Bounds { rules, data } => order(&data, Order::SetBounds { text: text(&rules) }),
        RetentionCommand::ConfirmClock(data) => order(&data, Order::ConfirmClock),
    }
}

/// The rules as one line; none without any.
fn text(rules: &[String]) -> Option<String> {
    (!rules.is_empty()).then(|| rules.join(" "))
}

fn order(data: &Data, order: Order) -> anyhow::Result<Done> {
    match Access::open(&data.data)?.keep(order)? {
        Kept::Done => Ok(Done::Whole),
        _ => bail!("the appliance answered something else"),
    }
}

pub(crate) fn hold(place: &Place, legal: bool, release: bool, data: &Data) -> anyhow::Result<Done> {
    let access = Access::open(&data.data)?;
    let point = access.find(place)?;
    let hold = if legal { Hold::Legal } else { Hold::Pin };
    access.keep(Order::Hold { point, hold, is_on: !release })?;
    Ok(Done::Whole)
}

fn show(listing: &Listing) -> anyhow::Result<Done> {
    let Kept::Policies { bounds, sources } = Access::open(&listing.data.data)?.keep(Order::Policies)? else {
        bail!("the appliance answered something else")
    };
    let mut out = std::io::stdout().lock();
    if listing.json {
        let source = |one: &wire::keeping::SourcePolicy| {
            json!({
                "source": format!("{}/{}", one.machine, one.source),
                "policy": one.policy,
                "default": one.is_default,
            })
        };
        let row = json!({ "bounds": bounds, "sources": sources.iter().map(source).collect::<Vec<_>>() });
        writeln!(out, "{row:#}")?;
        return Ok(Done::Whole);
    }
    writeln!(out, "pool\t{bounds}")?;
    for one in sources {
        let remark = if one.is_default { "\t(default: every point while there is room)" } else { "" };
        writeln!(out, "{}/{}\t{}{remark}", one.machine, one.source, one.policy)?;
    }
    Ok(Done::Whole)
}

pub(crate) fn plan(source: Option<&str>, rules: &[String], listing: &Listing) -> anyhow::Result<Done> {
    let trial = source.map(|source| {
        let (machine, source) = source_named(source)?;
        anyhow::Ok(TrialPolicy { machine, source, text: text(rules) })
    });
    let order = Order::Plan { trial: trial.transpose()? };
    let access = Access::open(&listing.data.data)?;
    let Kept::Plan { lines, folds, folds_count } = access.keep(order)? else {
        bail!("the appliance answered something else")
    };
    let mut out = std::io::stdout().lock();
    if listing.json {
        let fold = |fold: &wire::keeping::PlannedFold| json!({ "source": fold.point.source.0, "number": fold.point.number, "reason": fold.reason });
        let folds: Vec<Value> = folds.iter().map(fold).collect();
        writeln!(out, "{:#}", json!({ "sentences": lines, "folds": folds, "folds_count": folds_count }))?;
    } else {
        lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    }
    Ok(Done::Whole)
}

pub(crate) fn forecast(admit: Option<&str>, change: Option<&str>, listing: &Listing) -> anyhow::Result<Done> {
    let size = |what: &str, text: &str| {
        parse_bytes(text).with_context(|| format!("--{what} is a size such as 500GiB, not {text}"))
    };
    let new_bytes = change.map(|text| size("change", text.strip_suffix("/day").unwrap_or(text)));
    let new_bytes = new_bytes.transpose()?;
    let admit = admit.map(|text| size("admit", text)).transpose()?;
    let admit = admit.map(|size_bytes| Admit { size_bytes, new_bytes });
    let Kept::Forecast { lines, foretold } =
        Access::open(&listing.data.data)?.keep(Order::Forecast { admit })?
    else {
        bail!("the appliance answered something else")
    };
    let mut out = std::io::stdout().lock();
    if listing.json {
        let on = |time: Option<model::Time>| time.map(|time| time.to_string());
        let value = json!({
            "sentences": lines,
            "sources": foretold.sources.iter().map(foretold_row).collect::<Vec<_>>(),
            "full": on(foretold.full),
            "full_earliest": on(foretold.full_earliest),
            "full_latest": on(foretold.full_latest),
            "days": foretold.days,
            "drives": foretold.drives.iter().map(|drive| json!({
                "drive": drive.drive,
                "place": drive.place,
                "full": on(drive.full),
            })).collect::<Vec<_>>(),
            "admission": foretold.admission.map(|figures| json!({
                "fits": figures.fits,
                "floor_bytes": figures.floor_bytes,
                "others_bytes": figures.others_bytes,
                "room_bytes": figures.room_bytes,
                "lacking_bytes": figures.lacking_bytes,
            })),
        });
        writeln!(out, "{value:#}")?;
    } else {
        lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    }
    Ok(Done::Whole)
}

fn foretold_row(source: &SourceForecast) -> Value {
    json!({
        "source": format!("{}/{}", source.machine, source.source),
        "points": source.points,
        "bytes": source.used_bytes,
        "oldest_seconds": source.oldest_seconds,
        "daily_seconds": source.daily_seconds,
        "new_bytes_per_day": source.new_bytes_per_day,
        "measured_seconds": source.measured_seconds,
        "measured_points": source.measured_points,
        "margin_thousandths": source.margin,
        "known_in_seconds": source.known_in_seconds,
    })
}

pub(crate) fn play(wanted: &Simulate) -> anyhow::Result<Done> {
    let size = |what: &str, text: &str| {
        parse_bytes(text).with_context(|| format!("--{what} is a size such as 500GiB, not {text}"))
    };
    let policy = Policy::parse(&wanted.rules.join(" "))?;
    let workload = Workload {
        first_bytes: size("first", &wanted.first)?,
        points_by_day: vec![wanted.backups],
        new_bytes: size("new", &wanted.new)?,
        replaced_bytes: size("replaced", &wanted.replaced)?,
        young_share: YOUNG_SHARE,
    };
    let bounds =
        PoolBounds { capacity_bytes: Some(size("capacity", &wanted.capacity)?), ..PoolBounds::default() };
    let timeline = simulate(&policy, &workload, &bounds, HostClock.now(), wanted.days);
    let mut out = std::io::stdout().lock();
    if wanted.json {
        let days: Vec<Value> = timeline.days.iter().map(row).collect();
        writeln!(out, "{:#}", Value::Array(days))?;
        return Ok(Done::Whole);
    }
    writeln!(out, "day\tpoints\tholds\tfolded\trefused")?;
    let every = timeline.days.len().div_ceil(LINES_MAX).max(1);
    for part in timeline.days.chunks(every) {
        let all = || part.iter().map(of_source);
        let (folds, refusals) =
            (all().map(|day| day.folds).sum::<u64>(), all().map(|day| day.refusals).sum::<u64>());
        let Some(last) = part.last() else { continue };
        let (day, points) = (last.day + 1, of_source(last).reach.points);
        writeln!(out, "{day}\t{points}\t{}\t{folds}\t{refusals}", Size(last.used_bytes))?;
    }
    Ok(Done::Whole)
}

fn of_source(day: &Day) -> SourceDay {
    day.sources.get(&SIMULATED).copied().unwrap_or_default()
}

fn row(day: &Day) -> Value {
    let source = of_source(day);
    json!({
        "day": day.day + 1,
        "points": source.reach.points,
        "bytes": day.used_bytes,
        "folded": source.folds,
        "refused": source.refusals,
    })
}

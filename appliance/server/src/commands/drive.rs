//! `keepfast drive add|list|retire|replace|rejoin|locate|policy`.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use hardware::{Hardware, Located, Rhythm};
use serde_json::{Value, json};
use terminal::Done;
use wire::drive::{self, DriveAnswer, DriveOrder, DriveRow, Placement};

use super::source_named;
use crate::access::Access;
use crate::cli::drive::{DriveCommand, Newcomer};
use crate::cli::{Data, Listing};

/// What stands for no policy of a source's own.
const AS_THE_POOL: &str = "pool";
/// Longest line in which a disk is confirmed.
const LINE_MAX: u64 = 1024;

pub(crate) fn run(command: DriveCommand) -> anyhow::Result<Done> {
    match command {
        DriveCommand::Add { newcomer, copies, parity, data } => {
            let policy = copies.map(|copies| format!("copies={copies}"));
            let policy = policy.or_else(|| parity.map(|parity| format!("parity={parity}")));
            let access = Access::open(&data.data)?;
            let newcomer = confirmed(&access, &newcomer)?;
            done(&access, DriveOrder::Add { newcomer, policy })
        }
        DriveCommand::List(listing) => list(&listing),
        DriveCommand::Retire { drive, data } => order(&data, DriveOrder::Retire { drive }),
        DriveCommand::Replace { drive, newcomer, data } => {
            let access = Access::open(&data.data)?;
            let newcomer = confirmed(&access, &newcomer)?;
            done(&access, DriveOrder::Replace { drive, newcomer })
        }
        DriveCommand::Rejoin { path, data } => order(&data, DriveOrder::Rejoin { path: text(&path)? }),
        DriveCommand::Locate { drive, seconds, data } => locate(&data, &drive, seconds),
        DriveCommand::Policy { policy, source: None, data } => order(&data, DriveOrder::SetPolicy { policy }),
        DriveCommand::Policy { policy, source: Some(source), data } => {
            let (machine, source) = source_named(&source)?;
            let policy = Some(policy).filter(|policy| policy != AS_THE_POOL);
            order(&data, DriveOrder::SetPlacement { machine, source, policy })
        }
    }
}

fn order(data: &Data, order: DriveOrder) -> anyhow::Result<Done> {
    done(&Access::open(&data.data)?, order)
}

fn done(access: &Access, order: DriveOrder) -> anyhow::Result<Done> {
    match access.drives(order)? {
        DriveAnswer::Done { sentence } => {
            writeln!(std::io::stdout(), "{sentence}")?;
            Ok(Done::Whole)
        }
        _ => bail!("the appliance answered something else"),
    }
}

/// A path as the appliance sees it.
fn text(path: &Path) -> anyhow::Result<String> {
    let path = std::path::absolute(path)?;
    path.to_str().map(str::to_owned).with_context(|| format!("{} is not text", path.display()))
}

fn is_device(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|data| data.file_type().is_block_device())
}

/// What is to become a drive; a disk once its plan was shown and confirmed.
fn confirmed(access: &Access, newcomer: &Newcomer) -> anyhow::Result<drive::Newcomer> {
    let (path, force) = (text(&newcomer.path)?, newcomer.force);
    let confirmation = newcomer.confirm.clone();
    let mut wanted = drive::Newcomer { path, confirmation, force };
    if !is_device(&newcomer.path) {
        return Ok(wanted);
    }
    let DriveAnswer::Plan { text, what } = access.drives(DriveOrder::Plan { newcomer: wanted.clone() })?
    else {
        bail!("the appliance answered something else")
    };
    let mut err = std::io::stderr();
    writeln!(err, "{text}")?;
    if wanted.confirmation.is_none() {
        let input = std::io::stdin().lock();
        if !input.is_terminal() {
            bail!("nothing was done: confirm the disk with --confirm and {what}, as the plan above says");
        }
        write!(err, "> ")?;
        let mut line = String::new();
        input.take(LINE_MAX).read_line(&mut line).context("read the confirmation")?;
        wanted.confirmation = Some(line.trim().to_owned());
    }
    Ok(wanted)
}

fn list(listing: &Listing) -> anyhow::Result<Done> {
    let access = Access::open(&listing.data.data)?;
    let DriveAnswer::Drives { policy, drives, at_risk, lost, lost_count, placements, is_searching } =
        access.drives(DriveOrder::List)?
    else {
        bail!("the appliance answered something else")
    };
    let mut out = std::io::stdout().lock();
    if listing.json {
        let value = json!({
            "policy": policy,
            "drives": drives.iter().map(row).collect::<Vec<_>>(),
            "segments_at_risk": at_risk,
            "lost": lost,
            "lost_count": lost_count,
            "sources": placements.iter().map(|one| json!({
                "source": format!("{}/{}", one.machine, one.source),
                "policy": one.policy,
            })).collect::<Vec<_>>(),
            "is_searching": is_searching,
        });
        writeln!(out, "{value:#}")?;
    } else {
        drives.iter().try_for_each(|drive| writeln!(out, "{}", line(drive)))?;
        lost.iter().try_for_each(|path| writeln!(out, "lost\t{path}"))?;
        for Placement { machine, source, policy } in &placements {
            writeln!(out, "{machine}/{source}\tkept with {policy}")?;
        }
        if is_searching {
            writeln!(
                out,
                "what these sources have is being looked for; until it is found it may have too few copies"
            )?;
        }
        let few = at_risk.saturating_sub(lost_count);
        writeln!(out, "kept with {policy}; {few} segments have too few copies, {lost_count} have none")?;
    }
    let is_whole = |drive: &DriveRow| matches!(drive.state.as_str(), "in service" | "retiring" | "retired");
    let is_well = at_risk == 0 && !is_searching && drives.iter().all(is_whole);
    Ok(if is_well { Done::Whole } else { Done::WithExceptions })
}

/// A drive for people and scripts.
fn line(drive: &DriveRow) -> String {
    let bytes =
        |bytes: Option<u64>| bytes.map_or_else(|| "-".into(), |bytes| terminal::Bytes(bytes).to_string());
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    let errors = drive.read_errors.saturating_add(drive.write_errors);
    let columns = [
        or_dash(&drive.drive),
        drive.state.clone(),
        bytes(drive.capacity_bytes),
        bytes(drive.free_bytes),
        drive.segments.to_string(),
        drive.segments_at_risk.to_string(),
        errors.to_string(),
        or_dash(&drive.place),
    ];
    let line = columns.join("\t");
    drive.reason.as_ref().map_or(line.clone(), |reason| format!("{line}\t{reason}"))
}

fn row(drive: &DriveRow) -> Value {
    json!({
        "drive": drive.drive,
        "place": drive.place,
        "state": drive.state,
        "reason": drive.reason,
        "capacity_bytes": drive.capacity_bytes,
        "free_bytes": drive.free_bytes,
        "segments": drive.segments,
        "segments_at_risk": drive.segments_at_risk,
        "read_errors": drive.read_errors,
        "write_errors": drive.write_errors,
        "mended": drive.mended,
    })
}

fn locate(data: &Data, drive: &str, seconds: u64) -> anyhow::Result<Done> {
    let disk = if is_device(Path::new(drive)) { PathBuf::from(drive) } else { disk_of(data, drive)? };
    let rhythm = Rhythm::for_time(Duration::from_secs(seconds));
    let mut out = std::io::stdout();
    writeln!(out, "{} is shown for {seconds} s; Ctrl-C ends that", disk.display())?;
    match Hardware::at(Path::new("/")).locate(&disk, rhythm, &|| false)? {
        Located::Led { slot } => writeln!(out, "the LED of slot {slot} was lit")?,
        Located::Reading { reads } => {
            writeln!(out, "it was read {reads} times, a second on and a second off")?
        }
    }
    Ok(Done::Whole)
}

/// The whole disk that a drive is on.
fn disk_of(data: &Data, drive: &str) -> anyhow::Result<PathBuf> {
    let DriveAnswer::Drives { drives, .. } = Access::open(&data.data)?.drives(DriveOrder::List)? else {
        bail!("the appliance answered something else")
    };
    let digits = |text: &str| text.to_ascii_lowercase().replace('-', "");
    let wanted = digits(drive);
    let is_meant =
        |row: &&DriveRow| row.drive.as_deref().is_some_and(|drive| digits(drive).starts_with(&wanted));
    let found: Vec<_> = drives.iter().filter(is_meant).collect();
    let [row] = found.as_slice() else {
        bail!("{} drives have a UUID that begins with {drive:?}; `keepfast drive list` has them", found.len())
    };
    let place = row.place.as_ref().context("where that drive is, is not known")?;
    let number = std::fs::metadata(place).with_context(|| format!("find {place}"))?.dev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let on_no_disk = || format!("{place} is on no disk that can be shown");
    let device = Path::new("/sys/dev/block").join(format!("{major}:{minor}"));
    let device = device.canonicalize().with_context(on_no_disk)?;
    let whole = if device.join("partition").exists() { device.parent() } else { Some(device.as_path()) };
    let name = whole.and_then(Path::file_name).with_context(on_no_disk)?;
    Ok(Path::new("/dev").join(name))
}

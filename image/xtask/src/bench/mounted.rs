//! Reading what is in a mounted point, whoever provides the mount.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::contender::Place;
use super::cost::{self, Cost};
use crate::keepfast::Mount;
use crate::process::Interruption;

/// How long a mount may take until it shows the newest point.
const SHOWN_TIME_MAX: Duration = Duration::from_secs(60);

/// Mounts, reads one file, and unmounts; the time ends with the last byte.
pub(crate) fn read(
    mount: &mut Command,
    place: &Place,
    file: &Path,
    interruption: &Interruption,
) -> Result<Cost> {
    let started = Instant::now();
    let mounted = start(mount, place, interruption)?;
    let mut opened = None;
    let mut last = None;
    // Some mounts show their points a moment after themselves.
    while opened.is_none() && started.elapsed() < SHOWN_TIME_MAX {
        interruption.check()?;
        let before = Instant::now();
        match fs::File::open(file) {
            Ok(file) => opened = Some((file, before)),
            Err(error) => last = Some(error),
        }
    }
    let Some((mut content, before)) = opened else {
        let error = last.map(|error| error.to_string()).unwrap_or_default();
        anyhow::bail!("{} did not show: {error}", file.display());
    };
    let mut byte = [0];
    content.read_exact(&mut byte).with_context(|| format!("read {}", file.display()))?;
    let first_byte = before.elapsed();
    let mut rest = byte.to_vec();
    content.read_to_end(&mut rest).with_context(|| format!("read {}", file.display()))?;
    let wall = started.elapsed();
    let wanted = fs::read(&place.file).with_context(|| format!("read {}", place.file.display()))?;
    ensure!(rest == wanted, "{} is not what was protected", file.display());
    drop(mounted);
    Ok(Cost { wall, first_byte, ..Cost::default() })
}

/// Mounts, and reads everything in a folder of the mount; the time is that of reading.
pub(crate) fn stream(
    mount: &mut Command,
    place: &Place,
    folder: &Path,
    interruption: &Interruption,
) -> Result<Cost> {
    let mounted = start(mount, place, interruption)?;
    let cost = cost::measure("sh", &["-c", &reading(place, folder)], |_| {}, None, interruption)?;
    drop(mounted);
    Ok(cost)
}

fn start(mount: &mut Command, place: &Place, interruption: &Interruption) -> Result<Mount> {
    mount.stdout(Stdio::null()).stderr(Stdio::null());
    Mount::start(mount, &place.mount, interruption)
}

/// The command that reads everything in a folder.
pub(crate) fn reading(place: &Place, folder: &Path) -> String {
    let folder = folder.display();
    // tar reads nothing if it sees that what it writes goes nowhere.
    if place.workload.is_file() {
        format!("cat {folder}/* > /dev/null")
    } else {
        format!("tar -C {folder} -cf - . | cat > /dev/null")
    }
}

//! `keepfast-agent backup`: one backup after the other, each tried again when the connection breaks.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use capture::{BackupError, Cache, Limits, Outcome};
use link::Connection;
use model::ErrorKind;
use rustix::fs::{FlockOperation, flock};
use terminal::{Done, stop_flag, told};

use crate::config::{Config, Source, make_private};
use crate::progress::{Format, Teller};
use crate::remote::Remote;

/// How long to wait before each further try after a broken connection.
const WAITS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(10), Duration::from_secs(30)];

/// The same when the appliance has something to do first, such as making room.
const WAITS_BUSY: [Duration; 16] = {
    let mut waits = [Duration::from_secs(60); 16];
    waits[0] = Duration::from_secs(3);
    waits[1] = Duration::from_secs(5);
    waits[2] = Duration::from_secs(10);
    waits[3] = Duration::from_secs(20);
    waits
};

/// How often who waits looks whether it should stop.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) fn run(data: &Path, names: &[String], format: Format) -> anyhow::Result<Done> {
    let sources = Config::load(data)?.choose(names)?;
    let _lock = exclusive(data)?;
    be_modest();
    let stop = stop_flag()?;
    let mut done = Done::Whole;
    let mut failed = None;
    for source in &sources {
        match backup(data, source, format, &stop) {
            Ok(this) => done = done.and(this),
            Err(error) if stop.load(Ordering::Relaxed) => return Err(error),
            Err(error) => {
                // The sources behind it are none the worse for it; the last line tells of the last that failed.
                let error = error.context(format!("source {}", source.name));
                if let Some(earlier) = failed.replace(error) {
                    writeln!(std::io::stderr(), "keepfast-agent: {earlier:#}")?;
                }
            }
        }
    }
    failed.map_or(Ok(done), Err)
}

/// One agent at a time works with a data directory.
pub(crate) fn exclusive(data: &Path) -> anyhow::Result<File> {
    let path = data.join("lock");
    let file = File::create(&path).with_context(|| format!("make {}", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            bail!("another backup of this agent is running; wait for it, or stop it first")
        }
        Err(error) => Err(error).with_context(|| format!("lock {}", path.display())),
    }
}

/// Others come first.
pub(crate) fn be_modest() {
    // Only a wish: where it is refused the backup runs as it is.
    let _ = rustix::process::setpriority_process(None, 10);
}

/// Backs one source up.
pub(crate) fn backup(
    data: &Path,
    source: &Source,
    format: Format,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<Done> {
    let teller = Teller::new(&source.name, format)?;
    let (mut waits, mut waits_busy) = (WAITS.iter(), WAITS_BUSY.iter());
    let outcome = loop {
        match try_once(data, source, &teller, stop) {
            Ok(outcome) => break outcome,
            Err(Trouble::Broken(error)) if !stop.load(Ordering::Relaxed) => match waits.next() {
                Some(wait) => pause(*wait, stop),
                None => {
                    teller.end();
                    return Err(error)
                        .context("the appliance cannot be reached; asking again goes on from here");
                }
            },
            Err(Trouble::Busy(error)) if !stop.load(Ordering::Relaxed) => match waits_busy.next() {
                Some(wait) => {
                    let seconds = wait.as_secs();
                    teller.waits(&format!("{error:#}; trying again in {seconds} s"));
                    pause(*wait, stop);
                }
                None => {
                    teller.end();
                    return Err(error)
                        .context("the appliance had other things to do for a quarter of an hour");
                }
            },
            Err(Trouble::Broken(error) | Trouble::Busy(error) | Trouble::Other(error)) => {
                teller.end();
                return Err(error);
            }
        }
    };
    teller.end();
    told(report(source, &outcome, &teller))?;
    Ok(Done::with(outcome.exceptions_count))
}

/// Waits, but not for who wants to stop.
fn pause(wait: Duration, stop: &AtomicBool) {
    let began = Instant::now();
    while began.elapsed() < wait && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(wait.saturating_sub(began.elapsed()).min(LOOK));
    }
}

/// Why a try did not end in a point.
enum Trouble {
    /// The connection; another try may do.
    Broken(anyhow::Error),
    /// The appliance has something to do first; another try may do.
    Busy(anyhow::Error),
    /// Something that another try would meet again.
    Other(anyhow::Error),
}

fn try_once(
    data: &Path,
    source: &Source,
    teller: &Teller,
    stop: &Arc<AtomicBool>,
) -> Result<Outcome, Trouble> {
    let connection = Connection::connect(data).map_err(|error| match error.kind() {
        ErrorKind::Io | ErrorKind::Busy => Trouble::Broken(error.into()),
        _ => Trouble::Other(error.into()),
    })?;
    let connection = Arc::new(connection);
    connection.stop_with(Arc::clone(stop));
    let welcome = connection.welcome();
    let (Some(_), Some(naming)) = (&welcome.machine, &welcome.naming_key) else {
        let cause = "the appliance does not know this agent; join it with a new token";
        return Err(Trouble::Other(anyhow::anyhow!(cause)));
    };
    let config = source.scan(data).map_err(Trouble::Other)?;
    let cache = Cache::new(&private_cache(data).map_err(Trouble::Other)?);
    let remote = Remote(Arc::clone(&connection));
    let outcome = capture::backup(&config, &cache, &remote, naming, &Limits::default(), teller, stop);
    outcome.map_err(|error| {
        let is_busy =
            matches!(&error, BackupError::Appliance { source, .. } if source.kind == ErrorKind::Busy);
        match (connection.is_broken(), is_busy) {
            (true, _) => Trouble::Broken(error.into()),
            (false, true) => Trouble::Busy(error.into()),
            (false, false) => Trouble::Other(error.into()),
        }
    })
}

/// Where the cache is: names of all that is protected, for nobody else to see.
fn private_cache(data: &Path) -> anyhow::Result<PathBuf> {
    let path = data.join("cache");
    make_private(&path)?;
    let closed = fs::set_permissions(&path, fs::Permissions::from_mode(0o700));
    closed.with_context(|| format!("close {} to others", path.display()))?;
    Ok(path)
}

fn report(source: &Source, outcome: &Outcome, teller: &Teller) -> io::Result<()> {
    let (point, totals) = (&outcome.point, &outcome.totals);
    if teller.is_json() {
        teller.say(&serde_json::json!({
            "source": source.name,
            "point": point.id,
            "sequence": point.sequence.0,
            "files": totals.files,
            "bytes": totals.bytes,
            "files_read": totals.files_read,
            "bytes_read": totals.bytes_read,
            "bytes_sent": totals.bytes_sent,
            "exceptions": outcome.exceptions_count,
        }));
        return Ok(());
    }
    writeln!(
        std::io::stdout(),
        "{}@{}: {} files, {} bytes; {} read, {} bytes sent; {} exceptions",
        source.name,
        point.id,
        totals.files,
        totals.bytes,
        totals.files_read,
        totals.bytes_sent,
        outcome.exceptions_count
    )
}

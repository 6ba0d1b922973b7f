//! A pool on drives of its own, each a loop device, which can be pulled and brought back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::history::History;
use crate::loopback::{Filesystem, LoopDisk};
use crate::program::{Running, expect, run};
use crate::site::Site;

/// How long the appliance may take to put things in order by itself.
const ORDER_MAX: Duration = Duration::from_secs(60);
/// Bytes of a drive.
pub const DRIVE_BYTES: u64 = 96 << 20;

/// A pool on drives of its own.
#[derive(Debug)]
pub struct Fleet {
    /// The appliance.
    pub site: Site,
    /// The drives, also those that are pulled.
    pub disks: Vec<LoopDisk>,
    /// The data directory of the appliance is on it.
    _start: LoopDisk,
    /// Drives that are not mounted.
    away: BTreeSet<usize>,
}

impl Fleet {
    /// So many drives; the folder with which every pool begins is retired.
    pub fn start(drives: usize, policy: &[&str]) -> Result<Self> {
        let disks =
            (0..drives).map(|_| LoopDisk::new(Filesystem::Ext4, DRIVE_BYTES)).collect::<Result<_>>()?;
        // Of the size of the others: what is kept free for giving room back is on every drive.
        let start = LoopDisk::new(Filesystem::Ext4, DRIVE_BYTES)?;
        let site = Site::start_on(&start.path().join("appliance"))?;
        let fleet = Self { site, disks, _start: start, away: BTreeSet::new() };
        for number in 0..fleet.disks.len() {
            fleet.add(&fleet.place(number), if number == 0 { policy } else { &[] })?;
        }
        let first = fleet.site.data().join("pool");
        fleet.site.operate(&["drive", "retire", &fleet.drive_at(&first)?])?;
        fleet.wait_for("the first folder is retired", |found| row_at(found, &first).is_none())?;
        Ok(fleet)
    }

    /// Adds a directory as a drive.
    pub fn add(&self, place: &Path, policy: &[&str]) -> Result<()> {
        self.site.operate(&[&["drive", "add", text(place)], policy].concat()).map(drop)
    }

    /// `keepfast drive list`.
    pub fn list(&self) -> Result<Value> {
        let output = run(&mut self.site.keepfast(&["drive", "list", "--json"])?)?;
        ensure!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// The UUID of the drive at a place.
    pub fn drive_at(&self, place: &Path) -> Result<String> {
        let row =
            row_at(&self.list()?, place).with_context(|| format!("no drive is at {}", place.display()))?;
        Ok(row["drive"].as_str().context("a drive has a UUID")?.to_owned())
    }

    /// Waits until something is so of the list of drives.
    pub fn wait_for(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<()> {
        let begun = Instant::now();
        loop {
            let found = self.list()?;
            if is_so(&found) {
                return Ok(());
            }
            if begun.elapsed() > ORDER_MAX {
                bail!("{what}: not so after {ORDER_MAX:?}: {found:#}\n{}", self.site.log()?);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until everything has all its copies.
    pub fn wait_until_healed(&self) -> Result<()> {
        self.wait_for("copies are made", |found| found["segments_at_risk"] == 0 && found["lost_count"] == 0)
    }

    /// Waits until the appliance knows that drives are out.
    pub fn wait_until_out(&self, drives: &[usize]) -> Result<()> {
        let places: Vec<PathBuf> = drives.iter().map(|drive| self.place(*drive)).collect();
        self.wait_for("drives are out", |found| places.iter().all(|place| is_out(found, place)))
    }

    /// How often the appliance has said something.
    pub fn count(&self, words: &str) -> Result<usize> {
        Ok(self.site.log()?.matches(words).count())
    }

    /// Waits until the appliance has said something more often than so many times.
    pub fn wait_until_said(&self, words: &str, before: usize) -> Result<()> {
        self.wait_for(words, |_| self.count(words).is_ok_and(|count| count > before))
    }

    /// Makes so many points, each in segments of its own.
    pub fn make_points(&mut self, history: &mut History, count: usize) -> Result<()> {
        for _ in 0..count {
            history.change()?;
            expect(&mut self.site.agent(&["backup"])?, 0)?;
            history.settle(&self.site, true)?;
            self.restart()?;
        }
        Ok(())
    }

    /// Stops the appliance and starts it again.
    pub fn restart(&mut self) -> Result<()> {
        self.site.stop_server()?;
        self.site.start_server()
    }

    /// Waits until there are so many files of parity.
    pub fn wait_for_parity(&self, files_min: usize) -> Result<()> {
        let files = |disk: &LoopDisk| {
            std::fs::read_dir(disk.path().join("pool/parity")).map_or(0, std::iter::Iterator::count)
        };
        self.wait_for("parity is made", |_| self.disks.iter().map(files).sum::<usize>() >= files_min)
    }

    /// Where a drive is mounted.
    #[must_use]
    pub fn place(&self, drive: usize) -> PathBuf {
        self.disks[drive].path()
    }

    /// Pulls a drive.
    pub fn pull(&self, drive: usize) -> Result<()> {
        self.disks[drive].cut_power()
    }

    /// Unmounts a drive that nobody uses.
    pub fn take_away(&mut self, drive: usize) -> Result<()> {
        self.disks[drive].unmount()?;
        self.away.insert(drive);
        Ok(())
    }

    /// Plugs a drive in again and takes it back.
    pub fn bring_back(&mut self, drive: usize) -> Result<()> {
        ensure!(self.begin_return(drive)?.wait()?.success(), "{}", self.site.log()?);
        self.wait_until_back(drive)
    }

    /// Plugs a drive in again and has it taken back.
    pub fn begin_return(&mut self, drive: usize) -> Result<Running> {
        let begun = Instant::now();
        // Files of it that are open are let go of one by one.
        while !self.away.remove(&drive)
            && let Err(error) = self.disks[drive].unmount()
        {
            ensure!(begun.elapsed() < ORDER_MAX, "{error}");
            std::thread::sleep(Duration::from_millis(100));
        }
        self.disks[drive].mount()?;
        Running::start(&mut self.site.keepfast(&["drive", "rejoin", text(&self.place(drive))])?)
    }

    /// Waits until a drive is in service.
    pub fn wait_until_back(&self, drive: usize) -> Result<()> {
        let place = self.place(drive);
        self.wait_for("the drive is back", |found| {
            row_at(found, &place).is_some_and(|row| row["state"] == "in service")
        })
    }
}

/// A path as it is said to programs.
#[must_use]
pub fn text(path: &Path) -> &str {
    path.to_str().expect("the folders of tests have names that are text")
}

/// The row of a drive that is at a place, in a list.
#[must_use]
pub fn row_at(list: &Value, place: &Path) -> Option<Value> {
    let is_there = |row: &&Value| row["place"].as_str().is_some_and(|at| Path::new(at).starts_with(place));
    list["drives"].as_array()?.iter().find(is_there).cloned()
}

fn is_out(found: &Value, place: &Path) -> bool {
    row_at(found, place).is_some_and(|row| row["state"] == "out")
}

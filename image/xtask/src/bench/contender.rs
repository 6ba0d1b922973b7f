//! Who takes part: what every contender can do, and where it does it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cost::{Cost, Step};
use super::ours::Ours;
use super::peer::{self, Peer};
use super::source::{Source, Workload};
use crate::keepfast::{Appliance, Programs};
use crate::process::Interruption;

/// A way to protect files.
pub(crate) trait Contender {
    /// As it stands in tables.
    fn name(&self) -> &str;

    /// Makes an empty repository.
    fn prepare(&self, place: &Place, interruption: &Interruption) -> Result<Session>;

    /// Takes a step, or none if it has no such step.
    fn carry_out(
        &self,
        step: Step,
        session: &mut Session,
        place: &Place,
        interruption: &Interruption,
    ) -> Result<Option<Cost>>;

    /// Where the source is after a full restore.
    fn restored(&self, place: &Place) -> PathBuf;
}

/// What runs beside a contender as long as its repository exists.
pub(crate) struct Session(pub(crate) Option<Appliance>);

/// The folders of one contender in one round.
pub(crate) struct Place {
    /// What kind of data it is.
    pub(crate) workload: Workload,
    /// How many bytes.
    pub(crate) bytes: u64,
    /// What is to be protected.
    pub(crate) source: PathBuf,
    /// One file of it.
    pub(crate) file: PathBuf,
    /// What it stores.
    pub(crate) repository: PathBuf,
    /// What it needs besides: keys, caches.
    pub(crate) state: PathBuf,
    /// Where it restores to.
    pub(crate) output: PathBuf,
    /// Where it mounts.
    pub(crate) mount: PathBuf,
}

impl Place {
    /// Makes the folders of a contender below `folder`; where it restores to is not there yet.
    pub(crate) fn make(folder: &Path, source: &Source) -> Result<Self> {
        let below = |name: &str| folder.join(name);
        let place = Self {
            workload: source.workload(),
            bytes: source.bytes(),
            source: source.folder().to_owned(),
            file: source.one_file(),
            repository: below("repository"),
            state: below("state"),
            output: below("output"),
            mount: below("mount"),
        };
        for folder in [&place.repository, &place.state, &place.mount] {
            std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        }
        Ok(place)
    }
}

/// Keepfast, and all others that this machine has, or those of them that are asked for.
pub(crate) fn all<'a>(programs: &'a Programs, only: &[String]) -> Vec<Box<dyn Contender + 'a>> {
    let mut all: Vec<Box<dyn Contender + 'a>> = vec![Box::new(Ours::new(programs))];
    let is_asked_for = |peer: &Peer| only.is_empty() || only.iter().any(|name| name == peer.name());
    all.extend(peer::installed().filter(is_asked_for).map(|peer| Box::new(peer) as Box<dyn Contender>));
    all
}

/// An absolute path below a folder that stands for `/`.
pub(crate) fn inside(folder: &Path, path: &Path) -> PathBuf {
    folder.join(path.strip_prefix("/").unwrap_or(path))
}

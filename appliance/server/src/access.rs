//! How the operator's commands reach the pool: through the program that has it open, or else directly.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use link::{Connection, RemoteArchive};
use model::Time;
use model::archive::{Archive, resolve};
use model::path::split_path;
use model::record::{Label, Point, Source};
use model::{EntryName, When};
use wire::{Peer, Reply, Request};

use crate::appliance::Appliance;
use crate::data::DataDirectory;
use crate::listen::Service;
use crate::storage::Storage;

/// A way to the pool.
pub(crate) enum Access {
    /// Through the operator's socket.
    Socket(Arc<Connection>),
    /// In this process.
    Direct(Appliance),
}

impl Access {
    /// Asks the running program, or opens the pool if none runs.
    pub(crate) fn open(data: &Path) -> anyhow::Result<Self> {
        let data = DataDirectory::new(data);
        if data.socket().exists()
            && let Ok(connection) = Connection::local(&data.socket())
        {
            return Ok(Self::Socket(Arc::new(connection)));
        }
        let storage = Storage::start(data.open()?).context("start the writer of the pool")?;
        Ok(Self::Direct(Appliance::new(storage)))
    }

    /// Everything that can be read.
    pub(crate) fn archive(&self) -> Arc<dyn Archive> {
        match self {
            Self::Socket(connection) => Arc::new(RemoteArchive::new(Arc::clone(connection))),
            Self::Direct(appliance) => appliance.archive(&Peer::Local),
        }
    }

    /// Asks for what only an operator may.
    pub(crate) fn ask(&self, request: Request) -> anyhow::Result<Reply> {
        let reply = match self {
            Self::Socket(connection) => connection.request(request)?.0,
            Self::Direct(appliance) => appliance.admin(request)?,
        };
        match reply {
            Reply::Failed { error, .. } => Err(error.into()),
            other => Ok(other),
        }
    }
}

/// `MACHINE/SOURCE@WHEN[:PATH]`.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    machine: Label,
    source: Label,
    when: When,
    /// Below the root of the point.
    pub(crate) path: Vec<EntryName>,
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("{text:?} is not of the form MACHINE/SOURCE@WHEN[:PATH]");
        let (source, rest) = text.split_once('@').ok_or_else(form)?;
        let (machine, source) = source.split_once('/').ok_or_else(form)?;
        let label = |text| Label::new(text).map_err(|e| e.to_string());
        // An instant and seq:N have colons of their own: the path begins at the first colon behind which stands
        // something that makes the part before it a moment.
        let colons = rest.match_indices(':').map(|(at, _)| at);
        let cuts = std::iter::once(rest.len()).chain(colons);
        let read = |at: usize| Some((When::parse(rest.get(..at)?)?, rest.get(at + 1..).unwrap_or_default()));
        let (when, path) = cuts.filter_map(read).next().ok_or_else(|| {
            format!("{rest:?} is not a moment; say latest, 2026-11-20T10:32:11Z, 5m-ago, seq:N or a point id")
        })?;
        let path = split_path(path.as_bytes()).map_err(|e| e.to_string())?;
        Ok(Self { machine: label(machine)?, source: label(source)?, when, path })
    }
}

impl Place {
    /// The point that is meant.
    pub(crate) fn find(&self, archive: &dyn Archive, now: Time) -> anyhow::Result<Point> {
        let machines = archive.machines()?;
        let machine = machines.into_iter().find(|m| m.label == self.machine);
        let machine = machine.with_context(|| format!("there is no machine {}", self.machine))?;
        let of_machine = |s: &Source| s.machine == machine.id && s.label == self.source;
        let source = archive.sources()?.into_iter().find(of_machine);
        let source =
            source.with_context(|| format!("machine {} has no source {}", self.machine, self.source))?;
        let points = archive.points(source.id)?;
        let point = resolve(&points, &self.when, now).cloned().with_context(|| {
            format!("{}/{} has no point then; `keepfast points` lists them", self.machine, self.source)
        })?;
        Ok(point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_with_and_without_path() {
        let place: Place = "web1/home@latest".parse().unwrap();
        assert!(place.path.is_empty() && place.when == When::Latest);
        let place: Place = "web1/home@latest:/etc/passwd".parse().unwrap();
        assert_eq!(place.path.len(), 2);
        let place: Place = "web1/home@2026-11-20T10:32:11Z:etc".parse().unwrap();
        assert_eq!(
            (place.path.len(), place.when),
            (1, When::Instant(Time::parse("2026-11-20T10:32:11Z").unwrap()))
        );
        let place: Place = "web1/home@seq:12:a:b".parse().unwrap();
        assert_eq!(place.path.first().unwrap().as_bytes(), b"a:b");
        for bad in
            ["web1", "web1/home", "web1@latest", "web1/home@yesterday", "web1/home@latest:../x", "/@latest"]
        {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}

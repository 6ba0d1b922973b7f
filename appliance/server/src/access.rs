//! How the operator's commands reach the pool: through the program that has it open, or else directly.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use host::HostClock;
use link::{Connection, RemoteArchive};
use medium::Clock;
use model::Place;
use model::archive::{Archive, PointKey};
use wire::drive::{DriveAnswer, DriveOrder};
use wire::keeping::{Kept, Order};
use wire::{Peer, Reply, Request};

use crate::appliance::Appliance;
use crate::data::{DataDirectory, OpenedPool};
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
        let OpenedPool { pool, rack, .. } = data.open()?;
        let storage = Storage::start(pool, None).context("start the writer of the pool")?;
        Ok(Self::Direct(Appliance::new(storage, Arc::new(rack), Arc::default(), Arc::default())))
    }

    /// Everything that can be read.
    pub(crate) fn archive(&self) -> Arc<dyn Archive> {
        match self {
            Self::Socket(connection) => Arc::new(RemoteArchive::new(Arc::clone(connection))),
            Self::Direct(appliance) => appliance.reader(&Peer::Local).archive(),
        }
    }

    /// The point that is meant.
    pub(crate) fn find(&self, place: &Place) -> anyhow::Result<PointKey> {
        Ok(place.find(&*self.archive(), None, HostClock.now())?.key())
    }

    /// Gives an order about what is kept.
    pub(crate) fn keep(&self, order: Order) -> anyhow::Result<Kept> {
        match self.ask(Request::Keep { order })? {
            Reply::Kept { answer } => Ok(answer),
            _ => anyhow::bail!("the appliance answered something else"),
        }
    }

    /// Gives an order about the drives.
    pub(crate) fn drives(&self, order: DriveOrder) -> anyhow::Result<DriveAnswer> {
        match self.ask(Request::Drives { order })? {
            Reply::Drives { answer } => Ok(answer),
            _ => anyhow::bail!("the appliance answered something else"),
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

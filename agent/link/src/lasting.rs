//! An archive that outlives its connection: for mounts, which stay for days.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::archive::{Archive, ArchiveError, Change, PointKey, SharedBytes};
use model::item::{Item, ItemKey};
use model::record::{Machine, Point, Source};
use model::{ErrorKind, Name, SourceId};
use tracing::{info, warn};

use crate::{Connection, LinkError, RemoteArchive};

/// How long to wait after a failed attempt before the next one; who asks meanwhile hears of the failure at once.
const PAUSE: Duration = Duration::from_secs(1);

type Connect = Box<dyn Fn() -> Result<Connection, LinkError> + Send + Sync>;

/// What can be read of an appliance, over a connection that is made anew when it breaks.
pub struct LastingArchive {
    connect: Connect,
    state: Mutex<State>,
}

struct State {
    archive: Arc<RemoteArchive>,
    /// The last attempt that failed, and why.
    failed: Option<(Instant, ArchiveError)>,
}

impl LastingArchive {
    /// Connects, and keeps the way in which to do it again.
    ///
    /// # Errors
    /// The first connection fails.
    pub fn connect(
        connect: impl Fn() -> Result<Connection, LinkError> + Send + Sync + 'static,
    ) -> Result<Self, LinkError> {
        let archive = Arc::new(RemoteArchive::new(Arc::new(connect()?)));
        Ok(Self { connect: Box::new(connect), state: Mutex::new(State { archive, failed: None }) })
    }

    /// The archive of a connection that works, as far as is known.
    fn archive(&self) -> Result<Arc<RemoteArchive>, ArchiveError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.archive.connection().is_broken() {
            return Ok(Arc::clone(&state.archive));
        }
        if let Some((_, error)) = state.failed.as_ref().filter(|(at, _)| at.elapsed() < PAUSE) {
            return Err(error.clone());
        }
        match (self.connect)() {
            Ok(connection) => {
                info!("connected again");
                *state = State { archive: Arc::new(RemoteArchive::new(Arc::new(connection))), failed: None };
                Ok(Arc::clone(&state.archive))
            }
            Err(error) => {
                let error = ArchiveError::from(error);
                warn!(%error, "the appliance cannot be reached");
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Asks; once more if the connection broke meanwhile, which every question stands.
    fn ask<T>(&self, ask: impl Fn(&RemoteArchive) -> Result<T, ArchiveError>) -> Result<T, ArchiveError> {
        let archive = self.archive()?;
        match ask(&archive) {
            Err(error) if error.kind == ErrorKind::Io && archive.connection().is_broken() => {
                ask(&*self.archive()?)
            }
            result => result,
        }
    }
}

impl Archive for LastingArchive {
    fn machines(&self) -> Result<Vec<Machine>, ArchiveError> {
        self.ask(RemoteArchive::machines)
    }

    fn sources(&self) -> Result<Vec<Source>, ArchiveError> {
        self.ask(RemoteArchive::sources)
    }

    fn points(&self, source: SourceId) -> Result<Vec<Point>, ArchiveError> {
        self.ask(|archive| archive.points(source))
    }

    fn damaged(&self, source: SourceId) -> Result<BTreeMap<u64, u64>, ArchiveError> {
        self.ask(|archive| archive.damaged(source))
    }

    fn point(&self, key: PointKey) -> Result<Point, ArchiveError> {
        self.ask(|archive| archive.point(key))
    }

    fn item(&self, point: PointKey, key: &ItemKey) -> Result<Option<Item>, ArchiveError> {
        self.ask(|archive| archive.item(point, key))
    }

    fn items(
        &self,
        point: PointKey,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(ItemKey, Item)>, ArchiveError> {
        self.ask(|archive| archive.items(point, from, to, limit))
    }

    fn item_at_or_before(
        &self,
        point: PointKey,
        from: &[u8],
        at: &[u8],
    ) -> Result<Option<(ItemKey, Item)>, ArchiveError> {
        self.ask(|archive| archive.item_at_or_before(point, from, at))
    }

    fn changes(
        &self,
        before: PointKey,
        after: PointKey,
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<Change>, ArchiveError> {
        self.ask(|archive| archive.changes(before, after, from, limit))
    }

    fn chunks(
        &self,
        point: PointKey,
        names: &[Name],
    ) -> Result<Vec<Result<SharedBytes, ArchiveError>>, ArchiveError> {
        self.ask(|archive| archive.chunks(point, names))
    }

    fn places(&self, point: PointKey, names: &[Name]) -> Result<Vec<u64>, ArchiveError> {
        self.ask(|archive| archive.places(point, names))
    }
}

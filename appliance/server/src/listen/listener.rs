//! The doors as a whole: opened, served, and closed again.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::accept::accept_all;
use super::admission::Admission;
use super::agents::Agents;
use super::arrival::{conclude, serve_network, serve_operator};
use super::error::Ending;
use super::limits::{ADMIN_MAX, LOCAL_MAX, LOOKUPS_MAX, SESSIONS_MAX};
use super::refusals::Refusals;
use super::socket::OperatorSocket;
use super::verify::Verifiers;
use super::{Authority, Limits, ListenError, Service, tls};

/// Connections that wait to be accepted; the system may allow fewer.
const BACKLOG: u32 = 4096;

/// Where to listen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Addresses of the network; port 0 means any.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The operator's socket.
    pub(crate) socket: Option<PathBuf>,
    /// How much peers may take.
    pub(crate) limits: Limits,
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) service: Arc<dyn Service>,
    pub(crate) limits: Limits,
    pub(crate) tls: TlsAcceptor,
    pub(crate) admission: Admission,
    pub(crate) refusals: Refusals,
    pub(crate) agents: Arc<Agents>,
    pub(crate) verifiers: Verifiers,
    /// Questions about what is stored that are worked on.
    pub(crate) reads: Semaphore,
    /// Requests of operators that are worked on.
    pub(crate) admin: Semaphore,
    /// Short questions to the service that are worked on.
    pub(crate) lookups: Semaphore,
    /// Backups that run.
    pub(crate) sessions: Arc<Semaphore>,
}

/// Doors that are open; nobody is let in before [`Listener::run`].
pub(crate) struct Listener {
    network: Vec<TcpListener>,
    operator: Option<OperatorSocket>,
    shared: Arc<Shared>,
}

impl Listener {
    /// Opens the doors, under a certificate that `authority` issues.
    pub(crate) async fn open(
        service: Arc<dyn Service>,
        authority: &Authority,
        options: &Options,
    ) -> Result<Self, ListenError> {
        let mut network = Vec::new();
        for &address in &options.addresses {
            network.push(bind(address).map_err(|source| ListenError::Tcp { address, source })?);
        }
        let operator = options.socket.as_deref().map(OperatorSocket::bind).transpose()?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let shared = Shared {
            service,
            limits: options.limits,
            tls: tls::acceptor(authority)?,
            admission: Admission::new(options.limits),
            refusals: Refusals::new(),
            agents: Arc::default(),
            verifiers: Verifiers::start(processors).map_err(ListenError::Threads)?,
            reads: Semaphore::new((processors * 2).max(4)),
            admin: Semaphore::new(ADMIN_MAX),
            lookups: Semaphore::new(LOOKUPS_MAX),
            sessions: Arc::new(Semaphore::new(SESSIONS_MAX)),
        };
        Ok(Self { network, operator, shared: Arc::new(shared) })
    }

    /// The addresses of the network that it listens on.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.network.iter().filter_map(|door| door.local_addr().ok()).collect()
    }

    /// Lets peers in until `stop` is true; returns when connections and backups have ended, or the limit for
    /// stopping is over.
    pub(crate) async fn run(self, stop: watch::Receiver<bool>) {
        let Self { network, operator, shared } = self;
        // Every connection holds a clone; the last one that goes ends the wait.
        let (alive, mut all_gone) = mpsc::channel::<()>(1);
        let mut doors = JoinSet::new();
        doors.spawn(Arc::clone(&shared.agents).watch(
            Arc::clone(&shared.service),
            shared.limits.recheck,
            stop.clone(),
        ));
        for door in network {
            let (shared, alive, stopping) = (Arc::clone(&shared), alive.clone(), stop.clone());
            doors.spawn(accept_all(door, stop.clone(), move |_, (stream, address)| {
                let place = match shared.admission.admit(address.ip()) {
                    Ok(place) => place,
                    Err(ending) => {
                        return conclude(&shared, &address.ip().to_string(), &address, &ending);
                    }
                };
                let serving = serve_network(stream, address, place, Arc::clone(&shared), stopping.clone());
                spawn_with(alive.clone(), serving);
            }));
        }
        if let Some(door) = operator {
            let (shared, alive, stopping) = (Arc::clone(&shared), alive.clone(), stop.clone());
            let places = Arc::new(Semaphore::new(LOCAL_MAX));
            doors.spawn(accept_all(door, stop, move |door, stream| {
                match admit_operator(door, &stream, &places) {
                    Ok(place) => {
                        let serving = serve_operator(stream, Arc::clone(&shared), stopping.clone());
                        spawn_with((alive.clone(), place), serving);
                    }
                    Err(ending) => conclude(&shared, "operator", &"operator", &ending),
                }
            }));
        }
        while let Some(ended) = doors.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a door has panicked");
            }
        }
        drop(alive);
        let limit = shared.limits.stop;
        let ending = async {
            all_gone.recv().await;
            drop(shared.sessions.acquire_many(u32::try_from(SESSIONS_MAX).unwrap_or(u32::MAX)).await);
        };
        if timeout(limit, ending).await.is_err() {
            tracing::warn!(
                seconds = limit.as_secs(),
                "backups were still running when the appliance stopped"
            );
        }
    }
}

/// Listens on an address, with room for all machines of a site that come at once.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // After a restart, connections of the last run must not keep the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Lets an operator in if it is one and there is a place.
fn admit_operator(
    door: &OperatorSocket,
    stream: &UnixStream,
    places: &Arc<Semaphore>,
) -> Result<OwnedSemaphorePermit, Ending> {
    door.check(stream)?;
    Arc::clone(places).try_acquire_owned().map_err(|_| Ending::Crowded(LOCAL_MAX))
}

/// Starts a task that holds `kept` until it ends.
fn spawn_with(kept: impl Send + 'static, serving: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(async move {
        serving.await;
        drop(kept);
    });
}

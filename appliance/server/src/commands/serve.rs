//! `keepfast serve`: the appliance itself.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use host::HostClock;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use terminal::Done;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::appliance::Appliance;
use crate::cli::Data;
use crate::data::DataDirectory;
use crate::keeping::{Figures, Keeper, Refusals};
use crate::listen::{Limits, Listener, Options, Service};
use crate::rack::Tender;
use crate::scrubbing::Scrubber;
use crate::storage::Storage;

/// How long work under way may go on after the doors are closed: a verification of the whole pool takes hours and
/// loses nothing when it is cut off.
const STOP_MAX: Duration = Duration::from_secs(10);

pub(crate) fn run(data: &Data, listen: &[SocketAddr], announce: Vec<String>) -> anyhow::Result<Done> {
    allow_descriptors();
    let directory = DataDirectory::new(&data.data);
    let opened = directory.open_or_create()?;
    if let Some(recovery) = &opened.recovery {
        let mut err = std::io::stderr().lock();
        writeln!(err, "A pool was made in {}.", data.data.display())?;
        writeln!(err, "Its recovery key, shown only now; write it down and keep it away from here:\n")?;
        writeln!(err, "    {}\n", recovery.as_str())?;
    }
    for damage in opened.pool.shared().damage() {
        warn!(damage, "found when the pool was opened");
    }
    let (figures, refusals) = (Arc::new(Figures::default()), Arc::new(Refusals::default()));
    let (clock, boot) = (Arc::new(HostClock), host::boot_id());
    let (its_figures, its_refusals) = (Arc::clone(&figures), Arc::clone(&refusals));
    let keeper = Keeper::new(opened.pool.shared(), clock, boot, its_figures, its_refusals);
    let storage = Storage::start(opened.pool, Some(keeper)).context("start the writer of the pool")?;
    let rack = Arc::new(opened.rack);
    let appliance = Arc::new(Appliance::new(storage, Arc::clone(&rack), figures, refusals));
    let scrubber =
        Scrubber::start(Arc::clone(appliance.storage()), Arc::clone(&rack)).context("start the scrub")?;
    let tender = Tender::start(rack, Arc::clone(appliance.storage()), scrubber.waker());
    let tender = tender.context("start the tender of the drives")?;
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    runtime.block_on(serve(Arc::clone(&appliance), &directory, listen, announce))?;
    drop(tender);
    drop(scrubber);
    runtime.shutdown_timeout(STOP_MAX);
    info!("the appliance has stopped");
    Ok(Done::Whole)
}

/// Takes all the descriptors that this process may have: services are started with 1,024, and idle connections
/// alone can be more.
fn allow_descriptors() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        warn!(%error, "the limit of descriptors cannot be raised; fewer connections are taken at a time");
    }
}

async fn serve(
    appliance: Arc<Appliance>,
    directory: &DataDirectory,
    listen: &[SocketAddr],
    announce: Vec<String>,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let authority = appliance.authority()?;
    let options =
        Options { addresses: listen.to_vec(), socket: Some(directory.socket()), limits: Limits::default() };
    let service: Arc<dyn Service> = Arc::clone(&appliance) as Arc<dyn Service>;
    let listener = Listener::open(service, authority, &options).await?;
    let addresses: Vec<String> = listener.addresses().iter().map(ToString::to_string).collect();
    appliance.set_addresses(if announce.is_empty() { &addresses } else { &announce })?;
    info!(addresses = addresses.join(" "), "the appliance is listening");
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let running = tokio::spawn(listener.run(stopped));
    tokio::select! {
        _ = terminate.recv() => info!("asked to stop"),
        _ = interrupt.recv() => info!("interrupted"),
    }
    stop.send_replace(true);
    running.await.context("the listener ended in a panic")
}

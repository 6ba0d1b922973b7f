//! A connection from its first byte until it is clear who is at the other end.

use std::net::SocketAddr;
use std::sync::Arc;

use chunk::NamingKey;
use model::ErrorKind;
use model::archive::ArchiveError;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::server::TlsStream;
use tracing::Instrument;
use wire::Peer;
use wire::message::ALPN;

use super::admission::Place;
use super::error::Ending;
use super::limits::HANDSHAKE_LENGTH_MAX;
use super::listener::Shared;
use super::peer::{Who, converse, turn_away};
use super::socket::{Rationed, keep_alive};
use super::web;

type Tls = TlsStream<Rationed<TcpStream>>;

/// Serves a connection of the network until it ends, and says in the log if the peer was refused.
pub(crate) async fn serve_network(
    stream: TcpStream,
    address: SocketAddr,
    place: Place,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
) {
    let ending = arrive(stream, address, place, &shared, stop).await;
    conclude(&shared, &address.ip().to_string(), &address, &ending);
}

async fn arrive(
    stream: TcpStream,
    address: SocketAddr,
    place: Place,
    shared: &Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) -> Ending {
    let arrived = Instant::now();
    let shaking = shake_hands(stream, arrived, shared);
    let stream = tokio::select! {
        shaken = shaking => match shaken {
            Ok(stream) => stream,
            Err(ending) => return ending,
        },
        _ = stop.wait_for(|stop| *stop) => return Ending::Stopping,
    };
    if stream.get_ref().1.alpn_protocol() == Some(ALPN) {
        // Boxed, because whoever has not come this far shall not take the memory of those who have.
        return Box::pin(receive_agent(stream, address, arrived, place, Arc::clone(shared), stop)).await;
    }
    let serving = Box::pin(web::serve(stream, shared.limits.greeting));
    tokio::select! {
        served = serving => served.err().unwrap_or(Ending::Closed),
        _ = stop.wait_for(|stop| *stop) => Ending::Stopping,
    }
}

async fn shake_hands(stream: TcpStream, arrived: Instant, shared: &Shared) -> Result<Tls, Ending> {
    keep_alive(&stream)?;
    let accepting = shared.tls.accept(Rationed::new(stream, HANDSHAKE_LENGTH_MAX));
    let limit = shared.limits.greeting;
    let mut stream = timeout_at(arrived + limit, Box::pin(accepting))
        .await
        .map_err(|_| Ending::NoGreeting(limit))?
        .map_err(Ending::Handshake)?;
    stream.get_mut().0.lift();
    Ok(stream)
}

/// Talks with whoever has the key of the client certificate.
async fn receive_agent(
    stream: Tls,
    address: SocketAddr,
    arrived: Instant,
    place: Place,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
) -> Ending {
    let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let Some(key_hash) = leaf.and_then(|leaf| link::public_key_hash(leaf)) else {
        return turn_away(stream, Ending::NoCertificate, &shared).await;
    };
    let who = match look_up(key_hash, arrived, &shared).await {
        Ok(who) => who,
        Err(error) => return turn_away(stream, Ending::Lookup(error), &shared).await,
    };
    let machine = who.machine.as_ref().map_or("unknown", |(machine, _)| machine.label.as_str());
    let span = tracing::info_span!("peer", machine, %address);
    converse(stream, who, Some(place), shared, stop).instrument(span).await
}

async fn look_up(key_hash: [u8; 32], arrived: Instant, shared: &Shared) -> Result<Who, ArchiveError> {
    let _permit = shared.lookups.acquire().await;
    let service = Arc::clone(&shared.service);
    let looking = tokio::task::spawn_blocking(move || {
        let machine = service.authorise(&key_hash)?;
        Ok(machine.map(|machine| {
            let key = NamingKey::from_bytes(service.naming_key(&machine));
            (machine, key)
        }))
    });
    let machine = looking.await.unwrap_or_else(|error| {
        tracing::error!(%error, "looking an agent up has panicked");
        Err(ArchiveError { kind: ErrorKind::Io, message: "an internal error of the appliance".into() })
    })?;
    let peer = machine.as_ref().map_or(Peer::Unknown, |(machine, _)| Peer::Agent(machine.id));
    Ok(Who { peer, key_hash: Some(key_hash), machine, arrived })
}

/// Serves a connection of the operator until it ends.
pub(crate) async fn serve_operator(stream: UnixStream, shared: Arc<Shared>, stop: watch::Receiver<bool>) {
    let who = Who { peer: Peer::Local, key_hash: None, machine: None, arrived: Instant::now() };
    let span = tracing::info_span!("peer", machine = "operator");
    let ending = converse(stream, who, None, Arc::clone(&shared), stop).instrument(span).await;
    conclude(&shared, "operator", &"operator", &ending);
}

/// Says in the log how a connection ended, if somebody wants to know.
pub(crate) fn conclude(shared: &Shared, host: &str, peer: &dyn std::fmt::Display, ending: &Ending) {
    match ending {
        Ending::Internal => tracing::error!(%peer, "a connection has ended with an internal error"),
        ending if ending.is_refusal() => shared.refusals.report(host, peer, ending),
        ending => tracing::debug!(%peer, cause = %ending, "a connection has ended"),
    }
}

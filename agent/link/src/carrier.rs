//! How bytes reach the appliance: TLS over TCP, or a Unix socket on the appliance itself.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, Error};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use wire::Pin;
use wire::message::ALPN;

use crate::verifier::PinVerifier;
use crate::{Identity, LinkError};

/// How long it may take to reach one address and to trust it.
pub(crate) const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How long bytes may stay unacknowledged before the kernel gives the connection up.
const USER_TIMEOUT_MILLISECONDS: u32 = 60_000;

/// A stream of bytes in both directions.
pub(crate) trait Carrier: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Carrier for T {}

/// The TLS of this machine: TLS 1.3, its certificate, and trust in one authority.
pub(crate) fn tls(identity: &Identity, pin: Pin) -> Result<TlsConnector, LinkError> {
    let unusable = |error: Error| LinkError::Key { reason: error.to_string() };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let (chain, key) = identity.chain();
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinVerifier::new(pin, provider)))
        .with_client_auth_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_sni = false;
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Connects to the first address that answers and can be trusted; the stream, and which address it was.
pub(crate) async fn connect(
    tls: &TlsConnector,
    addresses: &[String],
) -> Result<(Box<dyn Carrier>, String), LinkError> {
    let mut first_error = None;
    for address in addresses {
        match timeout(CONNECT_LIMIT, connect_one(tls, address)).await {
            Ok(Ok(stream)) => return Ok((stream, address.clone())),
            Ok(Err(error)) => first_error = first_error.or(Some(error)),
            Err(_) => {
                let what = format!("connecting to {address}");
                first_error = first_error.or(Some(LinkError::Timeout { what, limit: CONNECT_LIMIT }));
            }
        }
    }
    Err(first_error.unwrap_or_else(|| LinkError::Broken { cause: "there is no address to try".into() }))
}

async fn connect_one(tls: &TlsConnector, address: &str) -> Result<Box<dyn Carrier>, LinkError> {
    let failed = |source| LinkError::Connect { address: address.to_owned(), source };
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    keep_alive(&stream).map_err(failed)?;
    // The name is sent to nobody and compared with nothing: the pin is what counts.
    let name = ServerName::try_from("keepfast").expect("a plain word is a valid name");
    let stream = tls.connect(name, stream).await.map_err(|error| explain(address, error))?;
    if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
        let reason = "it does not speak the protocol keepfast/1".into();
        return Err(LinkError::Untrusted { address: address.to_owned(), reason });
    }
    Ok(Box::new(stream))
}

/// Tells a refused certificate from a lost connection.
fn explain(address: &str, source: io::Error) -> LinkError {
    let address = address.to_owned();
    let cause = source.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let reason = match cause {
        Some(Error::InvalidCertificate(CertificateError::Other(other))) => other.0.to_string(),
        Some(Error::InvalidCertificate(error)) => format!("its certificate is not valid: {error}"),
        Some(Error::AlertReceived(_) | Error::NoApplicationProtocol) => {
            "it does not speak the protocol keepfast/1 over TLS 1.3".into()
        }
        Some(error) => error.to_string(),
        None => return LinkError::Connect { address, source },
    };
    LinkError::Untrusted { address, reason }
}

/// Lets the kernel notice that the other end is gone although nothing is sent.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_tcp_nodelay(stream, true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(30))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(15))?;
    sockopt::set_tcp_keepcnt(stream, 4)?;
    sockopt::set_tcp_user_timeout(stream, USER_TIMEOUT_MILLISECONDS)?;
    Ok(())
}

/// Connects to the appliance that runs on this machine.
pub(crate) async fn connect_local(path: &Path) -> Result<Box<dyn Carrier>, LinkError> {
    let address = path.display().to_string();
    let stream = UnixStream::connect(path).await.map_err(|source| LinkError::Connect { address, source })?;
    Ok(Box::new(stream))
}

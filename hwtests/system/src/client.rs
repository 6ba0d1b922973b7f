//! A client that keeps to no rule: single frames and plain bytes over TLS, from an address of its own.
//!
//! It has the identity of an agent that has joined, or of one that was refused. The log tells refused peers apart by
//! their addresses, so every one of them speaks from another address of this machine.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use chunk::NamingKey;
use model::SequenceNumber;
use model::archive::ArchiveError;
use model::operation::Operation;
use model::record::{Label, Totals};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use wire::{Frame, FrameKind, Limits, Outgoing, Receiver, Reply, Request, operations};

use crate::site::Site;

/// How long nothing may come.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A TCP connection to a port of this machine from 127.`from`.
pub fn connect_from(port: u16, from: [u8; 3]) -> Result<TcpStream> {
    let [a, b, c] = from;
    let descriptor = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&descriptor, &SocketAddrV4::new(Ipv4Addr::new(127, a, b, c), 0))?;
    connect(&descriptor, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    let stream = TcpStream::from(descriptor);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    Ok(stream)
}

/// Trusts everybody: the test knows whom it connects to.
#[derive(Debug)]
struct Gullible(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The data directory of a joined agent, or none.
type Identity<'a> = Option<&'a Path>;

fn configuration(identity: Identity<'_>) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible(provider)));
    let mut configuration = match identity {
        None => builder.with_no_client_auth(),
        Some(folder) => {
            let certificate = CertificateDer::from_pem_file(folder.join("identity.crt"))?;
            let key = PrivateKeyDer::from_pem_file(folder.join("identity.key"))?;
            builder.with_client_auth_cert(vec![certificate], key)?
        }
    };
    configuration.alpn_protocols = vec![b"keepfast/1".to_vec()];
    Ok(configuration)
}

/// A client that sends whatever the test says.
#[derive(Debug)]
pub struct Hostile {
    stream: StreamOwned<ClientConnection, TcpStream>,
    receiver: Receiver,
    buffer: Vec<u8>,
    naming: Option<NamingKey>,
}

impl Hostile {
    /// Connects from 127.`from` with the identity in the data directory of an agent, or without one.
    pub fn connect(site: &Site, from: [u8; 3], identity: Identity<'_>) -> Result<Self> {
        let name = ServerName::try_from("keepfast")?;
        let connection = ClientConnection::new(Arc::new(configuration(identity)?), name)?;
        let stream = StreamOwned::new(connection, connect_from(site.port(), from)?);
        let receiver = Receiver::new(FrameKind::Reply, Limits::KNOWN);
        Ok(Self { stream, receiver, buffer: Vec::new(), naming: None })
    }

    /// Sends bytes; that the other end has closed is noticed when reading.
    pub fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
    }

    /// Sends a request with bytes behind it.
    pub fn send(&mut self, id: u32, request: &Request, bulk: Vec<u8>) -> Result<()> {
        let bulk = if bulk.is_empty() { vec![] } else { vec![bulk.into()] };
        self.write(&Outgoing::new(FrameKind::Request, id, request, bulk)?.to_vec());
        Ok(())
    }

    /// The next reply with its id; none when the other end has closed.
    pub fn next_reply(&mut self) -> Result<Option<(u32, Reply)>> {
        loop {
            let mut input = &self.buffer[..];
            let found = self.receiver.receive(&mut input)?;
            let left = input.to_vec();
            self.buffer = left;
            if let Some(Frame { id, body, .. }) = found {
                return Ok(Some((id, minicbor::decode(&body)?)));
            }
            let mut bytes = vec![0; 65_536];
            match self.stream.read(&mut bytes) {
                Ok(length @ 1..) => self.buffer.extend_from_slice(bytes.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => bail!("nothing came"),
                Ok(0) | Err(_) => return Ok(None),
            }
        }
    }

    /// The answer to a request; credit and the like in between are passed over.
    pub fn answer(&mut self, id: u32) -> Result<Reply> {
        loop {
            match self.next_reply()? {
                Some((found, reply)) if found == id => return Ok(reply),
                Some((0, Reply::Failed { session: None, error })) => bail!("turned away: {}", error.message),
                Some(_) => {}
                None => bail!("the appliance closed the connection"),
            }
        }
    }

    /// Greets as an agent does.
    pub fn greet(&mut self) -> Result<()> {
        self.send(1, &Request::Hello { version: 1, software: "hostile".into() }, vec![])?;
        match self.answer(1)? {
            Reply::Welcome { naming_key, .. } => {
                self.naming = naming_key.and_then(|key| key.try_into().ok()).map(NamingKey::from_bytes);
                Ok(())
            }
            other => bail!("{other:?}"),
        }
    }

    /// The key by which the appliance wants chunks of this agent to be named.
    pub fn naming(&self) -> Result<&NamingKey> {
        self.naming.as_ref().context("the appliance has told the key")
    }

    /// Begins a backup of `files`; its number, and the last operation so far.
    pub fn begin(&mut self) -> Result<(u64, SequenceNumber)> {
        let source = Label::new("files")?;
        self.send(2, &Request::Begin { source, continuity: None, size_bytes: None }, vec![])?;
        match self.answer(2)? {
            Reply::Begun { session, sequence, .. } => Ok((session, sequence)),
            other => bail!("{other:?}"),
        }
    }

    /// Sends operations and asks for a point: the point's id, or why there is none.
    pub fn make_point(&mut self, all: &[Operation]) -> Result<std::result::Result<String, ArchiveError>> {
        let (session, sequence) = self.begin()?;
        let mut first = sequence.next();
        for run in all.chunks(4096) {
            let (count, bulk) = operations::encode(run);
            ensure!(count as usize == run.len(), "the run fits a message");
            self.send(0, &Request::Operations { session, first, count }, bulk)?;
            first = SequenceNumber(first.0 + u64::from(count));
        }
        self.send(3, &finish(session, SequenceNumber(first.0 - 1)), vec![])?;
        let mut cause = None;
        loop {
            match self.next_reply()? {
                Some((3, Reply::Finished { point })) => return Ok(Ok(point.id)),
                Some((3, Reply::Failed { error, .. })) => return Ok(Err(cause.unwrap_or(error))),
                Some((3, other)) => bail!("{other:?}"),
                // What is found before the request has come is said by itself.
                Some((0, Reply::Failed { session: Some(failed), error })) if failed == session => {
                    cause = Some(error);
                }
                Some(_) => {}
                None => bail!("the appliance closed the connection"),
            }
        }
    }

    /// Why the backup under way has failed, when the appliance says so by itself.
    pub fn failure(&mut self) -> Result<ArchiveError> {
        loop {
            match self.next_reply()? {
                Some((_, Reply::Failed { error, .. })) => return Ok(error),
                Some(_) => {}
                None => bail!("the appliance closed the connection"),
            }
        }
    }

    /// What the appliance says before it ends the connection.
    pub fn last_words(&mut self) -> Result<String> {
        loop {
            match self.next_reply()? {
                Some((0, Reply::Failed { session: None, error })) => return Ok(error.message),
                Some(_) => {}
                None => bail!("the appliance closed without a word"),
            }
        }
    }
}

/// Asks for a point.
#[must_use]
pub fn finish(session: u64, last: SequenceNumber) -> Request {
    let (started, finished) = (model::Time(0), model::Time(1));
    let totals = Totals::default();
    Request::Finish { session, last, started, finished, totals, exceptions: vec![], exceptions_count: 0 }
}

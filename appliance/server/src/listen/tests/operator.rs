//! The operator's door, and peers that speak frame by frame.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use model::record::Label;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use wire::{Frame, FrameKind, Limits as FrameLimits, Outgoing, Receiver, Reply, Request};

use super::played::{Doors, open, open_with};
use crate::listen::Limits;

trait Carrier: Read + Write + Send {}
impl<T: Read + Write + Send> Carrier for T {}

/// A peer that sends and receives single frames.
pub(crate) struct Raw {
    stream: Box<dyn Carrier>,
    receiver: Receiver,
    buffer: Vec<u8>,
}

/// Trusts everybody: the test knows whom it connects to.
#[derive(Debug)]
struct Gullible(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A TLS connection to the doors under one ALPN name, with a client certificate if there is one.
pub(crate) fn tls(
    doors: &Doors,
    alpn: &[u8],
    key: Option<&rcgen::KeyPair>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible(provider)));
    let mut config = match key {
        None => builder.with_no_client_auth(),
        Some(key) => {
            let certificate = rcgen::CertificateParams::default().self_signed(key).unwrap();
            let private = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
            builder.with_client_auth_cert(vec![certificate.der().clone()], private.into()).unwrap()
        }
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    let name = ServerName::try_from("keepfast").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(doors.address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    StreamOwned::new(connection, stream)
}

/// A new key and its hash.
pub(crate) fn key() -> (rcgen::KeyPair, [u8; 32]) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    let hash = link::public_key_hash(certificate.der()).unwrap();
    (key, hash)
}

impl Raw {
    fn over(stream: impl Read + Write + Send + 'static) -> Self {
        let receiver = Receiver::new(FrameKind::Reply, FrameLimits::KNOWN);
        Self { stream: Box::new(stream), receiver, buffer: Vec::new() }
    }

    /// The operator.
    pub(crate) fn operator(doors: &Doors) -> Self {
        let stream = UnixStream::connect(&doors.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self::over(stream)
    }

    /// Somebody whose key belongs to no machine.
    pub(crate) fn unknown(doors: &Doors) -> Self {
        Self::over(tls(doors, b"keepfast/1", Some(&key().0)))
    }

    /// The agent of machine `id`.
    pub(crate) fn agent(doors: &Doors, id: u64) -> Self {
        let (key, hash) = key();
        doors.played.adopt(hash, id);
        Self::over(tls(doors, b"keepfast/1", Some(&key)))
    }

    pub(crate) fn ask(&mut self, id: u32, request: &Request) {
        self.send(id, request, vec![]);
    }

    pub(crate) fn send(&mut self, id: u32, request: &Request, bulk: Vec<u8>) {
        let bulk = if bulk.is_empty() { vec![] } else { vec![bulk.into()] };
        let frame = Outgoing::new(FrameKind::Request, id, request, bulk).unwrap();
        self.write(&frame.to_vec());
    }

    /// Writes bytes; what the other end has closed is noticed when reading.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes).and_then(|()| self.stream.flush()));
    }

    /// The next reply with its id; none when the other end has closed.
    pub(crate) fn next(&mut self) -> Option<(u32, Reply)> {
        loop {
            let mut input = &self.buffer[..];
            let found = self.receiver.receive(&mut input).unwrap();
            let left = input.to_vec();
            self.buffer = left;
            if let Some(Frame { id, body, .. }) = found {
                return Some((id, minicbor::decode(&body).unwrap()));
            }
            let mut bytes = vec![0; 65_536];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(length) => self.buffer.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("nothing came"),
                Err(_) => return None,
            }
        }
    }

    pub(crate) fn greet(&mut self) {
        self.ask(1, &Request::Hello { version: 1, software: "raw\u{1b}[2J".into() });
        assert!(matches!(self.next(), Some((1, Reply::Welcome { .. }))));
    }

    /// What the other end says before it closes.
    pub(crate) fn last_words(&mut self) -> String {
        let mut words = String::new();
        while let Some((id, reply)) = self.next() {
            if let Reply::Failed { session: None, error } = reply
                && id == 0
            {
                words = error.message;
            }
        }
        words
    }

    /// Sends noise as operations; the backup fails, the connection stays.
    pub(crate) fn breaks_with_noise(mut self) {
        self.greet();
        self.ask(
            2,
            &Request::Begin { source: Label::new("home").unwrap(), continuity: None, size_bytes: None },
        );
        assert!(matches!(self.next(), Some((2, Reply::Begun { session: 1, .. }))));
        let first = model::SequenceNumber(101);
        self.send(0, &Request::Operations { session: 1, first, count: 5 }, vec![0xff; 100]);
        let (id, reply) = self.next().unwrap();
        assert!(matches!(reply, Reply::Failed { session: Some(1), .. }) && id == 0, "{reply:?}");
        self.ask(3, &Request::Machines);
        assert!(matches!(self.next(), Some((3, Reply::Machines { .. }))));
    }
}

#[test]
fn the_operator_asks_what_only_the_operator_may() {
    let doors = open();
    let connection = doors.operator();
    assert_eq!(connection.welcome().machine, None);
    assert!(connection.welcome().naming_key.is_none());
    assert!(matches!(connection.request(Request::Status).unwrap().0, Reply::Status { .. }));
    let source = Label::new("home").unwrap();
    let error =
        connection.request(Request::Begin { source, continuity: None, size_bytes: None }).unwrap_err();
    assert_eq!(error.kind(), model::ErrorKind::Refused);
}

#[test]
fn a_report_that_is_too_long_is_cut_and_counted() {
    let doors = open();
    let (reply, _) = doors.operator().request(Request::Verify { point: None }).unwrap();
    let Reply::Verified { report } = reply else { panic!("{reply:?}") };
    assert_eq!(report.damage_count, 10_000);
    assert!((500..600).contains(&report.damage.len()), "{}", report.damage.len());
}

#[test]
fn whoever_waits_gets_signs_of_life() {
    let doors = open_with(Limits { life: Duration::from_millis(50), ..Limits::default() });
    doors.played.slowness.store(600, Ordering::SeqCst);
    let mut raw = Raw::operator(&doors);
    raw.greet();
    raw.ask(2, &Request::Status);
    let mut signs = 0;
    loop {
        match raw.next().unwrap() {
            (0, Reply::Credit { bytes: 0 }) => signs += 1,
            (2, Reply::Status { .. }) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!((5..=13).contains(&signs), "{signs}");
}

#[test]
fn signs_of_life_come_while_a_backup_is_open_and_not_otherwise() {
    let doors = open_with(Limits { life: Duration::from_millis(50), ..Limits::default() });
    let mut raw = Raw::agent(&doors, 1);
    raw.greet();
    std::thread::sleep(Duration::from_millis(300));
    raw.ask(2, &Request::Begin { source: Label::new("home").unwrap(), continuity: None, size_bytes: None });
    let began = Instant::now();
    let mut signs_before = 0;
    while !matches!(raw.next().unwrap(), (2, Reply::Begun { .. })) {
        signs_before += 1;
    }
    assert!(signs_before <= 1, "nobody waited: {signs_before}");
    for _ in 0..5 {
        assert_eq!(raw.next().unwrap(), (0, Reply::Credit { bytes: 0 }));
    }
    assert!(began.elapsed() > Duration::from_millis(200));
}

#[test]
fn a_slow_request_of_an_operator_holds_up_nobody() {
    let doors = open();
    doors.played.slowness.store(3000, Ordering::SeqCst);
    let mut raw = Raw::operator(&doors);
    raw.greet();
    raw.ask(2, &Request::Verify { point: None });
    std::thread::sleep(Duration::from_millis(100));
    doors.played.slowness.store(0, Ordering::SeqCst);
    let began = Instant::now();
    doors.operator().request(Request::Status).unwrap();
    raw.ask(3, &Request::Machines);
    let next = raw.next();
    assert!(matches!(next, Some((3, Reply::Machines { .. }))), "answers come in any order: {next:.200?}");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

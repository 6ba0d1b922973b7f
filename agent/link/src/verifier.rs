//! Whom this machine trusts: whoever holds a certificate that the pinned authority signed.
//!
//! The appliance sends its certificate and that of its authority. The authority counts if the hash of its public
//! key is the pin that came with the join token; names in certificates do not count, because addresses of a LAN
//! change. A clock that is wrong by up to a day is tolerated, one that is wrong by more is named as the likely cause.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, PeerIncompatible, RootCertStore,
    SignatureScheme,
};
use wire::Pin;
use x509_parser::prelude::{FromDer, X509Certificate};

/// How far the clocks of the two ends may differ.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(24 * 3600);

/// Why the other end is not the appliance.
#[derive(Debug, thiserror::Error)]
enum TrustError {
    #[error("it sends no certificate of an authority, so it is not a Keepfast appliance")]
    NoAuthority,
    #[error("its certificate cannot be parsed")]
    Malformed,
    #[error("its authority has the key {found}, this machine joined one with {pinned}")]
    Pin { pinned: Pin, found: Pin },
    #[error(
        "its certificate is valid from {from} to {until} (seconds since 1970) and it is {now} here: check the clocks of both ends"
    )]
    Clock { from: i64, until: i64, now: i64 },
}

impl From<TrustError> for Error {
    fn from(error: TrustError) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
    }
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    hash.iter_mut().zip(digest.as_ref()).for_each(|(place, byte)| *place = *byte);
    hash
}

/// The public key of a certificate (`SubjectPublicKeyInfo`, DER).
pub(crate) fn certificate_key(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, Error> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| TrustError::Malformed)?;
    Ok(parsed.public_key().raw.to_vec())
}

/// SHA-256 of the public key of a certificate (`SubjectPublicKeyInfo`, DER); `None` if it is no certificate.
#[must_use]
pub fn public_key_hash(certificate: &[u8]) -> Option<[u8; 32]> {
    certificate_key(&CertificateDer::from(certificate)).ok().map(|key| sha256(&key))
}

/// Trusts the authority with one key.
#[derive(Debug)]
pub(crate) struct PinVerifier {
    pin: Pin,
    provider: Arc<CryptoProvider>,
}

impl PinVerifier {
    pub(crate) const fn new(pin: Pin, provider: Arc<CryptoProvider>) -> Self {
        Self { pin, provider }
    }

    fn check_pin(&self, authority: &CertificateDer<'_>) -> Result<(), Error> {
        let found = Pin(sha256(&certificate_key(authority)?));
        if found == self.pin { Ok(()) } else { Err(TrustError::Pin { pinned: self.pin, found }.into()) }
    }
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = intermediates.last().ok_or(TrustError::NoAuthority)?;
        self.check_pin(authority)?;
        let now = tolerated_time(leaf, now)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(leaf)?,
            &roots,
            &[],
            now,
            algorithms,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The moment within the validity of a certificate that is nearest to `now`, if it is near enough.
fn tolerated_time(leaf: &CertificateDer<'_>, now: UnixTime) -> Result<UnixTime, Error> {
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| TrustError::Malformed)?;
    let (from, until) = (parsed.validity.not_before.timestamp(), parsed.validity.not_after.timestamp());
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let tolerance = i64::try_from(CLOCK_TOLERANCE.as_secs()).unwrap_or(i64::MAX);
    let nearest = now.max(from).min(until);
    if from > until || nearest.abs_diff(now) > tolerance.unsigned_abs() {
        return Err(TrustError::Clock { from, until, now }.into());
    }
    Ok(UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(nearest).unwrap_or(0))))
}

#[cfg(test)]
mod tests;

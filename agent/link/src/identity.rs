//! Who this machine is: a key pair, and a certificate that carries its public half in a TLS handshake.
//!
//! The key never leaves the data directory. The certificate is signed by the key itself: the appliance knows
//! machines by the hash of their keys, so nobody needs to sign it, and it can be made again at any time. A key
//! without a certificate, as a crash can leave it, gets a new one.

use std::path::Path;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, PKCS_ECDSA_P256_SHA256,
    PublicKeyData,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::verifier::{certificate_key, sha256};
use crate::{LinkError, file};

const KEY_FILE: &str = "identity.key";
const CERTIFICATE_FILE: &str = "identity.crt";

/// A key pair with its certificate.
#[derive(Debug)]
pub struct Identity {
    key: PrivateKeyDer<'static>,
    certificate: CertificateDer<'static>,
    key_hash: [u8; 32],
}

impl Identity {
    /// The identity in `dir`; it is made if there is none.
    ///
    /// # Errors
    /// Files that cannot be read or written, or that hold no key.
    pub fn load_or_create(dir: &Path) -> Result<Self, LinkError> {
        if let Some(identity) = Self::load(dir)? {
            return Ok(identity);
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(unusable)?;
        file::write(&dir.join(KEY_FILE), &key.serialize_pem())?;
        Self::load(dir)?.ok_or_else(|| LinkError::NotJoined { dir: dir.to_owned() })
    }

    /// The identity in `dir`, if there is one.
    ///
    /// # Errors
    /// Files that cannot be read or written, or that hold no key.
    pub fn load(dir: &Path) -> Result<Option<Self>, LinkError> {
        let Some(pem) = file::read(&dir.join(KEY_FILE))? else { return Ok(None) };
        let pair = KeyPair::from_pem(&pem).map_err(unusable)?;
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(unusable)?;
        let key_hash = sha256(&pair.subject_public_key_info());
        let path = dir.join(CERTIFICATE_FILE);
        let stored = file::read(&path)?.and_then(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).ok());
        let fits = |certificate: &CertificateDer<'_>| {
            certificate_key(certificate).is_ok_and(|key| sha256(&key) == key_hash)
        };
        let certificate = match stored.filter(fits) {
            Some(certificate) => certificate,
            None => {
                let certificate = certify(&pair)?;
                file::write(&path, &certificate.pem())?;
                certificate.der().clone()
            }
        };
        Ok(Some(Self { key, certificate, key_hash }))
    }

    /// SHA-256 of the public key (`SubjectPublicKeyInfo`, DER): what the appliance knows this machine by.
    #[must_use]
    pub const fn key_hash(&self) -> &[u8; 32] {
        &self.key_hash
    }

    pub(crate) fn chain(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (vec![self.certificate.clone()], self.key.clone_key())
    }
}

fn certify(key: &KeyPair) -> Result<rcgen::Certificate, LinkError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "keepfast agent");
    params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ClientAuth);
    params.self_signed(key).map_err(unusable)
}

fn unusable(error: impl std::fmt::Display) -> LinkError {
    LinkError::Key { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_identity_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("agent");
        assert!(Identity::load(&dir).unwrap().is_none());
        let first = Identity::load_or_create(&dir).unwrap();
        let again = Identity::load_or_create(&dir).unwrap();
        assert_eq!(first.key_hash(), again.key_hash());
        assert_eq!(first.certificate, again.certificate);
        for file in [KEY_FILE, CERTIFICATE_FILE] {
            let mode = std::fs::metadata(dir.join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 2, "nothing is left over");
    }

    #[test]
    fn a_certificate_that_is_lost_or_of_another_key_is_made_again() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = Identity::load_or_create(dir.path()).unwrap();
        Identity::load_or_create(other.path()).unwrap();
        let path = dir.path().join(CERTIFICATE_FILE);
        for content in
            [None, Some(Vec::new()), Some(std::fs::read(other.path().join(CERTIFICATE_FILE)).unwrap())]
        {
            match content {
                None => std::fs::remove_file(&path).unwrap(),
                Some(content) => std::fs::write(&path, content).unwrap(),
            }
            let again = Identity::load(dir.path()).unwrap().unwrap();
            assert_eq!(again.key_hash(), first.key_hash());
            assert_eq!(crate::public_key_hash(&again.certificate), Some(*first.key_hash()));
        }
    }

    #[test]
    fn a_file_without_a_key_is_an_error_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(KEY_FILE), "no key").unwrap();
        assert!(matches!(Identity::load_or_create(dir.path()), Err(LinkError::Key { .. })));
        assert_eq!(std::fs::read(dir.path().join(KEY_FILE)).unwrap(), b"no key");
    }

    #[test]
    fn the_key_is_not_in_debug_output() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::load_or_create(dir.path()).unwrap();
        let shown = format!("{:?}", identity.key);
        assert!(shown.len() < 100, "{shown}");
    }
}

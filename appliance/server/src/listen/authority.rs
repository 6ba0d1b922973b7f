//! The appliance's own certificate authority: agents trust its key, wherever the appliance answers.
//!
//! The authority's key is made once and kept with the pool; its hash is the pin in join tokens. The certificate of
//! the server is made anew at every start with a key that is never stored. Certificates are valid from a fixed day
//! in the past and have no end: what they say is only which key is which, an agent is shut out by revoking it, and
//! a dead clock must not lock everybody out.

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use wire::Pin;

use super::{ListenError, Service};

const KEY: &str = "authority.key";
const CERTIFICATE: &str = "authority.crt";

/// The certificate authority of an appliance.
pub(crate) struct Authority {
    key: KeyPair,
    certificate: CertificateDer<'static>,
}

impl Authority {
    /// The authority that the service keeps; it is made if there is none.
    pub(crate) fn load_or_create(service: &dyn Service) -> Result<Self, ListenError> {
        let load =
            |name| service.setting(name).map_err(|source| ListenError::Authority { verb: "load", source });
        let store = |name, value: &[u8]| {
            let stored = service.set_setting(name, value);
            stored.map_err(|source| ListenError::Authority { verb: "store", source })
        };
        let key = match load(KEY)? {
            Some(der) => {
                let der = PrivatePkcs8KeyDer::from(der);
                KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256).map_err(damaged)?
            }
            None => {
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(damaged)?;
                store(KEY, key.serialized_der())?;
                key
            }
        };
        let pin = pin(&key);
        let stored = load(CERTIFICATE)?.map(CertificateDer::from);
        let certificate = match stored.filter(|stored| link::public_key_hash(stored) == Some(pin.0)) {
            Some(certificate) => certificate,
            None => {
                let certificate = params().self_signed(&key).map_err(damaged)?.der().clone();
                store(CERTIFICATE, &certificate)?;
                certificate
            }
        };
        Ok(Self { key, certificate })
    }

    /// What agents are told to trust.
    pub(crate) fn pin(&self) -> Pin {
        pin(&self.key)
    }

    /// A new certificate for the server, with the authority's behind it, and its key.
    pub(crate) fn issue(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), ListenError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(damaged)?;
        let leaf = self.certify(&key).map_err(damaged)?;
        let private = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok((vec![leaf.der().clone(), self.certificate.clone()], private.into()))
    }

    fn certify(&self, key: &KeyPair) -> Result<Certificate, rcgen::Error> {
        let mut leaf = CertificateParams::new(vec!["keepfast".to_owned()])?;
        leaf.distinguished_name = name("Keepfast appliance");
        (leaf.not_before, leaf.not_after) = (date_time_ymd(2024, 1, 1), date_time_ymd(9999, 12, 31));
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.insert_extended_key_usage(ExtendedKeyUsagePurpose::ServerAuth);
        leaf.use_authority_key_identifier_extension = true;
        let params = params();
        leaf.signed_by(key, &Issuer::from_params(&params, &self.key))
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("pin", &self.pin()).finish_non_exhaustive()
    }
}

fn pin(key: &KeyPair) -> Pin {
    let mut hash = [0; 32];
    let digest = digest(&SHA256, &key.subject_public_key_info());
    hash.iter_mut().zip(digest.as_ref()).for_each(|(place, byte)| *place = *byte);
    Pin(hash)
}

fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("Keepfast authority");
    (params.not_before, params.not_after) = (date_time_ymd(2024, 1, 1), date_time_ymd(9999, 12, 31));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

fn damaged(error: impl std::fmt::Display) -> ListenError {
    ListenError::Certificate { reason: error.to_string() }
}

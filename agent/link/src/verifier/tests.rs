//! Trust: the pinned authority is recognised, everybody else is refused with a reason.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData,
    date_time_ymd,
};

use super::*;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn leaf(authority: &Authority) -> CertificateDer<'static> {
    let mut params = CertificateParams::new(vec!["somewhere.else".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2025, 1, 1);
    params.signed_by(&KeyPair::generate().unwrap(), authority).unwrap().der().clone()
}

fn pin(authority: &Authority) -> Pin {
    Pin(sha256(&authority.key().subject_public_key_info()))
}

fn verify(pin: Pin, leaf: &CertificateDer<'_>, sent: &[&Authority], now: i64) -> Result<(), String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let sent: Vec<_> = sent.iter().map(|authority| authority.der().clone()).collect();
    let name = ServerName::try_from("keepfast").unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now.try_into().unwrap()));
    PinVerifier::new(pin, provider).verify_server_cert(leaf, &sent, &name, &[], now).map(drop).map_err(
        |error| match error {
            Error::InvalidCertificate(CertificateError::Other(other)) => other.0.to_string(),
            other => other.to_string(),
        },
    )
}

const IN_2024: i64 = 1_715_000_000;
const DAY: i64 = 24 * 3600;

#[test]
fn the_pinned_authority_is_trusted_under_any_name() {
    let authority = authority();
    assert_eq!(verify(pin(&authority), &leaf(&authority), &[&authority], IN_2024), Ok(()));
}

#[test]
fn everybody_else_is_refused() {
    let (ours, theirs) = (authority(), authority());
    let found = verify(pin(&ours), &leaf(&theirs), &[&theirs], IN_2024).unwrap_err();
    assert!(found.contains(&pin(&theirs).to_string()) && found.contains("this machine joined"), "{found}");
    let found = verify(pin(&ours), &leaf(&theirs), &[&ours], IN_2024).unwrap_err();
    assert!(!found.is_empty(), "a leaf that the authority did not sign");
    let found = verify(pin(&ours), &leaf(&theirs), &[&theirs, &ours], IN_2024).unwrap_err();
    assert!(!found.is_empty(), "the right authority beside the wrong leaf");
    let found = verify(pin(&ours), &leaf(&ours), &[], IN_2024).unwrap_err();
    assert!(found.contains("not a Keepfast appliance"), "{found}");
    let noise = CertificateDer::from(vec![0x30, 0x03, 1, 2, 3]);
    let found = verify(pin(&ours), &noise, &[&ours], IN_2024).unwrap_err();
    assert!(found.contains("cannot be parsed"), "{found}");
}

#[test]
fn the_authority_itself_is_no_leaf_of_another() {
    let (ours, theirs) = (authority(), authority());
    assert!(verify(pin(&ours), theirs.der(), &[&ours], IN_2024).is_err());
}

#[test]
fn a_wrong_clock_is_tolerated_by_a_day_and_then_named() {
    let authority = authority();
    let (from, until) = (1_704_067_200, 1_735_689_600);
    for (now, allowed) in [
        (from - DAY, true),
        (from - DAY - 1, false),
        (until + DAY, true),
        (until + DAY + 1, false),
        (0, false),
    ] {
        let found = verify(pin(&authority), &leaf(&authority), &[&authority], now);
        match found {
            Ok(()) => assert!(allowed, "{now}"),
            Err(error) => {
                assert!(!allowed && error.contains("check the clocks"), "{now}: {error}");
            }
        }
    }
}

#[test]
fn the_hash_of_a_key_is_that_of_its_certificate() {
    let authority = authority();
    assert_eq!(public_key_hash(authority.der()), Some(pin(&authority).0));
    assert_eq!(public_key_hash(&[1, 2, 3]), None);
}

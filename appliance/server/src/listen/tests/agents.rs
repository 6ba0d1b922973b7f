//! Who may come in: joining, trust in both directions, and being shut out.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use link::{Connection, LinkError, join};
use model::ErrorKind;
use wire::{Pin, Reply, Request, Secret, Token};

use super::played::{Front, Played, SECRET, open};
use crate::listen::Authority;

#[test]
fn a_machine_joins_once_and_is_known_from_then_on() {
    let doors = open();
    let dir = doors.dir.path().join("agent");
    let joined = join(&dir, &doors.token(), None).unwrap();
    assert_eq!(joined.machine.as_str(), "web1");
    assert_eq!(joined.address, doors.address.to_string());
    let connection = Connection::connect(&dir).unwrap();
    let welcome = connection.welcome();
    assert_eq!((welcome.version, &*welcome.software), (1, "played 1"));
    assert_eq!(welcome.machine.as_ref().unwrap().as_str(), "web1");
    assert_eq!(welcome.naming_key.as_ref().unwrap().as_bytes(), &super::played::KEY);
    assert!(matches!(connection.request(Request::Machines).unwrap().0, Reply::Machines { .. }));
}

#[test]
fn an_address_by_hand_goes_first() {
    let doors = open();
    let nowhere = Token::new(vec!["127.0.0.1:9".into()], doors.pin, Secret(SECRET)).unwrap();
    let dir = doors.dir.path().join("agent");
    assert!(matches!(join(&dir, &nowhere, None), Err(LinkError::Connect { .. })));
    let address = doors.address.to_string();
    let joined = join(&dir, &nowhere, Some(&address)).unwrap();
    assert_eq!(joined.address, address);
    Connection::connect(&dir).unwrap();
}

#[test]
fn a_token_that_is_not_good_is_refused_with_its_reason() {
    let doors = open();
    let dir = doors.dir.path().join("agent");
    let bad = Token::new(vec![doors.address.to_string()], doors.pin, Secret([0; 16])).unwrap();
    let error = join(&dir, &bad, None).unwrap_err();
    assert_eq!(error.to_string(), "appliance: the token is unknown, used or too old");
    assert!(matches!(Connection::connect(&dir), Err(LinkError::NotJoined { .. })));
    join(&dir, &doors.token(), None).unwrap();
    Connection::connect(&dir).unwrap();
}

#[test]
fn an_appliance_with_another_authority_is_not_trusted() {
    let (doors, impostor) = (open(), open());
    let dir = doors.agent(1);
    let error = Connection::connect_to(&dir, &[impostor.address.to_string()]).unwrap_err();
    assert!(matches!(error, LinkError::Untrusted { .. }), "{error:?}");
    assert!(error.to_string().contains(&impostor.pin.to_string()), "{error}");
    let wrong = Token::new(vec![doors.address.to_string()], Pin([1; 32]), Secret(SECRET)).unwrap();
    assert!(matches!(join(&dir, &wrong, None), Err(LinkError::Untrusted { .. })));
}

#[test]
fn the_authority_outlives_the_appliance() {
    let front = Front(std::sync::Arc::new(Played::default()));
    let first = Authority::load_or_create(&front).unwrap().pin();
    assert_eq!(Authority::load_or_create(&front).unwrap().pin(), first);
    let other = Front(std::sync::Arc::new(Played::default()));
    assert_ne!(Authority::load_or_create(&other).unwrap().pin(), first);
}

#[test]
fn an_authority_whose_certificate_is_lost_or_damaged_keeps_its_pin() {
    use crate::listen::Service;
    let front = Front(std::sync::Arc::new(Played::default()));
    let first = Authority::load_or_create(&front).unwrap().pin();
    front.set_setting("authority.crt", b"noise").unwrap();
    let again = Authority::load_or_create(&front).unwrap();
    assert_eq!(again.pin(), first);
    again.issue().unwrap();
    front.set_setting("authority.key", b"noise").unwrap();
    assert_eq!(Authority::load_or_create(&front).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(!format!("{again:?}").contains("key"));
}

#[test]
fn a_revoked_agent_is_out_within_five_seconds_and_stays_out() {
    let doors = open();
    let dir = doors.agent(1);
    let connection = Connection::connect(&dir).unwrap();
    let began = Instant::now();
    doors.played.revoke_all();
    let error = connection.next_event(Duration::from_secs(30)).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(error.to_string().contains("its agent was shut out"), "{error}");
    let again = Connection::connect(&dir).unwrap();
    assert_eq!(again.welcome().machine, None);
    let error = again.request(Request::Machines).unwrap_err();
    assert!(error.to_string().contains("a peer that has not joined"), "{error}");
}

#[test]
fn an_operator_who_revokes_need_not_wait() {
    let doors = open();
    let connection = doors.connect(1);
    let machine = model::record::Label::new("web1").unwrap();
    let began = Instant::now();
    doors.operator().request(Request::Revoke { machine }).unwrap();
    assert!(connection.next_event(Duration::from_secs(30)).is_err());
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn a_key_that_changes_machines_is_put_out() {
    let doors = open();
    let dir = doors.agent(1);
    let connection = Connection::connect(&dir).unwrap();
    let identity = link::Identity::load(&dir).unwrap().unwrap();
    doors.played.adopt(*identity.key_hash(), 2);
    let again = Connection::connect(&dir).unwrap();
    assert_eq!(again.welcome().machine.as_ref().unwrap().as_str(), "web2");
    assert!(connection.next_event(Duration::from_secs(5)).is_err(), "it came as another machine");
    assert!(again.request(Request::Machines).is_ok());
}

#[test]
fn when_nobody_can_be_looked_up_those_who_are_in_stay() {
    let doors = open();
    let dir = doors.agent(1);
    let connection = Connection::connect(&dir).unwrap();
    doors.played.is_ill.store(true, Ordering::SeqCst);
    let error = Connection::connect(&dir).unwrap_err();
    assert!(error.to_string().contains("the disk is gone"), "{error}");
    assert_eq!(connection.next_event(Duration::from_secs(3)).unwrap(), None);
    assert!(connection.request(Request::Machines).is_ok());
}

#[test]
fn what_only_the_operator_may_ask_is_refused_to_agents() {
    let doors = open();
    let connection = doors.connect(1);
    for request in [Request::Status, Request::Verify { point: None }] {
        let error = connection.request(request).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
    }
    assert!(!connection.is_broken());
}

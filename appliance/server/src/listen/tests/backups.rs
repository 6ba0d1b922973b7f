//! Backups from the first message to the point, and every way in which they fail.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use chunk::NamingKey;
use link::{Connection, LinkEvent};
use model::operation::Operation;
use model::record::Label;
use model::{ErrorKind, ObjectId, SequenceNumber};
use wire::{Reply, Request};

use super::played::{KEY, begin, bundle, eventually, finish, noise, open};
use crate::listen::limits::{CONNECTIONS_PER_MACHINE, SESSIONS_PER_MACHINE};

fn operations(count: u64) -> Vec<Operation> {
    (0..count).map(|size| Operation::Truncate { object: ObjectId(1), size }).collect()
}

fn send_bundles(connection: &Connection, session: u64, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        let bundle = bundle(&[noise(number, 500_000), noise(number + 1000, 500_000)], KEY);
        connection.send_bundle(session, number, bundle).unwrap();
    }
}

#[test]
fn a_backup_arrives_whole_and_in_order() {
    let doors = open();
    let connection = doors.connect(1);
    let session = begin(&connection);
    let key = NamingKey::from_bytes(KEY);
    // Four times the credit, so that it must come back.
    send_bundles(&connection, session, 1..=64);
    let next = connection.send_operations(session, SequenceNumber(101), &operations(20_000)).unwrap();
    let names = vec![key.name(&noise(1, 500_000)), key.name(b"unknown"), key.name(&noise(1064, 500_000))];
    let (reply, _) = connection.request(Request::Have { session, names }).unwrap();
    assert_eq!(reply, Reply::Had { bits: vec![0b101] });
    let (reply, _) = connection.request(finish(session, next.0 - 1)).unwrap();
    let Reply::Finished { point } = reply else { panic!("{reply:?}") };
    assert_eq!(point.sequence, SequenceNumber(20_100));
    assert_eq!(*doors.played.bundles.lock().unwrap(), (1..=64).collect::<Vec<_>>());
    assert_eq!(*doors.played.operations.lock().unwrap(), operations(20_000));
    let chunks = doors.played.chunks.lock().unwrap();
    for number in (1..=64).chain(1001..=1064) {
        assert_eq!(chunks[&key.name(&noise(number, 500_000))], noise(number, 500_000));
    }
    drop(chunks);
    eventually("news of durability", || connection.durable(session) == 64);
    eventually("the end of the backup", || doors.played.backups_open.load(Ordering::SeqCst) == 0);
}

#[test]
fn one_connection_makes_one_backup_after_the_other_and_two_at_a_time() {
    let doors = open();
    let connection = doors.connect(1);
    for _ in 0..5 {
        let (first, second) = (begin(&connection), begin(&connection));
        assert_ne!(first, second);
        send_bundles(&connection, first, 1..=2);
        send_bundles(&connection, second, 1..=2);
        assert!(matches!(connection.request(finish(first, 100)).unwrap().0, Reply::Finished { .. }));
        assert_eq!(connection.request(Request::Abort { session: second }).unwrap().0, Reply::Done);
    }
    eventually("the end of all", || doors.played.backups_open.load(Ordering::SeqCst) == 0);
}

#[test]
fn operations_that_are_repeated_count_once() {
    let doors = open();
    let connection = doors.connect(1);
    let session = begin(&connection);
    let all = operations(10);
    connection.send_operations(session, SequenceNumber(101), &all[..6]).unwrap();
    connection.send_operations(session, SequenceNumber(101), &all[..6]).unwrap();
    connection.send_operations(session, SequenceNumber(104), &all[3..]).unwrap();
    connection.request(finish(session, 110)).unwrap();
    assert_eq!(*doors.played.operations.lock().unwrap(), all);
}

#[test]
fn a_backup_that_cannot_begin_says_why() {
    let doors = open();
    let connection = doors.connect(1);
    let source = Label::new("busy").unwrap();
    let error =
        connection.request(Request::Begin { source, continuity: None, size_bytes: None }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    begin(&connection);
}

#[test]
fn lacking_chunks_are_named_as_far_as_they_fit() {
    let doors = open();
    doors.played.lacks.store(true, Ordering::SeqCst);
    let connection = doors.connect(1);
    let session = begin(&connection);
    let (reply, _) = connection.request(finish(session, 100)).unwrap();
    assert!(matches!(reply, Reply::Lacking { names } if names.len() == 4096));
}

#[test]
fn a_bundle_that_lies_ends_its_backup_and_nothing_else() {
    let doors = open();
    let connection = doors.connect(1);
    let (honest, lying) = (begin(&connection), begin(&connection));
    send_bundles(&connection, lying, 1..=1);
    connection.send_bundle(lying, 2, bundle(&[noise(5, 1000)], [1; 32])).unwrap();
    let failed = loop {
        match connection.next_event(Duration::from_secs(10)).unwrap().expect("news of the failure") {
            LinkEvent::Failed { session, error } => break (session, error),
            LinkEvent::Durable { .. } => {}
        }
    };
    assert_eq!((failed.0, failed.1.kind), (lying, ErrorKind::Corrupt));
    assert!(failed.1.message.contains("is named"), "{}", failed.1);
    assert!(connection.send_bundle(lying, 3, bundle(&[noise(6, 1000)], KEY)).is_err());
    // The other one goes on, with all of the credit.
    send_bundles(&connection, honest, 1..=40);
    assert!(matches!(connection.request(finish(honest, 100)).unwrap().0, Reply::Finished { .. }));
    assert!(!connection.is_broken());
}

#[test]
fn noise_instead_of_a_bundle_or_operations_ends_the_backup() {
    let doors = open();
    let connection = doors.connect(1);
    let session = begin(&connection);
    connection.send_data(session, 1, noise(1, 5000)).unwrap();
    eventually("the failure", || connection.failure(session).is_some());
    let raw = super::operator::Raw::agent(&doors, 2);
    raw.breaks_with_noise();
}

#[test]
fn a_backup_that_has_failed_gives_its_place_back() {
    let doors = open();
    let connection = doors.connect(1);
    for number in 0..200 {
        let session = begin(&connection);
        connection.send_data(session, 1, noise(number, 100)).unwrap();
        eventually("the failure", || connection.failure(session).is_some());
    }
}

#[test]
fn one_machine_does_not_take_the_places_of_others() {
    let doors = open();
    let agent = doors.agent(1);
    let connect = || Connection::connect(&agent).unwrap();
    let connections: Vec<Connection> = (0..SESSIONS_PER_MACHINE.div_ceil(2)).map(|_| connect()).collect();
    for connection in &connections {
        begin(connection);
        begin(connection);
    }
    let source = Label::new("one more").unwrap();
    let one_more = Request::Begin { source, continuity: None, size_bytes: None };
    let error = connect().request(one_more).unwrap_err();
    assert!(error.kind() == ErrorKind::Busy && error.to_string().contains("too many backups"), "{error}");
    let other = doors.connect(2);
    begin(&other);

    let mut waiting: Vec<Connection> =
        (connections.len()..CONNECTIONS_PER_MACHINE).map(|_| connect()).collect();
    let error = Connection::connect(&agent).map(drop).unwrap_err();
    assert!(error.to_string().contains("its machine has 64 connections already"), "{error}");
    drop(waiting.pop());
    eventually("a place", || Connection::connect(&agent).is_ok());
    assert!(other.request(Request::Machines).is_ok());
}

#[test]
fn a_service_that_fails_ends_the_backup_and_credit_comes_back() {
    let doors = open();
    doors.played.fails_at.store(3, Ordering::SeqCst);
    let connection = doors.connect(1);
    let session = begin(&connection);
    // Sent before the failure is known here: the rest is dropped, or refused on this side.
    for number in 1..=10 {
        let bundle = bundle(&[noise(number, 1_000_000)], KEY);
        if connection.send_bundle(session, number, bundle).is_err() {
            break;
        }
    }
    let error = connection.request(finish(session, 100)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Full | ErrorKind::Refused), "{error}");
    assert_eq!(connection.failure(session).unwrap().message, "the drive is full");
    doors.played.fails_at.store(0, Ordering::SeqCst);
    let session = begin(&connection);
    send_bundles(&connection, session, 1..=40);
    assert!(matches!(connection.request(finish(session, 100)).unwrap().0, Reply::Finished { .. }));
}

#[test]
fn a_panic_behind_the_doors_ends_one_connection_only() {
    let doors = open();
    doors.played.panics_at.store(2, Ordering::SeqCst);
    let (connection, other) = (doors.connect(1), doors.connect(2));
    let session = begin(&connection);
    send_bundles(&connection, session, 1..=2);
    let error = connection.request(finish(session, 100)).unwrap_err();
    assert!(error.to_string().contains("internal error"), "{error}");
    doors.played.panics_at.store(0, Ordering::SeqCst);
    let session = begin(&other);
    send_bundles(&other, session, 1..=3);
    assert!(matches!(other.request(finish(session, 100)).unwrap().0, Reply::Finished { .. }));
}

#[test]
fn a_connection_that_is_lost_gives_its_backups_up() {
    let doors = open();
    let connection = doors.connect(1);
    let session = begin(&connection);
    send_bundles(&connection, session, 1..=3);
    drop(connection);
    eventually("the end of the backup", || doors.played.backups_open.load(Ordering::SeqCst) == 0);
}

#[test]
fn a_slow_backup_holds_up_nobody_else() {
    let doors = open();
    let slow = doors.connect(1);
    let session = begin(&slow);
    doors.played.slowness.store(200, Ordering::SeqCst);
    send_bundles(&slow, session, 1..=16);
    let other = doors.connect(2);
    let began = Instant::now();
    let second = begin(&other);
    for _ in 0..50 {
        other.request(Request::Have { session: second, names: vec![] }).unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    doors.played.slowness.store(0, Ordering::SeqCst);
    assert!(matches!(slow.request(finish(session, 100)).unwrap().0, Reply::Finished { .. }));
}

#[test]
fn stopping_ends_backups_and_says_so() {
    let mut doors = open();
    let connection = doors.connect(1);
    let session = begin(&connection);
    send_bundles(&connection, session, 1..=3);
    let began = Instant::now();
    doors.stop();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(doors.played.backups_open.load(Ordering::SeqCst), 0, "stopping waits for backups");
    let error = connection.request(Request::Machines).unwrap_err();
    assert!(error.to_string().contains("the appliance is stopping"), "{error}");
    assert!(!doors.socket.exists());
}

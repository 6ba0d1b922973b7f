//! Requests, credit, news, and every way in which a connection ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chunk::{BundleBuilder, BundleLimits, Compressor, Level, NamingKey};
use link::{Connection, LinkError, LinkEvent};
use model::archive::ArchiveError;
use model::operation::Operation;
use model::{ErrorKind, ObjectId, SequenceNumber, SourceId};
use tokio::io::AsyncWriteExt;
use wire::message::{CREDIT_INITIAL, OPERATIONS_MAX};
use wire::{Reply, Request, frame, operations};

use super::played::{self, Asked, KEY, MACHINE, play, sent};

fn full() -> ArchiveError {
    ArchiveError { kind: ErrorKind::Full, message: "no room".into() }
}

#[test]
fn the_greeting_tells_machine_and_key() {
    let (connection, _appliance) = play(|_| None);
    let welcome = connection.welcome();
    assert_eq!((welcome.version, &*welcome.software), (1, "played"));
    assert_eq!(welcome.machine.as_ref().unwrap().as_str(), MACHINE);
    assert_eq!(welcome.naming_key.as_ref().unwrap().as_bytes(), &KEY);
    assert!(!connection.is_broken());
}

#[test]
fn many_threads_ask_and_get_their_own_answers_in_any_order() {
    // Answers wait until four questions are there and come in reverse; the count ends the last round.
    let mut held = Vec::new();
    let (connection, _appliance) = play(move |asked| {
        let Request::Points { source, .. } = asked.request else { panic!("{:?}", asked.request) };
        held.push(sent(asked.id, Reply::Places { places: vec![source.0] }));
        if held.len() < 4 {
            return Some(vec![]);
        }
        held.reverse();
        Some(std::mem::take(&mut held))
    });
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let connection = &connection;
            scope.spawn(move || {
                for round in 0..50 {
                    let source = SourceId(thread * 1000 + round);
                    let (reply, _) = connection.request(Request::Points { source, from: 0 }).unwrap();
                    assert_eq!(reply, Reply::Places { places: vec![source.0] });
                }
            });
        }
    });
}

#[test]
fn more_threads_than_requests_may_wait_all_get_answers() {
    let mut held = Vec::new();
    let mut left = 150;
    let (connection, _appliance) = play(move |asked| {
        assert!(held.len() < 64, "more requests than may wait");
        held.push(sent(asked.id, Reply::Done));
        left -= 1;
        let is_time = held.len() == 64 || left < 64;
        Some(if is_time { std::mem::take(&mut held) } else { vec![] })
    });
    std::thread::scope(|scope| {
        for _ in 0..150 {
            scope.spawn(|| assert_eq!(connection.request(Request::Machines).unwrap().0, Reply::Done));
        }
    });
}

#[test]
fn a_refusal_is_an_error_of_its_kind() {
    let (connection, _appliance) =
        play(|asked| Some(vec![sent(asked.id, Reply::Failed { session: None, error: full() })]));
    let error = connection.request(Request::Status).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert_eq!(error.to_string(), "appliance: no room");
    assert!(!connection.is_broken());
}

#[test]
fn data_waits_for_credit_and_nothing_is_lost() {
    let taken = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&taken);
    let mut held = 0;
    let (connection, _appliance) = play(move |Asked { id, request, bulk }| {
        let Request::Data { number, .. } = request else { return Some(vec![sent(id, Reply::Done)]) };
        assert_eq!(seen.fetch_add(1, Ordering::SeqCst) + 1, number, "bundles come in order");
        assert!(bulk.iter().all(|byte| u64::from(*byte) == number % 256), "bundle {number}");
        held += frame::cost(minicbor::to_vec(&request).unwrap().len(), bulk.len());
        assert!(held <= CREDIT_INITIAL, "no more than the credit is under way");
        // Gives nothing back until the client has hardly any left, so that it must wait.
        if held < CREDIT_INITIAL - (2 << 20) {
            return Some(vec![]);
        }
        Some(vec![sent(0, Reply::Credit { bytes: std::mem::take(&mut held) })])
    });
    for number in 1..=100u64 {
        let byte = u8::try_from(number % 256).unwrap();
        connection.send_data(1, number, vec![byte; 1 << 20]).unwrap();
    }
    // The answer comes behind everything that was sent.
    connection.request(Request::Abort { session: 1 }).unwrap();
    assert_eq!(taken.load(Ordering::SeqCst), 100);
}

#[test]
fn a_bundle_arrives_as_head_table_and_body() {
    let key = NamingKey::from_bytes([1; 32]);
    let mut builder = BundleBuilder::new(BundleLimits::default());
    for text in [&b"one"[..], b"two two"] {
        builder.push(key.name(text), text).unwrap();
    }
    let bundle = builder.finish(&mut Compressor::new(), Level::default()).unwrap();
    let expected = [&bundle.encode_head()[..], bundle.body()].concat();
    let (sender, received) = std::sync::mpsc::channel();
    let (connection, _appliance) = play(move |asked| {
        sender.send(asked.bulk).unwrap();
        Some(vec![])
    });
    connection.send_bundle(1, 1, bundle).unwrap();
    assert_eq!(received.recv().unwrap(), expected);
}

#[test]
fn operations_are_sent_in_as_many_messages_as_they_need() {
    let all: Vec<_> = (0..OPERATIONS_MAX as u64 * 2 + 5)
        .map(|size| Operation::Truncate { object: ObjectId(3), size })
        .collect();
    let expected = all.clone();
    let mut arrived = Vec::new();
    let (connection, _appliance) = play(move |asked| {
        let Request::Operations { first, count, .. } = asked.request else {
            assert_eq!(arrived, expected);
            return Some(vec![sent(asked.id, Reply::Done)]);
        };
        assert_eq!(first.0, 10 + arrived.len() as u64);
        arrived.extend(operations::decode(&asked.bulk, count).unwrap());
        Some(vec![])
    });
    let next = connection.send_operations(1, SequenceNumber(10), &all).unwrap();
    assert_eq!(next.0, 10 + all.len() as u64);
    connection.request(Request::Abort { session: 1 }).unwrap();
}

#[test]
fn a_backup_that_fails_stops_whoever_sends_for_it() {
    let (connection, _appliance) = play(|asked| match asked.request {
        // No credit comes back, so that the sender waits when the failure arrives.
        Request::Data { number: 12, .. } => {
            let durable = sent(0, Reply::Durable { session: 1, number: 9 });
            Some(vec![durable, sent(0, Reply::Failed { session: Some(1), error: full() })])
        }
        Request::Data { .. } => Some(vec![]),
        _ => Some(vec![sent(asked.id, Reply::Done)]),
    });
    let error = (1..100)
        .find_map(|number| connection.send_data(1, number, vec![1; 1 << 20]).err())
        .expect("credit ends before");
    assert!(matches!(&error, LinkError::Appliance(error) if *error == full()), "{error:?}");
    assert_eq!(connection.failure(1), Some(full()));
    assert_eq!(connection.durable(1), 9);
    let limit = Duration::from_secs(5);
    assert_eq!(connection.next_event(limit).unwrap(), Some(LinkEvent::Durable { session: 1, number: 9 }));
    assert_eq!(connection.next_event(limit).unwrap(), Some(LinkEvent::Failed { session: 1, error: full() }));
    assert_eq!(connection.next_event(Duration::from_millis(10)).unwrap(), None);
    assert!(connection.request(Request::Machines).is_ok(), "the connection goes on");
}

#[test]
fn everything_that_waits_learns_why_the_connection_ended() {
    let (connection, appliance) = play(|asked| match asked.request {
        Request::Data { .. } => Some(vec![]),
        Request::Status => None,
        _ => Some(vec![]),
    });
    let connection = &connection;
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| connection.request(Request::Machines).unwrap_err());
        let finishing = scope.spawn(|| connection.request(Request::Verify { point: None }).unwrap_err());
        let sending = scope.spawn(|| {
            (1..100).find_map(|number| connection.send_data(1, number, vec![1; 1 << 20]).err()).unwrap()
        });
        let listening = scope.spawn(|| connection.next_event(Duration::from_secs(60)).unwrap_err());
        std::thread::sleep(Duration::from_millis(300));
        let hanging = connection.request(Request::Status).unwrap_err();
        for error in [
            hanging,
            asking.join().unwrap(),
            finishing.join().unwrap(),
            sending.join().unwrap(),
            listening.join().unwrap(),
        ] {
            assert!(matches!(error, LinkError::Broken { .. }), "{error:?}");
            assert!(error.to_string().contains("the appliance closed it"), "{error}");
        }
    });
    assert!(connection.is_broken());
    assert!(matches!(connection.request(Request::Machines), Err(LinkError::Broken { .. })));
    appliance.join().unwrap();
}

#[test]
fn who_wants_to_stop_does_not_wait_for_an_appliance_that_takes_no_bytes() {
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let (connection, appliance) = play(move |_| {
        let _ = held.recv();
        None
    });
    let stop = Arc::new(AtomicBool::new(false));
    connection.stop_with(Arc::clone(&stop));
    std::thread::scope(|scope| {
        // Far less than the credit, and more than what lies on the way can hold.
        let send = |number| connection.send_data(1, number, vec![1; 100_000]).err();
        let sending = scope.spawn(move || (1..100).find_map(send).unwrap());
        std::thread::sleep(Duration::from_secs(1));
        assert!(!sending.is_finished());
        let began = Instant::now();
        stop.store(true, Ordering::SeqCst);
        let error = sending.join().unwrap();
        assert!(error.to_string().contains("stopped while waiting for the appliance to take"), "{error}");
        connection.abort(1);
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    });
    drop((connection, hold));
    appliance.join().unwrap();
}

#[test]
fn words_of_the_appliance_reach_those_who_wait() {
    let (connection, _appliance) = play(|_| {
        let error = ArchiveError { kind: ErrorKind::Refused, message: "machine was revoked".into() };
        Some(vec![sent(0, Reply::Failed { session: None, error })])
    });
    let error = connection.request(Request::Machines).unwrap_err();
    assert!(error.to_string().contains("machine was revoked"), "{error}");
}

#[test]
fn an_appliance_that_breaks_the_protocol_is_left() {
    for (reply, words) in [
        (sent(99, Reply::Done), "id 99 is answered but was not asked"),
        (sent(0, Reply::Credit { bytes: 1 }), "credit has an impossible value"),
        ((0, Reply::Durable { session: 1, number: 1 }, vec![1]), "length of the bulk"),
    ] {
        let mut reply = Some(reply);
        let (connection, _appliance) = play(move |_| reply.take().map(|reply| vec![reply]));
        let error = connection.request(Request::Machines).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn noise_instead_of_an_appliance_is_left() {
    let (ours, mut theirs) = tokio::io::duplex(1000);
    let noise = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(theirs.write_all(b"SSH-2.0-OpenSSH_9.2p1 Debian")).unwrap();
        theirs
    });
    let error = Connection::over(ours).unwrap_err();
    assert!(matches!(error, LinkError::Broken { .. }), "{error:?}");
    drop(noise.join().unwrap());
}

#[test]
fn an_appliance_that_does_not_greet_is_left_after_ten_seconds() {
    let (ours, _theirs) = tokio::io::duplex(1000);
    let began = Instant::now();
    let error = Connection::over(ours).unwrap_err();
    assert!(matches!(error, LinkError::Timeout { .. }), "{error:?}");
    assert!((9..20).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[test]
fn a_version_from_the_future_is_refused() {
    let (ours, theirs) = tokio::io::duplex(1000);
    let appliance = std::thread::spawn(move || {
        played::run(theirs, |asked| {
            let (machine, naming_key) = (None, None);
            Some(vec![sent(
                asked.id,
                Reply::Welcome { version: 9, software: "x".into(), machine, naming_key },
            )])
        });
    });
    let error = Connection::over(ours).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    appliance.join().unwrap();
}

#[test]
fn dropping_a_connection_ends_it_at_once() {
    let (connection, appliance) = play(|_| Some(vec![]));
    let began = Instant::now();
    drop(connection);
    appliance.join().unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn nobody_there_and_nothing_joined_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Connection::connect(dir.path()), Err(LinkError::NotJoined { .. })));
    let error = Connection::local(&dir.path().join("socket")).unwrap_err();
    assert!(matches!(error, LinkError::Connect { .. }), "{error:?}");
}

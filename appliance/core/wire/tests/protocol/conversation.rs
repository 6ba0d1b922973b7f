//! Every rule of a conversation, one by one: what is let through, what is refused, what ends the connection.

use model::archive::PointKey;
use model::record::{Label, RestoreGrant, Totals};
use model::{ErrorKind, MachineId, Name, SequenceNumber, SourceId, Time};
use wire::conversation::{CREDIT_STEP, IN_FLIGHT_MAX, SESSIONS_MAX};
use wire::drive::DriveOrder;
use wire::frame::COST_LEAST;
use wire::keeping::Order;
use wire::message::{CREDIT_INITIAL, VERSION};
use wire::{Caller, Conversation, Credit, Event, Frame, Incoming, Limits, Peer, Reply, Request, WireError};

const AGENT: Peer = Peer::Agent(MachineId(1));

fn frame(id: u32, request: &Request, bulk: usize) -> Frame {
    Frame { id, body: minicbor::to_vec(request).unwrap(), bulk: vec![0; bulk] }
}

fn hello(version: u16) -> Request {
    Request::Hello { version, software: "test 1".into() }
}

fn begin() -> Request {
    Request::Begin { source: Label::new("home").unwrap(), continuity: None, size_bytes: None }
}

fn finish(session: u64, last: u64) -> Request {
    Request::Finish {
        session,
        last: SequenceNumber(last),
        started: Time(1),
        finished: Time(2),
        totals: Totals::default(),
        exceptions: vec![],
        exceptions_count: 0,
    }
}

fn operations(session: u64, first: u64, count: u32) -> Request {
    Request::Operations { session, first: SequenceNumber(first), count }
}

fn greeted(peer: Peer) -> Conversation {
    let mut conversation = Conversation::new(peer);
    conversation.receive(frame(1, &hello(1), 0)).unwrap();
    assert!(conversation.answered(1));
    conversation
}

/// An agent with one backup open whose last operation is 10.
fn backing_up() -> Conversation {
    let mut conversation = greeted(AGENT);
    conversation.receive(frame(2, &begin(), 0)).unwrap();
    assert_eq!(conversation.begun(2, SequenceNumber(10)), Some(1));
    conversation
}

/// One request of every kind, with its bulk length.
fn all() -> Vec<(Request, usize)> {
    let point = PointKey { source: SourceId(1), number: 1 };
    let machine = Label::new("web1").unwrap();
    let names = vec![Name([1; 32])];
    vec![
        (hello(1), 0),
        (Request::Join { secret: vec![1; 16], host: "h".into() }, 0),
        (begin(), 0),
        (Request::Have { session: 1, names: names.clone() }, 0),
        (Request::Data { session: 1, number: 1 }, 20),
        (operations(1, 11, 1), 20),
        (finish(1, 10), 0),
        (Request::Abort { session: 1 }, 0),
        (Request::Machines, 0),
        (Request::Sources, 0),
        (Request::Points { source: SourceId(1), from: 0 }, 0),
        (Request::Point { point }, 0),
        (Request::Item { point, key: vec![] }, 0),
        (Request::Items { point, from: vec![], to: vec![], limit: 1 }, 0),
        (Request::ItemAtOrBefore { point, from: vec![], at: vec![] }, 0),
        (Request::Changes { before: point, after: point, from: vec![], limit: 1 }, 0),
        (Request::Chunks { point, names: names.clone() }, 0),
        (Request::Places { point, names }, 0),
        (
            Request::CreateToken {
                machine: machine.clone(),
                restore: RestoreGrant::None,
                own_domain: false,
                address: None,
            },
            0,
        ),
        (Request::Revoke { machine }, 0),
        (Request::Status, 0),
        (Request::Verify { point: None }, 0),
        (Request::Keep { order: Order::Plan { trial: None } }, 0),
        (Request::Drives { order: DriveOrder::List }, 0),
    ]
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Allowed,
    Refused,
    Breach,
}

fn outcome(found: &Result<Event, WireError>) -> Outcome {
    match found {
        Ok(Event::Refused { .. }) => Outcome::Refused,
        Ok(_) => Outcome::Allowed,
        Err(_) => Outcome::Breach,
    }
}

/// The whole table of who may do what when.
#[test]
fn every_request_in_every_state() {
    for (request, bulk) in all() {
        let bulky = bulk > 0;
        let id = if bulky { 0 } else { 9 };
        let is_hello = matches!(request, Request::Hello { .. });
        let is_join = matches!(request, Request::Join { .. });
        let is_begin = matches!(request, Request::Begin { .. });
        let in_backup = matches!(
            request,
            Request::Have { .. }
                | Request::Data { .. }
                | Request::Operations { .. }
                | Request::Finish { .. }
                | Request::Abort { .. }
        );
        let is_admin = matches!(
            request,
            Request::CreateToken { .. }
                | Request::Revoke { .. }
                | Request::Status
                | Request::Verify { .. }
                | Request::Keep { .. }
                | Request::Drives { .. }
        );
        let expect = |breach: bool, refused: bool| match (breach, refused) {
            (true, _) => Outcome::Breach,
            (_, true) => Outcome::Refused,
            _ => Outcome::Allowed,
        };
        let cases = [
            ("silent unknown", Conversation::new(Peer::Unknown), expect(!is_hello, false)),
            ("silent agent", Conversation::new(AGENT), expect(!is_hello, false)),
            ("silent operator", Conversation::new(Peer::Local), expect(!is_hello, false)),
            ("unknown", greeted(Peer::Unknown), expect(!is_join, false)),
            ("agent", greeted(AGENT), expect(is_hello || in_backup, is_admin)),
            ("operator", greeted(Peer::Local), expect(is_hello || is_join || bulky, in_backup || is_begin)),
            ("agent with a backup", backing_up(), expect(is_hello, is_admin)),
        ];
        for (state, mut conversation, expected) in cases {
            let found = conversation.receive(frame(id, &request, bulk));
            assert_eq!(outcome(&found), expected, "{state}: {request:?} gives {found:?}");
        }
    }
}

#[test]
fn the_lower_version_is_spoken() {
    for (offered, expected) in [(1, 1), (2, VERSION), (u16::MAX, VERSION)] {
        let found = Conversation::new(AGENT).receive(frame(1, &hello(offered), 0)).unwrap();
        assert!(matches!(found, Event::Hello { version, .. } if version == expected), "{found:?}");
    }
    let problem = Conversation::new(AGENT).receive(frame(1, &hello(0), 0)).unwrap_err();
    assert_eq!(problem.kind(), ErrorKind::Unsupported);
}

#[test]
fn frames_are_short_until_a_known_peer_has_greeted() {
    assert_eq!(Conversation::new(AGENT).limits(), Limits::UNKNOWN);
    assert_eq!(Conversation::new(Peer::Local).limits(), Limits::UNKNOWN);
    assert_eq!(greeted(Peer::Unknown).limits(), Limits::UNKNOWN);
    assert_eq!(greeted(AGENT).limits(), Limits::KNOWN);
    assert_eq!(greeted(Peer::Local).limits(), Limits::KNOWN);
}

#[test]
fn a_body_is_no_longer_than_its_request_needs() {
    let mut body = minicbor::to_vec(Request::Machines).unwrap();
    body.resize(1025, 0);
    let found = greeted(AGENT).receive(Frame { id: 3, body, bulk: vec![] });
    assert!(matches!(found, Err(WireError::TooLong { most: 1024, .. })), "{found:?}");
}

#[test]
fn unknown_requests_and_noise_end_the_connection() {
    for (body, kind) in [
        (minicbor::to_vec((99u8, [0u8; 0])).unwrap(), ErrorKind::Unsupported),
        (vec![], ErrorKind::Corrupt),
        (vec![0xff], ErrorKind::Corrupt),
        (vec![0x82, 2, 0x80], ErrorKind::Corrupt),
    ] {
        let problem = greeted(AGENT).receive(Frame { id: 3, body, bulk: vec![] }).unwrap_err();
        assert_eq!(problem.kind(), kind, "{problem}");
    }
}

#[test]
fn ids_belong_to_questions_only_and_to_one_at_a_time() {
    let found = greeted(AGENT).receive(frame(0, &Request::Machines, 0));
    assert!(matches!(found, Err(WireError::Id { .. })), "{found:?}");
    let found = backing_up().receive(frame(3, &Request::Data { session: 1, number: 1 }, 20));
    assert!(matches!(found, Err(WireError::Id { .. })), "{found:?}");
    let mut conversation = greeted(AGENT);
    conversation.receive(frame(7, &Request::Machines, 0)).unwrap();
    let found = conversation.receive(frame(7, &Request::Sources, 0));
    assert!(matches!(found, Err(WireError::IdUse { id: 7, .. })), "{found:?}");
    let mut conversation = greeted(AGENT);
    conversation.receive(frame(7, &Request::Machines, 0)).unwrap();
    assert!(conversation.answered(7));
    assert!(conversation.receive(frame(7, &Request::Sources, 0)).is_ok());
}

#[test]
fn only_so_many_requests_wait_for_an_answer() {
    let mut conversation = greeted(AGENT);
    for id in 0..u32::try_from(IN_FLIGHT_MAX).unwrap() {
        conversation.receive(frame(10 + id, &Request::Machines, 0)).unwrap();
    }
    assert_eq!(conversation.in_flight(), IN_FLIGHT_MAX);
    let found = conversation.receive(frame(9, &Request::Machines, 0));
    assert!(matches!(found, Err(WireError::TooMany { .. })), "{found:?}");
}

#[test]
fn only_so_many_backups_at_a_time() {
    let mut conversation = backing_up();
    for id in 0..u32::try_from(SESSIONS_MAX).unwrap() - 1 {
        conversation.receive(frame(10 + id, &begin(), 0)).unwrap();
    }
    let found = conversation.receive(frame(9, &begin(), 0));
    assert!(matches!(found, Err(WireError::TooMany { what: "backups at a time", .. })), "{found:?}");
    let mut conversation = backing_up();
    conversation.receive(frame(8, &finish(1, 10), 0)).unwrap();
    for id in 10..12 {
        conversation.receive(frame(id, &begin(), 0)).unwrap();
    }
    assert_eq!(conversation.begun(10, SequenceNumber(0)), Some(2));
    assert_eq!(conversation.begun(10, SequenceNumber(0)), None, "no such request waits");
    assert_eq!(conversation.begun(8, SequenceNumber(0)), None, "it asked for something else");
}

#[test]
fn bundles_have_no_gaps_and_no_repeats() {
    for number in [0, 1, 3, u64::MAX] {
        let mut conversation = backing_up();
        conversation.receive(frame(0, &Request::Data { session: 1, number: 1 }, 20)).unwrap();
        let found = conversation.receive(frame(0, &Request::Data { session: 1, number }, 20));
        assert!(matches!(found, Err(WireError::BundleNumber { last: 1, .. })), "{number}: {found:?}");
    }
}

#[test]
fn operations_have_no_gaps_and_repeats_are_dropped() {
    let cases = [
        (11, 3, Some((11, 3))),
        (10, 3, Some((11, 2))),
        (1, 12, Some((11, 2))),
        (12, 1, None),
        (u64::MAX, 1, None),
        (11, 0, None),
        (0, 1, None),
    ];
    for (first, count, expected) in cases {
        let found = backing_up().receive(frame(0, &operations(1, first, count), 20));
        match (found, expected) {
            (Ok(Event::Operations { run, .. }), Some(expected)) => {
                assert_eq!((run.first.0, run.new_count()), expected, "{first}, {count}");
            }
            (Err(_), None) => {}
            (found, expected) => panic!("{first}, {count}: {found:?}, expected {expected:?}"),
        }
    }
    let found = backing_up().receive(frame(0, &operations(1, 8, 3), 20)).unwrap();
    assert_eq!(found, Event::Late { cost: COST_LEAST }, "all of them came before");
}

#[test]
fn a_repeated_run_yields_only_what_is_new() {
    let object = model::ObjectId(1);
    let run: Vec<_> = (0..4).map(|size| model::operation::Operation::Truncate { object, size }).collect();
    let (count, bulk) = wire::operations::encode(&run);
    let body = minicbor::to_vec(operations(1, 9, count)).unwrap();
    let found = backing_up().receive(Frame { id: 0, body, bulk }).unwrap();
    let Event::Operations { run: found, .. } = found else { panic!("{found:?}") };
    assert_eq!(found.decode().unwrap(), run[2..]);
}

#[test]
fn the_last_number_of_a_stream_has_no_next() {
    let mut conversation = greeted(AGENT);
    conversation.receive(frame(2, &begin(), 0)).unwrap();
    conversation.begun(2, SequenceNumber(u64::MAX)).unwrap();
    for first in [1, u64::MAX - 5, u64::MAX] {
        let found = conversation.receive(frame(0, &operations(1, first, 8192), 20));
        assert!(!matches!(found, Ok(Event::Operations { .. })), "{first}: {found:?}");
    }
}

#[test]
fn a_backup_ends_with_its_last_operation() {
    let mut conversation = backing_up();
    conversation.receive(frame(0, &operations(1, 11, 5), 20)).unwrap();
    let found = conversation.receive(frame(3, &finish(1, 14), 0));
    assert!(matches!(found, Err(WireError::LastOperation { .. })), "{found:?}");
    let mut conversation = backing_up();
    conversation.receive(frame(0, &operations(1, 11, 5), 20)).unwrap();
    let found = conversation.receive(frame(3, &finish(1, 15), 0)).unwrap();
    assert!(matches!(found, Event::Finish { session: 1, .. }), "{found:?}");
}

#[test]
fn nothing_follows_the_end_of_a_backup() {
    for end in [finish(1, 10), Request::Abort { session: 1 }] {
        for (request, bulk) in all().into_iter().skip(3).take(5) {
            let mut conversation = backing_up();
            conversation.receive(frame(3, &end, 0)).unwrap();
            let id = if bulk > 0 { 0 } else { 4 };
            let found = conversation.receive(frame(id, &request, bulk));
            assert!(matches!(found, Err(WireError::Order { .. })), "{request:?}: {found:?}");
        }
    }
}

#[test]
fn a_backup_that_was_never_begun_is_no_backup() {
    for session in [0, 2, u64::MAX] {
        let found = backing_up().receive(frame(0, &Request::Data { session, number: 1 }, 20));
        assert!(matches!(found, Err(WireError::Session { .. })), "{session}: {found:?}");
    }
}

#[test]
fn what_is_under_way_when_a_backup_fails_is_dropped_and_its_credit_returned() {
    let mut conversation = backing_up();
    conversation.fail(1);
    let data = Request::Data { session: 1, number: 7 };
    assert_eq!(conversation.receive(frame(0, &data, 20)).unwrap(), Event::Late { cost: COST_LEAST });
    let late = conversation.receive(frame(0, &operations(1, 99, 1), 20)).unwrap();
    assert_eq!(late, Event::Late { cost: COST_LEAST });
    let have = Request::Have { session: 1, names: vec![] };
    assert!(matches!(conversation.receive(frame(3, &have, 0)).unwrap(), Event::Refused { id: 3, .. }));
    let end = conversation.receive(frame(4, &finish(1, 99), 0)).unwrap();
    assert!(matches!(end, Event::Refused { id: 4, .. }), "{end:?}");
    let found = conversation.receive(frame(0, &data, 20));
    assert!(matches!(found, Err(WireError::Order { .. })), "the peer knows by now: {found:?}");
}

#[test]
fn bulk_bytes_belong_to_data_and_operations_only() {
    let found = greeted(AGENT).receive(frame(3, &Request::Machines, 1));
    assert!(matches!(found, Err(WireError::Value { .. })), "{found:?}");
    let found = backing_up().receive(frame(0, &Request::Data { session: 1, number: 1 }, 0));
    assert!(matches!(found, Err(WireError::Value { .. })), "{found:?}");
}

#[test]
fn nobody_sends_beyond_its_credit() {
    let mut conversation = backing_up();
    let mut credit = Credit::default();
    let length = 1 << 20;
    let mut number = 0;
    let mut send = |conversation: &mut Conversation, credit: &mut Credit| {
        number += 1;
        let next = frame(0, &Request::Data { session: 1, number }, length);
        let allowed = credit.spend(wire::frame::cost(next.body.len(), length));
        (allowed, conversation.receive(next))
    };
    let mut costs = 0;
    let problem = loop {
        match send(&mut conversation, &mut credit) {
            (true, Ok(Event::Data { cost, .. })) => costs += cost,
            (false, Err(problem)) => break problem,
            other => panic!("both ends count alike: {other:?}"),
        }
    };
    assert!(matches!(problem, WireError::Credit { .. }), "{problem}");
    assert!(costs <= CREDIT_INITIAL && costs > CREDIT_INITIAL - 2 * (1 << 20), "{costs}");
}

#[test]
fn credit_that_comes_back_can_be_spent_again() {
    let mut conversation = backing_up();
    let mut credit = Credit::default();
    for number in 1..=200 {
        let next = frame(0, &Request::Data { session: 1, number }, 1 << 20);
        assert!(credit.spend(wire::frame::cost(next.body.len(), 1 << 20)), "bundle {number}");
        let Ok(Event::Data { cost, .. }) = conversation.receive(next) else { panic!("bundle {number}") };
        if let Some(Reply::Credit { bytes }) = conversation.give_back(cost) {
            assert!(bytes >= CREDIT_STEP);
            credit.receive(bytes).unwrap();
        }
    }
    assert!(credit.receive(CREDIT_INITIAL + 1).is_err(), "more than was spent");
    assert!(credit.receive(u64::MAX).is_err());
}

fn reply(id: u32, reply: &Reply, bulk: usize) -> Frame {
    Frame { id, body: minicbor::to_vec(reply).unwrap(), bulk: vec![0; bulk] }
}

#[test]
fn answers_find_their_questions_in_any_order() {
    let mut caller = Caller::default();
    let first = caller.ask("first").unwrap();
    let second = caller.ask("second").unwrap();
    assert_ne!(first, second);
    let found = caller.receive(reply(second, &Reply::Done, 0)).unwrap();
    assert!(matches!(found, Incoming::Answer { waiting: "second", .. }), "{found:?}");
    assert_eq!(caller.give_up().collect::<Vec<_>>(), ["first"]);
    assert!(caller.is_empty());
    assert!(caller.receive(reply(second, &Reply::Done, 0)).is_err(), "nobody asked");
}

#[test]
fn a_caller_has_only_so_many_questions_open() {
    let mut caller = Caller::default();
    for _ in 0..IN_FLIGHT_MAX {
        caller.ask(()).unwrap();
    }
    assert_eq!(caller.ask(()), Err(()));
    assert_eq!(caller.len(), IN_FLIGHT_MAX);
}

#[test]
fn replies_without_question_are_told_apart() {
    let mut caller = Caller::<()>::default();
    let error = model::archive::ArchiveError { kind: ErrorKind::Full, message: "full".into() };
    let failed = Reply::Failed { session: Some(1), error: error.clone() };
    assert_eq!(caller.receive(reply(0, &failed, 0)).unwrap(), Incoming::Failed { session: Some(1), error });
    let durable = Reply::Durable { session: 1, number: 5 };
    assert!(caller.receive(reply(0, &durable, 0)).is_ok());
    for bad in [reply(3, &durable, 0), reply(3, &Reply::Credit { bytes: 1 }, 0), reply(0, &Reply::Done, 0)] {
        assert!(caller.receive(bad).is_err());
    }
    assert!(caller.receive(reply(0, &durable, 1)).is_err(), "only chunks have bulk bytes");
}

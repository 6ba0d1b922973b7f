//! Every message survives its encoding, and what CBOR allows but the protocol does not is refused.

use model::archive::PointKey;
use model::item::{Attributes, FileKind};
use model::operation::{Content, Operation};
use model::record::{EXCEPTIONS_MAX, Exception, ExceptionCause, Label, RestoreGrant, Totals};
use model::{EntryName, MachineId, Name, ObjectId, SequenceNumber, SourceId, Time};
use proptest::prelude::*;
use wire::message::{NAMES_MAX, OPERATIONS_MAX, Reply, Request, fit_exceptions};
use wire::{Caller, Conversation, Frame, Incoming, Peer, WireError, frame, operations};

use super::arbitrary;

proptest! {
    #[test]
    fn requests_survive(request in arbitrary::request()) {
        let bytes = minicbor::to_vec(&request).unwrap();
        prop_assert_eq!(minicbor::decode::<Request>(&bytes).unwrap(), request);
    }

    #[test]
    fn replies_survive_and_pass_the_checks(reply in arbitrary::reply()) {
        let mut caller = Caller::default();
        let with_id = !matches!(reply, Reply::Credit { .. } | Reply::Durable { .. });
        let id = if with_id { caller.ask("mine").unwrap() } else { 0 };
        let frame = Frame { id, body: minicbor::to_vec(&reply).unwrap(), bulk: Vec::new() };
        match caller.receive(frame).unwrap() {
            Incoming::Answer { waiting, reply: found, .. } => {
                prop_assert_eq!(waiting, "mine");
                prop_assert_eq!(found, reply);
            }
            Incoming::Credit { bytes } => prop_assert_eq!(Reply::Credit { bytes }, reply),
            Incoming::Durable { session, number } => {
                prop_assert_eq!(Reply::Durable { session, number }, reply);
            }
            Incoming::Failed { .. } => prop_assert!(false, "the reply has an id"),
        }
    }

    #[test]
    fn operations_survive(operations in proptest::collection::vec(arbitrary::operation(), 0..50)) {
        let (count, bytes) = operations::encode(&operations);
        prop_assert_eq!(count as usize, operations.len());
        prop_assert_eq!(operations::decode(&bytes, count).unwrap(), operations);
        prop_assert!(operations::decode(&bytes, count + 1).is_err());
    }
}

/// What a local client that has greeted gets for a request.
fn local(request: &Request) -> Result<wire::Event, WireError> {
    let mut conversation = Conversation::new(Peer::Local);
    let hello = Request::Hello { version: 1, software: "test".into() };
    conversation.receive(question(1, &hello)).unwrap();
    conversation.receive(question(2, request))
}

fn agent(request: &Request) -> Result<wire::Event, WireError> {
    let mut conversation = Conversation::new(Peer::Agent(MachineId(1)));
    let hello = Request::Hello { version: 1, software: "test".into() };
    conversation.receive(question(1, &hello)).unwrap();
    conversation.receive(question(2, request))
}

fn question(id: u32, request: &Request) -> Frame {
    Frame { id, body: minicbor::to_vec(request).unwrap(), bulk: Vec::new() }
}

/// A label as a hostile encoder writes it.
fn unchecked_label(text: &str) -> Label {
    minicbor::decode(&minicbor::to_vec(text).unwrap()).unwrap()
}

#[test]
fn impossible_values_of_requests_are_refused() {
    let point = PointKey { source: SourceId(1), number: 1 };
    let long = "x".repeat(256);
    let names = vec![Name([7; 32]); NAMES_MAX + 1];
    let escape = unchecked_label("../etc");
    let cases = [
        Request::Join { secret: vec![0; 257], host: "h".into() },
        Request::Join { secret: vec![0; 16], host: long },
        Request::Begin { source: escape.clone(), continuity: None, size_bytes: None },
        Request::Begin { source: unchecked_label("home"), continuity: Some(vec![0; 257]), size_bytes: None },
        Request::Chunks { point, names: names.clone() },
        Request::Places { point, names },
        Request::Item { point, key: vec![0; 266] },
        Request::Items { point, from: vec![0; 266], to: vec![], limit: 1 },
        Request::Items { point, from: vec![], to: vec![0; 266], limit: 1 },
        Request::ItemAtOrBefore { point, from: vec![], at: vec![0; 266] },
        Request::Changes { before: point, after: point, from: vec![0; 266], limit: 1 },
    ];
    for request in cases {
        let problem = agent(&request).unwrap_err();
        assert!(
            matches!(
                problem,
                WireError::Value { .. } | WireError::TooMany { .. } | WireError::TooLong { .. }
            ),
            "{request:?}: {problem}"
        );
    }
    let restore = RestoreGrant::Machines(vec![escape.clone()]);
    let machine = unchecked_label("web1");
    for request in [
        Request::Revoke { machine: escape },
        Request::CreateToken { machine, restore, own_domain: false, address: None },
    ] {
        assert!(matches!(local(&request), Err(WireError::Value { .. })), "{request:?}");
    }
}

#[test]
fn what_follows_a_message_is_refused() {
    let mut frame = question(1, &Request::Hello { version: 1, software: "test".into() });
    frame.body.push(0);
    let found = Conversation::new(Peer::Local).receive(frame);
    assert!(matches!(found, Err(WireError::Trailing { length: 1, .. })), "{found:?}");
}

#[test]
fn a_field_of_a_later_version_is_skipped() {
    // [0, [1, "x", "later", {1: 2}]]: a hello with two fields that this version does not have.
    let mut body = Vec::new();
    let mut encoder = minicbor::Encoder::new(&mut body);
    encoder.array(2).unwrap().u8(0).unwrap().array(4).unwrap().u8(1).unwrap().str("x").unwrap();
    encoder.str("later").unwrap().map(1).unwrap().u8(1).unwrap().u8(2).unwrap();
    let found = Conversation::new(Peer::Local).receive(Frame { id: 9, body, bulk: vec![] }).unwrap();
    assert_eq!(found, wire::Event::Hello { id: 9, version: 1, software: "x".into() });
}

#[test]
fn impossible_values_of_replies_are_refused() {
    let cases = [
        Reply::Welcome { version: 1, software: "s".into(), machine: None, naming_key: Some(vec![0; 31]) },
        Reply::Joined { machine: unchecked_label("..") },
        Reply::Had { bits: vec![0; NAMES_MAX / 8 + 1] },
        Reply::Lacking { names: vec![Name([0; 32]); NAMES_MAX + 1] },
        Reply::Places { places: vec![0; NAMES_MAX + 1] },
    ];
    for reply in cases {
        let mut caller = Caller::default();
        let id = caller.ask(()).unwrap();
        let body = minicbor::to_vec(&reply).unwrap();
        assert!(caller.receive(Frame { id, body, bulk: vec![] }).is_err(), "{reply:?}");
    }
}

fn finish(exceptions: Vec<Exception>) -> Request {
    Request::Finish {
        session: 1,
        last: SequenceNumber(0),
        started: Time(0),
        finished: Time(0),
        totals: Totals::default(),
        exceptions_count: exceptions.len() as u64,
        exceptions,
    }
}

fn exception(path_length: usize) -> Exception {
    Exception {
        path: vec![b'p'; path_length],
        cause: ExceptionCause::Unreadable,
        detail: "permission denied".into(),
    }
}

#[test]
fn more_exceptions_than_are_listed_cannot_be_decoded() {
    let most = minicbor::to_vec(finish(vec![exception(1); EXCEPTIONS_MAX])).unwrap();
    assert!(minicbor::decode::<Request>(&most).is_ok());
    let more = minicbor::to_vec(finish(vec![exception(1); EXCEPTIONS_MAX + 1])).unwrap();
    assert!(minicbor::decode::<Request>(&more).is_err());
}

#[test]
fn exceptions_are_cut_to_what_a_frame_holds() {
    let mut exceptions = vec![exception(4096); EXCEPTIONS_MAX];
    fit_exceptions(&mut exceptions);
    let length = minicbor::to_vec(finish(exceptions.clone())).unwrap().len();
    assert!((700..900).contains(&exceptions.len()), "{}", exceptions.len());
    assert!(length <= frame::BODY_MAX, "{length}");
    let mut few = vec![exception(10); 3];
    fit_exceptions(&mut few);
    assert_eq!(few.len(), 3);
}

#[test]
fn impossible_operations_are_refused() {
    let attributes = Attributes::new(FileKind::File, 0o644);
    let make = |attributes| Operation::Make {
        directory: ObjectId::ROOT,
        name: EntryName::new(b"a").unwrap(),
        object: ObjectId(2),
        attributes,
    };
    let object = ObjectId(2);
    let write = |offset, content| Operation::Write { object, offset, content };
    let chunk = |skip, length| Content::Chunk { name: Name([1; 32]), skip, length };
    assert!(operations::decode(&operations::encode(&[make(attributes.clone())]).1, 1).is_ok());
    let cases = [
        make(Attributes { mode: 0o10000, ..attributes.clone() }),
        make(Attributes { target: vec![0; 4097], ..attributes }),
        write(0, chunk(0, 0)),
        write(0, chunk(1, 1 << 20)),
        write(0, chunk(u32::MAX, u32::MAX)),
        write(u64::MAX, chunk(0, 1)),
        write(0, Content::Hole { length: 0 }),
        write(1, Content::Hole { length: u64::MAX }),
        Operation::SetXattr { object, name: vec![], value: vec![] },
        Operation::SetXattr { object, name: vec![b'n'; 256], value: vec![] },
        Operation::SetXattr { object, name: vec![b'n'], value: vec![0; 65_537] },
        Operation::RemoveXattr { object, name: vec![] },
        Operation::Mark { label: "m".repeat(256), at: Time(0) },
    ];
    for operation in cases {
        let (count, bytes) = operations::encode(std::slice::from_ref(&operation));
        let found = operations::decode(&bytes, count);
        assert!(matches!(found, Err(WireError::Value { .. })), "{operation:?}: {found:?}");
    }
}

#[test]
fn a_long_run_of_operations_is_split_where_a_message_is_full() {
    let operation = Operation::Truncate { object: ObjectId(7), size: 1 };
    let many = vec![operation; OPERATIONS_MAX + 5];
    let (count, bytes) = operations::encode(&many);
    assert_eq!(count as usize, OPERATIONS_MAX);
    assert_eq!(operations::decode(&bytes, count).unwrap().len(), OPERATIONS_MAX);
    let large = Operation::SetXattr { object: ObjectId(7), name: vec![b'n'], value: vec![0; 65_536] };
    let (count, bytes) = operations::encode(&vec![large; 100]);
    assert_eq!(count, 16);
    assert!(bytes.len() < operations::RUN_LENGTH_FULL + 70_000);
    let over = u32::try_from(OPERATIONS_MAX).unwrap() + 1;
    assert!(matches!(operations::decode(&bytes, over), Err(WireError::TooMany { .. })));
    assert_eq!(operations::encode(&[]).0, 0);
}

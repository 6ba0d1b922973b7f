//! Frames: delivered in any pieces they are the same, and limits hold before memory is taken.

use std::io::IoSlice;

use model::archive::SharedBytes;
use proptest::collection::vec;
use proptest::prelude::*;
use wire::frame::{BODY_MAX, BULK_MAX, COST_LEAST, HEADER_LENGTH};
use wire::message::{Reply, Request};
use wire::{Frame, FrameKind, Limits, Outgoing, Receiver, WireError};

use super::arbitrary;

fn outgoing(id: u32, request: &Request, bulk: &[u8]) -> Outgoing {
    let parts = bulk.chunks(7).map(|part| SharedBytes::from(part.to_vec())).collect();
    Outgoing::new(FrameKind::Request, id, request, parts).unwrap()
}

fn receive_all(mut pieces: Vec<&[u8]>) -> Result<Vec<Frame>, WireError> {
    let mut receiver = Receiver::new(FrameKind::Request, Limits::KNOWN);
    let mut frames = Vec::new();
    for piece in &mut pieces {
        while let Some(frame) = receiver.receive(piece)? {
            frames.push(frame);
        }
        assert!(piece.is_empty(), "a receiver takes all that it is given");
    }
    assert!(receiver.is_between_frames());
    Ok(frames)
}

proptest! {
    #[test]
    fn pieces_of_any_size_give_the_same_frames(
        messages in vec((arbitrary::request(), vec(any::<u8>(), 0..60)), 1..4),
        size in 1usize..40,
    ) {
        let mut stream = Vec::new();
        let mut expected = Vec::new();
        for (id, (request, bulk)) in (1..).zip(&messages) {
            stream.extend(outgoing(id, request, bulk).to_vec());
            expected.push(Frame { id, body: minicbor::to_vec(request).unwrap(), bulk: bulk.clone() });
        }
        prop_assert_eq!(&receive_all(vec![&stream]).unwrap(), &expected);
        prop_assert_eq!(&receive_all(stream.chunks(size).collect()).unwrap(), &expected);
    }

    #[test]
    fn slices_are_the_bytes_from_any_place(
        request in arbitrary::request(),
        bulk in vec(any::<u8>(), 0..60),
        start in any::<prop::sample::Index>(),
    ) {
        let outgoing = outgoing(1, &request, &bulk);
        let whole = outgoing.to_vec();
        prop_assert_eq!(whole.len(), outgoing.length());
        let start = start.index(whole.len() + 1);
        let mut slices = [IoSlice::new(&[]); 16];
        let filled = outgoing.slices(start, &mut slices);
        let found: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
        prop_assert_eq!(&found, &whole[start..]);
        prop_assert_eq!(filled == 0, start == whole.len());
    }
}

#[test]
fn every_split_equals_whole_delivery() {
    let first = outgoing(1, &Request::Hello { version: 1, software: "a".into() }, &[]).to_vec();
    let second = outgoing(0, &Request::Data { session: 1, number: 1 }, &[9; 50]).to_vec();
    let stream = [first, second].concat();
    let expected = receive_all(vec![&stream]).unwrap();
    assert_eq!(expected.len(), 2);
    for split in 0..=stream.len() {
        let (head, tail) = stream.split_at(split);
        assert_eq!(receive_all(vec![head, tail]).unwrap(), expected, "split at {split}");
    }
}

#[test]
fn few_slices_are_filled_in_order() {
    let outgoing = outgoing(1, &Request::Status, &[5; 70]);
    let mut slices = [IoSlice::new(&[]); 2];
    assert_eq!(outgoing.slices(0, &mut slices), 2);
    assert_eq!(slices[0].len(), outgoing.length() - 70);
    assert_eq!(slices[1].len(), 7);
}

fn header(body: u32, bulk: u32, kind: u16, reserved: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in [body, bulk, 1] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    bytes.extend_from_slice(&kind.to_le_bytes());
    bytes.extend_from_slice(&reserved.to_le_bytes());
    assert_eq!(bytes.len(), HEADER_LENGTH);
    bytes
}

fn receive(limits: Limits, mut bytes: &[u8]) -> Result<Option<Frame>, WireError> {
    Receiver::new(FrameKind::Request, limits).receive(&mut bytes)
}

#[test]
fn headers_beyond_the_limits_are_refused() {
    let body = u32::try_from(BODY_MAX).unwrap();
    let bulk = u32::try_from(BULK_MAX).unwrap();
    let cases = [
        (Limits::UNKNOWN, header(4096, 0, 1, 0), true),
        (Limits::UNKNOWN, header(4097, 0, 1, 0), false),
        (Limits::UNKNOWN, header(1, 1, 1, 0), false),
        (Limits::KNOWN, header(body, bulk, 1, 0), true),
        (Limits::KNOWN, header(body + 1, 0, 1, 0), false),
        (Limits::KNOWN, header(0, bulk + 1, 1, 0), false),
        (Limits::KNOWN, header(u32::MAX, u32::MAX, 1, 0), false),
        (Limits::KNOWN, header(1, 0, 2, 0), false),
        (Limits::KNOWN, header(1, 0, 0, 0), false),
        (Limits::KNOWN, header(1, 0, 1, 1), false),
    ];
    for (limits, bytes, allowed) in cases {
        let found = receive(limits, &bytes);
        assert_eq!(found.is_ok(), allowed, "{bytes:?}: {found:?}");
    }
}

#[test]
fn limits_hold_from_the_next_header_on() {
    let mut receiver = Receiver::new(FrameKind::Request, Limits::UNKNOWN);
    let small = header(0, 0, 1, 0);
    let large = header(8192, 0, 1, 0);
    assert!(receiver.receive(&mut &small[..]).unwrap().is_some());
    receiver.set_limits(Limits::KNOWN);
    assert!(receiver.receive(&mut &large[..]).unwrap().is_none());
    assert!(!receiver.is_between_frames());
}

#[test]
fn memory_follows_what_has_arrived() {
    // A peer that announces the most and sends little must not make the receiver take much.
    let mut receiver = Receiver::new(FrameKind::Request, Limits::KNOWN);
    let announced = header(4 << 20, 5 << 20, 1, 0);
    assert!(receiver.receive(&mut &announced[..]).unwrap().is_none());
    for sent in 1..=100 {
        assert!(receiver.receive(&mut &[0; 100][..]).unwrap().is_none());
        assert!(receiver.memory() <= 2 * sent * 100, "{} after {sent} pieces", receiver.memory());
    }
}

#[test]
fn a_message_that_is_too_long_is_not_sent() {
    let damage = vec!["x".repeat(1 << 20); 5];
    let report = wire::message::VerifyReport { damage, ..Default::default() };
    let found = Outgoing::new(FrameKind::Reply, 1, &Reply::Verified { report }, vec![]);
    assert!(matches!(found, Err(WireError::TooLong { what: "body", .. })));
    let bulk = vec![SharedBytes::from(vec![0; BULK_MAX + 1])];
    let found = Outgoing::new(FrameKind::Reply, 1, &Reply::Done, bulk);
    assert!(matches!(found, Err(WireError::TooLong { what: "bulk", .. })));
}

#[test]
fn a_small_frame_costs_what_its_memory_is_worth() {
    let small = outgoing(0, &Request::Data { session: 1, number: 1 }, &[0; 8]);
    assert_eq!(small.cost(), COST_LEAST);
    let large = outgoing(0, &Request::Data { session: 1, number: 1 }, &[0; 8000]);
    assert_eq!(large.cost(), large.length() as u64);
}

#[test]
fn the_bytes_of_a_frame_are_as_documented() {
    let found = outgoing(258, &Request::Data { session: 3, number: 4 }, &[0xaa, 0xbb]).to_vec();
    let expected = [
        5, 0, 0, 0, // body length
        2, 0, 0, 0, // bulk length
        2, 1, 0, 0, // id
        1, 0, 0, 0, // kind and reserved
        0x82, 4, 0x82, 3, 4, // [4, [3, 4]]
    ];
    let mut other = outgoing(0, &Request::Data { session: 3, number: 4 }, &[0xaa, 0xbb]);
    other.set_id(258);
    assert_eq!(other.to_vec(), found);
    assert_eq!(found, [&expected[..], &[0xaa, 0xbb]].concat());
}

//! Hostile peers at the doors of the real appliance, before and after they have joined: each is refused with a line in
//! the log that says why, memory stays bounded, and an honest agent beside them does not notice.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chunk::{BundleBuilder, BundleLimits, Compressor, Level, NamingKey};
use model::item::{Attributes, FileKind};
use model::operation::Operation;
use model::path::EntryName;
use model::{ErrorKind, Name, ObjectId, SequenceNumber};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use system::{History, Hostile, Site, connect_from, expect, finish, noise, run};
use wire::{FrameKind, Outgoing, Request, operations};

/// More than an appliance takes under any of these attacks, in bytes.
const MEMORY_MAX: u64 = 192 << 20;

/// An honest agent that makes one backup after the other while `attack` is made; then points, memory and log are
/// looked at.
fn beside_an_honest_agent(site: &Site, seed: u64, attack: impl FnOnce()) {
    let mut history = History::begin(site, seed).unwrap();
    let over = AtomicBool::new(false);
    let honest = || {
        while !over.load(Ordering::SeqCst) {
            let mut backup = history.start_backup(site).unwrap();
            assert!(backup.wait().unwrap().success(), "an honest backup failed");
            history.settle(site, true).unwrap();
        }
    };
    std::thread::scope(|scope| {
        let honest = scope.spawn(honest);
        let attacked = catch_unwind(AssertUnwindSafe(attack));
        over.store(true, Ordering::SeqCst);
        let served = honest.join();
        attacked.and(served).unwrap_or_else(|panic| resume_unwind(panic));
    });
    history.conclude(site).unwrap();
    let all = expect(&mut site.keepfast(&["points", "--json"]).unwrap(), 0).unwrap();
    let all: Vec<serde_json::Value> = serde_json::from_str(&all).unwrap();
    assert_eq!(all.len(), history.points(), "only the honest agent makes points");
    let most = site.memory_bytes("VmHWM").unwrap();
    assert!(most < MEMORY_MAX, "{most} bytes");
    let log = site.log().unwrap();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
}

/// Reads until the other end closes.
fn closes(mut stream: impl Read) {
    let mut bytes = [0; 4096];
    while let Ok(1..) = stream.read(&mut bytes) {}
}

#[test]
fn peers_who_are_nobody_are_refused() {
    let site = Site::start().unwrap();
    let used = site.token("twice").unwrap();
    beside_an_honest_agent(&site, 1, || {
        for seed in 0..100 {
            let mut stream = connect_from(site.port(), [1, 0, 1]).unwrap();
            drop(stream.write_all(&noise(seed, 2000)));
        }
        for (from, bytes) in [
            ([1, 0, 2], &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..]),
            ([1, 0, 3], b"SSH-2.0-OpenSSH_9.2\r\n"),
            (
                [1, 0, 4],
                b"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x030123456789abcdef0123456789abcdef\x00\x00\x02\xc0\x2b\
                  \x01\x00\x00\x00",
            ),
        ] {
            let mut stream = connect_from(site.port(), from).unwrap();
            stream.write_all(bytes).unwrap();
            closes(stream);
        }
        let mut keyless = Hostile::connect(&site, [1, 0, 5], None).unwrap();
        keyless.write(b"anything");
        assert_eq!(keyless.last_words().unwrap(), "speaks keepfast/1 but shows no certificate");

        // A token is good for one machine: the second gets an identity and no welcome.
        let first = run(&mut site.agent_named("first", &["join", &used]).unwrap()).unwrap();
        assert!(first.status.success(), "{first:?}");
        let second = run(&mut site.agent_named("second", &["join", &used]).unwrap()).unwrap();
        assert_eq!(second.status.code(), Some(1), "{second:?}");
        let stranger = site.path("second");
        let connect = |from| Hostile::connect(&site, from, Some(&stranger)).unwrap();
        let mut long = connect([1, 0, 6]);
        long.write(&[0x88, 0x13, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
        assert!(long.last_words().unwrap().contains("body of 5000 bytes, at most 4096 are allowed"));
        let mut rude = connect([1, 0, 7]);
        rude.greet().unwrap();
        rude.send(2, &Request::Machines, vec![]).unwrap();
        assert!(rude.last_words().unwrap().contains("breaks the protocol"));
    });
    for (from, words) in [
        ("127.1.0.1", "no TLS handshake"),
        ("127.1.0.2", "no TLS handshake"),
        ("127.1.0.3", "no TLS handshake"),
        ("127.1.0.4", "no TLS handshake"),
        ("127.1.0.5", "shows no certificate"),
        ("127.1.0.6", "body of 5000 bytes, at most 4096 are allowed from an unknown peer"),
        ("127.0.0.1", "cannot join"),
    ] {
        site.wait_for_line(&["WARN", "refused a peer", from, words]).unwrap();
    }
}

/// A frame whose header says what is not so.
fn frame(body_length: u32, bulk_length: u32, body: &[u8]) -> Vec<u8> {
    [&body_length.to_le_bytes()[..], &bulk_length.to_le_bytes(), &[9, 0, 0, 0, 1, 0, 0, 0], body].concat()
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap()
}

#[test]
fn frames_that_lie_end_their_connection() {
    let site = Site::start().unwrap();
    let evil = site.join("evil").unwrap();
    let nested = vec![0x81; 4 << 20];
    let unknown = [0x82, 0x18, 0x63, 0x80];
    let hello = Request::Hello { version: 1, software: "x".into() };
    let twice = Outgoing::new(FrameKind::Request, 9, &hello, vec![]).unwrap().to_vec();
    let cases: [(&str, Vec<u8>); 9] = [
        ("body of 4294967295 bytes, at most 4194304 are allowed", frame(u32::MAX, 0, &[])),
        ("bulk of 4294967295 bytes, at most 5242880 are allowed", frame(4, u32::MAX, &[])),
        ("request", frame(64, 0, &[0xff; 64])),
        ("request", frame(length(&nested), 0, &nested)),
        ("99", frame(4, 0, &unknown)),
        (
            "frame of kind 2, expected 1",
            [&[4, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 2, 0, 0, 0], &unknown[..]].concat(),
        ),
        ("", twice),
        ("data names backup 7, which was never begun", {
            let data = Request::Data { session: 7, number: 1 };
            Outgoing::new(FrameKind::Request, 0, &data, vec![vec![0; 100].into()]).unwrap().to_vec()
        }),
        ("4097 names, at most 4096 are allowed", {
            let have = Request::Have { session: 1, names: vec![Name([1; 32]); 4097] };
            Outgoing::new(FrameKind::Request, 9, &have, vec![]).unwrap().to_vec()
        }),
    ];
    beside_an_honest_agent(&site, 2, || {
        for (number, (words, bytes)) in (1..).zip(&cases) {
            let mut peer = Hostile::connect(&site, [2, 0, number], Some(&evil)).unwrap();
            peer.greet().unwrap();
            peer.write(bytes);
            let said = peer.last_words().unwrap();
            assert!(said.contains("breaks the protocol") && said.contains(words), "{words}: {said}");
            drop(peer);
            site.wait_for_line(&["WARN", "refused a peer", &format!("127.2.0.{number}"), words]).unwrap();
        }
        // Frames that end in the middle, everywhere.
        let whole = Outgoing::new(FrameKind::Request, 9, &Request::Machines, vec![]).unwrap().to_vec();
        for end in 0..whole.len() {
            let mut peer = Hostile::connect(&site, [2, 1, 1], Some(&evil)).unwrap();
            peer.greet().unwrap();
            peer.write(&whole[..end]);
        }
    });
}

/// What travels of a bundle with these lengths in its head.
fn bundle(name: Name, chunk_length: u32, codec: u8, body: &[u8]) -> Vec<u8> {
    let head = [
        &[1, codec, 0, 0][..],
        &1u32.to_le_bytes(),
        &chunk_length.to_le_bytes(),
        &length(body).to_le_bytes(),
    ];
    [&head.concat()[..], &name.0, &chunk_length.to_le_bytes(), body].concat()
}

/// One zstd frame of a gigabyte of zeros.
fn bomb() -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    let zeros = vec![0; 1 << 20];
    (0..1024).for_each(|_| encoder.write_all(&zeros).unwrap());
    encoder.finish().unwrap()
}

#[test]
fn bundles_that_lie_end_their_backup() {
    let site = Site::start().unwrap();
    let machines: Vec<_> = (1..=7u8).map(|number| site.join(&format!("evil{number}")).unwrap()).collect();
    let text = b"some text that is said to have another name".repeat(100);
    let lie = |key: &NamingKey| {
        let mut builder = BundleBuilder::new(BundleLimits::default());
        builder.push(key.name(&text), &text).unwrap();
        let bundle = builder.finish(&mut Compressor::new(), Level::default()).unwrap();
        [bundle.encode_head(), bundle.into_body()].concat()
    };
    let (name, zeros) = (Name([7; 32]), bomb());
    // A frame header that asks for a window of 2 GiB.
    let window = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8][..], &[1; 100]].concat();
    let cases: [Vec<u8>; 7] = [
        lie(&NamingKey::from_bytes([4; 32])),
        bundle(name, 1 << 20, 1, &zeros),
        bundle(name, 1 << 20, 1, &zeros.repeat(20)),
        bundle(name, 1 << 20, 1, &window),
        bundle(name, u32::MAX, 0, &text),
        bundle(name, 1, 1, &text),
        noise(1, 4 << 20),
    ];
    beside_an_honest_agent(&site, 3, || {
        for (number, bulk) in (1u8..).zip(cases) {
            let folder = &machines[usize::from(number) - 1];
            let mut peer = Hostile::connect(&site, [3, 0, number], Some(folder)).unwrap();
            peer.greet().unwrap();
            let (session, _) = peer.begin().unwrap();
            for number in 1..=20 {
                peer.send(0, &Request::Data { session, number }, bulk.clone()).unwrap();
            }
            let error = peer.failure().unwrap();
            let is_told = matches!(error.kind, ErrorKind::Corrupt | ErrorKind::Unsupported);
            assert!(is_told, "{number}: {}", error.message);
            let machine = format!("machine=\"evil{number}\"");
            site.wait_for_line(&["WARN", &machine, "a backup has failed", &error.message]).unwrap();
            let connection_is_of_use = peer.begin();
            assert!(connection_is_of_use.is_ok(), "{number}: {connection_is_of_use:?}");
        }
    });
}

/// A run of one operation in which a placeholder of a name is replaced by other CBOR.
fn run_with_name(cbor: &[u8]) -> Vec<u8> {
    let make = Operation::Make {
        directory: ObjectId::ROOT,
        name: EntryName::new(b"@@@@").unwrap(),
        object: ObjectId(2),
        attributes: Attributes::new(FileKind::File, 0o755),
    };
    let (_, bytes) = operations::encode(&[make]);
    let at = bytes.windows(5).position(|window| window == [0x44, b'@', b'@', b'@', b'@']).unwrap();
    [&bytes[..at], cbor, &bytes[at + 5..]].concat()
}

/// Sends operations as they are; why the backup failed.
fn operations_fail(site: &Site, folder: &Path, from: u8, count: u32, skip: u64, bulk: Vec<u8>) -> String {
    let mut peer = Hostile::connect(site, [4, 0, from], Some(folder)).unwrap();
    peer.greet().unwrap();
    let (session, sequence) = peer.begin().unwrap();
    let first = SequenceNumber(sequence.next().0 + skip);
    peer.send(0, &Request::Operations { session, first, count }, bulk).unwrap();
    peer.send(3, &finish(session, SequenceNumber(first.0 + u64::from(count) - 1)), vec![]).unwrap();
    let error = peer.failure().unwrap();
    error.message
}

#[test]
fn names_that_leave_their_directory_are_refused() {
    let site = Site::start().unwrap();
    let long = [&[0x59, 1, 0][..], &[b'x'; 256]].concat();
    let cases: [(&str, Vec<u8>); 8] = [
        ("..", vec![0x42, b'.', b'.']),
        (".", vec![0x41, b'.']),
        ("not a name", vec![0x40]),
        ("slash or a zero byte", vec![0x41, b'/']),
        ("slash or a zero byte", [&[0x4b][..], b"/etc/passwd"].concat()),
        ("slash or a zero byte", [&[0x46][..], b"../../"].concat()),
        ("slash or a zero byte", [&[0x43][..], b"a\0b"].concat()),
        ("256 bytes is longer than 255", long),
    ];
    let folders: Vec<_> = (1..=cases.len()).map(|n| site.join(&format!("evil{n}")).unwrap()).collect();
    let other = site.join("other").unwrap();
    beside_an_honest_agent(&site, 4, || {
        for (number, ((words, cbor), folder)) in (1..).zip(cases.iter().zip(&folders)) {
            let said = operations_fail(&site, folder, number, 1, 0, run_with_name(cbor));
            assert!(said.contains(words), "{words}: {said}");
            let machine = format!("machine=\"evil{number}\"");
            site.wait_for_line(&["WARN", &machine, "a backup has failed", words]).unwrap();
        }
        let honest = run_with_name(&[0x44, b'n', b'a', b'm', b'e']);
        let gap = operations_fail(&site, &other, 20, 1, 5, honest.clone());
        assert!(gap.contains("breaks the protocol"), "{gap}");
        let lie = operations_fail(&site, &other, 21, 8192, 0, honest);
        assert!(lie.contains("count of operations"), "{lie}");
    });
}

#[test]
fn five_thousand_idle_connections_harm_nobody() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    // As a service is usually started: what may be opened at once is few, and what may be asked for is more.
    let site = Site::start_with_descriptors(1024).unwrap();
    let evil = site.join("evil").unwrap();
    let mut held = Vec::new();
    let begun = Instant::now();
    let mut honest = Duration::ZERO;
    beside_an_honest_agent(&site, 5, || {
        let connect = || {
            let mut peer = Hostile::connect(&site, [5, 0, 1], Some(&evil)).unwrap();
            peer.greet().map(|_| peer)
        };
        // What a machine may have at a time.
        let known: Vec<_> = (0..64).map(|_| connect().unwrap()).collect();
        let refused = connect().err().unwrap().to_string();
        assert!(refused.contains("64 connections already"), "{refused}");
        held.extend((0..5000u16).map(|n| connect_from(site.port(), [5, 1 + n.to_le_bytes()[1], 1]).unwrap()));
        let opened = Instant::now();
        let listed = run(&mut site.agent(&["points"]).unwrap()).unwrap();
        honest = opened.elapsed();
        assert!(listed.status.success(), "{listed:?}");
        drop(known);
    });
    assert!(honest < Duration::from_secs(5), "an honest agent waited {honest:?}");
    assert!(begun.elapsed() < Duration::from_secs(60));
    site.wait_for_line(&["WARN", "refused a peer", "did not greet within 10 seconds"]).unwrap();
}

//! Peers that dribble, flood, lie or stay: each limit holds, and whoever behaves does not notice.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use model::archive::PointKey;
use model::{Name, SourceId};
use wire::{FrameKind, Outgoing, Request};

use super::operator::{Raw, tls};
use super::played::{Doors, noise, open, open_with};
use crate::listen::Limits;

fn connect(doors: &Doors) -> TcpStream {
    let stream = TcpStream::connect(doors.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// How long it takes until the other end closes.
fn closes_after(mut stream: impl Read) -> Duration {
    let began = Instant::now();
    let mut bytes = [0; 4096];
    while let Ok(1..) = stream.read(&mut bytes) {}
    began.elapsed()
}

fn quick() -> Limits {
    Limits { greeting: Duration::from_millis(500), unknown: Duration::from_secs(1), ..Limits::default() }
}

#[test]
fn who_says_nothing_is_left_in_time() {
    let doors = open_with(quick());
    let silent = closes_after(connect(&doors));
    let mut dribbling = connect(&doors);
    let dribble = std::thread::spawn({
        let mut stream = dribbling.try_clone().unwrap();
        move || {
            // The start of a long handshake, one byte at a time.
            for byte in [22, 3, 1, 16, 0, 1, 0, 15, 252].into_iter().chain(std::iter::repeat(0)).take(100) {
                if stream.write_all(&[byte]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    });
    let dribbled = closes_after(&mut dribbling);
    dribble.join().unwrap();
    for lasted in [silent, dribbled] {
        assert!((400..1500).contains(&lasted.as_millis()), "{lasted:?}");
    }
}

#[test]
fn who_shakes_hands_and_does_not_greet_is_left_in_time() {
    let doors = open_with(quick());
    let began = Instant::now();
    let mut raw = Raw::agent(&doors, 1);
    raw.write(&[]);
    assert_eq!(raw.last_words(), "did not greet within 0 seconds");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let mut raw = Raw::operator(&doors);
    assert_eq!(raw.last_words(), "did not greet within 0 seconds");
}

#[test]
fn who_greets_and_does_not_join_is_left_in_time() {
    let doors = open_with(quick());
    let began = Instant::now();
    let mut raw = Raw::unknown(&doors);
    raw.greet();
    assert_eq!(raw.last_words(), "did not join within 1 seconds");
    assert!((800..3000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
}

#[test]
fn who_is_known_and_idle_stays() {
    let doors = open_with(quick());
    let connection = doors.connect(1);
    std::thread::sleep(Duration::from_secs(2));
    assert!(connection.request(Request::Machines).is_ok());
}

#[test]
fn noise_of_every_kind_is_refused_and_the_doors_stay_open() {
    let doors = open_with(quick());
    for seed in 0..200 {
        let mut stream = connect(&doors);
        drop(stream.write_all(&noise(seed, 2000)));
    }
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x03\
          0123456789abcdef0123456789abcdef\x00\x00\x02\xc0\x2b\x01\x00\x00\x00",
    ] {
        let mut stream = connect(&doors);
        stream.write_all(bytes).unwrap();
        assert!(closes_after(stream) < Duration::from_secs(2));
    }
    assert!(doors.connect(1).request(Request::Machines).is_ok());
}

#[test]
fn an_older_tls_is_answered_with_an_alert() {
    let doors = open();
    let mut stream = connect(&doors);
    // A client hello of TLS 1.2 that offers one cipher suite.
    let hello =
        [&[22, 3, 1, 0, 47, 1, 0, 0, 43, 3, 3][..], &[7; 32], &[0, 0, 2, 0xc0, 0x2b, 1, 0, 0, 0]].concat();
    stream.write_all(&hello).unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    assert_eq!(answer.first(), Some(&21), "an alert: {answer:?}");
}

#[test]
fn a_handshake_without_end_is_cut_off() {
    let doors = open();
    let mut stream = connect(&doors);
    // Records of a client hello that announces 60,000 bytes.
    let record = |payload: &[u8]| {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [&[22, 3, 1][..], &length, payload].concat()
    };
    let mut sent = 0;
    let first = [&[1, 0, 0xea, 0x60][..], &[3; 8000]].concat();
    for payload in std::iter::once(&first[..]).chain(std::iter::repeat(&[3; 8000][..])).take(7) {
        if stream.write_all(&record(payload)).is_err() {
            break;
        }
        sent += payload.len();
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(closes_after(&mut stream) < Duration::from_secs(2));
    assert!(sent < 50_000, "{sent}");
}

#[test]
fn the_agent_protocol_without_a_certificate_is_refused() {
    let doors = open();
    let mut stream = tls(&doors, b"keepfast/1", None);
    stream.write_all(b"anything").unwrap();
    assert!(closes_after(stream) < Duration::from_secs(2));
    let mut stream = tls(&doors, b"smtp", None);
    assert!(stream.write_all(b"anything").is_err(), "nobody speaks that here");
}

type Breach = Box<dyn Fn(&mut Raw)>;

#[test]
fn every_breach_is_said_in_one_sentence() {
    let doors = open();
    let point = PointKey { source: SourceId(1), number: 1 };
    let many = Request::Chunks { point, names: vec![Name([1; 32]); 4097] };
    let cases: [(&str, Breach); 6] = [
        ("request comes before hello", Box::new(|raw| raw.ask(1, &Request::Machines))),
        (
            "request with id 0",
            Box::new(|raw| {
                raw.greet();
                raw.ask(0, &Request::Machines);
            }),
        ),
        (
            "data names backup 1, which was never begun",
            Box::new(|raw| {
                raw.greet();
                raw.send(0, &Request::Data { session: 1, number: 1 }, vec![0; 10]);
            }),
        ),
        (
            "4097 names, at most 4096 are allowed",
            Box::new(move |raw| {
                raw.greet();
                raw.ask(5, &many);
            }),
        ),
        (
            "frame of kind 2, expected 1",
            Box::new(|raw| {
                let frame = Outgoing::new(FrameKind::Reply, 1, &wire::Reply::Done, vec![]).unwrap();
                raw.write(&frame.to_vec());
            }),
        ),
        (
            "body of 5000 bytes, at most 4096 are allowed from an unknown peer",
            Box::new(|raw| raw.write(&[0x88, 0x13, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0])),
        ),
    ];
    for (words, breach) in cases {
        let mut raw = Raw::agent(&doors, 1);
        breach(&mut raw);
        assert_eq!(raw.last_words(), format!("breaks the protocol: {words}"));
    }
}

#[test]
fn too_many_requests_at_once_end_the_connection() {
    let doors = open();
    doors.played.slowness.store(500, std::sync::atomic::Ordering::SeqCst);
    let mut raw = Raw::operator(&doors);
    raw.greet();
    for id in 2..70 {
        raw.ask(id, &Request::Status);
    }
    assert!(raw.last_words().contains("65 requests without answer, at most 64 are allowed"));
}

#[test]
fn an_address_has_so_many_unknown_connections() {
    let limits = Limits { unknown_loopback: 5, greeting: Duration::from_secs(5), ..Limits::default() };
    let doors = open_with(limits);
    let known = doors.connect(1);
    let held: Vec<_> = (0..5).map(|_| connect(&doors)).collect();
    std::thread::sleep(Duration::from_millis(200));
    assert!(closes_after(connect(&doors)) < Duration::from_millis(500), "the sixth is refused at once");
    assert!(known.request(Request::Machines).is_ok());
    drop(held);
    std::thread::sleep(Duration::from_millis(200));
    // Those who are known do not count.
    let agents: Vec<_> = (1..10).map(|id| doors.connect(id)).collect();
    assert!(agents.iter().all(|agent| agent.request(Request::Machines).is_ok()));
}

#[test]
fn there_is_an_end_to_all_connections() {
    let doors = open_with(Limits { connections: 8, ..Limits::default() });
    let known = doors.connect(1);
    let _held: Vec<_> = (0..7).map(|_| connect(&doors)).collect();
    std::thread::sleep(Duration::from_millis(200));
    assert!(closes_after(connect(&doors)) < Duration::from_millis(500));
    assert!(known.request(Request::Machines).is_ok());
}

#[test]
fn connections_that_break_anywhere_leave_nothing_behind() {
    let doors = open();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    doors.connect(1);
    std::thread::sleep(Duration::from_millis(300));
    let before = descriptors();
    let hello = Request::Hello { version: 1, software: "x".into() };
    let hello = Outgoing::new(FrameKind::Request, 1, &hello, vec![]).unwrap().to_vec();
    for end in 0..hello.len() {
        let mut raw = Raw::unknown(&doors);
        raw.write(&hello[..end]);
    }
    super::played::eventually("all descriptors are back", || descriptors() <= before);
}

//! What connections cost that do nothing, in thousands.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use model::record::Label;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wire::{Reply, Request};

use super::operator::Raw;
use super::played::{KEY, begin, bundle, finish, noise, open_with};
use crate::listen::Limits;

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// How many connections of which both ends are here the system allows, at most `wanted`.
fn connections(wanted: usize) -> usize {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).unwrap();
    hard.map_or(wanted, |hard| wanted.min((usize::try_from(hard).unwrap() - 200) / 2))
}

#[test]
fn five_thousand_idle_connections_cost_little_and_hinder_nobody() {
    let count = connections(5000);
    let doors = open_with(Limits { greeting: Duration::from_secs(120), ..Limits::default() });
    let agent = doors.connect(1);
    let session = begin(&agent);
    let before = resident();
    // Each has sent the start of a handshake, so that all that can wait for its end is there.
    let start = [&[22, 3, 1, 0x1f, 0xf0, 1, 0, 0x1f, 0xec][..], &[3; 4000]].concat();
    let opening = Instant::now();
    let mut held = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(doors.address).unwrap();
        stream.write_all(&start).unwrap();
        held.push(stream);
    }
    std::thread::sleep(Duration::from_millis(500));
    let each = resident().saturating_sub(before) / count;
    println!("opened after {:?}", opening.elapsed());
    println!("{each} bytes for each of {count} idle connections");
    assert!(each <= 64 << 10, "{each} bytes for each of {count}");
    let began = Instant::now();
    for number in 1..=40 {
        agent.send_bundle(session, number, bundle(&[noise(number, 1 << 20)], KEY)).unwrap();
    }
    assert!(matches!(agent.request(finish(session, 100)).unwrap().0, Reply::Finished { .. }));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(doors.connect(2).request(Request::Machines).is_ok(), "newcomers find a place");
}

#[test]
fn an_unknown_peer_that_has_greeted_costs_little() {
    const COUNT: usize = 300;
    let (greeting, unknown) = (Duration::from_secs(120), Duration::from_secs(120));
    let doors = open_with(Limits { greeting, unknown, ..Limits::default() });
    let mut first: Vec<_> = (0..20).map(|_| Raw::unknown(&doors)).collect();
    first.iter_mut().for_each(Raw::greet);
    let before = resident();
    let mut held: Vec<_> = (0..COUNT).map(|_| Raw::unknown(&doors)).collect();
    held.iter_mut().for_each(Raw::greet);
    // Both ends of each connection are in this process, and the test's holds more than the doors'.
    let each = resident().saturating_sub(before) / COUNT;
    println!("{each} bytes for both ends of each connection that has greeted");
    assert!(each <= 128 << 10, "{each} bytes for both ends of each");
}

#[test]
fn what_an_agent_may_have_under_way_is_bounded() {
    let doors = open_with(Limits::default());
    doors.played.slowness.store(2000, std::sync::atomic::Ordering::SeqCst);
    let mut raw = Raw::agent(&doors, 1);
    raw.greet();
    raw.ask(2, &Request::Begin { source: Label::new("home").unwrap(), continuity: None, size_bytes: None });
    while !matches!(raw.next(), Some((2, Reply::Begun { .. }))) {}
    let data = bundle(&[noise(1, 1 << 20)], KEY);
    let bulk = [data.encode_head(), data.into_body()].concat();
    for number in 1..=20 {
        raw.send(0, &Request::Data { session: 1, number }, bulk.clone());
    }
    let words = raw.last_words();
    assert!(words.contains("bytes of credit"), "{words}");
    doors.played.slowness.store(0, std::sync::atomic::Ordering::SeqCst);
}

//! Whoever comes as a browser gets a polite answer, in both versions of HTTP.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::operator::tls;
use super::played::{open, open_with};
use crate::listen::Limits;

#[test]
fn http_1_gets_a_problem_document_for_every_path() {
    let doors = open();
    for path in ["/", "/api/v1/points?x=%00", "/../../etc/passwd"] {
        let mut stream = tls(&doors, b"http/1.1", None);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: appliance\r\n\r\n").unwrap();
        let mut answer = String::new();
        drop(stream.read_to_string(&mut answer));
        assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{path}: {answer}");
        assert!(answer.contains("content-type: application/problem+json\r\n"), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["status"], 404);
        assert_eq!(problem["type"], "about:blank");
    }
}

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

#[test]
fn http_2_gets_the_same() {
    let doors = open();
    let mut stream = tls(&doors, b"h2", None);
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).unwrap();
    // GET / over https, by indices of the static table (RFC 7541, appendix A), end of headers and stream.
    stream.write_all(&frame(1, 5, 1, &[0x82, 0x87, 0x84, 0x41, 1, b'a'])).unwrap();
    stream.flush().unwrap();
    let mut answer = Vec::new();
    let headers = loop {
        let mut bytes = [0; 4096];
        let length = stream.read(&mut bytes).unwrap();
        assert!(length > 0, "closed before an answer");
        answer.extend_from_slice(&bytes[..length]);
        if let Some(headers) = find_headers(&answer) {
            break headers;
        }
    };
    assert_eq!(headers[0], 0x80 | 13, "index 13 of the static table is status 404");
}

/// The payload of the first HEADERS frame.
fn find_headers(mut bytes: &[u8]) -> Option<Vec<u8>> {
    loop {
        let (head, rest) = bytes.split_at_checked(9)?;
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        let (payload, behind) = rest.split_at_checked(length)?;
        if head[3] == 1 {
            return Some(payload.to_vec());
        }
        bytes = behind;
    }
}

#[test]
fn a_browser_that_sends_no_request_is_left() {
    let doors = open_with(Limits { greeting: Duration::from_millis(500), ..Limits::default() });
    let mut stream = tls(&doors, b"http/1.1", None);
    stream.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
    stream.flush().unwrap();
    let began = Instant::now();
    drop(stream.read_to_end(&mut Vec::new()));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

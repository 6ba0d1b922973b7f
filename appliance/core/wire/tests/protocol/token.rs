//! Tokens survive copying, and what is not one is refused with a hint and without a panic.

use proptest::collection::vec;
use proptest::prelude::*;
use wire::token::is_address;
use wire::{Pin, Secret, Token, WireError};

fn token() -> Token {
    let addresses = vec!["appliance.lan:7411".to_owned(), "192.0.2.7:7411".to_owned()];
    Token::new(addresses, Pin([0xab; 32]), Secret(*b"0123456789abcdef")).unwrap()
}

proptest! {
    #[test]
    fn a_token_survives_its_text(
        addresses in vec("[a-z0-9.]{1,30}:[1-9][0-9]{0,3}", 1..=8),
        pin: [u8; 32],
        secret: [u8; 16],
    ) {
        let token = Token::new(addresses, Pin(pin), Secret(secret)).unwrap();
        let text = token.to_text();
        prop_assert!(text.starts_with("kf1-"));
        prop_assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
        prop_assert_eq!(&Token::parse(&text).unwrap(), &token);
        prop_assert_eq!(&Token::parse(&text.to_uppercase()).unwrap(), &token);
    }

    #[test]
    fn arbitrary_text_is_refused(text in ".{0,200}", prefixed: bool) {
        let text = if prefixed { format!("kf1-{text}") } else { text };
        prop_assert!(matches!(Token::parse(&text), Err(WireError::Token(_))));
    }
}

#[test]
fn white_space_of_a_terminal_does_not_matter() {
    let text = token().to_text();
    let (head, tail) = text.split_at(40);
    assert_eq!(Token::parse(&format!("  {head}\r\n  {tail}\n")).unwrap(), token());
}

#[test]
fn every_single_slip_is_noticed() {
    let text = token().to_text();
    for place in 0..text.len() {
        let mut damaged = text.as_bytes().to_vec();
        damaged[place] = if damaged[place] == b'a' { b'b' } else { b'a' };
        let damaged = String::from_utf8(damaged).unwrap();
        assert!(Token::parse(&damaged).is_err(), "{place}");
        assert!(Token::parse(&text[..place]).is_err(), "cut at {place}");
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let text = token().to_text();
    let cases = [
        (String::new(), "not a join token: it does not start with kf1-"),
        ("kf2-aaaa".to_owned(), "not a join token: it does not start with kf1-"),
        ("kf1-".to_owned(), "not a join token: it is cut off"),
        (
            "kf1-0189".to_owned(),
            "not a join token: it is cut off or has characters other than a to z and 2 to 7",
        ),
        (
            text.replacen("qobh", "qobg", 1),
            "not a join token: its checksum is wrong: a part is missing or mistyped",
        ),
        ("k".repeat(5000), "not a join token: it is too long"),
    ];
    for (text, expected) in cases {
        assert_eq!(Token::parse(&text).unwrap_err().to_string(), expected, "{text}");
    }
}

#[test]
fn the_secret_is_not_in_debug_output() {
    let shown = format!("{:?}", token());
    assert!(shown.contains("Secret(..)") && shown.contains("appliance.lan"), "{shown}");
    assert!(!shown.contains("48, 49, 50") && !shown.contains("0123456789"), "{shown}");
}

#[test]
fn addresses_have_a_host_and_a_port() {
    for good in ["a:1", "192.0.2.1:65535", "[2001:db8::1]:7411", "host.example.org:7411"] {
        assert!(is_address(good), "{good}");
    }
    for bad in ["", ":1", "a", "a:", "a:0", "a:65536", "a:+1", "2001:db8::1:7411", "a b:1", "a\n:1"] {
        assert!(!is_address(bad), "{bad}");
    }
    assert!(!is_address(&format!("{}:1", "a".repeat(300))));
    assert!(Token::new(vec![], Pin([0; 32]), Secret([0; 16])).is_err());
    assert!(Token::new(vec!["a:1".into(); 9], Pin([0; 32]), Secret([0; 16])).is_err());
}

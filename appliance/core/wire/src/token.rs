//! Join tokens: where the appliance is, whom to trust there, and a secret that is good for one join.
//!
//! The text is `kf1-` and base32 in lower case of a CBOR value and a checksum, so that it survives terminals, chats
//! and paper; white space in it is ignored, and a slip of the hand is told from a wrong token. The secret shows in
//! the text only: not in debug output, not in errors.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use xxhash_rust::xxh3::xxh3_64;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::WireError;

/// What the text of a token starts with: the name and version of its form.
pub const PREFIX: &str = "kf1-";
/// Most addresses of a token.
pub const ADDRESSES_MAX: usize = 8;
/// Longest address: the longest host name, a colon, a port.
pub const ADDRESS_LENGTH_MAX: usize = 253 + 1 + 5;
/// Longest text of a token.
pub const TEXT_LENGTH_MAX: usize = 4096;

const CHECKSUM_LENGTH: usize = 4;

/// SHA-256 of the public key of the appliance's certificate authority (`SubjectPublicKeyInfo`, DER).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin(pub [u8; 32]);

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({self})")
    }
}

/// What an agent shows once to become the agent of a machine; wiped when dropped.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct Secret(pub [u8; 16]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What an operator gives to an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Where the appliance listens, `HOST:PORT` each, best first.
    pub addresses: Vec<String>,
    /// Whom to trust there.
    pub pin: Pin,
    /// What to show there.
    pub secret: Secret,
}

#[derive(minicbor::Encode, minicbor::Decode)]
struct Encoded {
    #[n(0)]
    addresses: Vec<String>,
    #[cbor(n(1), with = "minicbor::bytes")]
    pin: [u8; 32],
    #[cbor(n(2), with = "minicbor::bytes")]
    secret: [u8; 16],
}

impl Drop for Encoded {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.secret);
    }
}

impl Token {
    /// A token; its addresses are checked.
    ///
    /// # Errors
    /// No address, too many, or one that is not `HOST:PORT`.
    pub fn new(addresses: Vec<String>, pin: Pin, secret: Secret) -> Result<Self, WireError> {
        if addresses.is_empty() || addresses.len() > ADDRESSES_MAX {
            return Err(WireError::Token("it has no address, or too many"));
        }
        if !addresses.iter().all(|address| is_address(address)) {
            return Err(WireError::Token("an address in it is not HOST:PORT"));
        }
        Ok(Self { addresses, pin, secret })
    }

    /// The text that an operator copies.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let encoded = Encoded { addresses: self.addresses.clone(), pin: self.pin.0, secret: self.secret.0 };
        // Room for everything at once: a vector that grows leaves copies of the secret behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(TEXT_LENGTH_MAX));
        minicbor::encode(&encoded, &mut *bytes).expect("encoding into memory cannot fail");
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + bytes.len().div_ceil(5) * 8));
        text.push_str(PREFIX);
        BASE32_NOPAD.encode_append(&bytes, &mut text);
        text.make_ascii_lowercase();
        text
    }

    /// Reads what somebody pasted.
    ///
    /// # Errors
    /// [`WireError::Token`] with what to do about it, if anything can be said.
    pub fn parse(text: &str) -> Result<Self, WireError> {
        if text.len() > TEXT_LENGTH_MAX {
            return Err(WireError::Token("it is too long"));
        }
        let mut compact = Zeroizing::new(String::with_capacity(text.len()));
        compact.extend(text.chars().filter(|c| !c.is_whitespace()));
        let Some(digits) = compact.get(PREFIX.len()..).filter(|_| {
            compact.get(..PREFIX.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(PREFIX))
        }) else {
            return Err(WireError::Token("it does not start with kf1-"));
        };
        let digits = Zeroizing::new(digits.to_ascii_uppercase());
        let bytes = BASE32_NOPAD
            .decode(digits.as_bytes())
            .map(Zeroizing::new)
            .map_err(|_| WireError::Token("it is cut off or has characters other than a to z and 2 to 7"))?;
        let Some((content, found)) = bytes.split_last_chunk::<CHECKSUM_LENGTH>() else {
            return Err(WireError::Token("it is cut off"));
        };
        if *found != checksum(content) {
            return Err(WireError::Token("its checksum is wrong: a part is missing or mistyped"));
        }
        let mut decoder = minicbor::Decoder::new(content);
        let encoded: Encoded =
            decoder.decode().map_err(|_| WireError::Token("its content is unknown to this version"))?;
        if decoder.position() != content.len() {
            return Err(WireError::Token("its content is unknown to this version"));
        }
        Self::new(encoded.addresses.clone(), Pin(encoded.pin), Secret(encoded.secret))
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LENGTH] {
    let [a, b, c, d, ..] = xxh3_64(bytes).to_be_bytes();
    [a, b, c, d]
}

/// Whether a text is `HOST:PORT`, as far as can be told without asking a name server.
#[must_use]
pub fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_port = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    let is_host = host.bytes().all(|b| b.is_ascii_graphic()) && (is_bracketed || !host.contains(':'));
    text.len() <= ADDRESS_LENGTH_MAX && !host.is_empty() && is_host && is_port
}

//! What joining leaves behind: where the appliance is, whom to trust there, and what this machine is called.

use std::path::Path;

use model::record::Label;
use serde::{Deserialize, Serialize};
use wire::Pin;
use wire::token::is_address;

use crate::{LinkError, file};

const FILE: &str = "appliance.toml";

/// The appliance that this machine has joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens, `HOST:PORT` each, best first.
    pub addresses: Vec<String>,
    /// Whom to trust there.
    pub pin: Pin,
    /// What the appliance calls this machine.
    pub machine: Label,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    addresses: Vec<String>,
    pin: String,
    machine: String,
}

impl Settings {
    /// Reads the file in `dir`.
    ///
    /// # Errors
    /// [`LinkError::NotJoined`] if there is none, [`LinkError::Settings`] if it is damaged.
    pub fn load(dir: &Path) -> Result<Self, LinkError> {
        let path = dir.join(FILE);
        let text = file::read(&path)?.ok_or_else(|| LinkError::NotJoined { dir: dir.to_owned() })?;
        Self::parse(&text).map_err(|reason| LinkError::Settings { path, reason })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let stored: Stored = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        if stored.addresses.is_empty() || !stored.addresses.iter().all(|address| is_address(address)) {
            return Err("addresses are not HOST:PORT".into());
        }
        let pin = parse_pin(&stored.pin).ok_or("pin is not 64 hexadecimal digits")?;
        let machine = Label::new(&stored.machine).map_err(|error| error.to_string())?;
        Ok(Self { addresses: stored.addresses, pin, machine })
    }

    pub(crate) fn store(&self, dir: &Path) -> Result<(), LinkError> {
        let path = dir.join(FILE);
        let stored = Stored {
            addresses: self.addresses.clone(),
            pin: self.pin.to_string(),
            machine: self.machine.to_string(),
        };
        match toml::to_string(&stored) {
            Ok(text) => file::write(&path, &text),
            Err(error) => Err(LinkError::Settings { path, reason: error.to_string() }),
        }
    }
}

fn parse_pin(text: &str) -> Option<Pin> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let bytes = pairs.iter().map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
    Some(Pin(bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Settings::load(dir.path()), Err(LinkError::NotJoined { .. })));
        let settings = Settings {
            addresses: vec!["a:1".into(), "[::1]:2".into()],
            pin: Pin([0xa5; 32]),
            machine: Label::new("web1").unwrap(),
        };
        settings.store(dir.path()).unwrap();
        assert_eq!(Settings::load(dir.path()).unwrap(), settings);
    }

    #[test]
    fn damage_is_named() {
        let pin = "00".repeat(32);
        let file = |addresses: &str, pin: &str, machine: &str, more: &str| {
            format!("addresses = {addresses}\npin = \"{pin}\"\nmachine = \"{machine}\"\n{more}")
        };
        assert!(Settings::parse(&file("[\"a:1\"]", &pin, "m", "")).is_ok());
        for (text, expected) in [
            (file("[]", &pin, "m", ""), "addresses are not HOST:PORT"),
            (file("[\"a\"]", &pin, "m", ""), "addresses are not HOST:PORT"),
            (file("[\"a:1\"]", &pin[2..], "m", ""), "pin is not 64 hexadecimal digits"),
            (file("[\"a:1\"]", &pin.replacen("00", "+0", 1), "m", ""), "pin is not 64 hexadecimal digits"),
            (file("[\"a:1\"]", &pin, "..", ""), "\"..\" is not a name of an entry"),
            (file("[\"a:1\"]", &pin, "m", "x = 1\n"), "unknown field `x`"),
        ] {
            let found = Settings::parse(&text).unwrap_err();
            assert!(found.contains(expected), "{found}");
        }
    }
}

//! Joining: this machine shows the secret of a token once and is known by its key from then on.

use std::path::Path;

use model::record::Label;
use wire::{Reply, Request, Token};

use crate::connection::Connection;
use crate::{Identity, LinkError, Settings};

/// What joining led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// What the appliance calls this machine.
    pub machine: Label,
    /// The address that answered.
    pub address: String,
}

/// Joins the appliance that made `token`, reached at `address` if given, else where the token says.
///
/// The identity in `dir` is made if there is none; a machine that joins again keeps its key.
///
/// # Errors
/// Files that cannot be written, an appliance that cannot be reached or trusted, or a token that it refuses.
pub fn join(dir: &Path, token: &Token, address: Option<&str>) -> Result<Joined, LinkError> {
    let identity = Identity::load_or_create(dir)?;
    let mut addresses: Vec<String> = address.map(str::to_owned).into_iter().collect();
    addresses.extend(token.addresses.iter().filter(|known| Some(known.as_str()) != address).cloned());
    // An address that was given by hand is meant: the others are not tried, only remembered.
    let tried = if address.is_some() { addresses.get(..1).unwrap_or_default() } else { &addresses };
    let (connection, answered) = Connection::over_tls(&identity, token.pin, tried)?;
    let secret = token.secret.0.to_vec();
    let (reply, _) = connection.request(Request::Join { secret, host: host_name() })?;
    let Reply::Joined { machine } = reply else { return Err(LinkError::Answer { asked: "join" }) };
    Settings { addresses, pin: token.pin, machine: machine.clone() }.store(dir)?;
    Ok(Joined { machine, address: answered })
}

/// What this machine calls itself, for the log of the appliance.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().chars().take(60).collect()
}

//! Tokens with which agents join: made by the operator, used once, void after fifteen minutes.
//!
//! The pool keeps a hash of the secret, never the secret.

use std::time::Duration;

use minicbor::{Decode, Encode};
use model::Time;
use model::record::{AgentKey, Label, RestoreGrant};
use pool::record::Record;
use pool::{Pool, PoolError};
use wire::{Pin, Secret, Token};

/// How long a token can be used.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// What the pool keeps of a token.
#[derive(Encode, Decode)]
struct Kept {
    #[n(0)]
    machine: Label,
    #[n(1)]
    restore: RestoreGrant,
    #[n(2)]
    expires: Time,
}

/// What a token is made for.
pub(crate) struct Wanted {
    pub(crate) machine: Label,
    pub(crate) restore: RestoreGrant,
    pub(crate) own_domain: bool,
    pub(crate) addresses: Vec<String>,
    pub(crate) pin: Pin,
}

fn key(secret: &[u8]) -> String {
    format!("token/{}", blake3::hash(secret).to_hex())
}

/// Makes a token, and the machine if it is new; its text and its end.
pub(crate) fn create(pool: &mut Pool, wanted: Wanted) -> Result<(String, Time), PoolError> {
    let refused = |message: String| PoolError::Refused(message);
    let mut secret = Secret([0; 16]);
    pool.shared().entropy().fill(&mut secret.0);
    let stored = key(&secret.0);
    let token = Token::new(wanted.addresses, wanted.pin, secret).map_err(|e| refused(e.to_string()))?;
    pool.add_machine(&wanted.machine, wanted.own_domain)?;
    let expires = pool.shared().clock().now().after(LIFETIME);
    let kept = Kept { machine: wanted.machine, restore: wanted.restore, expires };
    let value = minicbor::to_vec(&kept).map_err(|e| refused(e.to_string()))?;
    pool.set_setting(&stored, Some(value))?;
    Ok((token.to_text().to_string(), expires))
}

/// Uses a token up: the key becomes that of its machine, whoever spoke for it before.
pub(crate) fn redeem(pool: &mut Pool, secret: &[u8], key_hash: &[u8]) -> Result<Label, PoolError> {
    let unknown =
        || PoolError::Refused("the token is unknown, was used already or has ended; make a new one".into());
    let stored = key(secret);
    let value = pool.shared().registry(|r| r.settings.get(&stored).cloned()).ok_or_else(unknown)?;
    let kept: Kept = minicbor::decode(&value).map_err(|_| unknown())?;
    let used = Record::Setting { key: stored, value: None };
    let now = pool.shared().clock().now();
    if kept.expires < now {
        pool.commit(vec![used])?;
        return Err(unknown());
    }
    let found = pool.shared().registry(|r| r.machine(&kept.machine).cloned());
    let mut machine = found.ok_or_else(|| PoolError::Missing(format!("machine {}", kept.machine)))?;
    let agent = AgentKey { key_hash: key_hash.to_vec(), joined: now, restore: kept.restore, revoked: false };
    machine.agent = Some(agent);
    pool.commit(vec![used, Record::Machine(machine)])?;
    Ok(kept.machine)
}

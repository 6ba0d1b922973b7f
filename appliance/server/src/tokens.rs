//! Tokens with which agents join: made by the operator, used once, void after fifteen minutes.
//!
//! The pool keeps a hash of the secret, never the secret.

use std::time::Duration;

use minicbor::{Decode, Encode};
use model::Time;
use model::record::{AgentKey, Label, Machine, RestoreGrant};
use pool::record::Record;
use pool::{Pool, PoolError};
use wire::{Pin, Secret, Token};

/// How long a token can be used.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// What the keys of tokens begin with, among the settings.
const PREFIX: &str = "token/";

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
    format!("{PREFIX}{}", blake3::hash(secret).to_hex())
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

/// Uses a token up: the key becomes that of its machine, whoever spoke for it before, and of no other one.
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
    let mut records = vec![used];
    records.extend(without_key(pool, key_hash, &machine));
    records.push(Record::Machine(machine));
    pool.commit(records)?;
    Ok(kept.machine)
}

/// The other machines that a key spoke for, without it: an agent that joins again as another machine leaves the first.
fn without_key(pool: &Pool, key_hash: &[u8], but: &Machine) -> Vec<Record> {
    let speaks = |machine: &&Machine| {
        machine.id != but.id && machine.agent.as_ref().is_some_and(|agent| agent.key_hash == key_hash)
    };
    let left = |machine: &Machine| Record::Machine(Machine { agent: None, ..machine.clone() });
    pool.shared().registry(|registry| registry.machines.values().filter(speaks).map(left).collect())
}

/// Shuts the agent of a machine out, and makes void what it or somebody else could join with again.
pub(crate) fn revoke(pool: &mut Pool, label: &Label) -> Result<(), PoolError> {
    let found = pool.shared().registry(|registry| registry.machine(label).cloned());
    let mut machine = found.ok_or_else(|| PoolError::Missing(format!("machine {label}")))?;
    let mut records = unused(pool, label);
    if machine.agent.is_none() && records.is_empty() {
        return Err(PoolError::Refused(format!("no agent has joined for machine {label}")));
    }
    if let Some(agent) = machine.agent.take() {
        machine.agent = Some(AgentKey { revoked: true, ..agent });
        records.push(Record::Machine(machine));
    }
    pool.commit(records)
}

/// Records that remove the tokens of a machine.
fn unused(pool: &Pool, label: &Label) -> Vec<Record> {
    let is_of = |value: &[u8]| minicbor::decode::<Kept>(value).is_ok_and(|kept| kept.machine == *label);
    pool.shared().registry(|registry| {
        let tokens = registry.settings.iter().filter(|(key, value)| key.starts_with(PREFIX) && is_of(value));
        tokens.map(|(key, _)| Record::Setting { key: key.clone(), value: None }).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::DataDirectory;

    struct Place {
        _folder: tempfile::TempDir,
        pool: Pool,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let pool = DataDirectory::new(&folder.path().join("data")).open_or_create().unwrap().pool;
            Self { _folder: folder, pool }
        }

        fn token(&mut self, machine: &str) -> Secret {
            let wanted = Wanted {
                machine: Label::new(machine).unwrap(),
                restore: RestoreGrant::None,
                own_domain: false,
                addresses: vec!["127.0.0.1:1".into()],
                pin: Pin([1; 32]),
            };
            Token::parse(&create(&mut self.pool, wanted).unwrap().0).unwrap().secret
        }

        fn join(&mut self, secret: &Secret, key: u8) -> Result<Label, PoolError> {
            redeem(&mut self.pool, &secret.0, &[key; 32])
        }

        /// Whose agent has the key and may connect.
        fn speaks_for(&self, key: u8) -> Vec<String> {
            let has = |machine: &&Machine| {
                machine.agent.as_ref().is_some_and(|agent| agent.key_hash == [key; 32] && !agent.revoked)
            };
            let name = |machine: &Machine| machine.label.as_str().to_owned();
            self.pool.shared().registry(|registry| registry.machines.values().filter(has).map(name).collect())
        }
    }

    #[test]
    fn a_key_speaks_for_the_machine_that_it_joined_last() {
        let mut place = Place::new();
        let (first, second) = (place.token("web1"), place.token("web2"));
        place.join(&first, 7).unwrap();
        assert_eq!(place.speaks_for(7), ["web1"]);
        assert!(place.join(&first, 8).is_err(), "a token is good for one time");
        place.join(&second, 7).unwrap();
        assert_eq!(place.speaks_for(7), ["web2"]);
        revoke(&mut place.pool, &Label::new("web2").unwrap()).unwrap();
        assert_eq!(place.speaks_for(7), Vec::<String>::new());
    }

    #[test]
    fn who_is_shut_out_does_not_come_back_with_an_older_token() {
        let mut place = Place::new();
        let (used, kept, other) = (place.token("web1"), place.token("web1"), place.token("web2"));
        place.join(&used, 7).unwrap();
        revoke(&mut place.pool, &Label::new("web1").unwrap()).unwrap();
        assert!(place.join(&kept, 7).is_err());
        assert_eq!(place.join(&other, 9).unwrap().as_str(), "web2");
        let fresh = place.token("web1");
        place.join(&fresh, 7).unwrap();
        assert_eq!(place.speaks_for(7), ["web1"]);
    }
}

//! The master key of a pool, the keys that follow from it, and the slots that wrap it.
//!
//! The master key never changes; each slot holds it sealed under a key of its own, so slots come and go without
//! touching data. A wrong passphrase or key file opens no slot and changes nothing.

use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params};
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use chunk::{NamingKey, PageKey};
use medium::Entropy;
use minicbor::{Decode, Encode};
use model::DomainId;
use zeroize::Zeroizing;

use crate::PoolError;

/// 256 bits that open a pool.
pub type Secret = Zeroizing<[u8; 32]>;

/// The cost of turning a passphrase into a key with argon2id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PassphraseCost {
    /// Memory, in KiB.
    #[n(0)]
    pub memory_kib: u32,
    /// Passes over the memory.
    #[n(1)]
    pub passes: u32,
    /// Lanes.
    #[n(2)]
    pub lanes: u32,
}

impl Default for PassphraseCost {
    /// 256 MiB, three passes, four lanes.
    fn default() -> Self {
        Self { memory_kib: 256 << 10, passes: 3, lanes: 4 }
    }
}

/// Most memory that a slot may ask for, so that a hostile header cannot exhaust the machine.
const MEMORY_KIB_MAX: u32 = 4 << 20;

/// How a slot is opened.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum SlotKind {
    /// With a passphrase.
    #[n(0)]
    Passphrase {
        /// Salt of argon2id.
        #[cbor(n(0), with = "minicbor::bytes")]
        salt: Vec<u8>,
        /// Its cost.
        #[n(1)]
        cost: PassphraseCost,
    },
    /// With the 32 bytes of a key file.
    #[n(1)]
    KeyFile,
    /// With the printed recovery key.
    #[n(2)]
    Recovery,
}

/// The master key, sealed under one of the keys that open the pool.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct KeySlot {
    /// How it is opened.
    #[n(0)]
    pub kind: SlotKind,
    #[cbor(n(1), with = "minicbor::bytes")]
    nonce: Vec<u8>,
    #[cbor(n(2), with = "minicbor::bytes")]
    wrapped: Vec<u8>,
}

/// What an operator has to open a pool with.
#[derive(Clone)]
pub enum Unlock {
    /// A passphrase.
    Passphrase(Zeroizing<String>),
    /// The content of a key file.
    KeyFile(Secret),
    /// The recovery key.
    Recovery(Secret),
}

impl std::fmt::Debug for Unlock {
    /// The kind only, never the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

impl Unlock {
    /// What it is called in messages.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Passphrase(_) => "passphrase",
            Self::KeyFile(_) => "key file",
            Self::Recovery(_) => "recovery key",
        }
    }

    /// The key of a slot of the same kind; none if the slot is of another.
    fn slot_key(&self, kind: &SlotKind) -> Result<Option<Secret>, PoolError> {
        match (self, kind) {
            (Self::Passphrase(text), SlotKind::Passphrase { salt, cost }) => {
                passphrase_key(text, salt, *cost).map(Some)
            }
            (Self::KeyFile(secret), SlotKind::KeyFile) => {
                Ok(Some(derive("keepfast 2026 key file v1", secret)))
            }
            (Self::Recovery(secret), SlotKind::Recovery) => {
                Ok(Some(derive("keepfast 2026 recovery key v1", secret)))
            }
            _ => Ok(None),
        }
    }

    /// A new slot that this opens.
    pub fn make_slot(
        &self,
        master: &Secret,
        pool: &[u8; 16],
        cost: PassphraseCost,
        entropy: &dyn Entropy,
    ) -> Result<KeySlot, PoolError> {
        let kind = match self {
            Self::Passphrase(_) => {
                let mut salt = vec![0; 32];
                entropy.fill(&mut salt);
                SlotKind::Passphrase { salt, cost }
            }
            Self::KeyFile(_) => SlotKind::KeyFile,
            Self::Recovery(_) => SlotKind::Recovery,
        };
        let key = self.slot_key(&kind)?.ok_or(PoolError::WrongKey(self.word()))?;
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce);
        let mut wrapped = master.to_vec();
        siv(&key)
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(*pool), &mut wrapped)
            .map_err(|_| PoolError::Derive("the key could not be wrapped".into()))?;
        Ok(KeySlot { kind, nonce: nonce.to_vec(), wrapped })
    }

    /// The master key out of the first slot that this opens.
    pub fn open(&self, slots: &[KeySlot], pool: &[u8; 16]) -> Result<Secret, PoolError> {
        for slot in slots {
            let Some(key) = self.slot_key(&slot.kind)? else { continue };
            let Ok(nonce) = Nonce::try_assume_unique_for_key(&slot.nonce) else { continue };
            let mut wrapped = Zeroizing::new(slot.wrapped.clone());
            if let Ok(plain) = siv(&key).open_in_place(nonce, Aad::from(*pool), &mut wrapped)
                && let Ok(master) = <[u8; 32]>::try_from(&*plain)
            {
                return Ok(Zeroizing::new(master));
            }
        }
        Err(PoolError::WrongKey(self.word()))
    }
}

fn passphrase_key(text: &str, salt: &[u8], cost: PassphraseCost) -> Result<Secret, PoolError> {
    let failed = |e: argon2::Error| PoolError::Derive(e.to_string());
    if cost.memory_kib > MEMORY_KIB_MAX || cost.passes > 64 || cost.lanes > 64 {
        return Err(PoolError::Derive(
            "its slot asks for more memory or time than any passphrase needs".into(),
        ));
    }
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(failed)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(text.as_bytes(), salt, &mut *key)
        .map_err(failed)?;
    Ok(key)
}

fn derive(context: &str, secret: &Secret) -> Secret {
    Zeroizing::new(blake3::derive_key(context, &**secret))
}

fn siv(key: &Secret) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, &**key).expect("a key of AES-256 has 32 bytes"))
}

/// The keys of an open pool.
pub struct PoolKeys {
    segments: Secret,
    naming: Secret,
    catalog: LessSafeKey,
    catalog_nonces: Secret,
    page: PageKey,
}

impl PoolKeys {
    /// All keys that follow from a master key.
    #[must_use]
    pub fn new(master: &Secret) -> Arc<Self> {
        let naming = derive("keepfast 2026 pool naming secret v1", master);
        Arc::new(Self {
            segments: derive("keepfast 2026 segment master v1", master),
            catalog: siv(&derive("keepfast 2026 catalog key v1", master)),
            catalog_nonces: derive("keepfast 2026 catalog nonce key v1", master),
            page: PageKey::derive(&naming),
            naming,
        })
    }

    /// The key that segment keys follow from.
    #[must_use]
    pub fn segment_master(&self) -> &[u8; 32] {
        &self.segments
    }

    /// The key of chunk names in a dedup domain.
    #[must_use]
    pub fn naming(&self, domain: DomainId) -> NamingKey {
        NamingKey::derive(&self.naming, domain)
    }

    /// The key of page names.
    #[must_use]
    pub const fn page(&self) -> &PageKey {
        &self.page
    }

    /// Seals a value of the catalog, bound to its key. The nonce is a keyed hash of both: GCM-SIV is made for that, equal
    /// values under one key give equal bytes and nothing else is lost. It stands in clear, so without a key of its own
    /// it would confirm whatever somebody guesses.
    pub(crate) fn seal_value(&self, key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut hasher = blake3::Hasher::new_keyed(&self.catalog_nonces);
        hasher.update(&(key.len() as u64).to_le_bytes()).update(key).update(value);
        let mut nonce = [0; NONCE_LEN];
        hasher.finalize_xof().fill(&mut nonce);
        let mut sealed = value.to_vec();
        self.catalog
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(key), &mut sealed)
            .expect("values of the catalog are far below the limit of the cipher");
        sealed.extend_from_slice(&nonce);
        sealed
    }

    /// Opens what [`Self::seal_value`] sealed.
    pub(crate) fn open_value(&self, key: &[u8], sealed: &[u8]) -> Result<Vec<u8>, PoolError> {
        let damaged = PoolError::CatalogValue("a record");
        let Some((text, nonce)) = sealed.split_last_chunk::<NONCE_LEN>() else { return Err(damaged) };
        let mut value = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let Ok(plain) = self.catalog.open_in_place(nonce, Aad::from(key), &mut value) else {
            return Err(damaged);
        };
        let length = plain.len();
        value.truncate(length);
        Ok(value)
    }
}

/// The recovery key as it is printed: groups of five letters and digits, with a checksum at the end.
#[must_use]
pub fn recovery_text(secret: &Secret) -> String {
    let mut bytes = secret.to_vec();
    bytes.extend_from_slice(&recovery_checksum(secret));
    let symbols = base32(&bytes);
    let groups: Vec<&str> =
        symbols.as_bytes().chunks(5).filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join("-")
}

/// Reads what [`recovery_text`] printed; case, spaces and dashes do not matter, `O` is 0, `I` and `L` are 1.
#[must_use]
pub fn parse_recovery_text(text: &str) -> Option<Secret> {
    let mut value: u32 = 0;
    let mut bits = 0;
    let mut bytes = Zeroizing::new(Vec::with_capacity(36));
    for c in text.chars().filter(|c| !c.is_whitespace() && *c != '-') {
        let symbol = match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        };
        let digit = SYMBOLS.iter().position(|s| char::from(*s) == symbol)?;
        value = (value << 5) | u32::try_from(digit).ok()?;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from((value >> bits) & 0xff).ok()?);
        }
    }
    let secret: [u8; 32] = bytes.get(..32)?.try_into().ok()?;
    let secret = Zeroizing::new(secret);
    (bytes.get(32..)? == recovery_checksum(&secret)).then_some(secret)
}

/// Digits and letters without I, L, O and U (Crockford).
const SYMBOLS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

fn base32(bytes: &[u8]) -> String {
    let mut out = String::new();
    let (mut value, mut bits) = (0u32, 0);
    for byte in bytes {
        value = (value << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(char::from(SYMBOLS[(value >> bits) as usize & 31]));
        }
    }
    if bits > 0 {
        out.push(char::from(SYMBOLS[(value << (5 - bits)) as usize & 31]));
    }
    out
}

fn recovery_checksum(secret: &Secret) -> [u8; 3] {
    let hash = blake3::derive_key("keepfast 2026 recovery checksum v1", &**secret);
    [hash[0], hash[1], hash[2]]
}

#[cfg(test)]
mod tests {
    use medium::sim::SimEntropy;

    use super::*;

    const CHEAP: PassphraseCost = PassphraseCost { memory_kib: 32, passes: 1, lanes: 1 };

    #[test]
    fn every_kind_of_key_opens_its_slot_and_no_other() {
        let entropy = SimEntropy::new(7);
        let master = Zeroizing::new([9; 32]);
        let pool = [1; 16];
        let keys = [
            Unlock::Passphrase(Zeroizing::new("correct horse".into())),
            Unlock::KeyFile(Zeroizing::new([2; 32])),
            Unlock::Recovery(Zeroizing::new([3; 32])),
        ];
        let slots: Vec<_> =
            keys.iter().map(|k| k.make_slot(&master, &pool, CHEAP, &entropy).unwrap()).collect();
        for key in &keys {
            assert_eq!(key.open(&slots, &pool).unwrap(), master);
            assert!(key.open(&slots, &[2; 16]).is_err(), "a slot of another pool");
        }
        for wrong in [
            Unlock::Passphrase(Zeroizing::new("correct house".into())),
            Unlock::KeyFile(Zeroizing::new([3; 32])),
            Unlock::Recovery(Zeroizing::new([2; 32])),
        ] {
            assert!(matches!(wrong.open(&slots, &pool), Err(PoolError::WrongKey(_))));
        }
    }

    #[test]
    fn the_recovery_key_is_read_back_and_a_slip_is_noticed() {
        let secret = Zeroizing::new(std::array::from_fn(|i| u8::try_from(i * 7 % 256).unwrap()));
        let text = recovery_text(&secret);
        assert_eq!(parse_recovery_text(&text), Some(secret.clone()));
        assert_eq!(parse_recovery_text(&text.to_lowercase().replace('-', " ")), Some(secret));
        let slip = text.replacen(text.chars().next().unwrap(), "Z", 1);
        assert_eq!(parse_recovery_text(&slip), None);
        assert_eq!(parse_recovery_text("U"), None);
        assert_eq!(parse_recovery_text(""), None);
    }

    #[test]
    fn values_of_the_catalog_are_bound_to_their_keys() {
        let keys = PoolKeys::new(&Zeroizing::new([9; 32]));
        let sealed = keys.seal_value(b"machine/1", b"secret name");
        assert_eq!(keys.open_value(b"machine/1", &sealed).unwrap(), b"secret name");
        assert!(keys.open_value(b"machine/2", &sealed).is_err());
        assert!(!sealed.windows(6).any(|w| w == b"secret"));
    }

    #[test]
    fn nobody_without_the_master_key_can_confirm_a_guess_of_a_value() {
        let sealed = |master| {
            let keys = PoolKeys::new(&Zeroizing::new([master; 32]));
            keys.seal_value(b"setting/addresses", b"nas.payroll.example.com:8443")
        };
        let nonce = |sealed: &[u8]| sealed.last_chunk::<NONCE_LEN>().copied().unwrap();
        assert_eq!(sealed(9), sealed(9), "a catalog that was made anew is the same");
        assert_ne!(nonce(&sealed(9)), nonce(&sealed(8)), "what is in clear follows from the master key");
    }
}

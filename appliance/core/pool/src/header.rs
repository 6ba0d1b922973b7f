//! The header of a pool: identity, drives and key slots, in three copies that are each enough.
//!
//! A copy is written under another name, synced and renamed; the copies are replaced one after the other, so that at
//! any moment two of them are whole. The newest sound copy counts; one that the medium refuses to read is as bad as
//! one that is damaged.

use medium::{Access, Disk, DiskError};
use minicbor::{Decode, Encode};
use model::{ErrorKind, Time};

use crate::PoolError;
use crate::keys::KeySlot;
use crate::layout::HEADERS;
use crate::scan::again;

const MAGIC: [u8; 8] = *b"KFpool\0\x01";
const LENGTH_MAX: u64 = 1 << 20;
const HASH_LENGTH: usize = 32;

/// What a pool is, apart from its content.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PoolHeader {
    /// Version of everything below.
    #[n(0)]
    pub version: u16,
    /// The UUID of the pool.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub pool: [u8; 16],
    /// The UUID of the drive that holds this copy.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub drive: [u8; 16],
    /// Grows with every change of this header.
    #[n(3)]
    pub epoch: u64,
    /// When the pool was made.
    #[n(4)]
    pub made: Time,
    /// The drives of the pool.
    #[n(5)]
    pub members: Vec<Member>,
    /// What opens it.
    #[n(6)]
    pub slots: Vec<KeySlot>,
}

/// A drive of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Member {
    /// Its UUID.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub drive: [u8; 16],
}

impl PoolHeader {
    /// The version that this program writes.
    pub const VERSION: u16 = 1;

    /// The bytes of a copy.
    pub fn encode(&self) -> Result<Vec<u8>, PoolError> {
        let body = minicbor::to_vec(self).map_err(|_| PoolError::HeaderDamaged)?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
        Ok(bytes)
    }

    /// Reads a copy.
    pub fn decode(bytes: &[u8]) -> Result<Self, PoolError> {
        let damaged = || PoolError::HeaderDamaged;
        let (text, hash) = bytes.split_last_chunk::<HASH_LENGTH>().ok_or_else(damaged)?;
        if blake3::hash(text).as_bytes() != hash {
            return Err(damaged());
        }
        let rest = text.strip_prefix(&MAGIC).ok_or_else(damaged)?;
        let (length, body) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
        if u64::from_le_bytes(*length) != body.len() as u64 {
            return Err(damaged());
        }
        let header: Self = minicbor::decode(body).map_err(|_| damaged())?;
        if header.version > Self::VERSION {
            let (found, known) = (header.version, Self::VERSION);
            return Err(PoolError::Version { what: "the pool", found, known });
        }
        Ok(header)
    }

    /// Writes all copies, one after the other.
    pub fn store(&self, disk: &dyn Disk) -> Result<(), PoolError> {
        let bytes = self.encode()?;
        for path in HEADERS {
            let new = format!("{path}.new");
            ignore_missing(disk.remove(&new))?;
            let file = disk.create(&new)?;
            file.write_at(0, &bytes)?;
            file.sync_data()?;
            disk.rename(&new, path)?;
            disk.sync_directory("")?;
        }
        Ok(())
    }

    /// Reads the newest sound copy, and says which copies are not sound or older.
    pub fn load(disk: &dyn Disk) -> Result<(Self, Vec<&'static str>), PoolError> {
        let mut newest: Option<Self> = None;
        let (mut bad, mut sound) = (Vec::new(), Vec::new());
        let mut found = 0;
        let mut refused = None;
        for path in HEADERS {
            match again(|| read_copy(disk, path)) {
                Ok(Ok(header)) => {
                    found += 1;
                    sound.push((path, header.epoch));
                    if newest.as_ref().is_none_or(|known| known.epoch < header.epoch) {
                        newest = Some(header);
                    }
                }
                Ok(Err(error)) => {
                    bad.push(path);
                    refused = Some(error);
                }
                Err(error) if error.kind() == ErrorKind::Missing => bad.push(path),
                Err(PoolError::HeaderDamaged) => {
                    found += 1;
                    bad.push(path);
                }
                Err(error) => return Err(error),
            }
        }
        match (newest, refused) {
            (Some(header), _) => {
                // A change of the header was interrupted: older copies must not be all that is left of it one day.
                bad.extend(sound.iter().filter(|(_, epoch)| *epoch < header.epoch).map(|(path, _)| *path));
                Ok((header, bad))
            }
            (None, Some(error)) => Err(error.into()),
            (None, None) if found == 0 => Err(PoolError::NoPool),
            (None, None) => Err(PoolError::HeaderDamaged),
        }
    }
}

fn read_copy(disk: &dyn Disk, path: &str) -> Result<PoolHeader, PoolError> {
    let file = disk.open(path, Access::Read)?;
    let length = file.length()?;
    if length > LENGTH_MAX {
        return Err(PoolError::HeaderDamaged);
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| PoolError::HeaderDamaged)?];
    file.read_at(0, &mut bytes)?;
    PoolHeader::decode(&bytes)
}

/// A file that is to go may be gone already.
pub(crate) fn ignore_missing(result: Result<(), DiskError>) -> Result<(), DiskError> {
    match result {
        Err(error) if error.kind() == ErrorKind::Missing => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flip_and_every_cut_of_a_copy_is_seen() {
        let header = PoolHeader {
            version: 1,
            pool: [1; 16],
            drive: [2; 16],
            epoch: 3,
            made: Time(4),
            members: vec![Member { drive: [2; 16] }],
            slots: Vec::new(),
        };
        let bytes = header.encode().unwrap();
        assert_eq!(PoolHeader::decode(&bytes).unwrap(), header);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(PoolHeader::decode(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(PoolHeader::decode(&bytes[..length]).is_err(), "length {length}");
        }
    }
}

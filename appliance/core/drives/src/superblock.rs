//! What a member says about itself and about its set, in three checksummed copies.
//!
//! The sound copy with the highest epoch counts. Copies are written one after the other, each synced
//! before the next, so at most one is not whole at any time. FORMAT.md has the tables, and says why the order in which the
//! members are written tells an interrupted change from a member that lost what it had confirmed.

mod store;

use minicbor::{Decode, Encode};
use model::Time;

pub(crate) use store::{Loaded, load, remove_if_there, write_copy};

use crate::{DriveUuid, DrivesError, EpochId, Policy, PoolUuid};

const MAGIC: [u8; 8] = *b"KFmember";
const HASH_LENGTH: usize = 32;
/// Bytes of a copy, zeros at the end included: it never grows, so a full drive does not keep it from being written.
pub(crate) const COPY_LENGTH: usize = 16 << 10;

/// What a member is to its set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum MemberState {
    /// Read and written.
    #[n(0)]
    InService,
    /// Neither read nor written: it misses what was written since.
    #[n(1)]
    Out,
    /// Read and written, but what it holds is being moved away.
    #[n(2)]
    Retiring,
    /// Gone for good, with nothing of the pool on it.
    #[n(3)]
    Retired,
}

/// A member, as the set knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct MemberEntry {
    #[n(0)]
    pub(crate) drive: DriveUuid,
    #[n(1)]
    pub(crate) state: MemberState,
    /// The epoch from which on it is in this state.
    #[n(2)]
    pub(crate) since: u64,
    /// Whether it is a home of the catalog.
    #[n(3)]
    pub(crate) catalog: bool,
}

impl MemberEntry {
    /// Whether it is read and written.
    pub(crate) const fn serves(&self) -> bool {
        matches!(self.state, MemberState::InService | MemberState::Retiring)
    }
}

/// A change of the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Epoch {
    #[n(0)]
    pub(crate) number: u64,
    #[n(1)]
    pub(crate) id: EpochId,
    /// What the clock said.
    #[n(2)]
    pub(crate) at: Time,
}

/// What all members of a set say alike.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct SetRecord {
    /// The last changes, the newest last; never empty.
    #[n(0)]
    pub(crate) lineage: Vec<Epoch>,
    #[n(1)]
    pub(crate) members: Vec<MemberEntry>,
    #[n(2)]
    pub(crate) policy: Policy,
    /// Some segments may be wanted kept otherwise.
    #[n(3)]
    #[cbor(default)]
    pub(crate) is_asked: bool,
}

impl SetRecord {
    /// Changes that are remembered.
    pub(crate) const LINEAGE_MAX: usize = 64;

    /// The newest change.
    pub(crate) fn epoch(&self) -> Epoch {
        self.lineage.last().copied().unwrap_or(Epoch { number: 0, id: EpochId([0; 16]), at: Time(0) })
    }

    /// Whether a change is one of those that led here.
    pub(crate) fn descends_from(&self, epoch: Epoch) -> bool {
        self.lineage.iter().any(|known| known.number == epoch.number && known.id == epoch.id)
    }

    /// Enters the next change.
    pub(crate) fn push_epoch(&mut self, id: EpochId, at: Time) {
        let number = self.epoch().number.saturating_add(1);
        self.lineage.push(Epoch { number, id, at });
        let surplus = self.lineage.len().saturating_sub(Self::LINEAGE_MAX);
        self.lineage.drain(..surplus);
    }

    /// The entry of a drive.
    pub(crate) fn entry(&self, drive: DriveUuid) -> Option<&MemberEntry> {
        self.members.iter().find(|entry| entry.drive == drive)
    }

    /// Sets the state of the members at these places, from the next epoch on.
    pub(crate) fn set_state(&mut self, index: usize, state: MemberState) {
        let since = self.epoch().number.saturating_add(1);
        if let Some(entry) = self.members.get_mut(index) {
            (entry.state, entry.since) = (state, since);
            entry.catalog &= entry.serves();
        }
    }
}

/// The superblock of a member.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Superblock {
    #[n(0)]
    pub(crate) version: u16,
    #[n(1)]
    pub(crate) pool: PoolUuid,
    #[n(2)]
    pub(crate) drive: DriveUuid,
    #[n(3)]
    pub(crate) set: SetRecord,
}

impl Superblock {
    /// The version that this program writes.
    pub(crate) const VERSION: u16 = 1;

    /// The bytes of a copy.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, DrivesError> {
        let too_long = DrivesError::Policy { what: "more drives than a superblock has room for" };
        let Ok(body) = minicbor::to_vec(self) else { return Err(too_long) };
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
        if bytes.len() > COPY_LENGTH {
            return Err(too_long);
        }
        bytes.resize(COPY_LENGTH, 0);
        Ok(bytes)
    }

    /// Reads a copy.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DrivesError> {
        let damaged = || DrivesError::Damaged;
        let rest = bytes.strip_prefix(&MAGIC).ok_or_else(damaged)?;
        let (length, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| damaged())?;
        let (body, rest) = rest.split_at_checked(length).ok_or_else(damaged)?;
        let hash = rest.first_chunk::<HASH_LENGTH>().ok_or_else(damaged)?;
        let text = bytes.get(..MAGIC.len() + 8 + body.len()).ok_or_else(damaged)?;
        if blake3::hash(text).as_bytes() != hash {
            return Err(damaged());
        }
        let (found, known) = (version(body).ok_or_else(damaged)?, Self::VERSION);
        if found > known {
            return Err(DrivesError::Version { found, known });
        }
        let superblock: Self = minicbor::decode(body).map_err(|_| damaged())?;
        let set = &superblock.set;
        let ascending = set.lineage.windows(2).all(|pair| pair[0].number < pair[1].number);
        if set.lineage.is_empty() || !ascending || set.entry(superblock.drive).is_none() {
            return Err(damaged());
        }
        set.policy.check().map_err(|_| damaged())?;
        Ok(superblock)
    }
}

/// The version of a body, whatever follows it.
fn version(body: &[u8]) -> Option<u16> {
    let mut decoder = minicbor::Decoder::new(body);
    decoder.array().ok()?;
    decoder.u16().ok()
}

#[cfg(test)]
mod tests;

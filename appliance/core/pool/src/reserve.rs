//! Room that is kept for giving room back.
//!
//! Folding, counting and moving chunks write a little before they free a lot, so they need room where there is none. A
//! file has room allocated for them. While less than a quarter as much is free besides, no data is taken, so in a pool that
//! is full everything else goes on; when somebody else has taken the rest of the drive as well, the file is emptied,
//! and filled again as soon as there is room. Who finds it empty takes no data.
//!
//! The same way no data is taken from when on the pool has the bytes that it may have, until it has less.
//!
//! The file says nothing: losing it loses nothing, and where it cannot be made for another reason than a full drive the
//! pool does without it.

use std::sync::atomic::Ordering;

use medium::{Access, DiskError};
use model::ErrorKind;

use crate::PoolError;
use crate::layout::RESERVE;
use crate::pool::Pool;
use crate::state::Shared;

/// Bytes of data that are taken before the room on the drive is looked at again, if the reserve is larger.
const LOOK_BYTES: u64 = 4 << 20;

impl Shared {
    /// Whether room is short, so that no data is taken; everything else is.
    #[must_use]
    pub fn is_tight(&self) -> bool {
        self.is_tight.load(Ordering::Relaxed)
    }

    /// Bounds what the pool may take in segments: from there on no data is taken until points have gone.
    pub fn set_capacity(&self, capacity_bytes: Option<u64>) {
        self.capacity.store(capacity_bytes.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Bytes that have to be free besides the reserve for data to be taken again.
    const fn margin(&self) -> u64 {
        self.reserve_bytes / 2
    }

    /// Bytes of the reserve that are allocated.
    fn reserve_held(&self) -> Result<u64, DiskError> {
        match self.world.disk.open(RESERVE, Access::Read) {
            Ok(file) => file.length(),
            Err(error) if error.kind() == ErrorKind::Missing => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Free bytes that data can have: not those which the reserve lacks, nor the margin besides it.
    pub(crate) fn room_for_data(&self) -> Result<u64, DiskError> {
        let available = self.world.disk.space()?.available_bytes;
        let lacking = self.reserve_bytes.saturating_sub(self.reserve_held().unwrap_or(self.reserve_bytes));
        Ok(available.saturating_sub(lacking).saturating_sub(self.margin()))
    }

    /// Allocates the reserve. Whether it is there in full, or no full drive is the reason that it is not.
    fn fill_reserve(&self) -> bool {
        let disk = &*self.world.disk;
        let fill = || {
            let file = match disk.open(RESERVE, Access::ReadWrite) {
                Err(error) if error.kind() == ErrorKind::Missing => disk.create(RESERVE)?,
                file => file?,
            };
            let filled = file.allocate(self.reserve_bytes);
            if filled.is_err() {
                file.set_length(0)?;
            }
            filled
        };
        !fill().is_err_and(|error: DiskError| error.kind() == ErrorKind::Full)
    }

    /// Gives the room of the reserve to whoever needs it next; whether there was any.
    fn empty_reserve(&self) -> bool {
        let Ok(file) = self.world.disk.open(RESERVE, Access::ReadWrite) else { return false };
        file.length().is_ok_and(|length| length > 0) && file.set_length(0).is_ok()
    }
}

impl Pool {
    /// Gives up the reserve if nothing else helps: a write found no room, or the catalog had none. Whether that may
    /// help.
    pub(crate) fn draw_on_reserve(&self) -> bool {
        let shared = self.shared();
        let is_short = |room: medium::Space| room.available_bytes < shared.reserve_bytes / 2;
        shared.world.disk.space().is_ok_and(is_short) && shared.empty_reserve()
    }

    /// Sees to the reserve, and takes data again when there is room for both; whether data is taken.
    ///
    /// # Errors
    /// Of a drive that does not say how much is free.
    pub fn look_for_room(&mut self) -> Result<bool, PoolError> {
        let is_within = self.is_within_capacity();
        let shared = self.shared();
        let wanted = shared.reserve_bytes;
        if wanted == 0 {
            shared.is_tight.store(!is_within, Ordering::Relaxed);
            return Ok(is_within);
        }
        let is_held = shared.reserve_held().map_or(true, |held| held >= wanted);
        let available = shared.world.disk.space()?.available_bytes;
        let enough = shared.margin().saturating_add(if is_held { 0 } else { wanted });
        let is_tight = shared.is_tight();
        // Data is taken down to half of the margin, and again from the whole of it on.
        let least = if is_tight || !is_held { enough } else { enough / 2 };
        let has_room = available >= least && (is_held || shared.fill_reserve()) && is_within;
        shared.is_tight.store(!has_room, Ordering::Relaxed);
        Ok(has_room)
    }

    /// Fails if there is no room for so many bytes of data and what they bring with them.
    pub(crate) fn check_room(&mut self, bytes: u64) -> Result<(), PoolError> {
        self.unlooked = self.unlooked.saturating_add(bytes);
        let look_bytes = LOOK_BYTES.min(self.shared().reserve_bytes / 8);
        let is_within = self.is_within_capacity();
        if self.shared().is_tight() || !is_within || self.unlooked >= look_bytes {
            self.unlooked = 0;
            if !self.is_failed() {
                self.look_for_room()?;
            }
        }
        if !self.shared().is_tight() {
            return Ok(());
        }
        let capacity_bytes = self.shared().capacity.load(Ordering::Relaxed);
        Err(if is_within { PoolError::DriveFull } else { PoolError::CapacityReached { capacity_bytes } })
    }

    /// Whether all segments, with what no commit covers yet, take less than the pool may.
    pub(crate) fn is_within_capacity(&mut self) -> bool {
        let capacity_bytes = self.shared().capacity.load(Ordering::Relaxed);
        if capacity_bytes == u64::MAX {
            return true;
        }
        let state = self.shared().state();
        let (known, uncommitted) = (state.mark.commit, self.uncommitted_bytes(&state.mark));
        let sum = || state.mark.lengths.iter().map(|(_, length)| length).sum();
        let committed = Some(self.committed).filter(|(at, _)| *at == known).map_or_else(sum, |(_, sum)| sum);
        drop(state);
        self.committed = (known, committed);
        committed.saturating_add(uncommitted) < capacity_bytes
    }
}

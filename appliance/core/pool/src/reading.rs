//! A pool that is only read: the drive of a dead appliance, or what is left of several.
//!
//! Nothing is written, not even to open it: the header stays as it is, the catalog is read as it is and brought up to the
//! end of the segments in memory, and what is damaged is told and not noted. Without a catalog that can be used all of
//! it is made in memory, from the segments. Where that takes more than memory may, it goes on in a scratch file.
//!
//! A disk that refuses changes is enough; the lock is the disk's to take.

use std::sync::Arc;

use medium::Lock;

use crate::PoolError;
use crate::catalog::Scratch;
use crate::header::PoolHeader;
use crate::keys::Unlock;
use crate::layout::LOCK;
use crate::opening::{Purpose, load};
use crate::pool::{Options, in_use};
use crate::state::{Shared, World};

/// A pool that is only read.
pub struct ReadOnlyPool {
    shared: Arc<Shared>,
    _lock: Box<dyn Lock>,
}

impl ReadOnlyPool {
    /// Opens what there is of a pool and changes nothing. `scratch` is an empty file on another drive.
    pub fn open(
        world: World,
        unlock: &Unlock,
        options: &Options,
        scratch: Scratch,
    ) -> Result<Self, PoolError> {
        let (header, _) = PoolHeader::load(&*world.disk)?;
        let master = unlock.open(&header.slots, &header.pool)?;
        let lock = world.disk.lock(LOCK).map_err(in_use)?;
        let shared = Arc::new(Shared::closed(world, header, &master, options));
        load(&shared, options.batch_limit(), &Purpose::Reading(scratch))?;
        Ok(Self { shared, _lock: lock })
    }

    /// What readers need.
    #[must_use]
    pub const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

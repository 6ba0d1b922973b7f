//! What is around the core: a disk that crashes, a clock, entropy, and the watch over nonces.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use chunk::{Commitment, FrameNumber, NonceAudit};
use medium::sim::{Random, SimClock, SimDisk, SimEntropy, Survival};
use medium::{Disk, DiskError, Poisoning};
use model::Time;
use pool::keys::{PassphraseCost, Unlock};
use pool::layout::SegmentLimits;
use pool::planted::{Bug, Planted};
use pool::{Options, World};
use zeroize::Zeroizing;

/// Remembers what every nonce of a history was used for, over all of its crashes.
#[derive(Default)]
pub(crate) struct Nonces(Mutex<Uses>);

#[derive(Default)]
struct Uses {
    texts: BTreeMap<(Commitment, FrameNumber), [u8; 32]>,
    repeated: Option<String>,
}

impl Nonces {
    /// The first nonce that was used for two texts, in words.
    pub(crate) fn repeated(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).repeated.clone()
    }
}

impl NonceAudit for Nonces {
    fn sealing(&self, commitment: &Commitment, number: FrameNumber, text: &[u8; 32]) {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = uses.texts.insert((*commitment, number), *text);
        if before.is_some_and(|before| before != *text) {
            uses.repeated =
                Some(format!("frame number {number:?} of the key of {commitment:?} sealed two texts"));
        }
    }
}

/// The machine that the core runs on.
pub(crate) struct Host {
    pub(crate) disk: SimDisk,
    pub(crate) clock: SimClock,
    pub(crate) nonces: Arc<Nonces>,
    entropy: Arc<SimEntropy>,
    options: Options,
}

impl Host {
    /// A new machine with an empty disk.
    pub(crate) fn new(random: &mut Random, planted: Planted) -> Self {
        let nonces = Arc::new(Nonces::default());
        let bytes = |random: &mut Random| 2 << (10 + random.below(4));
        let limits = SegmentLimits { data_bytes: bytes(random), meta_bytes: bytes(random) };
        let options = Options {
            limits,
            cost: PassphraseCost { memory_kib: 32, passes: 1, lanes: 1 },
            catalog_batch: [1, 12, 40, 0][random.index(4)],
            reserve_bytes: [0, 64 << 10][random.index(2)],
            audit: Some(Arc::clone(&nonces) as Arc<dyn NonceAudit>),
            planted,
        };
        Self {
            disk: SimDisk::new(random.draw()),
            clock: SimClock::new(Time(1_700_000_000_000_000_000)),
            nonces,
            entropy: Arc::new(SimEntropy::new(random.draw())),
            options,
        }
    }

    /// What opens the pool.
    pub(crate) fn key() -> Unlock {
        Unlock::KeyFile(Zeroizing::new([7; 32]))
    }

    /// How the pool is run.
    pub(crate) fn options(&self) -> Options {
        self.options.clone()
    }

    /// The world as a program that starts finds it.
    pub(crate) fn world(&self) -> World {
        self.world_on(&self.disk, Arc::clone(&self.entropy))
    }

    /// A world apart on a copy of a disk, with entropy of its own.
    pub(crate) fn world_apart(&self, disk: &SimDisk, seed: u64) -> World {
        self.world_on(disk, Arc::new(SimEntropy::new(seed)))
    }

    fn world_on(&self, disk: &SimDisk, entropy: Arc<SimEntropy>) -> World {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        // Two guards stand between a failed sync and a second one; the planted bug takes both away.
        let bare = self.options.planted.has(Bug::RetrySync);
        let disk = if bare { disk } else { Arc::new(Poisoning::new(disk)) };
        World { disk, clock: Arc::new(self.clock.clone()), entropy }
    }

    /// Whether the power is gone.
    pub(crate) fn has_crashed(&self) -> bool {
        matches!(self.disk.space(), Err(DiskError::Crashed { .. }))
    }

    /// The power goes, if it has not gone yet, and comes back.
    pub(crate) fn crash(&mut self, random: &mut Random) -> Survival {
        let survival = Survival::draw(random);
        self.disk = self.disk.crash_with(survival, random);
        survival
    }
}

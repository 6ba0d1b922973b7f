//! What is around the core: drives that crash, a clock, entropy, and the watch over nonces.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use chunk::{Commitment, FrameNumber, NonceAudit};
use medium::sim::{Random, SimClock, SimEntropy};
use model::Time;
use model::archive::ArchiveError;
use pool::keys::{PassphraseCost, Unlock};
use pool::layout::SegmentLimits;
use pool::planted::{Bug, Planted};
use pool::{Options, World};
use zeroize::Zeroizing;

use crate::bays::Bays;

/// One history of so many is over several drives.
const SEVERAL: u64 = 4;

/// Whether the history with this seed is over several drives.
#[must_use]
pub const fn is_over_several(seed: u64) -> bool {
    seed.is_multiple_of(SEVERAL)
}

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
    pub(crate) bays: Bays,
    pub(crate) clock: SimClock,
    pub(crate) nonces: Arc<Nonces>,
    entropy: Arc<SimEntropy>,
    options: Options,
}

impl Host {
    /// A new machine with empty drives, as many as the seed of the history says.
    pub(crate) fn new(seed: u64, random: &mut Random, planted: Planted) -> Self {
        let nonces = Arc::new(Nonces::default());
        let bytes = |random: &mut Random| 2 << (10 + random.below(4));
        let limits = SegmentLimits { data_bytes: bytes(random), meta_bytes: bytes(random) };
        let options = Options {
            limits,
            cost: PassphraseCost { memory_kib: 32, passes: 1, lanes: 1 },
            catalog_batch: [1, 12, 40, 0][random.index(4)],
            checked_by_block: seed.is_multiple_of(3).then_some(0),
            reserve_bytes: [0, 64 << 10][random.index(2)],
            audit: Some(Arc::clone(&nonces) as Arc<dyn NonceAudit>),
            planted,
        };
        let clock = SimClock::new(Time(1_700_000_000_000_000_000));
        let disk_seed = random.draw();
        let entropy = Arc::new(SimEntropy::new(random.draw()));
        let mut bays = Bays::new(disk_seed, planted.has(Bug::RetrySync));
        if is_over_several(seed) {
            bays.make_set(random, disk_seed, around(&clock, &entropy));
        }
        Self { bays, clock, nonces, entropy, options }
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
    pub(crate) fn world(&mut self) -> Result<World, ArchiveError> {
        let disk = self.bays.open(&around(&self.clock, &self.entropy))?;
        Ok(World { disk, clock: Arc::new(self.clock.clone()), entropy: self.entropy.clone() })
    }

    /// A world apart on a copy of the drives, with entropy of its own.
    pub(crate) fn world_apart(&self, bays: &mut Bays, seed: u64) -> Result<World, ArchiveError> {
        let entropy = Arc::new(SimEntropy::new(seed));
        let disk = bays.open(&around(&self.clock, &entropy))?;
        Ok(World { disk, clock: Arc::new(self.clock.clone()), entropy })
    }
}

fn around(clock: &SimClock, entropy: &Arc<SimEntropy>) -> drives::World {
    drives::World { clock: Arc::new(clock.clone()), entropy: entropy.clone() }
}

//! How fast chunks come into the index and are found in it, on a drive in memory: `cargo bench -p pool`.

#![expect(clippy::unwrap_used, reason = "what fails must stop")]

use std::sync::Arc;

use chunk::{BundleLimits, Compressor, Decompressor, Level, NamingKey, VerifiedBuilder, VerifiedBundle};
use divan::Bencher;
use divan::counter::ItemsCount;
use medium::sim::{SimClock, SimDisk, SimEntropy};
use model::record::{Label, Machine, Source};
use model::{Name, Time};
use pool::keys::{PassphraseCost, Unlock};
use pool::{Counted, Options, Pool, World};
use zeroize::Zeroizing;

/// Chunks of the pool, and of a bundle.
const CHUNKS: u64 = 100_000;
const BUNDLE_CHUNKS: u64 = 5_000;
/// Names that are asked for at a time.
const NAMES: u64 = 1_000;

fn main() {
    divan::main();
}

struct Site {
    pool: Pool,
    machine: Machine,
    source: Source,
    naming: NamingKey,
}

fn empty() -> Site {
    let world = World {
        disk: Arc::new(SimDisk::new(1)),
        clock: Arc::new(SimClock::new(Time(1))),
        entropy: Arc::new(SimEntropy::new(1)),
    };
    let cost = PassphraseCost { memory_kib: 32, passes: 1, lanes: 1 };
    let options = Options { cost, ..Options::default() };
    let mut pool = Pool::create(world, &[Unlock::KeyFile(Zeroizing::new([7; 32]))], options).unwrap();
    let machine = pool.add_machine(&Label::new("web1").unwrap(), false).unwrap();
    let source = pool.add_source(machine.id, &Label::new("home").unwrap()).unwrap();
    let naming = pool.shared().keys().naming(machine.domain);
    Site { pool, machine, source, naming }
}

impl Site {
    fn bundles(&self) -> Vec<VerifiedBundle> {
        let (mut compressor, mut decompressor) = (Compressor::default(), Decompressor::default());
        let bundle = |first: u64| {
            let mut builder = VerifiedBuilder::new(BundleLimits::default());
            for number in first..first + BUNDLE_CHUNKS {
                builder.push(&self.naming, &number.to_le_bytes()).unwrap();
            }
            builder.finish(&mut compressor, &mut decompressor, Level::default()).unwrap()
        };
        (0..CHUNKS).step_by(usize::try_from(BUNDLE_CHUNKS).unwrap()).map(bundle).collect()
    }

    fn put(&mut self, bundles: Vec<VerifiedBundle>) {
        for bundle in bundles {
            self.pool
                .put_bundle(&self.pool.shared().begin_session(), self.machine.id, self.source.id, bundle)
                .unwrap();
        }
        self.pool.commit(Vec::new()).unwrap();
        self.pool.flush_catalog().unwrap();
    }

    fn look_up(&self, bencher: Bencher<'_, '_>, are_there: bool) {
        let first = if are_there { CHUNKS / 2 } else { CHUNKS * 2 };
        let name = |number: u64| self.naming.name(&number.to_le_bytes());
        let names: Vec<Name> = (first..first + NAMES).map(name).collect();
        bencher.counter(ItemsCount::new(NAMES)).bench_local(|| {
            let known = self.pool.shared().known(self.machine.id, &names).unwrap();
            assert!(known.iter().all(|known| *known == are_there));
        });
    }
}

fn filled() -> Site {
    let mut site = empty();
    let bundles = site.bundles();
    site.put(bundles);
    while site.pool.filter_names(10_000).unwrap() == Counted::More {}
    site
}

#[divan::bench(sample_count = 10)]
fn insert(bencher: Bencher<'_, '_>) {
    let with_bundles = || {
        let site = empty();
        let bundles = site.bundles();
        (site, bundles)
    };
    bencher.counter(ItemsCount::new(CHUNKS)).with_inputs(with_bundles).bench_local_values(
        |(mut site, bundles)| {
            site.put(bundles);
            site
        },
    );
}

#[divan::bench]
fn find_known(bencher: Bencher<'_, '_>) {
    filled().look_up(bencher, true);
}

#[divan::bench]
fn find_unknown(bencher: Bencher<'_, '_>) {
    filled().look_up(bencher, false);
}

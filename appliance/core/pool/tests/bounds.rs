//! What peers cannot make the pool do: hold more in memory than is stated, or fail for everybody.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use chunk::{BundleLimits, Compressor, Decompressor, Level, NamingKey, VerifiedBuilder, VerifiedBundle};
use medium::sim::{Random, SimClock, SimDisk, SimEntropy};
use model::archive::Archive;
use model::record::{EXCEPTIONS_MAX, Exception, ExceptionCause, Label, Machine, Source, Totals};
use model::{ErrorKind, Name, SequenceNumber, Time};
use pool::keys::{PassphraseCost, Unlock};
use pool::{NewPoint, Options, Pool, PoolArchive, Scope, World};
use tree::Root;
use zeroize::Zeroizing;

fn create(disk: &SimDisk, catalog_batch: usize) -> (Pool, Machine, Source) {
    let clock = Arc::new(SimClock::new(Time(1_700_000_000_000_000_000)));
    let world = World { disk: Arc::new(disk.clone()), clock, entropy: Arc::new(SimEntropy::new(1)) };
    let cost = PassphraseCost { memory_kib: 32, passes: 1, lanes: 1 };
    let options = Options { cost, catalog_batch, ..Options::default() };
    let mut pool = Pool::create(world, &[Unlock::KeyFile(Zeroizing::new([7; 32]))], options).unwrap();
    let machine = pool.add_machine(&Label::new("web1").unwrap(), false).unwrap();
    let source = pool.add_source(machine.id, &Label::new("home").unwrap()).unwrap();
    (pool, machine, source)
}

fn bundle(key: &NamingKey, numbers: impl Iterator<Item = u32>) -> (Vec<Name>, VerifiedBundle) {
    let mut builder = VerifiedBuilder::new(BundleLimits::default());
    let names = numbers.map(|number| builder.push(key, &number.to_le_bytes()[..3]).unwrap()).collect();
    let bundle = builder.finish(&mut Compressor::default(), &mut Decompressor::default(), Level::default());
    (names, bundle.unwrap())
}

#[test]
fn tiny_chunks_do_not_pile_up_until_a_commit() {
    const BATCH: usize = 1000;
    let disk = SimDisk::new(1);
    let (mut pool, machine, _) = create(&disk, BATCH);
    let naming = pool.shared().keys().naming(machine.domain);
    let second = pool.add_machine(&Label::new("web2").unwrap(), false).unwrap();
    // Twice, so that the second machine's are noted as further owners, which are entries too.
    for machine in [machine.id, second.id] {
        let mut sent = Vec::new();
        for start in (0..8000).step_by(200) {
            let (names, bundle) = bundle(&naming, start..start + 200);
            pool.put_bundle(machine, bundle).unwrap();
            sent.extend(names);
            let known = |pool: &Pool| -> usize {
                let known = pool.shared().known(machine, &sent).unwrap();
                known.into_iter().filter(|known| *known).count()
            };
            assert_eq!(known(&pool), sent.len(), "what came is known at once");
        }
        // What an opening forgets is what waited.
        pool.reopen().unwrap();
        let known = pool.shared().known(machine, &sent).unwrap().into_iter().filter(|known| *known).count();
        assert!(known >= 8000 - BATCH, "{known} of 8000 chunks were durable");
        for start in (0..8000).step_by(200) {
            pool.put_bundle(machine, bundle(&naming, start..start + 200).1).unwrap();
        }
    }
}

/// An exception with a path of noise, which no compression makes smaller.
fn exception(random: &mut Random, length: usize) -> Exception {
    let mut path = vec![0; length];
    random.fill(&mut path);
    Exception { path, cause: ExceptionCause::Unreadable, detail: String::new() }
}

fn new_point(source: &Source, number: u64, exceptions: Vec<Exception>, exceptions_count: u64) -> NewPoint {
    NewPoint {
        source: source.id,
        sequence: SequenceNumber(number),
        started: Time(1),
        finished: Time(i64::try_from(number).unwrap() * 1_000_000_000),
        root: Root::EMPTY,
        totals: Totals::default(),
        exceptions,
        exceptions_count,
    }
}

#[test]
fn exceptions_are_cut_to_what_a_record_holds_and_counted_whole() {
    let disk = SimDisk::new(1);
    let (mut pool, _, source) = create(&disk, 0);
    let mut random = Random::new(9);
    let mut large: Vec<Exception> = (0..1021).map(|_| exception(&mut random, 4096)).collect();
    // As a message just holds them.
    large.push(exception(&mut random, 6048));
    let one = vec![exception(&mut random, 5 << 20)];
    let many: Vec<Exception> = (0..12_000).map(|_| exception(&mut random, 10)).collect();
    let few = vec![exception(&mut random, 10)];
    let cases = [
        (large, 1022, 1022, 700..800),
        (one, 1, 1, 0..1),
        (many, 3, 12_000, EXCEPTIONS_MAX..EXCEPTIONS_MAX + 1),
        (few, 500, 500, 1..2),
    ];
    for (number, (exceptions, said, count, listed)) in (1..).zip(cases) {
        let first = exceptions.clone();
        pool.commit_point(new_point(&source, number, exceptions, said)).unwrap();
        let archive = PoolArchive::new(Arc::clone(pool.shared()), Scope::All);
        let newest = archive.points(source.id).unwrap().pop().unwrap();
        let point = archive.point(newest.key()).unwrap();
        assert_eq!((point.sequence.0, point.exceptions_count), (number, count));
        assert!(listed.contains(&point.exceptions.len()), "{} are listed", point.exceptions.len());
        assert_eq!(point.exceptions, first[..point.exceptions.len()]);
    }
}

#[test]
fn a_record_that_no_frame_holds_is_refused_and_the_pool_goes_on() {
    let disk = SimDisk::new(1);
    let (mut pool, machine, source) = create(&disk, 0);
    let naming = pool.shared().keys().naming(machine.domain);
    let (names, bundle) = bundle(&naming, 0..10);
    pool.put_bundle(machine.id, bundle).unwrap();
    let mut random = Random::new(3);
    let mut noise = |length| {
        let mut value = vec![0; length];
        random.fill(&mut value);
        value
    };
    let before = disk.operations();
    for length in [(7 << 19) + 1, 4 << 20, 9 << 20] {
        let error = pool.set_setting("addresses", Some(noise(length))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{length}: {error}");
    }
    assert_eq!(disk.operations(), before, "nothing was written");
    assert!(!pool.is_failed());
    assert_eq!(pool.shared().known(machine.id, &names).unwrap(), [true; 10], "what waits is still there");
    // The longest that is taken fits a frame together with the mark.
    let longest = noise((7 << 19) - 32);
    pool.set_setting("addresses", Some(longest.clone())).unwrap();
    pool.commit_point(new_point(&source, 1, Vec::new(), 0)).unwrap();
    pool.reopen().unwrap();
    pool.rebuild_catalog().unwrap();
    assert_eq!(pool.shared().registry(|r| r.settings.get("addresses").cloned()), Some(longest));
    assert_eq!(pool.shared().known(machine.id, &names).unwrap(), [true; 10]);
}

//! One flipped bit, ten thousand times, anywhere in any file of a pool: found or harmless, never a wrong byte.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use chunk::{BundleLimits, Compressor, Decompressor, Level, VerifiedBuilder};
use medium::Poisoning;
use medium::sim::{Random, SimClock, SimDisk, SimEntropy};
use model::archive::Archive;
use model::item::{Attributes, Extent, FileKind, Inode, Item, ItemKey};
use model::record::{Label, Machine, Source, Totals};
use model::{EntryName, Name, ObjectId, SequenceNumber, Time};
use pool::keys::{PassphraseCost, Unlock};
use pool::layout::SegmentLimits;
use pool::{NewPoint, Options, Pool, PoolArchive, PoolError, Scope, World};
use tree::{ItemTree, Root};
use zeroize::Zeroizing;

/// Points of the pool that is damaged.
const POINTS: u64 = 8;

fn world(disk: &SimDisk, seed: u64) -> World {
    World {
        disk: Arc::new(Poisoning::new(Arc::new(disk.clone()))),
        clock: Arc::new(SimClock::new(Time(1_700_000_000_000_000_000))),
        entropy: Arc::new(SimEntropy::new(seed)),
    }
}

fn key() -> Unlock {
    Unlock::KeyFile(Zeroizing::new([7; 32]))
}

fn options() -> Options {
    let cost = PassphraseCost { memory_kib: 32, passes: 1, lanes: 1 };
    // Small, so that there are sealed segments and open ones of every kind.
    let limits = SegmentLimits { data_bytes: 8 << 10, meta_bytes: 8 << 10 };
    Options { limits, cost, catalog_batch: 40, ..Options::default() }
}

fn open(disk: &SimDisk, seed: u64) -> Result<Pool, PoolError> {
    Pool::open(world(disk, seed), &key(), options())
}

/// Chunks of a point: one that compresses, one that every point has, and noise.
fn chunks(number: u64) -> Vec<Vec<u8>> {
    let mut random = Random::new(number + 1);
    let mut noise = vec![0; 2000];
    random.fill(&mut noise);
    vec![b"shared by everybody".to_vec(), number.to_string().repeat(700).into_bytes(), noise]
}

/// The items of a directory with a file for each chunk, in order.
fn files(names: &[Name], chunks: &[Vec<u8>]) -> Vec<(ItemKey, Option<Item>)> {
    let attributes = |kind| Attributes {
        kind,
        mode: 0o644,
        uid: 0,
        gid: 0,
        modified: Time(0),
        changed: Time(0),
        rdev: 0,
        target: Vec::new(),
        image: false,
    };
    let inode =
        |kind, size| Item::Inode(Inode { attributes: attributes(kind), size, stored: size, links: 1 });
    let mut items = vec![(ItemKey::inode(ObjectId::ROOT), inode(FileKind::Directory, 0))];
    for ((name, chunk), number) in names.iter().zip(chunks).zip(ObjectId::ROOT.0 + 1..) {
        let object = ObjectId(number);
        let entry = EntryName::new(format!("file {number}").as_bytes()).unwrap();
        let length = u32::try_from(chunk.len()).unwrap();
        items.push((ItemKey::entry(ObjectId::ROOT, entry), Item::Entry(object, FileKind::File)));
        items.push((ItemKey::inode(object), inode(FileKind::File, u64::from(length))));
        let extent = Extent::Chunk { name: *name, skip: 0, length };
        items.push((ItemKey::extent(object, 0), Item::Extent(extent)));
    }
    items.sort_by(|(a, _), (b, _)| a.cmp(b));
    items.into_iter().map(|(key, item)| (key, Some(item))).collect()
}

fn add_point(pool: &mut Pool, machine: &Machine, source: &Source, number: u64) -> Result<(), PoolError> {
    let naming = pool.shared().keys().naming(machine.domain);
    let mut builder = VerifiedBuilder::new(BundleLimits::default());
    let names: Vec<Name> = chunks(number).iter().map(|bytes| builder.push(&naming, bytes).unwrap()).collect();
    let bundle =
        builder.finish(&mut Compressor::default(), &mut Decompressor::default(), Level::default()).unwrap();
    pool.put_bundle(machine.id, bundle)?;
    let items = files(&names, &chunks(number));
    let applied = ItemTree::default().apply(pool, &Root::EMPTY, items).map_err(pool::archive::tree_error)?;
    let point = NewPoint {
        source: source.id,
        sequence: SequenceNumber(number),
        started: Time(1),
        finished: Time(i64::try_from(number).unwrap() * 1_000_000_000),
        root: applied.root,
        totals: Totals::default(),
        exceptions: Vec::new(),
        exceptions_count: 0,
    };
    pool.commit_point(point).map(drop)
}

/// A pool with points, closed.
fn filled() -> (SimDisk, Machine, Source) {
    let disk = SimDisk::new(1);
    let mut pool = Pool::create(world(&disk, 1), &[key()], options()).unwrap();
    let machine = pool.add_machine(&Label::new("web1").unwrap(), false).unwrap();
    let source = pool.add_source(machine.id, &Label::new("home").unwrap()).unwrap();
    for number in 1..=POINTS {
        add_point(&mut pool, &machine, &source, number).unwrap();
    }
    pool.flush_catalog().unwrap();
    (disk, machine, source)
}

/// Reads whatever can be read and compares every byte of it; how many points were there whole.
fn whole_points(pool: &Pool, context: &str) -> u64 {
    let archive = PoolArchive::new(Arc::clone(pool.shared()), Scope::All);
    let mut whole = 0;
    for source in archive.sources().unwrap_or_default() {
        for point in archive.points(source.id).unwrap_or_default() {
            let Ok(items) = archive.items(point.key(), &[], &[0xff; 9], 100) else { continue };
            let extents = items.into_iter().filter_map(|(_, item)| match item {
                Item::Extent(Extent::Chunk { name, .. }) => Some(name),
                _ => None,
            });
            let names: Vec<Name> = extents.collect();
            // Where the record of a point is lost, the next point has its number.
            let expected = chunks(point.sequence.0);
            assert_eq!(names.len(), expected.len(), "{context}");
            let Ok(read) = archive.chunks(point.key(), &names) else { continue };
            whole += u64::from(read.iter().all(Result::is_ok));
            for (bytes, expected) in read.into_iter().zip(expected) {
                assert!(
                    bytes.is_err() || bytes.is_ok_and(|bytes| *bytes == *expected),
                    "{context}: wrong bytes"
                );
            }
        }
    }
    whole
}

/// A bit of a disk: of any file, large or small, or of any byte.
fn draw(disk: &SimDisk, random: &mut Random) -> (String, u64) {
    let mut files: Vec<_> = disk.files().into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
    let total: u64 = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    if random.chance(50) {
        let (path, bytes) = files.swap_remove(random.index(files.len()));
        return (path, random.below(bytes.len() as u64 * 8));
    }
    let mut bit = random.below(total * 8);
    for (path, bytes) in files {
        let length = bytes.len() as u64 * 8;
        if bit < length {
            return (path, bit);
        }
        bit -= length;
    }
    unreachable!("the bit is below the sum of all lengths");
}

/// Whether a pool says that something is wrong with it.
fn is_told(pool: &Pool) -> bool {
    !pool.shared().damage().is_empty()
        || pool.shared().verify(None).map_or(true, |found| found.damage_count > 0)
}

#[test]
fn a_bit_that_flipped_while_the_pool_was_closed_is_found_or_harmless() {
    let (intact, machine, source) = filled();
    let mut random = Random::new(5);
    let (mut refused, mut told) = (0, 0);
    for round in 0..10_000 {
        let disk = intact.snapshot();
        let (path, bit) = draw(&disk, &mut random);
        disk.flip(&path, bit).unwrap();
        let without_catalog = round % 4 == 0;
        if without_catalog {
            medium::Disk::remove(&disk, "catalog.redb").unwrap();
        }
        let context = format!("bit {bit} of {path}, catalog removed: {without_catalog}");
        let of_catalog = path.starts_with("catalog");
        let Ok(mut pool) = open(&disk, round) else {
            assert!(!of_catalog, "{context}: the pool does not open");
            refused += 1;
            continue;
        };
        let whole = whole_points(&pool, &context);
        assert!(!of_catalog || whole == POINTS, "{context}: the catalog was not made anew");
        if whole < POINTS {
            // Without the catalog that is two faults at once: what only the flipped bit proves to have been committed
            // cannot be told from what a crash left unfinished.
            assert!(without_catalog || is_told(&pool), "{context}: {whole} points and no word");
            told += 1;
        }
        // Service goes on, if at all, without a wrong byte.
        if round % 10 == 0 && add_point(&mut pool, &machine, &source, POINTS + 1).is_ok() {
            assert!(whole_points(&pool, &context) > 0 || is_told(&pool), "{context}");
        }
    }
    assert!(told > 500, "{told} flips were told, {refused} made the pool refuse to open");
}

#[test]
fn a_bit_that_flips_under_an_open_pool_is_found_or_harmless() {
    let (intact, ..) = filled();
    let mut random = Random::new(6);
    let mut told = 0;
    for round in 0..2000 {
        let disk = intact.snapshot();
        let pool = open(&disk, round).unwrap();
        let (path, bit) = draw(&disk, &mut random);
        disk.flip(&path, bit).unwrap();
        let context = format!("bit {bit} of {path} of an open pool");
        if whole_points(&pool, &context) < POINTS {
            // Readers were told by errors; from here on the pool says it too, or has healed itself.
            drop(pool);
            let pool = open(&disk, round);
            let healed = pool.as_ref().is_ok_and(|pool| whole_points(pool, &context) == POINTS);
            assert!(healed || pool.is_err() || pool.is_ok_and(|pool| is_told(&pool)), "{context}");
            told += 1;
        }
    }
    assert!(told > 100, "{told}");
}

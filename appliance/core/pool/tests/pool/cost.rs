//! What it costs to fold a point: as much as the point held, whatever else is stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use medium::sim::{Random, SimDisk};
use medium::{Access, Disk, DiskError, File, Lock, Space};
use model::archive::PointKey;
use model::item::{Extent, Item, ItemKey};
use model::{Name, ObjectId};
use pool::archive::tree_error;
use pool::layout::SegmentLimits;
use pool::{Effort, Options, Pool, Reclaimed, Thrift};
use tree::{ItemTree, Root};

use crate::reclaim::{audit, count};
use crate::world::{Home, bundle, key, lazy, new_point, points, world_of};

/// Points of a pool.
const POINTS: u64 = 1000;
/// The one that goes; the next one replaces what it has alone.
const VICTIM: u64 = POINTS / 2;
/// Chunks that each point has alone.
const OWN: u64 = 8;
/// Bytes of each of those of the point that goes: 1 MiB in all.
const OWN_BYTES: usize = 128 << 10;

/// A drive that counts the bytes which are read and written.
#[derive(Clone)]
struct Metered {
    disk: SimDisk,
    bytes: Arc<AtomicU64>,
}

#[derive(Debug)]
struct MeteredFile {
    file: Arc<dyn File>,
    bytes: Arc<AtomicU64>,
}

impl Metered {
    fn wrap(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(MeteredFile { file, bytes: Arc::clone(&self.bytes) })
    }
}

impl Disk for Metered {
    fn create(&self, path: &str) -> Result<Arc<dyn File>, DiskError> {
        Ok(self.wrap(self.disk.create(path)?))
    }

    fn open(&self, path: &str, access: Access) -> Result<Arc<dyn File>, DiskError> {
        Ok(self.wrap(self.disk.open(path, access)?))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.disk.remove(path)
    }

    fn make_directory(&self, path: &str) -> Result<(), DiskError> {
        self.disk.make_directory(path)
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        self.disk.list(directory)
    }

    fn sync_directory(&self, directory: &str) -> Result<(), DiskError> {
        self.disk.sync_directory(directory)
    }

    fn lock(&self, path: &str) -> Result<Box<dyn Lock>, DiskError> {
        self.disk.lock(path)
    }

    fn space(&self) -> Result<Space, DiskError> {
        self.disk.space()
    }
}

impl File for MeteredFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.file.write_at(offset, bytes)
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        self.file.sync_data()
    }

    fn forget_cached(&self) -> Result<(), DiskError> {
        self.file.forget_cached()
    }

    fn length(&self) -> Result<u64, DiskError> {
        self.file.length()
    }

    fn set_length(&self, length: u64) -> Result<(), DiskError> {
        self.file.set_length(length)
    }
}

/// Puts chunks with these numbers, each of so many bytes of noise.
fn put(pool: &mut Pool, home: &Home, numbers: std::ops::Range<u64>, bytes: usize) -> Vec<Name> {
    let content = |number: u64| {
        let mut content = vec![0; bytes];
        Random::new(number + 1).fill(&mut content);
        content.extend_from_slice(&number.to_le_bytes());
        content
    };
    let (names, bundle) = bundle(&home.naming(pool), numbers.map(content));
    home.put(pool, bundle).unwrap();
    names
}

/// Extents of a file of chunks, from the one at `first` on.
fn extents(first: u64, names: Vec<Name>, bytes: usize) -> impl Iterator<Item = (ItemKey, Option<Item>)> {
    let length = u32::try_from(bytes + 8).unwrap();
    (first..).zip(names).map(move |(at, name)| {
        let extent = Extent::Chunk { name, skip: 0, length };
        (ItemKey::extent(ObjectId(7), at << 20), Some(Item::Extent(extent)))
    })
}

fn commit(
    pool: &mut Pool,
    home: &Home,
    root: &Root,
    number: u64,
    items: impl Iterator<Item = (ItemKey, Option<Item>)>,
) -> Root {
    let applied = ItemTree::default().apply(pool, root, items).map_err(tree_error).unwrap();
    pool.commit_point(new_point(&home.source, number, applied.root)).unwrap();
    applied.root
}

/// Bytes that are read and written to fold a point in a pool that holds `stored` chunks besides.
fn cost(stored: u64) -> u64 {
    let disk = Metered { disk: SimDisk::new(1), bytes: Arc::default() };
    let options = Options {
        limits: SegmentLimits { data_bytes: 1 << 20, meta_bytes: 1 << 20 },
        ..Options { catalog_batch: 50_000, ..lazy() }
    };
    let mut pool = Pool::create(world_of(disk.clone(), 1), &[key()], options.clone()).unwrap();
    let home = Home::add(&mut pool);
    let mut random = Random::new(2);
    let mut root = Root::EMPTY;
    for first in (0..stored).step_by(4000) {
        let names = put(&mut pool, &home, first..(first + 4000).min(stored), 8);
        let applied = ItemTree::default().apply(&mut pool, &root, extents(first, names, 8));
        root = applied.map_err(tree_error).unwrap().root;
    }
    let mut place = 0;
    for number in 1..=POINTS {
        if number == VICTIM || number == VICTIM + 1 {
            // What the point brings lies in segments of its own.
            pool.flush_catalog().unwrap();
            drop(pool);
            pool = Pool::open(world_of(disk.clone(), number), &key(), options.clone()).unwrap();
        }
        if number != VICTIM + 1 {
            place = random.below(stored - OWN);
        }
        let bytes = if number == VICTIM { OWN_BYTES } else { 8 };
        let first = stored + number * OWN;
        let names = put(&mut pool, &home, first..first + OWN, bytes);
        root = commit(&mut pool, &home, &root, number, extents(place, names, bytes));
    }
    count(&mut pool);
    while pool.reclaim(Thrift::DEFAULT, Effort::default()).unwrap() != Reclaimed::Nothing {}
    pool.flush_catalog().unwrap();
    let before = disk.bytes.load(Ordering::Relaxed);
    pool.drop_points(&[PointKey { source: home.source.id, number: VICTIM }]).unwrap();
    let mut freed_bytes = 0;
    loop {
        match pool.reclaim(Thrift::DEFAULT, Effort::default()).unwrap() {
            Reclaimed::Bytes { freed, .. } => freed_bytes += freed,
            Reclaimed::Nothing => break,
            Reclaimed::Counting | Reclaimed::Waiting => {}
        }
    }
    pool.flush_catalog().unwrap();
    let cost = disk.bytes.load(Ordering::Relaxed) - before;
    assert!(freed_bytes >= OWN * OWN_BYTES as u64, "its room is back: {freed_bytes}");
    assert_eq!(points(&pool).len() as u64, POINTS - 1);
    audit(&mut pool);
    cost
}

#[test]
fn folding_a_point_costs_what_it_held_in_a_small_pool_and_in_a_large_one() {
    // As many chunks as 1, 10 and 50 GB have at 128 KiB each.
    let costs = [8_000, 80_000, 400_000].map(cost);
    println!("bytes read and written: {costs:?}");
    let (least, most) = (costs.iter().min().unwrap(), costs.iter().max().unwrap());
    assert!(*most <= 2 * least, "{costs:?}");
    assert!(*most < 12 << 20, "about what the point held: {costs:?}");
}

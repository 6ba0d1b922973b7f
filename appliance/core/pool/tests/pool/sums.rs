//! Sums of the catalog's blocks: they spare an opening most of its reading, and are only ever in the way of nothing.

use medium::Disk;
use medium::sim::{Fault, FaultPlan, SimDisk};
use pool::{Options, Pool};

use crate::world::{Home, bundle, closed, create, lazy, open, whole_points};

const CATALOG: &str = "catalog.redb";
const SUMS: &str = "catalog.redb.sums";
const POINTS: u64 = 40;

/// A catalog is checked by block from so many bytes on.
fn by_block_from(bytes: u64) -> Options {
    Options { checked_by_block: Some(bytes), ..lazy() }
}

/// A drive with a pool whose catalog has sums.
fn closed_with_sums() -> SimDisk {
    let (disk, _) = closed(by_block_from(0), POINTS);
    assert!(has_sums(&disk));
    disk
}

fn has_sums(disk: &SimDisk) -> bool {
    disk.files().contains_key(SUMS)
}

/// How often a copy of the drive is read when its pool is opened; all points are there.
fn reads_of_an_opening(disk: &SimDisk, options: Options) -> u64 {
    let copy = disk.snapshot();
    let before = copy.reads();
    let pool = open(&copy, 2, options).unwrap();
    let reads = copy.reads() - before;
    assert_eq!(whole_points(&pool, "opened"), POINTS);
    reads
}

/// An opening reads the catalog once less than one that checks all of it. (The assertions of redb in a build for tests read it
/// as well.)
fn assert_sums_count(disk: &SimDisk, options: Options) {
    let blocks = disk.files()[CATALOG].len() as u64 / 4096;
    let whole = reads_of_an_opening(disk, by_block_from(u64::MAX));
    let by_block = reads_of_an_opening(disk, options);
    assert!(by_block + blocks / 2 < whole, "{by_block} reads with sums, {whole} without, of {blocks} blocks");
}

/// Makes the points, and fills the catalog with chunks that none of them refers to.
fn fill(pool: &mut Pool, home: &Home) {
    for bundle_number in 0..10_u32 {
        let chunks = (0..2000_u32).map(|number| (bundle_number << 16 | number).to_le_bytes());
        let (_, bundle) = bundle(&home.naming(pool), chunks);
        home.put(pool, bundle).unwrap();
    }
    home.add_points(pool, 1..=POINTS);
    pool.flush_catalog().unwrap();
}

#[test]
fn with_sums_an_opening_does_not_read_all_of_the_catalog() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = create(&disk, by_block_from(0));
    fill(&mut pool, &home);
    drop(pool);
    assert_sums_count(&disk, by_block_from(0));
}

#[test]
fn sums_begin_when_a_catalog_has_become_large() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = create(&disk, by_block_from(0));
    let small = disk.files()[CATALOG].len() as u64;
    drop(pool);
    disk.remove(SUMS).ok();
    let options = by_block_from(small + 1);
    pool = open(&disk, 2, options.clone()).unwrap();
    assert!(!has_sums(&disk), "it is small");
    fill(&mut pool, &home);
    assert!(has_sums(&disk), "it has grown");
    drop(pool);
    assert_sums_count(&disk, options);
}

#[test]
fn a_sum_that_is_wrong_costs_a_whole_check_once() {
    let disk = closed_with_sums();
    let few = reads_of_an_opening(&disk, by_block_from(0));
    let length = disk.files()[SUMS].len() as u64;
    let (mut wrong, mut harmless) = (0, 0);
    for byte in (4096..length).step_by(8) {
        let copy = disk.snapshot();
        copy.flip(SUMS, byte * 8 + 3).unwrap();
        let reads = reads_of_an_opening(&copy, by_block_from(0));
        let pool = open(&copy, 2, by_block_from(0)).unwrap();
        assert_eq!(whole_points(&pool, "with a sum that is wrong"), POINTS);
        assert!(!copy.files().keys().any(|path| path.contains("damaged")), "the catalog is sound");
        drop(pool);
        if reads > few * 2 {
            wrong += 1
        } else {
            harmless += 1
        }
        assert!(reads_of_an_opening(&copy, by_block_from(0)) <= few * 2, "its sums were made anew");
    }
    assert!(wrong > 0 && harmless > 0, "{wrong} wrong, {harmless} of blocks that are not read at once");
}

#[test]
fn a_block_that_changed_is_found_by_its_sum() {
    let disk = closed_with_sums();
    let length = disk.files()[CATALOG].len() as u64;
    let mut set_aside = 0;
    for block in 0..length / 4096 {
        let copy = disk.snapshot();
        copy.flip(CATALOG, (block * 4096 + 100) * 8).unwrap();
        let mut pool = open(&copy, 2, by_block_from(0)).unwrap();
        assert_eq!(whole_points(&pool, "with a block that changed"), POINTS);
        assert!(pool.audit().map_or(true, |audit| audit.wrong.is_empty()));
        set_aside += u64::from(copy.files().keys().any(|path| path.contains("damaged")));
    }
    assert!(set_aside > 0, "none of {} blocks was of use", length / 4096);
}

#[test]
fn without_room_for_sums_a_catalog_goes_on_without() {
    let disk = closed_with_sums();
    let mut pool = open(&disk, 2, by_block_from(0)).unwrap();
    let home = Home::add(&mut pool);
    disk.fail(FaultPlan::lasting(Fault::NoSpace, 0).under(SUMS));
    home.add_points(&mut pool, POINTS + 1..=2 * POINTS);
    pool.flush_catalog().unwrap();
    drop(pool);
    let pool = open(&disk, 2, by_block_from(0)).unwrap();
    assert_eq!(whole_points(&pool, "without sums"), 2 * POINTS);
    drop(pool);
    disk.clear_faults();
    drop(open(&disk, 2, by_block_from(0)).unwrap());
    assert!(has_sums(&disk), "there is room again");
}

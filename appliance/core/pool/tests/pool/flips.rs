//! One flipped bit, ten thousand times, anywhere in any file of a pool: found or harmless, never a wrong byte.

use medium::sim::{Random, SimDisk};
use pool::{Options, Pool};

use crate::world::{Home, closed, is_whole, listed_points, open, options};

/// Points of the pool that is damaged.
const POINTS: u64 = 8;

/// How many points are whole; what cannot even be listed is not.
fn whole_points(pool: &Pool, context: &str) -> u64 {
    let points = listed_points(pool);
    points.iter().map(|point| u64::from(is_whole(pool, point, context).unwrap_or(false))).sum()
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

/// A pool whose catalog has sums, and is checked by them or read whole.
fn opened_by(round: u64) -> Options {
    Options { checked_by_block: Some(if round.is_multiple_of(2) { 0 } else { u64::MAX }), ..options() }
}

/// The drive of a pool that is closed.
fn closed_with_sums() -> (SimDisk, Home) {
    let (disk, home) = closed(options(), POINTS);
    drop(open(&disk, 1, opened_by(0)).unwrap());
    assert!(disk.files().contains_key("catalog.redb.sums"));
    (disk, home)
}

#[test]
fn a_bit_that_flipped_while_the_pool_was_closed_is_found_or_harmless() {
    let (intact, home) = closed_with_sums();
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
        let Ok(mut pool) = open(&disk, round, opened_by(round / 4)) else {
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
        if round % 10 == 0 && home.add_point(&mut pool, POINTS + 1).is_ok() {
            assert!(whole_points(&pool, &context) > 0 || is_told(&pool), "{context}");
        }
    }
    assert!(told > 500, "{told} flips were told, {refused} made the pool refuse to open");
}

#[test]
fn a_bit_that_flips_under_an_open_pool_is_found_or_harmless() {
    let (intact, _) = closed_with_sums();
    let mut random = Random::new(6);
    let mut told = 0;
    for round in 0..2000 {
        let disk = intact.snapshot();
        let pool = open(&disk, round, opened_by(round)).unwrap();
        let (path, bit) = draw(&disk, &mut random);
        disk.flip(&path, bit).unwrap();
        let context = format!("bit {bit} of {path} of an open pool");
        if whole_points(&pool, &context) < POINTS {
            // Readers were told by errors; from here on the pool says it too, or has healed itself.
            drop(pool);
            let pool = open(&disk, round, opened_by(round));
            let healed = pool.as_ref().is_ok_and(|pool| whole_points(pool, &context) == POINTS);
            assert!(healed || pool.is_err() || pool.is_ok_and(|pool| is_told(&pool)), "{context}");
            told += 1;
        }
    }
    assert!(told > 100, "{told}");
}

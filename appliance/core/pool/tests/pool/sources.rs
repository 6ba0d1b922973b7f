//! What sources hold alone, and how they grow.

use std::collections::BTreeMap;

use medium::sim::{Random, SimDisk};
use model::SourceId;
use model::archive::PointKey;
use model::record::Source;
use pool::Pool;
use pool::archive::tree_error;
use pool::catalog::{Growth, SourceUse};
use tree::{ItemTree, Root};

use crate::reclaim::{audit, count, reclaim};
use crate::world::{Home, bundle, create, files, label, lazy, new_point, open, open_without_catalog};

const HOUR: u64 = 3_600_000_000_000;

/// What sources hold alone, and how they grew.
fn sources(pool: &mut Pool) -> BTreeMap<SourceId, SourceUse> {
    count(pool);
    pool.flush_catalog().unwrap();
    pool.shared().sources_in_use().unwrap()
}

/// A chunk of noise.
pub(crate) fn noise(seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; 1000];
    Random::new(seed + 7).fill(&mut bytes);
    bytes
}

/// Makes a point of a source with a file for each of some chunks of noise; what it has is what was written of it.
pub(crate) fn add(pool: &mut Pool, home: &Home, source: &Source, number: u64, seeds: &[u64]) {
    let chunks: Vec<Vec<u8>> = seeds.iter().map(|seed| noise(*seed)).collect();
    let (names, bundle) = bundle(&home.naming(pool), &chunks);
    pool.put_bundle(&pool.shared().begin_session(), home.machine.id, source.id, bundle).unwrap();
    let items = files(&names, &chunks).into_iter().map(|(key, item)| (key, Some(item)));
    let applied = ItemTree::default().apply(pool, &Root::EMPTY, items).map_err(tree_error).unwrap();
    pool.commit_point(new_point(source, number, applied.root)).unwrap();
}

#[test]
fn what_only_one_source_holds_counts_for_it_and_what_others_share_for_none() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = create(&disk, lazy());
    let (first, second) = (&home.source, pool.add_source(home.machine.id, &label("second")).unwrap());
    let own = |pool: &mut Pool, source: SourceId| {
        sources(pool).get(&source).map_or(0, |used| used.own_bytes) / 1000
    };
    add(&mut pool, &home, first, 1, &[1, 2, 3, 4]);
    assert_eq!((own(&mut pool, first.id), own(&mut pool, second.id)), (4, 0));
    // Twice in one source is once; two of four are shared by both.
    add(&mut pool, &home, first, 2, &[1, 2, 3, 4, 4]);
    add(&mut pool, &home, &second, 1, &[3, 4, 5]);
    assert_eq!((own(&mut pool, first.id), own(&mut pool, second.id)), (2, 1));
    audit(&mut pool);
    // Now one of the shared ones is held by older points alone.
    add(&mut pool, &home, first, 3, &[1, 2, 4, 6]);
    add(&mut pool, &home, &second, 2, &[5, 7]);
    assert_eq!((own(&mut pool, first.id), own(&mut pool, second.id)), (3, 2));
    pool.drop_points(&[PointKey { source: second.id, number: 1 }]).unwrap();
    assert_eq!((own(&mut pool, first.id), own(&mut pool, second.id)), (5, 2), "nobody else has 3 and 4");
    audit(&mut pool);
    let numbers = [1, 2].map(|number| PointKey { source: first.id, number });
    pool.drop_points(&numbers).unwrap();
    assert_eq!((own(&mut pool, first.id), own(&mut pool, second.id)), (4, 2));
    audit(&mut pool);
    // Neither what room is given back nor an opening nor a catalog that is made anew changes that.
    assert!(reclaim(&mut pool) > 0);
    let before = pool.shared().dump().unwrap();
    assert_eq!(before.own.len(), 2);
    drop(pool);
    assert_eq!(open(&disk, 2, lazy()).unwrap().shared().dump().unwrap(), before);
    let mut pool = open_without_catalog(&disk, 3, lazy());
    audit(&mut pool);
    assert_eq!(pool.shared().dump().unwrap(), before, "from the segments alone");
}

#[test]
fn growth_is_measured_once_for_each_point_and_outlives_an_opening() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = create(&disk, lazy());
    let add = |pool: &mut Pool, day: u64, seeds: &[u64]| {
        pool.shared().set_witnessed(day * 24 * HOUR);
        add(pool, &home, &home.source, day, seeds);
    };
    add(&mut pool, 1, &[1, 2, 3]);
    add(&mut pool, 2, &[1, 2, 4]);
    add(&mut pool, 3, &[1, 5, 6, 7]);
    let found = sources(&mut pool).remove(&home.source.id).unwrap();
    let growth = |growth: &Growth| {
        let Growth { witnessed, points, born_bytes, written_bytes, removed_bytes } = *growth;
        (witnessed / HOUR / 24, points, born_bytes, written_bytes, removed_bytes)
    };
    let measures: Vec<_> = found.measures.iter().map(growth).collect();
    let last = (3, 3, 7000, 7000, 3000);
    assert_eq!((measures[0], measures[2]), ((1, 1, 3000, 3000, 0), last));
    drop(pool);
    let mut pool = open(&disk, 2, lazy()).unwrap();
    assert_eq!(sources(&mut pool)[&home.source.id], found);
    pool.drop_points(&[PointKey { source: home.source.id, number: 2 }]).unwrap();
    assert_eq!(sources(&mut pool)[&home.source.id].measures, found.measures, "what it brought stays brought");
    drop(pool);
    // Without its catalog the pool measures the points that there are.
    let mut pool = open_without_catalog(&disk, 3, lazy());
    let again = sources(&mut pool).remove(&home.source.id).unwrap();
    assert_eq!(growth(again.measures.last().unwrap()), (3, 2, 6000, 6000, 2000));
}

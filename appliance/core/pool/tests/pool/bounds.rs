//! What peers cannot make the pool do: hold more in memory than is stated, or fail for everybody.

use std::ops::Range;

use medium::sim::{Random, SimDisk};
use model::ErrorKind;
use model::archive::Archive;
use model::record::{EXCEPTIONS_MAX, Exception, ExceptionCause};
use pool::{NewPoint, Options, Pool};
use tree::Root;

use crate::world::{archive, bundle, create, label, new_point, points, roomy};

/// Chunks of three bytes.
fn tiny(numbers: Range<u32>) -> impl Iterator<Item = [u8; 3]> {
    numbers.map(|number| *number.to_le_bytes().first_chunk().unwrap())
}

#[test]
fn tiny_chunks_do_not_pile_up_until_a_commit() {
    const BATCH: usize = 1000;
    let disk = SimDisk::new(1);
    let (mut pool, home) = create(&disk, Options { catalog_batch: BATCH, ..roomy() });
    let naming = home.naming(&pool);
    let second = pool.add_machine(&label("web2"), false).unwrap();
    // Twice, so that the second machine's are noted as further owners, which are entries too.
    for machine in [home.machine.id, second.id] {
        let mut sent = Vec::new();
        for start in (0..8000).step_by(200) {
            let (names, bundle) = bundle(&naming, tiny(start..start + 200));
            pool.put(machine, home.source.id, bundle).unwrap();
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
            pool.put(machine, home.source.id, bundle(&naming, tiny(start..start + 200)).1).unwrap();
        }
    }
}

/// An exception with a path of noise, which no compression makes smaller.
fn exception(random: &mut Random, length: usize) -> Exception {
    let mut path = vec![0; length];
    random.fill(&mut path);
    Exception { path, cause: ExceptionCause::Unreadable, detail: String::new() }
}

#[test]
fn exceptions_are_cut_to_what_a_record_holds_and_counted_whole() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = create(&disk, Options { catalog_batch: 0, ..roomy() });
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
        let point = new_point(&home.source, number, Root::EMPTY);
        pool.commit_point(NewPoint { exceptions, exceptions_count: said, ..point }).unwrap();
        let newest = points(&pool).pop().unwrap();
        let point = archive(&pool).point(newest.key()).unwrap();
        assert_eq!((point.sequence.0, point.exceptions_count), (number, count));
        assert!(listed.contains(&point.exceptions.len()), "{} are listed", point.exceptions.len());
        assert_eq!(point.exceptions, first[..point.exceptions.len()]);
    }
}

#[test]
fn a_record_that_no_frame_holds_is_refused_and_the_pool_goes_on() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = create(&disk, Options { catalog_batch: 0, ..roomy() });
    let naming = home.naming(&pool);
    let (names, bundle) = bundle(&naming, tiny(0..10));
    home.put(&mut pool, bundle).unwrap();
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
    assert_eq!(
        pool.shared().known(home.machine.id, &names).unwrap(),
        [true; 10],
        "what waits is still there"
    );
    // The longest that is taken fits a frame together with the mark.
    let longest = noise((7 << 19) - 32);
    pool.set_setting("addresses", Some(longest.clone())).unwrap();
    pool.commit_point(new_point(&home.source, 1, Root::EMPTY)).unwrap();
    pool.reopen().unwrap();
    pool.rebuild_catalog().unwrap();
    assert_eq!(pool.shared().registry(|r| r.settings.get("addresses").cloned()), Some(longest));
    assert_eq!(pool.shared().known(home.machine.id, &names).unwrap(), [true; 10]);
}

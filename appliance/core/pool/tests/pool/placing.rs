//! What sources ask for, and how segments are wanted kept by those who have something in them.

use std::collections::BTreeSet;

use medium::sim::{Fault, FaultPlan, SimDisk};
use medium::{Demand, Disk, Redundancy};
use model::SegmentNumber;
use model::archive::PointKey;
use model::record::Source;
use pool::{Counted, Pool, PoolError};

use crate::damage::{damage, rot_all};
use crate::drive::{Asked, CHUNKS, IN_PAYLOAD, META, PAGES, Watched, frames_of, segments};
use crate::reclaim::{audit, count, reclaim};
use crate::sources::{add, noise};
use crate::world::{Audited, Home, bundle, key, label, lazy, open, world_of};

/// A pool of three sources of one machine, and its disk.
struct Rig {
    disk: SimDisk,
    watched: Watched,
    pool: Audited,
    home: Home,
    ledger: Source,
    scratch: Source,
}

const TWO: Option<Redundancy> = Redundancy::new(1, 1);
const ONE: Option<Redundancy> = Redundancy::new(1, 0);
const SIX: Option<Redundancy> = Redundancy::new(4, 2);
const USUAL: Demand = Demand::of(None);

impl Rig {
    fn new() -> Self {
        let disk = SimDisk::new(1);
        let watched = Watched::new(&disk);
        let pool = Pool::create(world_of(watched.clone(), 1), &[key()], lazy()).unwrap();
        let mut pool = Audited::of(pool, &disk, lazy());
        let home = Home::add(&mut pool);
        let [ledger, scratch] =
            ["ledger", "scratch"].map(|name| pool.add_source(home.machine.id, &label(name)).unwrap());
        Self { disk, watched, pool, home, ledger, scratch }
    }

    fn add(&mut self, source: &Source, number: u64, seeds: &[u64]) {
        add(&mut self.pool, &self.home, source, number, seeds);
    }

    fn ask(&mut self, source: &Source, asked: Option<Redundancy>) {
        self.pool.set_placement(source.id, asked).unwrap();
    }

    /// Counts, looks for what is asked, and gives back what is of no use.
    fn settle(&mut self) {
        reclaim(&mut self.pool);
        audit(&mut self.pool);
    }

    fn drop_point(&mut self, source: &Source, number: u64) {
        count(&mut self.pool);
        self.pool.drop_points(&[PointKey { source: source.id, number }]).unwrap();
    }

    /// The file of the segment that a chunk is in.
    fn segment_of(&self, seed: u64) -> String {
        let name = self.home.naming(&self.pool).name(&noise(seed));
        let dump = self.pool.shared().dump().unwrap();
        let entry = dump.chunks.iter().find(|(other, _)| *other == name).unwrap().1;
        format!("segments/{:016x}.seg", entry.place.unwrap().frame.segment.0)
    }

    /// How chunks are wanted kept, as the disk was told.
    fn wanted(&self, seeds: &[u64]) -> BTreeSet<Demand> {
        let asked = self.watched.asked().files;
        let of = |seed: &u64| asked.get(&self.segment_of(*seed)).copied().unwrap_or_default();
        seeds.iter().map(of).collect()
    }

    /// How the log is wanted kept.
    fn of_log(&self) -> BTreeSet<Demand> {
        let asked = self.watched.asked().files;
        segments(&self.disk, META).iter().map(|(path, _)| asked[path]).collect()
    }

    fn reopen(self) -> Self {
        drop(self.pool);
        let watched = Watched::new(&self.disk);
        let pool = open(&watched, 2, lazy()).unwrap();
        Self { watched, pool, ..self }
    }
}

fn only(demand: Demand) -> BTreeSet<Demand> {
    BTreeSet::from([demand])
}

#[test]
fn each_source_has_segments_of_its_own_way_and_the_log_is_kept_best() {
    let mut rig = Rig::new();
    let (home, ledger, scratch) = (rig.home.source.clone(), rig.ledger.clone(), rig.scratch.clone());
    rig.ask(&ledger, SIX);
    rig.ask(&scratch, ONE);
    // All of it would fit into one segment.
    rig.add(&home, 1, &[1, 2]);
    rig.add(&ledger, 1, &[3, 4]);
    rig.add(&scratch, 1, &[5, 6]);
    rig.add(&home, 2, &[7]);
    rig.pool.flush_catalog().unwrap();
    let check = |rig: &Rig| {
        assert_eq!(rig.wanted(&[1, 2, 7]), only(USUAL));
        assert_eq!(rig.wanted(&[3, 4]), only(Demand::of(SIX)));
        assert_eq!(rig.wanted(&[5, 6]), only(Demand::of(ONE)));
        let best = USUAL.and(Demand::of(SIX)).and(Demand::of(ONE));
        assert_eq!(rig.of_log(), only(best));
    };
    check(&rig);
    rig.settle();
    check(&rig);
    let mut rig = rig.reopen();
    check(&rig);
    assert!(!rig.watched.asked().is_all, "what the catalog does not know may be wanted kept better");
    rig.settle();
    assert!(rig.watched.asked().is_all);
    check(&rig);
    // From the segments alone.
    rig.disk.remove("catalog.redb").unwrap();
    let mut rig = rig.reopen();
    rig.settle();
    check(&rig);
    let missing = rig.pool.set_placement(model::SourceId(77), TWO);
    assert!(matches!(missing, Err(PoolError::Missing(_))), "{missing:?}");
}

#[test]
fn who_refers_to_what_is_there_takes_part_in_how_it_is_kept() {
    let mut rig = Rig::new();
    let (home, ledger) = (rig.home.source.clone(), rig.ledger.clone());
    rig.ask(&ledger, TWO);
    rig.add(&home, 1, &[1, 2]);
    rig.add(&ledger, 1, &[2, 3]);
    rig.settle();
    assert_eq!(rig.wanted(&[1, 2]), only(USUAL.and(Demand::of(TWO))), "they are in one segment");
    assert_eq!(rig.wanted(&[3]), only(Demand::of(TWO)));
    // What moves with the segment that it is in stays wanted as it is.
    rig.add(&ledger, 2, &[3]);
    rig.drop_point(&ledger, 1);
    rig.add(&home, 2, &[2]);
    rig.drop_point(&home, 1);
    // Nothing goes of a segment that is being written.
    let mut rig = rig.reopen();
    let before = rig.segment_of(2);
    rig.settle();
    assert_ne!(rig.segment_of(2), before);
    assert_eq!(rig.wanted(&[2]), only(USUAL.and(Demand::of(TWO))));
}

#[test]
fn what_is_there_already_is_found_when_somebody_asks_for_something_else() {
    let mut rig = Rig::new();
    let (home, ledger, scratch) = (rig.home.source.clone(), rig.ledger.clone(), rig.scratch.clone());
    for (source, seeds) in [(&home, [1, 2]), (&ledger, [3, 4]), (&scratch, [1, 5])] {
        rig.add(source, 1, &seeds);
        // Each in segments of its own, as after an opening.
        rig = rig.reopen();
    }
    rig.settle();
    assert_eq!(rig.wanted(&[1, 2, 3, 4, 5]), only(USUAL));
    rig.ask(&ledger, TWO);
    rig.settle();
    assert_eq!(rig.wanted(&[3, 4]), only(Demand::of(TWO)), "nobody else has something there");
    assert_eq!(rig.wanted(&[1, 2, 5]), only(USUAL));
    rig.ask(&scratch, SIX);
    rig.settle();
    assert_eq!(rig.wanted(&[1, 2]), only(USUAL.and(Demand::of(SIX))));
    assert_eq!(rig.wanted(&[5]), only(Demand::of(SIX)));
    // Who changes its mind does so in the end, also over an opening.
    rig.ask(&ledger, ONE);
    let mut rig = rig.reopen();
    assert_eq!(
        rig.wanted(&[3, 4]),
        only(Demand::of(TWO)),
        "not before it is known who else has something there"
    );
    rig.ask(&scratch, None);
    rig.settle();
    assert_eq!(rig.wanted(&[3, 4]), only(Demand::of(ONE)));
    assert_eq!(rig.wanted(&[1, 2, 5]), only(USUAL));
    assert_eq!(rig.of_log(), only(USUAL.and(Demand::of(ONE))));
    let Asked { files, .. } = rig.watched.asked();
    rig.settle();
    assert_eq!(rig.watched.asked().files, files, "nothing is left to do");
}

#[test]
fn a_search_takes_many_steps_and_ends_although_points_come_and_go() {
    let mut rig = Rig::new();
    let (home, ledger) = (rig.home.source.clone(), rig.ledger.clone());
    for number in 1..=20 {
        rig.add(&home, number, &[number, number + 1, number + 2]);
        rig.add(&ledger, number, &[100 + number, number]);
    }
    rig.settle();
    rig.ask(&ledger, TWO);
    let (mut steps, mut number) = (0, 21);
    let step = |pool: &mut Pool| {
        let effort = pool::Effort { births: 3, bytes: 1 };
        pool.reclaim(pool::Thrift(1), effort).unwrap()
    };
    while step(&mut rig.pool) != pool::Reclaimed::Nothing {
        steps += 1;
        assert!(steps < 10_000, "it does not end");
        if steps % 10 == 0 && number < 30 {
            rig.add(&ledger, number, &[200 + number, number]);
            rig.drop_point(&ledger, number - 20);
            number += 1;
        }
    }
    assert!(number > 25, "there was time for it: {number}");
    audit(&mut rig.pool);
    assert!(rig.wanted(&[110, 115, 120, 225]).iter().all(|demand| demand.covers(Demand::of(TWO))));
}

/// What the catalog on the drive knows nothing of is kept as it is until it is known how it is wanted.
#[test]
fn nothing_is_said_to_be_all_before_everything_is_counted() {
    for is_without_catalog in [false, true] {
        let mut rig = Rig::new();
        let ledger = rig.ledger.clone();
        rig.ask(&ledger, TWO);
        rig.add(&ledger, 1, &[1, 2]);
        if is_without_catalog {
            rig.settle();
            rig.disk.remove("catalog.redb").unwrap();
        }
        let mut rig = rig.reopen();
        assert!(!rig.watched.asked().is_all);
        while rig.pool.count(1).unwrap() == Counted::More {
            rig.pool.flush_catalog().unwrap();
            assert!(!rig.watched.asked().is_all);
        }
        rig.settle();
        assert!(rig.watched.asked().is_all);
        assert_eq!(rig.wanted(&[1, 2]), only(Demand::of(TWO)));
        // Made anew in the same process, it is not known again.
        rig.pool.rebuild_catalog().unwrap();
        assert!(!rig.watched.asked().is_all);
        rig.settle();
        assert!(rig.watched.asked().is_all && rig.pool.shared().is_placed().unwrap());
    }
}

/// A page that cannot be read for a while keeps the search from its end, and not from what it can find.
#[test]
fn a_point_that_cannot_be_read_for_a_while_is_tried_again() {
    let mut rig = Rig::new();
    let (home, ledger) = (rig.home.source.clone(), rig.ledger.clone());
    rig.add(&ledger, 1, &[1, 2]);
    rig.settle();
    let old: Vec<String> = segments(&rig.disk, META).into_iter().map(|(path, _)| path).collect();
    rig = rig.reopen();
    rig.add(&home, 1, &[3]);
    rig = rig.reopen();
    old.iter().for_each(|path| rig.disk.fail(FaultPlan::lasting(Fault::Error, 1).on_reads().under(path)));
    rig.ask(&ledger, TWO);
    rig.ask(&home, SIX);
    reclaim(&mut rig.pool);
    assert!(!rig.pool.shared().is_placed().unwrap());
    rig.pool.flush_catalog().unwrap();
    assert_eq!(rig.wanted(&[3]), only(Demand::of(SIX)), "what can be found is");
    rig.disk.clear_faults();
    rig.settle();
    assert!(rig.pool.shared().is_placed().unwrap());
    assert_eq!(rig.wanted(&[1, 2]), only(Demand::of(TWO)));
}

/// A source that writes little keeps its segment open; what came after it is wanted less all the same.
#[test]
fn an_old_segment_that_is_open_keeps_no_other_one_as_it_was_wanted() {
    let mut rig = Rig::new();
    let (ledger, scratch) = (rig.ledger.clone(), rig.scratch.clone());
    rig.ask(&ledger, TWO);
    rig.ask(&scratch, SIX);
    rig.add(&scratch, 1, &[1]);
    for number in 1..=40 {
        rig.add(&ledger, number, &[100 + 2 * number, 101 + 2 * number]);
    }
    rig.settle();
    rig.ask(&ledger, None);
    rig.settle();
    let seeds: Vec<u64> = (102..170).collect();
    assert!(rig.wanted(&seeds).iter().all(|demand| demand.asked.is_none()));
    let last = rig.segment_of(101 + 80);
    let number =
        u64::from_str_radix(last.trim_start_matches("segments/").trim_end_matches(".seg"), 16).unwrap();
    assert!(rig.pool.shared().is_sealed(SegmentNumber(number)), "nobody writes it any more");
}

#[test]
fn what_is_stored_again_comes_to_lie_above_the_copy_that_is_lost() {
    let mut rig = Rig::new();
    let (home, ledger) = (rig.home.source.clone(), rig.ledger.clone());
    rig.ask(&ledger, TWO);
    rig.add(&home, 1, &[1]);
    rig.add(&ledger, 1, &[2]);
    rig.pool.flush_catalog().unwrap();
    let (lower, lost) = (rig.segment_of(1), rig.segment_of(2));
    assert!(lower < lost, "both are open");
    rig.disk.flip(&lost, 8 * (frames_of(&rig.disk.files()[&lost], CHUNKS)[0] + IN_PAYLOAD)).unwrap();
    assert!(!damage(&rig.pool).is_empty());
    rig.add(&home, 2, &[2]);
    rig.pool.flush_catalog().unwrap();
    let before = rig.segment_of(2);
    assert!(before > lost);
    rig.disk.remove("catalog.redb").unwrap();
    let mut rig = rig.reopen();
    audit(&mut rig.pool);
    assert_eq!(rig.segment_of(2), before, "from the segments alone");
}

#[test]
fn what_a_backup_under_way_has_sent_stays_as_wanted() {
    let mut rig = Rig::new();
    let ledger = rig.ledger.clone();
    rig.ask(&ledger, TWO);
    rig.add(&ledger, 1, &[1]);
    rig.settle();
    let session = rig.pool.shared().begin_session();
    let chunks: Vec<Vec<u8>> = (10..40).map(noise).collect();
    let sent = bundle(&rig.home.naming(&rig.pool), &chunks).1;
    rig.pool.put_bundle(&session, rig.home.machine.id, ledger.id, sent).unwrap();
    rig.pool.commit(Vec::new()).unwrap();
    rig.pool.flush_catalog().unwrap();
    let scratch = rig.scratch.clone();
    rig.ask(&scratch, SIX);
    rig.settle();
    assert_eq!(rig.wanted(&[10, 39]), only(Demand::of(TWO)), "no point refers to them yet");
    drop(session);
    rig.settle();
    assert_eq!(rig.wanted(&[1]), only(Demand::of(TWO)));
}

#[test]
fn where_a_point_cannot_be_read_nothing_is_wanted_less() {
    let mut rig = Rig::new();
    let (home, ledger) = (rig.home.source.clone(), rig.ledger.clone());
    rig.ask(&ledger, TWO);
    rig.add(&ledger, 1, &[1, 2]);
    rig.add(&home, 1, &[3]);
    rig.settle();
    rig = rig.reopen();
    rot_all(&rig.disk, META, PAGES);
    rig.ask(&ledger, ONE);
    reclaim(&mut rig.pool);
    assert_eq!(rig.wanted(&[1, 2]), only(Demand::of(TWO)));
}

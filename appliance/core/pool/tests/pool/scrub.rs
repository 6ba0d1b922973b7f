//! The scrub: what it finds on the drive, what it takes for no damage, how it goes on, and what it notes.

use medium::sim::{Fault, FaultPlan, SimDisk};
use medium::{Access, Disk};
use model::archive::PointKey;
use model::{ErrorKind, SegmentNumber};
use pool::layout::{SEGMENT_HEADER_LENGTH, SegmentLimits, segment_number, segment_path};
use pool::segment::FOOTER_TAIL_LENGTH;
use pool::{Counted, Effort, Options, Pool, Proof, Reclaimed, ScrubEffort, Shared, Thrift};

use crate::damage::back_up;
use crate::drive::{
    BadSectors, CHUNKS, DATA, IN_HEADER, IN_PAYLOAD, INDEX, META, PAGES, frames, frames_of, rot, segments,
    unreadable,
};
use crate::world::{
    FILES, Home, bundle, chunks, closed, create, filled, lazy, open, open_without_catalog, options, points,
    read_points, roomy,
};

const EFFORT: ScrubEffort = ScrubEffort { bytes: 4096, entries: 7 };

/// A round from wherever the scrub is to its end; what it found.
fn round(shared: &Shared) -> Vec<String> {
    let mut damage = Vec::new();
    loop {
        let step = shared.scrub(EFFORT).unwrap();
        damage.extend(step.damage);
        if step.is_done {
            return damage;
        }
    }
}

/// What was found of segments, without what it means for points.
fn of_segments(damage: &[String]) -> Vec<&String> {
    damage.iter().filter(|line| !line.starts_with("web1/home@")).collect()
}

/// Bytes of a segment that are flipped one by one: in the header, in frames of every kind and their padding, in the footer.
pub(crate) fn places(bytes: &[u8]) -> Vec<u64> {
    let mut places = vec![9, 60, SEGMENT_HEADER_LENGTH as u64 - 1];
    for (at, _) in frames(bytes) {
        places.extend([at, at + IN_HEADER, at + 40, at + 63, at + IN_PAYLOAD]);
    }
    if bytes[bytes.len() - FOOTER_TAIL_LENGTH..].starts_with(b"KFfooter") {
        let length = bytes.len() as u64;
        let (last, _) = *frames(bytes).last().unwrap();
        let end = u64::from_le_bytes(bytes[bytes.len() - 24..][..8].try_into().unwrap());
        assert!(end > last);
        places.extend([
            end - 1,
            end,
            end + 20,
            length - 224,
            length - 100,
            length - 32,
            length - 20,
            length - 1,
        ]);
    }
    places
}

fn marks(pool: &Pool) -> Vec<u64> {
    pool.shared().damaged_points().into_keys().map(|key| key.number).collect()
}

fn known(pool: &Pool, home: &Home, number: u64) -> Vec<bool> {
    pool.shared().known(home.machine.id, &home.names(pool, number)).unwrap()
}

/// A chunk frame of the first data segment rots.
fn rot_a_chunk(disk: &SimDisk) {
    let (path, bytes) = segments(disk, DATA).remove(0);
    rot(disk, &path, frames_of(&bytes, CHUNKS)[0], IN_PAYLOAD);
}

#[test]
fn it_may_be_done_by_a_thread_of_its_own() {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Shared>();
}

#[test]
fn a_sound_pool_has_no_damage() {
    let disk = SimDisk::new(1);
    let (mut pool, _) = filled(&disk, options(), 30);
    for expected in 1..=3 {
        assert_eq!(round(pool.shared()), Vec::<String>::new());
        let status = pool.shared().scrub_status();
        assert_eq!((status.round, status.is_under_way, status.share()), (expected, false, 1000));
        assert_eq!((status.damaged, status.damaged_points, status.segments_unchecked), (0, 0, 0));
        assert_eq!((status.segments_checked, status.bytes_checked), (status.segments, status.bytes));
        let unsealed = pool.shared().scrub_checks().into_iter().filter(|(_, checked)| {
            checked.is_some_and(|checked| checked.proof == Proof::Checksums && checked.round == expected)
        });
        assert_eq!(
            (unsealed.count(), status.segments_hashed),
            (2, status.segments - 2),
            "those being written"
        );
        assert!(!pool.note_damage().unwrap() && !pool.shared().has_damage_to_note());
    }
    let proofs: Vec<String> = [Proof::Hashes, Proof::Checksums, Proof::Nothing].map(|p| p.to_string()).into();
    assert_eq!(proofs[0], "by the hashes in its footer");
}

#[test]
fn every_flip_is_found_and_each_once_in_a_round() {
    let disk = SimDisk::new(1);
    let (pool, _) = filled(&disk, options(), 12);
    let sealed =
        |(_, bytes): &(String, Vec<u8>)| bytes[bytes.len() - FOOTER_TAIL_LENGTH..].starts_with(b"KFfooter");
    let mut count = 0;
    for kind in [DATA, META] {
        let (sealed, open): (Vec<_>, Vec<_>) = segments(&disk, kind).into_iter().partition(sealed);
        for (path, bytes) in [&sealed[0], &open[0]] {
            for at in places(bytes) {
                disk.flip(path, at * 8 + at % 8).unwrap();
                for _ in 0..2 {
                    let found = round(pool.shared());
                    let found = of_segments(&found);
                    assert_eq!(found.len(), 1, "byte {at} of {path}: {found:?}");
                    assert_eq!(
                        pool.shared().scrub_damage().len(),
                        found.len() + marked_lines(&pool),
                        "{path} {at}"
                    );
                }
                disk.flip(path, at * 8 + at % 8).unwrap();
                assert_eq!(round(pool.shared()), Vec::<String>::new(), "byte {at} of {path} is sound again");
                let status = pool.shared().scrub_status();
                assert_eq!((status.damaged, status.damaged_points), (0, 0), "byte {at} of {path}");
                count += 1;
            }
        }
    }
    assert!(count > 100, "{count}");
}

/// Lines that the round said of points; those that are said already are not said again.
fn marked_lines(pool: &Pool) -> usize {
    pool.shared().scrub_damage().iter().filter(|line| line.starts_with("web1/home@")).count()
}

#[test]
fn many_flips_in_one_segment_are_all_found() {
    for is_to_be_sealed in [true, false] {
        let limits = SegmentLimits { data_bytes: 32 << 10, meta_bytes: 8 << 10 };
        let limits = if is_to_be_sealed { Options { limits, ..lazy() } } else { roomy() };
        let disk = SimDisk::new(1);
        let (pool, home) = filled(&disk, limits, 30);
        let (path, bytes) = segments(&disk, DATA).remove(0);
        let all = frames_of(&bytes, CHUNKS);
        assert!(all.len() >= 4);
        all[..4].iter().for_each(|frame| rot(&disk, &path, *frame, IN_HEADER));
        let found = round(pool.shared());
        let expected = if is_to_be_sealed { 4 } else { 1 };
        assert_eq!(of_segments(&found).len(), expected, "{found:?}");
        for number in 1..=4 {
            assert_eq!(
                known(&pool, &home, number),
                [false; FILES],
                "also of frames whose places nobody tells"
            );
        }
        assert_eq!(known(&pool, &home, 6), [false, true, true, true], "sealed: {is_to_be_sealed}");
        assert_eq!(pool.shared().scrub_status().damaged, 4);
    }
}

#[test]
fn what_is_in_another_place_than_its_own_is_damage() {
    let disk = SimDisk::new(1);
    let (pool, _) = filled(&disk, options(), 30);
    let all = segments(&disk, DATA);
    let ((path, first), (_, second)) = (&all[0], &all[1]);
    let length = second.len().min(first.len());
    let (from, to) = (frames_of(second, CHUNKS)[0], frames_of(first, CHUNKS)[0]);
    assert_eq!(from, to);
    disk.overwrite(path, 192, &second[192..length]).unwrap();
    let found = round(pool.shared());
    assert!(found[0].ends_with("frame at 192 of segment 2 is that of another place"), "{found:?}");
}

#[test]
fn damage_is_told_by_path_and_point() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, roomy(), 3);
    rot(&disk, &segments(&disk, DATA)[0].0, frames_of(&segments(&disk, DATA)[0].1, CHUNKS)[1], IN_PAYLOAD);
    let found = round(pool.shared());
    assert_eq!(of_segments(&found).len(), 1, "{found:?}");
    // The chunk that all points have is in the first frame.
    assert_eq!(marks(&pool), [2]);
    let key = PointKey { source: home.source.id, number: 2 };
    let damage = pool.shared().point_damage(key).unwrap();
    assert_eq!((damage.count, damage.lines.len()), (3, 3), "{damage:?}");
    let id = &points(&pool)[1].id;
    for (line, file) in damage.lines.iter().zip(["file 3", "file 4", "file 5"]) {
        assert!(line.starts_with(&format!("web1/home@{id}:{file}: ")), "{line}");
        assert!(found.contains(line), "{found:?}");
    }
    assert!(pool.note_damage().unwrap());
    assert!(!pool.note_damage().unwrap(), "it is noted");
    let again = round(pool.shared());
    assert_eq!(
        (again.len(), marks(&pool)),
        (1, vec![2]),
        "what is marked already is not said again: {again:?}"
    );
}

#[test]
fn a_damaged_page_marks_every_point_that_has_it() {
    let disk = SimDisk::new(1);
    let (pool, _) = filled(&disk, options(), 3);
    let all: Vec<_> = segments(&disk, META)
        .into_iter()
        .flat_map(|(path, bytes)| frames_of(&bytes, PAGES).into_iter().map(move |at| (path.clone(), at)))
        .collect();
    let (path, at) = &all[0];
    rot(&disk, path, *at, IN_PAYLOAD);
    let found = round(pool.shared());
    assert_eq!(marks(&pool), [1], "{found:?}");
    assert!(found.iter().any(|line| line.contains("part of its tree cannot be read")), "{found:?}");
}

#[test]
fn damage_of_the_log_is_told_and_no_point_is_marked() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, options(), 3);
    let (path, bytes) = segments(&disk, META).remove(0);
    rot(&disk, &path, frames_of(&bytes, INDEX)[0], IN_PAYLOAD);
    for _ in 0..2 {
        let found = round(pool.shared());
        assert!(found.len() == 1 && found[0].ends_with("in the catalog only"), "{found:?}");
        assert_eq!((marks(&pool), pool.shared().scrub_status().damaged), (Vec::new(), 1));
        assert_eq!(known(&pool, &home, 1), [true; FILES]);
        pool.note_damage().unwrap();
    }
}

#[test]
fn a_read_that_fails_once_is_no_damage() {
    let disk = SimDisk::new(1);
    let (pool, _) = filled(&disk, options(), 3);
    let reads = disk.reads();
    assert_eq!(round(pool.shared()), Vec::<String>::new());
    for at in 0..disk.reads() - reads + 2 {
        disk.fail(FaultPlan::once(Fault::Error, disk.reads() + at).on_reads().under("segments/"));
        assert_eq!(round(pool.shared()), Vec::<String>::new(), "read {at}");
        disk.clear_faults();
    }
}

#[test]
fn what_does_not_verify_is_read_a_second_time() {
    for kind in [DATA, META] {
        let (disk, _) = closed(options(), 6);
        let (path, bytes) = segments(&disk, kind).remove(0);
        let at = frames(&bytes)[0].0 + IN_PAYLOAD;
        for times in [1, 2] {
            let drive = BadSectors::flipping(&disk, &path, at..at + 1, times);
            let pool = open(&drive, 2, options()).unwrap();
            let found = round(pool.shared());
            let status = pool.shared().scrub_status();
            assert_eq!(
                (of_segments(&found).len() as u64, status.repeated),
                (times - 1, 2 - times),
                "{found:?}"
            );
        }
    }
}

#[test]
fn nothing_is_judged_while_the_drive_does_not_answer() {
    let (disk, home) = closed(options(), 6);
    let pool = open(&disk, 2, options()).unwrap();
    for under in ["", "segments/"] {
        for at in 0..40 {
            let failing = FaultPlan::lasting(Fault::Error, disk.reads() + at).on_reads().under("segments/");
            disk.fail(FaultPlan { under: under.into(), ..failing });
            let error = loop {
                match pool.shared().scrub(ScrubEffort { entries: 1, ..EFFORT }) {
                    Ok(step) => assert_eq!(step.damage, Vec::<String>::new(), "{under} {at}"),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), ErrorKind::Io, "{error}");
            assert_eq!(pool.shared().scrub_status().damaged, 0);
            disk.clear_faults();
        }
    }
    drop(pool);
    let pool = open(&disk, 3, options()).unwrap();
    assert_eq!(round(pool.shared()), Vec::<String>::new(), "it goes on when the drive is back");
    assert_eq!(known(&pool, &home, 1), [true; FILES]);
}

#[test]
fn a_place_that_cannot_be_read_is_damage_and_so_is_a_segment_beside_others() {
    let (disk, home) = closed(options(), 6);
    let (path, bytes) = segments(&disk, DATA).remove(0);
    let pool = open(&BadSectors::new(&disk, &path, 512..1024), 2, options()).unwrap();
    let found = round(pool.shared());
    assert!(of_segments(&found)[0].contains("segment 2 cannot be read at 192"), "{found:?}");
    assert_eq!(known(&pool, &home, 1), [false; FILES]);
    drop(pool);
    let pool = open(&BadSectors::new(&disk, &path, 0..bytes.len() as u64), 2, options()).unwrap();
    let found = round(pool.shared());
    assert!(of_segments(&found)[0].starts_with("segment 2 cannot be read: "), "{found:?}");
    assert_eq!(marks(&pool).first(), Some(&1));
    let (_, checked) = pool.shared().scrub_checks()[1];
    assert_eq!(checked.unwrap().proof, Proof::Nothing);
}

#[test]
fn a_segment_that_is_missing_or_cut_off_is_damage() {
    for (length, expected) in
        [(None, "segment 2 cannot be read: "), (Some(500), "segment 2 cannot be read from 500 on")]
    {
        let (disk, home) = closed(options(), 6);
        let pool = open(&disk, 2, options()).unwrap();
        let path = segment_path(SegmentNumber(2));
        match length {
            Some(length) => disk.open(&path, Access::ReadWrite).unwrap().set_length(length).unwrap(),
            None => disk.remove(&path).unwrap(),
        }
        let found = round(pool.shared());
        assert_eq!(of_segments(&found).len(), 1, "{found:?}");
        assert!(of_segments(&found)[0].starts_with(expected), "{found:?}");
        assert_eq!(known(&pool, &home, 1), [false; FILES]);
    }
}

/// Checks what is urgent, round or not; what was found.
fn urgent(shared: &Shared) -> Vec<String> {
    let mut damage = Vec::new();
    for _ in 0..1000 {
        let step = shared.scrub(EFFORT).unwrap();
        damage.extend(step.damage);
        if step.is_extra_done {
            return damage;
        }
    }
    panic!("it does not end: {damage:?}");
}

#[test]
fn a_segment_that_is_lost_is_checked_first_and_so_is_one_that_is_back() {
    let (disk, home) = closed(options(), 30);
    let mut pool = open(&disk, 2, options()).unwrap();
    assert_eq!(round(pool.shared()), Vec::<String>::new());
    let (path, bytes) = segments(&disk, DATA).remove(1);
    let segment = segment_number(path.rsplit('/').next().unwrap()).unwrap();
    for _ in 0..2 {
        disk.remove(&path).unwrap();
        pool.shared().scrub_first([segment, SegmentNumber(999)]);
        assert!(pool.shared().is_scrub_urgent());
        let found = urgent(pool.shared());
        assert_eq!(of_segments(&found).len(), 1, "{found:?}");
        let status = pool.shared().scrub_status();
        assert_eq!((status.round, status.is_under_way), (1, false), "it is beside the rounds");
        let lost = marks(&pool);
        assert!((1..20).contains(&lost.len()), "{lost:?}");
        assert_eq!(known(&pool, &home, lost[1])[1..], [false; FILES - 1]);
        assert!(pool.note_damage().unwrap() && !pool.shared().is_scrub_urgent());

        disk.create(&path).unwrap().write_at(0, &bytes).unwrap();
        pool.shared().scrub_first([segment]);
        assert_eq!(urgent(pool.shared()), Vec::<String>::new());
        assert_eq!((marks(&pool), known(&pool, &home, lost[1])), (Vec::new(), vec![true; FILES]));
        assert!(pool.note_damage().unwrap());
    }
    // In the middle of a round it comes next, and the round goes on behind it.
    pool.shared().scrub(EFFORT).unwrap();
    disk.remove(&path).unwrap();
    pool.shared().scrub_first([segment]);
    while pool.shared().scrub_status().damaged_points == 0 {
        assert!(!pool.shared().scrub(EFFORT).unwrap().is_done);
    }
    let status = pool.shared().scrub_status();
    assert!(status.segments_checked < status.segments, "{status:?}");
    assert_eq!(of_segments(&round(pool.shared())), Vec::<&String>::new(), "once in a round");
}

#[test]
fn a_round_goes_on_over_an_opening_and_begins_anew_without_a_catalog() {
    let disk = SimDisk::new(1);
    let (mut pool, _) = filled(&disk, options(), 30);
    let (total, mut checked) = (pool.shared().scrub_status().segments, 0);
    let mut turns = 0;
    loop {
        let step = pool.shared().scrub(ScrubEffort { bytes: 20_000, entries: 100 }).unwrap();
        assert_eq!(step.damage, Vec::<String>::new());
        if step.is_done {
            break;
        }
        let status = pool.shared().scrub_status();
        assert!(status.segments_checked >= checked && status.round == 1, "{status:?}");
        checked = status.segments_checked;
        pool.flush_catalog().unwrap();
        drop(pool);
        pool = open(&disk, 2 + turns, options()).unwrap();
        assert_eq!(pool.shared().scrub_status().segments_checked, checked, "it is not forgotten");
        pool.reopen().unwrap();
        turns += 1;
    }
    assert!(turns > 5 && checked + 1 >= total - 1, "{turns} {checked} {total}");
    pool.flush_catalog().unwrap();
    drop(pool);
    let pool = open_without_catalog(&disk, 90, options());
    let status = pool.shared().scrub_status();
    assert_eq!((status.round, status.segments_unchecked, status.oldest_check), (0, total, None));
    assert_eq!(round(pool.shared()), Vec::<String>::new());
    assert_eq!(pool.shared().scrub_status().round, 1);
}

#[test]
fn an_opening_in_the_same_process_forgets_nothing() {
    let disk = SimDisk::new(1);
    let (mut pool, _) = filled(&disk, options(), 30);
    while pool.shared().scrub_status().segments_checked < 5 {
        pool.shared().scrub(EFFORT).unwrap();
    }
    for is_rebuilt in [false, true] {
        if is_rebuilt { pool.rebuild_catalog() } else { pool.reopen() }.unwrap();
        assert_eq!(pool.shared().scrub_status().segments_checked, 5);
        pool.flush_catalog().unwrap();
        drop(pool);
        pool = open(&disk, 2, options()).unwrap();
        assert_eq!(pool.shared().scrub_status().segments_checked, 5, "after a rebuild: {is_rebuilt}");
    }
}

/// A round with the segments in its order, while `meanwhile` is done once behind the first step.
fn order(pool: &mut Pool, meanwhile: impl FnOnce(&mut Pool)) -> Vec<u64> {
    let mut order = Vec::new();
    let mut meanwhile = Some(meanwhile);
    loop {
        let step = pool.shared().scrub(ScrubEffort { bytes: 1, entries: 100 }).unwrap();
        assert_eq!(step.damage, Vec::<String>::new());
        if step.is_done {
            return order;
        }
        if let Some(meanwhile) = meanwhile.take() {
            meanwhile(pool);
        }
        let round = pool.shared().scrub_status().round;
        for (segment, checked) in pool.shared().scrub_checks() {
            if checked.is_some_and(|checked| checked.round == round) && !order.contains(&segment.0) {
                order.push(segment.0);
            }
        }
    }
}

#[test]
fn segments_that_were_written_meanwhile_come_first_in_the_next_round() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, options(), 6);
    let first = order(&mut pool, |pool| home.add_points(pool, 7..=20));
    assert!(first.is_sorted(), "{first:?}");
    let second = order(&mut pool, |_| ());
    let new = second.len() - first.len();
    assert!(new > 2 && second[..new].iter().all(|segment| !first.contains(segment)), "{second:?}");
    assert_eq!(second[new..], first);
}

#[test]
fn a_segment_that_goes_meanwhile_is_no_damage() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, options(), 10);
    while pool.count(1000).unwrap() == Counted::More {}
    let mut gone = 0;
    for bytes in [1, 300, 2000, 5000, 9000] {
        let key = |number| PointKey { source: home.source.id, number };
        let newest = points(&pool).last().unwrap().number;
        pool.shared().scrub(ScrubEffort { bytes, entries: 1 }).unwrap();
        while pool.count(1000).unwrap() == Counted::More {}
        let old: Vec<_> =
            points(&pool).iter().map(|point| point.number).filter(|n| *n < newest).map(key).collect();
        pool.drop_points(&old).unwrap();
        let before = pool.shared().scrub_status().segments;
        while !matches!(
            pool.reclaim(Thrift(1), Effort { births: 100, bytes: 1 }).unwrap(),
            Reclaimed::Nothing | Reclaimed::Waiting
        ) {
            let step = pool.shared().scrub(ScrubEffort { bytes: 700, entries: 1 }).unwrap();
            assert_eq!(step.damage, Vec::<String>::new());
        }
        gone += before.saturating_sub(pool.shared().scrub_status().segments);
        assert_eq!(round(pool.shared()), Vec::<String>::new());
        home.add_points(&mut pool, newest + 1..newest + 8);
    }
    assert!(gone > 3, "{gone}");
}

#[test]
fn a_segment_that_is_being_written_is_checked_as_far_as_it_is_durable() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = create(&disk, roomy());
    for number in 1..=20 {
        let (_, bundle) = bundle(&home.naming(&pool), chunks(number + 100));
        home.put(&mut pool, bundle).unwrap();
        let step = pool.shared().scrub(ScrubEffort { bytes: 3000, entries: 10 }).unwrap();
        assert_eq!(step.damage, Vec::<String>::new());
        home.add_point(&mut pool, number).unwrap();
        let step = pool.shared().scrub(ScrubEffort { bytes: 3000, entries: 10 }).unwrap();
        assert_eq!(step.damage, Vec::<String>::new());
    }
    assert_eq!(round(pool.shared()), Vec::<String>::new());
}

#[test]
fn a_footer_that_a_crash_cut_off_is_no_damage() {
    let disk = SimDisk::new(1);
    let (pool, _) = filled(&disk, options(), 12);
    drop(pool);
    let sealed =
        |(_, bytes): &(String, Vec<u8>)| bytes[bytes.len() - FOOTER_TAIL_LENGTH..].starts_with(b"KFfooter");
    let (path, bytes) = segments(&disk, DATA).into_iter().find(sealed).unwrap();
    let end = u64::from_le_bytes(bytes[bytes.len() - 24..][..8].try_into().unwrap());
    for (is_zero, sectors) in [(true, 0..9), (false, 0..9), (true, 0..1), (true, 1..9)] {
        let disk = disk.snapshot();
        for sector in sectors {
            let from = ((end / 512 + sector) * 512).max(end);
            let to = ((end / 512 + sector + 1) * 512).min(bytes.len() as u64);
            let noise = |at| if is_zero { 0 } else { u8::try_from(at * 7 % 251).unwrap() };
            if from < to {
                disk.overwrite(&path, from, &(from..to).map(noise).collect::<Vec<_>>()).unwrap();
            }
        }
        let pool = open(&disk, 2, options()).unwrap();
        assert_eq!(round(pool.shared()), Vec::<String>::new());
        let (_, checked) = pool.shared().scrub_checks()[1];
        assert_eq!(checked.unwrap().proof, Proof::Checksums, "and it is said what that proves");
    }
}

#[test]
fn the_next_backup_heals_and_marks_go() {
    for (segment_kind, frame_kind) in [(DATA, CHUNKS), (META, PAGES)] {
        let disk = SimDisk::new(1);
        let (mut pool, home) = filled(&disk, lazy(), 1);
        for (path, bytes) in segments(&disk, segment_kind) {
            frames_of(&bytes, frame_kind).iter().for_each(|frame| rot(&disk, &path, *frame, IN_PAYLOAD));
        }
        assert!(!round(pool.shared()).is_empty());
        assert_eq!(marks(&pool), [1]);
        assert!(pool.note_damage().unwrap());
        back_up(&home, &mut pool, 1);
        assert_eq!(read_points(&pool), [1, 1], "the chunks came again");
        round(pool.shared());
        assert_eq!((marks(&pool), pool.shared().scrub_status().damaged), (Vec::new(), 0));
        assert!(pool.note_damage().unwrap());
        assert!(!pool.shared().has_damage_to_note());
        drop(pool);
        let pool = open_without_catalog(&disk, 3, options());
        assert_eq!((marks(&pool), read_points(&pool)), (Vec::new(), vec![1, 1]));
    }
}

#[test]
fn notes_survive_an_opening_and_the_loss_of_the_catalog() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, lazy(), 3);
    rot_a_chunk(&disk);
    assert!(!round(pool.shared()).is_empty());
    assert!(pool.shared().has_damage_to_note() && pool.note_damage().unwrap());
    let (damaged, lines) = (marks(&pool), pool.shared().damaged_points());
    let lacking = known(&pool, &home, 1);
    assert_eq!(lacking, [false; FILES]);
    drop(pool);
    for without in [false, true] {
        let disk = disk.snapshot();
        let mut pool =
            if without { open_without_catalog(&disk, 2, lazy()) } else { open(&disk, 2, lazy()).unwrap() };
        assert_eq!((known(&pool, &home, 1), marks(&pool)), (lacking.clone(), damaged.clone()), "{without}");
        assert_eq!(pool.shared().damaged_points(), lines);
        assert!(!pool.shared().has_damage_to_note());
        back_up(&home, &mut pool, 1);
        assert!(read_points(&pool).len() == 4, "no read had to find it first");
        round(pool.shared());
        pool.note_damage().unwrap();
        drop(pool);
        let pool = open(&disk, 4, lazy()).unwrap();
        assert_eq!((marks(&pool), pool.shared().scrub_status().damaged), (Vec::new(), 0));
    }
}

#[test]
fn a_mark_goes_with_its_point_and_with_a_verification_that_finds_it_whole() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, roomy(), 4);
    let (path, bytes) = segments(&disk, DATA).remove(0);
    let all = frames_of(&bytes, CHUNKS);
    rot(&disk, &path, all[1], IN_PAYLOAD);
    rot(&disk, &path, all[2], IN_PAYLOAD);
    let key = |number| PointKey { source: home.source.id, number };
    assert!(pool.shared().verify(Some(key(2))).unwrap().damage_count > 0);
    assert_eq!(marks(&pool), [2], "a verification marks, too");
    assert!(pool.note_damage().unwrap());
    round(pool.shared());
    assert_eq!(marks(&pool), [2, 3]);
    assert!(pool.note_damage().unwrap());
    while pool.count(1000).unwrap() == Counted::More {}
    pool.drop_points(&[key(3)]).unwrap();
    assert_eq!((marks(&pool), pool.shared().point_damage(key(3)).is_none()), (vec![2], true));
    rot(&disk, &path, all[1], IN_PAYLOAD);
    assert_eq!(pool.shared().verify(Some(key(2))).unwrap().damage_count, 0);
    assert_eq!(marks(&pool), Vec::<u64>::new());
    assert!(pool.note_damage().unwrap());
    drop(pool);
    let pool = open_without_catalog(&disk, 2, options());
    assert_eq!(marks(&pool), Vec::<u64>::new());
    assert!(pool.shared().registry(|registry| registry.settings.keys().all(|key| !key.contains("point"))));
}

#[test]
fn nobody_else_writes_notes() {
    let disk = SimDisk::new(1);
    let (mut pool, _) = filled(&disk, options(), 1);
    let refused = pool.set_setting("damage/point/1/1", Some(vec![0])).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert!(!pool.is_failed() && pool.set_setting("damages", Some(vec![0])).is_ok());
}

#[test]
fn a_step_reads_no_more_than_it_may() {
    let disk = SimDisk::new(1);
    let (pool, _) = filled(&disk, options(), 30);
    // No frame and no footer of this pool is longer.
    let most = 5000;
    for bytes in [1, 1000, 20_000] {
        let (mut steps, mut sum) = (0, 0);
        loop {
            let step = pool.shared().scrub(ScrubEffort { bytes, entries: 1 }).unwrap();
            assert!(step.bytes <= bytes + most, "{} of {bytes}", step.bytes);
            (steps, sum) = (steps + 1, sum + step.bytes);
            if step.is_done {
                break;
            }
        }
        let status = pool.shared().scrub_status();
        assert!(sum >= status.bytes, "all of {} was read: {sum}", status.bytes);
        assert!(steps >= sum / (bytes + most), "{steps} steps of {bytes}");
    }
}

#[test]
fn tracing_is_cut_into_steps_as_well() {
    let disk = SimDisk::new(1);
    let (mut pool, _) = filled(&disk, roomy(), 20);
    pool.flush_catalog().unwrap();
    rot_a_chunk(&disk);
    let traced = |entries| {
        let (mut steps, mut damage) = (0, Vec::new());
        loop {
            let step = pool.shared().scrub(ScrubEffort { bytes: u64::MAX, entries }).unwrap();
            steps += 1;
            damage.extend(step.damage);
            if step.is_done {
                return (steps, damage.len());
            }
        }
    };
    let (few, lines) = traced(1_000_000);
    assert!(few < 15 && lines > 1 + 20, "the chunk of all points: {few} {lines}");
    let (many, again) = traced(1);
    assert!(many > 100, "{many}");
    assert_eq!(again, 1, "no point is said twice");
}

#[test]
fn a_single_unreadable_segment_does_not_stop_the_round() {
    let (disk, _) = closed(options(), 6);
    let pool = open(&disk, 2, options()).unwrap();
    disk.fail(unreadable(&segment_path(SegmentNumber(2))));
    let found = round(pool.shared());
    assert_eq!(of_segments(&found).len(), 1, "{found:?}");
    disk.clear_faults();
    assert_eq!(round(pool.shared()), Vec::<String>::new());
    assert_eq!(
        (marks(&pool), pool.shared().scrub_status().damaged),
        (Vec::new(), 0),
        "and what it said is taken back"
    );
}

//! Damage on the drive under a pool: what verify says of it, what is still readable, and what the next backup heals.

use medium::sim::{Fault, FaultPlan, SimDisk};
use medium::{Access, Disk};
use model::archive::Archive;
use model::item::{Extent, FileKind, Item, ItemKey};
use model::record::Point;
use model::{EntryName, ErrorKind, Name, ObjectId, SourceId};
use pool::Pool;
use pool::layout::SEGMENT_HEADER_LENGTH;
use pool::segment::FOOTER_TAIL_LENGTH;

use crate::drive::{BadSectors, CHUNKS, DATA, IN_PAYLOAD, META, PAGES, frames_of, rot, segments, unreadable};
use crate::world::{
    Audited, FILES, Home, archive, bundle, chunks, closed, create, files, filled, is_whole, label, open,
    open_without_catalog, options, points, read_points,
};

/// Makes a point as a full backup does: what is known is not sent.
pub(crate) fn back_up(home: &Home, pool: &mut Pool, number: u64) {
    let names = home.names(pool, number);
    let known = pool.shared().known(home.machine.id, &names).unwrap();
    let all = chunks(number);
    let lacking: Vec<_> = all.iter().zip(known).filter(|(_, known)| !known).map(|(c, _)| c).collect();
    if !lacking.is_empty() {
        let (_, bundle) = bundle(&home.naming(pool), lacking);
        home.put(pool, bundle).unwrap();
    }
    home.commit(pool, number, files(&names, &all)).unwrap();
}

/// The first point.
fn first_point(pool: &Pool) -> Point {
    points(pool).swap_remove(0)
}

/// Whether the first point reads back whole; what of it does is not wrong.
fn is_first_whole(pool: &Pool) -> bool {
    is_whole(pool, &first_point(pool), "the first point").unwrap()
}

fn is_sealed(bytes: &[u8]) -> bool {
    bytes[bytes.len() - FOOTER_TAIL_LENGTH..].starts_with(b"KFfooter")
}

pub(crate) fn damage(pool: &Pool) -> Vec<String> {
    let found = pool.shared().verify(None).unwrap();
    assert_eq!(found.damage.len() as u64, found.damage_count);
    found.damage
}

#[test]
fn verify_looks_at_the_drive_and_not_at_what_was_read_before() {
    let disk = SimDisk::new(1);
    let (pool, _) = filled(&disk, options(), 1);
    let point = first_point(&pool);
    assert!(is_first_whole(&pool) && damage(&pool).is_empty());
    assert_eq!(pool.shared().verify(Some(point.key())).unwrap().damage_count, 0);
    for (path, bytes) in segments(&disk, DATA) {
        disk.overwrite(&path, 192, &vec![0; bytes.len() - 192]).unwrap();
    }
    let found = pool.shared().verify(Some(point.key())).unwrap();
    assert_eq!(found.damage_count, 4, "{found:?}");
    assert!(
        found.damage.iter().all(|line| line.contains("web1/home@") && line.contains(":file ")),
        "{found:?}"
    );
    assert!(damage(&pool).len() > 4, "the segment itself is said, too");
}

#[test]
fn verify_sees_that_the_header_of_a_segment_is_lost() {
    let disk = SimDisk::new(1);
    let (pool, _) = filled(&disk, options(), 1);
    assert_eq!(damage(&pool), Vec::<String>::new());
    let (path, bytes) = segments(&disk, DATA).remove(0);
    assert!(!is_sealed(&bytes));
    disk.overwrite(&path, 0, &[0; SEGMENT_HEADER_LENGTH]).unwrap();
    let found = damage(&pool);
    assert!(found.iter().any(|line| line.contains("segment 2: header of segment 2")), "{found:?}");
    assert_eq!(found.iter().filter(|line| line.contains("web1/home@")).count(), 4, "{found:?}");
}

#[test]
fn a_sealed_segment_is_read_without_its_header() {
    let disk = SimDisk::new(1);
    let (pool, _) = filled(&disk, options(), 30);
    assert_eq!(damage(&pool), Vec::<String>::new());
    assert!(segments(&disk, META).iter().any(|(_, bytes)| is_sealed(bytes)), "of each kind");
    let mut count = 0;
    for (path, bytes) in [segments(&disk, DATA), segments(&disk, META)].concat() {
        if is_sealed(&bytes) {
            disk.overwrite(&path, 0, &[0; SEGMENT_HEADER_LENGTH]).unwrap();
            count += 1;
        }
    }
    assert!(count > 5, "{count} segments were sealed");
    let said = |pool: &Pool| {
        let found = damage(pool);
        assert!(found.iter().all(|line| line.contains("by the copy of its header")), "{found:?}");
        found.len()
    };
    assert_eq!((said(&pool), read_points(&pool).len()), (count, 30));
    drop(pool);
    let pool = open(&disk, 2, options()).unwrap();
    assert_eq!((said(&pool), read_points(&pool).len()), (count, 30));
    drop(pool);
    let pool = open_without_catalog(&disk, 3, options());
    assert_eq!((said(&pool), read_points(&pool).len()), (count, 30), "from the segments alone");
    assert_eq!(pool.shared().damage(), Vec::<String>::new());
}

#[test]
fn verify_sees_every_flip_in_a_sealed_segment() {
    let disk = SimDisk::new(1);
    let (pool, _) = filled(&disk, options(), 30);
    for kind in [DATA, META] {
        let sealed = segments(&disk, kind).into_iter().find(|(_, bytes)| is_sealed(bytes));
        let (path, bytes) = sealed.unwrap();
        for at in (0..bytes.len() as u64).step_by(7) {
            let bit = at * 8 + at % 8;
            disk.flip(&path, bit).unwrap();
            let found = damage(&pool);
            assert!(!found.is_empty(), "bit {bit} of {path}, of {} bytes", bytes.len());
            disk.flip(&path, bit).unwrap();
        }
    }
    assert_eq!(damage(&pool), Vec::<String>::new());
}

#[test]
fn verify_goes_on_behind_a_frame_that_is_lost() {
    let disk = SimDisk::new(1);
    let (pool, _) = filled(&disk, options(), 30);
    let frames = pool.shared().verify(None).unwrap().frames;
    for is_to_be_sealed in [true, false] {
        let disk = disk.snapshot();
        let of_kind = |(_, bytes): &(String, Vec<u8>)| is_sealed(bytes) == is_to_be_sealed;
        let (path, _) = segments(&disk, META).into_iter().find(of_kind).unwrap();
        disk.overwrite(&path, 192, &[0; 64]).unwrap();
        let pool = open(&disk, 2, options()).unwrap();
        assert_eq!(pool.shared().verify(None).unwrap().frames, frames - 1, "sealed: {is_to_be_sealed}");
    }
}

/// What verify says of a point with these items, apart from where it is.
fn said_of(change: impl FnOnce(&[Name], &mut Vec<(ItemKey, Item)>)) -> Vec<String> {
    let disk = SimDisk::new(1);
    let (mut pool, home) = create(&disk, options());
    let (names, bundle) = bundle(&home.naming(&pool), chunks(1));
    home.put(&mut pool, bundle).unwrap();
    let mut items = files(&names, &chunks(1));
    change(&names, &mut items);
    items.sort_by(|(a, _), (b, _)| a.cmp(b));
    home.commit(&mut pool, 1, items).unwrap();
    let found = damage(&pool);
    let point = first_point(&pool);
    assert_eq!(pool.shared().verify(Some(point.key())).unwrap().damage, found);
    let place = format!("web1/home@{}:", archive(&pool).point(point.key()).unwrap().id);
    found.iter().map(|line| line.replace(&place, "")).collect()
}

/// The item of file `object` that a test changes.
fn item_of(items: &mut [(ItemKey, Item)], key: ItemKey) -> &mut Item {
    items.iter_mut().find(|(found, _)| *found == key).map(|(_, item)| item).unwrap()
}

const FILE: ObjectId = ObjectId(3);
/// The length of its chunk.
const LENGTH: u32 = 10;

#[test]
fn a_tree_that_fits_together_is_no_damage() {
    assert_eq!(said_of(|_, _| {}), Vec::<String>::new());
    let split = said_of(|names, items| {
        let part = |skip, length| Item::Extent(Extent::Chunk { name: names[1], skip, length });
        *item_of(items, ItemKey::extent(FILE, 0)) = part(4, 6);
        items.push((ItemKey::extent(FILE, 6), Item::Extent(Extent::Hole { length: 3 })));
        items.push((ItemKey::extent(FILE, 9), part(0, 1)));
        let Item::Inode(inode) = item_of(items, ItemKey::inode(FILE)) else { panic!() };
        inode.stored = 7;
    });
    assert_eq!(split, Vec::<String>::new(), "parts of chunks, and a hole");
}

#[test]
fn verify_sees_content_that_a_chunk_does_not_have() {
    for (skip, length) in [(100, 500_000), (0, LENGTH + 1), (1, LENGTH), (LENGTH, 1)] {
        let found = said_of(|names, items| {
            *item_of(items, ItemKey::extent(FILE, 0)) =
                Item::Extent(Extent::Chunk { name: names[1], skip, length });
            let Item::Inode(inode) = item_of(items, ItemKey::inode(FILE)) else { panic!() };
            inode.size = u64::from(length);
        });
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with(&format!("file 3: it needs {} bytes of chunk", skip + length)),
            "{found:?}"
        );
    }
}

#[test]
fn verify_sees_content_that_has_gaps_or_overlaps_or_another_length() {
    let hole = |length| Item::Extent(Extent::Hole { length });
    let gap = said_of(|_, items| items.push((ItemKey::extent(FILE, 11), hole(1))));
    assert_eq!(gap, ["file 3: its content lacks bytes 10..11"]);
    let overlap = said_of(|_, items| items.push((ItemKey::extent(FILE, 8), hole(2))));
    assert_eq!(overlap, ["file 3: its content has bytes 8..10 twice"]);
    let long = said_of(|_, items| items.push((ItemKey::extent(FILE, 10), hole(2))));
    assert_eq!(long, ["file 3: its content ends at 12, its size is 10"]);
    let none = said_of(|_, items| items.retain(|(key, _)| *key != ItemKey::extent(FILE, 0)));
    assert_eq!(none, ["file 3: its content ends at 0, its size is 10"]);
    let last = said_of(|_, items| items.retain(|(key, _)| *key != ItemKey::extent(ObjectId(5), 0)));
    assert_eq!(last.len(), 1, "the last object of the tree as well: {last:?}");
    let holes = said_of(|_, items| {
        let Item::Inode(inode) = item_of(items, ItemKey::inode(FILE)) else { panic!() };
        inode.stored = 7;
    });
    assert_eq!(holes, ["file 3: 10 bytes of its content are in no hole, not 7"]);
}

#[test]
fn verify_sees_entries_and_objects_that_do_not_fit() {
    let entry = |object, kind| Item::Entry(object, kind);
    let key = |name: &str| ItemKey::entry(ObjectId::ROOT, EntryName::new(name.as_bytes()).unwrap());
    let astray = said_of(|_, items| items.push((key("astray"), entry(ObjectId(77), FileKind::File))));
    assert_eq!(astray, ["astray: it leads to nothing of its kind"]);
    let kind = said_of(|_, items| *item_of(items, key("file 4")) = entry(ObjectId(4), FileKind::Fifo));
    assert_eq!(kind, ["file 4: it leads to nothing of its kind"]);
    let lost = said_of(|_, items| items.retain(|(key, _)| *key != ItemKey::inode(FILE)));
    assert_eq!(lost, ["file 3: it leads to nothing of its kind", "file 3: it has no inode"]);
    let unnamed = said_of(|_, items| items.retain(|(found, _)| *found != key("file 3")));
    assert_eq!(unnamed.len(), 1, "{unnamed:?}");
    assert!(unnamed[0].ends_with("some object has more or fewer names than it should have"), "{unnamed:?}");
    let link = said_of(|_, items| items.push((key("link"), entry(FILE, FileKind::File))));
    assert_eq!(link.len(), 1, "a name that the inode does not count: {link:?}");
    let rootless = said_of(|_, items| items.retain(|(key, _)| *key != ItemKey::inode(ObjectId::ROOT)));
    assert!(rootless.iter().any(|line| line.ends_with("it has no root directory")), "{rootless:?}");
    let inside = said_of(|_, items| {
        let name = EntryName::new(b"inside").unwrap();
        items.push((ItemKey::entry(FILE, name), entry(ObjectId(4), FileKind::File)));
        let Item::Inode(inode) = item_of(items, ItemKey::inode(ObjectId(4))) else { panic!() };
        inode.links = 2;
    });
    assert_eq!(inside, ["file 3: it is no directory and has entries"]);
}

#[test]
fn a_place_that_cannot_be_read_is_damage() {
    let (disk, _) = closed(options(), 6);
    let (path, bytes) = segments(&disk, DATA).remove(0);
    assert!(is_sealed(&bytes));
    let pool = open(&BadSectors::new(&disk, &path, 512..1024), 2, options()).unwrap();
    let found = damage(&pool);
    assert!(found.iter().any(|line| line.contains("segment 2 cannot be read at 192")), "{found:?}");
    assert!(found.iter().any(|line| line.contains("web1/home@") && line.contains(":file ")), "{found:?}");
    drop(pool);
    let pool = open(&BadSectors::new(&disk, &path, 0..64), 2, options()).unwrap();
    let found = damage(&pool);
    assert_eq!(found.len(), 1, "the header has a copy: {found:?}");
    drop(pool);
    let pool = open(&BadSectors::new(&disk, &path, bytes.len() as u64 - 8..bytes.len() as u64), 2, options())
        .unwrap();
    let found = damage(&pool);
    assert!(found.len() == 1 && found[0].starts_with("footer of segment 2: "), "{found:?}");
}

#[test]
fn verify_names_no_damage_while_the_drive_does_not_answer() {
    let disk = SimDisk::new(1);
    let (mut pool, _) = filled(&disk, options(), 3);
    pool.flush_catalog().unwrap();
    let point = first_point(&pool);
    for under in ["segments/", "segments/0000000000000001", "segments/0000000000000002"] {
        for at in 0..60 {
            disk.fail(FaultPlan::lasting(Fault::Error, disk.reads() + at).on_reads().under(under));
            for wanted in [None, Some(point.key())] {
                match pool.shared().verify(wanted) {
                    Ok(found) => assert_eq!(found.damage, Vec::<String>::new(), "{under} {at}"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Io, "{error}"),
                }
            }
            disk.clear_faults();
            disk.fail(FaultPlan::once(Fault::Error, disk.reads() + at).on_reads().under(under));
            assert_eq!(damage(&pool), Vec::<String>::new(), "a single failure is no more than that");
            disk.clear_faults();
        }
        disk.fail(unreadable(under));
        assert!(pool.shared().verify(None).is_err(), "{under}");
        disk.clear_faults();
    }
}

#[test]
fn a_catalog_that_cannot_be_read_for_once_is_no_damage_and_heals() {
    let (disk, _) = closed(options(), 3);
    let mut pool = open(&disk, 2, options()).unwrap();
    disk.fail(FaultPlan::once(Fault::Error, 0).on_reads().under("catalog.redb"));
    for _ in 0..3 {
        let error = pool.shared().verify(None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(pool.is_failed());
    }
    pool.reopen().unwrap();
    assert_eq!((damage(&pool), read_points(&pool).len()), (Vec::new(), 3));
}

/// Every frame of a kind rots.
pub(crate) fn rot_all(disk: &SimDisk, segment_kind: u8, frame_kind: u8) {
    for (path, bytes) in segments(disk, segment_kind) {
        for frame in frames_of(&bytes, frame_kind) {
            rot(disk, &path, frame, IN_PAYLOAD);
        }
    }
}

/// A pool with one point that was opened after every frame of a kind rotted.
fn opened_rotten(segment_kind: u8, frame_kind: u8) -> (SimDisk, Audited, Home) {
    let (disk, home) = closed(options(), 1);
    rot_all(&disk, segment_kind, frame_kind);
    let pool = open(&disk, 2, options()).unwrap();
    (disk, pool, home)
}

/// After a full backup of point 1 all points are whole, here and in whatever is opened from the drive later.
fn expect_healed(disk: &SimDisk, mut pool: Audited, home: &Home) {
    let before = points(&pool).len();
    back_up(home, &mut pool, 1);
    assert_eq!(read_points(&pool).len(), before + 1);
    assert!(damage(&pool).iter().all(|line| !line.contains("web1/home@")));
    drop(pool);
    let mut pool = open(disk, 11, options()).unwrap();
    assert_eq!(read_points(&pool).len(), before + 1, "after opening");
    pool.flush_catalog().unwrap();
    // What a frame had that cannot be read is not counted by who did not see it before.
    let dump = |pool: &Pool| {
        let mut dump = pool.shared().dump().unwrap();
        dump.used.retain_mut(|(_, used)| {
            used.stored = used.live;
            used.live > 0
        });
        dump
    };
    let kept = dump(&pool);
    pool.rebuild_catalog().unwrap();
    assert_eq!(read_points(&pool).len(), before + 1, "after making the catalog anew");
    assert_eq!(dump(&pool), kept);
    drop(pool);
    assert_eq!(
        read_points(&open_without_catalog(disk, 12, options())).len(),
        before + 1,
        "without a catalog"
    );
}

#[test]
fn the_next_backup_stores_again_what_was_in_lost_segments() {
    let disk = SimDisk::new(1);
    let (pool, home) = filled(&disk, options(), 1);
    drop(pool);
    for (path, _) in segments(&disk, DATA) {
        disk.remove(&path).unwrap();
    }
    let pool = open(&disk, 2, options()).unwrap();
    assert!(!pool.shared().damage().is_empty());
    expect_healed(&disk, pool, &home);
}

#[test]
fn the_next_backup_stores_again_what_was_cut_off() {
    let disk = SimDisk::new(1);
    let (pool, home) = filled(&disk, options(), 1);
    drop(pool);
    let (path, bytes) = segments(&disk, DATA).remove(0);
    let file = disk.open(&path, Access::ReadWrite).unwrap();
    file.set_length(bytes.len() as u64 - 64).unwrap();
    let pool = open(&disk, 2, options()).unwrap();
    assert!(!pool.shared().damage().is_empty());
    expect_healed(&disk, pool, &home);
}

#[test]
fn the_next_backup_stores_again_what_verify_found_rotten() {
    for (segment_kind, frame_kind) in [(DATA, CHUNKS), (META, PAGES)] {
        let (disk, pool, home) = opened_rotten(segment_kind, frame_kind);
        assert_eq!(pool.shared().damage(), Vec::<String>::new(), "opening reads no frames of content");
        assert!(!damage(&pool).is_empty());
        expect_healed(&disk, pool, &home);
    }
}

#[test]
fn the_next_backup_stores_again_what_could_not_be_read() {
    for (segment_kind, frame_kind) in [(DATA, CHUNKS), (META, PAGES)] {
        let (disk, pool, home) = opened_rotten(segment_kind, frame_kind);
        assert!(!is_first_whole(&pool));
        expect_healed(&disk, pool, &home);
    }
}

#[test]
fn a_single_failure_of_the_drive_makes_nothing_bad() {
    let (disk, home) = closed(options(), 1);
    let pool = open(&disk, 2, options()).unwrap();
    let names = home.names(&pool, 1);
    disk.fail(unreadable("segments/"));
    assert!(!is_first_whole(&pool));
    disk.clear_faults();
    assert_eq!(pool.shared().known(home.machine.id, &names).unwrap(), [true; FILES]);
    assert!(is_first_whole(&pool));
}

#[test]
fn what_verify_finds_sound_again_counts_again() {
    let disk = SimDisk::new(1);
    let (pool, home) = filled(&disk, options(), 1);
    let names = home.names(&pool, 1);
    for lost in [192, 0] {
        let (path, bytes) = segments(&disk, DATA).remove(0);
        disk.overwrite(&path, lost, &[0; 64]).unwrap();
        assert!(!damage(&pool).is_empty());
        assert_eq!(pool.shared().known(home.machine.id, &names).unwrap(), [false; FILES]);
        disk.overwrite(&path, 0, &bytes).unwrap();
        assert_eq!(damage(&pool), Vec::<String>::new());
        assert_eq!(pool.shared().known(home.machine.id, &names).unwrap(), [true; FILES]);
    }
}

#[test]
fn whoever_owned_a_lost_chunk_owns_the_one_that_another_machine_stored_again() {
    let disk = SimDisk::new(1);
    let (mut pool, home) = filled(&disk, options(), 1);
    let bytes = pool.shared().status().unwrap().chunk_bytes;
    let second = pool.add_machine(&label("web2"), false).unwrap();
    rot_all(&disk, DATA, CHUNKS);
    assert!(!damage(&pool).is_empty());
    let (names, bundle) = bundle(&pool.shared().keys().naming(second.domain), chunks(1));
    pool.put(second.id, SourceId(2), bundle).unwrap();
    let known = |pool: &Pool| {
        [home.machine.id, second.id]
            .map(|machine| pool.shared().known(machine, &names).unwrap() == [true; FILES])
    };
    assert_eq!(known(&pool), [true; 2]);
    pool.commit(Vec::new()).unwrap();
    pool.flush_catalog().unwrap();
    assert_eq!(pool.shared().status().unwrap().chunk_bytes, bytes, "each chunk counts once");
    pool.rebuild_catalog().unwrap();
    assert_eq!((known(&pool), read_points(&pool).len()), ([true; 2], 1));
    assert_eq!(pool.shared().status().unwrap().chunk_bytes, bytes);
}

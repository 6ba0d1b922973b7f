//! Tests of caches: what is committed is found again, what goes takes everything of it along.

use model::item::{Attributes, FileKind};
use model::{Name, Time};
use redb::ReadableTableMetadata;

use super::*;
use crate::log::{LogWriter, Updates};
use crate::record::{Content, Record, Run, encode_runs, entry_key};

fn record(object: u64, kind: FileKind, links: u64, content: Content) -> Record {
    let (modified, changed) = (Time(3), Time(4));
    let attributes = Attributes { uid: 1, gid: 2, modified, changed, ..Attributes::new(kind, 0o644) };
    Record {
        object: ObjectId(object),
        device: 9,
        inode: object + 1000,
        size: 5,
        links,
        attributes,
        settled: true,
        alias: false,
        xattrs: Vec::new(),
        content,
    }
}

fn apart(pieces: u32) -> Content {
    Content::Apart { pieces }
}

fn run(byte: u8) -> Run {
    Run { length: 5, name: Some(Name([byte; 32])) }
}

fn put(updates: &mut Updates, directory: u64, name: &str, record: &Record) {
    let key = entry_key(ObjectId(directory), name.as_bytes());
    updates.put(&key, &record.encode(&key));
}

fn piece(updates: &mut Updates, object: u64, number: u32, byte: u8) {
    let mut runs = Vec::new();
    encode_runs(&[run(byte)], &mut runs);
    updates.piece(ObjectId(object), (9, object + 1000), number, &runs);
}

fn open(folder: &Path) -> SourceCache {
    Cache::new(folder).open(&Label::new("s").unwrap(), 1 << 20).unwrap()
}

fn commit(cache: &SourceCache, token: &[u8], void: bool, updates: &Updates) {
    let base = cache.header().unwrap().continuity;
    let mut log = LogWriter::new(cache.paths.log.clone(), base.as_deref());
    log.append(1, updates).unwrap();
    let header = Header { continuity: Some(token.to_vec()), next: ObjectId(50) };
    cache.commit(log, &header, void).unwrap();
    assert!(!cache.paths.log.exists());
}

fn names(cache: &SourceCache, directory: u64) -> Vec<String> {
    let snapshot = cache.snapshot(true).unwrap();
    let entries = snapshot.entries(ObjectId(directory)).unwrap();
    entries.map(|entry| String::from_utf8(entry.unwrap().0).unwrap()).collect()
}

fn rows(cache: &SourceCache, table: Table) -> u64 {
    cache.database.get().unwrap().begin_read().unwrap().open_table(table).unwrap().len().unwrap()
}

/// A root with a file of two pieces, two names of another file, and a directory with a directory with a file.
fn filled(folder: &Path) -> SourceCache {
    let cache = open(folder);
    let mut updates = Updates::default();
    put(&mut updates, 1, "long", &record(2, FileKind::File, 1, apart(2)));
    piece(&mut updates, 2, 0, 1);
    piece(&mut updates, 2, 1, 2);
    piece(&mut updates, 3, 0, 3);
    put(&mut updates, 1, "first", &record(3, FileKind::File, 2, apart(1)));
    let alias = Record { alias: true, ..record(3, FileKind::File, 2, Content::Inline(Vec::new())) };
    put(&mut updates, 1, "again", &alias);
    put(&mut updates, 1, "d", &record(4, FileKind::Directory, 3, Content::Inline(Vec::new())));
    put(&mut updates, 4, "e", &record(5, FileKind::Directory, 2, Content::Inline(Vec::new())));
    put(&mut updates, 5, "file", &record(6, FileKind::File, 1, Content::Inline(vec![run(7)])));
    commit(&cache, b"one", true, &updates);
    cache
}

#[test]
fn what_is_committed_is_found_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path()));
    let cache = open(folder.path());
    assert_eq!(cache.header().unwrap().continuity.as_deref(), Some(&b"one"[..]));
    assert_eq!(names(&cache, 1), ["again", "d", "first", "long"]);
    let snapshot = cache.snapshot(true).unwrap();
    assert_eq!(snapshot.header.next, ObjectId(50));
    assert_eq!(snapshot.piece(ObjectId(2), 1).unwrap(), Some(vec![run(2)]));
    assert_eq!(snapshot.piece(ObjectId(2), 2).unwrap(), None);
    let (parent, name, found) = snapshot.directory((9, 1005)).unwrap().unwrap();
    assert_eq!((parent, name.as_slice(), found.object), (ObjectId(4), &b"e"[..], ObjectId(5)));
    let void = cache.snapshot(false).unwrap();
    assert!(void.is_void() && void.entries(ObjectId(1)).unwrap().next().is_none());
    assert_eq!(void.header, Header::void());
}

#[test]
fn content_goes_with_the_last_name_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let cache = filled(folder.path());
    let mut updates = Updates::default();
    updates.delete(ObjectId(1), b"first");
    updates.delete(ObjectId(1), b"long");
    commit(&cache, b"two", false, &updates);
    assert_eq!((rows(&cache, CONTENTS), rows(&cache, LINKED)), (1, 1), "a name of object 3 is left");
    let mut updates = Updates::default();
    updates.delete(ObjectId(1), b"again");
    commit(&cache, b"three", false, &updates);
    assert_eq!((rows(&cache, CONTENTS), rows(&cache, LINKED)), (0, 0));
    assert_eq!(names(&cache, 1), ["d"]);
}

#[test]
fn content_that_is_shorter_loses_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let cache = filled(folder.path());
    let mut updates = Updates::default();
    piece(&mut updates, 2, 0, 9);
    put(&mut updates, 1, "long", &record(2, FileKind::File, 1, apart(1)));
    commit(&cache, b"two", false, &updates);
    let snapshot = cache.snapshot(true).unwrap();
    assert_eq!(snapshot.piece(ObjectId(2), 0).unwrap(), Some(vec![run(9)]));
    assert_eq!(snapshot.piece(ObjectId(2), 1).unwrap(), None);
}

#[test]
fn a_directory_that_moves_is_found_at_its_new_place_and_one_that_goes_takes_all_along() {
    let folder = tempfile::tempdir().unwrap();
    let cache = filled(folder.path());
    let mut updates = Updates::default();
    updates.delete(ObjectId(4), b"e");
    put(&mut updates, 1, "moved", &record(5, FileKind::Directory, 2, Content::Inline(Vec::new())));
    updates.delete(ObjectId(1), b"d");
    updates.delete_tree(ObjectId(4));
    commit(&cache, b"two", false, &updates);
    assert_eq!(names(&cache, 5), ["file"]);
    let place = cache.snapshot(true).unwrap().directory((9, 1005)).unwrap().unwrap();
    assert_eq!((place.0, place.1.as_slice()), (ObjectId(1), &b"moved"[..]));
    let mut updates = Updates::default();
    updates.delete(ObjectId(1), b"moved");
    updates.delete_tree(ObjectId(5));
    commit(&cache, b"three", false, &updates);
    assert_eq!((rows(&cache, ENTRIES), rows(&cache, DIRECTORIES)), (3, 0));
}

#[test]
fn a_void_state_is_replaced_whole() {
    let folder = tempfile::tempdir().unwrap();
    let cache = filled(folder.path());
    let mut updates = Updates::default();
    put(&mut updates, 1, "only", &record(2, FileKind::File, 1, Content::Inline(Vec::new())));
    commit(&cache, b"two", true, &updates);
    assert_eq!(names(&cache, 1), ["only"]);
    assert_eq!((rows(&cache, ENTRIES), rows(&cache, CONTENTS), rows(&cache, LINKED)), (1, 0, 0));
}

#[test]
fn only_what_is_durable_settled_and_of_the_same_base_can_be_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let cache = filled(folder.path());
    let write = |base: &[u8]| {
        let mut log = LogWriter::new(cache.paths.log.clone(), Some(base));
        let mut early = Updates::default();
        piece(&mut early, 20, 0, 4);
        put(&mut early, 1, "early", &record(20, FileKind::File, 1, apart(1)));
        let unsettled = Record { settled: false, ..record(21, FileKind::File, 1, apart(0)) };
        put(&mut early, 1, "unsettled", &unsettled);
        log.append(3, &early).unwrap();
        let mut late = Updates::default();
        put(&mut late, 1, "late", &record(22, FileKind::File, 1, Content::Inline(vec![run(1)])));
        log.append(4, &late).unwrap();
        log.note_durable(3).unwrap();
    };
    write(b"another base");
    cache.take_in_log().unwrap();
    assert_eq!(rows(&cache, RESUME), 0);
    write(b"one");
    cache.take_in_log().unwrap();
    let snapshot = cache.snapshot(false).unwrap();
    let stamp = |object| record(object, FileKind::File, 1, apart(0)).stamp();
    assert_eq!(snapshot.resumed(&stamp(20), false).unwrap(), Some(apart(1)));
    assert_eq!(snapshot.resumed_piece(&stamp(20), 0).unwrap(), [run(4)]);
    assert_eq!(snapshot.resumed(&stamp(20), true).unwrap(), None, "an image is cut in another way");
    assert_eq!(snapshot.resumed(&stamp(21), false).unwrap(), None);
    assert_eq!(snapshot.resumed(&stamp(22), false).unwrap(), None);
    let mut other = stamp(20);
    other.changed = Time(5);
    assert_eq!(snapshot.resumed(&other, false).unwrap(), None);
    drop(snapshot);
    commit(&cache, b"two", false, &Updates::default());
    assert_eq!(rows(&cache, RESUME), 0, "the point is made");
}

#[test]
fn pieces_of_another_reading_are_not_vouched_for_by_an_older_stamp() {
    let folder = tempfile::tempdir().unwrap();
    let cache = filled(folder.path());
    let write = |whole: bool| {
        let mut log = LogWriter::new(cache.paths.log.clone(), Some(b"one"));
        let mut updates = Updates::default();
        piece(&mut updates, 20, 0, if whole { 4 } else { 5 });
        if whole {
            put(&mut updates, 1, "file", &record(20, FileKind::File, 1, apart(1)));
        }
        log.append(1, &updates).unwrap();
        log.note_durable(1).unwrap();
        cache.take_in_log().unwrap();
    };
    let stamp = record(20, FileKind::File, 1, apart(0)).stamp();
    write(true);
    assert!(cache.snapshot(false).unwrap().resumed(&stamp, false).unwrap().is_some());
    write(false);
    assert!(cache.snapshot(false).unwrap().resumed(&stamp, false).unwrap().is_none());
}

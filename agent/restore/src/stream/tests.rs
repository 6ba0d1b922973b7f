//! Writing over a file that cannot be read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use model::archive::{Archive, ArchiveError, Change, PointKey, SharedBytes};
use model::item::{Attributes, FileKind, Item, ItemKey};
use model::record::{Machine, Point, Source};
use model::{EntryName, ErrorKind, Name, ObjectId, SourceId};

use super::*;
use crate::attributes::Wanted;
use crate::request::{Overwrite, Request};
use crate::selection::Selection;

/// An archive that is not asked: content comes with the pieces.
struct Silent;

fn silence<T>() -> Result<T, ArchiveError> {
    Err(ArchiveError { kind: ErrorKind::Unsupported, message: "not asked".to_owned() })
}

impl Archive for Silent {
    fn machines(&self) -> Result<Vec<Machine>, ArchiveError> {
        silence()
    }
    fn sources(&self) -> Result<Vec<Source>, ArchiveError> {
        silence()
    }
    fn points(&self, _: SourceId) -> Result<Vec<Point>, ArchiveError> {
        silence()
    }
    fn point(&self, _: PointKey) -> Result<Point, ArchiveError> {
        silence()
    }
    fn item(&self, _: PointKey, _: &ItemKey) -> Result<Option<Item>, ArchiveError> {
        silence()
    }
    fn items(&self, _: PointKey, _: &[u8], _: &[u8], _: usize) -> Result<Vec<(ItemKey, Item)>, ArchiveError> {
        silence()
    }
    fn item_at_or_before(
        &self,
        _: PointKey,
        _: &[u8],
        _: &[u8],
    ) -> Result<Option<(ItemKey, Item)>, ArchiveError> {
        silence()
    }
    fn changes(&self, _: PointKey, _: PointKey, _: &[u8], _: usize) -> Result<Vec<Change>, ArchiveError> {
        silence()
    }
    fn chunks(
        &self,
        _: PointKey,
        _: &[Name],
    ) -> Result<Vec<Result<SharedBytes, ArchiveError>>, ArchiveError> {
        silence()
    }
    fn places(&self, _: PointKey, _: &[Name]) -> Result<Vec<u64>, ArchiveError> {
        silence()
    }
}

/// Puts pieces over a file of which no byte can be read: address 0 of a process, which the kernel answers with an
/// input error, as it does for a bad sector.
fn put_over_unreadable(folder: &Path, overwrite: Overwrite, pieces: &[Piece]) -> Result<(), Failure> {
    let request = Request {
        archive: &Silent,
        point: PointKey { source: SourceId(1), number: 1 },
        target: folder.to_owned(),
        paths: Vec::new(),
        overwrite,
        owners: false,
        workers: 1,
        memory_bytes: 0,
        delete_extra: false,
        naming: None,
    };
    let stop = AtomicBool::new(false);
    let job = Job {
        request: &request,
        selection: Selection::Whole,
        stop: &stop,
        owners: false,
        resumes: false,
        recovers: false,
        knows_ours: false,
        kept: BTreeSet::new(),
        unknown: BTreeMap::new(),
    };
    let attributes = Attributes::new(FileKind::File, 0o600);
    let head = Box::new(FileHead {
        directory: 0,
        name: EntryName::new(b"file").unwrap(),
        object: ObjectId(7),
        is_linked: false,
        size: 16,
        wanted: Wanted::new(&attributes, Vec::new(), false),
        action: Action::Compare,
    });
    let file = File::open("/proc/self/mem").unwrap();
    let stat = fstat(&file).unwrap();
    let mut stream = Stream {
        head,
        directory: Arc::new(File::open(folder).unwrap().into()),
        old: Some(Old { file, stat, length: 16 }),
        new: None,
        position: 0,
        bytes_written: 0,
        bytes_unchanged: 0,
    };
    let data = [Some(Ok(SharedBytes::from(b"restored".to_vec())))];
    for piece in pieces {
        stream.put(&job, piece, &data)?;
    }
    assert_eq!(stream.finish(&job, Surplus::Keep)?, [""; 0]);
    Ok(())
}

fn piece(offset: u64, source: PieceSource) -> Piece {
    Piece { offset, length: 8, source }
}

#[test]
fn a_file_that_cannot_be_read_is_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    for (pieces, expected) in [
        ([piece(0, PieceSource::Fetched(0)), piece(8, PieceSource::Hole)], b"restored\0\0\0\0\0\0\0\0"),
        ([piece(0, PieceSource::Hole), piece(8, PieceSource::Fetched(0))], b"\0\0\0\0\0\0\0\0restored"),
    ] {
        put_over_unreadable(folder.path(), Overwrite::Differing, &pieces).unwrap();
        assert_eq!(std::fs::read(folder.path().join("file")).unwrap(), expected);
    }
}

#[test]
fn without_leave_to_replace_a_file_that_cannot_be_read_stays_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let pieces = [piece(0, PieceSource::Fetched(0)), piece(8, PieceSource::Hole)];
    let failure = put_over_unreadable(folder.path(), Overwrite::Refuse, &pieces).unwrap_err();
    assert!(matches!(&failure, Failure::Path(message) if message.contains("cannot be read")), "{failure:?}");
}

#[test]
fn a_range_that_cannot_be_copied_costs_that_file_only() {
    let folder = tempfile::tempdir().unwrap();
    // It could be read when the content was asked for.
    let pieces = [piece(0, PieceSource::Local), piece(8, PieceSource::Fetched(0))];
    let failure = put_over_unreadable(folder.path(), Overwrite::Differing, &pieces).unwrap_err();
    assert!(matches!(&failure, Failure::Path(message) if message.contains("cannot be read")), "{failure:?}");
}

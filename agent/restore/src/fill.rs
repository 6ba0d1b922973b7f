//! Filling small files that the writer has just made, on threads of their own.
//!
//! Making an entry needs the lock of its directory, filling a file does not: so one thread makes and others fill, and
//! nobody waits for a lock. Files come in bundles, because waking a thread costs as much as a file. What a file is
//! needs no order: it is complete when its time is set, and a file that cannot be completed is removed.

use std::fs::File;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use rustix::fs::{AtFlags, unlinkat};

use crate::attributes::{self, Now, Surplus};
use crate::batch::{Fetched, FileHead, Piece, PieceSource};
use crate::failure::Failure;
use crate::stream::bytes_of;

/// Files and bytes of a bundle.
const FILES_MAX: usize = 32;
const BYTES_MAX: u64 = 1 << 20;
/// Bundles that wait; with those in work they bound the descriptors that are open.
pub(crate) const BUNDLES_MAX: usize = 4;

/// The content of a batch.
pub(crate) struct BatchContent {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) data: Vec<Option<Fetched>>,
}

impl BatchContent {
    /// Some pieces of the batch.
    pub(crate) fn pieces(&self, range: Range<usize>) -> &[Piece] {
        self.pieces.get(range).unwrap_or_default()
    }
}

/// A file that is there and empty.
pub(crate) struct EmptyFile {
    pub(crate) file: File,
    pub(crate) directory: Arc<OwnedFd>,
    pub(crate) head: FileHead,
    pub(crate) pieces: Range<usize>,
    /// What it looks like.
    pub(crate) now: Now,
    pub(crate) surplus: Surplus,
}

/// Files of one batch.
pub(crate) struct Bundle {
    pub(crate) content: Arc<BatchContent>,
    files: Vec<EmptyFile>,
    bytes: u64,
}

impl Bundle {
    pub(crate) fn new(content: Arc<BatchContent>) -> Self {
        Self { content, files: Vec::with_capacity(FILES_MAX), bytes: 0 }
    }

    pub(crate) fn push(&mut self, file: EmptyFile) {
        self.bytes = self.bytes.saturating_add(file.head.size);
        self.files.push(file);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.files.len() >= FILES_MAX || self.bytes >= BYTES_MAX
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

/// What became of a file.
pub(crate) struct Filled {
    pub(crate) head: FileHead,
    /// Bytes that were written and what could not be set, or why the file is not there.
    pub(crate) result: Result<(u64, Vec<String>), Failure>,
}

/// Fills bundles until there are no more.
pub(crate) fn work(bundles: &Receiver<Bundle>, filled: &Sender<Vec<Filled>>) {
    for bundle in bundles {
        let Bundle { content, files, .. } = bundle;
        let done = files.into_iter().map(|file| fill(file, &content)).collect();
        // Nobody listens any more once the restore has failed.
        let _ = filled.send(done);
    }
}

fn fill(empty: EmptyFile, content: &BatchContent) -> Filled {
    let EmptyFile { file, directory, head, pieces, now, surplus } = empty;
    let written = write(&file, &head, content.pieces(pieces), &content.data);
    let result = match written {
        Ok(written) => Ok((written, attributes::apply(&file, now, &head.wanted, surplus))),
        Err(failure) => {
            // It is ours and unfinished; the failure itself is what is said.
            let _ = unlinkat(&directory, head.name.as_bytes(), AtFlags::empty());
            Err(failure)
        }
    };
    Filled { head, result }
}

/// Writes the content of an empty file; answers how many bytes.
fn write(file: &File, head: &FileHead, pieces: &[Piece], data: &[Option<Fetched>]) -> Result<u64, Failure> {
    let mut written = 0;
    let mut end = 0;
    for piece in pieces {
        if let Some(bytes) = bytes_of(piece, data)? {
            file.write_all_at(bytes, piece.offset)?;
            written += piece.length;
            end = piece.offset.saturating_add(piece.length);
        } else if matches!(piece.source, PieceSource::Local) {
            return Err(Failure::Path("its content was not fetched".to_owned()));
        }
    }
    if end != head.size {
        file.set_len(head.size)?;
    }
    Ok(written)
}
